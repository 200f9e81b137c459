"""Checks of the model against independent numbers; ``accelsim validate`` runs them on the installed package.

Each check reads rows of one kind, computes the same number from the row's inputs and compares. A row the model cannot
express is counted as unsupported with the reason, never dropped.
"""

import contextlib
import csv
import io
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from accelsim.arrays.array import gemm_on_array
from accelsim.arrays.register import estimate_seconds
from accelsim.base.cells import reading_csv
from accelsim.base.errors import AccelsimError, InputError
from accelsim.base.files import read_text
from accelsim.cost.shared_port import ideal_cycles
from accelsim.hardware.machine import load_machine, machine_names
from accelsim.sparsity.pattern import Pattern
from accelsim.studies.overlap import EngineComparison, compare_engines
from accelsim.studies.random_checks import array_agreement, buffer_agreement, sore_agreement

__all__ = ["CHECKS", "NAMES", "OVERLAP", "RANDOM_CHECKS", "CheckResult", "describe", "register_effort", "run_check"]

Row = Mapping[str, str]


class UnsupportedRowError(Exception):
    """A row that the model cannot express, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A kind of rows: the columns it needs, and a function from a row to what is computed and what is expected."""

    title: str
    source: str
    file: str
    columns: tuple[str, ...]
    compare: Callable[[Row], list[tuple[int, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Outcome of a check: compared rows, those equal in every number, and relative errors; unsupported by reason.

    `comparisons`: the steps that the check `OVERLAP` compared under both engines.
    """

    check: str
    cases: int
    exact: int
    worst_relative_error: float
    median_relative_error: float
    unsupported: tuple[tuple[str, int], ...]
    comparisons: tuple[EngineComparison, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every compared row is exact, and there was one."""
        return self.cases > 0 and self.exact == self.cases

    def to_dict(self) -> dict[str, object]:
        """The result as printed by ``--json``."""
        return {
            "check": self.check,
            "cases": self.cases,
            "exact": self.exact,
            "worst_relative_error": self.worst_relative_error,
            "median_relative_error": self.median_relative_error,
            "unsupported": dict(self.unsupported),
            **({"comparisons": [each.to_dict() for each in self.comparisons]} if self.comparisons else {}),
        }


def _whole(row: Row, column: str) -> int:
    text = row[column].removesuffix(".0")
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise InputError(f"column {column}: got '{row[column]}'; a whole number is needed")
    return int(text)


def _tile(array_model: str) -> Callable[[Row], list[tuple[int, int]]]:
    def compare(row: Row) -> list[tuple[int, int]]:
        kept, group = _whole(row, "N"), _whole(row, "M")
        got = gemm_on_array(
            _whole(row, "Mdim"),
            _whole(row, "Ndim"),
            _whole(row, "Kdim"),
            rows=_whole(row, "R"),
            cols=_whole(row, "C"),
            macs_per_pe=_whole(row, "V"),
            adder_latency=_whole(row, "L"),
            dataflow=row["dataflow"],
            pattern=None if kept == 0 and group == 0 else f"{kept}:{group}",
            interleave=(_whole(row, "Ia"), _whole(row, "Ib")),
            split_k=_whole(row, "Z"),
            variant="split" if row["variant"] == "-" else row["variant"],
            overlapped=_whole(row, "overlap") == 1,
            array_model=array_model,
        )
        names = ("cycles", "op_slots", "x_words", "w_words", "y_words", "tiles")
        return [(getattr(got, name), _whole(row, name)) for name in names]

    return compare


def _scalesim(row: Row) -> list[tuple[int, int]]:
    cycles = gemm_on_array(
        _whole(row, "M"),
        _whole(row, "N"),
        _whole(row, "K"),
        rows=_whole(row, "array_rows"),
        cols=_whole(row, "array_cols"),
        macs_per_pe=1,
        adder_latency=1,
        dataflow=row["dataflow"],
        timing="scalesim",
    ).cycles
    return [(cycles, _whole(row, "scalesim_compute_cycles"))]


def _scalesim_sparse(row: Row) -> list[tuple[int, int]]:
    if row["error"] or not row["total_cycles"]:
        raise UnsupportedRowError(f"SCALE-Sim itself failed: {row['error'].split(':')[0] or 'no cycles'}")
    k = _whole(row, "K")
    if row["sparsity_mode"] == "row-wise":  # its ratio is ignored: B of every 2 B, whole blocks
        block = _whole(row, "block_size")
        k, pattern = -(-k // (2 * block)) * 2 * block, f"{block}:{2 * block}"
    else:
        pattern = row["topology_ratio"]
    cycles = gemm_on_array(
        _whole(row, "M"),
        _whole(row, "N"),
        k,
        rows=_whole(row, "array_rows"),
        cols=_whole(row, "array_cols"),
        macs_per_pe=1,
        adder_latency=1,
        dataflow=row["dataflow"],
        pattern=pattern,
        timing="scalesim",
    ).cycles
    return [(cycles, _whole(row, "total_cycles"))]


def _stonne(row: Row) -> list[tuple[int, int]]:
    if row["arch"] != "TPU_OS_DENSE":
        raise UnsupportedRowError(
            f"{row['arch']}: nonzeros of any position share a reduction tree, which is no systolic array"
        )
    rows, _, cols = row["pe"].partition("x")
    cycles = gemm_on_array(
        _whole(row, "M"),
        _whole(row, "N"),
        _whole(row, "K"),
        rows=int(rows),
        cols=int(cols),
        macs_per_pe=1,
        adder_latency=1,
        dataflow="os",
        timing="stonne",
    ).cycles
    return [(cycles, _whole(row, "cycles"))]


_GEMM = re.compile(r"GEMM M(\d+) K(\d+) N(\d+) .*")


def _tensor_core(row: Row) -> list[tuple[int, int]]:
    """The sparse operand A (M x K) stays, so it is the weight: n = M, and the columns of B stream: m = N."""
    shape = _GEMM.fullmatch(row["workload"])
    machines = {machine.published_as: machine for machine in map(load_machine, machine_names())}
    if row["metric"] != "cycles" or shape is None:
        raise UnsupportedRowError("no cycle count of a GEMM with given sizes")
    if row["design"] not in machines:
        raise UnsupportedRowError("dual-side unstructured sparsity, which an N:M array does not execute")
    mask = None if row["weight_sparsity"] == "dense" else Pattern.parse(row["weight_sparsity"])
    n, k, m = (int(size) for size in shape.groups())
    return [(ideal_cycles(machines[row["design"]], m, n, k, mask), _whole(row, "value"))]


_TILE_COLUMNS = (
    *("dataflow", "variant", "overlap", "R", "C", "V", "N", "M", "L", "Ia", "Ib", "Z", "Mdim", "Ndim", "Kdim"),
    *("cycles", "op_slots", "x_words", "w_words", "y_words", "tiles"),
)
_GEMM_COLUMNS = ("M", "N", "K", "array_rows", "array_cols", "dataflow")
_STEPPER = "an independent cycle-by-cycle stepper"

CHECKS: dict[str, Check] = {
    "tiles": Check(title="array tiles, closed form", source=_STEPPER, file="golden_tiles.csv", columns=_TILE_COLUMNS,
                   compare=_tile("closed")),
    "register-tiles": Check(title="array tiles, register level", source=_STEPPER, file="golden_tiles.csv",
                            columns=_TILE_COLUMNS, compare=_tile("register")),
    "scalesim": Check(title="SCALE-Sim, dense", source="SCALE-Sim v3.0.0", file="scalesim_cycles.csv",
                      columns=(*_GEMM_COLUMNS, "scalesim_compute_cycles"), compare=_scalesim),
    "scalesim-sparse": Check(title="SCALE-Sim, N:M", source="SCALE-Sim v3.0.0", file="scalesim_sparse.csv",
                             columns=(*_GEMM_COLUMNS, "sparsity_mode", "topology_ratio", "block_size", "total_cycles",
                                      "error"), compare=_scalesim_sparse),
    "tensor-core": Check(
        title="sparse tensor cores",
        source="Sparseloop MICRO 2022 artifact, figure 15",
        file="published_points.csv",
        columns=("workload", "design", "weight_sparsity", "metric", "value"),
        compare=_tensor_core,
    ),
    "stonne": Check(title="STONNE", source="STONNE 22634b8", file="stonne_gemm.csv",
                    columns=("arch", "pe", "M", "N", "K", "cycles"), compare=_stonne),
}  # fmt: skip


RANDOM_CHECKS: dict[str, tuple[str, str, Callable[[], Iterator[list[tuple[float, float]]]]]] = {
    "array": ("closed form", "the register-level machine, 1500 random GEMMs", array_agreement),
    "buffers": ("traffic and double buffering", "a walk over every job, 600 random loop nests", buffer_agreement),
    "sore": ("SORE against masks", "magnitude masks, 300 random tensors", sore_agreement),
}


OVERLAP = "overlap"
"""The check of the event engine: as the closed form without overlap, and never below the bound with it."""

NAMES = (*CHECKS, *RANDOM_CHECKS, OVERLAP)


def describe(name: str) -> tuple[str, str]:
    """Title and source of a check."""
    if name == OVERLAP:
        return "event engine", "the closed form without overlap, and a bound with it"
    if name in RANDOM_CHECKS:
        return RANDOM_CHECKS[name][:2]
    return CHECKS[name].title, CHECKS[name].source


def register_effort(path: Path | None) -> tuple[float, int]:
    """Return about how many seconds the check ``register-tiles`` takes, and its rows; unreadable ones take none."""
    total, rows = 0.0, _rows("register-tiles", path)[1]
    for _, row in rows:
        with contextlib.suppress(AccelsimError):
            kept, group = _whole(row, "N"), _whole(row, "M")
            total += estimate_seconds(
                _whole(row, "Mdim"),
                _whole(row, "Ndim"),
                _whole(row, "Kdim"),
                rows=_whole(row, "R"),
                cols=_whole(row, "C"),
                macs_per_pe=_whole(row, "V"),
                adder_latency=_whole(row, "L"),
                dataflow=row["dataflow"],  # type: ignore[arg-type]
                pattern=Pattern(kept, group) if group else None,
                interleave=(_whole(row, "Ia"), _whole(row, "Ib")),
                split_k=_whole(row, "Z"),
                variant=None if row["variant"] == "-" else row["variant"],  # type: ignore[arg-type]
                overlapped=_whole(row, "overlap") == 1,
            )
    return total, len(rows)


def _rows(name: str, path: Path | None) -> tuple[str, list[tuple[int, dict[str, str]]]]:
    """Name of the file and its rows with their lines; refuses missing columns and short rows."""
    check = CHECKS[name]
    text = (resources.files("accelsim") / "data" / check.file).read_text() if path is None else read_text(path)
    source = str(path or check.file)
    reader = csv.DictReader(io.StringIO(text))
    with reading_csv(source):
        rows = list(enumerate(reader, start=2))
    absent = [column for column in check.columns if column not in (reader.fieldnames or ())]
    if absent:
        raise InputError(f"{source}: column {', '.join(absent)} missing; needed: {', '.join(check.columns)}")
    for line, row in rows:
        if None in row or None in row.values():
            raise InputError(f"{source}:{line}: {len(reader.fieldnames or ())} columns are needed (truncated?)")
    if not rows:
        raise InputError(f"{source}: no rows to check")
    return source, rows


def run_check(name: str, path: Path | None = None, progress: Callable[[int], None] | None = None) -> CheckResult:
    """Run one check on its shipped rows, or on a CSV file with the same columns; or one that makes its own cases.

    `progress` is called with 1 after each row. Raises `InputError` naming file, line and column for a file that lacks
    columns, has no rows or holds bad values.
    """
    if name not in CHECKS and path is not None:
        raise InputError(f"check '{name}': makes its own cases and reads no file, got {path}")
    if name == OVERLAP:
        found = tuple(compare_engines())
        return replace(_summary(name, [_error(each.pairs) for each in found], Counter()), comparisons=found)
    if name in RANDOM_CHECKS:
        return _summary(name, [_error(pairs) for pairs in RANDOM_CHECKS[name][2]()], Counter())
    source, rows = _rows(name, path)
    errors: list[float] = []
    unsupported: Counter[str] = Counter()
    for line, row in rows:
        try:
            errors.append(_error(CHECKS[name].compare(row)))
        except UnsupportedRowError as reason:
            unsupported[str(reason)] += 1
        except AccelsimError as error:
            raise InputError(f"{source}:{line}: {error}") from None
        if progress is not None:
            progress(1)
    return _summary(name, errors, unsupported)


def _error(pairs: Sequence[tuple[float, float]]) -> float:
    """Largest relative error of the numbers of one case."""
    return max(float(abs(got - want) / max(abs(want), 1)) for got, want in pairs)


def _summary(name: str, errors: list[float], unsupported: Counter[str]) -> CheckResult:
    return CheckResult(
        check=name,
        cases=len(errors),
        exact=sum(error == 0 for error in errors),
        worst_relative_error=max(errors, default=0.0),
        median_relative_error=statistics.median(errors) if errors else 0.0,
        unsupported=tuple(unsupported.items()),
    )
