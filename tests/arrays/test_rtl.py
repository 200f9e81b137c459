"""The RTL tier: small SystemVerilog machines, simulated by Icarus Verilog, against the array models that describe them.

The machines in `tests/rtl` have their own control and count their own cycles; nothing here computes a cycle. Operands
are small whole numbers, on which both the model's floating point and the RTL's 32-bit integers are exact.
"""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from accelsim.arrays.functional import sore_reduce
from accelsim.arrays.register import run_registers
from accelsim.sparsity.masks import magnitude_mask
from accelsim.sparsity.pattern import Pattern

RTL = Path(__file__).parents[1] / "rtl"

pytestmark = pytest.mark.skipif(
    shutil.which("iverilog") is None or shutil.which("vvp") is None,
    reason="the RTL tier needs Icarus Verilog: iverilog and vvp are not on the path",
)


def simulate(folder, bench, parameters, plusargs):
    """Compile a test bench for one set of parameters, run it, and return its lines of output, split."""
    sources = [str(path) for path in sorted(RTL.glob("*.sv"))]
    settings = [f"-P{bench}.{name}={value}" for name, value in parameters.items()]
    program = folder / f"{bench}.vvp"
    for command in (
        ["iverilog", "-g2012", "-o", str(program), "-s", bench, *settings, *sources],
        ["vvp", str(program), *(f"+{name}={value}" for name, value in plusargs.items())],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    return [line.split() for line in done.stdout.splitlines() if line.startswith(("Y ", "G ", "CYCLES "))]


def memory(path, words):
    """Write rows of bytes, element 0 in the lowest byte, as a memory image."""
    rows = np.asarray(words).astype(np.int64).reshape(-1, np.shape(words)[-1]) & 0xFF
    path.write_text("\n".join("".join(f"{byte:02x}" for byte in row[::-1]) for row in rows) + "\n")
    return path


def chosen(group, kept):
    """Positions of the N largest magnitudes of a group, of equals the lowest, in rising order."""
    return sorted(sorted(range(len(group)), key=lambda e: (-abs(group[e]), e))[:kept])


class Operands(NamedTuple):
    """X by words, W by slots of V pairs (position, value), and mask(W)."""

    x: np.ndarray  # (m, words, word)
    w: np.ndarray  # (n, slots, 2 V)
    kept: np.ndarray  # (k, n)


def compact(x, w, pattern, lanes):
    (m, k), n = x.shape, w.shape[1]
    kept, group = (pattern.kept, pattern.group) if pattern else (lanes, lanes)
    per_slot, parts = max(1, lanes // kept), -(-kept // lanes)
    words = -(-k // (group * per_slot))
    wide_x, wide_w = np.zeros((m, words * per_slot * group), int), np.zeros((words * per_slot * group, n), int)
    wide_x[:, :k], wide_w[:k] = x, w
    masked = np.zeros_like(wide_w)
    pairs = np.zeros((n, words, parts * lanes, 2), int)
    for j in range(n):
        for g in range(words * per_slot):
            at = g * group
            for order, position in enumerate(chosen(wide_w[at : at + group, j], kept)):
                masked[at + position, j] = wide_w[at + position, j]
                place = g % per_slot * kept + order
                pairs[j, g // per_slot, place] = g % per_slot * group + position, wide_w[at + position, j]
    return Operands(wide_x.reshape(m, words, -1), pairs.reshape(n, words * parts, 2 * lanes), masked[:k])


class Case(NamedTuple):
    rows: int
    cols: int
    lanes: int
    latency: int
    interleave: tuple[int, int]
    pattern: str | None
    shape: tuple[int, int, int]  # m, n, k
    variant: str | None = None

    def __str__(self):
        return (
            f"{self.rows}x{self.cols}-V{self.lanes}-L{self.latency}-I{self.interleave[0]}x{self.interleave[1]}"
            f"-{self.pattern or 'dense'}-{'x'.join(map(str, self.shape))}{'-' + self.variant if self.variant else ''}"
        )


def check_array(case, dataflow, folder, bench, parameters):
    m, n, k = case.shape
    pattern = Pattern.parse(case.pattern) if case.pattern else None
    generator = np.random.default_rng([m, n, k, case.rows, case.latency])
    x, w = generator.integers(-5, 6, (m, k)), generator.integers(-5, 6, (k, n))
    operands = compact(x, w, pattern, case.lanes)
    word = operands.x.shape[2]
    lines = simulate(
        folder,
        bench,
        {"ROWS": case.rows, "COLS": case.cols, "V": case.lanes, "WORD": word, "L": case.latency, **parameters},
        {
            "m": m, "n": n, "slots": operands.w.shape[1], "words": operands.x.shape[1],
            "x": memory(folder / "x.hex", operands.x), "w": memory(folder / "w.hex", operands.w),
        },
    )  # fmt: skip
    run = run_registers(
        m, n, k, rows=case.rows, cols=case.cols, macs_per_pe=case.lanes, adder_latency=case.latency, dataflow=dataflow,
        pattern=pattern, interleave=case.interleave, variant=case.variant, x=x, w=w,
    )  # fmt: skip
    y, sums = np.zeros((m, n)), np.zeros((m, n), int)
    for _, i, j, value in lines[:-1]:
        y[int(i), int(j)] += int(value)
        sums[int(i), int(j)] += 1
    if dataflow == "os":
        assert (sums == 1).all()
    else:
        assert sums.sum() == run.y_words
        assert (sums == sums[0, 0]).all()
    np.testing.assert_array_equal(y, x @ operands.kept)
    np.testing.assert_array_equal(y, run.y)
    assert lines[-1] == ["CYCLES", str(run.cycles)]


OS_CASES = [
    Case(2, 2, 1, 1, (1, 1), None, (1, 1, 1)),
    Case(2, 3, 1, 1, (1, 1), None, (2, 3, 7)),
    Case(4, 4, 1, 1, (1, 1), None, (9, 6, 13)),
    Case(4, 4, 1, 4, (1, 1), None, (4, 4, 12)),
    Case(4, 4, 2, 4, (2, 2), None, (11, 17, 15)),
    Case(3, 5, 2, 8, (4, 2), None, (25, 21, 9)),
    Case(4, 4, 1, 1, (1, 1), "1:4", (4, 4, 32)),
    Case(4, 4, 1, 3, (1, 2), "1:4", (9, 13, 30)),
    Case(4, 4, 1, 2, (2, 1), "2:4", (10, 7, 18)),
    Case(4, 4, 2, 5, (1, 1), "2:4", (6, 5, 41)),
    Case(4, 4, 2, 6, (2, 3), "2:8", (13, 25, 50)),
    Case(5, 3, 1, 8, (2, 4), "2:8", (19, 14, 45)),
    Case(3, 4, 1, 7, (3, 3), "2:8", (20, 26, 24)),
    Case(4, 4, 2, 3, (1, 3), "4:8", (7, 15, 33)),
    Case(6, 2, 1, 2, (2, 2), "4:8", (14, 9, 27)),
    Case(4, 3, 2, 4, (2, 2), "1:4", (9, 8, 37)),
    Case(4, 4, 2, 4, (1, 4), "1:8", (8, 16, 40)),
    Case(3, 3, 2, 2, (2, 2), "3:8", (7, 8, 29)),
    Case(8, 8, 1, 4, (2, 2), "2:8", (20, 19, 64)),
    Case(8, 8, 2, 8, (2, 2), "2:8", (16, 33, 72)),
    Case(16, 16, 1, 4, (1, 1), None, (16, 19, 24)),
    Case(16, 16, 1, 8, (2, 4), "2:8", (35, 40, 32)),
    Case(16, 16, 2, 3, (1, 2), "4:8", (17, 40, 32)),
]


@pytest.mark.parametrize("case", OS_CASES, ids=str)
def test_output_stationary_array(case, tmp_path):
    ia, ib = case.interleave
    check_array(case, "os", tmp_path, "os_bench", {"IA": ia, "IB": ib})


WS_CASES = [
    Case(2, 2, 1, 1, (1, 1), None, (1, 1, 1), "split"),
    Case(3, 4, 1, 1, (1, 1), None, (5, 7, 8), "split"),
    Case(4, 4, 2, 4, (1, 1), None, (9, 10, 21), "split"),
    Case(4, 4, 1, 3, (1, 1), "1:4", (6, 9, 35), "split"),
    Case(4, 4, 1, 4, (1, 1), "2:4", (7, 5, 27), "split"),
    Case(4, 3, 2, 8, (1, 1), "2:8", (10, 8, 50), "split"),
    Case(4, 4, 1, 2, (1, 1), "2:8", (8, 4, 72), "split"),
    Case(5, 4, 2, 5, (1, 1), "4:8", (3, 9, 44), "split"),
    Case(4, 4, 2, 2, (1, 1), "1:4", (5, 6, 40), "split"),
    Case(3, 3, 2, 3, (1, 1), "3:8", (6, 7, 29), "split"),
    Case(16, 16, 1, 4, (1, 1), "2:8", (12, 20, 150), "split"),
    Case(16, 16, 2, 8, (1, 1), None, (20, 16, 40), "split"),
    Case(4, 4, 1, 1, (1, 1), "2:4", (6, 5, 19), "chain"),
    Case(4, 4, 1, 4, (1, 1), "2:8", (5, 6, 40), "chain"),
    Case(4, 4, 1, 4, (2, 2), "2:8", (11, 6, 40), "chain"),
    Case(3, 4, 1, 3, (4, 2), "2:4", (21, 9, 30), "chain"),
    Case(4, 3, 1, 5, (2, 2), "4:8", (9, 7, 45), "chain"),
    Case(4, 4, 2, 8, (3, 1), "4:8", (10, 5, 50), "chain"),
    Case(4, 4, 2, 3, (4, 2), "3:8", (6, 8, 37), "chain"),
    Case(8, 8, 1, 6, (3, 2), "2:8", (14, 18, 90), "chain"),
    Case(16, 16, 1, 4, (2, 2), "2:4", (11, 17, 70), "chain"),
    Case(4, 4, 1, 3, (1, 1), "2:8", (7, 6, 43), "flat"),
    Case(5, 4, 2, 4, (1, 1), "4:8", (6, 9, 61), "flat"),
    Case(3, 4, 2, 1, (1, 1), "3:8", (8, 5, 30), "flat"),
    Case(16, 16, 1, 8, (1, 1), "2:8", (9, 19, 70), "flat"),
]


@pytest.mark.parametrize("case", WS_CASES, ids=str)
def test_weight_stationary_array(case, tmp_path):
    kept = Pattern.parse(case.pattern).kept if case.pattern else case.lanes
    parts = 1 if case.variant == "flat" else -(-kept // case.lanes)
    interleave = case.interleave[0] * case.interleave[1]
    chain = int(case.variant == "chain")
    check_array(case, "ws", tmp_path, "ws_bench", {"PARTS": parts, "CHAIN": chain, "INTERLEAVE": interleave})


SORE_CASES = [
    ("1:4", 1, (3, 8), -1),
    ("2:4", 1, (5, 12), -1),
    ("2:4", 3, (16, 3), 0),
    ("2:8", 4, (7, 30), -1),
    ("2:8", 2, (43, 3), 0),
    ("4:8", 8, (6, 20), -1),
    ("3:8", 5, (4, 8), -1),
    ("4:4", 2, (3, 10), -1),
    ("8:16", 3, (5, 35), -1),
    ("2:8", 32, (9, 61), -1),
]


@pytest.mark.parametrize(("pattern", "lanes", "shape", "axis"), SORE_CASES)
def test_sore(pattern, lanes, shape, axis, tmp_path):
    pattern = Pattern.parse(pattern)
    # few different magnitudes, so that there are ties, and zeros of both signs
    generator = np.random.default_rng([lanes, *shape])
    values = (generator.integers(-4, 5, shape) * generator.choice([0.25, -1.0], shape)).astype(np.float16)
    moved = np.moveaxis(values, axis, -1)
    length, per_axis = moved.shape[-1], -(-moved.shape[-1] // pattern.group)
    stream = np.zeros((*moved.shape[:-1], per_axis * pattern.group), np.float16)
    stream[..., :length] = moved
    lengths = np.minimum(length - pattern.group * np.arange(per_axis), pattern.group)
    lengths = np.broadcast_to(lengths, (*moved.shape[:-1], per_axis)).reshape(-1)
    groups = len(lengths)
    lines = simulate(
        tmp_path,
        "sore_bench",
        {"N": pattern.kept, "M": pattern.group, "LANES": lanes},
        {
            "groups": groups,
            "values": memory(tmp_path / "v.hex", stream.reshape(-1).view(np.uint8).reshape(-1, 2)),
            "lengths": memory(tmp_path / "l.hex", np.stack([lengths, 0 * lengths], -1)),
        },
    )
    reduction = sore_reduce(values, pattern, lanes, axis)
    # registers in use only: value bits and position of every slot
    kept = np.moveaxis(reduction.packed.values, axis, -1).reshape(groups, -1).view(np.uint16)
    positions = np.moveaxis(reduction.packed.indices, axis, -1).reshape(groups, -1)
    filled = np.moveaxis(reduction.packed.filled, axis, -1).reshape(groups)
    expected = {(g, s): (int(kept[g, s]), int(positions[g, s])) for g in range(groups) for s in range(int(filled[g]))}
    got = {(int(g), int(s)): (int(value), int(at)) for _, g, s, value, at in lines[:-1]}
    assert got == expected
    mask = np.zeros((groups, pattern.group), bool)
    for (g, _), (_, at) in got.items():
        mask[g, at] = True
    mask = mask.reshape(stream.shape)[..., :length]
    np.testing.assert_array_equal(np.moveaxis(mask, -1, axis), magnitude_mask(values, pattern, axis))
    assert lines[-1] == ["CYCLES", str(reduction.cycles)]
