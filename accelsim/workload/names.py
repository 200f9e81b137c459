"""Names of layers in lists and files."""

from collections import Counter
from collections.abc import Sequence

__all__ = ["counted", "few", "unique_names", "workloads_of"]


def counted(number: int, what: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def few(names: Sequence[str]) -> str:
    """Return up to three names and how many more there are.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def workloads_of(files: Sequence[str], models: Sequence[str]) -> list[str]:
    """Return what rows call traces: by model, and where several are of one model by file as well.

    >>> workloads_of(["p0.json", "p1.json", "vgg.json"], ["net", "net", "vgg"])
    ['net (p0.json)', 'net (p1.json)', 'vgg']
    """
    return [
        model if name == model or models.count(model) == 1 else f"{model} ({name})"
        for name, model in zip(files, models, strict=True)
    ]


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names with a number after those that an earlier one has already.

    >>> unique_names(["a", "b", "a", "a"])
    ['a', 'b', 'a_2', 'a_3']
    """
    taken, found = set(names), []
    counts: Counter[str] = Counter()
    for name in names:
        counts[name] += 1
        unique = name
        while counts[name] > 1 and (unique := f"{name}_{counts[name]}") in taken:
            counts[name] += 1
        taken.add(unique)
        found.append(unique)
    return found
