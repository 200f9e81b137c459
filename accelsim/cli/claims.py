"""What ``accelsim validate --paper`` prints and writes."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from accelsim.cli.options import announce_compilation, check_folder
from accelsim.cli.progress import progress_bar

if TYPE_CHECKING:
    from accelsim.studies.paper import Paper

__all__ = ["report_claims"]

_FORMAT = "accelsim-paper/1"


def report_claims(output: str | None, *, as_json: bool) -> None:
    """Print the paper's claims beside what the model says; write the whole report where a folder is given."""
    from accelsim.studies.paper import compare_with_paper

    folder = check_folder(output)
    announce_compilation()
    with progress_bar("validate", "settings") as show:
        if folder is None:
            found = compare_with_paper(show)
        else:
            from accelsim.studies.reports.paper import write_paper

            found = write_paper(folder, show)
    if as_json:
        click.echo(json.dumps({"format": _FORMAT, **asdict(found)}))
        return
    _show(found)
    if folder is not None:
        click.echo(f"written: {folder}")


def _show(paper: "Paper") -> None:
    from accelsim.cli.screen import console, table_of, words

    out = console()
    table = table_of(words("which"), "published", "closed form", "event engine, overlap")
    for claim in paper.claims:
        table.add_row(claim.name, *map(_span, (claim.published, claim.closed, claim.event)))
    out.print(table)
    table = table_of(words("workload"), "closed form", "event engine, overlap")
    closed, event = ([item for item in paper.workloads if item.engine == engine] for engine in ("closed", "event"))
    for one, other in zip(closed, event, strict=True):
        table.add_row(one.workload, f"{one.speedup:.2f}x", f"{other.speedup:.2f}x")
    out.print("\nspeedup of BDWP at 2:8 over dense training")
    out.print(table)
    table = table_of(words("which"), words("design"), "its number", "closed form", "event engine, overlap")
    for ratio in paper.ratios:
        numbers = f"{ratio.published:g}", f"{ratio.closed:.2f}x", f"{ratio.event:.2f}x"
        table.add_row(ratio.quantity, ratio.accelerator, *numbers)
    out.print("\nSAT, mean of the workloads, over earlier accelerators (GOP/s; GOP/s/W)")
    out.print(table)


def _span(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{low:.2f}x" if low == high else f"{low:.2f} - {high:.2f}x"
