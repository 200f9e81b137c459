"""Designs and energy tables inside other files: all their values with sources, and what was changed of them.

A stored model is an object of its `name`, `description`, `overrides` (each path that was changed, with the value of the
`base` and the `value` now) and `values` (each path with its value and, where they are known, source, confidence and
plausible range).
"""

from typing import Any, Literal, TypeVar, get_args

from pydantic import Field

from accelsim.base.errors import did_you_mean
from accelsim.base.files import FileModel, Plain, Value, errors_of, validate
from accelsim.hardware.sourced import CONFIDENCES, Override, Provenance, SourcedModel, leaf_paths

__all__ = ["StoredModel", "restored", "stored"]

Model = TypeVar("Model", bound=SourcedModel)


class StoredChange(FileModel):
    """A value that was changed: what it was, and what it is."""

    base: Any
    value: Any


class StoredValue(FileModel):
    """A value with what is known of it; a choice that needs no source has none."""

    value: Any
    source: str | None = None
    confidence: Literal[CONFIDENCES] | None = None  # type: ignore[valid-type]  # the names themselves
    low: int | float | None = None
    high: int | float | None = None


class StoredModel(FileModel):
    """A design or energy table as it stands in another file."""

    name: str = Field(description="of the file that the values are from")
    description: str
    overrides: dict[str, StoredChange] = Field(description="values that differ from those of that file, by path")
    values: dict[str, StoredValue] = Field(description="all values, by path")


def stored(model: SourcedModel, *, sources: bool = True) -> dict[str, Plain]:
    """Return a model as plain data, see `StoredModel`, with or without `sources`."""
    data = model.model_dump(mode="json")
    origins = {origin.path: origin for origin in model.provenance} if sources else {}
    values = {}
    for path in leaf_paths(type(model)):
        origin = origins.get(path)
        values[path] = {"value": _at(data, path)}
        if origin is not None:
            values[path] |= {"source": origin.source, "confidence": origin.confidence}
            values[path] |= {end: limit for end in ("low", "high") if (limit := getattr(origin, end)) is not None}
    return {
        "name": data["name"],
        "description": data["description"],
        "overrides": {
            item.path: {"base": _plain(item.before), "value": _at(data, item.path)} for item in model.overrides
        },
        "values": values,
    }


def restored(kind: type[Model], data: StoredModel, source: str) -> Model:
    """Return the model of what `stored` made of it. Raises `InputError` that lists every error with its path."""
    legal, where = leaf_paths(kind), f"{source}.values"
    problems = [f"{where}.{path}: missing" for path in legal if path not in data.values]
    problems += [
        f"{where}.{path}: no such field{did_you_mean(path, legal)}" for path in data.values if path not in legal
    ]
    for path, change in data.overrides.items():
        if path not in data.values:
            problems.append(f"{source}.overrides.{path}: no such value")
        elif change.value != data.values[path].value:
            problems.append(
                f"{source}.overrides.{path}.value: got {change.value!r}; the value is {data.values[path].value!r}"
            )
    if problems:
        raise errors_of(source, problems)
    (form,) = get_args(kind.model_fields["format"].annotation)
    nested: dict[str, Any] = {"format": form, "name": data.name, "description": data.description}
    for path, entry in data.values.items():
        *sections, last = path.split(".")
        here = nested
        for section in sections:
            here = here.setdefault(section, {})
        here[last] = entry.value
    model = validate(kind, nested, where)
    known = [
        Provenance(path=path, source=entry.source, confidence=str(entry.confidence), low=entry.low, high=entry.high)
        for path, entry in data.values.items()
        if entry.source is not None
    ]
    changes = [Override(path=path, before=_frozen(change.base), origin=None) for path, change in data.overrides.items()]
    return model.model_copy(update={"provenance": tuple(known), "overrides": tuple(changes)})


def _at(data: dict[str, Any], path: str) -> Plain:
    here: Any = data
    for name in path.split("."):
        here = here[name]
    found: Plain = here
    return found


def _plain(value: Value) -> Plain:
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
