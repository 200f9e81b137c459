"""What ``accelsim validate --platforms`` and its checks ``throughput`` and ``sparse-gemm`` print and write."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accelsim.cli.options import check_folder
from accelsim.cli.progress import Show, progress_bar

if TYPE_CHECKING:
    from accelsim.platforms.accuracy import Accuracy

__all__ = ["report_accuracy"]


def report_accuracy(names: Sequence[str], file: str | None, output: str | None, *, as_json: bool, one: bool) -> int:
    """Compare estimates with measurements, print and write the outcome; 1 where no row could be compared."""
    from accelsim.platforms.accuracy import check_platforms

    folder = check_folder(output)
    path = Path(file) if file else None
    with progress_bar("validate", "rows") as show:
        found = [check_platforms(name, path, progress=partial(_of_check, show, name)) for name in names]
    if folder is not None:
        from accelsim.studies.reports.platforms import write_accuracy

        write_accuracy(folder, found, shipped=path is None)
    if as_json:
        entries = [each.to_dict() for each in found]
        click.echo(json.dumps(entries[0] if one else entries))
    else:
        for each in found:
            _show(each, shipped=path is None)
        if folder is not None:
            click.echo(f"written: {folder}")
    return 0 if all(each.compared for each in found) else 1


def _of_check(show: "Show", name: str, done: int, total: int, _what: str) -> None:
    show(done, total, name)


def _show(found: "Accuracy", *, shipped: bool) -> None:
    from rich.markup import escape

    from accelsim.cli.screen import console, table_of, words
    from accelsim.platforms.accuracy import describe_check

    out = console()
    out.print(f"[bold]{found.check}[/bold]: {describe_check(found.check, shipped=shipped)}")
    table = table_of(words("which"), "rows", "median error", "90th percentile", "worst")
    table.add_column("which row")
    overall = found.overall
    spreads = {**found.by_platform, **({} if overall is None else {"all": overall})}
    for name, spread in spreads.items():
        if name == "all":
            table.add_section()
        numbers = (spread.median, spread.p90, spread.worst.relative_error)
        table.add_row(name, str(spread.rows), *(f"{value:.1%}" for value in numbers), spread.worst.label)
    out.print(table)
    if found.signs is not None:
        out.print(f"  {found.signs}", soft_wrap=True)
    if found.band is not None:
        out.print(f"  {found.band}", soft_wrap=True)
    for reason, count in found.reasons.items():
        out.print(escape(f"  unsupported: {count} {'row' if count == 1 else 'rows'} of {reason}"), soft_wrap=True)
    out.print()
