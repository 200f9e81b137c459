"""The report of an ablation: every row as CSV, the ladder and the grid as tables and as a figure."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from accelsim.base.errors import InputError
from accelsim.base.files import replacing_folder, write_atomically
from accelsim.plots.ablation import (
    OPTIMAL,
    OS_INTERLEAVED,
    Case,
    by_variant,
    cases_of,
    headline,
    panel_frame,
)
from accelsim.plots.compose import draw_ablation
from accelsim.plots.style import new_figure, save_figure
from accelsim.results.ablation import BASE, GROUPS, LADDER, OS_BASE, AblationRow
from accelsim.sparsity.methods import case_name

__all__ = ["ablation_table", "check_own", "write_ablation"]

_FILES = ("ablation.csv", "table.md", "ablation.svg", "ablation.png")

_INTERLEAVED, _CHOSEN, _PREGENERATED, _OVERLAPPED, _ = LADDER
_STEPS = (
    ("interleave on os", OS_BASE, OS_INTERLEAVED),
    ("auto for os", OS_INTERLEAVED, _CHOSEN),
    ("interleave on ws", BASE, _INTERLEAVED),
    ("auto for ws", _INTERLEAVED, _CHOSEN),
    ("pregenerate", _CHOSEN, _PREGENERATED),
    ("overlap", _PREGENERATED, _OVERLAPPED),
    ("optimal", _OVERLAPPED, OPTIMAL),
)

_HOW_TO_READ = (
    "The base, ws, runs every GEMM weight-stationary with one accumulator per PE, generates compact weights in front of"
    " every sparse GEMM and runs one task after another. Interleaving fills the stalls of output-stationary PEs, and a"
    " weight-stationary one hardly has any, so it pays once the scheduler may choose (auto). Variants with overlap are"
    " timed by the event engine, the others by the closed form, which is the same without overlap."
)


def write_ablation(folder: Path, rows: Sequence[AblationRow], command: str) -> None:
    """Write ``ablation.csv``, ``table.md``, ``ablation.svg`` and ``ablation.png`` as `folder`, made by `command`.

    It is complete or as it was before. Raises `InputError` as `check_own`.
    """
    check_own(folder)
    with replacing_folder(folder) as new:
        _write(new, rows, command)


def check_own(folder: Path) -> None:
    """Raise `InputError` where `folder` holds anything else than an ablation: everything in it would be lost."""
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in _FILES) if folder.is_dir() else []
    if foreign:
        raise InputError(f"{folder}: holds {foreign[0]}, which no ablation wrote; name a folder that is new or empty")


def _write(folder: Path, rows: Sequence[AblationRow], command: str) -> None:
    frame = pd.DataFrame([row.to_dict() for row in rows])
    write_atomically(folder / "ablation.csv", frame.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    write_atomically(folder / "table.md", ablation_table(rows, command))
    with new_figure("double") as figure:
        workloads = list(dict.fromkeys(row.workload for row in rows))
        what = workloads[0] if len(workloads) == 1 else f"{len(workloads)} workloads"
        draw_ablation(panel_frame(rows), figure, f"{what} on {rows[0].design}, {rows[0].batch} samples")
        for suffix in (".svg", ".png"):
            save_figure(figure, folder / f"ablation{suffix}")


def ablation_table(rows: Sequence[AblationRow], command: str) -> str:
    """The ladder of one case, and the mean gains of all, as Markdown."""
    first, case = rows[0], headline(rows)
    workloads = list(dict.fromkeys(row.workload for row in rows))
    head = f"One training step of {first.batch} samples on `{first.design}`. {_HOW_TO_READ}"
    tables = [*_ladder_lines(rows, case, workloads), "", *_grid_lines(rows)]
    return "\n".join([f"Made by `{command}`.", "", head, "", *tables, ""])


def _ladder_lines(rows: Sequence[AblationRow], case: Case, workloads: Sequence[str]) -> list[str]:
    summaries = by_variant(rows, case)
    lines = [
        f"## {case_name(*case)}: step time of the base over that of the variant",
        "",
        f"| | variant | {' | '.join(workloads)} | geometric mean | over dense |",
        f"|---|---|{'---:|' * (len(workloads) + 2)}",
    ]
    for group, variants in GROUPS.items():
        for at, variant in enumerate(variants):
            found = summaries[variant]
            gains = " | ".join(f"{gain:.3f}" for gain in found.gains)
            label = group if at == 0 else ""
            lines.append(
                f"| {label} | {variant.name} | {gains} | **{found.mean_gain:.3f}** | {found.mean_speedup:.3f} |"
            )
    return [*lines, "", "Over dense: geometric mean of the speedup over dense training on the same variant."]


def _grid_lines(rows: Sequence[AblationRow]) -> list[str]:
    names = " | ".join(name for name, *_ in _STEPS)
    lines = [
        "## All methods and patterns: what each step of the ladder multiplies the speed by",
        "",
        f"| method | pattern | {names} | all, from ws | over dense, base | over dense, all |",
        f"|---|---|{'---:|' * (len(_STEPS) + 3)}",
    ]
    for method, pattern in cases_of(rows):
        found = by_variant(rows, (method, pattern))
        steps = " | ".join(f"{found[on].mean_gain / found[off].mean_gain:.3f}" for _, off, on in _STEPS)
        speedups = f"{found[BASE].mean_speedup:.3f} | {found[OPTIMAL].mean_speedup:.3f}"
        lines.append(f"| {method} | {pattern or '-'} | {steps} | **{found[OPTIMAL].mean_gain:.3f}** | {speedups} |")
    return [*lines, "", "Geometric means over the workloads."]
