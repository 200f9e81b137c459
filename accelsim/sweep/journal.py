"""The journal of a sweep: its CSV, to which whole lines are appended and synced, by one process at a time.

Whatever ends the process, the file holds complete lines of the first points and at most one torn line, which the next
run cuts off before it goes on. So the file of a run that was killed is in the end that of one that was not.
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from accelsim.base.errors import InputError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Journal"]

_CRLF = b"\r\n"


class Journal:
    """Opens or creates the CSV at `path` with this `header`, all of whose lines end in `ending`.

    `lines` counts the rows that it holds; each of them `is_intact`. A file whose lines came to end in CR LF, as an
    editor or a checkout may have it, goes on so. Raises `InputError` where the file holds anything else or another
    process writes it; nothing is changed then.
    """

    def __init__(self, path: Path, header: bytes, ending: bytes, is_intact: Callable[[bytes], bool] = bool) -> None:
        if fcntl is None:
            raise InputError(
                f"{path}: sweeps are written under a lock (flock), which this system does not have; run them on"
                " Linux or macOS, or on Windows in WSL"
            )
        self._is_intact = is_intact
        self.path, self.lines, self._created = path, 0, not path.exists()
        self._header, self._ending, self._newline = header, ending, b"\n"
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{self.path}: another sweep is writing it; wait for its end, or write elsewhere"
            ) from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be locked: {error.strerror or error}; write elsewhere") from None
        self._size = self._recover()
        if self._size < os.fstat(self._file).st_size:
            os.ftruncate(self._file, self._size)
        os.lseek(self._file, self._size, os.SEEK_SET)
        if self._size == 0:
            self._start()

    def _start(self) -> None:
        try:
            self.append(self._header, 0)
        except InputError:
            if self._created:
                self.path.unlink(missing_ok=True)
            raise

    def _recover(self) -> int:
        """Count the complete lines; return where the last of them ends, 0 where not even the header is complete."""
        with os.fdopen(os.dup(self._file), "rb") as file:
            first = file.readline()
            if first.endswith(_CRLF):
                self._newline = _CRLF
                self._header, self._ending = map(self._in_file, (self._header, self._ending))
            if self._header.startswith(first) and first != self._header:
                return 0
            if first != self._header:
                raise InputError(f"{self.path}: {self._difference(first, file.readline())}")
            size = len(first)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                if not line.endswith(self._ending):
                    raise InputError(f"{self.path}: line {self.lines + 2}: {self._stranger(line)}")
                if not self._is_intact(line):
                    raise InputError(
                        f"{self.path}: line {self.lines + 2}: was changed after it was written, its checksum says;"
                        " restore the file, or write to another"
                    )
                self.lines, size = self.lines + 1, size + len(line)
        return size

    def _difference(self, first: bytes, second: bytes) -> str:
        wanted, found = _fields(self._header), _fields(first)
        if found[0] != wanted[0] or found[-1] != wanted[-1]:
            return "holds no results of a sweep; write to another file"
        version, ours = _fields(second)[-1], _fields(self._ending)[-1]
        if second.endswith(b"\n") and version != ours:
            return self._other_version(version)
        parts = []
        for word, ones, others in (("lacks", wanted, found), ("has", found, wanted)):
            names = [name for name in ones if name not in others]
            parts += [f"{word} {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"] if names else []
        what = " and ".join(parts) or "has its columns in another order"
        return f"holds the results of another sweep: it {what}; write to another file"

    def _stranger(self, line: bytes) -> str:
        wanted, found = _fields(self._ending)[-2:], _fields(line)[-2:]
        if len(found) < 2:
            return "is no row of a sweep"
        if found[1] != wanted[1]:
            return self._other_version(found[1])
        return (
            f"is of the sweep {found[0]}, and this is {wanted[0]}: what is varied or what it rests on differs; write to"
            " another file"
        )

    def _other_version(self, version: str) -> str:
        return f"was made with accelsim {version}, and this is {_fields(self._ending)[-1]}; write to another file"

    def append(self, text: bytes, lines: int) -> None:
        """Append whole lines and sync them to the disk: all of them, or none. An interrupt while they are synced finds
        them written.

        Raises `InputError` where they cannot be written, as on a full disk.
        """
        text = self._in_file(text)
        left = memoryview(text)
        try:
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise InputError(
                f"{self.path}: cannot be written: {error.strerror or error}; it holds {self.lines:,} points, all"
                " complete: run the same sweep again to go on"
            ) from None
        except BaseException:
            if left:
                os.ftruncate(self._file, self._size)
            else:
                self._count(text, lines)
            raise
        self._count(text, lines)

    def _count(self, text: bytes, lines: int) -> None:
        self._size, self.lines = self._size + len(text), self.lines + lines

    def _in_file(self, text: bytes) -> bytes:
        return text.replace(b"\n", self._newline)

    def close(self) -> None:
        """Close the file and let others write it."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


def _fields(line: bytes) -> list[str]:
    return line.decode(errors="replace").rstrip("\r\n").split(",")
