"""Checks on random cases from a fixed seed: closed form against registers, formulas against walks, SORE against masks.

Each function yields, case by case, the pairs (computed, expected) that have to be equal.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from accelsim.arrays.array import gemm_on_array
from accelsim.arrays.functional import sore_reduce
from accelsim.cost.compiled import array_timing, pipeline
from accelsim.cost.compiled.values import (
    ORDERS,
    OS,
    SPLIT,
    UNLIMITED,
    ArrayMapping,
    ArrayNumbers,
    BufferBytes,
    ElementBytes,
    GemmNumbers,
    GemmShape,
    MachineNumbers,
    MappingNumbers,
    Mnk,
)
from accelsim.cost.gemm import sore_cycles
from accelsim.engines.buffer_walk import walk_buffers
from accelsim.sparsity.masks import magnitude_mask, unpack
from accelsim.sparsity.pattern import Pattern

__all__ = ["array_agreement", "buffer_agreement", "sore_agreement"]

Pairs = list[tuple[float, float]]

_SEED = 20
_PATTERNS = (None, "1:2", "2:4", "1:4", "3:4", "4:4", "1:8", "2:8", "3:8", "4:8", "1:16", "4:16", "7:16", "16:32")
_MACHINES = (("os", "split"), ("ws", "split"), ("ws", "chain"), ("ws", "flat"), ("is", "split"), ("is", "chain"))


def array_agreement(cases: int = 1500) -> Iterator[Pairs]:
    """Closed form against register level: ragged shapes, all machines, narrow ports, adder latencies 1 to 12."""
    rng = np.random.default_rng(_SEED)

    def whole(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    for _ in range(cases):
        dataflow, variant = _MACHINES[whole(0, len(_MACHINES) - 1)]
        m, n, k = whole(1, 30), whole(1, 30), whole(1, 70)
        case: dict[str, Any] = {
            "rows": whole(1, 6),
            "cols": whole(1, 6),
            "macs_per_pe": whole(1, 5),
            "adder_latency": whole(1, 12),
            "dataflow": dataflow,
            "variant": variant,
            "pattern": _PATTERNS[whole(0, len(_PATTERNS) - 1)],
            "interleave": (whole(1, 5), whole(1, 4)),
            "split_k": whole(1, 4) if dataflow == "os" else 1,
            "overlapped": bool(whole(0, 1)),
            "ports": tuple(whole(1, 9) if whole(0, 1) else None for _ in range(2)),
        }
        closed = gemm_on_array(m, n, k, array_model="closed", **case)
        stepped = gemm_on_array(m, n, k, array_model="register", **case)
        names = ("cycles", "op_slots", "x_words", "w_words", "y_words", "tiles")
        yield [(getattr(closed, name), getattr(stepped, name)) for name in names]


def buffer_agreement(cases: int = 600) -> Iterator[Pairs]:
    """Traffic formulas and double-buffered pipeline against a walk over every job, in all six loop orders."""
    rng = np.random.default_rng(_SEED)
    element_bytes = ElementBytes(x=2.0, w=0.5, y=2.0, psum=4.0, buffered_x=2.0, buffered_w=0.5)
    array = ArrayNumbers(
        rows=2, cols=3, macs_per_pe=1, adder_latency=2, overlapped=True, row_port=UNLIMITED, col_port=UNLIMITED
    )
    mapping = ArrayMapping(dataflow=OS, variant=SPLIT, ia=2, ib=1, split_k=1)

    def job_cycles(m: int, n: int, k: int) -> int:
        return int(array_timing.os_cycles(Mnk(m, n, k), 0, 0, array, mapping))

    for number in range(cases):
        m, n, k = (int(size) for size in rng.integers(1, 41, 3))
        tm, tn, tk = (min(size, int(step)) for size, step in zip((m, n, k), rng.integers(1, 18, 3), strict=True))
        count, bandwidth = int(rng.integers(1, 4)), float(rng.choice([0.5, 2.0, 16.0, 1000.0]))
        order = ORDERS[number % 6]
        walked = walk_buffers((m, n, k), (tm, tn, tk), order, count, element_bytes, job_cycles, bandwidth)
        costs = pipeline.evaluate(
            GemmNumbers(GemmShape(m=m, n=n, k=k, count=count, kept=0, group=0), element_bytes, fetch_cycles=0),
            MachineNumbers(array, BufferBytes(x=0.0, w=0.0, y=0.0), bandwidth),
            MappingNumbers(mapping, Mnk(tm, tn, tk), order),
        )
        yield [(getattr(costs, name), getattr(walked, name)) for name in ("x_bytes", "w_bytes", "y_bytes", "cycles")]


def sore_agreement(cases: int = 300) -> Iterator[Pairs]:
    """The streaming sorter against magnitude masks, ties included, and its cycles against what is charged for them."""
    rng = np.random.default_rng(_SEED)
    for _ in range(cases):
        text = _PATTERNS[int(rng.integers(1, len(_PATTERNS)))]
        pattern = Pattern.parse(text or "1:2")
        values = rng.integers(-4, 5, (int(rng.integers(1, 9)), pattern.group * int(rng.integers(1, 5))))
        weights, lanes = values.astype(np.float32), int(rng.integers(1, 9))
        reduced = sore_reduce(weights, pattern, lanes)
        kept = np.where(magnitude_mask(weights, pattern, -1), weights, 0)
        charged = sore_cycles(weights.size, pattern.group, lanes)
        yield [(float(np.abs(unpack(reduced.packed) - kept).sum()), 0.0), (reduced.cycles, charged)]
