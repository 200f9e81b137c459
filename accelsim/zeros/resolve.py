"""From a file of zeros and a trace to the masks on every tensor of every operation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from accelsim.base.errors import InputError, did_you_mean
from accelsim.sparsity.spread import spread
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Trace
from accelsim.zeros.masks import Form, Mask, Masks
from accelsim.zeros.zeros_file import (
    FromFile,
    Global,
    ZeroEntry,
    Zeros,
    read_densities,
    read_weights,
    tensor_and_glob,
)

__all__ = ["masks_of"]

Weighted = Conv | ConvTranspose | Linear
Multiplying = Weighted | Matmul

_OF_FACTORS = frozenset({"left", "right", "output"})
_KINDS = ("conv", "conv_transpose", "linear", "matmul")
_ALL = frozenset({"FF", "BP", "WU"})


def masks_of(trace: Trace, zeros: Zeros) -> Masks:
    """Return the masks that `zeros` puts on the tensors of `trace`.

    Raises `InputError` for an entry that matches nothing, for two masks on one tensor in one stage, and for densities
    that cannot be spread or are missing.
    """
    return _Resolver(trace, zeros).masks()


class _Resolver:
    def __init__(self, trace: Trace, zeros: Zeros) -> None:
        self.trace, self.zeros = trace, zeros
        self.operations: list[Multiplying] = [
            operation for operation in trace.operations if isinstance(operation, Multiplying)
        ]
        self.found: dict[tuple[str, str], tuple[Mask, ...]] = {}

    def masks(self) -> Masks:
        for index, entry in enumerate(self.zeros.entries):
            where = self.zeros.where(index)
            made = list(self._copied(where, entry) if entry.same_as is not None else self._own(where, entry))
            if not made:
                raise InputError(f"{where}: changes nothing: every operation that it names stays dense")
            for operation, mask in made:
                self._put(where, operation.name, entry.tensor, mask)
                for text in entry.aligned:
                    self._align(where, text, operation, mask)
        return self.found

    def _put(self, where: str, operation: str, tensor: str, mask: Mask) -> None:
        before = self.found.get((operation, tensor), ())
        both = sorted(stage for other in before for stage in other.stages & mask.stages if other.key != mask.key)
        if both:
            raise InputError(
                f"{where}: the {tensor} of '{operation}' has zeros of another entry in {both[0]}; a tensor has one mask"
                " in a stage (name stages with 'in', or say aligned or same-as where it is the same mask)"
            )
        if mask not in before:
            self.found[operation, tensor] = (*before, mask)

    def _named(self, where: str, globs: Sequence[str], tensor: str) -> list[Multiplying]:
        """Return the operations of kinds or globs that have a tensor."""
        able = [operation for operation in self.operations if _has(operation, tensor)]
        chosen: dict[str, Multiplying] = {}
        for glob in globs:
            if glob in _KINDS or any(operation.kind == glob for operation in self.operations):
                hits = [operation for operation in able if _is_kind(operation, glob)]
            else:
                hits = [operation for operation in able if fnmatchcase(operation.name, glob)]
            if not hits:
                near = did_you_mean(glob, [*_KINDS, *(operation.name for operation in able)])
                raise InputError(f"{where}: '{glob}' matches no operation with a tensor '{tensor}'{near}")
            chosen |= {operation.name: operation for operation in hits}
        return [operation for operation in self.operations if operation.name in chosen]

    def _own(self, where: str, entry: ZeroEntry) -> Iterator[tuple[Multiplying, Mask]]:
        operations = self._named(f"{where}.of", entry.of, entry.tensor)
        dense = {operation.name for operation in self._named(f"{where}.dense", entry.dense, entry.tensor)}
        operations = [operation for operation in operations if operation.name not in dense]
        if not operations:
            return
        densities = self._densities(where, entry, operations)
        for operation, density in zip(operations, densities, strict=True):
            if density < 1:
                yield operation, _mask(where, entry, operation, density)

    def _densities(self, where: str, entry: ZeroEntry, operations: Sequence[Multiplying]) -> Sequence[float]:
        if entry.form == "graph" and entry.edges is not None:
            return [_of_graph(where, entry.edges, operation) for operation in operations]
        if isinstance(entry.across, FromFile):
            return _from_table(Path(self.zeros.folder, entry.across.file), operations)
        if isinstance(entry.across, Global):
            path = Path(self.zeros.folder, entry.across.global_)
            return _by_magnitude(path, entry.wanted_sparsity, operations)
        if entry.across == "traced":
            return [_observed(where, entry.tensor, operation) for operation in operations]
        if entry.across == "uniform":
            return [entry.wanted_density] * len(operations)
        weighted = [operation for operation in operations if isinstance(operation, Weighted)]
        distinct = {operation.weight.name: operation.weight_shape for operation in weighted}
        found = spread(list(distinct.values()), entry.wanted_sparsity, entry.across)
        by_weight = dict(zip(distinct, found.densities, strict=True))
        return [by_weight[operation.weight.name] for operation in weighted]

    def _copied(self, where: str, entry: ZeroEntry) -> Iterator[tuple[Multiplying, Mask]]:
        try:
            tensor, glob = tensor_and_glob(entry.same_as or "")
        except InputError as error:
            raise InputError(f"{where}.same-as: {error}") from None
        masked = [operation for operation in self.operations if (operation.name, tensor) in self.found]
        sources = [operation for operation in masked if glob is None or fnmatchcase(operation.name, glob)]
        if not sources:
            raise InputError(f"{where}.same-as: '{entry.same_as}': no entry before it has zeros there")
        targets = self._named(f"{where}.of", entry.of, entry.tensor) if entry.of else sources
        if glob is None:
            targets = [operation for operation in targets if operation in sources]
            sources = targets
        if len(sources) != len(targets):
            raise InputError(
                f"{where}: {len(targets)} operations and {len(sources)} masks of '{entry.same_as}'; one each is needed"
            )
        stages = frozenset(entry.in_ or _ALL)
        for source, target in zip(sources, targets, strict=True):
            if not _has(target, entry.tensor):
                raise InputError(f"{where}.tensor: '{target.name}' has no tensor '{entry.tensor}'")
            for mask in self.found[source.name, tensor]:
                yield target, replace(mask, stages=stages)

    def _align(self, where: str, text: str, operation: Multiplying, mask: Mask) -> None:
        try:
            tensor, glob = tensor_and_glob(text)
        except InputError as error:
            raise InputError(f"{where}.aligned: {error}") from None
        others = [operation] if glob is None else self._named(f"{where}.aligned", [glob], tensor)
        for other in others:
            if not _has(other, tensor):
                raise InputError(f"{where}.aligned: '{other.name}' has no tensor '{tensor}'")
            self._put(where, other.name, tensor, mask)


def _has(operation: Multiplying, tensor: str) -> bool:
    if isinstance(operation, Matmul):
        return tensor in _OF_FACTORS
    return tensor not in {"left", "right"}


def _is_kind(operation: Multiplying, kind: str) -> bool:
    return operation.kind == kind or (kind in {"conv", "conv_transpose"} and operation.kind.startswith(kind))


def _mask(where: str, entry: ZeroEntry, operation: Multiplying, density: float) -> Mask:
    pattern = entry.pattern
    form: Form = "nm" if pattern else entry.form  # type: ignore[assignment]  # one of the forms, as was checked
    return Mask(
        key=f"{where} {operation.name}",
        form=form,
        density=density,
        pattern=pattern,
        along=(entry.along or _ALONG[entry.tensor]) if pattern else None,
        block=entry.block,
        stages=frozenset(entry.in_ or _ALL),
    )


_ALONG = {
    "weight": "input", "input": "input", "output": "output", "output-gradient": "output", "input-gradient": "input",
    "weight-gradient": "input", "left": "input", "right": "input",
}  # fmt: skip
"""What groups of N:M run along where the entry does not say."""


def _of_graph(where: str, edges: int, operation: Multiplying) -> float:
    assert isinstance(operation, Matmul), "left is a tensor of products of activations alone"
    places = operation.m * operation.k
    if edges > places:
        raise InputError(f"{where}.edges: got {edges:,}; '{operation.name}' has {places:,} places")
    return edges / places


def _from_table(path: Path, operations: Sequence[Multiplying]) -> list[float]:
    table = read_densities(path)
    missing = [operation.name for operation in operations if operation.name not in table]
    if missing:
        raise InputError(f"{path}: no row for layer '{missing[0]}'{did_you_mean(missing[0], table)}")
    return [table[operation.name] for operation in operations]


def _by_magnitude(path: Path, sparsity: float, operations: Sequence[Multiplying]) -> list[float]:
    """Return the densities that one threshold on all magnitudes leaves."""
    arrays = read_weights(path)
    sizes: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    for operation in operations:
        if not isinstance(operation, Weighted):
            continue
        values = arrays.get(operation.name, arrays.get(operation.weight.name))
        if values is None:
            raise InputError(f"{path}: no array for '{operation.name}'{did_you_mean(operation.name, arrays)}")
        if values.size != operation.weight_elements:
            raise InputError(
                f"{path}: '{operation.name}': {values.size:,} values; it has {operation.weight_elements:,} weights"
            )
        sizes.append(np.abs(values.astype(np.float64)).ravel())
    everything = np.concatenate(sizes)
    if not np.isfinite(everything).all():
        raise InputError(f"{path}: holds NaN or infinity")
    zeros = int(sparsity * everything.size)
    order = np.argsort(everything, kind="stable")
    kept = np.ones(everything.size, dtype=bool)
    kept[order[:zeros]] = False
    ends = np.cumsum([each.size for each in sizes])
    parts = np.split(kept, ends[:-1])
    empty = [operation.name for operation, part in zip(operations, parts, strict=True) if not part.any()]
    if empty:
        raise InputError(f"{path}: sparsity {sparsity:g} leaves no weight of '{empty[0]}'; keep it dense, or take less")
    return [float(part.mean()) for part in parts]


def _observed(where: str, tensor: str, operation: Multiplying) -> float:
    """Return the density that the trace saw; 1 where it saw no zeros or nothing."""
    places: Mapping[str, tuple[str, str]] = {
        "weight": ("FF", "weight"), "input": ("FF", "activation"), "output-gradient": ("BP", "gradient"),
    }  # fmt: skip
    if tensor not in places or isinstance(operation, Matmul):
        raise InputError(f"{where}.across: traced: traces observe {', '.join(places)} of operations with a weight")
    stage, operand = places[tensor]
    seen = getattr(operation.observed, stage, None)
    entry = None if seen is None else seen.operands.get(operand)
    density = None if entry is None else entry.density
    return 1.0 if density is None or density == 0 else density
