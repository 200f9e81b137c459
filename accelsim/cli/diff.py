"""``accelsim diff``: what differs between two traces, two sets of results, two sweeps or two training runs."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from accelsim.diff import Change, Comparison, MaskChange, Section

__all__ = ["diff_command"]

_IDENTITY = 12
_MOST_CHANGES = 200
_MOST_KEYS = 20
_OBSERVED = "observed."
_DIGESTS = ("identity", "trace", "plan")


@click.command("diff")
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@click.option(
    "--rtol",
    type=float,
    default=0.0,
    show_default=True,
    help="Numbers differ where they are further apart than this share of the larger one.",
)
@click.option("--all", "every", is_flag=True, help="Show histograms and densities of all operands of traces, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as one JSON object.")
def diff_command(old: str, new: str, rtol: float, every: bool, as_json: bool) -> int:
    """Show every value that differs between A and B: two traces (shipped names or files), two files of results or two
    training runs (as written by -o, simulate --json and compare --json), or two sweeps (.csv or .parquet).

    The exit code is 0 where nothing differs and 1 where something does.
    """
    from accelsim.diff import compare_files

    comparison = compare_files(old, new, rtol=rtol)
    if as_json:
        click.echo(json.dumps({**comparison.to_dict(), "old": old, "new": new, "rtol": rtol}))
    else:
        from accelsim.cli.screen import console

        _show(console(), comparison, old, new, every)
    return 0 if comparison.equal else 1


def _show(out: "Console", comparison: "Comparison", old: str, new: str, every: bool) -> None:
    sections = comparison.sections
    compared = sum(section.compared for section in sections)
    if comparison.equal:
        out.print(f"equal: {compared:,} values")
        return
    out.print(f"A: {old}\nB: {new}", markup=False)
    hidden: list[Change] = []
    for section in sections:
        shown = section
        if comparison.kind == "trace" and not every:
            seen = [change for change in section.changes if change.field.startswith(_OBSERVED)]
            hidden += seen
            shown = replace(section, changes=tuple(change for change in section.changes if change not in seen))
        if not shown.equal:
            _show_section(out, shown)
    _show_masks(out, comparison.masks, hidden)
    parts = [f"{sum(len(section.changes) for section in sections):,} of {compared:,} values differ"]
    for what, words in (("removed", "only in A"), ("added", "only in B"), ("moved", "moved")):
        number = sum(len(getattr(section, what)) for section in sections)
        parts += [f"{number:,} row{'s' * (number > 1)} {words}"] * (number > 0)
    out.print(f"\n{', '.join(parts)}")


def _show_masks(out: "Console", masks: "Sequence[MaskChange]", hidden: "Sequence[Change]") -> None:
    """Print a line for each weight whose mask differs, and how many numbers of operands are not shown."""
    if masks:
        out.print("\n[bold]masks[/bold]")
    for mask in masks:
        patterns = mask.old if mask.old == mask.new else f"{mask.old} -> {mask.new}"
        densities = [f"{value:.2f}" if value is not None else "-" for value in (mask.old_density, mask.new_density)]
        if mask.old_density != mask.new_density and densities[0] == densities[1]:
            densities = [f"{value:.6g}" for value in (mask.old_density, mask.new_density) if value is not None]
        density = densities[0] if mask.old_density == mask.new_density else " -> ".join(densities)
        out.print(f"{mask.operation} {mask.stage} {patterns}, density {density}", markup=False, soft_wrap=True)
    if hidden:
        operations = len({change.key for change in hidden})
        out.print(
            f"{'histograms and densities' if masks else 'observed numbers'} of operands:"
            f" {len(hidden):,} values differ in {operations:,} operation{'s' * (operations > 1)}; --all shows them"
        )


def _show_section(out: "Console", section: "Section") -> None:
    from accelsim.cli.screen import table_of, words

    out.print(f"\n[bold]{section.title}[/bold]" + (f" of {section.of}" if section.of else ""))
    if section.changes:
        table = table_of(*map(words, section.columns), words("field"), "A", "B", "change")
        shown: tuple[str, ...] = ()
        for change in section.changes[:_MOST_CHANGES]:
            key = change.key if change.key != shown else ("",) * len(change.key)
            shown = change.key
            table.add_row(*key, change.field, *_both(change), _relative(change))
        out.print(table)
    if len(section.changes) > _MOST_CHANGES:
        out.print(f"... and {len(section.changes) - _MOST_CHANGES:,} more: --json has all; by field")
        out.print(_by_field(section))
    for keys, where in ((section.removed, "only in A"), (section.added, "only in B"), (section.moved, "moved")):
        if keys:
            more = f" and {len(keys) - _MOST_KEYS:,} more" if len(keys) > _MOST_KEYS else ""
            out.print(f"{where}: {', '.join(' '.join(key) for key in keys[:_MOST_KEYS])}{more}", markup=False)


def _by_field(section: "Section") -> "Table":
    """How often each field differs, and by how much at most."""
    from accelsim.cli.screen import table_of, words

    table = table_of(words("field"), "differs in", "largest change")
    for field in dict.fromkeys(change.field for change in section.changes):
        changes = [change for change in section.changes if change.field == field]
        largest = max(changes, key=lambda change: abs(change.relative or 0))
        table.add_row(field, f"{len(changes):,}", _relative(largest))
    return table


def _both(change: "Change") -> tuple[str, str]:
    """Both values with as many digits as tell them apart, of an identity its beginning."""
    if change.field in _DIGESTS:
        return str(change.old)[:_IDENTITY], str(change.new)[:_IDENTITY]
    from accelsim.cli.screen import value_text

    old, new = value_text(change.old), value_text(change.new)
    return (old, new) if old != new else (repr(change.old), repr(change.new))


def _relative(change: "Change") -> str:
    relative = change.relative
    if relative is None:
        return ""
    if abs(relative) < 5e-5:
        return f"{relative:+.1e}"
    return f"{relative:+.2%}" if abs(relative) < 10 else f"{relative:+,.0%}"
