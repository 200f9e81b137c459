"""The files that a command reads, which it does not write over."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from accelsim.base.errors import InputError

__all__ = ["keeping_inputs", "note_input", "refuse_inputs"]

_INPUTS: ContextVar[set[tuple[int, int]] | None] = ContextVar("inputs", default=None)


@contextmanager
def keeping_inputs() -> Iterator[None]:
    """Within this, no file that was read is written over: outputs of a command that are its inputs are refused."""
    token = _INPUTS.set(set())
    try:
        yield
    finally:
        _INPUTS.reset(token)


def note_input(path: Path) -> None:
    """Remember a file that is read, by what it is and not by its name; see `keeping_inputs`."""
    known = _INPUTS.get()
    if known is not None:
        known.update(_identity(path))


def refuse_inputs(path: Path) -> None:
    """Raise `InputError` where writing to a file, or anew to a folder, would destroy what was read from there."""
    known = _INPUTS.get()
    if not known:
        return
    for file in path.rglob("*") if path.is_dir() else (path,):
        if not known.isdisjoint(_identity(file)):
            where = "" if file == path else f"holds {file.relative_to(path)}, which "
            raise InputError(f"{path}: {where}is an input of this command and would be lost; give another output")


def _identity(path: Path) -> set[tuple[int, int]]:
    try:
        found = path.stat()
    except OSError:
        return set()
    return {(found.st_dev, found.st_ino)}
