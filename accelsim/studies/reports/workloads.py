"""The report on the paper's workloads: dense and sparse at 2:8, speedups as a table, where time goes as a figure."""

from pathlib import Path

import pandas as pd

from accelsim.base.files import write_atomically
from accelsim.base.ratios import geometric_mean
from accelsim.hardware.design import load_design
from accelsim.plots import frames
from accelsim.plots.compose import draw_stacks
from accelsim.plots.style import new_figure, save_figure
from accelsim.results.step import Result
from accelsim.simulation import compare
from accelsim.studies.paper import WORKLOADS
from accelsim.workload.trace import load_trace

__all__ = ["METHODS", "WORKLOADS", "compare_paper_workloads", "speedup_table", "write_paper_workloads"]

METHODS = ("dense", "sr-ste", "sdgp", "bdwp")


def compare_paper_workloads() -> dict[tuple[str, str], Result]:
    """Simulate the paper's five workloads under each method at 2:8, batch 512, on ``sat_vcu1525``."""
    found = compare([load_trace(name) for name in WORKLOADS], load_design("sat_vcu1525"), methods=METHODS, batch=512)
    return {(result.workload, result.method): result for result in found}


def speedup_table(results: dict[tuple[str, str], Result]) -> str:
    """Speedups over dense and the dense step time as a Markdown table, with arithmetic and geometric means."""
    lines = ["| workload | dense step | SR-STE | SDGP | BDWP |", "|---|---:|---:|---:|---:|"]
    for name in WORKLOADS:
        speedups = " | ".join(f"{results[name, method].step.speedup:.2f}x" for method in METHODS[1:])
        lines.append(f"| {name} | {results[name, 'dense'].step.latency_s * 1e3:,.0f} ms | {speedups} |")
    columns = [[results[name, method].step.speedup for name in WORKLOADS] for method in METHODS[1:]]
    means = " | ".join(f"**{sum(column) / len(column):.2f}x**" for column in columns)
    geometric = " | ".join(f"{geometric_mean(column):.2f}x" for column in columns)
    return "\n".join([*lines, f"| **average** | | {means} |", f"| geometric mean | | {geometric} |", ""])


def stage_frame(results: dict[tuple[str, str], Result], methods: tuple[str, ...] = ("dense", "bdwp")) -> pd.DataFrame:
    """Time of each stage, and its share of the dense step of the same workload."""
    return frames.stage_frame([results[name, method] for name in WORKLOADS for method in methods])


def write_paper_workloads(folder: Path) -> None:
    """Write ``table.md``, ``stages.csv``, ``stages.svg`` and ``stages.png`` into `folder`."""
    results = compare_paper_workloads()
    frame = stage_frame(results)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "table.md", speedup_table(results))
    write_atomically(folder / "stages.csv", frame.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    with new_figure("double") as figure:
        draw_stacks(frame, figure, part="stage", label="step time relative to {}")
        for suffix in (".svg", ".png"):
            save_figure(figure, folder / f"stages{suffix}")
