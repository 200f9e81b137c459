"""One GEMM on the array alone: the public function behind the array model."""

from dataclasses import dataclass, fields
from typing import Any

from numpy.typing import NDArray

from accelsim.base.errors import InputError, did_you_mean
from accelsim.cost.compiled import array_timing
from accelsim.cost.conventions import CONVENTIONS, Convention, convention_cycles
from accelsim.schedule.plan import DATAFLOWS, VARIANTS
from accelsim.sparsity.pattern import Pattern

__all__ = ["ArrayCounts", "gemm_on_array"]

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
    engine: str = "closed",
    x: NDArray[Any] | None = None,
    w: NDArray[Any] | None = None,
) -> ArrayCounts:
    """Return what ``Y[m, n] = X[m, k] W[k, n]`` takes on an array of `rows` x `cols` PEs, operands always at hand.

    Each PE issues one `macs_per_pe`-wide dot product per cycle; a sum can be added to again `adder_latency` cycles
    later. `pattern` N:M: N of every M consecutive k of W are kept; ragged groups are padded. The array is

    - ``os``: output-stationary. A PE owns ``interleave`` = (Ia, Ib) outputs with `split_k` partial sums each; m in
      blocks of rows x Ia outside, n in blocks of cols x Ib inside, k uncut.
    - ``ws`` / ``is``: W or X stays, k over PE rows; column blocks outside, k blocks inside. `variant` says what a PE
      does with the ceil(N / macs_per_pe) slots of a group: ``split`` sends each partial sum on, ``chain`` adds them up
      in one of Ia x Ib accumulators, ``flat`` (ws only) gives each slot its own PE row.

    `overlapped`: a second accumulator bank or a shadow weight set hides drains and preloads. `ports`: elements per
    cycle at each PE row and each PE column (None: as wide as needed); a phase lasts at least as long as its words
    take. OS: issue = max(issue, ceil(Ia kx / row port), ceil(Ib kw / column port)). WS, IS: stream and preload alike.

    `timing`: ``sat``, or how another simulator counts (`accelsim.cost.conventions`): isolated, no adder latency.

    `engine`: ``closed`` computes the counts, ``register`` steps a machine of registers and counts (`run_registers`,
    which also returns the product). `x` (m, k) and `w` (k, n) are its operands; the closed form needs none.

    Raises `InputError` naming the argument, what it got and what is allowed.
    """
    parsed = Pattern.parse(pattern) if isinstance(pattern, str) else pattern
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
    _choice("engine", engine, ("closed", "register"))
    code = 0
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
            "engine": engine == "closed",
        }
        return _by_convention(CONVENTIONS[timing], plain, m, n, k, rows, cols, macs_per_pe, dataflow, parsed)
    if engine == "register":
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
    kept, group = (0, 0) if parsed is None else (parsed.kept, parsed.group)
    ia, ib = interleave
    flow = DATAFLOWS.index(dataflow)
    cycles = array_timing.array_cycles(
        m,
        n,
        k,
        rows,
        cols,
        macs_per_pe,
        adder_latency,
        kept,
        group,
        flow,
        code,
        ia,
        ib,
        split_k,
        overlapped,
        row_port or 0,
        col_port or 0,
    )
    counts = array_timing.array_counts(m, n, k, rows, cols, macs_per_pe, kept, group, flow, code, ia, ib)
    op_slots, x_words, w_words, y_words, tiles = (int(count) for count in counts)
    return ArrayCounts(
        cycles=int(cycles), op_slots=op_slots, x_words=x_words, w_words=w_words, y_words=y_words, tiles=tiles
    )


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
    flow = DATAFLOWS.index(dataflow)
    counts = array_timing.array_counts(m, n, k, rows, cols, macs_per_pe, kept, group, flow, 0, 1, 1)
    op_slots, x_words, w_words, y_words, tiles = (int(count) for count in counts)
    cycles = convention_cycles(convention, m, n, k, rows, cols, macs_per_pe, dataflow, pattern)
    return ArrayCounts(cycles=cycles, op_slots=op_slots, x_words=x_words, w_words=w_words, y_words=y_words, tiles=tiles)


def _stepped(m: int, n: int, k: int, **machine: Any) -> ArrayCounts:
    """Run the register-level machine and keep what the closed form gives too."""
    from accelsim.engines.register import run_registers  # noqa: PLC0415  its kernels take seconds to compile

    run = run_registers(m, n, k, **machine)
    return ArrayCounts(**{item.name: getattr(run, item.name) for item in fields(ArrayCounts)})


def _whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_SIZE:
        raise InputError(f"{name}: got {value!r}; a whole number from 1 to {LARGEST_SIZE} is needed")


def _choice(name: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise InputError(f"{name}: got '{value}'{did_you_mean(str(value), legal)}; allowed: {', '.join(legal)}")
