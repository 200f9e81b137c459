"""Predictions for measured rows: the prepared kernels of each, so that many behaviours can be tried on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from accelsim.base.units import GIGA, MICRO
from accelsim.hardware.platform import Behaviour
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Step
from accelsim.platforms.kernel_time import pair_seconds, step_seconds, unit_seconds
from accelsim.platforms.kernels import Floats, Kernels, kernels_of
from accelsim.platforms.memory import largest_batch
from accelsim.platforms.published_rows import SparseCase, ThroughputCase
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.trace import Trace, load_trace

__all__ = ["DENSE", "PreparedThroughput", "predict_pairs", "prepare"]


@dataclass(frozen=True, slots=True)
class _DenseTarget:
    """A machine without N:M modes that fuses nothing; see `accelsim.lowering.rules.Target`."""

    name: str = "dense"
    patterns: frozenset[Pattern] = frozenset()
    fuses_activations: bool = False


DENSE = _DenseTarget()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedThroughput:
    """A measured training throughput with the kernels of its step and the batch that was measured or assumed.

    `unit`: see `accelsim.platforms.kernel_time.unit_seconds`.
    """

    case: ThroughputCase
    batch: int
    kernels: Kernels
    unit: Floats

    def predict(self, behaviour: Behaviour) -> float:
        """Return what the row would measure, in its unit."""
        done = {
            "samples/s": float(self.batch),
            "tokens/s": float(self.batch * _trace(self.case.trace).input_shapes[0][0]),
            "operations/s": float(self.kernels.flops.sum()),
        }[self.case.unit]
        case = self.case
        times = step_seconds(self.kernels, case.platform, behaviour, case.software, unit=self.unit)
        return done / (times.step_s * case.fill)


def prepare(case: ThroughputCase) -> PreparedThroughput:
    """Lower the step of a row."""
    platform, trace = case.platform, _trace(case.trace)
    assert platform.memory is not None
    assert platform.compute is not None
    capacity = platform.memory.capacity_gb * GIGA
    batch = largest_batch(trace, case.software, capacity) if case.batch is None else case.batch
    kernels = kernels_of(
        trace, _dense_step(case.trace, batch), case.software, matrix_units=platform.compute.matrix_units
    )
    return PreparedThroughput(case=case, batch=batch, kernels=kernels, unit=unit_seconds(kernels, platform))


@cache
def _trace(name: str) -> Trace:
    return load_trace(name)


@cache
def _dense_step(name: str, batch: int) -> Step:
    return lower(_trace(name), DENSE, find_method("dense"), pattern=None, batch=batch)


def predict_pairs(cases: Sequence[SparseCase], behaviour: Behaviour) -> tuple[Floats, Floats]:
    """Return the speedup of 2:4 over dense and the dense microseconds of each case, all of one behaviour."""
    speedups, dense_us = np.zeros(len(cases)), np.zeros(len(cases))
    groups: dict[tuple[str, str], list[int]] = {}
    for index, case in enumerate(cases):
        groups.setdefault((case.platform.name, case.arithmetic), []).append(index)
    for (_, arithmetic), members in groups.items():
        m, n, k = np.array([(cases[i].m, cases[i].n, cases[i].k) for i in members], dtype=np.float64).T
        dense, sparse = pair_seconds(m, n, k, cases[members[0]].platform, behaviour, arithmetic)
        planning = MICRO * np.array([cases[i].planning_us for i in members])
        speedups[members], dense_us[members] = dense / (sparse + planning), dense / MICRO
    return speedups, dense_us
