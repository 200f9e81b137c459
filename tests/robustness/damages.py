"""Ways to damage a file, each with what has to come of it, drawn from a seed.

`must_refuse`: no command may take the file for a good one. `must_equal`: every command says of it what it says of the
undamaged one. `free`: either is right, as a changed value may be legal, but nothing else is: no traceback.
"""

import copy
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from accelsim.hardware.sourced import parse_yaml

MUST_REFUSE, MUST_EQUAL, FREE = "must_refuse", "must_equal", "free"

HOSTILE = (
    "$x^{$", "\x1b[31mred\x1b[0m", "=1+1", "-1+1", "@x", "+x", "<b>&amp;", "a,b", 'a"b', "a\nb", "../up", "x" * 300,
    "x" * 5000, "", " ", "\u0000", "\ud800", "\u202egnp", "名前", "up[phase 0,0]", "{x}", "%s", "a/b", "\r", "_", "\\frac",
)  # fmt: skip
NUMBERS = (0, 1, 1.5, 10**6, 2**31, 2**63, 10**30, 1e300, 1e-300, -1e-300, 5e-324)
LONG_NUMBER = "9" * 5000


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged file: what was done, what has to come of it, and its bytes."""

    what: str
    expects: str
    content: bytes


Rule = Callable[[bytes, random.Random], Damage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """How a kind of file is damaged: rules, one of which is drawn."""

    rules: Sequence[Rule]


# bytes


def emptied(_content: bytes, _random: random.Random) -> Damage:
    """Nothing is left."""
    return Damage("emptied", MUST_REFUSE, b"")


def cut(expects: str) -> Rule:
    """Cut off anywhere before the last character that counts."""

    def rule(content: bytes, chance: random.Random) -> Damage:
        end = chance.randrange(1, max(2, len(content.rstrip()) - 1))
        return Damage(f"cut off at byte {end}", expects, content[:end])

    return rule


def flipped(content: bytes, chance: random.Random) -> Damage:
    """Some bits are others."""
    changed = bytearray(content)
    places = [chance.randrange(len(changed)) for _ in range(chance.choice((1, 1, 1, 3, 20)))]
    for place in places:
        changed[place] ^= 1 << chance.randrange(8)
    return Damage(f"bits flipped at {places[:4]}", FREE, bytes(changed))


def overwritten(content: bytes, chance: random.Random) -> Damage:
    """A stretch of bytes is noise."""
    place, length = chance.randrange(len(content)), chance.choice((1, 4, 64, 1000))
    noise = chance.randbytes(length)
    return Damage(f"{length} bytes of noise at {place}", FREE, content[:place] + noise + content[place + length :])


def no_text(content: bytes, chance: random.Random) -> Damage:
    """A byte that no UTF-8 holds."""
    place = chance.randrange(len(content))
    return Damage(f"byte 0xff at {place}", MUST_REFUSE, content[:place] + b"\xff" + content[place:])


def garbage_behind(content: bytes, chance: random.Random) -> Damage:
    """Something stands behind the end."""
    behind = chance.choice((b"x", b"{}", b"]", b"\x00", content))
    return Damage(f"{behind[:8]!r} behind the end", MUST_REFUSE, content + behind)


def marked(content: bytes, _chance: random.Random) -> Damage:
    """A byte order mark is in front."""
    return Damage("byte order mark", MUST_EQUAL, b"\xef\xbb\xbf" + content)


def of_windows(content: bytes, _chance: random.Random) -> Damage:
    """Lines end in CR LF."""
    return Damage("lines end in CR LF", MUST_EQUAL, content.replace(b"\n", b"\r\n"))


def spaced(content: bytes, _chance: random.Random) -> Damage:
    """Empty lines follow."""
    return Damage("empty lines behind", MUST_EQUAL, content + b"\n\n")


def line_changed(content: bytes, chance: random.Random) -> Damage:
    """A line is gone, stands twice or two are swapped."""
    lines = content.splitlines(keepends=True)
    place, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    what = chance.choice(("gone", "twice", "swapped"))
    if what == "gone":
        del lines[place]
    elif what == "twice":
        lines.insert(place, lines[place])
    else:
        lines[place], lines[other] = lines[other], lines[place]
    return Damage(f"line {place + 1} {what}", FREE, b"".join(lines))


# Trees, as of JSON and YAML


def paths_in(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in plain data, the root last."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_in(inner, (*path, key))
    yield path


def at(value: Any, path: Sequence[str | int]) -> Any:
    """What stands at a place."""
    for part in path:
        value = value[part]
    return value


def put(value: Any, path: Sequence[str | int], new: Any) -> Any:
    """Plain data with another value at a place."""
    if not path:
        return new
    changed = copy.deepcopy(value)
    at(changed, path[:-1])[path[-1]] = new
    return changed


def dotted(path: Sequence[str | int]) -> str:
    """A place as text."""
    return ".".join(map(str, path)) or "top level"


class Tree:
    """Rules for JSON or YAML; places whose dotted path matches `loose` may hold anything, `signed` numbers below zero.

    Of an `ordered` file the order of keys says something.
    """

    def __init__(
        self,
        read: Callable[[bytes], Any],
        write: Callable[[Any], bytes],
        *,
        loose: str = "$^",
        signed: str = "$^",
        ordered: bool = False,
    ) -> None:
        self.read, self.write, self.ordered = read, write, ordered
        self.loose, self.signed = re.compile(loose), re.compile(signed)

    def rules(self) -> tuple[Rule, ...]:
        """All rules."""
        return (
            self.other_type, self.other_type, self.negative, self.negative, self.other_number, self.other_number,
            self.no_number, self.long_number, self.unknown_key, self.dropped, self.dropped, self.hostile_text,
            self.hostile_text, self.hostile_key, self.nothing, self.item_changed, self.too_deep, self.written_again,
        )  # fmt: skip

    def _place(self, data: Any, chance: random.Random, kinds: type | tuple[type, ...]) -> tuple[str | int, ...]:
        """A place that holds one of `kinds`, a truth value being no number; the root where there is none."""
        found = [
            path
            for path in paths_in(data)
            if isinstance(at(data, path), kinds) and not isinstance(at(data, path), bool)
        ]
        by_shape: dict[str, list[tuple[str | int, ...]]] = {}
        for path in found:  # of a list with many equal items each field as often as one that stands alone
            by_shape.setdefault(re.sub(r"\.\d+", ".*", dotted(path)), []).append(path)
        return chance.choice(by_shape[chance.choice(sorted(by_shape))]) if found else ()

    def _made(self, what: str, expects: str, path: Sequence[str | int], data: Any, new: Any) -> Damage:
        place = dotted(path)
        expects = FREE if expects == MUST_REFUSE and self.loose.search(place) else expects
        return Damage(f"{place}: {what}", expects, self.write(put(data, path, new)))

    def _spliced(self, content: bytes, path: Sequence[str | int], text: str, what: str) -> Damage:
        """Raw text in place of a value."""
        marker = "SPLICED-MARKER"
        written = self.write(put(self.read(content), path, marker)).decode("utf-8", "surrogatepass")
        for quote in (f'"{marker}"', f"'{marker}'", marker):
            if quote in written:
                written = written.replace(quote, text, 1)
                break
        expects = FREE if self.loose.search(dotted(path)) else MUST_REFUSE
        return Damage(f"{dotted(path)}: {what}", expects, written.encode("utf-8", "surrogatepass"))

    def other_type(self, content: bytes, chance: random.Random) -> Damage:
        """A value of another type."""
        data = self.read(content)
        path = self._place(data, chance, (int, float, str, list, dict))
        old = at(data, path)
        new = (
            chance.choice(([], 7)) if isinstance(old, dict)
            else chance.choice(({}, True)) if isinstance(old, list | str)
            else chance.choice(("many", {}, [1, 2, 3]))
        )  # fmt: skip
        return self._made(f"{type(old).__name__} replaced by {new!r}", MUST_REFUSE, path, data, new)

    def negative(self, content: bytes, chance: random.Random) -> Damage:
        """A number below zero."""
        data = self.read(content)
        path = self._place(data, chance, (int, float))
        if not path:
            return self.other_type(content, chance)
        old = at(data, path)
        expects = FREE if self.signed.search(dotted(path)) else MUST_REFUSE
        return self._made(f"{old!r} made negative", expects, path, data, -old - 1)

    def other_number(self, content: bytes, chance: random.Random) -> Damage:
        """Another number, huge, tiny or no whole one."""
        data = self.read(content)
        path = self._place(data, chance, (int, float))
        if not path:
            return self.other_type(content, chance)
        new = chance.choice(NUMBERS)
        return self._made(f"{at(data, path)!r} replaced by {new!r}", FREE, path, data, new)

    def no_number(self, content: bytes, chance: random.Random) -> Damage:
        """What is no number, or no finite one."""
        path = self._place(self.read(content), chance, (int, float))
        texts = (".nan", ".inf", "1e999") if self.write is write_yaml else ("NaN", "-Infinity", "1e999")
        text = chance.choice(texts)
        return self._spliced(content, path, text, text)

    def long_number(self, content: bytes, chance: random.Random) -> Damage:
        """A number of more digits than Python reads."""
        path = self._place(self.read(content), chance, (int, float))
        return self._spliced(content, path, LONG_NUMBER, "number of 5,000 digits")

    def unknown_key(self, content: bytes, chance: random.Random) -> Damage:
        """A key that no one knows."""
        data = self.read(content)
        path = self._place(data, chance, dict)
        owner = at(data, path)
        if not isinstance(owner, dict):
            return self.other_type(content, chance)
        return self._made("unknown key", MUST_REFUSE, (*path, "unknown_key"), data, 1)

    def dropped(self, content: bytes, chance: random.Random) -> Damage:
        """A key or an item is gone."""
        data = self.read(content)
        path = chance.choice([path for path in paths_in(data) if path] or [()])
        if not path:
            return emptied(content, chance)
        changed = copy.deepcopy(data)
        del at(changed, path[:-1])[path[-1]]
        return Damage(f"{dotted(path)}: gone", FREE, self.write(changed))

    def hostile_text(self, content: bytes, chance: random.Random) -> Damage:
        """A text that figures, pages, terminals or spreadsheets may take for something else."""
        data = self.read(content)
        path = self._place(data, chance, str)
        new = chance.choice(HOSTILE)
        return self._made(f"text replaced by {ascii(new)[:40]}", FREE, path, data, new)

    def hostile_key(self, content: bytes, chance: random.Random) -> Damage:
        """A key that is such a text."""
        data = self.read(content)
        path = self._place(data, chance, dict)
        owner = at(data, path)
        if not isinstance(owner, dict) or not owner:
            return self.hostile_text(content, chance)
        old, new = chance.choice(list(owner)), chance.choice(HOSTILE)
        changed = {new if key == old else key: value for key, value in owner.items()}
        return self._made(f"key '{old}' replaced by {ascii(new)[:40]}", FREE, path, data, changed)

    def nothing(self, content: bytes, chance: random.Random) -> Damage:
        """A value is null, or a list or object is empty."""
        data = self.read(content)
        path = chance.choice([path for path in paths_in(data) if path] or [()])
        old = at(data, path)
        new = type(old)() if isinstance(old, list | dict) and chance.random() < 0.5 else None
        return self._made(f"replaced by {new!r}", FREE, path, data, new)

    def item_changed(self, content: bytes, chance: random.Random) -> Damage:
        """An item stands twice, or the order is another."""
        data = self.read(content)
        path = self._place(data, chance, list)
        items = at(data, path)
        if not isinstance(items, list) or not items:
            return self.dropped(content, chance)
        place = chance.randrange(len(items))
        new = [*items[:place], items[place], *items[place:]] if chance.random() < 0.6 else items[::-1]
        return self._made(f"item {place} twice, or turned round", FREE, path, data, new)

    def too_deep(self, content: bytes, chance: random.Random) -> Damage:
        """Lists in lists in lists."""
        path = chance.choice([path for path in paths_in(self.read(content)) if path] or [()])
        depth = chance.choice((60, 2000, 100_000))
        return self._spliced(content, path, "[" * depth + "]" * depth, f"{depth:,} lists in one another")

    def written_again(self, content: bytes, chance: random.Random) -> Damage:
        """The same, written in another way."""
        data = self.read(content)
        if self.ordered:
            return Damage("written again", MUST_EQUAL, self.write(data))
        return Damage("keys in another order", MUST_EQUAL, self.write(_shuffled(data, chance)))


def _shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: _shuffled(value[key], chance) for key in keys}
    return [_shuffled(item, chance) for item in value] if isinstance(value, list) else value


def write_json(data: Any) -> bytes:
    """Plain data as JSON; half of a pair of surrogates is written as its escape."""
    return json.dumps(data, indent=1).encode()


def write_yaml(data: Any) -> bytes:
    """Plain data as YAML."""
    return yaml.safe_dump(data, allow_unicode=False, sort_keys=False, width=10**6).encode()


def twice_a_key(content: bytes, _chance: random.Random) -> Damage:
    """JSON whose first key stands twice."""
    text = content.decode()
    match = re.search(r'"[a-z_]+": ("[^"]*"|\d+)', text)
    if match is None:
        return emptied(content, _chance)
    return Damage("key twice", MUST_REFUSE, text.replace(match[0], f"{match[0]}, {match[0]}", 1).encode())


def yaml_words(content: bytes, chance: random.Random) -> Damage:
    """What YAML has beyond plain data: dates, tags, anchors, numbers to other bases."""
    texts = (
        ("2024-01-01", FREE), ("!!binary aGk=", MUST_REFUSE), ("!!python/name:print", MUST_REFUSE),
        ("!!set {a, b}", MUST_REFUSE), ("&a [*a]", MUST_REFUSE), ("*missing", MUST_REFUSE), ("0o17", FREE),
        ("0x1F", FREE), ("010", FREE), ("1_6", FREE), ("12:30:45", FREE), ("2001-12-14t21:59:43.10-05:00", FREE),
        ("!unknown 1", MUST_REFUSE), ("<<", FREE), ("? {a: 1}", FREE), ("!!int 'x'", MUST_REFUSE), ("!!float ''", MUST_REFUSE),
        ("!!timestamp 'x'", MUST_REFUSE), ("!!null ''", FREE), ("{[1, 2]: 3}", MUST_REFUSE), ("{1: 2}", MUST_REFUSE),
    )  # fmt: skip
    data, _ = parse_yaml(content.decode(), "damaged")
    text, expects = chance.choice(texts)
    tree = Tree(lambda raw: parse_yaml(raw.decode(), "damaged")[0], write_yaml)
    path = tree._place(data, chance, (int, float, str))
    damage = tree._spliced(content, path, text, text)
    return Damage(damage.what, expects, damage.content)


_ANY_TEXT = (emptied, no_text, marked, of_windows, spaced, flipped, overwritten, line_changed)


def json_syntax(
    *, loose: str = "$^", signed: str = r"\.(low|high)$", ordered: bool = False, foreign: bool = False
) -> Syntax:
    """How JSON is damaged; of a `foreign` one, whose writers repeat keys, a key that stands twice is no damage."""
    tree = Tree(json.loads, write_json, loose=loose, signed=signed, ordered=ordered)
    own = () if foreign else (twice_a_key,)
    return Syntax(rules=(*_ANY_TEXT, cut(MUST_REFUSE), garbage_behind, *own, *tree.rules() * 2))


def yaml_syntax(*, loose: str = "$^", ordered: bool = True) -> Syntax:
    """How YAML is damaged."""
    read = lambda raw: parse_yaml(raw.decode(), "damaged")[0]  # noqa: E731
    tree = Tree(read, write_yaml, loose=loose, signed=r"\.(low|high)$", ordered=ordered)
    return Syntax(rules=(*_ANY_TEXT, cut(FREE), *(yaml_words,) * 4, *tree.rules() * 2))


def packed(inner: Syntax) -> Syntax:
    """How a gzip file is damaged: as it is, and inside."""

    def inside(content: bytes, chance: random.Random) -> Damage:
        damage = chance.choice(inner.rules)(gzip.decompress(content), chance)
        return Damage(f"inside: {damage.what}", damage.expects, gzip.compress(damage.content, mtime=0))

    return Syntax(rules=(emptied, cut(MUST_REFUSE), flipped, flipped, overwritten, inside, inside))


def binary_syntax(*, cut_expects: str = MUST_REFUSE) -> Syntax:
    """How a file of bytes is damaged."""
    return Syntax(rules=(emptied, cut(cut_expects), flipped, flipped, overwritten, overwritten))


# tables


def _cells(content: bytes) -> list[list[str]]:
    return [line.split(",") for line in content.decode().splitlines()]


def _text(lines: Sequence[Sequence[str]]) -> bytes:
    return "".join(",".join(line) + "\n" for line in lines).encode("utf-8", "surrogatepass")


def cell_changed(content: bytes, chance: random.Random) -> Damage:
    """A cell, also of the header, holds something else."""
    lines = _cells(content)
    row = chance.randrange(len(lines))
    column = chance.randrange(len(lines[row]))
    texts = ("", "x", "nan", "inf", "-inf", "1e999", "-1", "0", "1e300", LONG_NUMBER, '"', 'a"b', "0x1F", "1_000", "True")  # fmt: skip
    new = chance.choice((*texts, *(text for text in HOSTILE if "," not in text and "\n" not in text)))
    old, lines[row][column] = lines[row][column], new
    return Damage(f"row {row} column {column}: {old[:20]!r} replaced by {ascii(new)[:40]}", FREE, _text(lines))


def cells_missing(expects: str, *, of_last: bool) -> Rule:
    """The cells at the end of a row, or of the last row, are gone."""

    def rule(content: bytes, chance: random.Random) -> Damage:
        lines = _cells(content)
        row = len(lines) - 1 if of_last else chance.randrange(1, len(lines))
        kept = chance.randrange(1, len(lines[row]) - (not lines[row][-1]))  # what an ending comma closes is whole
        lines[row] = lines[row][:kept]
        return Damage(f"row {row}: only {kept} cells", expects, _text(lines))

    return rule


def column_changed(content: bytes, chance: random.Random) -> Damage:
    """A column is gone, or stands twice."""
    lines = _cells(content)
    column, gone = chance.randrange(len(lines[0])), chance.random() < 0.5
    for line in lines:
        line[column : column + 1] = [] if gone else line[column : column + 1] * 2
    return Damage(f"column {column} {'gone' if gone else 'twice'}", FREE, _text(lines))


def table_syntax(*, ragged: bool = False) -> Syntax:
    """How a CSV is damaged; of a `ragged` one only the last row has to be as long as the first line."""
    rules = (cell_changed,) * 8 + (
        cells_missing(MUST_REFUSE, of_last=ragged),
        column_changed,
        line_changed,
        line_changed,
    )
    return Syntax(rules=(emptied, no_text, marked, of_windows, flipped, overwritten, cut(FREE), *rules))
