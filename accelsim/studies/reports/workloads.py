"""The report on the paper's workloads: dense and sparse at 2:8, speedups as a table, where time goes as a figure.

``report.md`` says how the table came about, ``layers.csv`` holds every layer of every step behind it.
"""

from pathlib import Path

import pandas as pd

from accelsim.base.files import write_atomically
from accelsim.base.ratios import geometric_mean
from accelsim.base.units import MEGA
from accelsim.hardware.design import load_design
from accelsim.plots import frames
from accelsim.plots.compose import draw_stacks
from accelsim.plots.style import new_figure, save_figure
from accelsim.results.step import Result
from accelsim.simulation import compare
from accelsim.studies.paper import WORKLOADS
from accelsim.workload.trace import load_trace

__all__ = [
    "METHODS",
    "WORKLOADS",
    "compare_paper_workloads",
    "speedup_table",
    "stage_frame",
    "workloads_report",
    "write_paper_workloads",
    "wu_share",
]

METHODS = ("dense", "sr-ste", "sdgp", "bdwp")

_DESIGN, _PATTERN, _BATCH = "sat_vcu1525", "2:8", 512
_LAYER_COLUMNS = [
    "workload", "method", "name", "stage", "m", "n", "k", "count", "pattern", "dataflow", "cycles", "macs_executed",
    "dram_bytes",
]  # fmt: skip


def compare_paper_workloads() -> dict[tuple[str, str], Result]:
    """Simulate the paper's five workloads under each method at 2:8, batch 512, on ``sat_vcu1525``."""
    traces, design = [load_trace(name) for name in WORKLOADS], load_design(_DESIGN)
    found = compare(traces, design, methods=METHODS, patterns=(_PATTERN,), batch=_BATCH)
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


_REPORT = """\
# The paper's workloads, dense and at {pattern}

One training step of {batch} samples on [`{design}`](../../hw_configs/{design}.yaml), {rows} x {cols} x {macs_per_pe}
MACs at {mhz:g} MHz, SGD with momentum, one task after another (closed form). Speedup: over dense training on the same
machine.

{speedups}
Made by `accelsim report --all --only paper_workloads -o reports`; the same numbers come of

```sh
accelsim compare {workloads} --hw {design} {methods} --pattern {pattern} --batch {batch}
```

## Where the numbers come from

A speedup is the cycles of the dense step over those of the method, a time is cycles over {clock_hz:,.0f} Hz. The cycles
of a step are those of its layers and stages, one after another: the sum of the column `cycles` of
[`layers.csv`](layers.csv) over the rows of its workload and method.

| workload | dense, cycles | SR-STE | SDGP | BDWP | WU of the dense step | WU of BDWP's |
|---|---:|---:|---:|---:|---:|---:|
{cycles}

![Step time by stage, dense beside BDWP {pattern}](stages.png)

[`stages.csv`](stages.csv) is what is drawn.
"""


def workloads_report(results: dict[tuple[str, str], Result]) -> str:
    """The table with what it rests on: command, design, batch, cycles, and the share of WU."""
    design = load_design(_DESIGN)
    return _REPORT.format(
        pattern=_PATTERN,
        batch=_BATCH,
        design=_DESIGN,
        rows=design.array.rows,
        cols=design.array.cols,
        macs_per_pe=design.array.macs_per_pe,
        mhz=design.clock_hz / MEGA,
        clock_hz=design.clock_hz,
        speedups=speedup_table(results),
        workloads=" ".join(WORKLOADS),
        methods=" ".join(f"--method {method}" for method in METHODS),
        cycles="\n".join(_cycles_row(name, results) for name in WORKLOADS),
    )


def _cycles_row(name: str, results: dict[tuple[str, str], Result]) -> str:
    cycles = [f"{results[name, method].step.cycles:,}" for method in METHODS]
    shares = [f"{wu_share(results[name, method]):.0%}" for method in ("dense", "bdwp")]
    return f"| {' | '.join([name, *cycles, *shares])} |"


def wu_share(result: Result) -> float:
    """Share of WU in the cycles of a step."""
    return result.stages["WU"].cycles / result.step.cycles


def write_paper_workloads(folder: Path) -> None:
    """Write ``report.md``, ``layers.csv``, ``stages.csv``, ``stages.svg`` and ``stages.png`` into `folder`."""
    results = compare_paper_workloads()
    frame = stage_frame(results)
    layers = pd.concat([result.to_frame()[_LAYER_COLUMNS] for result in results.values()])
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "report.md", workloads_report(results))
    for name, table in (("layers", layers), ("stages", frame)):
        write_atomically(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    with new_figure("double") as figure:
        draw_stacks(frame, figure, part="stage", label="step time relative to {}")
        for suffix in (".svg", ".png"):
            save_figure(figure, folder / f"stages{suffix}")
