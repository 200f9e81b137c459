"""YAML files in which every physical value states its origin.

A value is written ``rows: {value: 32, source: "...", confidence: assumption}``, optionally with ``low`` and ``high``.
`load_sourced` checks that every value of a sourced section has its origin, separates values from origins, and
validates the values; `override` changes single values by dotted path. A file may start from another, its ``base``: it
gives the values that differ, plain ones too, whose source is that file.
"""

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaValue

from accelsim.base.carrying import is_carried
from accelsim.base.characters import one_line, refuse_breaks, refuse_control
from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import FileModel, Plain, read_text, too_long, validate

__all__ = [
    "CONFIDENCES",
    "Override",
    "Provenance",
    "SourcedModel",
    "at_end",
    "leaf_paths",
    "load_sourced",
    "override",
    "parse_yaml",
    "read_scalar",
    "sourced_schema",
    "text_of",
    "value_at",
]

# quoted: a third party's account of a paper, data sheet or measurement that we have not read ourselves
CONFIDENCES = ("paper", "datasheet", "measured", "quoted", "derived", "fitted", "recalled", "assumption")
_LONGEST_NAME = 255  # of a file
_ABOUT = ("provenance", "overrides")  # what is known of values, and no field of a file
_LEAF_KEYS = ("value", "source", "confidence", "low", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a value comes from: dotted path, source, confidence (one of `CONFIDENCES`) and plausible range."""

    path: str
    source: str
    confidence: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A value that was changed: its dotted path, what it was before, and where that came from (None: not known)."""

    path: str
    before: Any
    origin: Provenance | None = field(default=None, compare=False)


class SourcedModel(FileModel):
    """A file whose sections state the origin of each value; `plain` names the fields that need none.

    `overrides` are the values that differ from what the file of that name has.
    """

    plain: ClassVar[tuple[str, ...]] = ("format", "name", "description")
    provenance: tuple[Provenance, ...] = Field((), exclude=True)
    overrides: tuple[Override, ...] = Field((), exclude=True)


Sourced = TypeVar("Sourced", bound=SourcedModel)


def load_sourced(
    model: type[Sourced], path: Path, bases: Mapping[str, Path] | None = None, within: tuple[Path, ...] = ()
) -> Sourced:
    """Read `path` as `model`. Raises `InputError` that lists every error with its line and path.

    Where `bases` are given, the file may name one of them, or a file beside it, as its ``base``; `within` are the files
    that start from this one.
    """
    source = str(path)
    data, lines = parse_yaml(read_text(path), source)
    if not isinstance(data, dict):
        raise InputError(f"{source}: a mapping of keys to values is needed")
    if bases is not None and "base" in data:
        where = f"{source}:{lines['base']}: base"
        base = _load_base(model, path, data.pop("base"), bases, within, where)
        return _based(base, data, lines, source)
    problems: list[str] = []
    origins: list[Provenance] = []
    values = _split(model, data, "", lines, source, problems, origins)
    built = _validated(model, values, lines, source, problems)
    return built.model_copy(update={"provenance": tuple(origins)})


def _validated(
    model: type[Sourced], values: dict[str, Plain], lines: Mapping[str, int], source: str, problems: list[str]
) -> Sourced:
    """Return the model of these values, or raise what is wrong with them behind the other `problems`."""
    try:
        built = validate(model, values, source, lines=lines)
        if not problems:
            return built
    except InputError as error:
        problems.append(str(error))
    raise InputError("\n".join(problems))


def _load_base(
    model: type[Sourced], path: Path, name: Plain, bases: Mapping[str, Path], within: tuple[Path, ...], where: str
) -> Sourced:
    """Return what the file at `path` starts from: one of `bases` by its name, or a file beside it."""
    if not isinstance(name, str):
        raise InputError(f"{where}: got {name!r}; the name of a shipped file or of a file beside this one is needed")
    found, here = bases.get(name, path.parent / name[:_LONGEST_NAME]), path.resolve()
    if found.resolve() in (*within, here):
        raise InputError(f"{where}: '{name}' starts from this file itself")
    if len(name) > _LONGEST_NAME or (not found.is_file() and not is_carried(found)):
        hint = did_you_mean(name, bases)
        raise InputError(
            f"{where}: '{one_line(name[:_LONGEST_NAME])}': neither shipped nor a file beside this one{hint};"
            f" shipped: {', '.join(bases)}"
        )
    return load_sourced(model, found, bases, (*within, here))


def _based(base: Sourced, data: dict[str, Plain], lines: Mapping[str, int], source: str) -> Sourced:
    """Return `base` with the values in `data`; with a name of its own it is no longer a change of `base`."""
    about: dict[str, Plain] = {key: data.pop(key) for key in ("format", "name", "description") if key in data}
    problems: list[str] = []
    values: dict[str, Plain] = {}
    sources: dict[str, str | Provenance] = {}

    def place(path: str) -> str:
        return f"{source}:{lines.get(path, 1)}: {path}"

    for path, entry in _entries(data, leaf_paths(type(base)), "", problems, place):
        if isinstance(entry, dict) and "value" in entry:
            problems.extend(f"{place(path)}: {text}" for text in _leaf_problems(entry))
            values[path], sources[path] = entry["value"], _origin(path, entry)
        else:
            values[path], sources[path] = entry, source
    built = _validated(type(base), {**_replaced(base, values), **about}, lines, source, problems)
    changed = _changed(base, built, sources)
    return changed.model_copy(update={"overrides": ()}) if "name" in about else changed


def _entries(
    data: Mapping[str, Plain], legal: Sequence[str], prefix: str, problems: list[str], place: Callable[[str], str]
) -> Iterator[tuple[str, Plain]]:
    """Yield dotted paths of values and what stands there; sections may also be written as ``array.rows: 64``."""
    for key, entry in data.items():
        path = f"{prefix}{key}"
        if path in legal:
            yield path, entry
        elif isinstance(entry, dict) and any(name.startswith(f"{path}.") for name in legal):
            yield from _entries(entry, legal, f"{path}.", problems, place)
        else:
            problems.append(f"{place(path)}: {_no_such(path, legal)}")


def _origin(path: str, entry: Mapping[str, Any]) -> Provenance:
    return Provenance(
        path=path,
        source=str(entry.get("source")),
        confidence=str(entry.get("confidence")),
        low=entry.get("low"),
        high=entry.get("high"),
    )


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_NOT_DECIMAL = re.compile(r"[:_]|^[-+]?0[0-9xob]")
_TAG = "tag:yaml.org,2002:"
_TAGS = tuple(f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map"))


class _Loader(_SafeLoader):  # type: ignore[misc]
    """YAML whose numbers are decimal and whose texts are texts: 2:8 is a pattern and 10:50:10 a range, not 128 and
    38,410 to the base of 60, 010 and 1_6 are no 8 and 16, and 2024-01-01 is no date."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: tuple[bool, bool]) -> str:
        tag: str = super().resolve(kind, value, implicit)
        is_number = value is not None and tag.endswith((":int", ":float"))
        return f"{_TAG}str" if tag not in _TAGS or (is_number and _NOT_DECIMAL.search(str(value))) else tag


def parse_yaml(text: str, source: str) -> tuple[Plain, dict[str, int]]:
    """Plain data and the line of each dotted path.

    Raises `InputError` for keys that stand twice, and for what is not plain data: aliases, tags and keys that are no
    single values.
    """
    loader = _Loader(text)
    try:
        reading = _Reading(loader, source)
        root = loader.get_single_node()
        return (reading.value(root, "") if root else None), reading.lines
    except yaml.YAMLError as error:
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(f"{source}: not valid YAML: nested too deeply") from None
    finally:
        loader.dispose()


class _Reading:
    """Makes plain data of the nodes of a file, and remembers their `lines` by dotted path."""

    def __init__(self, loader: _Loader, source: str) -> None:
        self._loader, self._source = loader, source
        self._seen: set[int] = set()
        self.lines: dict[str, int] = {}

    def value(self, node: yaml.Node, path: str) -> Plain:
        """Return what a node holds."""
        self.lines[path] = node.start_mark.line + 1
        if id(node) in self._seen:
            raise self._error(node, "is used again by an alias (*), which is not read; write it out")
        self._seen.add(id(node))
        if node.tag not in _TAGS:
            raise self._error(node, f"tag {node.tag.replace(_TAG, '!!')} is not read; leave it out")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        return self._single(node)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Plain]:
        result: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            key = str(self._single(key_node))
            refuse_breaks(key, f"{self._source}:{key_node.start_mark.line + 1}")
            if key in result:
                raise self._error(key_node, f"key '{key}' stands twice")
            result[key] = self.value(value_node, f"{path}.{key}" if path else key)
        return result

    def _single(self, node: yaml.Node) -> Plain:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key is needed that is a single value")
        refuse_control(node.value, f"{self._source}:{node.start_mark.line + 1}", in_lines=False)
        try:
            value: Plain = self._loader.construct_object(node)
        except (ValueError, IndexError, KeyError):  # a tag that its text does not fit, or too many digits
            long = node.value.isdecimal()
            raise self._error(
                node, too_long() if long else f"'{one_line(node.value)}' is no {node.tag.removeprefix(_TAG)}"
            ) from None
        return value

    def _error(self, node: yaml.Node, problem: str) -> InputError:
        return InputError(f"{self._source}:{node.start_mark.line + 1}: {problem}")


def _section(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of a section, also of one that may be left out; None for a value."""
    annotation = model.model_fields[key].annotation if key in model.model_fields else None
    choices = [item for item in get_args(annotation) if item is not NoneType] or [annotation]
    found = choices[0] if len(choices) == 1 else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _split(
    model: type[BaseModel],
    data: Mapping[str, Plain],
    prefix: str,
    lines: Mapping[str, int],
    source: str,
    problems: list[str],
    origins: list[Provenance],
) -> dict[str, Plain]:
    """Strip ``{value, source, confidence}`` down to values, collecting origins and what is wrong with them."""
    plain = getattr(model, "plain", ())
    values: dict[str, Plain] = {}
    for key, entry in data.items():
        path = f"{prefix}{key}"
        where = f"{source}:{lines.get(path, 1)}: {path}"
        section = _section(model, key)
        if key in _ABOUT:
            problems.append(f"{where}: unknown key")
        elif section is not None and isinstance(entry, dict) and key not in plain:
            values[key] = _split(section, entry, f"{path}.", lines, source, problems, origins)
        elif key in plain or key not in model.model_fields:
            values[key] = entry
        elif not isinstance(entry, dict) or "value" not in entry:
            problems.append(f"{where}: got {entry!r}; write {{value: ..., source: ..., confidence: ...}}")
        else:
            values[key] = entry["value"]
            problems.extend(f"{where}: {text}" for text in _leaf_problems(entry))
            origins.append(_origin(path, entry))
    return values


def _leaf_problems(entry: Mapping[str, Plain]) -> Iterator[str]:
    for key in entry:
        if key not in _LEAF_KEYS:
            yield f"unknown key '{key}'{did_you_mean(str(key), _LEAF_KEYS)}; allowed: {', '.join(_LEAF_KEYS)}"
    source, confidence = entry.get("source"), entry.get("confidence")
    if not isinstance(source, str) or not source.strip():
        yield "source missing: say where the value comes from, or what the assumption rests on"
    if confidence not in CONFIDENCES:
        got = "confidence missing" if confidence is None else f"confidence: got {confidence!r}"
        yield f"{got}{did_you_mean(str(confidence), CONFIDENCES)}; allowed: {', '.join(CONFIDENCES)}"
    for key in ("low", "high"):
        end = entry.get(key, 0)
        if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
            yield f"{key}: got {end!r}; a number is needed"
            return
    low, value, high = (entry.get(key) for key in ("low", "value", "high"))
    if isinstance(value, int | float):
        if isinstance(low, int | float) and low > value:
            yield f"low: got {low!r}, which is above the value {value!r}"
        if isinstance(high, int | float) and high < value:
            yield f"high: got {high!r}, which is below the value {value!r}"


@cache
def leaf_paths(model: type[BaseModel], prefix: str = "") -> tuple[str, ...]:
    """Dotted paths of all values of a model."""
    found: list[str] = []
    for key in model.model_fields:
        section = _section(model, key)
        if section is not None:
            found += leaf_paths(section, f"{prefix}{key}.")
        elif key not in {*_ABOUT, "format", "name", "description"}:
            found.append(f"{prefix}{key}")
    return tuple(found)


def value_at(value: BaseModel, path: str) -> Any:
    """Return the value at a dotted path."""
    return attrgetter(path)(value)


def override(value: Sourced, changes: Mapping[str, Plain], *, origin: str = "--set") -> Sourced:
    """Return `value` with the fields at dotted paths replaced; texts are read as YAML scalars or lists.

    A value that is changed says so in its provenance, and stands in `overrides`; one that stays as it was does neither.
    Raises `InputError` with the nearest path for an unknown one, or what the field allows.
    """
    legal = leaf_paths(type(value))
    for path in changes:
        if path not in legal:
            raise InputError(f"{origin} {path}: {_no_such(path, legal)}")
    given = {path: read_scalar(new) if isinstance(new, str) else new for path, new in changes.items()}
    for path, new in given.items():
        if isinstance(value_at(value, path), tuple) and not isinstance(new, list | tuple):
            items = ", ".join(map(str.strip, str(new).split(",")))
            raise InputError(f"{origin} {path}={changes[path]}: a list is needed, as in '{path}=[{items}]'")
    built = validate(type(value), _replaced(value, given), origin)
    return _changed(value, built, {path: f"{origin} {path}={text_of(new)}" for path, new in changes.items()})


def at_end(value: Sourced, end: Literal["low", "high"]) -> Sourced:
    """Return `value` with every field at one end of its plausible range; those without one stay."""
    limits = {origin.path: getattr(origin, end) for origin in value.provenance}
    known = {path: limit for path, limit in limits.items() if limit is not None}
    return validate(type(value), _replaced(value, known), f"at the {end} ends")


def _no_such(path: str, legal: Sequence[str]) -> str:
    near = did_you_mean(path, legal) or did_you_mean(path.rsplit(".", maxsplit=1)[-1], legal)
    inside = [name for name in legal if name.startswith(f"{path.split('.', maxsplit=1)[0]}.")]
    return f"no such field{near}; allowed: {', '.join(inside or legal)}"


def _replaced(value: BaseModel, changes: Mapping[str, Plain]) -> dict[str, Plain]:
    """The plain data of `value` with the values at dotted paths replaced."""
    data = value.model_dump(mode="json")
    for path, new in changes.items():
        *sections, last = path.split(".")
        here = data
        for section in sections:
            here = here[section]
        here[last] = new
    return data


def _changed(old: Sourced, new: Sourced, sources: Mapping[str, str | Provenance]) -> Sourced:
    """Return `new` with what is known of the values of `old`, and of those at the paths of `sources`.

    A source in words is that of an assumption, and goes on to say what the value was before.
    """
    origins = {item.path: item for item in old.provenance}
    overrides = {item.path: item for item in old.overrides}
    for path, source in sources.items():
        before, now = value_at(old, path), value_at(new, path)
        if now == before and isinstance(source, str):
            continue
        known = overrides.setdefault(path, Override(path=path, before=before, origin=origins.get(path)))
        if isinstance(source, Provenance):
            origin: Provenance | None = source
        elif now == known.before:
            origin = known.origin
        else:
            text = f"{source} (was {text_of(known.before)})"
            origin = Provenance(path=path, source=text, confidence="assumption")
        if now == known.before:
            del overrides[path]
        if origin is not None:
            origins[path] = origin
        else:
            origins.pop(path, None)
    return new.model_copy(update={"provenance": tuple(origins.values()), "overrides": tuple(overrides.values())})


def text_of(value: Plain) -> str:
    """Return a value as `override` takes it as a text."""
    if isinstance(value, str):
        return value
    return repr(value) if isinstance(value, float) else json.dumps(value)


_PLAIN_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,99})(?:\.[0-9]+)?")  # as YAML reads it, without the time that takes


def read_scalar(text: str) -> Plain:
    """Return what `text` is in YAML: a number (also ``1e6``), truth value, list or else the text itself."""
    if _PLAIN_NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    with contextlib.suppress(ValueError):
        if "e" in text.lower():
            return float(text)
    with contextlib.suppress(InputError):
        return parse_yaml(text, "")[0]
    return text


def sourced_schema(model: type[SourcedModel]) -> JsonSchemaValue:
    """JSON Schema of the file form of `model`: every value of a sourced section with its source and confidence."""
    schema = model.model_json_schema()
    for name in _ABOUT:
        schema["properties"].pop(name, None)
    hidden = ("Provenance", "Override")
    definitions = {name: body for name, body in schema.get("$defs", {}).items() if name not in hidden}
    schema["$defs"] = definitions
    plain_sections = {_section(model, key).__name__ for key in model.plain if _section(model, key)}  # type: ignore[union-attr]
    for name, body in [("", schema), *definitions.items()]:
        if name in plain_sections:
            continue
        for key, inner in body.get("properties", {}).items():
            if "$ref" not in inner and not (name == "" and key in model.plain):
                body["properties"][key] = _leaf_schema(inner)
    return schema


def _leaf_schema(inner: JsonSchemaValue) -> JsonSchemaValue:
    number = {"type": "number"}
    return {
        "type": "object",
        "description": inner.pop("description", ""),
        "properties": {
            "value": inner,
            "source": {"type": "string", "minLength": 1},
            "confidence": {"enum": list(CONFIDENCES)},
            "low": number,
            "high": number,
        },
        "required": ["value", "source", "confidence"],
        "additionalProperties": False,
    }
