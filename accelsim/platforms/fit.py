"""Behaviours fitted to measurements: ``python -m accelsim.platforms.fit hw_configs/behaviours``.

Reads `accelsim/data/training_throughput.csv` and `sparse_speedups.csv` without their held-out third, and writes one
file per family that has rows. A family's values are those that make the mean absolute logarithm of predicted over
measured smallest, by a search along one value at a time, within bounds and with a weak pull to the values that all
families start from, which decides what the rows of a family do not. `winograd_gain` and `direct_share` are fitted once,
over all families. A value that no row of its family depends on is the median of the others, and says so.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from accelsim.base.files import write_atomically
from accelsim.hardware.platform import Behaviour, load_platform, platform_names
from accelsim.platforms.predictions import PreparedThroughput, predict_pairs, prepare
from accelsim.platforms.published_rows import SparseCase, ThroughputCase, held_out, read_sparse, read_throughput

__all__ = ["FittedFamily", "families", "fit_families", "main"]

Values = dict[str, float]

# start, least, most
_TRAINING: Mapping[str, tuple[float, float, float]] = {
    "matrix_efficiency": (0.6, 0.2, 1.2),
    "tf32_efficiency": (0.6, 0.2, 1.2),
    "fp32_efficiency": (0.7, 0.2, 1.2),
    "conv_factor": (0.8, 0.3, 1.0),
    "memory_efficiency": (0.8, 0.3, 0.95),
    "kernel_us": (3.0, 0.5, 15.0),
    "host_us": (20.0, 2.0, 80.0),
    "pj_per_operation": (1.0, 0.1, 5.0),
}
_COMMON: Mapping[str, tuple[float, float, float]] = {
    "winograd_gain": (1.6, 1.0, 2.25),
    "direct_share": (0.15, 0.02, 1.0),
}
_PRODUCTS: Mapping[str, tuple[float, float, float]] = {
    "product_efficiency": (0.75, 0.2, 1.2),
    "product_memory_efficiency": (0.8, 0.3, 1.0),
    "product_kernel_us": (4.0, 1.0, 15.0),
    "cache_gain": (2.5, 1.0, 8.0),
    "sparse_gain": (1.7, 1.0, 2.0),
    "sparse_kernel_us": (1.5, 0.05, 8.0),
}
_ALL = {**_TRAINING, **_COMMON, **_PRODUCTS}
_PULL = 0.004
_DENSE_WEIGHT = 0.15
"""Weight of the error of dense times beside that of speedups."""

_SPARSE = {"sparse_gain": 1.0, "sparse_kernel_us": 0.0}
_NEEDS_MATRIX = ("matrix_efficiency", "pj_per_operation")


@dataclass(slots=True, kw_only=True, eq=False)
class FittedFamily:
    """The rows of a family that may be fitted to, and the values found so far."""

    name: str
    training: list[PreparedThroughput]
    products: list[SparseCase]
    values: Values = field(default_factory=lambda: {name: start for name, (start, _, _) in _ALL.items()})

    def behaviour(self, changes: Mapping[str, float] | None = None) -> Behaviour:
        """The behaviour that the values make, with some of them changed; not validated, for speed."""
        values: dict[str, Any] = {**self.values, **(changes or {})}
        return Behaviour.model_construct(**values)

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
    for family in found.values():
        if family.products:
            _descend(family.product_error, family.values, _PRODUCTS, rounds=7)
    measured = [family for family in found.values() if family.products]
    for family in found.values():
        if not family.products:
            family.values.update({name: median(each.values[name] for each in measured) for name in _PRODUCTS})
    trained = [family for family in found.values() if family.training]
    for _ in range(2):
        for family in trained:
            _descend(family.training_error, family.values, _TRAINING, rounds=6)
        shared = {name: trained[0].values[name] for name in _COMMON}
        _descend(lambda changes: _overall_error(trained, changes), shared, _COMMON, rounds=4)
        for family in found.values():
            family.values.update(shared)


def _overall_error(trained: Sequence[FittedFamily], changes: Mapping[str, float]) -> float:
    rows = [len(family.training) for family in trained]
    return float(np.average([family.training_error(changes) for family in trained], weights=rows))


def _descend(
    error: Callable[[Mapping[str, float]], float],
    values: Values,
    bounds: Mapping[str, tuple[float, float, float]],
    *,
    rounds: int,
) -> None:
    """Change `values` one at a time by shrinking factors as long as the error with its pull to the start falls."""

    def total(changes: Values) -> float:
        pull = sum(math.log(changes[name] / start) ** 2 for name, (start, _, _) in bounds.items())
        return error(changes) + _PULL * pull

    best, step = total(values), 0.4
    for _ in range(rounds):
        for name, (_, least, most) in bounds.items():
            for factor in (step, -step, step / 3, -step / 3):
                tried = {**values, name: min(most, max(least, values[name] * math.exp(factor)))}
                found = total(tried)
                if found < best - 1e-6:
                    best = found
                    values.update(tried)
        step *= 0.55


def _depends(family: FittedFamily, name: str) -> int:
    """How many rows of a family say something of a value of its own."""
    if name in _PRODUCTS:
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


def _origin(found: Mapping[str, FittedFamily], family: FittedFamily, name: str) -> tuple[float, str, str]:
    """Value, source and confidence of one entry of a family."""
    value = float(f"{family.values[name]:.3g}")
    if name in _COMMON:
        rows = sum(len(each.training) for each in found.values())
        return value, f"fitted over all families to {rows} rows of accelsim/data/training_throughput.csv", "fitted"
    if name in _SPARSE and not _any_sparse(family.name):
        return _SPARSE[name], "the platforms have no 2:4 products", "derived"
    rows = _depends(family, name)
    file = "sparse_speedups.csv" if name in _PRODUCTS else "training_throughput.csv"
    if rows:
        return value, f"fitted to {rows} rows of accelsim/data/{file}", "fitted"
    others = [each.values[name] for each in found.values() if _depends(each, name)]
    return float(f"{median(others):.3g}"), "no row measures it: the median of the families with rows", "assumption"


def _any_sparse(family: str) -> bool:
    found = [load_platform(name) for name in platform_names()]
    return any(each.compute and each.compute.sparse_2_4 for each in found if each.behaviour == family)


def main(folder: Path) -> None:
    """Fit every family and write ``NAME.yaml`` for each into `folder`."""
    found = families()
    fit_families(found)
    folder.mkdir(parents=True, exist_ok=True)
    for family in found.values():
        if family.training or family.products:
            write_atomically(folder / f"{family.name}.yaml", _text(found, family))


def _text(found: Mapping[str, FittedFamily], family: FittedFamily) -> str:
    platforms = [name for name in platform_names() if load_platform(name).behaviour == family.name]
    lines = [
        "# Made by python -m accelsim.platforms.fit hw_configs/behaviours; see accelsim/platforms/kernel_time.py.",
        "format: accelsim-behaviour/1",
        f"name: {family.name}",
        f'description: "of {", ".join(platforms)}"',
        "",
    ]
    for name in (*_TRAINING, *_COMMON, *_PRODUCTS):
        value, source, confidence = _origin(found, family, name)
        lines.append(f'{name}: {{value: {value:g}, source: "{source}", confidence: {confidence}}}')
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
