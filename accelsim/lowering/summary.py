"""What a trace holds and what a method would make of it: layers, totals by kind, what runs sparse, what stays dense.

The arithmetic intensity of a layer is the MACs of one of its products over the bytes of the two operands and the
result, each moved once in 16 bits, at a given batch: the least traffic there is while no tensor stays on chip. FF reads
the input and the weight and writes the output; BP and WU read two of the same three or their gradients and write the
third. So FF, BP, WU and the whole step have one intensity.
"""

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import prod

from accelsim.base.files import Plain
from accelsim.hardware.design import Design
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm, Stage
from accelsim.sparsity.methods import Method
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.observed import OperandSparsity
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Operation, Origin, Trace, Vector

__all__ = [
    "DenseReason",
    "KindSummary",
    "LayerGroup",
    "LayerSummary",
    "OperandSummary",
    "StageSummary",
    "Summary",
    "group_layers",
    "merge_names",
    "summarise",
]

FORMAT = "accelsim-info/1"
OPERAND_BYTES = 2

_KEPT_DENSE = "kept dense, "
_NUMBER = re.compile(r"(\d+:\d+|\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperandSummary:
    """What was observed of an operand in a stage; `conforming`: share of its groups that obey the pattern asked for."""

    stage: str
    operand: str
    density: float | None
    pattern: str | None
    axis: str | None
    conforming: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSummary:
    """One operation, per sample. `inputs` are the names of what it reads, None where the trace does not say.

    `input`, `weight` and `output` are shapes, of a matmul those of both factors and the product; vector work has the
    elements its forward reads and writes, and no weight. `macs` are forward, `share` is their part of the network's.
    `parameters` are counted where they are first used. `activations`: elements that FF reads and writes besides the
    weight. `macs_per_byte`: the arithmetic intensity, None without MACs.
    """

    name: str
    kind: str
    inputs: tuple[str, ...] | None
    input: tuple[int, ...]
    weight: tuple[int, ...]
    output: tuple[int, ...]
    macs: int
    share: float
    parameters: int
    activations: int
    macs_per_byte: float | None
    observed: tuple[OperandSummary, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """Equal layers whose names differ in numbers alone; `label` is the name of all, as in ``blocks.{0..11}.fc1``."""

    label: str
    layers: tuple[LayerSummary, ...]

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates per sample of all."""
        return sum(layer.macs for layer in self.layers)

    @property
    def share(self) -> float:
        """Part of the network's MACs."""
        return sum(layer.share for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Parameters of all."""
        return sum(layer.parameters for layer in self.layers)

    def seen(self, stage: str, operand: str) -> tuple[OperandSummary, ...]:
        """What was observed of one operand of one stage, layer by layer; none where it was not."""
        return tuple(
            entry
            for layer in self.layers
            for entry in layer.observed
            if (entry.stage, entry.operand) == (stage, operand)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSummary:
    """All operations of one kind, per sample, with the quantities of `LayerSummary`."""

    kind: str
    operations: int
    macs: int
    share: float
    parameters: int
    activations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseReason:
    """Why products of a stage run dense: `macs` of a step, in `operations`."""

    text: str
    macs: int
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSummary:
    """The products of a stage in one step: their `macs` executed dense, those of them that the method makes sparse."""

    stage: str
    macs: int
    sparse_macs: int
    dense: tuple[DenseReason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A trace in numbers: `layers` in its order, totals by kind, and the stages of a step under a method on a design.

    `pattern` is that of the method and the one that observed groups are held against; `batch` that of the step and of
    the arithmetic intensity; `macs` are forward per sample, `macs_once` forward per step; what was traced stands
    in `origin`, and `edges` says in words whether its operations say what they read.
    """

    model: str
    origin: Origin
    edges: str
    input_shapes: tuple[tuple[int, ...], ...]
    parameters: int
    macs: int
    macs_once: int
    batch: int
    layers: tuple[LayerSummary, ...]
    kinds: tuple[KindSummary, ...]
    design: str
    method: str
    pattern: str
    stages: tuple[StageSummary, ...]

    def to_dict(self) -> dict[str, Plain]:
        """Everything as the ``accelsim-info/1`` object."""
        names = ("model", "origin", "input_shapes", "parameters", "macs", "batch", "design", "method", "pattern")
        head = {name: getattr(self, name) for name in names}
        parts = {
            name: [asdict(item) for item in items]
            for name, items in (("layers", self.layers), ("kinds", self.kinds), ("stages", self.stages))
        }
        return {
            "format": FORMAT,
            **head,
            "origin": self.origin.model_dump(mode="json"),
            "operand_bits": 8 * OPERAND_BYTES,
            **parts,
        }


def summarise(trace: Trace, design: Design, method: Method, *, pattern: Pattern, batch: int) -> Summary:
    """Return the layers of `trace`, totals by kind, and what `method` would make sparse in a step on `design`.

    `pattern` is also what the observed groups are held against. Raises `InputError` as `lower` does.
    """
    layers = _layers(trace, pattern, batch)
    return Summary(
        model=trace.model,
        origin=trace.origin,
        edges=trace.edges,
        input_shapes=trace.input_shapes,
        parameters=trace.parameters,
        macs=trace.macs,
        macs_once=trace.macs_once,
        batch=batch,
        layers=layers,
        kinds=_kinds(layers),
        design=design.name,
        method=method.name,
        pattern=str(pattern),
        stages=_stages(trace, design, method, pattern, batch),
    )


def _layers(trace: Trace, pattern: Pattern, batch: int) -> tuple[LayerSummary, ...]:
    counted: set[str] = set()
    layers, total = [], trace.macs + trace.macs_once
    for operation in trace.operations:
        parameters = {other.name: other.elements for other in operation.other_parameters}
        if isinstance(operation, Conv | ConvTranspose | Linear) and not operation.weight.derived:
            parameters[operation.weight.name] = operation.weight_elements
        shapes = _shapes(operation)
        layers.append(
            LayerSummary(
                name=operation.name,
                kind=operation.kind,
                inputs=operation.inputs,
                input=shapes[0],
                weight=shapes[1],
                output=shapes[2],
                macs=operation.macs,
                share=operation.macs / total if total else 0.0,
                parameters=sum(elements for name, elements in parameters.items() if name not in counted),
                activations=_activations(operation, shapes),
                macs_per_byte=_intensity(operation, shapes, batch),
                observed=tuple(_observed(operation, pattern)),
            )
        )
        counted.update(parameters)
    return tuple(layers)


_Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _shapes(operation: Operation) -> _Shapes:
    """Return the shapes of the input, the weight and the output."""
    if isinstance(operation, Vector):
        return (operation.reads,), (), (operation.writes,)
    if isinstance(operation, Matmul):
        m, n, k = operation.m, operation.n, operation.k
        copies = (operation.batch,) if operation.batch > 1 else ()
        return (*copies, m, k), (*copies, k, n), (*copies, m, n)
    if isinstance(operation, Linear):
        rows = (operation.rows,) if operation.rows > 1 else ()
        return (*rows, operation.in_features), operation.weight_shape, (*rows, operation.out_features)
    outer, inner = (operation.in_channels, *operation.in_size), (operation.out_channels, *operation.out_size)
    return outer, operation.weight_shape, inner


def _activations(operation: Operation, shapes: _Shapes) -> int:
    factors = shapes if isinstance(operation, Matmul) else (shapes[0], shapes[2])
    return sum(prod(shape) for shape in factors if shape)


def _intensity(operation: Operation, shapes: _Shapes, batch: int) -> float | None:
    """MACs per byte; elements that no tap of a kernel smaller than its stride reaches are not moved."""
    if isinstance(operation, Vector):
        return None
    samples = batch if operation.scales_with_batch else 1
    activations, weight = _activations(operation, shapes), 0
    if isinstance(operation, Conv | ConvTranspose | Linear):
        weight = operation.weight_elements
    if isinstance(operation, Conv | ConvTranspose):
        first, last = prod(shapes[0]), prod(shapes[2])
        taps = prod(operation.kernel)
        if isinstance(operation, Conv):
            first = min(first, operation.in_channels * prod(operation.out_size) * taps)
        else:
            last = min(last, operation.out_channels * prod(operation.in_size) * taps)
        activations = first + last
    return samples * operation.macs / (OPERAND_BYTES * (samples * activations + weight))


def _observed(operation: Operation, pattern: Pattern) -> Iterable[OperandSummary]:
    observed = None if isinstance(operation, Vector) else operation.observed
    for stage in (Stage.FF, Stage.BP, Stage.WU):
        seen = getattr(observed, stage, None)
        for operand, entry in {} if seen is None else seen.operands.items():
            yield OperandSummary(
                stage=stage,
                operand=operand,
                density=entry.density,
                pattern=entry.pattern,
                axis=entry.axis,
                conforming=_conforming(entry, pattern),
            )


def _conforming(entry: OperandSparsity, pattern: Pattern) -> float | None:
    most = entry.most_in(pattern.group)
    return 1.0 if most is not None and most <= pattern.kept else entry.conforming(pattern)


def _kinds(layers: Sequence[LayerSummary]) -> tuple[KindSummary, ...]:
    """Totals by kind: products by MACs, then vector work by elements."""
    found = [
        KindSummary(
            kind=kind,
            operations=len(members),
            macs=sum(layer.macs for layer in members),
            share=sum(layer.share for layer in members),
            parameters=sum(layer.parameters for layer in members),
            activations=sum(layer.activations for layer in members),
        )
        for kind in dict.fromkeys(layer.kind for layer in layers)
        for members in [[layer for layer in layers if layer.kind == kind]]
    ]
    return tuple(sorted(found, key=lambda item: (-item.macs, -item.activations)))


def _stages(trace: Trace, design: Design, method: Method, pattern: Pattern, batch: int) -> tuple[StageSummary, ...]:
    step = lower(trace, design, method, pattern=pattern, batch=batch)
    noted = {(note.operation, note.stage): note.text for note in step.notes if note.text.startswith(_KEPT_DENSE)}
    stages = []
    for stage in (Stage.FF, Stage.BP, Stage.WU):
        default = "no sparsity observed" if method.traced else f"{method.name} leaves {stage} dense"
        gemms = [task for task in step.tasks if isinstance(task, Gemm) and task.stage is stage]
        dense: dict[str, list[tuple[str, Gemm]]] = {}
        for gemm in gemms:
            text = "product of two activations" if gemm.tensor is None else noted.get((gemm.operation, stage), default)
            if gemm.pattern is None:
                dense.setdefault(_NUMBER.sub("#", text), []).append((text.removeprefix(_KEPT_DENSE), gemm))
        stages.append(
            StageSummary(
                stage=stage,
                macs=sum(gemm.macs for gemm in gemms),
                sparse_macs=sum(gemm.macs for gemm in gemms if gemm.pattern is not None),
                dense=tuple(map(_dense_reason, dense.values())),
            )
        )
    return tuple(stages)


def _dense_reason(members: Sequence[tuple[str, Gemm]]) -> DenseReason:
    """One reason for texts that differ in numbers or N:M patterns alone: it gives their range, or all patterns."""
    parts = zip(*(_NUMBER.split(text) for text, _ in members), strict=True)
    return DenseReason(
        text="".join(part[0] if len(set(part)) == 1 else _span(part) for part in parts),
        macs=sum(gemm.macs for _, gemm in members),
        operations=tuple(dict.fromkeys(gemm.operation for _, gemm in members)),
    )


def _span(numbers: Sequence[str]) -> str:
    if ":" in numbers[0]:
        return ", ".join(str(pattern) for pattern in sorted(set(map(Pattern.parse, numbers))))
    return f"{min(numbers, key=float)}-{max(numbers, key=float)}"


def group_layers(layers: Sequence[LayerSummary]) -> tuple[LayerGroup, ...]:
    """Group layers that are equal but for numbers in their names and for measured densities, by first appearance."""
    groups: dict[Hashable, list[LayerSummary]] = {}
    for layer in layers:
        seen = tuple((entry.stage, entry.operand, entry.pattern, entry.axis) for entry in layer.observed)
        key = (
            _without_numbers(layer.name),
            layer.kind,
            layer.input,
            layer.weight,
            layer.output,
            layer.parameters,
            seen,
        )
        groups.setdefault(key, []).append(layer)
    return tuple(
        LayerGroup(label=merge_names([layer.name for layer in members])[0], layers=tuple(members))
        for members in groups.values()
    )


def merge_names(names: Sequence[str]) -> list[str]:
    """Write names that differ in numbers alone as one, by first appearance.

    >>> merge_names(["b.0.fc", "head", "b.1.fc", "b.2.fc", "conv3", "conv8"])
    ['b.{0..2}.fc', 'head', 'conv{3,8}']
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_without_numbers(name), []).append(name)
    return [_merged(members) for members in alike.values()]


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _merged(names: Sequence[str]) -> str:
    parts = zip(*(re.split(r"(\d+)", name) for name in names), strict=True)
    return "".join(part[0] if len(set(part)) == 1 else f"{{{_numbers(sorted(set(map(int, part))))}}}" for part in parts)


def _numbers(values: Sequence[int]) -> str:
    if len(values) == values[-1] - values[0] + 1:
        return f"{values[0]}..{values[-1]}"
    shown = [str(value) for value in values]
    return ",".join(shown if len(shown) <= 4 else [*shown[:2], "..", shown[-1]])
