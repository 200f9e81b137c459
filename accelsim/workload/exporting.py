"""Traces as input of other tools: what the writers in `accelsim.workload.exporters` share.

These tools run layers one by one, so vector work, biases, shared weights and the order of a step stay behind; the notes
of an export say what did. What a format would run as something else is an `InputError`.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from accelsim.base.errors import InputError
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.names import few
from accelsim.workload.observed import OperandSparsity
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Trace, Vector

__all__ = [
    "EXPORT_FORMATS",
    "Export",
    "Layer",
    "Product",
    "forward_layers",
    "left_behind",
    "observed_ratio",
    "seen_in_ff",
    "unwritten_sparsity",
    "write_directory",
]

EXPORT_FORMATS: Mapping[str, str] = MappingProxyType({
    "scalesim": "SCALE-Sim topology: one .csv file",
    "timeloop": "Timeloop problems, version 0.4: a directory with one YAML file per layer",
})  # fmt: skip

Layer = Conv | ConvTranspose | Linear | Matmul


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """`count` products (m, k) times (k, n); of every M elements along k the right operand keeps N under `pattern`."""

    name: str
    m: int
    n: int
    k: int
    count: int = 1
    pattern: Pattern | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Texts by file name (a topology is one text), what the format took in another form or not, and what there is."""

    texts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    summary: str


def forward_layers(trace: Trace) -> list[Layer]:
    """Return the operations of the forward pass that have a product. Raises `InputError` where there is none."""
    layers = [item for item in trace.operations if not isinstance(item, Vector) and item.in_forward]
    if not layers:
        raise InputError(f"trace '{trace.model}': no operation has a product")
    return layers


def seen_in_ff(layer: Layer, operand: str) -> OperandSparsity | None:
    """Return what FF was seen to hold in one operand, None where that was not measured."""
    observed = None if layer.observed is None else layer.observed.FF
    return None if observed is None else observed.operands.get(operand)


def observed_ratio(layer: Layer) -> Pattern | None:
    """Return the N:M that the weight was seen to obey in FF along its inputs, None where it is dense or has none."""
    entry = seen_in_ff(layer, "weight")
    if entry is None or entry.pattern is None or entry.axis != "input":
        return None
    pattern = Pattern.parse(entry.pattern)
    return None if pattern.kept == pattern.group else pattern


def unwritten_sparsity(trace: Trace) -> Iterator[str]:
    """Say which sparsity of the forward pass is no N:M ratio of a weight, which is all that some formats take."""
    layers = forward_layers(trace)
    other = [
        layer.name for layer in layers if observed_ratio(layer) is None and _is_sparse(seen_in_ff(layer, "weight"))
    ]
    if other:
        yield f"weight sparsity without N:M groups along the inputs is not written: {few(other)}"
    operands = ("activation", "left", "right")
    activations = [layer.name for layer in layers if any(seen_in_ff(layer, operand) for operand in operands)]
    if activations:
        yield f"densities of activations are not written: {few(activations)}"


def _is_sparse(entry: OperandSparsity | None) -> bool:
    if entry is None:
        return False
    pattern = None if entry.pattern is None else Pattern.parse(entry.pattern)
    return entry.density not in {None, 1} or (pattern is not None and pattern.kept < pattern.group)


def left_behind(trace: Trace, *, forward: bool) -> Iterator[str]:
    """Say what no format can hold of a trace: of its forward pass, or of the products of a whole step."""
    vector = sum(isinstance(item, Vector) for item in trace.operations)
    other = len({parameter.name for item in trace.operations for parameter in item.other_parameters})
    if vector or other:
        yield f"not written: {vector} vector operations, {other} parameters outside of products (biases and the like)"
    uses = Counter(item.weight.name for item in trace.operations if isinstance(item, Conv | ConvTranspose | Linear))
    shared = [name for name, count in uses.items() if count > 1]
    if shared:
        yield f"weights that layers share are written with each of them: {few(shared)}"
    backward = [item.name for item in trace.operations if item.backward_only]
    if backward and forward:
        yield f"operations of the backward pass alone are not written: {few(backward)}"
    again = [item.name for item in trace.operations if item.recomputed]
    if again and forward:
        yield f"operations that the backward pass computes again are written once: {few(again)}"


def write_directory(path: Path, texts: Sequence[tuple[str, str]]) -> None:
    """Write `texts` into the new directory `path`, which appears with all of them or not at all.

    Raises `InputError` where anything but an empty directory stands there, or nothing can be written.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: exists; a new or an empty directory is needed")
    try:
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        for name, text in texts:
            (temporary / name).write_text(text, encoding="utf-8")
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
