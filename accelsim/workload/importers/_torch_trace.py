"""From the calls of one recorded pass to a trace: operations in order, names, parameters and what was assumed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from accelsim.base.errors import InputError
from accelsim.base.files import Plain, validate
from accelsim.base.version import __version__
from accelsim.workload.importers._torch_calls import tell
from accelsim.workload.importers._torch_file import Entries
from accelsim.workload.importers._torch_ops import Part, Parts, Reader, Roles, Seen, how_to_say, merge_bias
from accelsim.workload.importers._torch_regions import is_compiled, repeat_regions
from accelsim.workload.importers._torch_rows import Leaf, Pass, Recording, Row, Tensor, choose_pass, is_product
from accelsim.workload.importers._torch_words import ATTENTION
from accelsim.workload.importing import ImportOptions
from accelsim.workload.names import unique_names
from accelsim.workload.torch_words import PRODUCTS
from accelsim.workload.trace import FORMAT, Trace

__all__ = ["SEVERAL_ROWS", "Base", "Following", "Settled", "build", "per_sample", "refuse_early", "rows_of_a_sample"]


@dataclass(frozen=True, slots=True)
class Base:
    """A parameter: its elements, and whether the step trains it."""

    elements: int
    trained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the whole pass says of parameters: each base by number, and what those that are others consist of.

    `others` have a gradient and no place in an operation: elements, and the call whose backward gave the gradient.
    """

    bases: dict[int, Base]
    same: dict[int, tuple[Part, ...]]
    others: tuple[tuple[int, Row | None], ...]
    input_shapes: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]


class Following(Roles, Protocol):
    """Roles that are found call by call."""

    def enter(self, leaf: Leaf) -> None:
        """Take note of the operands of a call before it is read."""

    def leave(self, leaf: Leaf) -> None:
        """Take note of the results of a call after it was read."""

    def settle(self, operations: Sequence[Seen]) -> Settled:
        """Return what is known of parameters once all calls are read."""


class Follower(Protocol):
    """Makes the roles of one pass at one batch."""

    def __call__(self, made: Pass, batch: int, source: str) -> Following:
        """Return the roles."""


def build(recording: Recording, follow: Follower, options: ImportOptions, versions: Sequence[str]) -> Trace:
    """Return the trace of the last complete pass of a recording.

    Raises `InputError` where the recording says too little, or holds what a trace cannot express.
    """
    told = tell(recording, options.calls)
    made = choose_pass(recording)
    batch = _batch(recording.source, made, options)
    roles = follow(made, batch, recording.source)
    reader = Reader(source=recording.source, batch=batch, roles=roles, made=made)
    operations = _read_all(reader, roles, made.forward)
    for run in made.recomputed:
        operations = _repeat(operations, _read_all(reader, roles, run), made)
    _check_functions(reader, made.forward, operations)
    operations, of_regions = repeat_regions(operations, made)
    if not any(seen.is_product and dict(seen.fields)["scales_with_batch"] for seen in operations):
        raise _wrong_batch(recording.source, _any_product(made), batch)
    settled = roles.settle(operations)
    if not made.has_backward:
        bases = {number: replace(base, trained=True) for number, base in settled.bases.items()}
        settled = replace(settled, bases=bases)
    names = _names(operations)
    parameters = _Parameters(settled, operations)
    entries = [parameters.entry(name, seen) for name, seen in zip(names, operations, strict=True)]
    parameters.add_others(entries, operations)
    if not made.has_backward:
        entries = [{key: value for key, value in entry.items() if "_gradient" not in key} for entry in entries]
    path = Path(recording.source)
    data: dict[str, Plain] = {
        "format": FORMAT,
        "model": options.name or path.name.partition(".")[0],
        "input_shapes": [list(shape) for shape in settled.input_shapes],
        "parameters": parameters.total,
        "origin": {
            "exporter": f"accelsim import {__version__}",
            "source": path.name,
            "versions": list(versions),
            "assumptions": [*made.notes, *told, *of_regions, *_notes(operations, batch), *settled.notes],
            "batch": batch,
            "steps": 0,
        },
        "operations": entries,
    }
    return validate(Trace, data, recording.source)


SEVERAL_ROWS = "the first dimension of an input is a multiple of the batch: it holds several rows of each sample"


def rows_of_a_sample(shape: tuple[int, ...], batch: int) -> int:
    """Return how many rows of each sample the first dimension of an input holds, 0 where it does not hold them."""
    return shape[0] // batch if shape and shape[0] % batch == 0 else 0


def per_sample(shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
    """Return the shape of an input without the samples, several rows of each where the first dimension holds those."""
    if rows := rows_of_a_sample(shape, batch):
        return (rows, *shape[1:]) if rows > 1 else shape[1:]
    at = shape.index(batch) if batch in shape else len(shape)
    return shape[:at] + shape[at + 1 :]


def refuse_early(entries: Entries, rows: Iterable[Row], batch: int | None) -> None:
    """Raise the error of a batch that is missing or in no shape as soon as the first product in `rows` is read."""
    if batch is None or (batch > 1 and not entries.may_hold(batch)):
        product = _first_product(rows)
        if product is not None:
            raise _wrong_batch(entries.source, product, batch)


def _first_product(rows: Iterable[Row]) -> Row | None:
    """Return the first product of a forward pass; a linear layer is the product that it calls, where it calls one."""
    linear: Row | None = None
    for row in rows:
        if is_product(row) and not row.is_backward and len(row.tensors) > 1:
            if row.word != "linear":
                return row
            if linear is not None:
                break
            linear = row
    return linear


def _batch(source: str, made: Pass, options: ImportOptions) -> int:
    if options.batch is None:
        raise _wrong_batch(source, _any_product(made), None)
    batch = options.batch
    if batch < 1:
        raise InputError(f"{source}: batch {batch}: at least 1 is needed")
    sizes = [tensor.shape for leaf in made.forward for tensor in leaf.unit.tensors]
    if batch > 1 and not any(batch in shape[:2] for shape in sizes):
        raise _wrong_batch(source, _any_product(made), batch)
    return batch


def _any_product(made: Pass) -> Row:
    return next(leaf.row for leaf in made.forward if is_product(leaf.row))


def _wrong_batch(source: str, product: Row, batch: int | None) -> InputError:
    """Return the error of a batch that is missing or wrong; the shapes of a product show what it may be."""
    shown = _shown_product(product)
    if batch is None:
        text = f"say with --batch how many samples the step computes; its shapes hold all of them ({shown})"
    else:
        text = f"no operation works on {batch} samples, as --batch says ({shown})"
    return InputError(f"{source}: {text}")


def _shown_product(row: Row) -> str:
    """Name a product with its factors, without what it adds to them."""
    at = PRODUCTS.get(row.word, 0)
    factors = [value for value in row.inputs[at:] if isinstance(value, Tensor)] or row.tensors
    shapes = " and ".join("x".join(map(str, tensor.shape)) for tensor in factors[:2])
    return f"the first product, {row.name}, is of {shapes}"


def _read_all(reader: Reader, roles: Following, leaves: Sequence[Leaf]) -> list[Seen]:
    operations: list[Seen] = []
    for leaf in leaves:
        roles.enter(leaf)
        for seen in reader.read(leaf):
            last = operations[-1] if operations else None
            merged = merge_bias(last, seen, iter(roles.tensors(leaf)), reader.batch)
            if merged is None:
                operations.append(seen)
            else:
                operations[-1] = merged
        roles.leave(leaf)
    return operations


def _check_functions(reader: Reader, leaves: Sequence[Leaf], operations: Sequence[Seen]) -> None:
    """Refuse autograd functions that fill new tensors by means that are not recorded, as kernels of others do."""
    read = {id(seen.leaf.row) for seen in operations}
    inside: dict[int, tuple[Row, list[Leaf]]] = {}
    for leaf in leaves:
        function = next((row for row in leaf.above if row.sequence is not None and not row.is_operation), None)
        if function is not None:
            inside.setdefault(id(function), (function, []))[1].append(leaf)
    for function, made in inside.values():
        fills = any(leaf.row.word.startswith("empty") and not _is_empty(leaf.row) for leaf in made)
        explained = is_compiled(made[0]) or any(id(leaf.row) in read or leaf.row.told for leaf in made)
        if fills and not explained:
            raise reader.error(Leaf(function, ()), f"computes by means that are not recorded; {how_to_say(function)}")


def _is_empty(row: Row) -> bool:
    """Whether a new tensor has no elements, as a function makes that only keeps others for the backward pass."""
    size = row.inputs[0] if row.inputs else None
    return (isinstance(size, tuple) and 0 in size) or any(0 in tensor.shape for tensor in row.results)


def _repeat(operations: Sequence[Seen], run: Sequence[Seen], made: Pass) -> list[Seen]:
    """Mark the forward operations that a run in the backward pass repeats: the last equal stretch not yet taken.

    A run that repeats none (gradients of gradients) is work of its own.
    """
    records = list(operations)
    if not run:
        return records
    keys = [(seen.word, seen.fields) for seen in records]
    wanted = [(seen.word, seen.fields) for seen in run]
    starts = range(len(keys) - len(wanted), -1, -1)
    start = next((s for s in starts if keys[s : s + len(wanted)] == wanted and not records[s].recomputed), None)
    if start is None:
        own = [replace(seen, input_gradient=False, weight_gradient=False, backward_only=True) for seen in run]
        return records + own
    if _broke_off(records[start + len(run) - 1].leaf.row, run[-1], made):
        run = run[:-1]
    own_backward = any(seen.input_gradient or seen.weight_gradient for seen in run)  # else the first run has it
    for at, seen in enumerate(run, start):
        kept = seen if own_backward else records[at]
        records[at] = replace(kept, leaf=records[at].leaf, recomputed=True)
    return records


def _broke_off(first: Row, again: Seen, made: Pass) -> bool:
    """Whether the last call of a repeated run started and never computed.

    Checkpointing without reentrance stops a run as soon as all that the backward pass needs is saved; a product saves
    its factors before its kernel runs. Then it lacks the calls and launches of kernels that the first run made. Where
    that one shows none either, torch's default holds: it stops. A run with a backward pass of its own is no such run.
    """
    row = again.leaf.row
    if any(made.ran(each) for each in (row, *again.leaf.above)):
        return False
    if (expected := _inner_work(first)) or not again.is_product:
        return bool(expected) and not _inner_work(row)
    return True


def _inner_work(row: Row) -> list[Row]:
    """Calls inside a call, without those of the hooks that save its operands."""
    return [inner for inner in row.walk() if inner is not row and inner.word != "detach"]


def _notes(operations: Sequence[Seen], batch: int) -> list[str]:
    notes = []
    if any(seen.leaf.row.word in ATTENTION for seen in operations):
        notes.append(
            "attention in one kernel is opened into its two products, softmax and dropout, computed in full: a causal"
            " mask saves no work"
        )
    if batch == 1:
        notes.append(
            "at a batch of 1 the whole step is one sample: all but parameters is taken to grow with the batch, also"
            " what samples would share"
        )
    return notes


class _Parameters:
    """Names the parameters after the operation that uses them first, and counts them."""

    def __init__(self, settled: Settled, operations: Sequence[Seen]) -> None:
        self.settled = settled
        self.names: dict[int, str] = {}
        self.taken: set[str] = set()
        weights = [seen.weight for seen in operations if seen.weight is not None]
        self.in_parts = {  # weights made of several parameters or of a part of one are no parameters beside
            part.base for parts in map(self.resolved, weights) for part in parts if part.suffix or len(parts) > 1
        }

    def resolved(self, source: Parts) -> list[Part]:
        """Return the parameters that an operand consists of, or the parts of them."""
        found = []
        for part in source.parts:
            inner = self.settled.same.get(part.base)
            if inner is None:
                found.append(part)
            else:
                found += [Part(one.base, one.suffix + part.suffix) for one in self.resolved(Parts(inner, 0))]
        return found

    def name(self, base: int, wanted: str) -> str:
        """Return the name of a parameter, `wanted` where it has none yet."""
        if base not in self.names:
            unique, count = wanted, 1
            while unique in self.taken:
                count += 1
                unique = f"{wanted}_{count}"
            self.taken.add(unique)
            self.names[base] = unique
        return self.names[base]

    @property
    def total(self) -> int:
        """Elements of all parameters that operations use, and of those that none shows."""
        used = sum(self.settled.bases[base].elements for base in self.names)
        return used + sum(elements for elements, _ in self.settled.others)

    def entry(self, name: str, seen: Seen) -> dict[str, Any]:
        """Return an operation as a plain entry of a trace."""
        entry: dict[str, Any] = {"name": name, "kind": seen.kind, **dict(seen.fields)}
        if seen.weight is not None:
            self._add_weight(entry, name, seen, seen.weight)
        listed: dict[str, dict[str, Any]] = {}
        for word, source in seen.parameters:
            for part in self.resolved(source):
                known = self.settled.bases[part.base]
                label = self.name(part.base, f"{name}.{word}")
                if part.base not in self.in_parts and label != entry.get("weight", {}).get("name"):
                    listed[label] = {"name": label, "elements": known.elements, "frozen": not known.trained}
        entry["other_parameters"] = list(listed.values())
        if seen.is_product:
            entry["input_gradient"] = seen.input_gradient
        elif not seen.input_gradient:
            entry["input_gradient"] = False
        if seen.backward_only:
            entry = {key: value for key, value in entry.items() if key not in {"input_gradient", "weight_gradient"}}
        return entry | {"recomputed": seen.recomputed, "backward_only": seen.backward_only}

    def _add_weight(self, entry: dict[str, Any], name: str, seen: Seen, weight: Parts) -> None:
        parts = self.resolved(weight)
        labels = [self.name(part.base, f"{name}.weight") + part.suffix for part in parts]
        trained = any(self.settled.bases[part.base].trained for part in parts)
        entry["weight"] = {"name": "+".join(labels), "frozen": not trained}
        if trained and not seen.weight_gradient and not seen.backward_only:
            entry["weight_gradient"] = False

    def add_others(self, entries: Sequence[dict[str, Any]], operations: Sequence[Seen]) -> None:
        """List trained parameters that no operand shows with the operation before whose gradient theirs came."""
        for elements, row in self.settled.others:
            after = [at for at, seen in enumerate(operations) if row is not None and seen.leaf.row.start >= row.start]
            entry = entries[after[0] if after else -1]
            label = f"{entry['name']}.parameter"
            label = next(
                unique for unique in (label, *(f"{label}_{i}" for i in range(2, len(self.taken) + 3)))
                if unique not in self.taken
            )  # fmt: skip
            self.taken.add(label)
            entry["other_parameters"].append({"name": label, "elements": elements, "frozen": False})


def _names(operations: Sequence[Seen]) -> list[str]:
    """Name each operation after its module, with its own name where the module executes several, made unique.

    The outermost module is the model and gives no name.
    """
    calls = [seen.leaf.modules for seen in operations]
    sizes = Counter(id(row) for modules in calls for row in modules)
    wanted = []
    for seen, modules in zip(operations, calls, strict=True):
        inner = modules[-1] if len(modules) > 1 else None
        module = "" if inner is None else inner.name.removeprefix("nn.Module: ")
        alone = inner is not None and sizes[id(inner)] == 1
        wanted.append(module if alone else ".".join(part for part in (module, seen.word) if part))
    return unique_names(wanted)
