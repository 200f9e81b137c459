"""Reading a page as a strict reader: balanced tags, unique names, targets that exist, and tables cell by cell."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"br", "link", "meta"}
REFERRING = ("aria-labelledby", "aria-describedby", "for", "headers", "href", "clip-path")


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list["Element"] = field(default_factory=list)
    text: str = ""  # of it and all in it

    def all(self, tag: str) -> list["Element"]:
        """Every element of a tag in it, in the order of the page."""
        found = [self] if self.tag == tag else []
        return found + [inner for child in self.children for inner in child.all(tag)]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        assert len(attributes) == len(attrs), f"<{tag}>: an attribute stands twice"
        self.ids += [attributes["id"]] if "id" in attributes else []
        for name, value in attributes.items():
            self.references += re.findall(r"url\(#([^)]+)\)", value)
            if name in REFERRING and value.startswith("#"):
                self.references.append(value[1:])
            elif name in REFERRING and name.startswith(("aria-", "for", "headers")):
                self.references += value.split()
        element = Element(tag, attributes)
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/> closes itself")

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> where <{self.open[-1].tag}> is open"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def read_page(text: str) -> Element:
    """Return the page; fails where it is not well formed, or a name stands twice or is missing."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].tag}> stays open"
    assert len(set(reader.ids)) == len(reader.ids), "an id stands twice"
    assert set(reader.references) <= set(reader.ids), set(reader.references) - set(reader.ids)
    return reader.open[0]


def table_called(page: Element, beginning: str) -> list[list[Element]]:
    """The cells of the table whose caption begins so, row by row, the head first."""
    (table,) = [one for one in page.all("table") if one.all("caption")[0].text.startswith(beginning)]
    return [row.all("th") + row.all("td") if row.all("td") else row.all("th") for row in table.all("tr")]
