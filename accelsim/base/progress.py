"""How long work tells of itself: what it calls as it goes on, and what those who do not listen give it."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["Progress", "heard", "silent"]

Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)``: how many are done, of all, and what is being done now."""

T = TypeVar("T")


def silent(_done: int, _total: int, _what: str = "") -> None:
    """Hear nothing."""


def heard(items: Iterable[T], progress: Progress) -> Iterator[T]:
    """Yield the items, and tell of each.

    >>> list(heard("ab", lambda done, total, what: print(done, "of", total)))
    0 of 2
    1 of 2
    2 of 2
    ['a', 'b']
    """
    known = list(items)
    for done, item in enumerate(known):
        progress(done, len(known), "")
        yield item
    progress(len(known), len(known), "")
