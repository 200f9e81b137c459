"""Characters that terminals, pages and figures act on instead of showing them. No text with one comes in: names out of
files, and arguments, are printed, drawn and written into other files.

They are the control characters but tabs and ends of lines, halves of pairs of surrogates, which no file can hold, and
marks that turn the direction of what follows them.
"""

import re

from accelsim.base.errors import InputError

__all__ = ["one_line", "refuse_breaks", "refuse_control", "refuse_control_escapes"]

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPE = re.compile(
    r"\\(?:\\|ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}"  # of these two, which stand for one character, nothing is wrong
    r"|([bfr]|u(?:00(?:0[0-8b-f]|1[0-9a-f]|7f|[89][0-9a-f])|d[89a-f][0-9a-f]{2}|202[a-e]|206[6-9])))",
    re.IGNORECASE,
)


def one_line(text: str) -> str:
    """Return text as an error can show it: ends of lines and control characters as escapes.

    >>> one_line("a" + chr(10) + "b" + chr(27))
    'a\\\\nb\\\\x1b'
    """
    return re.sub(f"{_CONTROL.pattern}|[\n\r]", lambda found: ascii(found[0])[1:-1], text)


def refuse_control(text: str, place: str, what: str = "name", *, in_lines: bool = True) -> None:
    """Raise `InputError` where `text` holds such a character; `place` says where it is from, `what` may not have it.

    Of a text that is not `in_lines`, which CR LF may end, a carriage return is such a character as well.

    >>> refuse_control("a name", "net.json")
    >>> refuse_control("a" + chr(27), "net.json")
    Traceback (most recent call last):
    accelsim.base.errors.InputError: net.json: holds the control character '\\x1b', which no name can have
    """
    found = _CONTROL.search(text) or (None if in_lines else re.search("\r", text))
    if found is not None:
        raise _error(ascii(found[0])[1:-1], text, found.start(), place, what)


def refuse_breaks(key: str, place: str) -> None:
    """Raise `InputError` where a key goes over several lines, as no key of a file does."""
    if len(key.splitlines()) > 1 or "\r" in key or "\n" in key:
        raise InputError(f"{place}: key '{one_line(key)}' goes over several lines")


def refuse_control_escapes(text: str, place: str) -> None:
    """The same of JSON, where such a character may also be written as an escape."""
    for found in _ESCAPE.finditer(text):
        if found[1] is not None:
            raise _error(found[0], text, found.start(), place, "name")


def _error(shown: str, text: str, position: int, place: str, what: str) -> InputError:
    before = text[:position].count("\n") + 1
    line = f"line {before}: " if "\n" in text else ""
    return InputError(f"{place}: {line}holds the control character '{shown}', which no {what} can have")
