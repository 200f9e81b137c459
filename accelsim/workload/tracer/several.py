"""Several steps as one trace: all alike, or alike but for what a router sends where, then their mean.

A mixture of experts sends other tokens to an expert in every step, or none. Where all steps multiply as much, the rows
of each product with a weight are the mean over the steps; a step that lacks a product adds no rows to it.
"""

from collections.abc import Hashable, Mapping, Sequence
from difflib import SequenceMatcher
from fractions import Fraction
from typing import Any

from accelsim.base.errors import InputError
from accelsim.workload.names import few
from accelsim.workload.trace import VECTOR_KINDS
from accelsim.workload.tracer.entries import identity, names_of, same_operations
from accelsim.workload.tracer.records import Record

__all__ = ["Lines", "are_routed", "check_same", "in_line", "mean_of", "other_edges"]

Entry = Mapping[str, Any]
Lines = Sequence[Sequence[int | None]]
"""The operations of several steps in one order: where each stands in every step, None where the step lacks it."""

_COUNTS = frozenset({"rows", "samples", "reads", "writes", "scales_with_batch"})


def check_same(steps: Sequence[Sequence[Record]], made: Sequence[Sequence[Entry]]) -> None:
    """Refuse steps that differ. Raises `InputError`."""
    for number, (step, entries) in enumerate(zip(steps, made, strict=True), 1):
        same_operations(steps[0], step, "in step 1", f"in step {number}")
        for one, two in zip(made[0], entries, strict=True):
            _check_alike(one, two, 1, number, set(one) - {"inputs"})


def _check_alike(one: Entry, two: Entry, first: int, second: int, keys: set[str]) -> None:
    key = next((key for key in one if key in keys and one[key] != two.get(key)), None)
    if key is not None:
        raise InputError(
            f"{one['name']}: {key} is {one[key]} in step {first} and {two.get(key)} in step {second}, per sample;"
            " a trace needs steps that do the same work"
        )


def are_routed(made: Sequence[Sequence[dict[str, Any]]]) -> bool:
    """Whether steps differ, multiply as much per sample, and have the same products of activations and convolutions."""
    others = [[_unnamed(entry) for entry in entries if _has_no_mean(entry)] for entries in made]
    same_work = len({_macs(entries) for entries in made}) == 1 and all(own == others[0] for own in others)
    work = [[entry | {"inputs": None} for entry in entries] for entries in made]
    return same_work and any(entries != work[0] for entries in work)


def _has_no_mean(entry: Entry) -> bool:
    return entry["kind"] not in VECTOR_KINDS and entry["kind"] != "linear"


def _unnamed(entry: Entry) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in {"name", "inputs"}}


def _macs(entries: Sequence[Entry]) -> Fraction:
    """Multiply-accumulates of the products with a weight, per sample."""
    products = (entry for entry in entries if entry["kind"] == "linear")
    return sum((_rows(entry) * entry["in_features"] * entry["out_features"] for entry in products), Fraction())


def _rows(entry: Entry) -> Fraction:
    return Fraction(entry["rows"], entry.get("samples", 1))


def in_line(steps: Sequence[Sequence[Record]]) -> Lines:
    """Return the operations of all steps in one order."""
    lines: list[list[int | None]] = []
    keys: list[tuple[Hashable, ...]] = []
    for number, step in enumerate(steps):
        own = [(record.modules, identity(record)) for record in step]
        merged, merged_keys = [], []
        for what, *ends in SequenceMatcher(None, keys, own, autojunk=False).get_opcodes():
            before, places = slice(*ends[:2]), range(*ends[2:])
            same = what == "equal"
            merged += [[*line, places[at] if same else None] for at, line in enumerate(lines[before])]
            merged += [[*[None] * number, at] for at in places if not same]
            merged_keys += [*keys[before], *(own[at] for at in places if not same)]
        lines, keys = merged, merged_keys
    return lines


def mean_of(
    lines: Lines, steps: Sequence[Sequence[Record]], made: Sequence[Sequence[dict[str, Any]]], batches: Sequence[int]
) -> tuple[list[dict[str, Any]], str]:
    """Return the entries of the mean of the steps, and a note of which products differ.

    Raises `InputError` where the steps differ in what has no mean.
    """
    in_steps = [
        {number: entries[at] for number, (entries, at) in enumerate(zip(made, line, strict=True)) if at is not None}
        for line in lines
    ]
    firsts = [min(own) for own in in_steps]
    names = names_of([steps[number][line[number] or 0] for number, line in zip(firsts, lines, strict=True)])
    called: list[dict[str, str]] = [{} for _ in steps]  # in each step, what its operations are called in line
    for own, line, name in zip(in_steps, lines, names, strict=True):
        for number, entry in own.items():
            called[number][entry["name"]] = steps[number][line[number] or 0].name = name
    found, moved = [], []
    for own, first, name in zip(in_steps, firsts, names, strict=True):
        for number, entry in own.items():
            _check_alike(own[first], entry, first + 1, number + 1, set(entry) - _COUNTS - {"name", "inputs"})
        counts = _mean(own, batches)
        found.append(own[first] | {"name": name, "inputs": _read_in_any(own, called)} | counts)
        moved += [name] * ("rows" in counts)
    return found, f"the {len(batches)} steps send different rows to {few(moved)}: their mean counts"


def _read_in_any(entries: Mapping[int, Entry], called: Sequence[Mapping[str, str]]) -> list[str] | None:
    """What one operation reads: in the first step that has it, and besides in later ones; None where that is not
    known in all."""
    if any(entry["inputs"] is None for entry in entries.values()):
        return None
    read: list[str] = []
    for number, entry in entries.items():
        names = [called[number].get(name, name) for name in entry["inputs"]]
        read += [name for name in names if name not in read] if read else names
    return read


def other_edges(made: Sequence[Sequence[Entry]]) -> list[str]:
    """Return a note of the operations that do not read the same in all steps, where there are any."""
    names = [
        one["name"] for one, *others in zip(*made, strict=True) if any(one["inputs"] != o["inputs"] for o in others)
    ]
    said = f"the steps read the outputs of other operations in {few(names)}: the edges are those of the first"
    return [said] * bool(names)


def _mean(entries: Mapping[int, Entry], batches: Sequence[int]) -> dict[str, Any]:
    """The counts of one operation, whose entry in some of the steps is given, per sample."""
    first = next(iter(entries.values()))
    if len(entries) == len(batches) and all(_unnamed(entry) == _unnamed(first) for entry in entries.values()):
        return {}
    growing = any(entry["scales_with_batch"] for entry in entries.values())

    def mean(of: Mapping[int, Fraction | int]) -> Fraction:
        total = sum(
            (Fraction(count) * (batches[number] if entries[number]["scales_with_batch"] else 1)
             for number, count in of.items()), Fraction(),
        )  # fmt: skip
        return total / (sum(batches) if growing else len(batches))

    if first["kind"] == "linear":
        rows = mean({number: _rows(entry) for number, entry in entries.items()})
        return {"rows": rows.numerator, "samples": rows.denominator, "scales_with_batch": growing}
    counts = {key: int(mean({number: entry[key] for number, entry in entries.items()})) for key in ("reads", "writes")}
    return {**counts, "scales_with_batch": growing}
