"""``accelsim trace``: run a PyTorch model on tensors without memory and write its trace."""

import importlib
import importlib.util
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from accelsim.base.errors import InputError, did_you_mean
from accelsim.cli.options import check_output
from accelsim.cli.progress import progress_bar

__all__ = ["build_model", "find_loss", "importable_neighbours", "trace_command"]


@click.command("trace")
@click.argument("target", metavar="MODULE:FACTORY")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="SPEC",
    help="Shape of one input without the batch: 3x64x64 (float32), or 128:int64:30522 for tokens below 30522."
    " Repeat it for a model with several inputs.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 4096),
    default=2,
    show_default=True,
    help="The model runs at this batch and at one more, to tell work per sample from work per step.",
)
@click.option("--train/--infer", default=True, show_default=True, help="Training mode of dropout and normalisation.")
@click.option(
    "--loss",
    metavar="NAME|MODULE:FUNCTION",
    help="What is differentiated: cross-entropy or mse (random targets), or a function of the output that returns a"
    " scalar.  [default: the sum of the outputs, which the trace leaves out]",
)
@click.option(
    "--steps",
    type=click.IntRange(0, 1000),
    default=0,
    show_default=True,
    help="Also run so many steps on real tensors (random inputs) and read the sparsity of all operands.",
)
@click.option("--masks", is_flag=True, help="Write the masks of sparse weights beside the trace (runs one step).")
@click.option("--name", help="Name of the model in the trace  [default: FACTORY]")
@click.option(
    "--assume",
    "assumptions",
    multiple=True,
    metavar="TEXT",
    help="What the cited model leaves open and this definition decides; kept in the trace. Repeatable.",
)
@click.option("-o", "--output", required=True, metavar="FILE", help="Trace to write, .json or .json.gz.")
def trace_command(
    target: str,
    inputs: Sequence[str],
    batch: int,
    train: bool,
    loss: str | None,
    steps: int,
    masks: bool,
    name: str | None,
    assumptions: Sequence[str],
    output: str,
) -> None:
    """Trace a PyTorch model: every operation of one training step, with shapes per sample.

    MODULE is an importable module or a .py file; FACTORY is called without arguments and returns a torch.nn.Module.
    Shapes alone need no memory for tensors; with --steps or --masks the model runs, and the trace says how sparse the
    operands of each product are.

    \b
    accelsim trace workloads/models/resnet.py:resnet18_tinyimagenet --input 3x64x64 -o resnet18.json
    accelsim trace my_model.py:pruned --input 3x32x32 --batch 8 --steps 1 --masks -o pruned.json
    """
    try:
        from accelsim.workload.tracer import InputSpec, trace_model
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InputError(str(error)) from None
    from accelsim.workload.masks_file import beside
    from accelsim.workload.trace import save_trace

    module, _, factory = target.rpartition(":")
    specs = [InputSpec.parse(text) for text in inputs]
    if not output.endswith((".json", ".json.gz")):
        raise InputError(f"-o {output}: the name of a trace ends in .json or .json.gz")
    check_output(output, (".json", ".gz"))
    steps = max(steps, int(masks))
    words = ["accelsim", "trace", f"{_portable(module)}:{factory}", *(f"--input={spec}" for spec in specs)]
    words += [f"--batch={batch}"] * (batch != 2) + ["--infer"] * (not train)
    words += [f"--loss={_portable_loss(loss)}"] if loss else []
    words += [f"--steps={steps}"] * bool(steps) + ["--masks"] * masks + [f"--name={name}"] * bool(name)
    bar = progress_bar("trace", "steps") if steps else nullcontext()
    with importable_neighbours(module), bar as show:
        model = build_model(module, factory, target)
        trace = trace_model(
            model, specs, batch=batch, train=train, loss=find_loss(loss), steps=steps, name=name or factory,
            masks=beside(output) if masks else None, source=f"{_portable(module)}:{factory}",
            assumptions=assumptions, command=shlex.join([*words, "-o", _portable(output)]),
            progress=show,
        )  # fmt: skip
    save_trace(trace, output)
    click.echo(f"{output}: {len(trace.operations)} operations, {trace.size}")
    if masks:
        click.echo(f"{beside(output)}: masks")
    for text in trace.origin.assumptions[len(assumptions) :]:
        click.echo(f"note: {text}", err=True)


def _portable(name: str) -> str:
    """Return a path as others can use it: relative to the project it lies in, else the bare file name."""
    if not name.endswith((".py", ".json", ".json.gz")):
        return name
    path = Path(name).resolve()
    roots = [folder for folder in path.parents if (folder / "pyproject.toml").exists() or (folder / ".git").exists()]
    return path.relative_to(roots[0]).as_posix() if roots else path.name


def _portable_loss(loss: str) -> str:
    """Return the name of a loss, or MODULE:FUNCTION with a portable module."""
    module, colon, function = loss.rpartition(":")
    return f"{_portable(module)}{colon}{function}"


@contextmanager
def importable_neighbours(module: str) -> Iterator[None]:
    """Let the module import its neighbours as a script would: its folder, or the working directory, comes first."""
    folder = str(Path(module).resolve().parent) if module.endswith(".py") else str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def build_model(module: str, factory: str, target: str) -> Any:
    """Return what the factory makes; any failure of the user's code becomes one sentence."""
    if not module or not factory:
        raise InputError(
            f"'{target}': MODULE:FACTORY is needed, as in workloads/models/resnet.py:resnet18_tinyimagenet"
        )
    make = _found(module, factory, "factory")
    try:
        model = make()
    except Exception as error:  # whatever the user's factory raises
        raise InputError(f"factory '{factory}' of '{module}' fails: {_said(error)}") from error
    from torch import nn

    if not isinstance(model, nn.Module):
        raise InputError(
            f"factory '{factory}' of '{module}' returns {type(model).__name__}; a torch.nn.Module is needed"
        )
    return model


def _found(module: str, name: str, what: str) -> Any:
    """Return the callable `name` of a module; any failure of the user's code becomes one sentence."""
    try:
        loaded = _load(module)
    except InputError:
        raise
    except Exception as error:  # whatever the user's module raises
        raise InputError(f"module '{module}' cannot be imported: {_said(error)}") from error
    found = getattr(loaded, name, None)
    if not callable(found):
        legal = [name for name, value in vars(loaded).items() if _is_factory(loaded, value)]
        raise InputError(f"module '{module}' has no {what} '{name}'{did_you_mean(name, legal)}")
    return found


def find_loss(text: str | None) -> Any:
    """Return the function of the output that ``--loss`` names."""
    if text is None:
        return None
    from accelsim.workload.tracer.losses import LOSSES

    module, colon, function = text.rpartition(":")
    if text in LOSSES:
        return LOSSES[text]
    if not colon:
        raise InputError(
            f"--loss {text}: not known{did_you_mean(text, LOSSES)}; allowed: {', '.join(LOSSES)}, or MODULE:FUNCTION"
        )
    return _found(module, function, "function")


def _is_factory(module: ModuleType, value: Any) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _load(module: str) -> ModuleType:
    if not module.endswith(".py"):
        return importlib.import_module(module)
    path = Path(module)
    if not path.is_file():
        raise InputError(f"{module}: no such file")
    spec = importlib.util.spec_from_file_location(f"accelsim_traced_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{module}: not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded  # dataclasses look their module up
    spec.loader.exec_module(loaded)
    return loaded


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
