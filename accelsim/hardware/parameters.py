"""What there is to change in a design: every value by its path, what it can be, and what it means."""

from dataclasses import dataclass

from pydantic.json_schema import JsonSchemaValue

from accelsim.hardware.design import Design
from accelsim.hardware.sourced import leaf_paths, text_of, value_at

__all__ = ["DesignValue", "parameters_of"]

_UNITS = {
    "_elements_per_cycle": "elements/cycle",
    "_gb_per_s": "10^9 byte/s",
    "_gb": "10^9 byte",
    "_bits_per_value": "bit",
    "_cycles": "cycles",
    "_bytes": "byte",
    "_bits": "bit",
    "_hz": "Hz",
}
"""Units by the endings of names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignValue:
    """A value of a design as ``--set`` takes it, what it can be, its unit and meaning, and its source in words."""

    path: str
    value: str
    allowed: str
    unit: str
    meaning: str
    source: str


def parameters_of(design: Design) -> tuple[DesignValue, ...]:
    """Return every value of a design in the order of its file."""
    schema = Design.model_json_schema()
    origins = {origin.path: origin for origin in design.provenance}
    found = []
    for path in leaf_paths(Design):
        entry = _entry(schema, path)
        origin = origins.get(path)
        source = "a choice" if origin is None else f"{origin.confidence}: {origin.source}"
        if origin is not None and (origin.low, origin.high) != (None, None):
            low, high = ("?" if end is None else f"{end:g}" for end in (origin.low, origin.high))
            source += f" (plausible: {low} to {high})"
        found.append(
            DesignValue(
                path=path,
                value=text_of(value_at(design, path)),
                allowed=_allowed(entry),
                unit=next((unit for ending, unit in _UNITS.items() if path.endswith(ending)), ""),
                meaning=entry["description"],
                source=source,
            )
        )
    return tuple(found)


def _entry(schema: JsonSchemaValue, path: str) -> JsonSchemaValue:
    """What the JSON Schema of a design says of the value at a path."""
    here = schema
    for name in path.split("."):
        here = here["properties"][name]
        if "$ref" in here:
            here = schema["$defs"][here["$ref"].rpartition("/")[2]]
    return here


def _allowed(entry: JsonSchemaValue) -> str:
    """What a value can be, in words."""
    if "anyOf" in entry:
        return " or ".join(map(_allowed, entry["anyOf"]))
    if "enum" in entry:
        return ", ".join(entry["enum"])
    if "const" in entry:
        return str(entry["const"])
    kind = entry["type"]
    if kind == "array":
        items = entry["items"]
        return f"list of {_allowed(items) if 'enum' in items else 'N:M'}"
    if kind in {"integer", "number"}:
        least = f"above {entry['exclusiveMinimum']:g}" if "exclusiveMinimum" in entry else f"{entry['minimum']}"
        return f"{least} to {entry['maximum']:.7g}" if "maximum" in entry else f"from {least}"
    return {"boolean": "true, false", "null": "null", "string": "text"}[kind]
