"""From the walks over a graph to the operations of a trace: counts per sample, names, sparsity of stored weights."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from accelsim.base.errors import InputError
from accelsim.sparsity.masks import group_histograms, tightest_pattern
from accelsim.workload.importers._onnx_graph import MisfitError, is_made_up
from accelsim.workload.importers._onnx_walk import Seen, Walk, Weight
from accelsim.workload.names import unique_names

__all__ = ["assumptions", "entries"]

_SHOWN_NAMES = 6
_AXES = {"FF": ("input", 1), "BP": ("output", 2)}  # of a weight as (groups, inputs, outputs, taps)


def entries(walks: Sequence[Walk], samples: int) -> list[dict[str, Any]]:
    """Return the operations as plain entries, per sample.

    `walks` were done at a batch of `samples`, and at one more where the batch is open.
    """
    first, large = walks[0].seen, walks[-1].seen if len(walks) > 1 else None
    if large is not None:
        _check_same(walks[0].graph.file, first, large, samples)
    pairs = [_Pair(walks[0].graph.file, seen, large[index] if large else None, samples)
             for index, seen in enumerate(first)]  # fmt: skip
    sparsity = _Sparsity(walks[0])
    return [_entry(walks[0], name, pair, sparsity) for name, pair in zip(_names(walks[0]), pairs, strict=True)]


def _identity(seen: Seen) -> tuple[Hashable, ...]:
    work = seen.work
    return work.kind, work.word, work.fixed, work.weight.label if work.weight else None


def _check_same(file: str, first: Sequence[Seen], second: Sequence[Seen], samples: int) -> None:
    for a, b in zip_longest(first, second):
        if a is None or b is None or _identity(a) != _identity(b):
            one = a or b
            raise MisfitError(
                f"{file}: {one.node.where}: differs between a batch of {samples} and of {samples + 1} in more than its"
                " rows; a trace needs a model that treats samples alike"
            )


@dataclass(frozen=True, slots=True)
class _Pair:
    """The same work at a batch of `samples`, and at one more where the batch is open."""

    file: str
    small: Seen
    large: Seen | None
    samples: int

    def error(self, text: str) -> InputError:
        """Return an error that names file and node."""
        return InputError(f"{self.file}: {self.small.node.where}: {text}")

    def per_sample(self, position: int) -> tuple[int, bool]:
        """Return a count per sample and whether it grows with the batch."""
        count, batch = self.small.work.counts[position], self.samples
        if self.large is None:
            work = self.small.work
            if not work.depends or (work.kind == "matmul" and position != work.with_batch):
                return count, False
            if count % batch:
                raise self.error(f"a count of {count} does not divide by the batch of {batch}")
            return count // batch, True
        more = self.large.work.counts[position]
        if count == more:
            return count, False
        if count * (batch + 1) != more * batch:
            raise self.error(
                f"grows from {count} to {more} between a batch of {batch} and of {batch + 1}, neither in proportion to"
                " the batch nor constant; a trace cannot express it"
            )
        return count // batch, True


def _linear_fields(pair: _Pair) -> dict[str, Any]:
    rows, scales = pair.per_sample(0)
    return {**dict(pair.small.work.fixed), "rows": rows, "scales_with_batch": scales}


def _convolution_fields(pair: _Pair) -> dict[str, Any]:
    """A convolution; several images per sample become one more spatial dimension with a kernel of 1."""
    images, scales = pair.per_sample(0)
    fields: dict[str, Any] = {"kind": pair.small.work.kind, **dict(pair.small.work.fixed)}
    if "in_size" not in fields:  # one matrix per group
        return {**fields, "in_size": (images,), "scales_with_batch": scales}
    if images > 1:
        if fields["kind"].endswith("3d"):
            raise pair.error(f"a 3-D convolution of {images} volumes per sample has no entry in a trace")
        extra = {"in_size": images, "kernel": 1, "stride": 1, "padding": 0, "dilation": 1, "output_padding": 0}
        fields = {key: (extra[key], *value) if key in extra else value for key, value in fields.items()}
        fields["kind"] = f"{fields['kind'][:-2]}{len(fields['kernel'])}d"
    return {**fields, "scales_with_batch": scales}


def _matmul_fields(pair: _Pair) -> dict[str, Any]:
    counts = [pair.per_sample(position) for position in range(4)]
    if sum(grows for _, grows in counts) > 1:
        raise pair.error("multiplies samples of a batch with each other; a trace has no entry for it")
    sizes = dict(zip(("batch", "m", "n", "k"), (size for size, _ in counts), strict=True))
    return {**sizes, "scales_with_batch": any(grows for _, grows in counts)}


def _vector_fields(pair: _Pair) -> dict[str, Any]:
    """Vector work; operands and results that all samples share are left out where the rest grows."""
    work = pair.small.work
    if pair.large is None:
        once = work.per_step or (0, 0)
        counts = [count - less for count, less in zip(work.counts, once, strict=True)]
        if work.depends and any(count % pair.samples for count in counts):
            raise pair.error(f"counts of {counts} do not divide by the batch of {pair.samples}")
        divisor = pair.samples if work.depends else 1
        return {"reads": counts[0] // divisor, "writes": counts[1] // divisor, "scales_with_batch": work.depends}
    small, large = work.counts, pair.large.work.counts
    if small == large:
        return {"reads": small[0], "writes": small[1], "scales_with_batch": False}
    for position, (less, more) in enumerate(zip(small, large, strict=True)):
        if not 0 <= (more - less) * pair.samples <= less:
            pair.per_sample(position)
    return {"reads": large[0] - small[0], "writes": large[1] - small[1]}


_FIELDS: dict[str, Callable[[_Pair], dict[str, Any]]] = {
    "linear": _linear_fields,
    "matmul": _matmul_fields,
    **{f"conv{shape}{rank}d": _convolution_fields for shape in ("", "_transpose") for rank in (1, 2, 3)},
}


def _entry(walk: Walk, name: str, pair: _Pair, sparsity: "_Sparsity") -> dict[str, Any]:
    work = pair.small.work
    entry = {"name": name, "kind": work.kind, **_FIELDS.get(work.kind, _vector_fields)(pair)}
    if work.weight:
        entry["weight"] = {"name": work.weight.label, "frozen": work.weight.frozen}
        try:
            if observed := sparsity.of(work.weight):
                entry["observed"] = observed
        except (ArithmeticError, LookupError, ValueError) as error:
            raise pair.error(f"its weight and its attributes do not fit together ({error})") from error
    entry["other_parameters"] = [{"name": used, "elements": walk.elements[used]} for used in work.parameters]
    if work.weight or work.kind == "matmul":
        entry["input_gradient"] = work.input_gradient
    elif not work.input_gradient:
        entry["input_gradient"] = False
    if work.kind == "matmul" and work.input_gradient:
        sides = zip(("left_gradient", "right_gradient"), work.gradients, strict=True)
        entry |= {side: False for side, computed in sides if not computed}
    return entry


class _Sparsity:
    """The sparsity of stored weights, each read once."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._found: dict[str, dict[str, Any] | None] = {}

    def of(self, weight: Weight) -> dict[str, Any] | None:
        """Return what FF and BP see of a weight; None where it is dense, not in the file, or zero all over."""
        if weight.content is None:
            return None
        if weight.label not in self._found:
            self._found[weight.label] = self._measured(weight, weight.content() != 0)
        return self._found[weight.label]

    def _measured(self, weight: Weight, nonzero: Any) -> dict[str, Any] | None:
        count = int(np.count_nonzero(nonzero))
        if count == 0:
            self._walk.note("zeros", weight.label)
        if count in {0, nonzero.size}:
            return None
        return {
            stage: {"weight": _operand(nonzero, count / nonzero.size, name, axis)}
            for stage, (name, axis) in _AXES.items()
        }


def _operand(nonzero: Any, density: float, name: str, axis: int) -> dict[str, Any]:
    pattern = tightest_pattern(nonzero, axis)
    histograms = group_histograms(nonzero, axis)
    return {
        "density": density,
        "pattern": None if pattern is None else str(pattern),
        "axis": name,
        "groups": [[int(count) for count in counts] for counts in histograms.values()],
    }


def _names(walk: Walk) -> list[str]:
    """Name each operation after its weight or module, with its own word where the module does several things."""
    words: dict[str, set[str]] = {}
    for one in walk.seen:
        words.setdefault(one.node.module or "", set()).add(one.work.word)
    around = {"", *(module[:at] for module in words for at, letter in enumerate(module) if letter == ".")}
    alone = {module for module, inside in words.items() if len(inside) == 1} - around
    per_node = Counter(id(one.node.in_file) for one in walk.seen)
    wanted = [_wanted(walk, one, one.node.module in alone, per_node[id(one.node.in_file)] > 1) for one in walk.seen]
    return unique_names(wanted)


def _wanted(walk: Walk, one: Seen, alone: bool, several: bool) -> str:
    node, weight = one.node, one.work.weight
    stored = weight is not None and weight.label.partition("[")[0] in walk.graph.stored
    own = weight.label.removesuffix(".weight") if weight and stored and one.first_use else ""
    own = "" if is_made_up(own) else own
    if own and (node.module is None or weight is None or own != weight.label):
        return own
    if node.module is None:
        place = node.name or (node.in_file.word if several else "")
        return f"{place}.{one.work.word}".strip(".") if several or not place else place
    return node.module if alone else f"{node.module}.{one.work.word}".removeprefix(".")


_SENTENCES = {
    "operands": "tensors of the file that are added to, multiplied with or joined to activations are taken as trained:"
    " {names}",
    "merged": "parameters that the file stores once because all their elements are equal are taken as separate ones:"
    " {names}",
    "tied": "a weight that equals an embedding table element by element is taken as tied to it: {names}",
    "padded": "padding that differs between two sides is taken as equal padding of a larger input: {names}",
    "integers": "weights that are stored as whole numbers are taken as trained: {names}",
    "factors": "an Einsum of several factors is taken from the left, as PyTorch does: {names}",
    "steps": "linear attention is counted step by step, as its definition is written: {names}",
    "gathered": "what a deformed convolution reads between places is counted as work of four reads each: {names}",
    "absent": "the numbers of these weights are in no file: sparse ones and masks cannot be told from dense weights:"
    " {names}",
    "unused": "nodes that no output of the graph depends on are left out: {names}",
    "quantised": "steps between number formats are casts and left out: {names}",
    "joined": "activations and layer normalisations that are written out in arithmetic are counted as one operation:"
    " {names}",
    "zeros": "weights that hold nothing but zeros are taken as not yet set, not as sparse: {names}",
}


def assumptions(walk: Walk, operations: Sequence[dict[str, Any]]) -> list[str]:
    """Return what the file does not say and the trace decides, each in one sentence."""
    kinds = {entry["kind"] for entry in operations}
    found = ["an ONNX graph does not say what is trained: all floating-point weights, biases, scales and tables are"]
    if "norm" not in kinds and any(kind.startswith("conv") for kind in kinds):
        found.append("no normalisation is in the file: one that its exporter folded into convolutions cannot be seen")
    if "dropout" not in kinds:
        found.append("no dropout is in the file: one that its exporter removed cannot be seen")
    graph = walk.graph
    whole = {"joined": graph.joined, "unused": graph.unused, "absent": _absent(walk)}
    notes = {**walk.notes, **{kind: names for kind, names in whole.items() if names}}
    return found + [text.format(names=_few(notes[kind])) for kind, text in _SENTENCES.items() if kind in notes]


def _absent(walk: Walk) -> list[str]:
    """Return the weights that the trace lists and whose numbers are in no file."""
    stored = walk.graph.stored
    return [name for name in walk.elements if name in stored and stored[name].content is None]


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"
