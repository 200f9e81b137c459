"""YAML files in which every physical value states its origin.

A value is written ``rows: {value: 32, source: "...", confidence: assumption}``, optionally with ``low`` and ``high``.
`load_sourced` checks that every value of a sourced section has its origin, separates values from origins, and
validates the values; `override` changes single values by dotted path.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import FileModel, read_text, validate

__all__ = [
    "CONFIDENCES",
    "Provenance",
    "SourcedModel",
    "leaf_paths",
    "load_sourced",
    "override",
    "parse_yaml",
    "read_scalar",
    "sourced_schema",
]

# quoted: a third party's account of a paper, data sheet or measurement that we have not read ourselves
CONFIDENCES = ("paper", "datasheet", "measured", "quoted", "derived", "fitted", "recalled", "assumption")
_LEAF_KEYS = ("value", "source", "confidence", "low", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a value comes from: dotted path, source, confidence (one of `CONFIDENCES`) and plausible range."""

    path: str
    source: str
    confidence: str
    low: float | None = None
    high: float | None = None


class SourcedModel(FileModel):
    """A file whose sections state the origin of each value; `plain` names the fields that need none."""

    plain: ClassVar[tuple[str, ...]] = ("format", "name", "description")
    provenance: tuple[Provenance, ...] = Field((), exclude=True)


Sourced = TypeVar("Sourced", bound=SourcedModel)


def load_sourced(model: type[Sourced], path: Path) -> Sourced:
    """Read `path` as `model`. Raises `InputError` that lists every error with its line and path."""
    source = str(path)
    data, lines = parse_yaml(read_text(path), source)
    if not isinstance(data, dict):
        raise InputError(f"{source}: a mapping of keys to values is needed")
    problems: list[str] = []
    origins: list[Provenance] = []
    values = _split(model, data, "", lines, source, problems, origins)
    try:
        built = validate(model, values, source, lines=lines)
    except InputError as error:
        problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return built.model_copy(update={"provenance": tuple(origins)})


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """YAML without its numbers to the base of sixty: 2:8 is a pattern and 10:50:10 a range, not 128 and 38,410."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        tag: str = super().resolve(kind, value, implicit)
        return "tag:yaml.org,2002:str" if value and ":" in value and tag.endswith((":int", ":float")) else tag


def parse_yaml(text: str, source: str) -> tuple[Any, dict[str, int]]:
    """Plain data and the line of each dotted path; duplicate keys are refused."""
    loader = _Loader(text)
    lines: dict[str, int] = {}

    def build(node: yaml.Node, path: str) -> Any:
        lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            result: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = str(loader.construct_object(key_node))
                if key in result:
                    raise InputError(f"{source}:{key_node.start_mark.line + 1}: key '{key}' stands twice")
                result[key] = build(value_node, f"{path}.{key}" if path else key)
            return result
        if isinstance(node, yaml.SequenceNode):
            return [build(item, f"{path}[{i}]") for i, item in enumerate(node.value)]
        return loader.construct_object(node)

    try:
        root = loader.get_single_node()
        return (build(root, "") if root else None), lines
    except yaml.YAMLError as error:
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()


def _section(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of a section, also of one that may be left out; None for a value."""
    annotation = model.model_fields[key].annotation if key in model.model_fields else None
    choices = [item for item in get_args(annotation) if item is not NoneType] or [annotation]
    found = choices[0] if len(choices) == 1 else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _split(
    model: type[BaseModel],
    data: Mapping[str, Any],
    prefix: str,
    lines: Mapping[str, int],
    source: str,
    problems: list[str],
    origins: list[Provenance],
) -> dict[str, Any]:
    """Strip ``{value, source, confidence}`` down to values, collecting origins and what is wrong with them."""
    plain = getattr(model, "plain", ())
    values: dict[str, Any] = {}
    for key, entry in data.items():
        path = f"{prefix}{key}"
        where = f"{source}:{lines.get(path, 1)}: {path}"
        section = _section(model, key)
        if key == "provenance":
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
            origins.append(
                Provenance(
                    path=path,
                    source=str(entry.get("source")),
                    confidence=str(entry.get("confidence")),
                    low=entry.get("low"),
                    high=entry.get("high"),
                )
            )
    return values


def _leaf_problems(entry: Mapping[str, Any]) -> Iterator[str]:
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
        if key in entry and (isinstance(entry[key], bool) or not isinstance(entry[key], int | float)):
            yield f"{key}: got {entry[key]!r}; a number is needed"


@cache
def leaf_paths(model: type[BaseModel], prefix: str = "") -> tuple[str, ...]:
    """Dotted paths of all values of a model."""
    found: list[str] = []
    for key in model.model_fields:
        section = _section(model, key)
        if section is not None:
            found += leaf_paths(section, f"{prefix}{key}.")
        elif key not in {"provenance", "format", "name", "description"}:
            found.append(f"{prefix}{key}")
    return tuple(found)


def override(value: Sourced, changes: Mapping[str, str], *, origin: str = "--set") -> Sourced:
    """Return `value` with the fields at dotted paths replaced by the given texts, read as YAML scalars or lists.

    Raises `InputError` with the nearest path for an unknown one, or what the field allows.
    """
    model = type(value)
    data = value.model_dump(mode="json")
    legal = leaf_paths(model)
    for path, text in changes.items():
        if path not in legal:
            near = did_you_mean(path, legal) or did_you_mean(path.split(".")[-1], legal)
            inside = [name for name in legal if name.startswith(f"{path.split('.')[0]}.")]
            raise InputError(f"{origin} {path}: no such field{near}; allowed: {', '.join(inside or legal)}")
        *sections, last = path.split(".")
        here = data
        for section in sections:
            here = here[section]
        here[last] = read_scalar(text)
    built = validate(model, data, origin)
    kept = [item for item in value.provenance if item.path not in changes]
    new = [
        Provenance(path=path, source=f"{origin} {path}={text}", confidence="assumption")
        for path, text in changes.items()
    ]
    return built.model_copy(update={"provenance": (*kept, *new)})


_PLAIN_NUMBER = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")  # as YAML reads it, without the time that takes


def read_scalar(text: str) -> Any:
    """Return what `text` is in YAML: a number (also ``1e6``), truth value, list or else the text itself."""
    if _PLAIN_NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    try:
        return float(text) if "e" in text.lower() else yaml.load(text, _Loader)
    except (ValueError, yaml.YAMLError):
        try:
            return yaml.load(text, _Loader)
        except yaml.YAMLError:
            return text


def sourced_schema(model: type[SourcedModel]) -> dict[str, Any]:
    """JSON Schema of the file form of `model`: every value of a sourced section with its source and confidence."""
    schema = model.model_json_schema()
    schema["properties"].pop("provenance", None)
    definitions = {name: body for name, body in schema.get("$defs", {}).items() if name != "Provenance"}
    schema["$defs"] = definitions
    plain_sections = {_section(model, key).__name__ for key in model.plain if _section(model, key)}  # type: ignore[union-attr]
    for name, body in [("", schema), *definitions.items()]:
        if name in plain_sections:
            continue
        for key, inner in body.get("properties", {}).items():
            if "$ref" not in inner and not (name == "" and key in model.plain):
                body["properties"][key] = _leaf_schema(inner)
    return schema


def _leaf_schema(inner: dict[str, Any]) -> dict[str, Any]:
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
