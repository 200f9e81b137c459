"""Writing a report: a folder with the page, its figures as SVG and PNG, and what they and the tables show as CSV."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from accelsim.base.errors import InputError
from accelsim.base.files import replacing_folder, write_atomically
from accelsim.base.markup import Html
from accelsim.hardware.design import Design
from accelsim.hardware.energy_table import load_energy_table
from accelsim.plots.compose import make_figure
from accelsim.plots.style import save_figure, save_with_data
from accelsim.report.drawings import ReportFigure, comparing_figures, layer_figures
from accelsim.report.page import Contents, make_page, parameters_of
from accelsim.report.svg import inline_svg
from accelsim.results.step import Result, Results, write_results, write_rows
from accelsim.workload.trace import Trace

__all__ = ["check_replaceable", "write_report"]

_PAGE = "index.html"
_MADE_HERE = '<meta name="generator" content="accelsim '


def write_report(
    folder: str | Path,
    results: Sequence[Result],
    designs: Sequence[Design],
    *,
    traces: Sequence[Trace] = (),
    command: str = "",
) -> Path:
    """Write a report on results and return its page, ``index.html``.

    Args:
        folder: where it goes; it is complete or as it was before, and a report that it holds is replaced.
        results: what is shown, one or more, made by one version.
        designs: the designs of the results.
        traces: what was simulated, where that is known.
        command: what makes the report again; empty: nothing is said of it.

    Raises `InputError` for no results, results of several versions, two that are alike, a design that is missing or
    was not the one that was simulated, and a folder that holds anything else than a report.

    >>> import accelsim as acs, tempfile
    >>> trace, design = acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(Path(folder, "report"), acs.compare(trace, design, batch=8), [design]).name
    'index.html'
    """
    folder = Path(folder)
    check_replaceable(folder)
    chosen = _checked(results, designs)
    by_name = {design.name: design for design in chosen}
    comparing = tuple(comparing_figures(Results(results)))
    detailed = tuple((result, tuple(figures)) for result, figures in layer_figures(Results(results), by_name))
    with replacing_folder(folder) as new:
        figures = [*comparing, *(figure for _, own in detailed for figure in own)]
        contents = Contents(
            results=Results(results),
            designs=chosen,
            tables=tuple(load_energy_table(name) for name in dict.fromkeys(design.energy for design in chosen)),
            traces=tuple(traces),
            comparing=comparing,
            detailed=detailed,
            svgs={figure.name: _draw(figure, new) for figure in figures},
            command=command,
        )
        write_rows(new / "steps.csv", [{**result.head, **asdict(result.step)} for result in results])
        write_results(new / "layers.csv", list(results))
        rows = [asdict(item) for owner in contents.owners for item in parameters_of(owner)]
        write_rows(new / "parameters.csv", rows)
        write_atomically(new / _PAGE, make_page(contents))
        check_replaceable(folder)
    return folder / _PAGE


def check_replaceable(folder: Path) -> None:
    """Raise `InputError` where `folder` is a file or holds what no report wrote: everything in it would be lost."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is no directory")
    present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not present:
        return
    page = folder / _PAGE
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    ours = {_PAGE, *re.findall(r'href="([^"#:]+)"', text)} if _MADE_HERE in text else set()
    foreign = [name for name in present if name not in ours]
    if foreign:
        raise InputError(f"{folder}: holds {foreign[0]}, which no report wrote; name a folder that is new or empty")


def _checked(results: Sequence[Result], designs: Sequence[Design]) -> tuple[Design, ...]:
    """Return the designs of the results, in their order."""
    if not results:
        raise InputError("no results to report on")
    versions = sorted({result.version for result in results})
    if len(versions) > 1:
        raise InputError(f"results of versions {', '.join(versions)}: simulate them again with one version")
    found = {design.name: design for design in designs}
    names = dict.fromkeys(result.design for result in results)
    absent = [name for name in names if name not in found]
    if absent:
        raise InputError(f"design '{absent[0]}': was simulated, but is not given; given: {', '.join(found) or 'none'}")
    return tuple(found[name] for name in names)


def _draw(figure: ReportFigure, folder: Path) -> Html:
    """Write a figure as SVG, PNG and CSV, and return it as an element of the page."""
    drawn = make_figure(figure.drawing, figure.width)
    save_figure(drawn, folder / f"{figure.name}.png")
    path = folder / f"{figure.name}.svg"
    save_with_data(figure.drawing.frame, drawn, path)
    label = f"{figure.heading}. {figure.caption} The numbers are in {figure.name}.csv."
    return inline_svg(path.read_text(encoding="utf-8"), figure.name, label)
