"""Writing the YAML files that `accelsim.hardware.sourced` reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelsim.base.files import Plain

__all__ = ["SourcedValue", "sourced_text", "values_alone"]


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """A value with its source, confidence (one of `accelsim.hardware.sourced.CONFIDENCES`) and plausible range."""

    value: Any
    source: str
    confidence: str
    low: float | None = None
    high: float | None = None


def sourced_text(comment: str, plain: Mapping[str, Plain], values: Mapping[str, SourcedValue]) -> str:
    """Return the text of a file: `plain` keys as they are, then a section of `values` for each first part
    of a dotted path.

    >>> width = SourcedValue(3.5, "by eye", "measured")
    >>> print(sourced_text("A box.", {"name": "box"}, {"size.width_mm": width}), end="")
    # A box.
    name: "box"
    <BLANKLINE>
    size:
      width_mm: {value: 3.5, source: "by eye", confidence: measured}
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"{key}: {_scalar(value)}" for key, value in plain.items()]
    sections = list(dict.fromkeys(path.rpartition(".")[0] for path in values))
    for section in sections:
        lines += ["", *([f"{section}:"] if section else [])]
        for path, item in values.items():
            if path.rpartition(".")[0] == section:
                indent = "  " if section else ""
                lines.append(
                    f"{indent}{path.rpartition('.')[2]}: {{value: {_scalar(item.value)},"
                    f" source: {_scalar(item.source)}, confidence: {item.confidence}{_ends(item)}}}"
                )
    return "\n".join(lines) + "\n"


def values_alone(plain: Mapping[str, Plain], values: Mapping[str, SourcedValue]) -> dict[str, Plain]:
    """Return the same as plain nested data, to be validated."""
    data: dict[str, Any] = dict(plain)
    for path, item in values.items():
        section, _, key = path.rpartition(".")
        (data.setdefault(section, {}) if section else data)[key] = item.value
    return data


def _ends(item: SourcedValue) -> str:
    return "".join(
        f", {end}: {_scalar(limit)}" for end, limit in (("low", item.low), ("high", item.high)) if limit is not None
    )


def _scalar(value: Plain) -> str:
    """JSON is YAML, but for numbers such as 1e-05, which YAML wants with a point."""
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and "e" in text and "." not in text:
        return text.replace("e", ".0e")
    return text
