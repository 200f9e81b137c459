"""A sweep as a whole: points made, evaluated, written and resumed, with the peak memory. Run: pytest tests/bench -m bench."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.sweep.journal import Journal
from accelsim.sweep.rows import columns_of, end_of_line

pytestmark = pytest.mark.bench

ONE_LAYER = {
    "format": "accelsim-trace/1",
    "model": "one_layer",
    "input_shapes": [[64]],
    "parameters": 4096,
    "origin": {"exporter": "-", "source": "-", "versions": []},
    "operations": [
        {"name": "fc", "kind": "linear", "in_features": 64, "out_features": 64, "weight": {"name": "fc.weight"}}
    ],
}

RUN = """
import json, resource, sys
from pathlib import Path
import accelsim as acs

if __name__ == "__main__":
    trace, output, points = sys.argv[1], sys.argv[2], int(sys.argv[3])
    vary = {
        "batch": 8, "array.rows": "8:64:8", "array.cols": "8:64:8",
        "dram.bandwidth_gb_per_s": f"0.01:{points // 64 / 100}:0.01",
    }
    sweep = acs.make_sweep([trace], vary=vary)
    outcome = acs.run_sweep(sweep, output, jobs=2)
    peaks = [resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps([outcome.points, *peaks]))
"""


@pytest.mark.parametrize("points", [10_048, 100_032, 1_000_000])
def test_a_sweep_in_bounded_memory(benchmark, tmp_path: Path, points: int) -> None:
    """One layer, two processes; the peak resident memory of the run and of the larger of its processes is printed."""
    (tmp_path / "one_layer.json").write_text(json.dumps(ONE_LAYER))
    (tmp_path / "run.py").write_text(RUN)
    command = [sys.executable, "run.py", "one_layer.json", "r.csv", str(points)]

    def run() -> subprocess.CompletedProcess[str]:
        (tmp_path / "r.csv").unlink(missing_ok=True)
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    done, run_peak, process_peak = json.loads(benchmark.pedantic(run, rounds=1).stdout)
    assert done == points
    benchmark.extra_info.update(
        points_per_s=round(points / benchmark.stats["mean"]),
        peak_rss_mb=run_peak // 10**6,
        worker_peak_rss_mb=process_peak // 10**6,
    )


def test_points_are_made(benchmark) -> None:
    """100,000 combinations, a link and a constraint."""
    sweep = acs.make_sweep(
        ["resnet9_cifar10"],
        vary={"array.rows": "1:100:1", "dram.bandwidth_gb_per_s": "0.1:100:0.1"},
        link={"array.cols": "array.rows"},
        where=["array.rows * array.cols <= 2048"],
    )
    assert benchmark.pedantic(sweep.count, rounds=3) == 45_000


def test_a_finished_file_is_recognised(benchmark, tmp_path: Path) -> None:
    """Every line of 100,000 is looked at."""
    sweep = acs.make_sweep(["resnet9_cifar10"], vary={"batch": "1:100000:1"})
    header = ",".join(columns_of(sweep)).encode() + b"\n"
    line = b"x" * 800 + end_of_line(sweep)
    (tmp_path / "r.csv").write_bytes(header + line * 100_000)

    def count() -> int:
        with Journal(tmp_path / "r.csv", header, end_of_line(sweep)) as journal:
            return journal.lines

    assert benchmark(count) == 100_000
