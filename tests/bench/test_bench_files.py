"""Loading and comparing a trace of 10,000 operations: pytest tests/bench -m bench. Nothing is asserted about speed."""

import json
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.diff import compare_files

pytestmark = pytest.mark.bench


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolutions and norms in turn."""
    operations = []
    for index in range(5000):
        conv = {"kind": "conv2d", "in_channels": 64, "out_channels": 64, "in_size": [16, 16], "kernel": [3, 3]}
        weight = {"name": f"layer{index}.conv.weight"}
        operations.append({"name": f"layer{index}.conv", **conv, "padding": [1, 1], "weight": weight})
        others = [{"name": f"layer{index}.bn.{name}", "elements": 64} for name in ("weight", "bias")]
        norm = {"kind": "norm", "reads": 16384, "writes": 16384, "other_parameters": others}
        operations.append({"name": f"layer{index}.bn", **norm})
    data = {"format": "accelsim-trace/1", "model": "large", "input_shapes": [[64, 16, 16]], "parameters": 10**9,
            "origin": {"exporter": "bench", "source": "bench"}, "operations": operations}  # fmt: skip
    path = tmp_path_factory.mktemp("large") / "large.json"
    path.write_text(json.dumps(data))
    return path


def test_bench_load(benchmark, large: Path) -> None:
    trace = benchmark.pedantic(acs.load_trace, (large,), rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(file_mb=round(large.stat().st_size / 1e6, 2))
    assert len(trace.operations) == 10_000


def test_bench_diff(benchmark, large: Path) -> None:
    assert benchmark.pedantic(compare_files, (large, large), rounds=2).equal
