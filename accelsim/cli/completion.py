"""``accelsim completion``: the names of traces, designs, methods and fields of a design, completed by the shell."""

import contextlib
from collections.abc import Callable, Iterable, Mapping

import click
from click.shell_completion import CompletionItem, get_completion_class

from accelsim.base.errors import AccelsimError, InputError, did_you_mean

__all__ = ["complete_values", "completion_command"]

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", metavar="|".join(_SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, traces, designs, methods and fields of a design.

    bash: eval "$(accelsim completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc; fish: accelsim completion fish >
    ~/.config/fish/completions/accelsim.fish
    """
    if shell not in _SHELLS:
        raise InputError(f"completion {shell}: not known{did_you_mean(shell, _SHELLS)}; allowed: {', '.join(_SHELLS)}")
    found = get_completion_class(shell)
    assert found is not None, "click knows these shells"
    with contextlib.suppress(RuntimeError):  # it looks for a bash to see how old it is, and there may be none
        click.echo(found(ctx.find_root().command, {}, "accelsim", "_ACCELSIM_COMPLETE").source())


def complete_values(command: click.Command) -> click.Command:
    """Have the shell complete the values of a command, too."""
    for param in command.params:
        names = _VALUES.get(str(param.name))
        if names is not None:
            setattr(param, "shell_complete", _completer(names))  # noqa: B010  a method of click's, for this one alone
    return command


def _completer(names: Callable[[], Iterable[str]]) -> Callable[[click.Context, str], list[CompletionItem]]:
    def complete(_ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        with contextlib.suppress(AccelsimError):
            found = [CompletionItem(f"{before}{comma}{name}") for name in names() if name.startswith(last)]
            return found or [CompletionItem(incomplete, type="file")]
        return []

    return complete


def _traces() -> Iterable[str]:
    from accelsim.sweep.spec import sweep_names
    from accelsim.workload.trace import workload_names

    return (*workload_names(), *sweep_names())


def _designs() -> Iterable[str]:
    from accelsim.hardware.design import design_names

    return design_names()


def _methods() -> Iterable[str]:
    from accelsim.sparsity.methods import METHODS, RECIPE_NAMES

    return (*METHODS, *RECIPE_NAMES)


def _fields() -> Iterable[str]:
    from accelsim.hardware.design import Design
    from accelsim.hardware.sourced import leaf_paths

    return (f"{path}=" for path in leaf_paths(Design))


def _platforms() -> Iterable[str]:
    from accelsim.hardware.platform import platform_names

    return platform_names()


_VALUES: Mapping[str, Callable[[], Iterable[str]]] = {
    **dict.fromkeys(("trace", "traces", "source", "sources", "old", "new"), _traces),
    **dict.fromkeys(("hw", "hws", "designs"), _designs),
    **dict.fromkeys(("method", "methods"), _methods),
    **dict.fromkeys(("settings", "vary", "link"), _fields),
    **dict.fromkeys(("platform", "platforms"), _platforms),
}
"""What stands in parameters of these names."""
