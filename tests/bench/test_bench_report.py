"""A whole report in a process of its own: pytest tests/bench -m bench. Nothing is asserted about speed."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("trace", ["resnet18_tinyimagenet", "resnet50_imagenet", "vit_b16_imagenet"])
def test_bench_report(benchmark, tmp_path: Path, trace: str) -> None:
    command = [sys.executable, "-m", "accelsim", "report", trace, "-o", str(tmp_path / "report")]
    benchmark.pedantic(subprocess.run, (command,), {"check": True, "capture_output": True}, rounds=2)
    page = tmp_path / "report" / "index.html"
    benchmark.extra_info["page_kb"] = round(page.stat().st_size / 1e3)
    print(f"{trace}: {benchmark.stats.stats.min:.1f} s, page of {benchmark.extra_info['page_kb']} kB")  # noqa: T201
    assert page.exists()
