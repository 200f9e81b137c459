"""Parts of a sweep that run apart, as the tasks of a job array, and the whole that is made of them.

Part i of n holds the points from total (i - 1) / n on to total i / n, rounded down. Its rows end in the sweep with the
part, as in ``0123456789abcdef part 3/8 of 20160``, and the version with the digest of the sources; joined, they end in
the sweep and the version, as if it had run at once.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelsim.base.errors import InputError
from accelsim.base.files import replacing, write_atomically
from accelsim.base.overwriting import note_input
from accelsim.base.version import __version__
from accelsim.sweep.basis_file import basis_data, basis_path

__all__ = ["SweepPart", "join_parts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPart:
    """Part `number` of `count`, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "SweepPart":
        """Read ``3/8``. Raises `InputError` for what is no part."""
        found = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text)
        if not found or int(found[1]) > int(found[2]):
            raise InputError(f"--part {text}: part I of N is needed as I/N, with I from 1 to N, as in 3/8")
        return cls(number=int(found[1]), count=int(found[2]))

    def span(self, total: int) -> range:
        """Return the places of its points. Raises `InputError` where there are more parts than points."""
        if self.count > total:
            raise InputError(f"--part {self}: the sweep has {total:,} points; it can have as many parts at most")
        return range(total * (self.number - 1) // self.count, total * self.number // self.count)

    def of(self, sweep: str, total: int) -> str:
        """Return what its rows call the sweep."""
        return f"{sweep} part {self} of {total}"

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _PartFile:
    """A part in a file: its first line, and what its rows end in."""

    path: Path
    header: bytes
    sweep: str
    part: SweepPart
    total: int
    version: str

    @property
    def ending(self) -> bytes:
        return f",{self.part.of(self.sweep, self.total)},{self.version}".encode()

    def rows(self) -> Iterator[bytes]:
        """Yield its rows without what they end in. Raises `InputError` where one is of another part, or lacks."""
        wanted, found = len(self.part.span(self.total)), 0
        with self.path.open("rb") as file:
            next(file)
            for found, line in enumerate(file, start=1):
                row = line.rstrip(b"\r\n")
                if not line.endswith(b"\n") or not row.endswith(self.ending):
                    raise InputError(f"{self.path}: line {found + 1}: is no whole row of part {self.part}")
                yield row.removesuffix(self.ending)
        if found != wanted:
            raise InputError(
                f"{self.path}: part {self.part} has {found:,} of its {wanted:,} points; run it again to complete it"
            )


def join_parts(paths: Sequence[str | Path], output: str | Path) -> int:
    """Write the sweep that all its parts are of, as it would be had it run at once; return the number of its points.

    Raises `InputError` that names the file or the part for one that is missing, doubled, incomplete, or of another
    sweep or other code.
    """
    output = Path(output)
    files = [_read(Path(path)) for path in paths]
    first = files[0]
    known: dict[int, _PartFile] = {}
    for file in files:
        _check_same(first, file)
        other = known.setdefault(file.part.number, file)
        if other is not file:
            raise InputError(f"{file.path}: is part {file.part}, and so is {other.path}")
    missing = [
        str(SweepPart(number=n, count=first.part.count)) for n in range(1, first.part.count + 1) if n not in known
    ]
    if missing:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        raise InputError(f"{output}: part {', '.join(missing[:5])}{more} of {first.sweep} is missing")
    basis = basis_data(first.path)
    ending = f",{first.sweep},{__version__}\n".encode()
    with replacing(output) as temporary, temporary.open("wb") as whole:
        whole.write(first.header)
        for number in sorted(known):
            for row in known[number].rows():
                whole.write(row + ending)
    text = json.dumps({**basis, "sweep": first.sweep, "version": __version__}, indent=1) + "\n"
    write_atomically(basis_path(output), text)
    return first.total


def _check_same(first: _PartFile, file: _PartFile) -> None:
    for what, one, other in (
        ("of the sweep", first.sweep, file.sweep),
        ("of a sweep of so many points:", first.total, file.total),
        ("one of so many parts:", first.part.count, file.part.count),
        ("made with accelsim", first.version, file.version),
    ):
        if one != other:
            raise InputError(f"{file.path}: is {what} {other}, and {first.path} {one}; they are no parts of one whole")
    if first.header != file.header:
        raise InputError(f"{file.path}: has other columns than {first.path}")


def _read(path: Path) -> _PartFile:
    note_input(path)
    try:
        with path.open("rb") as file:
            header, row = file.readline(), file.readline()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    *_, sweep, version = ["", *row.decode(errors="replace").rstrip("\r\n").split(",")]
    found = re.fullmatch(r"([0-9a-f]{16}) part (\S+) of ([0-9]+)", sweep)
    if not found:
        what = "holds no rows" if not row else "is no part of a sweep"
        raise InputError(f"{path}: {what}; accelsim sweep --part I/N writes parts")
    if version.partition("+")[0] != __version__:
        raise InputError(f"{path}: was made with accelsim {version}, and this is {__version__}")
    return _PartFile(
        path=path,
        header=header.rstrip(b"\r\n") + b"\n",
        sweep=found[1],
        part=SweepPart.parse(found[2]),
        total=int(found[3]),
        version=version,
    )
