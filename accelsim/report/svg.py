"""Figures inside a page: an SVG file of matplotlib as an element that shares its page with others, and with readers."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from accelsim.base.markup import Html, element, joined

__all__ = ["inline_svg"]

_DROPPED = ("metadata", "style")  # who drew it, and rules that would hold for the whole page, which has its own
_REFERENCE = re.compile(r"(url\(#|href=\"#)([^)\"]+)")
_NUMBER = re.compile(r"-?\d+\.\d+")
_FONT = re.compile(r"font-family:[^;]*;?")
_HREF = "{http://www.w3.org/1999/xlink}href"


def inline_svg(text: str, prefix: str, label: str) -> Html:
    """Return a figure as an element: one image, called `label`, to those who do not see it.

    Names inside begin with `prefix`; what is not referred to loses its name, and coordinates keep a hundredth of a
    point. Fonts are those of the page.
    """
    names = {name: f"{prefix}-{index}" for index, (_, name) in enumerate(dict.fromkeys(_REFERENCE.findall(text)))}
    root = ElementTree.fromstring(text)
    return element("svg", *_children(root, names), viewBox=root.get("viewBox"), role="img", aria_label=label)


def _children(node: ElementTree.Element, names: dict[str, str]) -> Iterator[Html]:
    for child in node:
        tag = _local(child.tag)
        if tag in _DROPPED:
            continue
        attributes = dict(_attributes(child, names))
        inside = joined(_children(child, names))
        if tag in {"g", "defs"} and not inside:
            continue
        if tag == "g" and not attributes:
            yield inside
        else:
            yield element(tag, (child.text or "").strip(), inside, **attributes)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _attributes(node: ElementTree.Element, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if key == "id":
            if value in names:
                yield "id", names[value]
        elif key == _HREF:
            yield "href", f"#{names[value[1:]]}" if value.startswith("#") else "".join(value.split())
        elif key == "style":
            written = _FONT.sub("", value.replace(": ", ":").replace("; ", ";"))
            yield "style", _renamed(written, names)
        elif key == "d":
            yield "d", " ".join(_NUMBER.sub(_rounded, value).split())
        else:
            yield _local(key), _renamed(value, names)


def _renamed(value: str, names: dict[str, str]) -> str:
    return _REFERENCE.sub(lambda found: found[1] + names[found[2]], value)


def _rounded(found: re.Match[str]) -> str:
    short = f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short
