"""The products of an operation: one GEMM, or one per phase where the taps of a strided kernel are scattered.

A scattered product has a second form, columns: one GEMM per position that the taps start from, with all taps as columns
of its result, and the sums of what reaches the same place (col2im) as vector work. It never multiplies a border.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import gcd, prod
from typing import Literal

from accelsim.lowering.tasks import Gemm, Im2col, Spatial, Stage, VectorWork
from accelsim.sparsity.methods import Axis, Operand, SparseOperand
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul

__all__ = [
    "Weighted",
    "channels",
    "col2im",
    "column_gemm",
    "matmul",
    "multiplies_border",
    "positions",
    "weight_gemms",
    "wu_gemm",
]

Weighted = Conv | ConvTranspose | Linear


def channels(operation: Weighted, axis: Axis) -> int:
    """Channels or features of one group of the operation along an axis."""
    return operation.channels(axis)


Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Phase:
    """Positions of one sample, of a strided transposed product, that the same kernel taps reach; `spatial`: the windows
    through which they do along each dimension, empty where no two share a pixel."""

    label: str
    positions: int
    taps: int
    spatial: tuple[Spatial, ...]


def _phase(label: str, spatial: tuple[Spatial, ...]) -> _Phase:
    shared = any(along.overlaps for along in spatial)
    positions, taps = (prod(along[at] for along in spatial) for at in (0, 2))
    return _Phase(label, positions, taps, spatial if shared else ())


@lru_cache(maxsize=4096)
def _gathered(targets: Sizes, sources: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes, padding: Sizes) -> _Phase:
    """The windows of a product in which each of `targets` reads the taps of `sources`."""
    geometry = zip(targets, sources, kernel, stride, dilation, padding, strict=True)
    return _phase("", tuple(Spatial(*numbers) for numbers in geometry))


def _geometry(operation: Conv | ConvTranspose) -> tuple[Sizes, Sizes, Sizes, Sizes]:
    return operation.kernel, operation.stride, operation.dilation, operation.padding


def _residues(
    size: int, source: int, kernel: int, stride: int, dilation: int, padding: int
) -> Iterator[tuple[int, Spatial]]:
    """Positions of one dimension by residue of the stride, each with the windows through which it is reached.

    Position x is reached through tap t from (x + padding - t dilation) / stride. With x + padding = q stride + residue,
    and the taps of the residue counted from the last, that is q less a constant plus dilation / gcd(stride, dilation)
    for each: a window of stride 1.
    """
    apart = dilation // gcd(stride, dilation)
    for residue in sorted({tap * dilation % stride for tap in range(kernel)}):
        taps = [tap for tap in range(kernel) if tap * dilation % stride == residue]
        first = -((residue - padding) // stride)
        positions = (size - 1 + padding - residue) // stride - first + 1
        if positions > 0:
            furthest = (taps[-1] * dilation - residue) // stride
            yield residue, Spatial(positions, source, len(taps), 1, apart, furthest - first)


@lru_cache(maxsize=4096)
def _phases(
    targets: Sizes, sources: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes, padding: Sizes
) -> tuple[_Phase, ...]:
    """Split `targets` positions, reached from `sources`, by residue of the stride; phases that no tap or position has
    are left out."""
    geometry = zip(targets, sources, kernel, stride, dilation, padding, strict=True)
    per_dimension = [list(_residues(*numbers)) for numbers in geometry]
    single = all(step == 1 for step in stride)
    return tuple(
        _phase(
            "" if single else f"[phase {','.join(str(residue) for residue, _ in combination)}]",
            tuple(along for _, along in combination),
        )
        for combination in product(*per_dimension)
    )


def positions(operation: Weighted, batch: int) -> int:
    """Rows that WU reduces: output positions (input positions of a transposed convolution) of `batch` samples."""
    if isinstance(operation, Linear):
        return operation.rows_at(batch)
    return batch * prod(operation.out_size if isinstance(operation, Conv) else operation.in_size)


def matmul(operation: Matmul, stage: Stage, suffix: str, count: int, m: int, n: int, k: int) -> Gemm:
    """`count` products of two activations, m x k by k x n."""
    return Gemm(
        name=operation.name + suffix,
        operation=operation.name,
        stage=stage,
        m=m,
        n=n,
        k=k,
        count=count,
        x_elements=m * k,
        w_elements=k * n,
        w_operand=Operand.ACTIVATION,
        macs=count * m * n * k,
    )


def _weight_gemm(
    operation: Weighted,
    stage: Stage,
    label: str,
    sparse: tuple[SparseOperand, Pattern] | None,
    *,
    m: int,
    n: int,
    channels: int,
    taps: int,
    x_elements: int,
    macs: int,
    images: int = 1,
    spatial: tuple[Spatial, ...] = (),
) -> Gemm:
    """A product of an activation or gradient (m x k) with a weight (k x n), k = channels x taps, all groups; `spatial`:
    the windows that the taps of `images` read, if any."""
    count = 1 if isinstance(operation, Linear) else operation.groups
    pattern = None
    window = _window("x", "m", "k", images, channels, spatial)
    if sparse is not None:
        operand, pattern = sparse
        channels = -(-channels // pattern.group) * pattern.group
    k = channels * taps
    x_elements = min(m * k, x_elements)
    gemm = Gemm(
        name=operation.name + label,
        operation=operation.name,
        stage=stage,
        m=m,
        n=n,
        k=k,
        count=count,
        x_elements=x_elements,
        w_elements=k * n,
        w_operand=Operand.WEIGHT,
        macs=macs,
        tensor=operation.weight.name,
        pattern=pattern,
        window=window,
    )
    if sparse is not None and operand.operand is Operand.GRADIENT:
        turned = None if window is None else replace(window, operand="w", positions="n")
        return replace(
            gemm, m=n, n=m, x_elements=k * n, w_elements=x_elements, w_operand=Operand.GRADIENT, window=turned
        )
    return gemm


def _window(
    operand: Literal["x", "w"],
    positions: Literal["m", "n", "k"],
    windows: Literal["m", "n", "k"],
    images: int,
    channels: int,
    spatial: tuple[Spatial, ...],
) -> Im2col | None:
    """An im2col operand, None where no two windows share a pixel: then each element is read as often as it is used."""
    if not spatial:
        return None
    return Im2col(
        operand=operand, positions=positions, windows=windows, images=images, channels=channels, spatial=spatial
    )


def weight_gemms(
    operation: Weighted, stage: Stage, batch: int, sparse: tuple[SparseOperand, Pattern] | None, suffix: str = ""
) -> Iterator[Gemm]:
    """FF or BP: one GEMM, or one per phase where the taps of a strided kernel are scattered over the result.

    The multiply-accumulates of all of them are those of the operation: every pair of a tap and a position that it is
    applied to counts once, whichever side it is computed from. A phase multiplies more where a border of its result is
    reached by few taps, or none; pairs that meet the padding alone and are in no phase count in the last.
    """
    inputs, outputs = channels(operation, Axis.INPUT), channels(operation, Axis.OUTPUT)
    reduced, produced = (inputs, outputs) if stage is Stage.FF else (outputs, inputs)
    pairs = operation.macs_at(batch)
    if isinstance(operation, Linear):
        rows = operation.rows_at(batch)
        batch, read, taps = 1, rows, 1
        phases: tuple[_Phase, ...] = (_Phase("", rows, 1, ()),)
    else:
        source, target = operation.in_size, operation.out_size
        if stage is Stage.BP:
            source, target = target, source
        read, taps = prod(source), prod(operation.kernel)
        geometry = (target, source, *_geometry(operation))
        phases = _phases(*geometry) if _is_scattered(operation, stage) else (_gathered(*geometry),)
    left = pairs
    for phase in phases:
        macs = left if phase is phases[-1] else pairs // taps * phase.taps
        left -= macs
        yield _weight_gemm(
            operation,
            stage,
            phase.label + suffix,
            sparse,
            m=batch * phase.positions,
            n=produced,
            channels=reduced,
            taps=phase.taps,
            x_elements=batch * reduced * read,
            macs=macs,
            images=batch,
            spatial=phase.spatial,
        )


def _is_scattered(operation: Conv | ConvTranspose, stage: Stage) -> bool:
    """Say whether FF or BP sends every input to the places that its taps reach."""
    return isinstance(operation, ConvTranspose) is (stage is Stage.FF)


def multiplies_border(operation: Weighted, stage: Stage) -> bool:
    """Say whether FF or BP phase by phase multiplies places of the result by taps that nothing reaches them through."""
    if isinstance(operation, Linear) or not _is_scattered(operation, stage):
        return False
    source, target = operation.in_size, operation.out_size
    if stage is Stage.BP:
        source, target = target, source
    done = sum(phase.positions * phase.taps for phase in _phases(target, source, *_geometry(operation)))
    return done > prod(source) * prod(operation.kernel)


def column_gemm(
    operation: Conv | ConvTranspose,
    stage: Stage,
    batch: int,
    sparse: tuple[SparseOperand, Pattern] | None,
    suffix: str = "",
) -> Gemm:
    """The scattered product of an operation as columns: k = reduced channels, n = produced channels x taps."""
    inputs, outputs = channels(operation, Axis.INPUT), channels(operation, Axis.OUTPUT)
    reduced, produced = (inputs, outputs) if stage is Stage.FF else (outputs, inputs)
    starts = batch * prod(operation.in_size if stage is Stage.FF else operation.out_size)
    return _weight_gemm(
        operation,
        stage,
        f"[columns]{suffix}",
        sparse,
        m=starts,
        n=produced * prod(operation.kernel),
        channels=reduced,
        taps=1,
        x_elements=starts * reduced,
        macs=operation.macs_at(batch),
    )


def col2im(operation: Conv | ConvTranspose, stage: Stage, batch: int, suffix: str = "") -> VectorWork:
    """The sums behind a product in columns: every column is read once, every place of the result written once."""
    source, target, produced = operation.in_size, operation.out_size, operation.out_channels
    if stage is Stage.BP:
        source, target, produced = target, source, operation.in_channels
    return VectorWork(
        name=f"{operation.name}[col2im]{suffix}",
        operation=operation.name,
        direction="FF" if stage is Stage.FF else "BP",
        reads=batch * prod(source) * prod(operation.kernel) * produced,
        writes=batch * prod(target) * produced,
    )


def wu_gemm(operation: Weighted, batch: int, sparse: tuple[SparseOperand, Pattern] | None) -> Gemm:
    """WU: dW = X^T dY, with dY on the weight port."""
    inputs = channels(operation, Axis.INPUT)
    outputs = channels(operation, Axis.OUTPUT)
    k, window = positions(operation, batch), None
    if isinstance(operation, Linear):
        m, n, count, x_elements, w_elements = inputs, outputs, 1, k * inputs, k * outputs
    else:
        taps, count = prod(operation.kernel), operation.groups
        m, n = (inputs * taps, outputs) if isinstance(operation, Conv) else (inputs, outputs * taps)
        x_elements = min(m * k, batch * inputs * prod(operation.in_size))
        w_elements = min(k * n, batch * outputs * prod(operation.out_size))
        window = _wu_window(operation, batch)
    return Gemm(
        name=operation.name,
        operation=operation.name,
        stage=Stage.WU,
        m=m,
        n=n,
        k=k,
        count=count,
        x_elements=x_elements,
        w_elements=w_elements,
        w_operand=Operand.GRADIENT,
        macs=count * m * n * k,
        tensor=operation.weight.name,
        pattern=None if sparse is None else sparse[1],
        window=window,
    )


def _wu_window(operation: Conv | ConvTranspose, batch: int) -> Im2col | None:
    """The im2col operand of WU: X^T of a convolution, dY of a transposed one."""
    if isinstance(operation, Conv):
        read = _gathered(operation.out_size, operation.in_size, *_geometry(operation))
        return _window("x", "k", "m", batch, channels(operation, Axis.INPUT), read.spatial)
    read = _gathered(operation.in_size, operation.out_size, *_geometry(operation))
    return _window("w", "k", "n", batch, channels(operation, Axis.OUTPUT), read.spatial)
