"""``accelsim docs``: the pages of documentation, and the reference that is made of commands, calls and formats.

``python -m accelsim.cli.docs`` writes the reference anew.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from accelsim.base.errors import InputError, did_you_mean

__all__ = ["FOLDER", "docs_command", "reference"]

FOLDER = Path(__file__).parents[1] / "docs"

_PAGES = {
    "tutorial": "from a model of your own to a figure, in 15 minutes",
    "howto": "ten questions and their commands",
    "cluster": "sweeps on other machines: Dask, SLURM, Kubernetes",
    "reference": "commands, calls from Python, and files",
}


@click.command("docs")
@click.argument("page", required=False, metavar=f"[{'|'.join(_PAGES)}]")
def docs_command(page: str | None) -> None:
    """Show a page of documentation; without one, list them. They are Markdown, in accelsim/docs."""
    if page is None:
        for name, about in _PAGES.items():
            click.echo(f"accelsim docs {name:<10} {about}")
        return
    if page not in _PAGES:
        raise InputError(f"docs {page}: not known{did_you_mean(page, _PAGES)}; allowed: {', '.join(_PAGES)}")
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    from accelsim.cli.screen import console

    out = console()
    if not out.is_terminal:
        click.echo(text, nl=False)
        return
    from rich.markdown import Markdown

    out.print(Markdown(text))


def reference() -> str:
    """Return the page that is made of the help of commands, the docstrings of calls and the schemas of files."""
    return "\n".join([*_commands(), *_calls(), *_files()]) + "\n"


def _commands() -> Iterator[str]:
    from accelsim.cli import command_names, load_command

    yield "# Reference\n\n`accelsim COMMAND --help` says the same of a command.\n\n## Commands\n"
    for name in command_names():
        command = load_command(name)
        context = click.Context(command, info_name=name)
        arguments = " ".join(part for part in command.collect_usage_pieces(context) if part != "[OPTIONS]")
        yield f"### accelsim {name} {arguments}".rstrip() + f"\n\n{_paragraph(command.help)}\n"
        rows = [record for param in command.params if (record := param.get_help_record(context)) and record[1]]
        yield "\n".join([*(f"- `{option}`: {' '.join(text.split())}" for option, text in rows), ""])


def _calls() -> Iterator[str]:
    face = importlib.import_module("accelsim")
    yield "## Calls from Python\n"
    for name in face.__all__:
        home = face._HOMES[name]  # noqa: SLF001  of this package
        if "tracer" in home and not importlib.util.find_spec("torch"):
            continue
        found = getattr(importlib.import_module(home), name)
        if inspect.isfunction(found):
            yield f"### accelsim.{name}{_signature(found)}\n\n{_docstring(found)}\n"
    yield ""


def _signature(call: Callable[..., Any]) -> str:
    found = inspect.signature(call)
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    text = str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    return re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "...", text)


def _docstring(call: Callable[..., Any]) -> str:
    text = (inspect.getdoc(call) or "").partition(">>>")[0].strip()
    arguments = re.search(r"^Args:\n((?:    .*\n?)+)", text, re.MULTILINE)
    if arguments is None:
        return text
    entries = re.findall(r"^    (\w+): ((?:.*\n?)(?:     .*\n?)*)", arguments[1], re.MULTILINE)
    listed = "\n".join(f"- `{name}`: {' '.join(words.split())}" for name, words in entries)
    return text.replace(arguments[0].rstrip("\n"), listed)


def _files() -> Iterator[str]:
    from accelsim.cli.schema import schema_kinds, schema_of

    yield "## Files\n\n`accelsim schema KIND` prints the whole schema, for editors.\n"
    for kind in schema_kinds():
        schema = schema_of(kind)
        yield f"### {kind}\n"
        description = schema.get("description")
        if description:
            yield f"{_paragraph(description)}\n"
        needed = schema.get("required", [])
        for name, entry in schema.get("properties", {}).items():
            words = " ".join(entry.get("description", "").split())
            yield f"- `{name}`{'' if name in needed else ' (optional)'}{': ' if words else ''}{words}"
        yield ""


def _paragraph(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text or "").split("\n\n"))


if __name__ == "__main__":
    (FOLDER / "reference.md").write_text(reference(), encoding="utf-8")
