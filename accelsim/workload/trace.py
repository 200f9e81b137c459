"""The trace format ``accelsim-trace/1``: the forward pass of a model, one entry per operation.

A trace is one JSON file (``.json`` or ``.json.gz``). All shapes are *per sample*: the batch is chosen when the trace is
simulated. Only the forward pass is listed; backward pass and weight update follow from it (`accelsim.lowering`).

```json
{
  "format": "accelsim-trace/1",
  "model": "tiny",
  "input_shapes": [[3, 32, 32]],
  "parameters": 1226,
  "origin": {"exporter": "accelsim trace 0.1.0", "source": "tiny.py:model", "versions": ["torch 2.13.0"]},
  "operations": [
    {"name": "conv", "kind": "conv2d", "inputs": ["input:0"], "in_channels": 3, "out_channels": 16,
     "in_size": [32, 32], "kernel": [3, 3], "padding": [1, 1], "weight": {"name": "conv.weight"},
     "other_parameters": [{"name": "conv.bias", "elements": 16}]},
    {"name": "relu", "kind": "activation", "inputs": ["conv"], "reads": 16384, "writes": 16384},
    {"name": "pool", "kind": "pooling", "inputs": ["relu"], "reads": 16384, "writes": 16},
    {"name": "fc", "kind": "linear", "inputs": ["pool"], "in_features": 16, "out_features": 46,
     "weight": {"name": "fc.weight"}, "other_parameters": [{"name": "fc.bias", "elements": 42}]}
  ]
}
```

Kinds: ``conv1d conv2d conv3d``, ``conv_transpose1d conv_transpose2d conv_transpose3d``, ``linear``, ``matmul`` (two
activations, `batch` independent products per sample), vector operations by the elements they read and write, and
``collective``, a message between the ranks of a distributed step.
Operations that name the same weight share it (tied weights). What the tracer saw of the sparsity of each operand stands
under `observed` (`accelsim.workload.observed`). ``accelsim schema trace`` prints the JSON Schema.

**Edges.** `inputs` names, operand by operand, the operations whose output an operation reads, and the inputs of the
network as ``input:0``, ``input:1`` in the order of `input_shapes`:

- Operands stand in the order of the call. A matmul with two names has its left factor, then its right one. A product
  with a weight names its data first, then operations that compute the weight, where there are any. What else a product
  adds to its result (``torch.addmm`` of data) follows its factors. An output read as two operands stands twice
  (``x + x``, queries and keys that are parts of one projection); operations with one operand name it once.
- An edge says whose output is read, not which part of it: views, reshapes, slices, transposes, casts and whatever else
  the trace does not list are looked through, to the operations behind them. An operand that several operations wrote,
  each its part, has a name for each, in the order in which they wrote.
- Work in place reads what was there and is what later readers read. A copy into a part reads its source alone: what was
  there is not touched.
- Parameters, buffers, constants, random numbers, targets of a loss and gradients have no name, unless an operation of
  the trace wrote them.
- Edges are those of the forward pass. An operation that is `recomputed` reads the same ones again, as far as they are
  recomputed too. One that is `backward_only` names what it reads of listed operations before it, one of the optimizer
  other ones of the optimizer.
- Without `inputs` it is not known what an operation reads, or it reads what stands behind it, as a loss that holds
  gradients does; ``[]`` says that it reads no output and no input, as a look-up of positions does. A trace may know it
  of some operations only.

Every name is that of an earlier operation, so edges have no circles.
"""

import json
import re
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from accelsim.base.errors import InputError
from accelsim.base.files import (
    FileModel,
    packaged_names,
    parse_json,
    read_text,
    shipped_or_file,
    validate,
    write_atomically,
)
from accelsim.base.markup import Number, data_table
from accelsim.workload.data_flow import input_number, wrong_edges
from accelsim.workload.observed import Observed, ObservedFactors

__all__ = [
    "VECTOR_KINDS",
    "Collective",
    "Conv",
    "ConvTranspose",
    "Linear",
    "Matmul",
    "Operation",
    "Origin",
    "Parameter",
    "Trace",
    "Vector",
    "Weight",
    "load_trace",
    "macs_text",
    "save_trace",
    "shipped_traces",
    "workload_names",
]

FORMAT = "accelsim-trace/1"
_SUFFIXES = (".json", ".json.gz")
LARGEST_DIMENSION = 2**24
LARGEST_TENSOR = 2**44

Dimension = Annotated[int, Field(ge=1, le=LARGEST_DIMENSION)]
Padding = Annotated[int, Field(ge=0, le=LARGEST_DIMENSION)]
Elements = Annotated[int, Field(ge=0, le=LARGEST_TENSOR)]
Runs = Annotated[int, Field(ge=1, le=LARGEST_DIMENSION)]
Name = Annotated[str, Field(min_length=1, max_length=500)]
Names = Annotated[tuple[Name, ...], Field(strict=False)]  # a list in the file, a tuple here
Sizes = Annotated[tuple[Dimension, ...], Field(strict=False)]
Paddings = Annotated[tuple[Padding, ...], Field(strict=False)]

VectorKind = Literal[
    "norm",
    "activation",
    "pooling",
    "add",
    "multiply",
    "softmax",
    "embedding",
    "dropout",
    "reduce",
    "loss",
    "copy",
    "elementwise",
]
VECTOR_KINDS: tuple[str, ...] = VectorKind.__args__  # type: ignore[attr-defined]


_OF_TASK = re.compile(r"(.+?)\[(?:phase [\d,]+|columns|col2im|FF|BP|WU|(?:FF|BP|WU) copy)\].*")
"""Names that `accelsim.lowering` gives to tasks of an operation."""


class Parameter(FileModel):
    """A trained tensor that is no GEMM operand (bias, scale, embedding table); it takes part in the update."""

    name: Name
    elements: Annotated[int, Field(ge=1, le=LARGEST_TENSOR)]
    frozen: bool = False


class Weight(FileModel):
    """The trained GEMM operand of an operation. Operations with the same weight name share it (tied weights)."""

    name: Name
    frozen: bool = Field(False, description="not trained: no WU, no update")
    derived: bool = Field(
        False,
        description="computed from parameters while the step runs (a product of two, rows of a larger one): its"
        " gradient goes on to them, and it is no parameter itself",
    )


class _Operation(FileModel):
    """Fields that every operation has."""

    name: Name
    inputs: Names | None = Field(
        None,
        description="the operations whose output it reads, operand by operand (a matmul: left, right), and inputs of"
        " the network as input:0; left out where that is not known, [] where it reads neither",
    )
    input_gradient: bool | None = Field(
        None,
        description="whether the gradient of the input is computed; by default it is, except in operations with a"
        " weight up to the first one, unless an embedding stands before it",
    )
    recomputed: bool = Field(False, description="the forward is executed again in the backward pass (checkpointing)")
    backward_only: bool = Field(
        False,
        description="executed in the backward pass alone, beyond the gradients of the forward operations; with"
        " gradients of its own where it is differentiated itself (gradients of gradients)",
    )
    scales_with_batch: bool = Field(True, description="false for work done once per step whatever the batch")
    other_parameters: Annotated[tuple[Parameter, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _check_passes(self) -> Self:
        if self.backward_only and self.recomputed:
            raise ValueError("backward_only: such an operation is not recomputed")
        return self

    @property
    def in_forward(self) -> bool:
        """Whether the forward pass executes it, not the backward pass or the optimizer alone."""
        return not self.backward_only

    @property
    def differentiated_again(self) -> bool:
        """Whether it runs in the backward pass and has gradients itself."""
        return self.backward_only and bool(self.input_gradient)

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates per sample."""
        raise NotImplementedError

    def macs_at(self, batch: int) -> int:
        """Forward multiply-accumulates of a step of `batch` samples."""
        return self.macs * (batch if self.scales_with_batch else 1)


class _Weighted(_Operation):
    """An operation with a weight."""

    weight: Weight
    weight_gradient: bool | None = Field(
        None, description="whether this use adds to the gradient of the weight; by default it does unless it is frozen"
    )
    input_gradient_runs: Runs = Field(
        1, description="how often a step computes the gradient of the input, where it does"
    )
    weight_gradient_runs: Runs = Field(1, description="likewise that of the weight")
    observed: Observed | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if any(other.name == self.weight.name for other in self.other_parameters):
            raise ValueError(f"other_parameters: '{self.weight.name}' is the weight of the operation; names are unique")
        return self

    @model_validator(mode="after")
    def _check_gradient(self) -> Self:
        if self.weight_gradient and self.weight.frozen:
            raise ValueError("weight_gradient: a frozen weight has none")
        return self

    @property
    def differentiated_again(self) -> bool:
        """Whether it runs in the backward pass and has gradients itself."""
        return self.backward_only and bool(self.input_gradient or self.weight_gradient)

    @model_validator(mode="after")
    def _check_observed(self) -> Self:
        for stage in ("FF", "BP"):
            seen = getattr(self.observed, stage, None)
            weight = None if seen is None else seen.weight
            if weight is not None and weight.axis is not None:
                try:
                    weight.check_length(self.channels(weight.axis))
                except ValueError as error:
                    raise ValueError(f"observed.{stage}.weight: {error}") from None
        return self

    def channels(self, axis: str) -> int:
        """Channels or features of one group along the ``input`` or ``output`` axis."""
        raise NotImplementedError

    @property
    def adds_to_gradient(self) -> bool:
        """Whether the step computes a gradient of the weight from this use."""
        wanted = not self.backward_only if self.weight_gradient is None else self.weight_gradient
        return wanted and not self.weight.frozen


class _Convolution(_Weighted):
    in_channels: Dimension
    out_channels: Dimension
    in_size: Sizes = Field(description="input size per spatial dimension")
    kernel: Sizes
    stride: Sizes = Field((), description="one per spatial dimension; default 1")
    padding: Paddings = Field((), description="zeros on each side, one per spatial dimension; default 0")
    dilation: Sizes = Field((), description="one per spatial dimension; default 1")
    groups: Dimension = 1

    @model_validator(mode="before")
    @classmethod
    def _fill_neutral(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("kernel"), list):
            rank = len(data["kernel"])
            neutral = {"stride": [1] * rank, "padding": [0] * rank, "dilation": [1] * rank}
            if "output_padding" in cls.model_fields:
                neutral["output_padding"] = [0] * rank
            return {**neutral, **data}
        return data

    def channels(self, axis: str) -> int:
        """Channels of one group along the ``input`` or ``output`` axis."""
        return max(1, (self.in_channels if axis == "input" else self.out_channels) // self.groups)

    def _check_geometry(self, rank: int) -> None:
        for field in ("in_size", "kernel", "stride", "padding", "dilation"):
            if len(getattr(self, field)) != rank:
                raise ValueError(f"{field}: {rank} numbers are needed, got {len(getattr(self, field))}")
        for field in ("in_channels", "out_channels"):
            if getattr(self, field) % self.groups:
                raise ValueError(f"groups: {self.groups} does not divide {field} {getattr(self, field)}")
        if min(self.out_size) < 1:
            raise ValueError(f"the output would be {list(self.out_size)}: the kernel does not fit the padded input")
        if max(self.out_size) > LARGEST_DIMENSION:
            raise ValueError(f"the output would be {list(self.out_size)}: at most {LARGEST_DIMENSION} each")

    @property
    def out_size(self) -> tuple[int, ...]:
        """Output size per spatial dimension."""
        raise NotImplementedError

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        raise NotImplementedError

    @property
    def weight_elements(self) -> int:
        """Number of weights, all groups together."""
        return prod(self.weight_shape)


class Conv(_Convolution):
    """A convolution; weights (out_channels, in_channels / groups, *kernel)."""

    kind: Literal["conv1d", "conv2d", "conv3d"]

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights: (out_channels, in_channels / groups, *kernel)."""
        return self.out_channels, self.in_channels // self.groups, *self.kernel

    @cached_property
    def out_size(self) -> tuple[int, ...]:
        """Output size per spatial dimension."""
        sizes = zip(self.in_size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((size + 2 * pad - dil * (taps - 1) - 1) // step + 1 for size, taps, step, pad, dil in sizes)

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates per sample, zeros of the padding included."""
        return prod(self.out_size) * self.weight_elements

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_geometry(int(self.kind[4]))
        return self


class ConvTranspose(_Convolution):
    """A transposed convolution; weights (in_channels, out_channels / groups, *kernel)."""

    kind: Literal["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
    output_padding: Paddings = Field((), description="rows added on one side of the output; default 0")

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights: (in_channels, out_channels / groups, *kernel)."""
        return self.in_channels, self.out_channels // self.groups, *self.kernel

    @cached_property
    def out_size(self) -> tuple[int, ...]:
        """Output size per spatial dimension."""
        sizes = zip(
            self.in_size, self.kernel, self.stride, self.padding, self.dilation, self.output_padding, strict=True
        )
        return tuple(
            (size - 1) * step - 2 * pad + dil * (taps - 1) + 1 + extra for size, taps, step, pad, dil, extra in sizes
        )

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates per sample, without the zeros that a stride would insert."""
        return prod(self.in_size) * self.weight_elements

    @model_validator(mode="after")
    def _check(self) -> Self:
        rank = int(self.kind[14])
        if len(self.output_padding) != rank:
            raise ValueError(f"output_padding: {rank} numbers are needed, got {len(self.output_padding)}")
        self._check_geometry(rank)
        for extra, step, apart in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if extra >= max(step, apart):
                raise ValueError(
                    f"output_padding: got {extra}; less than the stride {step} or dilation {apart} is needed"
                )
        return self


class Linear(_Weighted):
    """A matrix product with a weight (out_features, in_features), applied to `rows` vectors per sample."""

    kind: Literal["linear"]
    in_features: Dimension
    out_features: Dimension
    rows: Dimension = Field(1, description="vectors per sample, such as the positions of a sequence")
    samples: Dimension = Field(
        1,
        description="samples that `rows` are counted over, where they do not divide (tokens that a router sends to one"
        " of several experts); a batch has rows x batch / samples, rounded up",
    )

    def channels(self, axis: str) -> int:
        """Features along the ``input`` or ``output`` axis."""
        return self.in_features if axis == "input" else self.out_features

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights: (out_features, in_features)."""
        return self.out_features, self.in_features

    @property
    def weight_elements(self) -> int:
        """Number of weights."""
        return prod(self.weight_shape)

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates per sample, on average, rounded up."""
        return -(-self.rows * self.weight_elements // self.samples)

    def rows_at(self, batch: int) -> int:
        """Vectors of `batch` samples."""
        return -(-self.rows * batch // self.samples)

    def macs_at(self, batch: int) -> int:
        """Forward multiply-accumulates of a step of `batch` samples."""
        return self.rows_at(batch if self.scales_with_batch else 1) * self.weight_elements


class Matmul(_Operation):
    """`batch` products per sample of two activations, (m, k) times (k, n), as in attention.

    Where samples are multiplied with each other (contrastive losses, covariances) other sizes than the number of
    products grow with the batch. Products of an optimizer run once per step, after the gradients.
    """

    kind: Literal["matmul"]
    batch: Dimension = 1
    m: Dimension
    n: Dimension
    k: Dimension
    grows: Annotated[tuple[Literal["batch", "m", "n", "k"], ...], Field(strict=False, min_length=1)] = Field(
        ("batch",), description="the sizes that are per sample and grow with the batch, where the operation does"
    )
    in_update: bool = Field(False, description="executed by the optimizer, once the gradients are there")
    left_gradient: bool = Field(True, description="whether a step with input_gradient computes that of the left factor")
    right_gradient: bool = Field(True, description="likewise of the right factor")
    left_gradient_runs: Runs = Field(
        1, description="how often a step computes the gradient of the left factor, where it does"
    )
    right_gradient_runs: Runs = Field(1, description="likewise of the right factor")
    observed: ObservedFactors | None = None

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates of one sample."""
        return self.batch * self.m * self.n * self.k

    @property
    def in_forward(self) -> bool:
        """Whether the forward pass executes it, not the backward pass or the optimizer alone."""
        return not (self.backward_only or self.in_update)

    def sizes_at(self, batch: int) -> tuple[int, int, int, int]:
        """Number of products, m, n and k of a step of `batch` samples."""
        samples = batch if self.scales_with_batch else 1
        count, m, n, k = (
            getattr(self, name) * (samples if name in self.grows else 1) for name in ("batch", "m", "n", "k")
        )
        return count, m, n, k

    def macs_at(self, batch: int) -> int:
        """Forward multiply-accumulates of a step of `batch` samples."""
        return prod(self.sizes_at(batch))

    @model_validator(mode="after")
    def _check_update(self) -> Self:
        if self.in_update and (self.recomputed or self.backward_only or self.input_gradient):
            raise ValueError("in_update: a product of the optimizer has no gradients and no part in the backward pass")
        return self


class Vector(_Operation):
    """Work without a GEMM, by the elements its forward reads and writes (pooling reads its whole window per output;
    that windows share elements follows from the edges)."""

    kind: VectorKind
    reads: Elements
    writes: Elements

    @property
    def macs(self) -> int:
        """Vector work has no multiply-accumulates that go to the array."""
        return 0


class Collective(Vector):
    """A message between the ranks of a distributed step, as one rank takes part in it."""

    kind: Literal["collective"]  # type: ignore[assignment]
    reads: Elements = Field(0, le=0)
    writes: Elements = Field(0, le=0)
    operation: Name = Field(description="what it does, as in all_reduce")
    bytes: Annotated[int, Field(ge=0, le=LARGEST_TENSOR)] = Field(
        description="of the whole tensor that is summed, gathered or scattered; per sample where it grows with a batch"
    )
    group: Dimension = Field(description="ranks that take part")
    direction: Literal["FF", "BP"] = Field("FF", description="the pass in which it runs")


Operation = Annotated[Conv | ConvTranspose | Linear | Matmul | Vector | Collective, Field(discriminator="kind")]


class Origin(FileModel):
    """Who exported the trace, from what, with which versions, and what had to be assumed."""

    exporter: Name
    source: Name
    versions: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = Field((), description="what the cited model leaves open and this trace decides")
    command: str | None = None
    batch: Dimension | None = Field(None, description="samples of the step that was traced")
    steps: Annotated[int, Field(ge=0)] = Field(
        0, description="steps whose operands were measured; 0 where shapes alone were traced"
    )


class Trace(FileModel):
    """The forward pass of one model, per sample."""

    format: Literal["accelsim-trace/1"]
    model: Name
    input_shapes: tuple[tuple[Dimension, ...], ...] = Field(
        min_length=1, description="shape of each input, without the batch"
    )
    parameters: Elements = Field(description="trained and frozen elements of the whole model, tied ones once")
    origin: Origin
    operations: tuple[Operation, ...] = Field(min_length=1)

    @cached_property
    def tensors(self) -> dict[str, tuple[int, bool]]:
        """Parameter tensors in order of first use: name to (elements, frozen), tied ones once, derived weights not."""
        found: dict[str, tuple[int, bool]] = {}
        for operation in self.operations:
            named = [(other.name, other.elements, other.frozen) for other in operation.other_parameters]
            if isinstance(operation, Conv | ConvTranspose | Linear) and not operation.weight.derived:
                named.append((operation.weight.name, operation.weight_elements, operation.weight.frozen))
            for name, elements, frozen in named:
                if found.setdefault(name, (elements, frozen)) != (elements, frozen):
                    raise ValueError(
                        f"operations: parameter '{name}' is shared by operations that disagree about it:"
                        f" {found[name][0]} and {elements} elements, frozen {found[name][1]} and {frozen}"
                    )
        return found

    @property
    def has_edges(self) -> bool:
        """Whether every operation says what it reads."""
        return all(operation.inputs is not None for operation in self.operations)

    @property
    def edges(self) -> str:
        """Which operations say what they read, in words."""
        known = sum(operation.inputs is not None for operation in self.operations)
        count = len(self.operations)
        if not known:
            return "no data-flow edges"
        return "data-flow edges" if known == count else f"data-flow edges of {known:,} of {count:,} operations"

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates per sample; not those done once per step, in the backward pass or optimizer."""
        scaling = (operation for operation in self.operations if operation.in_forward and operation.scales_with_batch)
        return sum(operation.macs for operation in scaling)

    @property
    def macs_once(self) -> int:
        """Forward multiply-accumulates done once per step, whatever the batch."""
        once = (operation for operation in self.operations if operation.in_forward and not operation.scales_with_batch)
        return sum(operation.macs for operation in once)

    @property
    def size(self) -> str:
        """Its forward multiply-accumulates and parameters in words."""
        return f"{macs_text(self.macs, self.macs_once)}, {self.parameters:,} parameters"

    def _repr_html_(self) -> str:
        """A table for notebooks: operations by kind, with their share of the forward pass."""
        kinds: dict[str, list[int]] = {}
        for operation in self.operations:
            kinds.setdefault(operation.kind, []).append(operation.macs)
        rows = [
            (kind, Number(f"{len(macs):,}", len(macs)), Number(f"{sum(macs):,}", sum(macs)))
            for kind, macs in kinds.items()
        ]
        return data_table(f"{self.model}: {self.size}", ("kind", "operations", "forward MACs"), rows)

    @model_validator(mode="after")
    def _check(self) -> Self:
        seen: set[str] = set()
        for operation in self.operations:
            if operation.name in seen:
                raise ValueError(f"operations: the name '{operation.name}' stands twice; names are unique")
            seen.add(operation.name)
        for name in seen:
            of_task = _OF_TASK.fullmatch(name)
            if of_task is not None and of_task[1] in seen:
                raise ValueError(
                    f"operations: '{name}' is what a task of '{of_task[1]}' is called; choose another name"
                )
        used = sum(elements for elements, _ in self.tensors.values())
        if used > self.parameters:
            raise ValueError(f"parameters: {self.parameters} is less than the {used} elements that the operations name")
        return self

    @model_validator(mode="after")
    def _check_edges(self) -> Self:
        taken = [operation.name for operation in self.operations if input_number(operation.name) is not None]
        if taken and any(operation.inputs is not None for operation in self.operations):
            raise ValueError(f"operations: '{taken[0]}' names an input of the network where `inputs` are given")
        wrong = wrong_edges(self.operations, len(self.input_shapes))
        if wrong:
            raise ValidationError.from_exception_data("Trace", [_at_edge(*edge) for edge in wrong])
        return self


def _at_edge(number: int, at: int, name: str, what: str) -> InitErrorDetails:
    error = PydanticCustomError("edge", "{what}", {"what": what})  # noqa: RUF027  pydantic's own template
    return InitErrorDetails(type=error, loc=("operations", number, "inputs", at), input=name)


def macs_text(macs: int, macs_once: int) -> str:
    """Say how many multiply-accumulates a forward pass has; those done once per step are none of a sample."""
    once = f" and {macs_once:,} once per step" if macs_once else ""
    return f"{macs:,} MACs forward per sample{once}"


def workload_names(*, measured: bool = False) -> list[str]:
    """Return the names of the shipped traces, or of those shipped because their training throughput was measured."""
    return list(packaged_names("workloads/measured" if measured else "workloads", _SUFFIXES))


def shipped_traces() -> dict[str, Path]:
    """Return the files of all shipped traces, measured ones included, by name."""
    return {**packaged_names("workloads/measured", _SUFFIXES), **packaged_names("workloads", _SUFFIXES)}


def load_trace(name_or_path: str | Path) -> Trace:
    """Return a trace.

    Args:
        name_or_path: the name of a shipped one, or a file (``.json`` or ``.json.gz``).

    Raises `InputError` that lists every error of the file with its path.

    >>> load_trace("resnet18_tinyimagenet").parameters
    11279112
    """
    shipped = shipped_traces()
    listed = f"{', '.join(workload_names())}, and what accelsim list measured shows"
    path = shipped_or_file(name_or_path, shipped, "trace", suffixes=(".json", ".gz"), listed=listed)
    if path.suffix in {".csv", ".onnx"}:
        raise InputError(f"{path}: not a trace; make one with: accelsim import {path} -o {path.stem}.json")
    content = read_text(path)
    data = parse_json(content, str(path))
    if isinstance(data, dict) and str(data.get("format")).startswith("accelsim-run/"):
        raise InputError(f"{path}: holds a training run in samples, not a trace; accelsim simulate {path} takes it")
    return validate(Trace, data, str(path), text=content)


def save_trace(trace: Trace, path: str | Path) -> None:
    """Write a trace, one operation per line.

    Args:
        trace: the trace.
        path: the file, packed where it ends in ``.gz``; it is complete or as it was before.

    Raises `InputError` where it cannot be written.

    >>> import tempfile
    >>> trace = load_trace("resnet9_cifar10")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_trace(trace, Path(folder, "mine.json.gz"))
    ...     load_trace(Path(folder, "mine.json.gz")) == trace
    True
    """
    body = trace.model_dump(mode="json", exclude_defaults=True)
    entries = [{"name": entry.pop("name"), "kind": entry.pop("kind"), **entry} for entry in body.pop("operations")]
    operations = ",\n    ".join(json.dumps(entry) for entry in entries)
    head = json.dumps(body, indent=2).removesuffix("\n}")
    write_atomically(Path(path), f'{head},\n  "operations": [\n    {operations}\n  ]\n}}\n')
