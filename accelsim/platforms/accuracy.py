"""How far platform estimates are from measurements: ``accelsim validate throughput`` and ``sparse-gemm``.

Of the shipped rows only the held-out third is compared, which no fit has seen; of a file with the same columns every
row. The relative error is |predicted - measured| / measured. An early form of the model, that is, what it has terms for
and how rows are read, was chosen with all rows in sight that were shipped then. What it has gained since, from
`channels_last_gain` to `sparse_reread`, was chosen by cross-validation within the rows that are not held out; rows of
products added with it were never in sight where they are held out.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from accelsim.base.errors import InputError
from accelsim.base.progress import Progress, heard, silent
from accelsim.hardware.platform import Behaviour, load_behaviour, load_platform, platform_names
from accelsim.platforms.predictions import predict_pairs, prepare
from accelsim.platforms.published_rows import (
    SparseCase,
    ThroughputCase,
    Unsupported,
    held_out,
    read_sparse,
    read_throughput,
)

__all__ = [
    "PLATFORM_CHECKS",
    "Accuracy",
    "Band",
    "Compared",
    "Signs",
    "Spread",
    "check_platforms",
    "describe_check",
    "error_band",
]


Wanted = Callable[[ThroughputCase | SparseCase], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A measured row beside its prediction; `unit` is samples/s, tokens/s, operations/s or x (a speedup).

    `band`: the error that the behaviour states; None where it states none.
    """

    line: int
    platform: str
    behaviour: str | None
    label: str
    unit: str
    measured: float
    predicted: float
    held_out: bool
    band: float | None = None

    @property
    def relative_error(self) -> float:
        """|predicted - measured| / measured."""
        return abs(self.predicted - self.measured) / self.measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Relative errors of some rows: how many, their median, 90th percentile and the row that is worst."""

    rows: int
    median: float
    p90: float
    worst: Compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """Of ratios, whether a gain or a loss was measured and predicted: rows, how many right, losses, and those seen."""

    rows: int
    right: int
    losses: int
    losses_seen: int

    def __str__(self) -> str:
        """Return it as a sentence."""
        return (
            f"whether it gains or loses is right in {self.right} of {self.rows} rows, and in {self.losses_seen} of the"
            f" {self.losses} where it loses"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Of rows whose behaviour states an expected error: how many there are, and how many are within it."""

    rows: int
    within: int

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"{self.within} of {self.rows} rows ({self.within / self.rows:.0%}) are within the error stated for them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Outcome of a check of platform estimates: compared rows, and those that cannot be, with platform and reason."""

    check: str
    compared: tuple[Compared, ...]
    unsupported: tuple[Unsupported, ...]

    @property
    def overall(self) -> Spread | None:
        """The errors of all compared rows; None where there are none."""
        return _spread(self.compared)

    @property
    def signs(self) -> Signs | None:
        """Whether predicted gains are gains, of the check that compares gains."""
        rows = self.compared
        if self.check != "sparse-gemm" or not rows:
            return None
        return Signs(
            rows=len(rows),
            right=sum((row.measured > 1) == (row.predicted > 1) for row in rows),
            losses=sum(row.measured <= 1 for row in rows),
            losses_seen=sum(row.measured <= 1 and row.predicted <= 1 for row in rows),
        )

    @property
    def band(self) -> Band | None:
        """How many rows are within the error that is stated for them; None where none is stated."""
        stated = [(row.relative_error, row.band) for row in self.compared if row.band is not None]
        if not stated:
            return None
        return Band(rows=len(stated), within=sum(error <= band for error, band in stated))

    @property
    def by_platform(self) -> dict[str, Spread]:
        """The errors of each platform that has rows, by name."""
        groups: dict[str, list[Compared]] = {}
        for row in self.compared:
            groups.setdefault(row.platform, []).append(row)
        spreads = {name: _spread(groups[name]) for name in sorted(groups)}
        return {name: spread for name, spread in spreads.items() if spread is not None}

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows cannot be compared, by platform and reason."""
        return dict(Counter(f"{row.platform}: {row.reason}" for row in self.unsupported))

    def to_dict(self) -> dict[str, object]:
        """The result as printed by ``--json``; no number of an estimate is exact, so `exact` is None."""
        overall = self.overall
        return {
            "check": self.check,
            "cases": len(self.compared),
            "exact": None,
            "worst_relative_error": overall.worst.relative_error if overall else None,
            "median_relative_error": overall.median if overall else None,
            "p90_relative_error": overall.p90 if overall else None,
            "signs": None if self.signs is None else asdict(self.signs),
            "band": None if self.band is None else asdict(self.band),
            "unsupported": self.reasons,
            "platforms": {
                name: {
                    "cases": spread.rows,
                    "median_relative_error": spread.median,
                    "p90_relative_error": spread.p90,
                    "worst": spread.worst.label,
                }
                for name, spread in self.by_platform.items()
            },
        }


def _spread(rows: Sequence[Compared]) -> Spread | None:
    if not rows:
        return None
    errors = np.array(_errors(rows))
    return Spread(
        rows=len(rows),
        median=float(np.median(errors)),
        p90=float(np.quantile(errors, 0.9)),
        worst=rows[int(errors.argmax())],
    )


def _throughput(path: Path | None, wanted: Wanted, progress: Progress) -> tuple[list[Compared], list[Unsupported]]:
    compared, unsupported = [], []
    for case in heard(read_throughput(path), progress):
        if isinstance(case, Unsupported):
            unsupported.append(case)
            continue
        if not wanted(case):
            continue
        try:
            predicted = prepare(case).predict(_behaviour(case))
        except InputError as error:
            unsupported.append(Unsupported(line=case.line, platform=case.platform.name, reason=str(error)))
            continue
        compared.append(_compared(case, case.measured, predicted))
    return compared, unsupported


def _sparse(path: Path | None, wanted: Wanted, progress: Progress) -> tuple[list[Compared], list[Unsupported]]:
    compared, unsupported = [], []
    for case in heard(read_sparse(path), progress):
        if isinstance(case, Unsupported):
            unsupported.append(case)
            continue
        if not wanted(case):
            continue
        try:
            speedups, _ = predict_pairs([case], _behaviour(case))
        except InputError as error:
            unsupported.append(Unsupported(line=case.line, platform=case.platform.name, reason=str(error)))
            continue
        compared.append(_compared(case, case.speedup, float(speedups[0])))
    return compared, unsupported


def _behaviour(case: ThroughputCase | SparseCase) -> Behaviour:
    return _load(str(case.platform.behaviour))


_load = cache(load_behaviour)


def _compared(case: ThroughputCase | SparseCase, measured: float, predicted: float) -> Compared:
    behaviour = _behaviour(case)
    return Compared(
        line=case.line,
        platform=case.platform.name,
        behaviour=case.platform.behaviour,
        label=case.label,
        unit=case.unit if isinstance(case, ThroughputCase) else "x",
        measured=measured,
        predicted=predicted,
        held_out=held_out(case),
        band=behaviour.throughput_error if isinstance(case, ThroughputCase) else behaviour.gain_error,
    )


PLATFORM_CHECKS: Mapping[str, Callable[[Path | None, Wanted, Progress], tuple[list[Compared], list[Unsupported]]]] = {
    "throughput": _throughput,
    "sparse-gemm": _sparse,
}
"""Checks of platform estimates, by name."""


_TITLES = {
    "throughput": "training throughput on one device",
    "sparse-gemm": "speedup of a product with a 2:4 weight over the dense one",
}


def describe_check(name: str, *, shipped: bool) -> str:
    """What a check compares, and which rows."""
    rows = "the held-out third of the shipped rows, which no fit has seen" if shipped else "all rows of the file"
    return f"{_TITLES[name]}; {rows}"


def check_platforms(
    name: str, path: Path | None = None, *, everything: bool = False, progress: Progress = silent
) -> Accuracy:
    """Compare the rows of a check: every row of the file `path`, else the held-out shipped ones, or `everything`;
    `progress` hears of each row.

    Raises `InputError` naming file, line and column for a file that lacks columns, has no rows or holds bad values.
    """
    all_rows = path is not None or everything
    compared, unsupported = PLATFORM_CHECKS[name](path, lambda case: all_rows or held_out(case), progress)
    return Accuracy(check=name, compared=tuple(compared), unsupported=tuple(unsupported))


@cache
def error_band(platform: str, behaviour: str | None) -> tuple[float | None, str]:
    """Return the error that an estimate of a platform's throughput has to be expected to have, and what says so.

    It is what the behaviour states: the error that most rows of the platforms of its family stay within, predicted by
    fits that had not read them; no held-out row enters, so that those can judge it (`Accuracy.band`). None for a
    platform that is not shipped, or not with that behaviour: no row is its own.
    """
    if platform not in platform_names() or load_platform(platform).behaviour != behaviour:
        return None, "no measurement of it is shipped (accelsim validate throughput compares your own)"
    stated = _load(str(behaviour))
    origins = (item.source for item in stated.provenance if item.path == "throughput_error")
    return stated.throughput_error, next(origins, "its behaviour states no error")


def _errors(rows: Sequence[Compared]) -> list[float]:
    return [row.relative_error for row in rows]
