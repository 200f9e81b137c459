"""What commands that take long show on a terminal while they run: how much is done, how fast, and the time left."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Show", "progress_bar"]

Show = Callable[..., None]
"""``show(done, total, what="")``: how many are done, of all, and what is being done now."""


@contextlib.contextmanager
def progress_bar(what: str, unit: str = "points") -> Iterator[Show]:
    """A bar with the rate and the time left on standard error where that is a terminal; nothing elsewhere.

    The first call of what it yields says where counting begins. Standard output stays as it is where it is a file; on
    the same terminal it is printed above the bar.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total, _what="": None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{_number(speed)} {unit}/s")

    now: Any = TextColumn("{task.fields[now]}", markup=False)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn(), now)
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(what, total=None, now="")
        before: list[int] = []

        def show(done: int, total: int, what: str = "") -> None:
            if not before:  # what an earlier run did says nothing about the rate of this one
                before.append(done)
                bar.reset(task, total=total, completed=done)
            bar.update(task, completed=done, total=total, now=what)

        yield show


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
