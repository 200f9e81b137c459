"""Multiplications under zeros: dense, needed, and what each machine executes, layer by layer; weights and their size.

Products are those of the lowered step, so everything that a step multiplies is there. Ratios may follow the counting
rule of a paper instead (`count_flops`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from accelsim.base.errors import InputError
from accelsim.base.units import MEGA
from accelsim.hardware.design import Design
from accelsim.hardware.platform import Platform
from accelsim.hardware.skips import NmSkips, Skips
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm, Stage
from accelsim.sparsity.methods import METHODS, Operand
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Trace
from accelsim.zeros.masks import Mask, Masks, product_of
from accelsim.zeros.skipping import IDEAL, ONE_SIDED_32, executed_share

__all__ = [
    "HYPOTHETICAL",
    "STAGES",
    "Executor",
    "FlopTable",
    "Layer",
    "count_flops",
    "masks_of_method",
    "of_design",
    "of_platform",
]

Weighted = Conv | ConvTranspose | Linear
STAGES = (Stage.FF, Stage.BP, Stage.WU)


@dataclass(frozen=True, slots=True)
class Executor:
    """What the table counts for: a name, and what it skips."""

    name: str
    skips: Skips


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operation with products: density of its weight (1 where it has none), and multiply-accumulates by stage.

    `executed` by machine: those of the stages together. `why`: by machine, what is executed in FF, BP and WU.
    """

    name: str
    density: float
    weights: int
    dense: dict[str, int]
    needed: dict[str, float]
    executed: dict[str, float]
    why: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopTable:
    """The table of a step; see the module. Ratios are over the dense step; tied weights count once."""

    workload: str
    batch: int
    layers: tuple[Layer, ...]
    weights: int
    weights_kept: int
    size_mb: dict[str, float]
    inference_flops_ratio: float
    training_flops_ratio: float

    @property
    def macs_dense(self) -> int:
        """Multiply-accumulates of the dense step."""
        return sum(sum(layer.dense.values()) for layer in self.layers)

    @property
    def macs_needed(self) -> float:
        """Those whose operands are kept and whose result is needed."""
        return sum(sum(layer.needed.values()) for layer in self.layers)

    @property
    def macs_executed(self) -> dict[str, float]:
        """Those that each machine executes."""
        names = self.layers[0].executed if self.layers else {}
        return {name: sum(layer.executed[name] for layer in self.layers) for name in names}


HYPOTHETICAL = {"ideal": IDEAL, "one_sided_32": ONE_SIDED_32}
"""Machines for contrast that nobody built, by name."""


def of_design(design: Design) -> Executor:
    """Return a design as a machine that skips the N:M modes of its array."""
    return Executor(design.label, Skips(nm=NmSkips(modes=design.array.patterns)))


def of_platform(platform: Platform) -> Executor:
    """Return a platform as a machine that skips 2:4 where its matrix units do."""
    two_of_four = platform.compute is not None and platform.compute.sparse_2_4
    return Executor(platform.name, Skips(nm=NmSkips(modes=("2:4",) if two_of_four else ())))


def count_flops(
    trace: Trace,
    masks: Masks,
    machines: Sequence[Executor] = (),
    *,
    batch: int = 1,
    count: str | None = None,
    update_every: int | None = None,
) -> FlopTable:
    """Count the multiplications of a training step under masks.

    Args:
        trace: the workload.
        masks: on its tensors, as of `accelsim.zeros.resolve.masks_of` or `masks_of_method`.
        machines: what the executed multiplications are counted for.
        batch: samples of the step.
        count: ``rigl`` for ratios by the counting rule of Evci et al. instead of multiply-accumulates.
        update_every: steps from one renewal of the masks to the next, at which the whole gradient of the weights is
            computed; None: never.

    Raises `InputError` for a step that cannot be counted, and for one that multiplies nothing.
    """
    by_operation: dict[str, list[Gemm]] = {}
    for task in lower(trace, _Anything(), METHODS["dense"], pattern=None, batch=batch).tasks:
        if isinstance(task, Gemm):
            by_operation.setdefault(task.operation, []).append(task)
    layers = tuple(
        _layer(operation, by_operation[operation.name], masks, machines)
        for operation in trace.operations
        if isinstance(operation, Weighted | Matmul) and operation.name in by_operation
    )
    if not any(layer.dense[Stage.FF] for layer in layers):
        raise InputError(f"{trace.model}: multiplies nothing in FF; there is nothing to count")
    weighted = [operation for operation in trace.operations if isinstance(operation, Weighted)]
    sized = list({operation.weight.name: operation for operation in reversed(weighted)}.values())
    if count is None:
        inference, training = _ratios(layers, _lifted(by_operation, masks), update_every)
    else:
        inference, training = _rigl_ratios(weighted, masks, update_every)
    return FlopTable(
        workload=trace.model,
        batch=batch,
        layers=layers,
        weights=sum(operation.weight_elements for operation in sized),
        weights_kept=round(sum(_density(masks, operation) * operation.weight_elements for operation in sized)),
        size_mb=_sizes(sized, masks),
        inference_flops_ratio=inference,
        training_flops_ratio=training,
    )


def masks_of_method(trace: Trace, method: str, pattern: Pattern) -> Masks:
    """Return the masks of a sparse-training method on the operands that it prunes; what it keeps dense has none."""
    found: dict[tuple[str, str], tuple[Mask, ...]] = {}
    for task in lower(trace, _Anything(frozenset({pattern})), METHODS[method], pattern=pattern, batch=1).tasks:
        if not isinstance(task, Gemm) or task.pattern is None:
            continue
        tensor = "weight" if task.w_operand is Operand.WEIGHT else "output-gradient"
        mask = Mask(
            key=f"{task.operation} {tensor} {task.form}",
            form="nm",
            density=pattern.density,
            pattern=pattern,
            along={Stage.FF: "input", Stage.BP: "output", Stage.WU: "batch"}[task.form],
            stages=frozenset({task.form}),
        )
        before = found.get((task.operation, tensor), ())
        if mask not in before:
            found[task.operation, tensor] = (*before, mask)
    return found


@dataclass(frozen=True, slots=True)
class _Anything:
    """A machine that lowering asks nothing of but its patterns."""

    patterns: frozenset[Pattern] = frozenset()
    name: str = "any machine"
    fuses_activations: bool = True


def _layer(operation: Weighted | Matmul, gemms: Sequence[Gemm], masks: Masks, machines: Sequence[Executor]) -> Layer:
    dense, needed = {str(stage): 0 for stage in STAGES}, {str(stage): 0.0 for stage in STAGES}
    executed = {machine.name: 0.0 for machine in machines}
    why: dict[str, dict[str, str]] = {machine.name: {} for machine in machines}
    for gemm in gemms:
        product = product_of(masks, operation.name, _form(gemm))
        dense[gemm.form] += gemm.macs
        needed[gemm.form] += gemm.macs * product.needed
        for machine in machines:
            found = executed_share(product, machine.skips, gemm.k)
            executed[machine.name] += gemm.macs * found.share
            why[machine.name].setdefault(str(gemm.form), found.why)
    return Layer(
        name=operation.name,
        density=_density(masks, operation),
        weights=0 if isinstance(operation, Matmul) else operation.weight_elements,
        dense=dense,
        needed=needed,
        executed=executed,
        why=why,
    )


def _form(gemm: Gemm) -> str:
    """Return which product of an operation it is: FF, BP and WU, or AB, dA and dB of one between activations."""
    if gemm.w_operand is not Operand.ACTIVATION:
        return gemm.form
    return "AB" if gemm.form is Stage.FF else "dA" if gemm.name.startswith(f"{gemm.operation}[dA]") else "dB"


def _density(masks: Masks, operation: Weighted | Matmul) -> float:
    own = masks.get((operation.name, "weight"), ())
    return next((mask.density for mask in own if "FF" in mask.stages), own[0].density if own else 1.0)


def _lifted(by_operation: dict[str, list[Gemm]], masks: Masks) -> float:
    """Return the multiplications of a step that computes the whole gradient of every weight."""
    whole = {place: own for place, own in masks.items() if place[1] != "weight-gradient"}
    return sum(
        gemm.macs * product_of(whole, name, _form(gemm)).needed
        for name, gemms in by_operation.items()
        for gemm in gemms
    )


def _ratios(layers: Sequence[Layer], lifted: float, update_every: int | None) -> tuple[float, float]:
    """Return needed over dense multiply-accumulates of FF, and of the step on average."""
    forward = sum(layer.needed[Stage.FF] for layer in layers) / sum(layer.dense[Stage.FF] for layer in layers)
    dense = sum(sum(layer.dense.values()) for layer in layers)
    needed = sum(sum(layer.needed.values()) for layer in layers)
    if update_every is not None:
        needed = (needed * update_every + lifted) / (update_every + 1)
    return forward, needed / dense


def _sizes(operations: Sequence[Weighted], masks: Masks) -> dict[str, float]:
    """Return the size of the weights in 10^6 bytes by index: 32 bits a kept weight, and 32 an output channel.

    A bitmap has a bit for each weight of a masked layer, N:M ceil(log2 M) bits for each kept one (a bitmap where the
    mask is no N:M), CSR 32.
    """
    bits = {"bitmap": 0.0, "nm": 0.0, "csr": 0.0}
    for operation in operations:
        density = _density(masks, operation)
        kept, outputs = density * operation.weight_elements, operation.weight_shape[0]
        if isinstance(operation, ConvTranspose):
            outputs = operation.out_channels
        mask = next(iter(masks.get((operation.name, "weight"), ())), None)
        bitmap = operation.weight_elements if mask else 0
        in_group = kept * mask.pattern.index_bits if mask and mask.pattern else bitmap
        for name, index in (("bitmap", bitmap), ("nm", in_group), ("csr", 32 * kept if mask else 0)):
            bits[name] += 32 * kept + index + 32 * outputs
    return {name: number / 8 / MEGA for name, number in bits.items()}


def _rigl_ratios(weighted: Sequence[Weighted], masks: Masks, update_every: int | None) -> tuple[float, float]:
    """Return inference and training FLOPs over dense as Evci et al. count them.

    A layer costs 2 v d + 1 per output value, v weights per output. Training costs three forwards: sparse ones where the
    gradient of the weights is masked, two sparse and a dense one where it is not, and of every dT + 1 steps one with a
    dense gradient where masks are renewed: (3 f_S dT + 2 f_S + f_D)/(dT + 1).
    """
    sparse = sum(
        _rigl_flops(operation, _density(masks, operation), first=not at) for at, operation in enumerate(weighted)
    )
    dense = sum(_rigl_flops(operation, 1.0, first=not at) for at, operation in enumerate(weighted))
    masked = any(tensor == "weight-gradient" for _, tensor in masks)
    training = 3 * sparse if masked else 2 * sparse + dense
    if masked and update_every is not None:
        training = (3 * sparse * update_every + 2 * sparse + dense) / (update_every + 1)
    return sparse / dense, training / (3 * dense)


def _rigl_flops(operation: Weighted, density: float, *, first: bool) -> float:
    """FLOPs of a forward: (2 v d + 1) per output value; the padded input of the first strided convolution is counted
    as 'same', as the authors' notebook has it."""
    if isinstance(operation, Linear):
        outputs, inputs = operation.rows * operation.out_features, operation.in_features
    else:
        sizes: Sequence[int] = operation.out_size
        if first and max(operation.stride) > 1:
            padded = zip(operation.in_size, operation.padding, operation.stride, strict=True)
            sizes = [-(-(size + 2 * pad) // step) for size, pad, step in padded]
        outputs = operation.out_channels * prod(sizes)
        inputs = operation.weight_elements // operation.out_channels
    return outputs * (2 * inputs * density + 1)
