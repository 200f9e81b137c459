"""Which operand of which stage runs sparse, and the notes that say why others stay dense."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from accelsim.base.errors import InputError, did_you_mean
from accelsim.lowering.phases import Weighted, channels
from accelsim.lowering.tasks import Note, Overrides, Stage
from accelsim.sparsity.methods import Axis, Method, Operand, SparseOperand
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.names import counted
from accelsim.workload.observed import OperandSparsity, forward_pattern
from accelsim.workload.trace import Collective, Trace, Vector

__all__ = ["Rules", "Target", "check_supported", "input_gradients"]


class Target(Protocol):
    """What lowering has to know of a machine: its N:M modes, and whether an activation rides on its producer."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def patterns(self) -> frozenset[Pattern]:
        """N:M patterns that it executes."""

    @property
    def fuses_activations(self) -> bool:
        """Whether an activation right after a norm or an addition costs no pass of its own."""


def check_supported(design: Target, method: Method, pattern: Pattern | None, overrides: Overrides | None) -> None:
    """Refuse a pattern that a sparse design lacks; a design without any sparse mode runs everything dense instead."""
    if not method.is_sparse or not design.patterns:
        return
    wanted = [own for _, own in overrides.sparse if own is not None] if overrides else []
    if not method.traced:
        if pattern is None:
            raise InputError(f"method '{method.name}' needs a pattern, as in 2:8")
        wanted.append(pattern)
    for item in wanted:
        if item not in design.patterns:
            legal = ", ".join(str(known) for known in sorted(design.patterns))
            raise InputError(
                f"pattern {item}: design '{design.name}' has no such mode; allowed: {legal} (array.patterns)"
            )


def input_gradients(trace: Trace) -> dict[str, bool]:
    """Say for each operation whether the gradient of its input is computed.

    Where the trace leaves it open: from the first operation with a weight onwards, that one excluded, or from the
    first embedding on.
    """
    needed, found = False, {}
    for operation in trace.operations:
        derived = needed
        if isinstance(operation, Weighted) or (isinstance(operation, Vector) and operation.kind == "embedding"):
            needed = True
        found[operation.name] = derived if operation.input_gradient is None else operation.input_gradient
    return found


# What may be sparse in each stage of a traced step, most wanted first.
_SEEN_IN: Mapping[Stage, tuple[tuple[Operand, Axis], ...]] = {
    Stage.FF: ((Operand.WEIGHT, Axis.INPUT),),
    Stage.BP: ((Operand.WEIGHT, Axis.OUTPUT), (Operand.GRADIENT, Axis.OUTPUT)),
    Stage.WU: ((Operand.GRADIENT, Axis.BATCH),),
}


_UNOBSERVED = (
    "the trace holds no observed sparsity, so all runs dense; trace steps on real values (accelsim trace --steps)"
)


class Rules:
    """Decides which operand of which stage runs sparse, and keeps notes."""

    def __init__(
        self, trace: Trace, design: Target, method: Method, pattern: Pattern | None, overrides: Overrides
    ) -> None:
        self.method = method
        self.pattern = pattern
        self.supported = design.patterns
        self.notes: list[Note] = []
        weighted = [operation for operation in trace.operations if isinstance(operation, Weighted)]
        self.first = weighted[0].name if weighted and not input_gradients(trace)[weighted[0].name] else None
        self.last = weighted[-1].name if len(weighted) > 1 else None
        names = [operation.name for operation in weighted]
        if method.traced and weighted and not any(operation.observed for operation in weighted):
            self.notes.append(Note(operation=weighted[0].name, stage=Stage.FF, text=_UNOBSERVED))
        self.dense = _matches(names, overrides.dense, "--dense")
        self.sparse: dict[str, Pattern | None] = {}
        for glob, own in overrides.sparse:
            self.sparse.update(dict.fromkeys(_matches(names, (glob,), "--sparse"), own))
        both = sorted(self.dense & self.sparse.keys())
        if both:
            raise InputError(f"--dense and --sparse: both match '{both[0]}'; an operation can have only one of them")

    def decide(self, operation: Weighted, stage: Stage, batch_rows: int) -> tuple[SparseOperand, Pattern] | None:
        """Return the sparse operand and its pattern, or None where the stage runs dense; notes the reason."""
        operand = {Stage.FF: self.method.ff, Stage.BP: self.method.bp, Stage.WU: self.method.wu}[stage]
        pattern = self.pattern
        if self.method.traced:
            operand, pattern = self._observed(operation, stage)
        if operand is None or pattern is None:
            return None
        forced = operation.name in self.sparse
        pattern = self.sparse.get(operation.name) or pattern
        groups_along = batch_rows if operand.axis is Axis.BATCH else channels(operation, operand.axis)
        reason = self._dense_reason(operation, pattern, groups_along, operand.axis, forced)
        if reason:
            self._note(operation, stage, f"kept dense, {reason}")
            return None
        if forced and operand.axis is not Axis.BATCH and groups_along % pattern.group:
            self._note(operation, stage, f"{groups_along} channels padded to whole groups of {pattern.group}")
        return operand, pattern

    def _dense_reason(
        self, operation: Weighted, pattern: Pattern, groups_along: int, axis: Axis, forced: bool
    ) -> str | None:
        by_default = not forced and not self.method.traced
        indivisible = axis is not Axis.BATCH and groups_along % pattern.group
        reasons = (
            (
                not self.method.traced and operation.weight.derived,
                "its weight is computed from parameters in every step",
            ),
            (pattern not in self.supported, f"the design has no {pattern} mode"),
            (operation.name in self.dense, "--dense"),
            (by_default and operation.name == self.first, "first layer"),
            (by_default and operation.name == self.last, "last layer"),
            (by_default and indivisible, f"{groups_along} {axis} channels are no multiple of {pattern.group}"),
        )
        return next((text for holds, text in reasons if holds), None)

    def _observed(self, operation: Weighted, stage: Stage) -> tuple[SparseOperand | None, Pattern | None]:
        """Return the operand whose observed groups fit a mode of the design, and the sparsest such mode."""
        seen = getattr(operation.observed, stage, None)
        for operand, axis in _SEEN_IN[stage]:
            entry = None if seen is None else seen.operands.get(operand)
            if entry is None or (entry.pattern is None and operand is not Operand.WEIGHT):
                continue
            if entry.density == 0:
                self._note(operation, stage, f"kept dense, its {operand} was all zero, which is no pattern")
            elif entry.pattern is not None and entry.axis != axis:
                self._note(operation, stage, _other_axis(entry.pattern, str(entry.axis), stage, axis))
            elif entry.pattern is not None and (
                (mode := self._mode_for(entry)) is not None or self.sparse.get(operation.name)
            ):
                if entry.unstructured and mode is not None:
                    self._note(
                        operation,
                        stage,
                        f"unstructured (density {entry.density:.2f}), but runs as {mode}: all groups fit",
                    )
                return SparseOperand(operand=operand, axis=axis), mode or Pattern.parse(entry.pattern)
            elif stage is Stage.BP and (along_input := forward_pattern(operation.observed)) and entry.unstructured:
                self._note(operation, stage, _other_axis(along_input, Axis.INPUT, stage, axis))
            elif entry.unstructured:
                self._note(
                    operation,
                    stage,
                    f"kept dense, unstructured (density {entry.density:.2f}): the design skips N:M only",
                )
            elif entry.pattern is not None:
                self._note(operation, stage, f"kept dense, the design has no {entry.pattern} mode")
        return None, None

    def _mode_for(self, entry: OperandSparsity) -> Pattern | None:
        """The sparsest mode of the design that every observed group fits; None where none is fit by all."""
        fitting = [
            mode for mode in self.supported if (most := entry.most_in(mode.group)) is not None and most <= mode.kept
        ]
        return min(fitting, key=lambda mode: (mode.density, mode.group), default=None)

    def note_collective(self, operation: Collective, batch: int) -> None:
        """Say what is not timed."""
        moved = f"{batch * operation.bytes:,} bytes over {counted(operation.group, 'rank')}"
        text = f"{operation.operation} of {moved} is not timed without a link (--link-gb-per-s)"
        self.notes.append(Note(operation=operation.name, stage=Stage(operation.direction), text=text))

    def _note(self, operation: Weighted, stage: Stage, text: str) -> None:
        self.notes.append(Note(operation=operation.name, stage=stage, text=text))


def _other_axis(pattern: Pattern | str, along: str, stage: Stage, axis: Axis) -> str:
    return f"kept dense, {pattern} along the {along}, and {stage} reduces the {axis}"


def _matches(names: Sequence[str], globs: Sequence[str], option: str) -> set[str]:
    found: set[str] = set()
    for glob in globs:
        hits = {name for name in names if fnmatchcase(name, glob)}
        if not hits:
            raise InputError(f"{option} {glob}: matches no operation with a weight{did_you_mean(glob, names)}")
        found |= hits
    return found
