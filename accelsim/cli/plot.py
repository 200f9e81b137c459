"""``accelsim plot``: figures of what other commands wrote, each with its data beside it as .csv.

A kind of figure is a command in the table `_KINDS`: it reads its input, draws a frame and saves both.
"""

from pathlib import Path

import click

from accelsim.cli.options import check_output
from accelsim.errors import did_you_mean

__all__ = ["plot_command"]

_SUFFIXES = (".png", ".svg", ".pdf")

_output_option = click.option(
    "-o", "--output", required=True, metavar="FIG", help="Figure to write: .png, .svg or .pdf; its data goes to .csv."
)


def _figure_path(output: str) -> Path:
    """Return where the figure goes, after a look whether it can."""
    target = check_output(output, _SUFFIXES)
    assert target is not None, "the option is required"
    return target


@click.command("timeline")
@click.argument("file")
@click.option("--layer", metavar="NAME", help="Show this layer: a panel around each of its stages, with jobs if few.")
@_output_option
def _timeline(file: str, layer: str | None, output: str) -> None:
    """Draw when each unit does what.

    FILE was written by accelsim simulate --timeline; below the units stands how much of the DRAM's bandwidth is in use.
    """
    from accelsim.plots.style import new_figure, save_with_data
    from accelsim.plots.timeline import MOST_JOBS, draw_timeline, timeline_frame
    from accelsim.timeline_file import load_timeline

    target, timeline = _figure_path(output), load_timeline(file)
    frame = timeline_frame(timeline, layer)
    jobs = frame[frame["kind"] == "job"]["panel"].value_counts()
    if (jobs > MOST_JOBS).any():
        click.echo(f"note: jobs are left out where a panel has more than {MOST_JOBS}", err=True)
    title = timeline.about.title if layer is None else f"{timeline.about.title}: {layer}"
    with new_figure("double", 2.9) as figure:
        draw_timeline(frame, figure, title)
        data = save_with_data(frame, figure, target)
    click.echo(f"written: {target}, {data}")


_KINDS = {"timeline": _timeline}


class _Kinds(click.Group):
    """Kinds of figures; an unknown one is answered with the nearest."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.commands)
            raise click.UsageError(f"no such figure '{args[0]}'{hint}; allowed: {', '.join(self.commands)}", ctx)
        return super().resolve_command(ctx, args)


plot_command = _Kinds(
    "plot",
    commands=_KINDS,
    no_args_is_help=False,
    subcommand_metavar="KIND ...",
    help="Draw a figure of what other commands wrote, its data beside it.",
)
