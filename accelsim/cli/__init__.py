"""The command line. Each sub-command stands in a module of this package and is imported only when it runs."""

import contextlib
import gc
import importlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, cast

import click

from accelsim.base.characters import one_line, refuse_control
from accelsim.base.errors import AccelsimError, did_you_mean
from accelsim.base.overwriting import keeping_inputs
from accelsim.base.plugins import PluginWarning
from accelsim.base.version import __version__

__all__ = ["command_names", "load_command", "main"]

_COMMANDS = {
    "simulate": ("simulate", "Time one training step of a trace on a design, or a whole run."),
    "compare": ("compare", "Time designs, methods and patterns side by side."),
    "schedule": ("schedule", "Show the mapping chosen for each layer and stage, and why."),
    "sweep": ("sweep", "Time many designs, patterns, methods and batches; a row each."),
    "flops": ("flops", "Count multiplications under zeros: dense, needed, executed."),
    "search": ("search", "Search the best compromises without timing every point."),
    "pareto": ("pareto", "Find the best compromises among the points of a sweep."),
    "results": ("results", "Show rows of result files, the best first."),
    "ablate": ("ablate", "Show what each technique brings, alone and together."),
    "plot": ("plot", "Draw a figure of what other commands wrote."),
    "report": ("report", "Write a page with figures and tables, or the shipped reports again."),
    "info": ("info", "Show what a trace holds, and what a method would leave dense."),
    "diff": ("diff", "Show what differs between two traces, results, sweeps or training runs."),
    "trace": ("trace", "Export the layer trace of a PyTorch model (needs the torch extra)."),
    "import": ("importing", "Make a trace of a SCALE-Sim topology, an ONNX model or a PyTorch profile."),
    "export": ("exporting", "Write a trace for SCALE-Sim or Timeloop."),
    "calibrate": ("calibrate", "Measure this machine as a platform, or a training step on it."),
    "validate": ("validate", "Check the model against independent numbers."),
    "check": ("check", "Check traces, training runs, design and energy files."),
    "list": ("listing", "List what is shipped: workloads, designs, platforms, methods, ..."),
    "explain": ("words", "Say what a word of results means: drain, split, 'os 2x2x2'."),
    "schema": ("schema", "Print the JSON Schema of a file format."),
    "docs": ("docs", "Show a page of documentation: tutorial, how-tos, clusters, reference."),
    "completion": ("completion", "Print what makes your shell complete names."),
}


_OBJECTS_PER_COLLECTION = 200_000
_COMPLETE = "_ACCELSIM_COMPLETE"  # set by the shell when it asks for completions


def command_names() -> list[str]:
    """Return the names of the sub-commands."""
    return list(_COMMANDS)


def load_command(name: str) -> click.Command:
    """Import a sub-command."""
    module = importlib.import_module(f"accelsim.cli.{_COMMANDS[name][0]}")
    command: click.Command = getattr(module, f"{name}_command")
    return command


class _LazyGroup(click.Group):
    """Sub-commands by name; importing one happens when it is called, not when help is shown."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command = load_command(name)
        if _COMPLETE in os.environ:
            from accelsim.cli.completion import complete_values

            return complete_values(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], _COMMANDS)
            raise click.UsageError(f"no such command '{args[0]}'{hint}; allowed: {', '.join(_COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="accelsim")
def _cli() -> None:
    """Latency, throughput and energy of N:M sparse DNN training steps on SAT, from a layer trace.

    Try: accelsim simulate resnet18_tinyimagenet --method bdwp --pattern 2:8
    """


@contextlib.contextmanager
def _ending_as_interrupted() -> Iterator[None]:
    """Within this, SIGTERM takes the road of an interrupt: work that is done is kept, and said to be."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Within this, look for garbage less often: a large trace makes many objects, hardly any of them garbage."""
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS_PER_COLLECTION)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def _plugin_warnings_as_lines() -> Iterator[None]:
    """Within this, what is left out of other packages is said in a line each."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, PluginWarning):
                click.echo(f"warning: {message}", err=True)
            else:
                usual(message, category, *place, **more)

        warnings.simplefilter("always", PluginWarning)
        warnings.showwarning = cast(Any, show)
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad input, 3 infeasible, 130 interrupted or ended, 1
    where nobody reads what is printed.

    Without a command it prints help.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        _print_what_can_be()
        for argument in arguments:
            refuse_control(argument, ascii(argument), "argument")
        with keeping_inputs(), _ending_as_interrupted(), _collecting_rarely(), _plugin_warnings_as_lines():
            code = _cli.main(args=arguments, prog_name="accelsim", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except AccelsimError as error:
        return _refused(str(error), error.exit_code)
    except click.ClickException as error:
        hint = f" (try: {error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        return _refused(f"{error.format_message()}{hint}", 2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        _print_nowhere()
        return 1
    except OSError as error:
        if error.filename is None:  # nothing but output that is printed has no name
            _print_nowhere()
        return _refused(f"{error.filename or 'standard output'}: cannot be used: {error.strerror or error}", 2)
    return code if isinstance(code, int) else 0


def _refused(message: str, code: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        for line in message.split("\n"):
            click.echo(f"error: {one_line(line)}", err=True)
    return code


def _print_what_can_be() -> None:
    """On terminals that lack characters, print their numbers; where an output is closed, print nothing."""
    if sys.stdout is None:
        sys.stdout = io.StringIO()
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_nowhere() -> None:
    """Have what is still to be printed at the end of Python go nowhere, as it would fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
