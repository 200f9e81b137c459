"""Measured kernels, and the CSV file that they are kept in."""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Literal, get_args

from accelsim.base.errors import InputError
from accelsim.base.files import read_text

__all__ = ["Measurement", "What", "measurements_text", "read_measurements"]

What = Literal["kernel", "issue", "stream", "gemm", "conv", "sparse_gemm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """How long one kernel took, in seconds: median and quartiles of `repeats` samples.

    `what`: kernel, the smallest there is; issue, the host's time per kernel of a forward and backward pass; stream,
    bound by memory, of `kind` copy, add or norm, moving `bytes`; gemm of m x n x k; conv, 3x3 on a batch of square
    images, as a GEMM m = batch x pixels, n = output channels, k = 9 x the input channels of a group, of `kind` grouped
    where it has several groups; sparse_gemm with a 2:4 weight. What does not apply is empty or 0. `effort`: default or
    quick.
    """

    device: str
    software: str
    date: str
    effort: str
    what: What
    kind: str = ""
    precision: str = ""
    m: int = 0
    n: int = 0
    k: int = 0
    batch: int = 0
    bytes: int = 0
    repeats: int
    median_s: float
    q1_s: float
    q3_s: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sizes of the GEMM."""
        return self.m, self.n, self.k

    @property
    def spread(self) -> float:
        """Distance of the quartiles relative to the median."""
        return (self.q3_s - self.q1_s) / self.median_s

    @property
    def operations(self) -> int:
        """Operations, a multiply-accumulate counted as two."""
        return 2 * self.m * self.n * self.k


_COLUMNS = tuple(field.name for field in fields(Measurement))
_WHOLE = ("m", "n", "k", "batch", "bytes", "repeats")
_SECONDS = ("median_s", "q1_s", "q3_s")


def measurements_text(measurements: Iterable[Measurement]) -> str:
    """Return measurements as the text of a CSV file."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for item in measurements:
        values = [getattr(item, column) for column in _COLUMNS]
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value or "" for value in values])
    return out.getvalue()


def read_measurements(path: Path) -> list[Measurement]:
    """Return the measurements in a CSV file, for a run that goes on with them.

    Raises `InputError`: one error, whatever the number of bad rows.
    """
    reader = csv.DictReader(StringIO(read_text(path, goes_on=True)))
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise InputError(f"{path}: no file of measurements; the columns {','.join(_COLUMNS)} are needed")
    found: list[Measurement] = []
    problems: list[str] = []
    for row in reader:
        built = _measurement(row)
        if isinstance(built, Measurement):
            found.append(built)
        else:
            problems.append(f"{path}:{reader.line_num}: {built}")
    if problems:
        more = f" (and {len(problems) - 1} more rows that cannot be used)" if len(problems) > 1 else ""
        raise InputError(problems[0] + more)
    if not found:
        raise InputError(f"{path}: holds no measurements")
    return found


def _measurement(row: Mapping[str, str | None]) -> Measurement | str:
    """A row as a measurement, or what is wrong with it."""
    if None in row or None in row.values():
        return f"{len(_COLUMNS)} columns are needed (truncated?)"
    values: dict[str, object] = dict(row)
    for column in (*_WHOLE, *_SECONDS):
        text = row[column] or "0"
        try:
            values[column] = int(text) if column in _WHOLE else float(text)
        except ValueError:
            return f"{column}: got '{text}'; a number is needed"
    for column in _SECONDS:
        if not 0 < float(row[column] or 0) < math.inf:
            return f"{column}: got '{row[column]}'; a time above 0 is needed"
    if row["what"] not in get_args(What):
        return f"what: got '{row['what']}'; allowed: {', '.join(get_args(What))}"
    return Measurement(**values)  # type: ignore[arg-type]
