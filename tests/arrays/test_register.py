"""The register-level machine against an independent stepper's golden tiles, numpy, hand-worked tiles and itself."""

import csv
import os
import subprocess
import sys
import types
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config

from accelsim.arrays import register
from accelsim.arrays.compiled import register_os, register_stationary, register_words
from accelsim.arrays.register import estimate_seconds, run_registers
from accelsim.base.errors import InputError
from accelsim.sparsity.pattern import Pattern

COUNTS = ("cycles", "op_slots", "x_words", "w_words", "y_words", "tiles")
EXAMPLES = 20 if config.DISABLE_JIT else 250


def masked(w, pattern):
    """Keep the N largest magnitudes of every M consecutive rows, one group at a time; of equals the lowest index."""
    if pattern is None:
        return w
    k, n = w.shape
    out = np.zeros_like(w)
    for start in range(0, k, pattern.group):
        rows = range(start, min(k, start + pattern.group))
        for j in range(n):
            for e in sorted(rows, key=lambda e: (-abs(w[e, j]), e))[: pattern.kept]:
                out[e, j] = w[e, j]
    return out


def golden_rows():
    with (resources.files("accelsim") / "data" / "golden_tiles.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(m, n, k, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-4, 5, (m, k)).astype(float), rng.integers(-4, 5, (k, n)).astype(float)


def run_golden(row, run=run_registers):
    """Run one golden row; return what differs from it."""
    g = {key: value if key in {"dataflow", "variant"} else int(value) for key, value in row.items()}
    pattern = Pattern(kept=g["N"], group=g["M"]) if g["N"] else None
    x, w = numbers(g["Mdim"], g["Ndim"], g["Kdim"], seed=g["id"])
    out = run(
        g["Mdim"], g["Ndim"], g["Kdim"], rows=g["R"], cols=g["C"], macs_per_pe=g["V"], adder_latency=g["L"],
        dataflow=g["dataflow"], pattern=pattern, interleave=(g["Ia"], g["Ib"]), split_k=g["Z"],
        variant=None if g["variant"] == "-" else g["variant"], overlapped=bool(g["overlap"]), x=x, w=w,
    )  # fmt: skip
    wrong = {name: (getattr(out, name), g[name]) for name in COUNTS if getattr(out, name) != g[name]}
    if not np.array_equal(out.y, x @ masked(w, pattern)):
        wrong["y"] = "not the product"
    if out.issued.sum() != out.op_slots or len(out.issued) != out.cycles or out.issued.max() > g["R"] * g["C"]:
        wrong["issued"] = "does not fit op_slots and cycles"
    return wrong


def test_golden_tiles_exactly():
    rows = golden_rows()
    assert len(rows) == 3000
    wrong = {
        row["id"]: difference for row in rows[:: 60 if config.DISABLE_JIT else 1] if (difference := run_golden(row))
    }
    assert wrong == {}


# ---------------------------------------------------------------------------------------- any machine, any shape

PATTERNS = [None, *(Pattern.parse(p) for p in ("1:2", "2:4", "2:8", "1:8", "3:8", "4:8", "4:4", "3:3", "5:7", "16:32"))]


@st.composite
def machines(draw, dataflows=("os", "ws", "is"), ports=True):
    dataflow = draw(st.sampled_from(dataflows))
    small = st.integers(1, 5)
    port = st.one_of(st.none(), st.integers(1, 9)) if ports else st.none()
    return {
        "rows": draw(small),
        "cols": draw(small),
        "macs_per_pe": draw(st.integers(1, 7)),
        "adder_latency": draw(st.integers(1, 12)),
        "dataflow": dataflow,
        "pattern": draw(st.sampled_from(PATTERNS)),
        "interleave": (draw(st.integers(1, 4)), draw(st.integers(1, 3))),
        "split_k": draw(st.integers(1, 5)) if dataflow == "os" else 1,
        "variant": draw(
            st.sampled_from({"os": [None], "ws": ["split", "chain", "flat"], "is": ["split", "chain"]}[dataflow])
        ),
        "overlapped": draw(st.booleans()),
        "ports": (draw(port), draw(port)),
    }


SIZES = st.tuples(st.integers(1, 17), st.integers(1, 17), st.integers(1, 40))


def slots_of(k, machine):
    """Count the ops of one output by walking the reduction axis."""
    lanes, pattern = machine["macs_per_pe"], machine["pattern"]
    if pattern is None:
        return len(range(0, k, lanes))
    groups = len(range(0, k, pattern.group))
    if lanes < pattern.kept:
        return groups * len(range(0, pattern.kept, lanes))
    return len(range(0, groups, lanes // pattern.kept))


@settings(max_examples=EXAMPLES, deadline=None)
@given(size=SIZES, machine=machines(), seed=st.integers(0, 99))
def test_product_and_invariants_on_any_machine(size, machine, seed):
    m, n, k = size
    x, w = numbers(m, n, k, seed)
    out = run_registers(m, n, k, **machine, x=x, w=w)
    np.testing.assert_array_equal(out.y, x @ masked(w, machine["pattern"]))
    pes, slots = machine["rows"] * machine["cols"], slots_of(k, machine)
    assert pes * out.cycles >= out.op_slots >= m * n * slots
    assert out.issued.sum() == out.op_slots
    assert len(out.issued) == out.cycles
    assert 0 < out.issued.max() <= pes
    assert out.y_words >= m * n
    sparse = machine["pattern"]
    kept = n * slots * machine["macs_per_pe"] if sparse is None else n * -(-k // sparse.group) * sparse.kept
    assert out.w_words >= kept
    assert out.x_words >= m * k


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(size=SIZES, machine=machines())
def test_overlap_changes_cycles_only_and_never_for_the_worse(size, machine):
    alone, together = (run_registers(*size, **{**machine, "overlapped": overlapped}) for overlapped in (False, True))
    assert together.cycles <= alone.cycles
    assert [getattr(alone, name) for name in COUNTS[1:]] == [getattr(together, name) for name in COUNTS[1:]]


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(size=SIZES, machine=machines())
def test_wide_ports_cost_nothing_and_narrow_ports_cost_cycles_only(size, machine):
    free = run_registers(*size, **{**machine, "ports": None})
    wide = run_registers(*size, **{**machine, "ports": (10**6, 10**6)})
    narrow = run_registers(*size, **machine)
    assert free == wide
    assert narrow.cycles >= free.cycles
    assert [getattr(narrow, name) for name in COUNTS[1:]] == [getattr(free, name) for name in COUNTS[1:]]
    row_words, col_words = narrow.x_words, narrow.w_words
    if machine["dataflow"] == "is":
        row_words, col_words = col_words, row_words
    row_port, col_port = machine["ports"]
    assert row_port is None or narrow.cycles * machine["rows"] * row_port >= row_words
    assert col_port is None or narrow.cycles * machine["cols"] * col_port >= col_words


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(size=SIZES, machine=machines(ports=False), grow=st.sampled_from(["m", "n", "k", "adder_latency"]))
def test_cycles_never_fall_when_the_work_or_the_latency_grows(size, machine, grow):
    larger = {**machine, "adder_latency": machine["adder_latency"] + (grow == "adder_latency")}
    shape = tuple(s + (name == grow) for s, name in zip(size, ("m", "n", "k"), strict=True))
    assert run_registers(*shape, **larger).cycles >= run_registers(*size, **machine).cycles


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(size=SIZES, machine=machines(dataflows=("ws",), ports=False))
def test_flat_is_the_dense_machine_on_the_compact_reduction(size, machine):
    m, n, k = size
    slots = slots_of(k, machine)
    flat = run_registers(m, n, k, **{**machine, "variant": "flat"})
    dense = run_registers(m, n, slots * machine["macs_per_pe"], **{**machine, "variant": "split", "pattern": None})
    assert (flat.cycles, flat.op_slots, flat.y_words, flat.tiles) == (
        dense.cycles, dense.op_slots, dense.y_words, dense.tiles
    )  # fmt: skip
    if machine["pattern"] is None:
        assert flat == dense


def test_more_than_64_columns():
    x, w = numbers(9, 300, 24)
    for dataflow in ("os", "ws", "is"):
        out = run_registers(
            9, 300, 24, rows=3, cols=130, macs_per_pe=2, adder_latency=3, dataflow=dataflow,
            pattern=Pattern.parse("2:4"), overlapped=True, x=x, w=w,
        )  # fmt: skip
        np.testing.assert_array_equal(out.y, x @ masked(w, Pattern.parse("2:4")))
        assert out.issued.sum() == out.op_slots


def test_real_numbers_and_ties():
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(11, 37)), rng.normal(size=(37, 5))
    w[3:9] = 1.0
    w[10:13, 2] = -1.0
    pattern = Pattern.parse("2:8")
    out = run_registers(
        11, 5, 37, rows=3, cols=2, macs_per_pe=1, adder_latency=4, dataflow="is", pattern=pattern, x=x, w=w
    )
    np.testing.assert_allclose(out.y, x @ masked(w, pattern), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------------- tiles worked by hand

ONE_PE = {"rows": 1, "cols": 1, "macs_per_pe": 1}


def test_one_dense_pe_without_interleaving_waits_for_its_adder():
    # Ops in cycles 0, 3, 6; the sum is ready in cycle 9 and leaves in it.
    out = run_registers(1, 1, 3, **ONE_PE, adder_latency=3, dataflow="os")
    assert (out.cycles, out.op_slots, out.x_words, out.w_words, out.y_words) == (10, 3, 3, 3, 1)
    assert out.issued.tolist() == [1, 0, 0, 1, 0, 0, 1, 0, 0, 0]


def test_one_pe_with_two_partial_sums():
    # MACs in 0, 1, 2 (third waits for nothing: 2 = L), last ready in 4; one add in 4, ready and out in 6.
    out = run_registers(1, 1, 3, **ONE_PE, adder_latency=2, dataflow="os", split_k=2)
    assert out.cycles == 7
    assert out.issued.tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_two_rows_of_weights_pass_one_partial_sum_each_adder_latency():
    # Preload cycles 0 and 1; row 0 issues in 2, 3, 4, row 1 in 4, 5, 6, whose last sum leaves at the end of 7.
    out = run_registers(3, 1, 2, rows=2, cols=1, macs_per_pe=1, adder_latency=2, dataflow="ws")
    assert out.issued.tolist() == [0, 0, 1, 1, 2, 1, 1, 0]
    assert (out.x_words, out.w_words, out.y_words) == (6, 2, 3)


def test_two_banks_hide_the_drain_but_not_all_of_the_adder():
    # One op per tile, L = 8: op in 0, sum out in 8, and the bank is free again in 9; two banks make 4.5 cycles per
    # tile, where issue and drain take 1 each.
    machine = {**ONE_PE, "adder_latency": 8, "dataflow": "os", "overlapped": True}
    assert run_registers(1, 40, 1, **machine).cycles - run_registers(1, 20, 1, **machine).cycles == 20 * 4.5


def test_os_ports_hold_the_last_op_until_the_last_element_has_passed():
    tile = {
        "rows": 2,
        "cols": 2,
        "macs_per_pe": 1,
        "adder_latency": 1,
        "dataflow": "os",
        "pattern": Pattern.parse("1:4"),
    }
    free = run_registers(2, 2, 16, **tile)  # 4 ops per PE: 1 + 1 + 4 + 0 + 2
    assert free.cycles == 8
    assert run_registers(2, 2, 16, **tile, ports=(1, None)).cycles == 4 + 16  # 16 x elements per row edge
    assert run_registers(2, 2, 16, **tile, ports=(3, None)).cycles == 4 + 6
    assert run_registers(2, 2, 16, **tile, ports=(None, 1)).cycles == free.cycles  # 4 w elements per column edge
    both = {**tile, "interleave": (1, 2)}  # 8 ops, 16 x elements, 8 w elements; four values drain per column
    assert run_registers(2, 4, 16, **both).cycles == 2 + 8 + 4
    assert run_registers(2, 4, 16, **both, ports=(2, 1)).cycles == 2 + 8 + 4
    assert run_registers(2, 4, 16, **both, ports=(1, 1)).cycles == 2 + 16 + 4


def test_stationary_ports_hold_the_stream_and_the_preload():
    tile = {"rows": 2, "cols": 1, "macs_per_pe": 1, "adder_latency": 1, "pattern": Pattern.parse("2:4")}
    # ws: preload 2 rows x 2 chunks, 3 vectors x 2 ops, 1 cycle of row skew; 12 x elements per row, 4 w per column.
    assert run_registers(3, 1, 8, **tile, dataflow="ws").cycles == 4 + 6 + 1
    assert run_registers(3, 1, 8, **tile, dataflow="ws", ports=(1, None)).cycles == 4 + 12 + 1
    assert run_registers(3, 1, 8, **tile, dataflow="ws", ports=(5, None)).cycles == 4 + 6 + 1
    # is: preload 2 rows x 4 chunks, 6 ops; 6 w elements per row edge and 8 x elements per column edge.
    assert run_registers(1, 3, 8, **tile, dataflow="is").cycles == 8 + 6 + 1
    assert run_registers(1, 3, 8, **tile, dataflow="is", ports=(1, 1)).cycles == 8 + 6 + 1
    wide = {**tile, "macs_per_pe": 2}  # ws: 2 preload cycles, 4 elements; is: 4 preload cycles, 8 elements; 3 ops
    assert run_registers(3, 1, 8, **wide, dataflow="ws").cycles == 2 + 3 + 1
    assert run_registers(3, 1, 8, **wide, dataflow="ws", ports=(4, 1)).cycles == 4 + 3 + 1
    assert run_registers(1, 3, 8, **wide, dataflow="is", ports=(1, 1)).cycles == 8 + 6 + 1


def test_flat_rows_share_the_x_word_of_their_group():
    # 3:4 with two lanes: slots of 2 and 1 weights. Rows 0, 1 hold group 0, row 2 the first slot of group 1; the second
    # tile has the other slot of group 1, alone, and streams the word again.
    out = run_registers(5, 1, 8, rows=3, cols=1, macs_per_pe=2, adder_latency=1, dataflow="ws", variant="flat",
                        pattern=Pattern.parse("3:4"))  # fmt: skip
    assert out.tiles == 2
    assert out.x_words == 5 * 4 * (2 + 1)
    assert out.w_words == 6
    assert out.y_words == 10
    assert out.op_slots == 4 * 5


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_lanes_that_no_group_fills(dataflow):
    # Five lanes hold two 2:4 groups and leave one lane empty; three groups make two slots, padded to four groups.
    x, w = numbers(3, 3, 12)
    pattern = Pattern.parse("2:4")
    out = run_registers(
        3, 3, 12, rows=4, cols=4, macs_per_pe=5, adder_latency=1, dataflow=dataflow, pattern=pattern, x=x, w=w
    )
    np.testing.assert_array_equal(out.y, x @ masked(w, pattern))
    assert out.op_slots == 3 * 3 * 2
    assert (out.x_words, out.w_words) == (3 * 16, 3 * 8)


# ---------------------------------------------------------------------------------------- the interface


def test_a_run_is_frozen_and_repeatable():
    machine = {"rows": 2, "cols": 3, "macs_per_pe": 1, "adder_latency": 2, "dataflow": "os"}
    first, second = (run_registers(5, 4, 6, **machine) for _ in range(2))
    assert first == second
    np.testing.assert_array_equal(first.y, second.y)
    assert not first.y.flags.writeable
    assert not first.issued.flags.writeable


def test_progress_is_reported():
    seen = []
    run_registers(
        4,
        4,
        4,
        rows=2,
        cols=2,
        macs_per_pe=1,
        adder_latency=1,
        dataflow="os",
        progress=lambda done, of: seen.append((done, of)),
    )
    assert seen[-1] == (4, 4)


GOOD = {"rows": 2, "cols": 2, "macs_per_pe": 1, "adder_latency": 1, "dataflow": "os"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, r"rows: 0 is not a whole number from 1 to 4096"),
        ({"cols": 2.0}, r"cols: 2.0 is not a whole number from 1 to 4096"),
        ({"macs_per_pe": True}, r"macs_per_pe: True is not a whole number from 1 to 1024"),
        ({"adder_latency": -1}, r"adder_latency: -1 is not a whole number from 1 to 1024"),
        ({"dataflow": "oss"}, r"dataflow: 'oss' is not one of os, ws, is; did you mean 'os'\?"),
        ({"variant": "split"}, r"variant: 'split' is not possible with dataflow os; allowed: None"),
        (
            {"dataflow": "is", "variant": "flat"},
            r"variant: 'flat' is not possible with dataflow is; allowed: None, split, chain",
        ),
        ({"dataflow": "ws", "split_k": 2}, r"split_k: 2 is not possible with dataflow ws; allowed: 1"),
        ({"split_k": 0}, r"split_k: 0 is not a whole number from 1 to 4096"),
        ({"interleave": (1, 0)}, r"interleave\[1\]: 0 is not a whole number from 1 to 4096"),
        ({"interleave": 4}, r"interleave: 4 is not a pair"),
        ({"ports": (0, None)}, r"ports\[0\]: 0 is not a whole number from 1 to 16777216"),
        ({"overlapped": 1}, r"overlapped: 1 is not true or false"),
        ({"pattern": "2:8"}, r"pattern: '2:8' is not a Pattern; for example Pattern\(kept=2, group=8\)"),
        ({"x": np.zeros((3, 2))}, r"x: shape \(3, 2\) does not fit; allowed: \(2, 3\)"),
        ({"w": np.full((3, 2), np.nan)}, r"w: holds NaN or infinity; allowed: finite numbers"),
        ({"x": np.full((2, 3), np.inf)}, r"x: holds NaN or infinity; allowed: finite numbers"),
        ({"x": "word"}, r"x: expected an array of numbers of shape \(2, 3\)"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        run_registers(2, 2, 3, **{**GOOD, **change})


def test_bad_sizes_are_refused_by_name():
    with pytest.raises(InputError, match=r"^k: 0 is not a whole number from 1 to 16777216$"):
        run_registers(2, 2, 0, **GOOD)


@pytest.mark.parametrize(
    "machine",
    [
        {"dataflow": "os", "interleave": (2, 2)},
        {"dataflow": "ws", "variant": "chain", "pattern": Pattern.parse("2:8")},
        {"dataflow": "is", "overlapped": True},
    ],
)
def test_estimate_is_of_the_right_size(machine):
    common = {"rows": 8, "cols": 8, "macs_per_pe": 1, "adder_latency": 4, **machine}
    out = run_registers(100, 60, 128, **common)
    exact = out.cycles * 64 / register._UPDATES_PER_SECOND
    assert exact / 2 < estimate_seconds(100, 60, 128, **common) < exact * 2


def test_the_kernels_run_without_compilation():
    code = (
        "from accelsim.arrays.register import run_registers as run;"
        "a = dict(rows=2, cols=2, macs_per_pe=1, adder_latency=2);"
        "print(run(3, 3, 5, dataflow='os', split_k=2, **a).cycles);"
        "print(run(3, 3, 5, dataflow='ws', overlapped=True, **a).cycles)"
    )
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, text=True,
        check=True, capture_output=True,
    )  # fmt: skip
    machine = {"rows": 2, "cols": 2, "macs_per_pe": 1, "adder_latency": 2}
    os_run = run_registers(3, 3, 5, dataflow="os", split_k=2, **machine)
    ws_run = run_registers(3, 3, 5, dataflow="ws", overlapped=True, **machine)
    assert out.stdout.split() == [str(os_run.cycles), str(ws_run.cycles)]


# ---------------------------------------------------------------------------------------- faults that must not pass

FAULTS = {
    "adder read one cycle early": ("mc.latency - ia * ib * mc.split_k)", "mc.latency - ia * ib * mc.split_k - 1)"),
    "reduction starts early": ("st[RED_N] = sums\n            st[WAIT] = mc.latency - 1", "st[RED_N] = sums"),
    "drain starts early": ("(mc.tiles[tile, TILE_R] - 1) + mc.latency", "mc.latency"),
    "bank reused before its drain": ("st[DRAINED] >= st[TILE] - 1", "st[DRAINED] >= st[TILE] - 2"),
    "row skew off by one": ("p, stage = h + i * mc.skew,", "p, stage = h + i * (mc.skew - 1),"),
    "tiles in the other order": ("for c0 in range(0, columns, cols):\n        for w0 in range(0, slot_rows, rows):",
                                 "for w0 in range(0, slot_rows, rows):\n        for c0 in range(0, columns, cols):"),
    "preload starts early": ("st[CYCLE] > mc.start[tile - 1] + last_row", "st[CYCLE] > mc.start[tile - 1]"),
    "shadow set taken at once": ("j = age - i * mc.skew", "j = age - i"),
    "chain does not wait": ("st[WAIT] = max(0, mc.latency - batch)", "st[WAIT] = 0"),
    "psum leaves late": ("p = h + (mc.latency - 1) +", "p = h + mc.latency +"),
    "x word counted for every op": ("mc.word if b == 0 and slot % mc.parts == 0 else 0", "mc.word if b == 0 else 0"),
    "w word not counted again": ("w_load = mc.slot_values[slot] if a == 0 else 0",
                                 "w_load = mc.slot_values[slot] if a + b == 0 else 0"),
    "last preload row missing": ("tiles[tile, STAT_R] * mc.chunks - 1", "tiles[tile, STAT_R] * mc.chunks - 2"),
    "position ignored": ("mc.wi_line[head, v, j] = mc.wi[source + v]", "mc.wi_line[head, v, j] = mc.wi[source]"),
}  # fmt: skip


KERNELS = (register_words, register_os, register_stationary)


def small_golden_rows(per_kind=8):
    """Rows that the interpreted machine runs in no time, of every dataflow, variant and overlap."""
    kinds = {}
    for row in golden_rows():
        if int(row["cycles"]) * int(row["R"]) * int(row["C"]) < 900 and int(row["tiles"]) > 2:
            kinds.setdefault((row["dataflow"], row["variant"], row["overlap"], row["N"] == "0"), []).append(row)
    return [row for rows in kinds.values() for row in rows[:per_kind]]


def interpreted_kernels(fault=None):
    """The kernel modules, not compiled; with a fault (old, new) the one line that is `old` is `new`."""
    texts = {
        module.__name__.rpartition(".")[2]: Path(module.__file__).read_text(encoding="utf-8") for module in KERNELS
    }
    if fault is not None:
        assert sum(text.count(fault[0]) for text in texts.values()) == 1, fault[0]
    stub = "def borrowing(function, **_):\n    return function\n"
    made = []
    for name, text in texts.items():
        module = types.ModuleType(f"faulty_{name}")
        sys.modules[module.__name__] = module
        changed = text if fault is None else text.replace(*fault)
        changed = changed.replace("from accelsim.arrays.compiled.", "from faulty_")
        changed = changed.replace("from accelsim.base.jit import borrowing", stub)
        exec(compile(changed, module.__name__, "exec"), vars(module))  # noqa: S102
        made.append(module)
    return made


def use(monkeypatch, kernels):
    for module in kernels:
        monkeypatch.setattr(register, module.__name__.removeprefix("faulty_"), module)


def caught(row):
    try:
        return bool(run_golden(row))
    except (RuntimeError, IndexError):
        return True


def test_the_interpreted_machine_is_the_compiled_one(monkeypatch):
    use(monkeypatch, interpreted_kernels())
    assert [row["id"] for row in small_golden_rows(2) if run_golden(row)] == []


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_caught(monkeypatch, name):
    kernels = interpreted_kernels(FAULTS[name])
    limit = {"calls": 0}

    def bounded(step):
        def stepping(*arguments):
            limit["calls"] += 1
            if limit["calls"] > 40:
                raise RuntimeError("the machine hangs")
            return step(*arguments)

        return stepping

    _, output, stationary = kernels
    output.step_os, stationary.step_stationary = bounded(output.step_os), bounded(stationary.step_stationary)
    use(monkeypatch, kernels)
    monkeypatch.setattr(register, "_UPDATES_PER_CALL", 1)

    def found(row):
        limit["calls"] = 0
        return caught(row)

    assert any(found(row) for row in small_golden_rows())
