"""Exports through the tools they are for: the same MACs and elements, and the same cycles where both count alike.

`install.sh` makes the environments; without ``ACCELSIM_PEERS`` (their folder) nothing here runs.

Where cycles are equal, and why they are not elsewhere:

- SCALE-Sim 3.0.0: every product, with timing="scalesim" (`accelsim.cost.conventions` says how that differs from ours).
- ZigZag 3.9: K x C on the two sides of the array, as in our weight-stationary one. Its `ideal_temporal_cycle` is
  ceil(K/32) ceil(C/32) times all other loops: our tiles times rows of X, where the taps of a filter do not share a tile
  (one tap, or C a multiple of 32). We fold k = C x taps as a whole, so that small C fills the array; ZigZag folds C per
  tap. Skew and drain it counts once per layer, we per tile; weights are loaded beside its DRAM model, not ours.
- AccelForge 1.0: has no fill or drain. On one MAC its cycles are the MACs.
"""

import json
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.arrays.array import gemm_on_array
from accelsim.cli import main
from accelsim.workload.trace import Conv, Linear

PEERS = os.environ.get("ACCELSIM_PEERS", "")
pytestmark = pytest.mark.skipif(not PEERS, reason="ACCELSIM_PEERS names no folder; tests/peers/install.sh makes one")

BATCH = 2
SIDE = 32


def conv(name: str, **fields: Any) -> dict[str, Any]:
    basic = {"in_channels": 6, "out_channels": 4, "in_size": [7, 5], "kernel": [3, 3]}
    return {"name": name, "kind": "conv2d", **basic, **fields}


REGULAR = [
    conv("same", padding=[1, 1]),
    conv("strided", stride=[2, 2], padding=[1, 1]),
    conv("apart", kernel=[1, 1], stride=[2, 2]),
    conv("wide", kernel=[1, 5], padding=[0, 2]),
    conv("depth.wise", groups=6, out_channels=6),
    conv("line", kind="conv1d", in_size=[11], kernel=[5], stride=[3]),
    {"name": "fc", "kind": "linear", "in_features": 33, "out_features": 10, "rows": 4},
]
OTHER = [
    conv("grouped", groups=2),
    conv("dilated", dilation=[2, 1], stride=[1, 2], padding=[2, 1]),
    conv("solid", kind="conv3d", in_size=[3, 4, 1], kernel=[2, 3, 1]),
    {"name": "qk", "kind": "matmul", "batch": 3, "m": 7, "n": 5, "k": 8},
]


def run_peer(peer: str, script: str, *arguments: object) -> Any:
    python = Path(PEERS, peer, "bin", "python")
    if not python.exists():
        pytest.skip(f"{python.parent.parent}: no such environment")
    command = [str(python), str(Path(__file__).with_name(script)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def export(make_trace: Callable[..., acs.Trace], tmp_path: Path) -> Callable[..., tuple[acs.Trace, Path]]:
    def write(operations: list[dict[str, Any]], form: str, suffix: str, *options: str) -> tuple[acs.Trace, Path]:
        trace = make_trace(*operations)
        source, target = tmp_path / "net.json", tmp_path / f"net{suffix}"
        source.write_text(trace.model_dump_json(exclude_none=True))
        assert main(["export", str(source), "--format", form, *options, "-o", str(target)]) == 0
        return trace, target

    return write


def product_macs(trace: acs.Trace) -> list[int]:
    return [operation.macs for operation in trace.operations]


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("stages", [(), ("BP", "WU")])
def test_scalesim_counts_our_macs_and_cycles(export, dataflow: str, stages: tuple[str, ...]) -> None:
    options = [part for stage in stages for part in ("--stage", stage)]
    _, topology = export(REGULAR, "scalesim", ".csv", *options)
    layers = run_peer("scalesim", "run_scalesim.py", topology, "gemm" if stages else "conv", dataflow, 8, 4)
    trace = acs.load_trace(str(topology.with_name("net.json")))
    again = topology.with_name("again.json")
    assert main(["import", str(topology), "-o", str(again)]) == 0
    if not stages:
        assert sum(layer["macs"] for layer in layers) == trace.macs
    products = []
    for operation in acs.load_trace(str(again)).operations:
        if isinstance(operation, Conv):
            reduced = operation.in_channels // operation.groups * math.prod(operation.kernel)
            size = (math.prod(operation.out_size), operation.out_channels // operation.groups, reduced)
            products += [size] * operation.groups
        else:
            assert isinstance(operation, Linear)
            products.append((operation.rows, operation.out_features, operation.in_features))
    assert [layer["macs"] for layer in layers] == [m * n * k for m, n, k in products]
    ours = [
        gemm_on_array(
            *size, rows=8, cols=4, macs_per_pe=1, adder_latency=1, dataflow=dataflow, timing="scalesim"
        ).cycles
        for size in products
    ]
    assert [layer["cycles"] for layer in layers] == ours


def test_scalesim_runs_with_operands_laid_out_as_the_layout_file_says(export) -> None:
    _, topology = export(REGULAR[:4], "scalesim", ".csv")
    free = run_peer("scalesim", "run_scalesim.py", topology, "conv", "ws", 8, 4)
    banks = run_peer("scalesim", "run_scalesim.py", topology, "conv", "ws", 8, 4, "banks")
    assert [layer["macs"] for layer in banks] == [layer["macs"] for layer in free]
    assert all(slow["cycles"] > fast["cycles"] for slow, fast in zip(banks, free, strict=True))


def test_zigzag_counts_our_macs_elements_and_array_cycles(export) -> None:
    trace, workload = export([*REGULAR, *OTHER], "zigzag", ".yaml", "--batch", str(BATCH))
    layers = run_peer("zigzag", "run_zigzag.py", workload)
    assert [layer["name"] for layer in layers] == [operation.name for operation in trace.operations]
    assert [layer["macs"] for layer in layers] == [BATCH * macs for macs in product_macs(trace)]
    found = {layer["name"]: layer for layer in layers}
    assert {name: found[name]["elements"] for name in ("same", "apart", "wide", "depth.wise", "solid", "fc", "qk")} == {
        "same": {"O": 2 * 4 * 35, "W": 216, "I": 2 * 6 * 35},
        "apart": {"O": 2 * 4 * 12, "W": 24, "I": 2 * 6 * 12},
        "wide": {"O": 2 * 4 * 35, "W": 120, "I": 2 * 6 * 35},
        "depth.wise": {"O": 2 * 6 * 15, "W": 54, "I": 2 * 6 * 35},
        "solid": {"O": 2 * 4 * 2 * 2, "W": 144, "I": 2 * 6 * 12},
        "fc": {"O": 80, "W": 330, "I": 264},
        "qk": {"O": 6 * 35, "W": 6 * 40, "I": 6 * 56},
    }
    assert found["fc"]["bits"] == {"O": 32 * 80, "W": 16 * 330, "I": 16 * 264}
    cycles = {name: layer["array_cycles"] for name, layer in found.items()}
    # K, C <= 32 of a conv: all other loops; fc: 33 inputs are two folds
    assert cycles["same"] == 2 * 35 * 9
    assert cycles["depth.wise"] == 2 * 6 * 15 * 9
    for name, m, n, k, count in (("fc", 8, 10, 33, 1), ("qk", 7, 5, 8, 6), ("apart", 24, 4, 6, 1)):
        tiles = gemm_on_array(m, n, k, rows=SIDE, cols=SIDE, macs_per_pe=1, adder_latency=1, dataflow="ws").tiles
        assert cycles[name] == count * tiles * m


def test_accelforge_counts_our_macs_elements_and_cycles(export) -> None:
    trace, workload = export([*REGULAR, *OTHER], "accelforge", ".yaml", "--batch", str(BATCH))
    found = run_peer("accelforge", "run_accelforge.py", workload)
    names = [operation.name.replace(".", "_") for operation in trace.operations]
    assert found["computes"] == {name: BATCH * macs for name, macs in zip(names, product_macs(trace), strict=True)}
    assert found["cycles"] == BATCH * trace.macs
    elements = found["elements"]
    assert [elements[f"same_{tensor}"] for tensor in ("input", "weight", "output")] == [2 * 6 * 63, 216, 2 * 4 * 35]
    assert [elements[f"wide_{tensor}"] for tensor in ("input", "weight", "output")] == [2 * 6 * 63, 120, 2 * 4 * 35]
    assert [elements[f"qk_{tensor}"] for tensor in ("input", "weight", "output")] == [6 * 56, 6 * 40, 6 * 35]
    assert found["bits"]["fc_weight"] == 16 * 330


@pytest.mark.parametrize("form", ["zigzag", "accelforge"])
def test_products_of_a_training_step_have_our_macs(export, form: str) -> None:
    operations = [REGULAR[1], REGULAR[-1], OTHER[-1]]
    _, workload = export(operations, form, ".yaml", "--stage", "BP", "--stage", "WU", "--batch", str(BATCH))
    _, topology = export(operations, "scalesim", ".csv", "--stage", "BP", "--stage", "WU", "--batch", str(BATCH))
    want = sum(math.prod(map(int, row.split(",")[1:4])) for row in topology.read_text().splitlines()[1:])
    found = run_peer(form, f"run_{form}.py", workload)
    macs = [layer["macs"] for layer in found] if form == "zigzag" else found["computes"].values()
    assert sum(macs) == want
