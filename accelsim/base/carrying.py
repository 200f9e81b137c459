"""Files that travel: what was read on one machine is read on another under the same path, which need not be there."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["carrying", "content_of", "is_carried", "recording"]

_CARRIED: ContextVar[Mapping[str, bytes] | None] = ContextVar("carried", default=None)
_RECORD: ContextVar[dict[str, bytes] | None] = ContextVar("record", default=None)


@contextmanager
def recording() -> Iterator[dict[str, bytes]]:
    """Within this, files that are read are noted: what is yielded fills with their paths, as given, and contents."""
    found: dict[str, bytes] = {}
    token = _RECORD.set(found)
    try:
        yield found
    finally:
        _RECORD.reset(token)


@contextmanager
def carrying(files: Mapping[str, bytes]) -> Iterator[None]:
    """Within this, files of these paths hold these contents, whatever this machine has there."""
    token = _CARRIED.set(files)
    try:
        yield
    finally:
        _CARRIED.reset(token)


def is_carried(path: Path) -> bool:
    """Say whether a file travelled here."""
    return str(path) in (_CARRIED.get() or {})


def content_of(path: Path) -> bytes:
    """Return the bytes of a file, as they travelled or as they are here. Raises `OSError`."""
    carried, record = _CARRIED.get() or {}, _RECORD.get()
    content = carried[str(path)] if str(path) in carried else path.read_bytes()
    if record is not None:
        record[str(path)] = content
    return content
