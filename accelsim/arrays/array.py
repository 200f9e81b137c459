"""One GEMM on the array alone: the public function behind the array model."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError, did_you_mean
from accelsim.cost.compiled import array_timing
from accelsim.cost.compiled.values import SPLIT, UNLIMITED, ArrayMapping, ArrayNumbers, Mnk
from accelsim.cost.conventions import CONVENTIONS, Convention, convention_cycles
from accelsim.schedule.plan import DATAFLOWS, VARIANTS
from accelsim.sparsity.pattern import Pattern

__all__ = ["ArrayCounts", "gemm_on_array"]

ARRAY_MODELS = ("closed", "register")
"""Counts in closed form, and those of a machine that is stepped register by register."""

LARGEST_SIZE = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayCounts:
    """Cycles, issued ops, words at the array's edge (padding of ragged tiles included) and tiles of one GEMM."""

    cycles: int
    op_slots: int
    x_words: int
    w_words: int
    y_words: int
    tiles: int


def gemm_on_array(
    m: int,
    n: int,
    k: int,
    *,
    rows: int,
    cols: int,
    macs_per_pe: int,
    adder_latency: int,
    dataflow: str,
    pattern: Pattern | str | None = None,
    interleave: tuple[int, int] = (1, 1),
    split_k: int = 1,
    variant: str = "split",
    overlapped: bool = False,
    ports: tuple[int | None, int | None] | None = None,
    timing: str = "sat",
    array_model: str = "closed",
    x: NDArray[np.generic] | None = None,
    w: NDArray[np.generic] | None = None,
    engine: str | None = None,
) -> ArrayCounts:
    """Return what ``Y[m, n] = X[m, k] W[k, n]`` takes on an array of PEs, operands always at hand.

    Each PE issues one dot product per cycle. `dataflow` says what stays in a PE:

    - ``os``: output-stationary. A PE owns Ia x Ib outputs; m in blocks of rows x Ia outside, n in blocks of cols x Ib
      inside, k uncut.
    - ``ws`` / ``is``: W or X stays, k over PE rows; column blocks outside, k blocks inside.

    Args:
        m: rows of the product, 1 to 2^40.
        n: columns of the product, 1 to 2^40.
        k: what is summed over, 1 to 2^40.
        rows: PE rows of the array, from 1.
        cols: PE columns of the array, from 1.
        macs_per_pe: width V of the dot product of a PE, multiply-accumulates per cycle, from 1.
        adder_latency: cycles until a sum can be added to again, from 1.
        dataflow: ``os``, ``ws`` or ``is``.
        pattern: N:M, as in ``2:8``: N of every M consecutive k of W are kept, ragged groups are padded; None: dense.
        interleave: (Ia, Ib), accumulators that a PE uses in turn, each from 1.
        split_k: Z partial sums of each output of an ``os`` PE, from 1; 1 for the others.
        variant: what a PE of ``ws`` or ``is`` does with the ceil(N / V) slots of a group: ``split`` sends each partial
            sum on, ``chain`` adds them up in one of Ia x Ib accumulators, ``flat`` (``ws`` only) gives each slot its
            own PE row.
        overlapped: whether a second accumulator bank or a shadow weight set hides drains and preloads.
        ports: elements per cycle at each PE row and at each PE column, from 1; None: as wide as needed. A phase lasts
            at least as long as its words take. OS: issue = max(issue, ceil(Ia kx / row port), ceil(Ib kw / column
            port)). WS, IS: stream and preload alike.
        timing: ``sat``, or how another simulator counts (`accelsim.cost.conventions`): isolated, no adder latency.
        array_model: ``closed`` computes the counts, ``register`` steps a machine of registers and counts
            (`accelsim.arrays.register.run_registers`, which also returns the product).
        x: operand (m, k) of the register-level machine; None: random numbers of a fixed seed.
        w: operand (k, n) of the register-level machine; None: likewise.
        engine: the earlier name of `array_model`.

    Raises `InputError` naming the argument, what it got and what is allowed.

    >>> case = {"rows": 4, "cols": 4, "macs_per_pe": 2, "adder_latency": 8, "interleave": (2, 4), "dataflow": "os"}
    >>> dense, sparse = (gemm_on_array(64, 64, 256, pattern=pattern, **case) for pattern in (None, "2:8"))
    >>> dense.cycles, sparse.cycles
    (34208, 9632)
    """
    parsed = Pattern.parse(pattern) if isinstance(pattern, str) else pattern
    array_model = array_model if engine is None else engine
    sizes = {
        "m": m,
        "n": n,
        "k": k,
        "rows": rows,
        "cols": cols,
        "macs_per_pe": macs_per_pe,
        "adder_latency": adder_latency,
        "interleave[0]": interleave[0],
        "interleave[1]": interleave[1],
        "split_k": split_k,
    }
    row_port, col_port = ports or (None, None)
    sizes |= {name: port for name, port in (("ports[0]", row_port), ("ports[1]", col_port)) if port is not None}
    for name, size in sizes.items():
        _whole(name, size)
    _choice("dataflow", dataflow, DATAFLOWS)
    _choice("timing", timing, ("sat", *CONVENTIONS))
    _choice("array_model", array_model, ARRAY_MODELS)
    code = SPLIT
    if dataflow != "os":
        _choice("variant", variant, VARIANTS if dataflow == "ws" else ("split", "chain"))
        code = VARIANTS.index(variant)
        if split_k != 1:
            raise InputError(f"split_k: got {split_k}; only 'os' splits partial sums, so 1 is needed for '{dataflow}'")
    if timing != "sat":
        plain = {
            "adder_latency": adder_latency == 1,
            "interleave": interleave == (1, 1),
            "split_k": split_k == 1,
            "overlapped": not overlapped,
            "ports": ports is None,
            "array_model": array_model == "closed",
        }
        return _by_convention(CONVENTIONS[timing], plain, m, n, k, rows, cols, macs_per_pe, dataflow, parsed)
    if array_model == "register":
        return _stepped(
            m,
            n,
            k,
            rows=rows,
            cols=cols,
            macs_per_pe=macs_per_pe,
            adder_latency=adder_latency,
            dataflow=dataflow,
            pattern=parsed,
            interleave=interleave,
            split_k=split_k,
            variant=None if dataflow == "os" else variant,
            overlapped=overlapped,
            ports=ports,
            x=x,
            w=w,
        )
    array = ArrayNumbers(
        rows=rows,
        cols=cols,
        macs_per_pe=macs_per_pe,
        adder_latency=adder_latency,
        overlapped=bool(overlapped),
        row_port=row_port or UNLIMITED,
        col_port=col_port or UNLIMITED,
    )
    ia, ib = interleave
    mapping = ArrayMapping(dataflow=DATAFLOWS.index(dataflow), variant=code, ia=ia, ib=ib, split_k=split_k)
    kept, group = (0, 0) if parsed is None else (parsed.kept, parsed.group)
    cycles = array_timing.array_cycles(Mnk(m, n, k), kept, group, array, mapping)
    counts = array_timing.array_counts(Mnk(m, n, k), kept, group, array, mapping)
    return ArrayCounts(cycles=cycles, **counts._asdict())


def _by_convention(
    convention: Convention,
    plain: dict[str, bool],
    m: int,
    n: int,
    k: int,
    rows: int,
    cols: int,
    macs_per_pe: int,
    dataflow: str,
    pattern: Pattern | None,
) -> ArrayCounts:
    """Cycles as another simulator counts them; words and slots as this array has them."""
    for name, is_plain in plain.items():
        if not is_plain:
            raise InputError(
                f"{name}: timing '{convention.name}' knows no adder latency, interleaving, overlap or ports; leave it"
                " at its neutral value"
            )
    _choice("dataflow", dataflow, convention.dataflows)
    kept, group = (0, 0) if pattern is None else (pattern.kept, pattern.group)
    array = ArrayNumbers(
        rows=rows, cols=cols, macs_per_pe=macs_per_pe, adder_latency=1, overlapped=False, row_port=UNLIMITED,
        col_port=UNLIMITED,
    )  # fmt: skip
    mapping = ArrayMapping(dataflow=DATAFLOWS.index(dataflow), variant=SPLIT, ia=1, ib=1, split_k=1)
    counts = array_timing.array_counts(Mnk(m, n, k), kept, group, array, mapping)
    cycles = convention_cycles(convention, m, n, k, rows, cols, macs_per_pe, dataflow, pattern)
    return ArrayCounts(cycles=cycles, **counts._asdict())


def _stepped(m: int, n: int, k: int, **machine: Any) -> ArrayCounts:
    """Run the register-level machine and keep what the closed form gives too."""
    from accelsim.arrays.register import run_registers  # noqa: PLC0415  its kernels take seconds to compile

    run = run_registers(m, n, k, **machine)
    return ArrayCounts(**{item.name: getattr(run, item.name) for item in fields(ArrayCounts)})


def _whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_SIZE:
        raise InputError(f"{name}: got {value!r}; a whole number from 1 to {LARGEST_SIZE} is needed")


def _choice(name: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise InputError(f"{name}: got '{value}'{did_you_mean(str(value), legal)}; allowed: {', '.join(legal)}")
