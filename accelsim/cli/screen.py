"""What results look like on a screen: tables a person reads in ten seconds."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

from accelsim.base.files import Value
from accelsim.base.ratios import geometric_mean, relative_speedup
from accelsim.base.units import show
from accelsim.lowering.tasks import Note
from accelsim.results.step import Result, group_notes
from accelsim.results.wording import TextTable, gain_sentence, head_of, slowest_table, stage_table, totals_table

__all__ = [
    "column_of",
    "console",
    "short_titles",
    "show_comparison",
    "show_notes",
    "show_result",
    "table_of",
    "value_text",
    "words",
]

_NAMED = 4  # operations of a warning
_WIDTH_IN_FILES = 118


def console() -> Console:
    """The console for standard output; a fixed width where that is no terminal."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH_IN_FILES, highlight=False)


def show_result(result: Result, *, by_layer: bool = False, every_warning: bool = False) -> None:
    """Print a result beside the dense step that its speedup is over; with `by_layer`, what each layer gains."""
    out = console()
    head, _, rest = head_of(result).partition(", ")
    out.print(Text.assemble((head, "bold"), f", {rest}\n"), soft_wrap=True)
    out.print(_rich(totals_table(result)))
    if sentence := gain_sentence(result):
        out.print(Text(f"\n{sentence}\n"))
    if result.dense is not None and result.basis.case.method.is_sparse:
        out.print(f"What limits it: {result.diagnosis()}.\n", soft_wrap=True, markup=False)
    out.print(_rich(stage_table(result)))
    if by_layer:
        from accelsim.cli.gains import show_gains  # which draws tables with this module

        show_gains(out, result)
    else:
        title, slowest = slowest_table(result)
        out.print(f"\n{title}")
        out.print(_rich(slowest))
    show_notes(out, result.notes, every=every_warning)


def _rich(table: TextTable) -> Table:
    shown = table_of(*(words(head) if head in table.words else head for head in table.heads))
    for row in table.rows:
        shown.add_row(*row)
    return shown


def show_notes(out: Console, notes: Iterable[Note], *, every: bool = False) -> None:
    """Group notes by their text: which operations, in which stages; the first few of many, or `every` one."""
    groups = group_notes(notes)
    if groups:
        out.print("\n[yellow]warnings[/yellow]")
    for text, names in groups.items():
        shown = names if every else names[:_NAMED]
        more = f" and {len(names) - len(shown)} more (--warnings all)" if len(names) > len(shown) else ""
        which = f": {', '.join(shown)}{more}" if names else ""
        out.print(f"  {text}{which}", soft_wrap=True, markup=False)


def show_comparison(groups: Sequence[Sequence[Result]], *, every_warning: bool = False) -> None:
    """Print results workload by workload, relative to the first of each; and the geometric mean over workloads."""
    out = console()
    table = table_of(
        words("workload"),
        words("design"),
        words("method"),
        words("pattern"),
        "step",
        "speedup",
        "samples/s",
        "GOP/s",
        "energy",
        "GOP/s/W",
    )
    for group in groups:
        for result in group:
            table.add_row(
                result.workload,
                result.design,
                result.method,
                result.pattern or "-",
                show(result.step.latency_s, "s"),
                f"{relative_speedup(group[0].step.latency_s, result.step.latency_s):.2f}x",
                f"{result.step.samples_per_s:,.0f}",
                f"{result.step.effective_gops:,.0f}",
                show(result.step.energy_j, "J"),
                f"{result.step.gops_per_w:.1f}",
            )
        table.add_section()
    if len(groups) > 1:
        for index, result in enumerate(groups[0]):
            mean = geometric_mean(
                relative_speedup(group[0].step.latency_s, group[index].step.latency_s) for group in groups
            )
            table.add_row("geometric mean", result.design, result.method, result.pattern or "-", "", f"{mean:.2f}x")
    out.print(table)
    out.print(f"speedup: step latency of the first row of a workload over this; batch {groups[0][0].batch}")
    show_notes(
        out, dict.fromkeys(note for group in groups for result in group for note in result.notes), every=every_warning
    )


class _PlainTable(Table):
    """A table of cells as they are: rich would read the bracket of conv1[phase 0,1] as markup."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def words(title: str, *, whole: bool = False) -> Column:
    """A column of words, which stand at its left; `whole` ones are never broken."""
    return Column(title, overflow="fold", no_wrap=whole)


def column_of(title: str, values: Iterable[Value]) -> Column | str:
    """A column of these values: of words where one of them is a text, else of numbers."""
    return words(title) if any(isinstance(value, str) for value in values) else title


def table_of(*columns: Column | str) -> Table:
    """A borderless table; a column that is given by its title alone is of numbers, which stand at its right."""
    table = _PlainTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        if isinstance(column, str):
            table.add_column(column, justify="right", overflow="fold")
        else:
            table.add_column(column.header, overflow=column.overflow, no_wrap=column.no_wrap)
    return table


def value_text(value: Value) -> str:
    """Return a value of a table: six digits of a number, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, tuple | list):
        return ", ".join(map(value_text, value))
    return str(value)


def short_titles(columns: Sequence[str]) -> list[str]:
    """Return names of columns without their sections (rows for array.rows), where that leaves them distinct."""
    fields = [name.rpartition(".")[2] if name.replace(".", "").isidentifier() else name for name in columns]
    return [field if fields.count(field) == 1 else name for field, name in zip(fields, columns, strict=True)]
