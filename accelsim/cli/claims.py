"""What ``accelsim validate --paper`` prints and writes."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from accelsim.cli.options import announce_compilation, check_folder
from accelsim.cli.progress import progress_bar

if TYPE_CHECKING:
    from accelsim.studies.paper import Paper
    from accelsim.studies.region import Region

__all__ = ["report_claims"]

_FORMAT = "accelsim-paper/1"


def report_claims(output: str | None, *, as_json: bool) -> None:
    """Print the paper's claims beside what the model says; write the whole report where a folder is given."""
    from accelsim.studies.paper import compare_with_paper
    from accelsim.studies.region import find_region

    folder = check_folder(output)
    announce_compilation()
    with progress_bar("validate", "settings") as show:
        if folder is None:
            found, region = compare_with_paper(show), find_region(show)
        else:
            from accelsim.studies.reports.paper import write_paper

            found, region = write_paper(folder, show)
    if as_json:
        click.echo(json.dumps({"format": _FORMAT, **asdict(found), "region": asdict(region)}))
        return
    _show(found)
    _show_region(region)
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


def _show_region(region: "Region") -> None:
    from accelsim.cli.screen import console, table_of, words
    from accelsim.studies.reports.region import HEADS, assignment_cells, region_summary

    out = console()
    out.print(f"\nregion: {region_summary(region)}; with both ends of the throughput range as well:")
    table = table_of(words(HEADS[0]), words(HEADS[1]), *HEADS[2:])
    for cells in assignment_cells(region):
        table.add_row(*cells)
    out.print(table)


def _span(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{low:.2f}x" if low == high else f"{low:.2f} - {high:.2f}x"
