"""A command on a damaged file, in this process, and what is wrong with what it did."""

import contextlib
import io
import os
import signal
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from damages import FREE, MUST_EQUAL, MUST_REFUSE, Damage

from accelsim.cli import main

LIMIT_S = 20
FAULTS = (
    "traceback",
    "hangs",
    "silent wrong",
    "wrongly refused",
    "file not named",
    "left behind",
    "terminal",
    "exit code",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: exit code (None: a traceback or no end), standard output and errors, files it left."""

    code: int | None
    out: str
    errors: str
    left: tuple[str, ...] = ()
    raised: str = ""

    @property
    def refused(self) -> bool:
        """Whether it said that it cannot."""
        return self.code in {2, 3}


def run(arguments: Sequence[str], folder: Path, limit_s: int = LIMIT_S) -> Outcome:
    """Run a command in `folder`, for so long at most; what is new there afterwards is what it left."""
    out, errors = io.StringIO(), io.StringIO()
    before, here = _files(folder), Path.cwd()
    try:
        os.chdir(folder)
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
            _limited(limit_s),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error")
            code = main(list(arguments))
    except BaseException as error:  # what escapes is what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        return Outcome(None, out.getvalue(), errors.getvalue(), raised=_where(error))
    finally:
        os.chdir(here)
    return Outcome(code, out.getvalue(), errors.getvalue(), tuple(sorted(_files(folder) - before)))


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


class _TooLong(BaseException):
    """It does not end."""


@contextlib.contextmanager
def _limited(limit_s: int) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _where(error: BaseException) -> str:
    """The error, and the last line of ours that it came through."""
    if isinstance(error, _TooLong):
        return "hangs"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "accelsim" in frame.filename]
    last = frames[-1] if frames else None
    place = f"{'/'.join(Path(last.filename).parts[-2:])}:{last.name}" if last else "elsewhere"
    return f"{type(error).__name__} in {place}: {ascii(str(error))[:120]}"


def faults(damage: Damage, name: str, outcome: Outcome, good: Outcome) -> Iterator[str]:
    """Yield what is wrong, one of `FAULTS` each; `good` is what the command does with the undamaged file `name`."""
    if outcome.code is None:
        yield "hangs" if outcome.raised == "hangs" else "traceback"
        return
    if outcome.code not in {0, 1, 2, 3} or (outcome.code == 1 and good.code == 0 and not outcome.out):
        yield "exit code"
    if damage.expects == MUST_REFUSE and not outcome.refused:
        yield "silent wrong"
    if damage.expects == MUST_EQUAL and (outcome.code, outcome.out) != (good.code, good.out):
        yield "wrongly refused" if outcome.refused else "silent wrong"
    if outcome.refused:
        lines = [line for line in outcome.errors.splitlines() if line.startswith("error: ")]
        if not lines or (
            (damage.expects != FREE or outcome.code == 2)
            and not all(name in line or line.startswith("error: -") for line in lines)
        ):
            yield "file not named"
        if outcome.left:
            yield "left behind"
    if any(not (char.isprintable() or char in "\n\t") for char in outcome.out + outcome.errors):
        yield "terminal"
