"""Traces as input of other tools: what the writers in `accelsim.workload.exporters` share.

These tools run layers one by one, so vector work, biases, shared weights and the order of a step stay behind; the notes
of an export say what did. What a format would run as something else is an `InputError`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import yaml

from accelsim.base.errors import InputError
from accelsim.base.files import replacing_folder
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.names import few
from accelsim.workload.observed import OperandSparsity
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Trace, Vector

__all__ = [
    "EXPORT_FORMATS",
    "Export",
    "ExportFormat",
    "Layer",
    "OperandBits",
    "Product",
    "Window",
    "forward_layers",
    "forward_product",
    "left_behind",
    "observed_ratio",
    "seen_in_ff",
    "sparse_layers",
    "unwritten_sparsity",
    "windows",
    "without_transposed",
    "write_directory",
    "yaml_text",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFormat:
    """What a format is, and the suffix of its file; None where it is a directory of files."""

    words: str
    suffix: str | None


EXPORT_FORMATS: Mapping[str, ExportFormat] = MappingProxyType({
    "scalesim": ExportFormat(words="SCALE-Sim 3 topology and its layout file", suffix=".csv"),
    "timeloop": ExportFormat(words="Timeloop problems, version 0.4, one YAML file per layer", suffix=None),
    "zigzag": ExportFormat(words="ZigZag 3.9 workload", suffix=".yaml"),
    "accelforge": ExportFormat(words="AccelForge 1.0 workload", suffix=".yaml"),
})  # fmt: skip

_NO_FOLDING = 2**20
"""Columns after which YAML would break a line."""

Layer = Conv | ConvTranspose | Linear | Matmul


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """`count` products (m, k) times (k, n); of every M elements along k the right operand keeps N under `pattern`.

    `of_activations`: neither operand is a weight. `gradient_of_weights`: the result is stored as master weights are.
    """

    name: str
    m: int
    n: int
    k: int
    count: int = 1
    pattern: Pattern | None = None
    of_activations: bool = False
    gradient_of_weights: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperandBits:
    """Bits of a value: of operands and results, of partial sums, and of weight gradients."""

    operand: int
    accumulator: int
    gradient: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One spatial dimension of a convolution: `taps` at each of `positions` outputs over `size` inputs."""

    taps: int
    positions: int
    stride: int
    dilation: int
    size: int
    padding: int

    @property
    def extent(self) -> int:
        """Inputs from the first to the last that a tap reaches, padding included."""
        return (self.positions - 1) * self.stride + (self.taps - 1) * self.dilation + 1

    @property
    def inputs_read(self) -> int:
        """Inputs that some tap reads, padding not counted."""
        read = np.zeros(self.extent, dtype=np.bool_)
        for tap in range(self.taps):
            first = tap * self.dilation
            read[first : first + (self.positions - 1) * self.stride + 1 : self.stride] = True
        return int(np.count_nonzero(read[self.padding : self.padding + self.size]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Texts by file name, what the format took in another form or not, and what there is.

    Where the user names the one file, its text has the name "", and a file beside it what its name adds.
    """

    texts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    summary: str


def forward_layers(trace: Trace) -> list[Layer]:
    """Return the operations of the forward pass that have a product. Raises `InputError` where there is none."""
    layers = [item for item in trace.operations if not isinstance(item, Vector) and item.in_forward]
    if not layers:
        raise InputError(f"trace '{trace.model}': no operation has a product")
    return layers


def without_transposed(layers: Sequence[Layer], what: str) -> list[Conv | Linear | Matmul]:
    """Return the layers. Raises `InputError` for transposed convolutions: `what` cannot hold their loops."""
    transposed = [layer.name for layer in layers if isinstance(layer, ConvTranspose)]
    if transposed:
        raise InputError(f"{what} cannot hold transposed convolutions ({few(transposed)}); --stage FF writes products")
    return [layer for layer in layers if not isinstance(layer, ConvTranspose)]


def forward_product(layer: Linear | Matmul, samples: int) -> Product:
    """Return the product of a layer in FF at `samples` samples."""
    if isinstance(layer, Linear):
        return Product(name=layer.name, m=layer.rows_at(samples), n=layer.out_features, k=layer.in_features)
    count, m, n, k = layer.sizes_at(samples)
    return Product(name=layer.name, m=m, n=n, k=k, count=count, of_activations=True)


def windows(layer: Conv) -> list[Window]:
    """Return the spatial dimensions of a convolution, the last one (its width) first."""
    sizes = zip(layer.kernel, layer.out_size, layer.stride, layer.dilation, layer.in_size, layer.padding, strict=True)
    return [
        Window(taps=taps, positions=positions, stride=stride, dilation=dilation, size=size, padding=padding)
        for taps, positions, stride, dilation, size, padding in sizes
    ][::-1]


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


def sparse_layers(trace: Trace) -> list[str]:
    """Return the layers of the forward pass with zeros in an operand, by what was observed."""
    operands = ("weight", "activation", "left", "right")
    return [
        layer.name
        for layer in forward_layers(trace)
        if any(_is_sparse(seen_in_ff(layer, operand)) for operand in operands)
    ]


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
    if any(item.inputs is not None for item in trace.operations):
        yield "not written: data-flow edges; layers run one by one"
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


def yaml_text(data: object) -> str:
    """Return lists and mappings as YAML in their own order, those of plain values on one line."""
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=_NO_FOLDING)


def write_directory(path: Path, texts: Sequence[tuple[str, str]]) -> None:
    """Write `texts` into the new directory `path`, which appears with all of them or not at all.

    Raises `InputError` where anything but an empty directory stands there, or nothing can be written.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: exists; a new or an empty directory is needed")
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written: No such file or directory")
    with replacing_folder(path) as filled:
        for name, text in texts:
            (filled / name).write_text(text, encoding="utf-8")
