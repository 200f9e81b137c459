"""What ``accelsim compare --platform`` prints and writes."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.units import show
from accelsim.sparsity.methods import case_name

if TYPE_CHECKING:
    from accelsim.hardware.design import Design
    from accelsim.platforms.contenders import Contender

__all__ = ["check_baseline", "echo_contenders"]


def check_baseline(baseline: str | None, names: Sequence[str]) -> str:
    """Return the name that others are compared with, the first unless one is given."""
    if baseline is not None and baseline not in names:
        raise InputError(
            f"--baseline {baseline}: not compared{did_you_mean(baseline, names)}; allowed: {', '.join(names)}"
        )
    return baseline or names[0]


def _contenders_json(contenders: "Sequence[Contender]", designs: "Sequence[Design]", baseline: str) -> str:
    """The comparison as one JSON object, with the designs and their energy tables."""
    from accelsim.hardware.energy_table import load_energy_table
    from accelsim.hardware.stored import stored
    from accelsim.platforms.contenders import FORMAT, relative_to

    factors = relative_to(contenders, baseline)
    rows = [{**item.to_dict(), "relative_speedup": factors[index]} for index, item in enumerate(contenders)]
    tables = [load_energy_table(name) for name in dict.fromkeys(design.energy for design in designs)]
    basis = {"designs": list(map(stored, designs)), "energy_tables": list(map(stored, tables))}
    return json.dumps({"format": FORMAT, "baseline": baseline, **basis, "contenders": rows})


def _write_contenders(
    path: Path, contenders: "Sequence[Contender]", designs: "Sequence[Design]", baseline: str
) -> None:
    """Write the comparison as .json, or a row each as .csv."""
    from accelsim.base.files import write_atomically
    from accelsim.platforms.contenders import relative_to

    if path.suffix == ".json":
        write_atomically(path, _contenders_json(contenders, designs, baseline) + "\n")
        return
    factors, text = relative_to(contenders, baseline), io.StringIO()
    rows = [
        {
            **item.to_dict(),
            "recalled": ";".join(item.recalled),
            "notes": ";".join(item.notes),
            "relative_speedup": factor,
        }
        for item, factor in zip(contenders, factors.values(), strict=True)
    ]
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def _show_contenders(contenders: "Sequence[Contender]", baseline: str) -> None:
    """Print a table, with the error of each estimate, and what stands behind it."""
    from rich.markup import escape

    from accelsim.cli.screen import console, table_of, words
    from accelsim.platforms.contenders import recalled_names, relative_to

    out, factors = console(), relative_to(contenders, baseline)
    unsure = set(recalled_names(contenders))
    for workload in dict.fromkeys(item.workload for item in contenders):
        table = table_of(
            words("which"),
            words("method"),
            "step",
            "error",
            "relative",
            "samples/s",
            "GOP/s",
            "energy",
            "power",
            "GOP/s/W",
        )
        for index, item in enumerate(contenders):
            if item.workload == workload:
                table.add_row(*_cells(item, factors[index], recalled=item.name in unsure))
        out.print(f"[bold]{escape(workload)}[/bold]")
        out.print(table)
        out.print()
    out.print(
        f"batch {contenders[0].batch}; relative: speed over the first row of {baseline}; error: of the held-out"
        " measurements named below",
        soft_wrap=True,
    )
    if unsure:
        out.print("*: recalled facts enter (accelsim list platforms; energy table of the design)", soft_wrap=True)
    for text, names in _by_text(contenders).items():
        out.print(escape(f"  {', '.join(names)}: {text}"), soft_wrap=True)


def _cells(item: "Contender", factor: float, *, recalled: bool) -> list[str]:
    energy = item.energy_j
    return [
        f"{item.name} *" if recalled else item.name,
        case_name(item.method, item.pattern),
        show(item.latency_s, "s"),
        "" if item.error is None else f"\u00b1 {item.error:.0%}",
        f"{factor:.3g}x",
        f"{item.samples_per_s:,.0f}",
        f"{item.effective_gops:,.0f}",
        "" if energy is None else show(energy, "J"),
        "" if energy is None else show(energy / item.latency_s, "W"),
        "" if item.gops_per_w is None else f"{item.gops_per_w:.1f}",
    ]


def _by_text(contenders: "Sequence[Contender]") -> dict[str, list[str]]:
    """Each note and each basis once, with whom it concerns."""
    found: dict[str, list[str]] = {}
    for item in contenders:
        for text in (f"{item.precision}; {item.basis}", *item.notes):
            names = found.setdefault(text, [])
            if item.name not in names:
                names.append(item.name)
    return found


def echo_contenders(
    contenders: "Sequence[Contender]", designs: "Sequence[Design]", baseline: str, target: Path | None, *, as_json: bool
) -> None:
    """Write the comparison where a file is given, and print it."""
    if target is not None:
        _write_contenders(target, contenders, designs, baseline)
    if as_json:
        click.echo(_contenders_json(contenders, designs, baseline))
        return
    _show_contenders(contenders, baseline)
    if target is not None:
        click.echo(f"written: {target}")
