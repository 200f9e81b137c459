"""``accelsim plot``: figures of what other commands wrote, each with its data beside it as .csv."""

import re
from collections.abc import Sequence
from pathlib import Path

import click

from accelsim.base.errors import InputError, did_you_mean
from accelsim.cli.options import check_output

__all__ = ["plot_command"]

# What each kind shows stands here as well as in accelsim.plots.kinds, which help must not import; a test compares them.
_SHOWS = {
    "speedup": "speedup by workload and method, with the geometric mean",
    "stages": "step time by stage",
    "energy": "step energy by component",
    "training": "time of training runs by phase",
    "phases": "speedup, density and conforming share over the steps of a training run",
    "layer-speedup": "speedup of each layer over the first result",
    "utilisation": "utilisation of the array by layer and stage",
    "mapping": "dataflow of each layer and stage",
    "roofline": "throughput of each layer under the dense and N:M roofs",
    "timeline": "when each unit does what",
    "sweep": "a metric over a varied value",
    "sweep-map": "a metric over two varied values",
    "pareto": "the best compromises of two metrics",
    "sensitivity": "how far each assumption or varied value moves a metric",
    "platforms": "throughput against efficiency",
    "predicted": "predictions against measurements",
    "claims": "speedups beside the published average",
    "ablation": "what each technique brings",
}


def _shown() -> dict[str, str]:
    """The kinds of figures with what each shows, those of other packages, too."""
    from accelsim.base.plugins import plugin_names

    return {**dict.fromkeys(plugin_names("figures"), "of a package that is installed"), **_SHOWS}


class _Plot(click.Command):
    """A command whose help lists the kinds of figures."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Kinds"):
            formatter.write_dl(list(_shown().items()))
        super().format_epilog(ctx, formatter)


@click.command("plot", cls=_Plot)
@click.argument("files", nargs=-1, required=True, metavar="[KIND] RESULTS...")
@click.option(
    "-o", "--output", required=True, metavar="FIG", help="Figure to write: .png, .svg or .pdf; its data goes to .csv."
)
@click.option("--width", default="double", show_default=True, metavar="single|double", help="Column width.")
@click.option("--title", metavar="TEXT", help="Title instead of what the results have in common; '' for none.")
@click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=VALUE|EXPR",
    help="Show only these rows, as in method=bdwp, or 'array.rows >= 16'. Repeatable: several values of a column are"
    " all shown, several expressions all hold.",
)
@click.option("-x", metavar="COLUMN", help="Across: of sweep, sweep-map, pareto and platforms.")
@click.option("-y", metavar="COLUMN", help="Upward: of sweep, sweep-map and pareto; the metric of sensitivity.")
@click.option("--value", metavar="COLUMN", help="Metric of the cells of sweep-map; the N:M of phases.")
@click.option("--by", metavar="COLUMN", help="A line of sweep, or a group of predicted, for each value of this.")
@click.option(
    "--layer", metavar="NAME", help="Of the timeline: a panel around each stage of this layer. Of phases: name it."
)
@click.option("--hw", metavar="NAME|FILE", help="Design of the roofline: results hold theirs, and another is refused.")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Field of that design.")
def plot_command(
    files: tuple[str, ...],
    output: str,
    width: str,
    title: str | None,
    where: tuple[str, ...],
    x: str | None,
    y: str | None,
    value: str | None,
    by: str | None,
    layer: str | None,
    hw: str | None,
    settings: tuple[str, ...],
) -> None:
    """Draw a figure of what other commands wrote, its data beside it.

    RESULTS are files of simulate, compare, training runs, ablate and validate, timelines, tables of sweeps, and the
    .csv beside a figure. KIND can be left out where the files say enough.
    """
    kind, paths = _kind_of(files)
    filters = tuple(_condition(text) for text in where)
    changes = tuple(_pair(text, "--set", "array.rows=64") for text in settings)
    widths = ("single", "double")
    if width not in widths:
        raise InputError(f"--width {width}: not known{did_you_mean(width, widths)}; allowed: {', '.join(widths)}")
    target = check_output(output, (".png", ".svg", ".pdf"))
    assert target is not None, "the option is required"
    if target.with_suffix(".csv") in map(Path, paths):
        raise InputError(f"-o {output}: its data would be written over {target.with_suffix('.csv')}, which is read")

    from accelsim.plots.compose import make_figure
    from accelsim.plots.kinds import Choice, guess_kinds, prepare
    from accelsim.plots.sources import read_source
    from accelsim.plots.style import save_with_data

    sources = [read_source(path) for path in paths]
    if kind is None:
        kinds = guess_kinds(sources)
        if not kinds:
            raise InputError(f"{paths[0]}: say which figure to draw, one of {', '.join(_shown())}")
        kind = kinds[0]
        others = f"; {', '.join(kinds[1:])} can be drawn as well" if kinds[1:] else ""
        click.echo(f"note: drawn as {kind}{others}", err=True)
    drawing = prepare(
        kind, sources, Choice(layer=layer, x=x, y=y, value=value, by=by, where=filters, hw=hw, settings=changes)
    )
    figure = make_figure(drawing, width, title)
    data = save_with_data(drawing.frame, figure, target)
    for note in drawing.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"written: {target}, {data}")


def _kind_of(files: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Split the kind from the files; the first is a kind where it is known, or is no file and looks like none."""
    first = files[0]
    if first in _shown():
        if len(files) == 1:
            raise InputError(f"{first}: the files to draw are missing")
        return first, files[1:]
    if not Path(first).suffix and not Path(first).exists():
        raise InputError(f"no such figure '{first}'{did_you_mean(first, _shown())}; allowed: {', '.join(_shown())}")
    return None, files


def _condition(text: str) -> tuple[str, str] | str:
    """COLUMN=VALUE as a pair, anything else as the expression that it is."""
    return _pair(text, "--where", "method=bdwp") if re.match(r"\s*[\w.]+\s*=(?!=)", text) else text


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"{option} {text}: expected NAME=VALUE, as in {example}")
    return name.strip(), value.strip()
