"""What commands that take long show while they run: how much is done, how fast, and the time left."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

__all__ = ["Show", "progress_bar"]

Show = Callable[..., None]
"""``show(done, total, what="")``: how many are done, of all, and what is being done now."""

_EVERY_S = 30.0


@contextlib.contextmanager
def progress_bar(what: str, unit: str = "points") -> Iterator[Show]:
    """A bar with the rate and the time left on standard error where that is a terminal; elsewhere a line every 30 s.

    The first call of what it yields says where counting begins. Standard output stays as it is where it is a file; on
    the same terminal it is printed above the bar.
    """
    if not sys.stderr.isatty():
        yield _lines(what, unit)
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


def _lines(what: str, unit: str) -> Show:
    """Return what prints a line once in a while, as for a log."""
    began: list[tuple[float, int]] = []
    last = time.monotonic()

    def show(done: int, total: int, _now: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if not began:
            began.append((now, done))
        if now - last < _EVERY_S:
            return
        last, (start, before) = now, began[0]
        rate = (done - before) / max(now - start, 1e-9)
        left = f", {(total - done) / rate:,.0f} s left" if rate else ""
        click.echo(f"{what}: {done:,} of {total:,} {unit}, {_number(rate)} {unit}/s{left}", err=True)

    return show


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
