"""Writing a report: a folder with the page, its figures as SVG and PNG, and what they and the tables show as CSV."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from accelsim.base.errors import InputError
from accelsim.base.files import replacing_folder, write_atomically
from accelsim.base.markup import Html
from accelsim.base.progress import Progress, heard, silent
from accelsim.hardware.design import Design, differences
from accelsim.plots.compose import make_figure
from accelsim.plots.style import save_figure, save_with_data
from accelsim.report.drawings import ReportFigure, comparing_figures, layer_figures, training_figure
from accelsim.report.origins import parameters_of
from accelsim.report.page import Contents, make_page
from accelsim.report.svg import inline_svg
from accelsim.results.result_file import write_results, write_rows
from accelsim.results.step import Result, Results, named
from accelsim.results.training import TrainingResult
from accelsim.workload.trace import Trace

__all__ = ["check_replaceable", "draw_into", "write_report"]

_PAGE = "index.html"
_MADE_HERE = '<meta name="generator" content="accelsim '


def write_report(
    folder: str | Path,
    results: Sequence[Result],
    designs: Sequence[Design] = (),
    *,
    traces: Sequence[Trace] = (),
    runs: Sequence[TrainingResult] = (),
    command: str = "",
    progress: Progress = silent,
) -> Path:
    """Write a report on results and return its page, ``index.html``.

    Args:
        folder: where it goes; it is complete or as it was before, and a report that it holds is replaced.
        results: what is shown, one or more with the `runs`, of one version of the model; each holds its design.
        designs: may be named, and are then those of the results.
        traces: what was simulated, where that is known.
        runs: training runs, of which each different step is shown as a result, too.
        command: what makes the report again; empty: nothing is said of it.
        progress: hears of each figure.

    Raises `InputError` for no results, results of several versions, two that are alike, designs that are others than
    those of the results, and a folder that holds anything else than a report.

    >>> import accelsim as acs, tempfile
    >>> trace, design = acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(Path(folder, "report"), acs.compare(trace, design, batch=8)).name
    'index.html'
    """
    folder = Path(folder)
    check_replaceable(folder)
    results = [*results, *_steps_of(runs, results)]
    chosen = _checked(results, designs)
    run_figures = (training_figure(runs),) if runs else ()
    comparing = tuple(comparing_figures(Results(results)))
    detailed = tuple((result, tuple(figures)) for result, figures in layer_figures(Results(results)))
    with replacing_folder(folder) as new:
        figures = [*run_figures, *comparing, *(figure for _, own in detailed for figure in own)]
        contents = Contents(
            results=Results(results),
            designs=chosen,
            tables=tuple(dict.fromkeys(result.basis.energy_table for result in results)),
            traces=tuple(traces),
            runs=tuple(runs),
            run_figures=run_figures,
            comparing=comparing,
            detailed=detailed,
            svgs={figure.name: draw_into(figure, new) for figure in heard(figures, progress)},
            command=command,
        )
        write_rows(new / "steps.csv", [{**result.head, **asdict(result.step)} for result in results])
        write_results(new / "layers.csv", list(results))
        if runs:
            write_rows(new / "phases.csv", [row for run in runs for row in run.phase_rows()])
        rows = [asdict(item) for owner in contents.owners for item in parameters_of(owner)]
        write_rows(new / "parameters.csv", rows)
        write_atomically(new / _PAGE, make_page(contents))
        check_replaceable(folder)
    return folder / _PAGE


def _steps_of(runs: Sequence[TrainingResult], besides: Sequence[Result]) -> Iterator[Result]:
    """Yield the different steps of training runs, dense first; equal ones of several phases once.

    A phase of its own trace is called by its name where another step is called alike.
    """
    known = {result.identity for result in besides}
    called = {(result.workload, *result.head.values()) for result in besides}
    for run in runs:
        for name, result in (("", run.dense), *((phase.name, phase.result) for phase in run.phases)):
            if result.identity in known:
                continue
            known.add(result.identity)
            head = (result.workload, *result.head.values())
            alike = head in called
            called.add(head)
            yield named(result, f"{result.workload}, {name}") if alike else result


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
    found: dict[str, Design] = {}
    for result in results:
        design = result.basis.design
        apart = differences(found.setdefault(design.label, design), design)
        if apart:
            words = ", ".join(f"{path} {one} and {two}" for path, one, two in apart)
            raise InputError(
                f"design '{design.label}': there are two of that name: {words}; rename one, simulate again"
            )
    if designs:
        _check_named(tuple(found.values()), designs)
    return tuple(found.values())


def _check_named(found: Sequence[Design], named: Sequence[Design]) -> None:
    for design in found:
        near = next((other for other in named if other.name == design.name), None)
        if near is None:
            names = ", ".join(other.name for other in named)
            raise InputError(f"design '{design.name}': was simulated, but is not given; given: {names}")
        if all(differences(design, other) for other in named):
            apart = ", ".join(f"{path} {value} (there {there})" for path, there, value in differences(design, near))
            raise InputError(f"design '{near.label}': the results are of {design.label}: {apart}")


def draw_into(figure: ReportFigure, folder: Path) -> Html:
    """Write a figure as SVG, PNG and CSV, and return it as an element of the page."""
    drawn = make_figure(figure.drawing, figure.width)
    save_figure(drawn, folder / f"{figure.name}.png")
    path = folder / f"{figure.name}.svg"
    save_with_data(figure.drawing.frame, drawn, path)
    label = f"{figure.heading}. {figure.caption} The numbers are in {figure.name}.csv."
    return inline_svg(path.read_text(encoding="utf-8"), figure.name, label)
