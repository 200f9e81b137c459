"""Behaviours fitted to measurements: ``python -m accelsim.platforms.fit hw_configs/behaviours``.

Reads `accelsim/data/training_throughput.csv` and `sparse_speedups.csv` without their held-out third, and writes one
file per family of platforms. Values are those that make the mean absolute logarithm of predicted over measured
smallest, by a search along one value at a time, within bounds and with a weak pull to where they started.

Values of training steps are found for all families together first; each family with rows then has its own of
`_TRAINING`, pulled to the common ones the more the fewer rows it has. `_COMMON`, one value per effect, stay common. A
family without rows has the common ones. Values of products are fitted for each family, in 16 bits and in each type of
8 bits that it has rows of; a family without has the median of the others.

The form of the model, and how large an error has to be expected, come from predictions of the same rows by fits that
have not read them: in each of `FOLDS` parts, which a hash decides, the rows of one part are predicted from the others.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from accelsim.base.files import write_atomically
from accelsim.hardware.platform import Behaviour, Products, load_platform, platform_names
from accelsim.hardware.sourced_text import SourcedValue, sourced_text
from accelsim.platforms.predictions import PreparedThroughput, predict_pairs, prepare
from accelsim.platforms.published_rows import (
    SparseCase,
    ThroughputCase,
    fold,
    held_out,
    read_sparse,
    read_throughput,
)

__all__ = ["FOLDS", "FittedFamily", "cross_validated", "families", "fit_families", "main"]

Values = dict[str, float]
Bounds = Mapping[str, tuple[float, float, float]]

FOLDS = 4

# start, least, most
_TRAINING: Bounds = {
    "matrix_efficiency": (0.6, 0.2, 1.2),
    "tf32_efficiency": (0.6, 0.2, 1.2),
    "fp32_efficiency": (0.7, 0.2, 1.2),
    "conv_factor": (0.8, 0.3, 1.0),
    "memory_efficiency": (0.8, 0.3, 0.95),
    "kernel_us": (3.0, 0.5, 15.0),
    "host_us": (20.0, 2.0, 80.0),
    "pj_per_operation": (1.0, 0.1, 5.0),
}
_COMMON: Bounds = {
    "winograd_gain": (1.6, 1.0, 2.25),
    "direct_share": (0.15, 0.02, 1.0),
    "depthwise_share": (0.1, 0.01, 1.0),
    "channels_last_gain": (1.1, 0.7, 2.0),
    "tf32_conv_gain": (1.0, 0.5, 2.0),
    "fp32_conv_gain": (1.0, 0.5, 2.0),
    "tf32_layout_share": (1.0, 0.05, 2.0),
    "activation_passes": (1.1, 0.5, 3.0),
    "early_factor": (1.5, 1.0, 5.0),
    "tensorflow2_factor": (1.1, 0.8, 1.6),
}
_SHARED_PRODUCTS: Bounds = {
    "product_memory_efficiency": (0.8, 0.3, 1.0),
    "cache_gain": (2.5, 1.0, 8.0),
    "cache_share": (0.8, 0.3, 2.0),
    "sparse_reread": (0.7, 0.02, 1.0),
}
_OWN_PRODUCTS: Bounds = {
    "efficiency": (0.75, 0.02, 1.3),
    "kernel_us": (4.0, 0.5, 15.0),
    "depth_ns": (0.5, 0.05, 6.0),
    "sparse_gain": (1.7, 0.5, 8.0),
    "sparse_us": (5.5, 0.5, 15.0),
    "sparse_depth_ns": (0.5, 0.05, 6.0),
}
"""`sparse_us`: the smallest 2:4 product; a behaviour has what it takes beyond a dense one."""

_PULL, _PRODUCTS_PULL, _COMMON_PULL = 0.004, 0.002, 0.001
_FAMILY_PULL = 0.1
"""Divided by the rows of the family."""
_DENSE_WEIGHT = 0.15
"""Weight of the error of dense times beside that of speedups."""

_HALF = "half."
_WIDTHS = {_HALF: ("fp16", "bf16", "tf32"), "fp8.": ("fp8",), "int8.": ("int8",)}
"""Operands that share `_OWN_PRODUCTS`, by what their names start with; those of `_HALF` stand in no section."""

_NO_SPARSE = {"sparse_gain": 1.0, "sparse_kernel_us": 0.0, "sparse_depth_ns": 0.0, "sparse_reread": 0.0}
_NEEDS_MATRIX = ("matrix_efficiency", "pj_per_operation")

_BAND = 0.85
_FEWEST_ROWS = 8
"""An expected error is this quantile, over the rows of a family if it has as many, else over those of all."""


def _own(prefix: str) -> Bounds:
    return {f"{prefix}{name}": bounds for name, bounds in _OWN_PRODUCTS.items()}


def _products(widths: Sequence[str]) -> Bounds:
    return {**_SHARED_PRODUCTS, **{key: bound for prefix in widths for key, bound in _own(prefix).items()}}


def _starts() -> Values:
    every = {**_TRAINING, **_COMMON, **_products(tuple(_WIDTHS))}
    return {name: start for name, (start, _, _) in every.items()}


@dataclass(slots=True, kw_only=True, eq=False)
class FittedFamily:
    """The rows of a family that may be fitted to, and the values found so far."""

    name: str
    training: list[PreparedThroughput]
    products: list[SparseCase]
    values: Values = field(default_factory=_starts)

    @property
    def widths(self) -> tuple[str, ...]:
        """Sections of `_WIDTHS` that the rows of products need."""
        known = {pair.arithmetic for pair in self.products}
        return tuple(prefix for prefix, types in _WIDTHS.items() if known & set(types))

    def behaviour(self, changes: Mapping[str, float] | None = None) -> Behaviour:
        """The behaviour that the values make, with some of them changed; not validated, for speed."""
        values = {**self.values, **(changes or {})}
        plain: dict[str, Any] = {name: values[name] for name in (*_TRAINING, *_COMMON, *_SHARED_PRODUCTS)}
        half = _of_products(values, _HALF)
        return Behaviour.model_construct(
            **plain,
            product_efficiency=half.efficiency,
            product_kernel_us=half.kernel_us,
            product_depth_ns=half.depth_ns,
            sparse_gain=half.sparse_gain,
            sparse_kernel_us=half.sparse_kernel_us,
            sparse_depth_ns=half.sparse_depth_ns,
            fp8=_of_products(values, "fp8."),
            int8=_of_products(values, "int8."),
        )

    def training_error(self, changes: Mapping[str, float]) -> float:
        """Mean absolute logarithm of predicted over measured throughput."""
        behaviour = self.behaviour(changes)
        return float(np.mean([abs(math.log(row.predict(behaviour) / row.case.measured)) for row in self.training]))

    def product_error(self, changes: Mapping[str, float]) -> float:
        """The same of 2:4 speedups, with some weight on the dense times."""
        speedups, dense_us = predict_pairs(self.products, self.behaviour(changes))
        error = np.abs(np.log(speedups / [row.speedup for row in self.products])).mean()
        timed = [(index, row.dense_us) for index, row in enumerate(self.products) if row.dense_us is not None]
        apart = [abs(math.log(dense_us[index] / want)) for index, want in timed]
        return float(error) + _DENSE_WEIGHT * float(np.mean(apart or [0.0]))


def _of_products(values: Values, prefix: str) -> Products:
    own: dict[str, Any] = {name: values[f"{prefix}{name}"] for name in _OWN_PRODUCTS}
    own["sparse_kernel_us"] = own.pop("sparse_us") - own["kernel_us"]
    return Products.model_construct(**own)


def families() -> dict[str, FittedFamily]:
    """Every behaviour that a shipped platform names, with the rows of its platforms that are not held out."""
    names = dict.fromkeys(load_platform(name).behaviour for name in platform_names())
    found = {name: FittedFamily(name=name, training=[], products=[]) for name in names if name is not None}
    for row in read_throughput():
        if isinstance(row, ThroughputCase) and not held_out(row):
            found[str(row.platform.behaviour)].training.append(prepare(row))
    for pair in read_sparse():
        if isinstance(pair, SparseCase) and not held_out(pair):
            found[str(pair.platform.behaviour)].products.append(pair)
    return found


def fit_families(found: Mapping[str, FittedFamily]) -> None:
    """Fit the values of each family: products first, as training uses their cache and 2:4 values, then training."""
    _fit_products(found)
    trained = [family for family in found.values() if family.training]
    if not trained:
        return
    common = {name: start for name, (start, _, _) in {**_TRAINING, **_COMMON}.items()}

    def overall(changes: Mapping[str, float]) -> float:
        return _overall_error(trained, changes)

    _descend(overall, common, {**_TRAINING, **_COMMON}, rounds=6, pull=_PULL)
    for family in found.values():
        family.values.update(common)
    for again in (False, True):
        if again:
            shared = {name: common[name] for name in _COMMON}
            _descend(overall, shared, _moved(_COMMON, common), rounds=4, pull=_COMMON_PULL)
            for family in found.values():
                family.values.update(shared)
        for family in trained:
            pull = _FAMILY_PULL / len(family.training)
            _descend(family.training_error, family.values, _moved(_TRAINING, common), rounds=6, pull=pull)


def _moved(bounds: Bounds, starts: Values) -> Bounds:
    """The same bounds around other starts."""
    return {name: (starts[name], least, most) for name, (_, least, most) in bounds.items()}


def _fit_products(found: Mapping[str, FittedFamily]) -> None:
    measured = [family for family in found.values() if family.products]
    for family in measured:
        _descend(family.product_error, family.values, _products(family.widths), rounds=9, pull=_PRODUCTS_PULL)
    for family in found.values():
        for names, rows in _groups():
            if not rows(family):
                others = [each.values for each in measured if rows(each)]
                family.values.update({name: median(each[name] for each in others) for name in names if others})


def _groups() -> Iterator[tuple[Bounds, Callable[[FittedFamily], int]]]:
    """Values of products that the same rows decide, and how many such rows a family has."""
    yield _SHARED_PRODUCTS, lambda family: len(family.products)
    for prefix in _WIDTHS:
        yield _own(prefix), lambda family, prefix=prefix: _rows_of(family, prefix)  # type: ignore[misc]


def _rows_of(family: FittedFamily, prefix: str) -> int:
    return sum(pair.arithmetic in _WIDTHS[prefix] for pair in family.products)


def _overall_error(trained: Sequence[FittedFamily], changes: Mapping[str, float]) -> float:
    rows = [len(family.training) for family in trained]
    return float(np.average([family.training_error(changes) for family in trained], weights=rows))


def _descend(
    error: Callable[[Mapping[str, float]], float], values: Values, bounds: Bounds, *, rounds: int, pull: float
) -> None:
    """Change `values` one at a time by shrinking factors as long as the error with its pull to the start falls."""

    def total(changes: Values) -> float:
        away = sum(math.log(changes[name] / start) ** 2 for name, (start, _, _) in bounds.items())
        return error(changes) + pull * away

    best, step = total(values), 0.4
    for _ in range(rounds):
        for name, (_, least, most) in bounds.items():
            for factor in (step, -step, step / 3, -step / 3):
                while True:
                    tried = {**values, name: min(most, max(least, values[name] * math.exp(factor)))}
                    found = total(tried)
                    if found >= best - 1e-9:
                        break
                    best = found
                    values.update(tried)
        step *= 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidated:
    """A row with what a fit predicts for it that has not read it."""

    case: ThroughputCase | SparseCase
    measured: float
    predicted: float

    @property
    def relative_error(self) -> float:
        """|predicted - measured| / measured."""
        return abs(self.predicted - self.measured) / self.measured


def cross_validated(found: Mapping[str, FittedFamily]) -> list[CrossValidated]:
    """Return every row of the families, predicted by a fit to the rows of the other parts."""
    rows: list[CrossValidated] = []
    for part in range(FOLDS):
        others = {
            name: FittedFamily(
                name=name,
                training=[row for row in family.training if fold(row.case, FOLDS) != part],
                products=[pair for pair in family.products if fold(pair, FOLDS) != part],
            )
            for name, family in found.items()
        }
        fit_families(others)
        for name, family in found.items():
            behaviour = others[name].behaviour()
            left = [row for row in family.training if fold(row.case, FOLDS) == part]
            rows += [
                CrossValidated(case=row.case, measured=row.case.measured, predicted=row.predict(behaviour))
                for row in left
            ]
            pairs = [pair for pair in family.products if fold(pair, FOLDS) == part]
            speedups, _ = predict_pairs(pairs, behaviour)
            rows += [
                CrossValidated(case=pair, measured=pair.speedup, predicted=float(speedup))
                for pair, speedup in zip(pairs, speedups, strict=True)
            ]
    return rows


def _depends(family: FittedFamily, name: str) -> int:
    """How many rows of a family say something of a value of its own."""
    if name in _SHARED_PRODUCTS:
        return len(family.products)
    precisions = [(row.case.software.precision, _matrix(row)) for row in family.training]
    if name in _NEEDS_MATRIX:
        return sum(matrix and precision in ("fp16", "amp", "bf16") for precision, matrix in precisions)
    if name == "tf32_efficiency":
        return sum(precision == "tf32" for precision, _ in precisions)
    if name == "fp32_efficiency":
        return sum(precision == "fp32" or not matrix for precision, matrix in precisions)
    return len(precisions)


def _matrix(row: PreparedThroughput) -> bool:
    compute = row.case.platform.compute
    return compute is not None and compute.matrix_units


def _training_values(found: Mapping[str, FittedFamily], family: FittedFamily) -> dict[str, SourcedValue]:
    """Values of training steps, with their origins."""
    rows = sum(len(each.training) for each in found.values())
    file = "rows of accelsim/data/training_throughput.csv"
    values = {}
    for name in (*_TRAINING, *_COMMON):
        own = 0 if name in _COMMON else _depends(family, name)
        if own:
            source, confidence = f"fitted to {own} {file}, from values fitted to {rows} of all families", "fitted"
        else:
            source, confidence = f"fitted over all families to {rows} {file}", "fitted"
            if name in _TRAINING:
                source, confidence = f"no row of the family measures it: {source}", "assumption"
        values[name] = SourcedValue(_rounded(family.values[name]), source, confidence)
    return values


def _product_values(family: FittedFamily) -> dict[str, SourcedValue]:
    """Values of products, with their origins."""
    behaviour, sparse = family.behaviour(), _any_sparse(family.name)
    values: dict[str, SourcedValue] = {}
    for name in _SHARED_PRODUCTS:
        values[name] = _of_rows(family.values[name], len(family.products))
    for prefix in _WIDTHS:
        rows = _rows_of(family, prefix)
        eight_bits = prefix != _HALF
        if eight_bits and not rows:
            continue
        section = behaviour.products(_WIDTHS[prefix][0])
        for name in Products.model_fields:
            path = f"{prefix}{name}"
            if not eight_bits:
                path = name if name.startswith("sparse") else f"product_{name}"
            values[path] = _of_rows(getattr(section, name), rows)
    if not sparse:
        none = "the platforms have no 2:4 products"
        values.update({name: SourcedValue(value, none, "derived") for name, value in _NO_SPARSE.items()})
    return values


def _of_rows(value: float, rows: int) -> SourcedValue:
    if rows:
        return SourcedValue(_rounded(value), f"fitted to {rows} rows of accelsim/data/sparse_speedups.csv", "fitted")
    return SourcedValue(_rounded(value), "no row measures it: the median of the families with rows", "assumption")


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _any_sparse(family: str) -> bool:
    found = [load_platform(name) for name in platform_names()]
    return any(each.compute and each.compute.sparse_2_4 for each in found if each.behaviour == family)


def _expected_errors(family: FittedFamily, rows: Sequence[CrossValidated]) -> dict[str, SourcedValue]:
    """How far estimates of a family have to be expected to be off, of throughputs and of gains of 2:4."""
    values = {}
    for name, kind, what in (
        ("throughput_error", ThroughputCase, "throughputs"),
        ("gain_error", SparseCase, "2:4 gains"),
    ):
        every = [row for row in rows if isinstance(row.case, kind)]
        own = [row for row in every if row.case.platform.behaviour == family.name]
        whose, taken = ("its", own) if len(own) >= _FEWEST_ROWS else ("all", every)
        if taken and (name == "throughput_error" or _any_sparse(family.name)):
            error = float(np.quantile([row.relative_error for row in taken], _BAND))
            source = (
                f"{_BAND:.0%} of {len(taken)} {what} of {whose} platforms, {len(own)} of this family,"
                f" are predicted within it by fits that have not read them ({FOLDS} parts by hash)"
            )
            values[name] = SourcedValue(_rounded(error), source, "derived")
    return values


def main(folder: Path) -> None:
    """Fit every family and write ``NAME.yaml`` for each into `folder`."""
    found = families()
    rows = cross_validated(found)
    fit_families(found)
    folder.mkdir(parents=True, exist_ok=True)
    for family in found.values():
        write_atomically(folder / f"{family.name}.yaml", _text(found, family, rows))


def _text(found: Mapping[str, FittedFamily], family: FittedFamily, rows: Sequence[CrossValidated]) -> str:
    platforms = [name for name in platform_names() if load_platform(name).behaviour == family.name]
    values = {
        **_training_values(found, family),
        **_product_values(family),
        **_expected_errors(family, rows),
    }
    return sourced_text(
        "Made by python -m accelsim.platforms.fit hw_configs/behaviours; see accelsim/platforms/kernel_time.py.",
        {"format": "accelsim-behaviour/1", "name": family.name, "description": f"of {', '.join(platforms)}"},
        dict(sorted(values.items(), key=lambda item: "." in item[0])),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
