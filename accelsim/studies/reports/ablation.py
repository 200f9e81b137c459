"""The report of an ablation: every row as CSV, the ladder and the grid as tables and as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import write_atomically
from accelsim.plots.compose import draw_ablation
from accelsim.plots.style import new_figure, save_figure
from accelsim.sparsity.methods import case_name
from accelsim.studies.ablation import (
    BASE,
    GROUPS,
    LADDER,
    OS_BASE,
    VARIANTS,
    AblationRow,
    Summary,
    Variant,
    summarise,
)

__all__ = ["ablation_table", "grid_frame", "ladder_frame", "panel_frame", "read_rows", "write_ablation"]

_HEADLINE = ("bdwp", "2:8")
_OS_INTERLEAVED = Variant(dataflow="os", interleave=True)
_INTERLEAVED, _CHOSEN, _PREGENERATED, _OVERLAPPED, _OPTIMAL = LADDER
_RUNGS = {
    OS_BASE: "os",
    BASE: "ws",
    _OS_INTERLEAVED: "os + interleave",
    _CHOSEN: "auto + interleave",
    _PREGENERATED: "+ pregenerate",
    _OVERLAPPED: "+ overlap",
    _OPTIMAL: "+ optimal",
}
_STEPS = (
    ("interleave on os", OS_BASE, _OS_INTERLEAVED),
    ("auto for os", _OS_INTERLEAVED, _CHOSEN),
    ("interleave on ws", BASE, _INTERLEAVED),
    ("auto for ws", _INTERLEAVED, _CHOSEN),
    ("pregenerate", _CHOSEN, _PREGENERATED),
    ("overlap", _PREGENERATED, _OVERLAPPED),
    ("optimal", _OVERLAPPED, _OPTIMAL),
)

_HOW_TO_READ = (
    "The base, ws, runs every GEMM weight-stationary with one accumulator per PE, generates compact weights in front of"
    " every sparse GEMM and runs one task after another. Interleaving fills the stalls of output-stationary PEs, and a"
    " weight-stationary one hardly has any, so it pays once the scheduler may choose (auto). Variants with overlap are"
    " timed by the event engine, the others by the closed form, which is the same without overlap."
)

Case = tuple[str, str | None]


def write_ablation(folder: Path, rows: Sequence[AblationRow], command: str) -> None:
    """Write ``ablation.csv``, ``table.md``, ``ablation.svg`` and ``ablation.png`` into `folder`, made by `command`."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame([row.to_dict() for row in rows])
    write_atomically(folder / "ablation.csv", frame.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    write_atomically(folder / "table.md", ablation_table(rows, command))
    with new_figure("double") as figure:
        draw_ablation(panel_frame(rows), figure)
        for suffix in (".svg", ".png"):
            save_figure(figure, folder / f"ablation{suffix}")


def ladder_frame(rows: Sequence[AblationRow]) -> pd.DataFrame:
    """Gain over the base of each rung and workload, for BDWP at 2:8, or for the first case where that is not there."""
    method, pattern = _headline(rows)
    return pd.DataFrame(
        [
            {"workload": row.workload, "case": _title((method, pattern)), "rung": label, "gain": row.gain}
            for variant, label in _RUNGS.items()
            for row in rows
            if (row.method, row.pattern, row.variant) == (method, pattern, variant)
        ]
    )


def grid_frame(rows: Sequence[AblationRow]) -> pd.DataFrame:
    """Geometric mean over workloads of the speedup over dense training, on the base and with everything on."""
    return pd.DataFrame(
        [
            {"method": method, "pattern": pattern or "-", "variant": name, "speedup": by_variant[variant].mean_speedup}
            for method, pattern in _cases(rows)
            if method != "dense"
            for by_variant in [_by_variant(rows, (method, pattern))]
            for name, variant in (("base (ws)", BASE), ("everything on", _OPTIMAL))
        ]
    )


def panel_frame(rows: Sequence[AblationRow]) -> pd.DataFrame:
    """The ladder and the grid as one frame; `panel` says which of them a row belongs to."""
    parts = {"ladder": ladder_frame(rows), "grid": grid_frame(rows)}
    return pd.concat([part.assign(panel=name) for name, part in parts.items() if not part.empty], ignore_index=True)


def read_rows(table: Sequence[Mapping[str, Any]], source: str) -> list[AblationRow]:
    """Return rows as they stand in ``ablation.csv`` or in the JSON of ``accelsim ablate``; times are not read.

    Raises `InputError` naming `source` for a variant that is not known and where rows that others refer to are missing.
    """
    by_name = {variant.name: variant for variant in VARIANTS}
    cycles = {(row["workload"], *_case_of(row), row["variant"]): int(row["cycles"]) for row in table}
    found = []
    for row in table:
        if row["variant"] not in by_name:
            hint = did_you_mean(str(row["variant"]), by_name)
            raise InputError(f"{source}: variant '{row['variant']}' is not known{hint}; allowed: {', '.join(by_name)}")
        method, pattern = _case_of(row)
        base = cycles.get((row["workload"], method, pattern, BASE.name))
        if base is None:
            raise InputError(f"{source}: {row['workload']}, {method}: the variant {BASE.name}, the base, is missing")
        found.append(
            AblationRow(
                workload=row["workload"],
                design=row["design"],
                method=method,
                pattern=pattern,
                batch=int(row["batch"]),
                variant=by_name[row["variant"]],
                cycles=int(row["cycles"]),
                latency_s=0.0,
                dram_bytes=float(row["dram_bytes"]),
                base_cycles=base,
                dense_cycles=round(row["speedup"] * row["cycles"]),
            )
        )
    return found


def _case_of(row: Mapping[str, Any]) -> Case:
    pattern = row.get("pattern")
    return row["method"], pattern if isinstance(pattern, str) and pattern else None


def ablation_table(rows: Sequence[AblationRow], command: str) -> str:
    """The ladder of one case, and the mean gains of all, as Markdown."""
    first, case = rows[0], _headline(rows)
    workloads = list(dict.fromkeys(row.workload for row in rows))
    head = f"One training step of {first.batch} samples on `{first.design}`. {_HOW_TO_READ}"
    tables = [*_ladder_lines(rows, case, workloads), "", *_grid_lines(rows)]
    return "\n".join([f"Made by `{command}`.", "", head, "", *tables, ""])


def _ladder_lines(rows: Sequence[AblationRow], case: Case, workloads: Sequence[str]) -> list[str]:
    by_variant = _by_variant(rows, case)
    lines = [
        f"## {_title(case)}: step time of the base over that of the variant",
        "",
        f"| | variant | {' | '.join(workloads)} | geometric mean | over dense |",
        f"|---|---|{'---:|' * (len(workloads) + 2)}",
    ]
    for group, variants in GROUPS.items():
        for at, variant in enumerate(variants):
            found = by_variant[variant]
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
    for method, pattern in _cases(rows):
        found = _by_variant(rows, (method, pattern))
        steps = " | ".join(f"{found[on].mean_gain / found[off].mean_gain:.3f}" for _, off, on in _STEPS)
        speedups = f"{found[BASE].mean_speedup:.3f} | {found[_OPTIMAL].mean_speedup:.3f}"
        lines.append(f"| {method} | {pattern or '-'} | {steps} | **{found[_OPTIMAL].mean_gain:.3f}** | {speedups} |")
    return [*lines, "", "Geometric means over the workloads."]


def _by_variant(rows: Sequence[AblationRow], case: Case) -> dict[Variant, Summary]:
    return {found.variant: found for found in summarise(rows, *case)}


def _cases(rows: Sequence[AblationRow]) -> list[Case]:
    return list(dict.fromkeys((row.method, row.pattern) for row in rows))


def _headline(rows: Sequence[AblationRow]) -> Case:
    cases = _cases(rows)
    return _HEADLINE if _HEADLINE in cases else cases[0]


def _title(case: Case) -> str:
    return case_name(*case)
