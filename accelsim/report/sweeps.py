"""The page of a sweep: the best points, what each varied value does, the best compromises, and all points."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelsim.base.errors import InputError
from accelsim.base.files import Value, replacing_folder, write_atomically
from accelsim.base.markup import Cell, Html, Number, element
from accelsim.plots.kinds import Choice, prepare
from accelsim.plots.sources import PlotSource, table_source
from accelsim.plots.text import in_words, words_of
from accelsim.report.drawings import ReportFigure
from accelsim.report.origins import machine_table, parameter_tables
from accelsim.report.pieces import figures_of, page_of, table_of
from accelsim.report.writing import check_replaceable, draw_into
from accelsim.sweep.basis_file import SweepBasis, read_basis
from accelsim.sweep.fronts import Front, find_fronts, read_objectives
from accelsim.sweep.results_table import Selection, Table, best_rows, open_table, read_formula, selected, write_table
from accelsim.sweep.unfit import unfit_line

__all__ = ["write_sweep_report"]

_MOST_POINTS = 1000
_BEST = 20
_SHOWN = ("latency_s", "samples_per_s", "speedup", "energy_j", "gops_per_w", "power_w", "fits")
_OBJECTIVES = ("latency_s", "energy_j")
_FIGURES = {
    "sweep": ("Over one varied value", "The time of a step over the varied value, a line for each other one."),
    "sweep-map": ("Over two varied values", "The time of a step for each pair of the two varied values."),
    "pareto": (
        "Best compromises",
        "Each point: time and energy of a step; no other is better than those on the front.",
    ),
    "sensitivity": ("What matters", "How far each varied value moves the time of a step, all others averaged."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sweep:
    """A sweep as its page shows it: `best` rows by throughput, the `front` of time and energy, what was left out."""

    table: Table
    basis: SweepBasis
    varied: tuple[str, ...]
    ranges: Mapping[str, tuple[Value, ...]]
    best: tuple[dict[str, Any], ...]
    counts: Selection
    front: Front
    figures: tuple[ReportFigure, ...]


def write_sweep_report(folder: str | Path, rows: str | Path, *, command: str = "") -> Path:
    """Write a page on the rows of a sweep or a search and return it, ``index.html``.

    Args:
        folder: where it goes; it is complete or as it was before, and a report that it holds is replaced.
        rows: the ``.csv`` or ``.parquet`` that `accelsim sweep` wrote, with its ``.basis.json`` beside.
        command: what makes the report again; empty: nothing is said of it.

    Raises `InputError` for rows that are of no sweep, and for a folder that holds anything else than a report.
    """
    folder = Path(folder)
    check_replaceable(folder)
    sweep = _read(Path(rows))
    with replacing_folder(folder) as new:
        svgs = {figure.name: draw_into(figure, new) for figure in sweep.figures}
        write_table(new / "points.csv", sweep.best, sweep.table.columns)
        write_atomically(new / "index.html", _page(sweep, svgs, command))
        check_replaceable(folder)
    return folder / "index.html"


def _read(path: Path) -> _Sweep:
    table = open_table(path)
    if not {"sweep", "status", *_OBJECTIVES} <= set(table.columns):
        raise InputError(
            f"{path}: is not of accelsim sweep or search; a report is made of their rows, and of results as .json"
        )
    first = next(table.rows(("sweep",)))
    basis = read_basis(path, str(first["sweep"]))
    if basis is None:
        raise InputError(
            f"{path}: {path.with_suffix('.basis.json')} is missing: it holds the design; make the rows again"
        )
    best, counts = best_rows(
        table, by=read_formula("samples_per_s", table.columns, "--by"), reverse=False, top=_MOST_POINTS, where=None
    )
    objectives = read_objectives([("-x", _OBJECTIVES[0]), ("-y", _OBJECTIVES[1])], (), table.columns)
    (front,), _ = find_fronts(table, objectives)
    varied = table.varied()
    values: dict[str, dict[Value, None]] = {name: {} for name in varied}
    for row in table.rows(varied):
        for name, found in values.items():
            found[row[name]] = None
    shown = [row for _, row in selected(table, None, None, Selection(failed={}))]
    return _Sweep(
        table=table,
        basis=basis,
        varied=varied,
        ranges={name: tuple(found) for name, found in values.items()},
        best=tuple(best),
        counts=counts,
        front=front,
        figures=tuple(_figures(table_source(path, shown))),
    )


def _figures(source: PlotSource) -> Iterator[ReportFigure]:
    """Every kind of figure that these rows can be drawn as without a choice of some of them."""
    for kind, (heading, caption) in _FIGURES.items():
        try:
            drawing = prepare(kind, [source], Choice())
        except InputError:  # too many values vary, or too few
            continue
        yield ReportFigure(name=kind, heading=heading, caption=caption, drawing=drawing, width="double")


def _page(sweep: _Sweep, svgs: Mapping[str, Html], command: str) -> str:
    first = sweep.best[0]
    title = f"Sweep of {_common(sweep, 'workload')} on {_common(sweep, 'design')}"
    words = f"{sweep.counts.rows:,} points, batch {_common(sweep, 'batch')}, {first['engine']} engine"
    return page_of(
        title,
        words,
        {
            "summary": ("Summary", _summary(sweep)),
            "figures": ("Figures", [figures_of(sweep.figures, svgs)]),
            "front": ("Best compromises", [_front_table(sweep)]),
            "points": ("Points", _points(sweep)),
            "parameters": (
                "Parameters, their sources and confidence",
                parameter_tables((sweep.basis.design, *sweep.basis.energy_tables)),
            ),
            "command": ("How this was made", _command(sweep, command)),
        },
    )


def _common(sweep: _Sweep, name: str) -> str:
    return ", ".join(str(value) for value in sweep.ranges.get(name, (sweep.best[0].get(name),)))


def _summary(sweep: _Sweep) -> Iterator[Html]:
    best, thrifty = sweep.best[0], min(sweep.best, key=lambda row: row["energy_j"])
    leads = {"Most samples per second": best, "Least energy per step": thrifty}
    if best is thrifty:
        leads = {"Most samples per second and least energy per step": best}
    for words, row in leads.items():
        numbers = [in_words(name, row[name]) for name in ("samples_per_s", "latency_s", "energy_j")]
        yield element("p", f"{words}: {_said(sweep, row)}: {', '.join(numbers)} a step.", class_="lead")
    if unfit := unfit_line(sweep.best[:_BEST], f"the best {min(_BEST, len(sweep.best))} points"):
        yield element(
            "p", f"{unfit[0].upper()}{unfit[1:].partition(';')[0].rstrip()}".rstrip(")") + ").", class_="lead"
        )
    yield machine_table((sweep.basis.design,), sweep.basis.energy_tables)
    rows = [
        (words_of(name)[0], name, ", ".join(in_words(name, value) for value in sweep.ranges[name]))
        for name in sweep.varied
    ]
    yield table_of("What is varied", ("what", "path", "values"), rows)
    failed = [f"{count:,} {status}" for status, count in sweep.counts.failed.items()]
    left_out = f"Points that could not be simulated are left out: {', '.join(failed)}. " if failed else ""
    yield element(
        "p",
        f"{left_out}Whether a design fits its device is an estimate. These numbers come from a model of the machine; no"
        " measured cycle count of it is known, so their error cannot be stated.",
    )


def _said(sweep: _Sweep, row: Mapping[str, Value]) -> str:
    return ", ".join(f"{words_of(name)[0]} {in_words(name, row[name])}" for name in sweep.varied) or "the only point"


def _cells(row: Mapping[str, Value], names: Sequence[str]) -> list[Cell]:
    return [_cell(name, row[name]) for name in names]


def _cell(name: str, value: Value) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int | float):
        words: dict[Value, str] = {True: "yes", False: "no", None: ""}
        return words.get(value, str(value))
    return Number(in_words(name, value), value)


def _columns(sweep: _Sweep) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and heads of the columns of points."""
    names = (*sweep.varied, *(name for name in _SHOWN if name in sweep.table.columns and name not in sweep.varied))
    return names, tuple(words_of(name)[0] for name in names)


def _front_table(sweep: _Sweep) -> Html:
    names, heads = _columns(sweep)
    rows = [_cells(row, names) for row in sweep.front.rows[:_MOST_POINTS]]
    return table_of(
        f"Front of step time and energy: {len(sweep.front.rows):,} of {sweep.front.points:,} points", heads, rows
    )


def _points(sweep: _Sweep) -> Iterator[Html]:
    kept = sweep.counts.kept
    what = "All points" if kept <= _MOST_POINTS else f"The {_MOST_POINTS:,} points of {kept:,} with most samples/s"
    yield element(
        "p", f"{what}, with every column, are in ", element("a", "points.csv", href="points.csv"), ".", class_="soft"
    )
    names, heads = _columns(sweep)
    yield table_of(what, heads, [_cells(row, names) for row in sweep.best], tall=True, filtered=True)


def _command(sweep: _Sweep, command: str) -> Iterator[Html]:
    if command:
        yield element("p", "This command makes the report again, byte for byte with the same versions:")
        yield element("pre", element("code", command))
    rows = [("sweep", sweep.basis.sweep), *((f"trace {name}", sha) for name, sha in sweep.basis.traces)]
    yield table_of(f"Identity of the sweep, made with accelsim {sweep.basis.version}", ("what", "SHA-256"), rows)
