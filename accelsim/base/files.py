"""Reading and writing files: strict parsing, every error of a file at once, atomic writes, packaged data."""

import contextlib
import gzip
import json
import os
import secrets
import sys
import tempfile
import typing
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import GenericAlias
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from accelsim.base.carrying import content_of, is_carried
from accelsim.base.characters import one_line, refuse_breaks, refuse_control, refuse_control_escapes
from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.overwriting import note_input, refuse_inputs

__all__ = [
    "FileModel",
    "Plain",
    "Scalar",
    "Value",
    "check_format",
    "errors_of",
    "form_of",
    "make_form",
    "packaged_names",
    "packaged_path",
    "parse_json",
    "read_text",
    "replacing",
    "replacing_folder",
    "several",
    "shipped_or_file",
    "too_long",
    "validate",
    "write_atomically",
    "write_bytes_atomically",
]

_SHOWN_ERRORS = 20
Scalar = bool | int | float | str | None
"""A single value."""

Plain = typing.Union[None, bool, int, float, str, Sequence["Plain"], Mapping[str, "Plain"]]  # noqa: UP007
"""Data as JSON and YAML have it."""

Value = typing.Union[Scalar, tuple["Value", ...]]  # noqa: UP007
"""A single value, or a tuple of values."""

Model = typing.TypeVar("Model", bound=BaseModel)


class FileModel(BaseModel):
    """Base of everything read from a file: immutable, unknown keys refused, no silent type conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def form_of(values: type) -> type[FileModel]:
    """Return what a dataclass looks like in a file: an object of its fields, all of them needed."""
    return make_form(values.__name__, typing.get_type_hints(values))


def make_form(name: str, hints: Mapping[str, Any]) -> type[FileModel]:
    """Return what an object of fields of these types looks like in a file; all of them are needed."""
    needed: dict[str, Any] = {field: (hint, ...) for field, hint in hints.items()}
    return create_model(name, __base__=FileModel, **needed)


def several(form: type[FileModel]) -> GenericAlias:
    """Return the type of a list of such objects."""
    return GenericAlias(tuple, (form, ...))


def read_text(path: Path, *, goes_on: bool = False) -> str:
    """Return the text of `path`, unpacked when it ends in ``.gz`` and without a byte order mark.

    `goes_on`: the command goes on with this file, which it writes again.

    Raises `InputError` when it cannot be read.
    """
    if not goes_on:
        note_input(path)
    try:
        raw = content_of(path)
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory, a file is needed") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged gzip file ({error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file (UTF-8 expected)") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    refuse_control(text, str(path))
    return text


def parse_json(text: str, source: str) -> Plain:
    """Parse JSON; duplicate keys, NaN and truncated text raise `InputError` naming `source` and the line."""

    def unique(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated = next(key for index, key in enumerate(keys) if key in keys[:index])
            raise InputError(f"{source}: key '{one_line(repeated)}' stands twice in one object")
        for key in found:
            if not key.isprintable():
                refuse_breaks(key, source)
        return found

    def no_constant(name: str) -> None:
        raise InputError(f"{source}: {name} is not a number that can be used")

    refuse_control_escapes(text, source)
    try:
        data: Plain = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        ends = " (the file ends there: truncated?)" if at_end else ""
        raise InputError(f"{source}: not valid JSON: {error.msg.removesuffix(' at')} at {where}{ends}") from None
    except RecursionError:
        raise InputError(f"{source}: not valid JSON: nested too deeply") from None
    except ValueError:  # Python reads no number of more digits than this
        raise InputError(f"{source}: {too_long()}") from None
    return data


def too_long() -> str:
    """Say of a number that it has more digits than can be read."""
    return f"holds a whole number of more than {sys.get_int_max_str_digits():,} digits"


def check_format(data: Plain, source: str, known: Mapping[str, str]) -> str:
    """Return the `format` of plain data, one of `known`, which says what command writes each.

    Raises `InputError` for another, and for a file of an earlier version that says how to make it again.
    """
    found = data.get("format") if isinstance(data, dict) else None
    if found in known:
        return str(found)
    stem, slash, number = str(found).partition("/")
    current = next((name for name in known if slash and name.startswith(f"{stem}/")), None)
    if current is not None and number.isdigit() and int(number) < int(current.rpartition("/")[2]):
        raise InputError(
            f"{source}: {found} is of an earlier version, which did not hold the design that it rests on; make it again"
            f" with this one (accelsim {known[current]}), which writes {current}"
        )
    hint = did_you_mean(str(found), known)
    raise InputError(f"{source}: format: got {json.dumps(found)}{hint}; allowed: {', '.join(known)}")


def validate(
    model: type[Model], data: Plain, source: str, *, text: str | None = None, lines: Mapping[str, int] | None = None
) -> Model:
    """Build `model` from plain `data`; one `InputError` lists every error with its path in the file.

    `text` is the JSON that `data` was parsed from, where there is one, which saves writing it again; `lines` maps
    dotted paths to line numbers where the format has them (YAML).
    """
    try:
        return model.model_validate_json(json.dumps(data) if text is None else text)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    _check_kind(model, data, source)
    inside = {item["loc"][:depth] for item in errors for depth in range(1, len(item["loc"]))}
    genuine = [item for item in errors if item["type"] != "too_short" or item["loc"] not in inside]
    problems = list(dict.fromkeys(_describe(model, data, dict(item)) for item in genuine))
    raise errors_of(source, [f"{source}{_line_of(path, lines)}: {one_line(text)}" for path, text in problems])


def _check_kind(model: type[BaseModel], data: Plain, source: str) -> None:
    """Raise one `InputError` for a file of ours of another kind, of which every key would be an error."""
    field = model.model_fields.get("format")
    allowed = [str(name) for name in typing.get_args(field.annotation)] if field else []
    found = data.get("format") if isinstance(data, dict) else None
    kinds = {name.partition("/")[0] for name in allowed}
    if isinstance(found, str) and found.startswith("accelsim-") and kinds and found.partition("/")[0] not in kinds:
        raise InputError(f"{source}: is a file of another kind: format {found}; {' or '.join(allowed)} is needed")


def errors_of(source: str, lines: Sequence[str]) -> InputError:
    """Return one `InputError` with a line per error of the file `source`, the first twenty of them."""
    more = [f"{source}: and {len(lines) - _SHOWN_ERRORS} more errors"] if len(lines) > _SHOWN_ERRORS else []
    return InputError("\n".join([*lines[:_SHOWN_ERRORS], *more]))


def _line_of(path: str, lines: Mapping[str, int] | None) -> str:
    while lines and path:
        if path in lines:
            return f":{lines[path]}"
        path = path.rpartition(".")[0]
    return ""


def _describe(model: type[BaseModel], data: Plain, error: dict[str, Any]) -> tuple[str, str]:
    kind, context = error["type"], error.get("ctx", {})
    location = list(error["loc"])
    if kind == "union_tag_invalid":
        location.append(context["discriminator"].strip("'"))
    path, owner, got = _walk(data, location)
    shown = f"{path}{owner}" if path else "top level"
    if kind == "missing":
        return path, f"{shown}: missing"
    if kind == "extra_forbidden":
        legal = _legal_names(model, location[:-1])
        return path, f"{shown}: unknown key{did_you_mean(str(location[-1]), legal)}; allowed: {', '.join(legal)}"
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        hint = did_you_mean(context["tag"], tags)
        return path, f"{shown}: '{context['tag']}' is not known{hint}; allowed: {', '.join(tags)}"
    if kind == "union_tag_not_found":
        return path, f"{shown}: key {context['discriminator']} is missing"
    if kind == "literal_error":
        legal = [word.strip(" '") for word in context["expected"].replace(" or ", ", ").split(",")]
        hint = did_you_mean(got, legal) if isinstance(got, str) else ""
        return path, f"{shown}: got {_short(got)}{hint}; allowed: {', '.join(legal)}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message.replace("Input should be", "should be")
    return path, f"{shown}: got {_short(got)}; {message}" if not isinstance(got, dict | list) else f"{shown}: {message}"


def _short(value: Plain) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _walk(data: Plain, location: Sequence[str | int]) -> tuple[str, str, Plain]:
    """Follow a pydantic location through `data`: the dotted path, the name of the entry around it, the value found."""
    path, owner, here = "", "", data
    for depth, part in enumerate(location):
        last = depth == len(location) - 1
        if isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if isinstance(here, list) and part < len(here) else None
            if isinstance(here, dict) and isinstance(here.get("name"), str):
                owner = f" (in '{here['name']}')"
        elif isinstance(here, dict) and part != here.get("kind") and (part in here or last):
            path += f".{part}" if path else part
            here = here.get(part)
        # what is left is the tag of a union, which is not part of the file
    return path, owner, here


def _legal_names(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    candidates = [model]
    for part in location:
        if not isinstance(part, str):
            continue
        found = [
            inner
            for outer in candidates
            if part in outer.model_fields
            for inner in _models_in(outer.model_fields[part].annotation)
        ]
        tagged = [outer for outer in candidates if part in _tags(outer)]
        candidates = found or tagged or candidates
    return list(
        dict.fromkeys(field.alias or name for candidate in candidates for name, field in candidate.model_fields.items())
    )


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _tags(model: type[BaseModel]) -> tuple[Scalar, ...]:
    kind = model.model_fields.get("kind")
    return typing.get_args(kind.annotation) if kind else ()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, to be written; it takes the place of `path` where nothing was raised.

    Raises `InputError` when it cannot be written, and where it is an input of the command.
    """
    refuse_inputs(path)
    try:
        temporary = _new_file_beside(path)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def _new_file_beside(path: Path) -> Path:
    """Make an empty file beside `path`, with the permissions that files get here: to ask for those is to change them
    for a moment, for all threads."""
    while True:
        found = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(found, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return found


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, to be filled; it takes the place of `folder` where nothing was raised.

    The old folder goes with all that is in it, and stays as it was where anything was raised. Raises `InputError` when
    it cannot be written.
    """
    folder = folder.absolute()
    refuse_inputs(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
            filled, old = Path(beside, "new"), Path(beside, "old")
            filled.mkdir()
            yield filled
            if folder.exists():
                folder.replace(old)
            try:
                filled.replace(folder)
            except BaseException:
                if old.exists() and not folder.exists():
                    old.replace(folder)
                raise
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to a temporary name beside `path`, then rename: a reader sees the old file or the new, never half.

    A path ending in ``.gz`` is packed, byte-identical from run to run. Raises `InputError` when it cannot be written.
    """
    payload = text.encode("utf-8")
    write_bytes_atomically(path, gzip.compress(payload, mtime=0) if path.suffix == ".gz" else payload)


def write_bytes_atomically(path: Path, payload: bytes) -> None:
    """Write `payload` as `write_atomically` does, as it is."""
    with replacing(path) as temporary:
        temporary.write_bytes(payload)


def packaged_path(folder: str) -> Path:
    """Return the folder of shipped files (``hw_configs``, ``workloads``): inside the wheel, else beside the sources."""
    package = Path(__file__).parents[1]
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


def packaged_names(folder: str, suffixes: Sequence[str]) -> dict[str, Path]:
    """Return the shipped files directly in `folder` by name without suffix, in alphabetical order."""
    return {
        path.name.removesuffix(suffix): path
        for path in sorted(packaged_path(folder).iterdir())
        for suffix in suffixes
        if path.name.endswith(suffix)
    }


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is too long, a folder without permission
        raise InputError(f"{one_line(str(path)[:200])}: cannot be read: {error.strerror or error}") from None


def shipped_or_file(
    name_or_path: str | Path, shipped: Mapping[str, Path], what: str, *, suffixes: Sequence[str] = (), listed: str = ""
) -> Path:
    """Return the path of a shipped file by its name, or the path of a file.

    A path with one of `suffixes` need not exist: whoever reads it says so. Raises `InputError` with the nearest name
    for anything else; `what` is what it calls the files, `listed` which it shows, by default all.
    """
    text = str(name_or_path)
    path = shipped.get(text) or Path(name_or_path)
    if text not in shipped and not _exists(path) and not is_carried(path) and path.suffix not in suffixes:
        raise InputError(
            f"{what} '{one_line(text)}': neither a file nor a shipped {what}{did_you_mean(text, shipped)};"
            f" shipped: {listed or ', '.join(shipped)}"
        )
    return path
