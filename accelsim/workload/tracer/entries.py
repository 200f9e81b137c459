"""From what the recorder saw to the entries of a trace: per sample, named, with flags and observed sparsity."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import gcd
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.sparsity.masks import tightest_of
from accelsim.workload import rules
from accelsim.workload.data_flow import as_operation
from accelsim.workload.names import unique_names
from accelsim.workload.rules import FACTOR_SIZES
from accelsim.workload.tracer.measure import Measured
from accelsim.workload.tracer.recorder import Recorder
from accelsim.workload.tracer.records import AFTERWARDS, WEIGHT, Record, StepSeen, add_edges
from accelsim.workload.tracer.works import Work

__all__ = [
    "Counted",
    "OneRecord",
    "TwoRecords",
    "entries_of",
    "identity",
    "in_order",
    "names_of",
    "observe",
    "same_operations",
    "take_masks",
]


def identity(record: Record) -> tuple[Hashable, ...]:
    """Return what an operation is, whatever it runs on."""
    work = record.work
    return record.word, work.kind, work.fixed, work.weight.label if work.weight else None


def in_order(step: StepSeen) -> list[Record]:
    """Return the operations of a step in order of execution, those that the backward pass executed again marked.

    Each run of forward work in the backward pass repeats the last equal stretch of the forward pass not yet taken; one
    that repeats none (gradients of gradients) is work of its own. Work outside of the model after the last backward
    pass is left out, as metrics are. All of this is settled once and for all.
    """
    records = step.records
    for record in step.late:
        records.remove(record)
        step.left_out.update({AFTERWARDS: record.work.macs} if record.work.is_product else {})
    step.late.clear()
    keys = [(*identity(record), record.work.counts) for record in records]
    for run in step.again:
        wanted = [(*identity(record), record.work.counts) for record in run]
        starts = range(len(keys) - len(wanted), -1, -1)
        start = next((s for s in starts if keys[s : s + len(wanted)] == wanted and not records[s].recomputed), None)
        if start is None:
            for record in run:
                record.backward_only = True
            records += run
            keys += wanted
            continue
        for record, repeated in zip(records[start:], run, strict=False):
            repeated.repeats = record
            record.recomputed = True
            record.with_gradient = True
            if repeated.requires_gradient and not record.requires_gradient:
                record.requires_gradient, record.seq = True, repeated.seq
            record.gradients.update(repeated.gradients)
            record.measured.update({key: seen for key, seen in repeated.measured.items() if key[0] != "FF"})
    step.again.clear()
    return records


class Counted(Protocol):
    """One recorded operation and its counts per sample."""

    @property
    def record(self) -> Record:
        """The operation."""

    @property
    def sizes(self) -> rules.Sizes:
        """Its counts."""

    def settled(self) -> "Counted":
        """The same, where a factor that is computed from parameters and shared by all samples is a weight."""


def _error(record: Record, what: str) -> InputError:
    return InputError(f"{record.place}: {what}")


@dataclass(frozen=True, slots=True)
class TwoRecords:
    """The same operation at `batch` samples and at one more."""

    record: Record
    larger: Record
    batch: int

    @property
    def sizes(self) -> rules.Sizes:
        """See `Counted`."""
        return rules.TwoBatches(self.record.work, self.larger.work, self.batch, partial(_error, self.record))

    def settled(self) -> Counted:
        """See `Counted`; a factor that does not grow with the batch is shared."""
        one, other = self.record.work.derived, self.larger.work.derived
        shared = one is not None and one == other and self.record.work.counts != self.larger.work.counts
        return TwoRecords(_with_weight(self.record), _with_weight(self.larger), self.batch) if shared else self


@dataclass(frozen=True, slots=True)
class OneRecord:
    """One operation at the batch of a real step: what is computed from the data grows with the batch."""

    record: Record
    batch: int

    @property
    def sizes(self) -> rules.Sizes:
        """See `Counted`."""
        return self

    @property
    def work(self) -> Work:
        """See `rules.Sizes`."""
        return self.record.work

    def error(self, what: str) -> InputError:
        """See `rules.Sizes`."""
        return _error(self.record, what)

    def rows(self) -> tuple[int, bool]:
        """See `rules.Sizes`."""
        (rows,) = self.work.counts
        return (self._share(rows, "rows"), True) if any(self.work.from_data) else (rows, False)

    def vectors(self) -> tuple[int, int, bool]:
        """See `rules.Sizes`; where the samples have different numbers of them, they are counted over several."""
        (rows,) = self.work.counts
        if not any(self.work.from_data):
            return rows, 1, False
        common = gcd(rows, self.batch)
        return rows // common, self.batch // common, True

    def factors(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """See `rules.Sizes`; samples lie side by side in the batch of the product, in the rows of one factor, or
        outermost in both, where they are multiplied with each other."""
        batch, m, n, k = self.work.counts
        left, right = self.work.from_data
        if not (left or right):
            return (batch, m, n, k), ()
        if batch % self.batch == 0:
            return (batch // self.batch, m, n, k), ("batch",)
        if left and right:
            return self._between_samples()
        per_sample = (batch, self._share(m, "rows"), n, k) if left else (batch, m, self._share(n, "columns"), k)
        return per_sample, ("batch",)

    def _between_samples(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Sizes where both factors hold all samples: their rows and columns grow, or what is reduced."""
        sizes = dict(zip(FACTOR_SIZES, self.work.counts, strict=True))
        growing = tuple(name for name in FACTOR_SIZES if name in self.work.outermost)
        divide = [sizes[name] % self.batch == 0 for name in growing]
        if growing not in {("m", "n"), ("k",)} or not all(divide):
            raise self.error(
                f"multiplies samples of a batch with each other, {sizes['batch']} x ({sizes['m']} x {sizes['k']})"
                f" ({sizes['k']} x {sizes['n']}), and which of these sizes grow with the batch cannot be told;"
                f" {_AS_A_WHOLE}"
            )
        batch, m, n, k = (sizes[name] // (self.batch if name in growing else 1) for name in FACTOR_SIZES)
        return (batch, m, n, k), growing

    def elements(self) -> tuple[int, int, bool]:
        """See `rules.Sizes`; what does not divide by the batch is rounded down."""
        work = self.work
        if not any(work.from_data) or max(work.counts) < self.batch:
            return work.counts[0], work.counts[1], False
        reads, writes = (count - shared for count, shared in zip(work.counts, work.shared, strict=True))
        return reads // self.batch, writes // self.batch, True

    def settled(self) -> Counted:
        """See `Counted`; the recorder saw which factors are repeated over the batch."""
        return OneRecord(_with_weight(self.record), self.batch) if self.work.derived else self

    def _share(self, count: int, what: str) -> int:
        if count % self.batch:
            raise self.error(f"{count} {what} are no multiple of the {self.batch} samples of the step; {_AS_A_WHOLE}")
        return count // self.batch


def _with_weight(record: Record) -> Record:
    """Return a product of data with a factor computed from parameters as one with a weight."""
    assert record.work.derived is not None, "only asked of such products"
    side = record.work.derived[0]
    place = {1 - side: 0, side: WEIGHT}
    gradients = Counter({place[operand]: macs for operand, macs in record.gradients.items()})
    measured = {(stage, _named(side, operand)): seen for (stage, operand), seen in record.measured.items()}
    work = record.work.with_derived_weight()
    sources = (record.sources[1 - side], record.sources[side], *record.sources[2:])
    return replace(record, work=work, word=work.kind, sources=sources, gradients=gradients, measured=measured)


def _named(side: int, operand: str) -> str:
    """Return what an operand of a product is called where the one on `side` is a weight."""
    return {"left": ("weight", "activation"), "right": ("activation", "weight")}.get(operand, (operand,) * 2)[side]


_AS_A_WHOLE = "with batch=1 the whole step is traced as one sample"


def same_operations(first: Sequence[Record], second: Sequence[Record], one: str, other: str) -> None:
    """Refuse two runs that executed different operations; `one` and `other` name them. Raises `InputError`."""
    if len(first) != len(second):
        raise InputError(
            f"the model executes {len(first)} operations {one} and {len(second)} {other};"
            " a trace needs the same ones every time"
        )
    for a, b in zip(first, second, strict=True):
        if (a.modules, identity(a)) != (b.modules, identity(b)):
            raise InputError(
                f"{a.place}: differs {one} and {other} in more than its rows; a trace needs a model that treats samples"
                " alike"
            )


def entries_of(recorder: Recorder, step: StepSeen, sizes: Sequence[Counted], inputs: int) -> list[dict[str, Any]]:
    """Return the operations of `step` as plain entries of a trace of a network with so many `inputs`."""
    seen = [size.record for size in sizes]
    sizes = [size.settled() for size in sizes]
    records = [size.record for size in sizes]
    for own, record, name in zip(seen, records, names_of(records), strict=True):
        own.name = record.name = name
    trained = _trained(recorder, step, records)
    weights = [record.work.weight for record in records if record.work.weight and not record.work.weight.derived]
    in_parts = {name for weight in weights if weight.label not in recorder.parameters for name in weight.parameters}
    listed = {name: recorder.roles.numbers[name] for name in recorder.parameters if name not in in_parts}
    entries = []
    for size in sizes:
        record = size.record
        entry: dict[str, Any] = {"name": record.name, **rules.fields_of(size.sizes)}
        if record.work.weight:
            weight = record.work.weight
            entry["weight"] = {"name": weight.label, "frozen": trained.isdisjoint(weight.parameters or {weight.label})}
            entry["weight"] |= {"derived": True} if weight.derived else {}
        entry["other_parameters"] = [
            {"name": used, "elements": listed[used], "frozen": used not in trained}
            for used in record.parameters
            if used in listed
        ]
        entries.append(entry | _gradient_flags(record, step, entry) | _pass_flags(record))
    return add_edges(entries, [record.sources for record in records], inputs)


def _trained(recorder: Recorder, step: StepSeen, records: Sequence[Record]) -> set[str]:
    """Names of the parameters that the step trains.

    Those that got a gradient; where gradients were computed without being accumulated, or no backward pass ran, those
    in use that require one.
    """
    products = {
        name for record in records if WEIGHT in record.gradients and record.work.weight
        for name in record.work.weight.parameters or (record.work.weight.label,)
    }  # fmt: skip
    if step.backward and (step.trained or not products):
        return step.trained | products
    used = {name for record in records if record.with_gradient for name in _parameters_of(record)}
    return {name for name in used if recorder.parameters[name].requires_grad}


def _parameters_of(record: Record) -> tuple[str, ...]:
    return (*record.parameters, *(record.work.weight.parameters if record.work.weight else ()))


def _gradient_flags(record: Record, step: StepSeen, entry: Mapping[str, Any]) -> dict[str, int]:
    """Which gradients the backward pass computes, and how often where more than once: as seen where it ran, else as the
    operands require them. What an entry says by default is left out."""
    if not record.work.is_product:
        can_have_one = record.requires_gradient or record.inside_function
        has_one = can_have_one and (record.seq in step.nodes or not step.nodes)
        return {} if has_one is not record.backward_only else {"input_gradient": has_one}
    if record.backward_only and not record.gradients:
        return {}
    seen, work = step.backward or step.differentiated, record.work
    computed = [i in record.gradients for i in range(len(work.requires))] if seen else [
        record.with_gradient and required for required in work.requires
    ]  # fmt: skip
    flags = {"input_gradient": any(computed)}
    if work.weight is None and any(computed):
        flags |= dict(zip(("left_gradient", "right_gradient"), computed, strict=True))
    if seen and work.weight and not entry["weight"]["frozen"]:
        has_one = WEIGHT in record.gradients
        flags |= {} if has_one is not record.backward_only else {"weight_gradient": has_one}
    operands = {0: "input", WEIGHT: "weight"} if work.weight else {0: "left", 1: "right"}
    runs = {f"{name}_gradient_runs": record.runs(operand) for operand, name in operands.items()}
    return flags | {field: count for field, count in runs.items() if count > 1}


def _pass_flags(record: Record) -> dict[str, bool]:
    return {"recomputed": record.recomputed, "backward_only": record.backward_only}


def names_of(records: Sequence[Record]) -> list[str]:
    """Name each operation after its module, with its own name where the module executes several, made unique."""
    sizes = Counter(call for record in records for call in record.calls)
    wanted = [
        record.modules[-1] if sizes[record.calls[-1]] == 1 and record.modules[-1] else record.place
        for record in records
    ]
    return unique_names([as_operation(name) for name in wanted])


def observe(entries: Sequence[dict[str, Any]], measured: Sequence[Sequence[Record]]) -> None:
    """Add to `entries` what was measured in the records of each."""
    for entry, own in zip(entries, measured, strict=True):
        derived = "weight" in entry and entry["weight"].get("derived")
        records = [_with_weight(record) if derived and record.work.derived else record for record in own]
        observed: dict[str, dict[str, Any]] = {}
        for stage, operand in dict.fromkeys(key for record in records for key in record.measured):
            seen = [record.measured[stage, operand] for record in records if (stage, operand) in record.measured]
            observed.setdefault(stage, {})[operand] = _summary(seen)
        if observed:
            entry["observed"] = observed


def _summary(seen: Sequence[Measured]) -> dict[str, Any]:
    """One operand over the traced steps: mean density, and where it is below 1 the groups of all steps together."""
    summary: dict[str, Any] = {"density": round(sum(one.nonzeros / one.elements for one in seen) / len(seen), 9)}
    common = set.intersection(*(set(one.groups) for one in seen))
    groups = {group: np.sum([one.groups[group] for one in seen], axis=0) for group in sorted(common)}
    if groups and any(one.nonzeros < one.elements for one in seen):
        summary |= {"axis": seen[0].axis, "groups": [counts.tolist() for counts in groups.values()]}
        if (pattern := tightest_of(groups)) is not None:
            summary["pattern"] = str(pattern)
    return summary


def take_masks(entries: Sequence[dict[str, Any]], records: Sequence[Record], file: str) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of the weights in a step, each in the shape of its weight, and refer to them in `entries`.

    A mask has the name of its weight; a second one of the same weight, as BP may have, is told apart by pass and
    operation.
    """
    masks: dict[str, NDArray[np.bool_]] = {}
    for entry, record in zip(entries, records, strict=True):
        for (stage, operand), seen in record.measured.items():
            if seen.mask is None:
                continue
            weight = entry["weight"]["name"]
            names = (weight, f"{weight}[{stage}]", f"{weight}[{stage} of {entry['name']}]")
            name = next(name for name in names if name not in masks or np.array_equal(masks[name], seen.mask))
            masks[name] = seen.mask
            entry["observed"][stage][operand]["mask"] = f"{file}#{name}"
    return masks
