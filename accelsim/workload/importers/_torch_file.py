"""Recordings as files: one object with a long list of entries, which are parsed one by one as they are needed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from accelsim.base.characters import refuse_control_escapes
from accelsim.base.errors import InputError
from accelsim.base.files import Plain, read_text, too_long

__all__ = ["Entries"]

_SPACE = re.compile(r"[ \t\r\n]*")
_BETWEEN = re.compile(r"[ \t\r\n]*(,[ \t\r\n]*|\])")


class Entries:
    """The entries of the list `key` in the file at `path`, and what stands around it.

    Recordings can be very large: an error that shows early is told before the rest is parsed.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.source, self._text = str(path), read_text(path)
        refuse_control_escapes(self._text, self.source)
        start = re.search(rf'"{key}"\s*:\s*\[', self._text)
        self._start = self._end = start.end() if start else 0

    def mentions(self, *words: str) -> bool:
        """Whether the file has one of these words anywhere."""
        return any(word in self._text for word in words)

    def may_hold(self, samples: int) -> bool:
        """Whether a list of numbers somewhere in the file has `samples` as its first or second, as a shape would."""
        return re.search(rf"\[\s*(?:\d+\s*,\s*)?{samples}\s*[,\]]", self._text) is not None

    def __iter__(self) -> Iterator[Plain]:
        """Yield the entries in order; none where there is no such list. Raises `InputError` where one is damaged."""
        try:
            yield from self._entries() if self._start else ()
        except json.JSONDecodeError as error:
            raise self._error(error) from None
        except RecursionError:
            raise self._too_deep() from None
        except ValueError:
            raise InputError(f"{self.source}: {too_long()}") from None

    def _entries(self) -> Iterator[Plain]:
        decode, text, at = json.JSONDecoder().raw_decode, self._text, self._after_space(self._start)
        more = text[at : at + 1] != "]"
        while more:
            entry, at = decode(text, at)
            yield entry
            between = _BETWEEN.match(text, at)
            if between is None:
                raise json.JSONDecodeError("Expecting ',' delimiter", text, self._after_space(at))
            more = text[between.start(1)] == ","
            at = between.end() if more else between.start(1)
        self._end = at

    def _after_space(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        return found.end() if found else at

    def around(self) -> Plain:
        """Return what the file holds, once all entries were read, with an empty list in their place."""
        try:
            data: Plain = json.loads(self._text[: self._start] + self._text[self._end :])
            return data  # noqa: TRY300
        except json.JSONDecodeError as error:
            raise self._error(error) from None
        except RecursionError:
            raise self._too_deep() from None
        except ValueError:
            raise InputError(f"{self.source}: {too_long()}") from None

    def _error(self, error: json.JSONDecodeError) -> InputError:
        at_end = error.pos >= len(self._text.rstrip()) or error.msg.startswith("Unterminated")
        ends = " (the file ends there: truncated?)" if at_end else ""
        where = f"line {error.lineno}, column {error.colno}"
        return InputError(f"{self.source}: not valid JSON: {error.msg.removesuffix(' at')} at {where}{ends}")

    def _too_deep(self) -> InputError:
        return InputError(f"{self.source}: not valid JSON: nested too deeply")
