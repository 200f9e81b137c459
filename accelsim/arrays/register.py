"""The register-level engine: a systolic array stepped cycle by cycle with real numbers.

It is the judge of the closed form and shares nothing with it: cycles, op slots and words are counted while the machine
runs, and the numbers that come out of it are the product. The machine:

- A PE issues one op per cycle: it selects V elements of an M-wide activation word, multiplies them by V compact weights
  and adds the sum to one accumulator. The adder is a pipeline of latency L: a result issued in cycle t can be read in
  t + L. Operands and control move one hop per cycle, a partial sum moves on when its adder is done.
- N:M operands are compact: N values and their positions per group of M. With f = max(1, V div N) groups in a slot, or
  q = ceil(N / V) slots per group. Ragged reductions are padded with zeros.
- Output stationary (os): PE row i and column j own Ia x Ib outputs, each with Z partial sums that reduction rounds add
  up. A column drains one value per cycle. Overlapped, a second bank of accumulators computes while the first drains.
- Weight stationary (ws) and input stationary (is): one operand is preloaded through the columns, the other streams
  through the rows, partial sums move down. ``split`` sends the q psums of an output down one by one, ``chain`` adds
  them up in the PE with Ia Ib psums interleaved, ``flat`` (ws) gives each slot a PE row of its own. Overlapped, every
  PE has one shadow set of the held operand and takes it over when the first op of the next tile arrives.

Ports. A PE row edge takes `ports[0]` elements per cycle, a PE column edge `ports[1]`, ``None`` is unlimited. The rule
is a throughput limit per tile: the port passes elements from the first cycle of the tile's phase on, and the last op of
the phase is not issued before the last element has passed (chain: its last batch of ops waits as a whole). So a phase
of t cycles in which e elements enter one edge takes max(t, ceil(e / port)) cycles. The phases and what enters:

- os, issue phase (with its reduction rounds): every used row edge takes the x words of the tile (ia kx elements, each
  word once), every used column edge the compact w words (ib kw).
- ws, is, stream phase: every used row edge takes the streamed operand: m (ws) or n (is) vectors of V (dense), M f (ws)
  or N f (is) elements. Flat: the row of the first slot of an x word in the tile takes it, the rows below share it.
- ws, is, preload phase: every used column edge takes the held operand of the tile's PE rows: V (dense), N f (ws), M f
  (is) or the values of the slot (flat) per row.

Padding counts as elements, positions (indices) do not. Words wait at the edge and may be used before the phase ends:
only the throughput of a port is modelled, not the arrival of the first word.
"""

import numbers
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelsim.arrays.compiled import register_os, register_stationary, register_words
from accelsim.base.errors import InputError, did_you_mean
from accelsim.sparsity.pattern import Pattern

__all__ = ["RegisterRun", "estimate_seconds", "run_registers"]

_T = TypeVar("_T", bound=np.generic)
Dataflow = Literal["os", "ws", "is"]
Variant = Literal["split", "chain", "flat"]
Progress = Callable[[int, int], None]

_VARIANTS: dict[str, tuple[str | None, ...]] = {
    "os": (None,),
    "ws": (None, "split", "chain", "flat"),
    "is": (None, "split", "chain"),
}
_UPDATES_PER_SECOND = 4.0e8  # PE updates (one PE, one cycle) on one core, measured on 32 x 32 arrays: 2.4e8 to 4.9e8
_UPDATES_PER_CALL = 1 << 24  # between two progress reports
_LARGEST_SIZE = 1 << 24
_RING_SLACK = 64  # places between two copies of a ring to its other end
_SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRun:
    """What the machine did.

    cycles: from the first word that enters to the last that leaves. op_slots: multiply-accumulate ops issued by all PEs
    (of V MACs each, empty MACs and idle accumulators included). x_words, w_words: elements that entered at the edges.
    y_words: partial or final sums that left. tiles: tiles run. y: the product, (m, n). issued: ops issued in each
    cycle, so the utilisation per cycle is ``issued / (rows * cols)``.
    """

    cycles: int
    op_slots: int
    x_words: int
    w_words: int
    y_words: int
    tiles: int
    y: NDArray[np.float64] = field(compare=False, repr=False)
    issued: NDArray[np.int32] = field(compare=False, repr=False)


class _Array(NamedTuple):
    """The checked machine parameters."""

    rows: int
    cols: int
    macs_per_pe: int
    latency: int
    ia: int
    ib: int
    split_k: int
    dataflow: str
    variant: str
    overlapped: bool
    row_port: int
    col_port: int


class _Compact(NamedTuple):
    """Both operands as the edges see them: words of x, compact slots of w."""

    x: NDArray[np.float64]  # (m + 1, words, word): the last row is zero
    w: NDArray[np.float64]  # (n + 1, slots, macs_per_pe): the last column is zero
    wi: NDArray[np.uint32]  # positions in the x word
    slot_values: NDArray[np.int64]  # that each slot holds of w
    parts: int  # slots that share one x word


def _whole(name: str, value: object, lowest: int = 1, highest: int = _LARGEST_SIZE) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not lowest <= int(value) <= highest:
        raise InputError(f"{name}: {value!r} is not a whole number from {lowest} to {highest}")
    return int(value)


def _port(name: str, value: object) -> int:
    return 0 if value is None else _whole(name, value)


def _pair(name: str, value: object) -> tuple[object, object]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError(f"{name}: {value!r} is not a pair")
    return value[0], value[1]


def _checked_array(
    rows: int, cols: int, macs_per_pe: int, adder_latency: int, dataflow: str, interleave: tuple[int, int],
    split_k: int, variant: str | None, overlapped: bool, ports: tuple[int | None, int | None] | None,
) -> _Array:  # fmt: skip
    if dataflow not in _VARIANTS:
        raise InputError(f"dataflow: {dataflow!r} is not one of os, ws, is{did_you_mean(str(dataflow), _VARIANTS)}")
    if variant not in _VARIANTS[dataflow]:
        allowed = ", ".join(str(v) for v in _VARIANTS[dataflow])
        raise InputError(f"variant: {variant!r} is not possible with dataflow {dataflow}; allowed: {allowed}")
    ia, ib = _pair("interleave", interleave)
    row_port, col_port = _pair("ports", (None, None) if ports is None else ports)
    split_k = _whole("split_k", split_k, highest=4096)
    if dataflow != "os" and split_k != 1:
        raise InputError(f"split_k: {split_k} is not possible with dataflow {dataflow}; allowed: 1")
    if not isinstance(overlapped, bool | np.bool_):
        raise InputError(f"overlapped: {overlapped!r} is not true or false")
    return _Array(
        rows=_whole("rows", rows, highest=4096),
        cols=_whole("cols", cols, highest=4096),
        macs_per_pe=_whole("macs_per_pe", macs_per_pe, highest=1024),
        latency=_whole("adder_latency", adder_latency, highest=1024),
        ia=_whole("interleave[0]", ia, highest=4096),
        ib=_whole("interleave[1]", ib, highest=4096),
        split_k=split_k,
        dataflow=dataflow,
        variant=variant or "split",
        overlapped=bool(overlapped),
        row_port=_port("ports[0]", row_port),
        col_port=_port("ports[1]", col_port),
    )


def _operand(name: str, value: ArrayLike | None, shape: tuple[int, int], seed: int) -> NDArray[np.float64]:
    """Check an operand, or make one of small whole numbers, whose sums are exact in any order."""
    if value is None:
        return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected an array of numbers of shape {shape}") from None
    if array.shape != shape:
        raise InputError(f"{name}: shape {array.shape} does not fit; allowed: {shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: holds NaN or infinity; allowed: finite numbers")
    return array


def _compact_slots(
    w: NDArray[np.float64], pattern: Pattern | None, macs_per_pe: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], int, int]:
    """Reduce w (k, n) to slots: values and positions (n, slots, V), values per slot, x word size, slots per x word."""
    k, n = w.shape
    if pattern is None:
        slots = -(-k // macs_per_pe)
        values = np.zeros((slots * macs_per_pe, n))
        values[:k] = w
        values = values.reshape(slots, macs_per_pe, n).transpose(2, 0, 1)
        positions = np.broadcast_to(np.arange(macs_per_pe), values.shape)
        return values, positions, np.full(slots, macs_per_pe), macs_per_pe, 1
    kept, group = pattern.kept, pattern.group
    per_slot, parts = max(1, macs_per_pe // kept), -(-kept // macs_per_pe)
    sets = -(-k // (group * per_slot))
    padded = np.zeros((sets * per_slot * group, n))
    padded[:k] = w
    groups = padded.reshape(-1, group, n)
    order = np.sort(np.argsort(-np.abs(groups), axis=1, kind="stable")[:, :kept], axis=1)
    taken = np.take_along_axis(groups, order, axis=1)
    order = order + (np.arange(groups.shape[0]) % per_slot * group)[:, None, None]
    held = per_slot * kept
    values = np.zeros((sets, parts * macs_per_pe, n))
    positions = np.zeros((sets, parts * macs_per_pe, n), np.int64)
    values[:, :held] = taken.reshape(sets, held, n)
    positions[:, :held] = order.reshape(sets, held, n)
    real = np.clip(held - np.arange(parts) * macs_per_pe, 0, macs_per_pe)
    shape = (sets * parts, macs_per_pe, n)
    return (
        values.reshape(shape).transpose(2, 0, 1), positions.reshape(shape).transpose(2, 0, 1), np.tile(real, sets),
        group * per_slot, parts,
    )  # fmt: skip


def _compact(x: NDArray[np.float64], w: NDArray[np.float64], pattern: Pattern | None, macs_per_pe: int) -> _Compact:
    values, positions, real, word, parts = _compact_slots(w, pattern, macs_per_pe)
    (m, k), (n, slots, _) = x.shape, values.shape
    words = slots // parts
    wide_x = np.zeros((m + 1, words * word))
    wide_x[:m, :k] = x
    wide_w, wide_i = np.zeros((n + 1, slots, macs_per_pe)), np.zeros((n + 1, slots, macs_per_pe), np.uint32)
    wide_w[:n], wide_i[:n] = values, positions
    return _Compact(wide_x.reshape(m + 1, words, word), wide_w, wide_i, real.astype(np.int64), parts)


def _by_slot(operand: NDArray[_T]) -> NDArray[_T]:
    """Lay an operand (vectors, slots, elements) out so that the vectors of one slot are neighbours, flat."""
    return np.ascontiguousarray(operand.transpose(1, 0, 2)).reshape(-1)


def _new_ring(fields: int, span: int) -> NDArray[np.int64]:
    return np.zeros((fields, 3 * span + _RING_SLACK), np.int64)


def _bits(count: int, cols: int) -> NDArray[np.uint64]:
    return np.zeros((count, (cols + 63) // 64), np.uint64)


def _idle_controls(fields: int, span: int) -> NDArray[np.int64]:
    """A ring of control words that do nothing."""
    ring = _new_ring(fields, span)
    ring[register_words.RUN] = 1
    return ring


def _state(spans: dict[int, int]) -> NDArray[np.int64]:
    """Counters at zero, ring heads where the next word enters."""
    state = np.zeros(register_words.STATE_WORDS, np.int64)
    for head, span in spans.items():
        state[head] = 2 * span + _RING_SLACK
    return state


def _os_machine(m: int, n: int, a: _Array, op: _Compact) -> tuple[register_os.OsMachine, NDArray[np.int64]]:
    tiles = np.zeros((len(range(0, m, a.rows * a.ia)) * len(range(0, n, a.cols * a.ib)), 8), np.int64)
    register_os.os_tiles(tiles, m, n, (a.rows, a.cols), (a.ia, a.ib))
    rows, cols = int(tiles[:, register_os.TILE_R].max()), int(tiles[:, register_os.TILE_C].max())
    per_tile = tiles[:, register_os.TILE_IA] * tiles[:, register_os.TILE_IB]
    places, banks = max(int(per_tile.max()) * a.split_k, a.latency), 2 if a.overlapped else 1
    span = rows + cols + a.latency + 2
    machine = register_os.OsMachine(
        m=m, n=n, slots=op.w.shape[1], parts=op.parts, macs_per_pe=a.macs_per_pe, word=op.x.shape[2], latency=a.latency,
        split_k=a.split_k, overlapped=a.overlapped,
        row_port=a.row_port, col_port=a.col_port, rows=rows, cols=cols, places=places, banks=banks, span=span,
        tiles=tiles, slot_values=op.slot_values, x=_by_slot(op.x), w=_by_slot(op.w), wi=_by_slot(op.wi),
        hist=_idle_controls(register_os.OS_FIELDS, span), drain_hist=_new_ring(7, cols) - 1,
        x_line=_new_ring(rows, cols).astype(np.uint32), x_valid=_bits(rows, cols), w_valid=_bits(rows, cols),
        w_line=np.zeros((rows, a.macs_per_pe, cols)), wi_line=np.zeros((rows, a.macs_per_pe, cols), np.uint32),
        regs=np.zeros(rows * banks * places * cols), pipe=np.zeros(a.latency * rows * cols),
        drain=np.zeros((rows, cols)), ready=np.zeros(banks * places, np.int64), owner=np.full(banks * places, -1),
        token=np.zeros(len(tiles), np.int64), y=np.zeros((m, n)),
    )  # fmt: skip
    state = _state({register_words.HEAD: span, register_words.LINE_HEAD: cols, register_os.DR_HEAD: cols})
    return machine, state


def _stationary_machine(
    m: int, n: int, a: _Array, op: _Compact
) -> tuple[register_stationary.StationaryMachine, NDArray[np.int64]]:
    input_held, flat, chain = a.dataflow == "is", a.variant == "flat", a.variant == "chain"
    slots, words, word = op.w.shape[1], op.x.shape[1], op.x.shape[2]
    slot_rows, parts = (slots, 1) if flat else (words, op.parts)
    columns, length = (m, n) if input_held else (n, m)
    tiles = np.zeros((len(range(0, columns, a.cols)) * len(range(0, slot_rows, a.rows)), 4), np.int64)
    register_stationary.stationary_tiles(tiles, columns, slot_rows, a.rows, a.cols)
    rows, cols = int(tiles[:, register_stationary.STAT_R].max()), int(tiles[:, register_stationary.STAT_C].max())
    batch = min(a.ia * a.ib, length) if chain else 1
    skew = (parts - 1) * max(batch, a.latency) + a.latency if chain else a.latency
    places, span = max(batch, a.latency) if chain else 1, (rows - 1) * skew + cols + a.latency + 2
    chunks, held = (-(-word // a.macs_per_pe), word) if input_held else (parts, parts * a.macs_per_pe)
    x = op.x.reshape(-1) if input_held else _by_slot(op.x)
    w, wi = (_by_slot(op.w), _by_slot(op.wi)) if input_held else (op.w.reshape(-1), op.wi.reshape(-1))
    row_word = np.arange(slot_rows) // (op.parts if flat else 1)
    machine = register_stationary.StationaryMachine(
        input_held=input_held, chain=chain, flat=flat, length=length, words=words, slots=slots, parts=parts,
        chunks=chunks, held=held, macs_per_pe=a.macs_per_pe, word=word, latency=a.latency, batch=batch, skew=skew,
        overlapped=a.overlapped, row_port=a.row_port, col_port=a.col_port, rows=rows, cols=cols, places=places,
        span=span, tiles=tiles, slot_values=op.slot_values, row_word=row_word, row_lead=np.diff(row_word, prepend=-1),
        x=x, w=w, wi=wi, hist=_idle_controls(register_stationary.STATIONARY_FIELDS, span),
        pre_hist=_new_ring(6, cols), line=_new_ring(rows, cols).astype(np.uint32), line_valid=_bits(rows, cols),
        held_valid=_bits(rows, cols), held_v=np.zeros(rows * held * cols),
        held_i=np.zeros(rows * held * cols, np.uint32),
        shadow_v=np.zeros(rows * held * cols), shadow_i=np.zeros(rows * held * cols, np.uint32),
        shadow_fill=np.zeros(rows, np.int64), regs=np.zeros((rows + 1) * 2 * places * cols),
        pipe=np.zeros(a.latency * rows * cols), ready=np.zeros(batch, np.int64), link_owner=np.full(batch, -1),
        start=np.full(len(tiles), -1), taps=np.unique(tiles[:, register_stationary.STAT_R]), y=np.zeros((m, n)),
    )  # fmt: skip
    return machine, _state(
        {register_words.HEAD: span, register_words.LINE_HEAD: cols, register_stationary.PRE_HEAD: cols}
    )


_Machine = TypeVar("_Machine", register_os.OsMachine, register_stationary.StationaryMachine)


def _run(
    step: Callable[[_Machine, NDArray[np.int64], NDArray[np.int32]], int],
    machine: _Machine,
    state: NDArray[np.int64],
    progress: Progress | None,
) -> NDArray[np.int32]:
    """Step a machine to its end; the ops issued in each cycle come back."""
    call_cycles = min(1 << 20, max(256, _UPDATES_PER_CALL // (machine.rows * machine.cols)))
    parts: list[NDArray[np.int32]] = []
    status = register_words.RUNNING
    while status == register_words.RUNNING:
        before = int(state[register_words.CYCLE])
        issued = np.zeros(call_cycles, np.int32)
        status = step(machine, state, issued)
        parts.append(issued[: int(state[register_words.CYCLE]) - before])
        if progress is not None:
            progress(int(state[register_words.FINISHED]), len(machine.tiles))
    if status != register_words.DONE:
        raise RuntimeError(
            f"register engine: {register_words.HAZARDS[status]} in cycle {int(state[register_words.CYCLE]) - 1}; this"
            " is a fault of the control sequence, please report it"
        )
    return np.concatenate(parts)


def run_registers(
    m: int,
    n: int,
    k: int,
    *,
    rows: int,
    cols: int,
    macs_per_pe: int,
    adder_latency: int,
    dataflow: Dataflow,
    pattern: Pattern | None = None,
    interleave: tuple[int, int] = (1, 1),
    split_k: int = 1,
    variant: Variant | None = None,
    overlapped: bool = False,
    ports: tuple[int | None, int | None] | None = None,
    x: ArrayLike | None = None,
    w: ArrayLike | None = None,
    progress: Progress | None = None,
) -> RegisterRun:
    """Run ``Y[m, n] = X[m, k] mask(W)[k, n]`` on a rows x cols array, one cycle after the other.

    x (m, k) and w (k, n) are finite numbers; left out, they are small whole numbers from a fixed seed. With a pattern,
    mask keeps the N largest magnitudes of every M consecutive k (of equals the lowest index; the last group is padded
    with zeros). macs_per_pe is V, adder_latency L (cycles), interleave (Ia, Ib), split_k Z (os only). ws and is use
    Ia Ib psums in the chain variant only; their default variant is split. ports are the elements per cycle at a PE row
    edge and a PE column edge (rule in the module's text). progress(tiles_done, tiles) is called now and then.

    Raises InputError for input outside this, RuntimeError if the machine reads a word before it is there.

    >>> run = run_registers(2, 2, 8, rows=2, cols=2, macs_per_pe=1, adder_latency=1, dataflow="os")
    >>> run.cycles, run.op_slots, run.y_words
    (12, 32, 4)
    """
    m, n, k = _whole("m", m), _whole("n", n), _whole("k", k)
    array = _checked_array(
        rows, cols, macs_per_pe, adder_latency, dataflow, interleave, split_k, variant, overlapped, ports
    )
    if pattern is not None and not isinstance(pattern, Pattern):
        raise InputError(f"pattern: {pattern!r} is not a Pattern; for example Pattern(kept=2, group=8)")
    if max(m, n) * (k + 4096) >= 1 << 31:
        raise InputError(f"m, n, k: {m}, {n}, {k} are too large to step; allowed: max(m, n) * (k + 4096) below 2**31")
    x_given, w_given = _operand("x", x, (m, k), _SEED), _operand("w", w, (k, n), _SEED + 1)
    operands = _compact(x_given, w_given, pattern, array.macs_per_pe)
    if dataflow == "os":
        os_machine, state = _os_machine(m, n, array, operands)
        issued, y, tiles = _run(register_os.step_os, os_machine, state, progress), os_machine.y, len(os_machine.tiles)
    else:
        machine, state = _stationary_machine(m, n, array, operands)
        step = register_stationary.step_stationary
        issued, y, tiles = _run(step, machine, state, progress), machine.y, len(machine.tiles)
    cycles = int(state[register_words.CYCLES])
    issued = issued[:cycles]
    issued.flags.writeable = False
    y.flags.writeable = False
    return RegisterRun(
        cycles=cycles,
        op_slots=int(state[register_words.OPS]),
        x_words=int(state[register_words.X_WORDS]),
        w_words=int(state[register_words.W_WORDS]),
        y_words=int(state[register_words.Y_WORDS]),
        tiles=tiles,
        y=y,
        issued=issued,
    )


def estimate_seconds(
    m: int,
    n: int,
    k: int,
    *,
    rows: int,
    cols: int,
    macs_per_pe: int,
    adder_latency: int,
    dataflow: Dataflow,
    pattern: Pattern | None = None,
    interleave: tuple[int, int] = (1, 1),
    split_k: int = 1,
    variant: Variant | None = None,
    overlapped: bool = False,
) -> float:
    """Roughly how long `run_registers` will take, in seconds: PE cycles over the measured speed of one core.

    The cycles are a rough count from the loop lengths, good to about a factor of two; ports are left out. Raises
    InputError as `run_registers` does.
    """
    m, n, k = _whole("m", m), _whole("n", n), _whole("k", k)
    a = _checked_array(rows, cols, macs_per_pe, adder_latency, dataflow, interleave, split_k, variant, overlapped, None)
    kept, group = (a.macs_per_pe, a.macs_per_pe) if pattern is None else (pattern.kept, pattern.group)
    parts = -(-kept // a.macs_per_pe)
    slots = -(-k // (group * max(1, a.macs_per_pe // kept))) * parts
    interleaved = a.ia * a.ib
    if dataflow == "os":
        used_rows, used_cols = min(rows, m), min(cols, n)
        tiles = -(-m // (rows * a.ia)) * -(-n // (cols * a.ib))
        issue, drain = slots * max(interleaved, a.latency // a.split_k), rows * interleaved
        per_tile: float = max(issue, drain) if overlapped else issue + drain + rows + cols + a.latency
    else:
        columns, length = (n, m) if dataflow == "ws" else (m, n)
        parts = 1 if a.variant == "flat" else parts
        slot_rows = slots // parts
        used_rows, used_cols = min(rows, slot_rows), min(cols, columns)
        tiles = -(-columns // cols) * -(-slot_rows // rows)
        stalls = max(1.0, a.latency / interleaved) if a.variant == "chain" and parts > 1 else 1.0
        fill = used_rows * (a.latency * stalls + parts) + used_cols
        per_tile = length * parts * stalls + (0 if overlapped else fill)
    return tiles * per_tile * used_rows * used_cols / _UPDATES_PER_SECOND
