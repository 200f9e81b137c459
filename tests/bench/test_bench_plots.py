"""`accelsim plot` in a process of its own, one figure a run: pytest tests/bench -m bench. Nothing is asserted about speed."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench

KINDS = ("speedup", "stages", "energy", "layer-speedup", "utilisation", "roofline")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "results.json"
    accelsim("compare", "resnet50_imagenet", "-o", str(path))
    return path


def accelsim(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "accelsim", *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize("kind", KINDS)
def test_bench_plot(benchmark, results: Path, tmp_path: Path, kind: str, suffix: str) -> None:
    figure = tmp_path / f"figure.{suffix}"
    one = ["--where", "method=bdwp"] if kind in {"utilisation", "roofline"} else []
    benchmark.pedantic(accelsim, ("plot", kind, str(results), "-o", str(figure), *one), rounds=2)
    benchmark.extra_info["kb"] = round(figure.stat().st_size / 1e3)
    assert figure.with_suffix(".csv").exists()
