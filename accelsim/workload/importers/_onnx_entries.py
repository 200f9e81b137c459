"""From the walks over a graph to the operations of a trace: counts per sample, names, sparsity of stored weights."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.sparsity.masks import group_histograms, tightest_pattern
from accelsim.workload import rules
from accelsim.workload.data_flow import ONE_OPERAND, as_operation, input_name
from accelsim.workload.importers._onnx_graph import MisfitError, is_made_up
from accelsim.workload.importers._onnx_walk import Seen, Walk, Weight, Work
from accelsim.workload.names import unique_names

__all__ = ["assumptions", "entries"]

_SHOWN_NAMES = 6
_AXES = {"FF": ("input", 1), "BP": ("output", 2)}  # of a weight as (groups, inputs, outputs, taps)


def entries(walks: Sequence[Walk], samples: int) -> list[rules.Entry]:
    """Return the operations as plain entries, per sample.

    `walks` were done at a batch of `samples`, and at one more where the batch is open.
    """
    first, large = walks[0].seen, walks[-1].seen if len(walks) > 1 else None
    names = _names(walks[0])
    made = {seen.work.result: name for seen, name in zip(first, names, strict=True)}
    if large is not None:
        _check_same(walks[0].graph.file, first, large, samples)
    sparsity = _Sparsity(walks[0])
    found = []
    for index, (name, seen) in enumerate(zip(names, first, strict=True)):
        error = partial(_error, walks[0].graph.file, seen)
        sizes = rules.TwoBatches(seen.work, large[index].work, samples, error) if large else None
        entry = _entry(walks[0], name, seen.work, sizes or _OneBatch(seen.work, samples, error), sparsity)
        found.append(entry | {"inputs": _inputs(seen.work, made)})
    return found


def _inputs(work: Work, made: Mapping[object, str]) -> list[str]:
    """Return the names of what a piece of work reads, from the names of all others by what they write."""
    read = [one for operand in work.reads for one in operand]
    names = [input_name(one) if isinstance(one, int) else made[one] for one in read]
    return list(dict.fromkeys(names)) if work.kind in ONE_OPERAND else names


def _error(file: str, seen: Seen, what: str) -> InputError:
    return InputError(f"{file}: {seen.node.where}: {what}")


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
class _OneBatch:
    """`rules.Sizes` of work at a batch that is not open: what depends on the inputs grows with it."""

    work: Work
    batch: int
    error: Callable[[str], InputError]

    def _share(self, position: int) -> int:
        count = self.work.counts[position]
        if count % self.batch:
            raise self.error(f"a count of {count} does not divide by the batch of {self.batch}")
        return count // self.batch

    def rows(self) -> tuple[int, bool]:
        """See `rules.Sizes`."""
        return (self._share(0), True) if self.work.depends else (self.work.counts[0], False)

    def vectors(self) -> tuple[int, int, bool]:
        """See `rules.Sizes`."""
        rows, grows = self.rows()
        return rows, 1, grows

    def factors(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """See `rules.Sizes`."""
        if not self.work.depends:
            return self.work.counts, ()
        held = self.work.with_batch
        return tuple(self._share(at) if at == held else count for at, count in enumerate(self.work.counts)), ("batch",)

    def elements(self) -> tuple[int, int, bool]:
        """See `rules.Sizes`; what all samples share is left out."""
        work = self.work
        reads, writes = (count - less for count, less in zip(work.counts, work.shared or (0, 0), strict=True))
        if work.depends and (reads % self.batch or writes % self.batch):
            raise self.error(f"counts of {[reads, writes]} do not divide by the batch of {self.batch}")
        divisor = self.batch if work.depends else 1
        return reads // divisor, writes // divisor, work.depends


def _entry(walk: Walk, name: str, work: Work, sizes: rules.Sizes, sparsity: "_Sparsity") -> rules.Entry:
    entry: rules.Entry = {"name": name, **rules.fields_of(sizes)}
    if work.weight:
        entry["weight"] = {"name": work.weight.label, "frozen": work.weight.frozen}
        try:
            if observed := sparsity.of(work.weight):
                entry["observed"] = observed
        except (ArithmeticError, LookupError, ValueError) as error:
            raise sizes.error(f"its weight and its attributes do not fit together ({error})") from error
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
        self._found: dict[str, rules.Entry | None] = {}

    def of(self, weight: Weight) -> rules.Entry | None:
        """Return what FF and BP see of a weight; None where it is dense, not in the file, or zero all over."""
        if weight.content is None:
            return None
        if weight.label not in self._found:
            self._found[weight.label] = self._measured(weight, weight.content() != 0)
        return self._found[weight.label]

    def _measured(self, weight: Weight, nonzero: NDArray[np.bool_]) -> rules.Entry | None:
        count = int(np.count_nonzero(nonzero))
        if count == 0:
            self._walk.note("zeros", weight.label)
        if count in {0, nonzero.size}:
            return None
        return {
            stage: {"weight": _operand(nonzero, count / nonzero.size, name, axis)}
            for stage, (name, axis) in _AXES.items()
        }


def _operand(nonzero: NDArray[np.bool_], density: float, name: str, axis: int) -> rules.Entry:
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
    return unique_names([as_operation(name) for name in wanted])


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


def assumptions(walk: Walk, operations: Sequence[rules.Entry]) -> list[str]:
    """Return what the file does not say and the trace decides, each in one sentence."""
    kinds = {str(entry["kind"]) for entry in operations}
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
