"""Pieces that operators are described with: vector work, products with and without a weight, parameters they use."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from accelsim.workload import rules
from accelsim.workload.importers._onnx_graph import Content
from accelsim.workload.importers._onnx_layout import expanded, reshaped
from accelsim.workload.importers._onnx_walk import Call, Producers, Value, Weight, Work
from accelsim.workload.rules import Role, Source

__all__ = ["as_matrices", "constant_weight", "linear", "product", "used", "vector", "weight_of", "with_bias"]

Arrange = Callable[[NDArray[np.generic]], NDArray[np.generic]]


def used(call: Call, value: Value, leaf: str) -> list[str]:
    """Return the names of the parameters that a value consists of, each as a whole."""
    if value.source is None:
        return []
    stored = call.walk.graph.stored
    whole = [
        Source(label=name, elements=prod(stored[name].shape), parameters=(name,), alias=value.source.alias)
        for name in value.source.parameters
    ]
    return [call.walk.claim(source, call.node, leaf) for source in whole]


def vector(call: Call, kind: str, *, reads: int | None = None) -> list[Work]:
    """Return work without a product by what it reads, parameters and dropout masks excluded, and writes.

    Work on parameters alone reads these, once per step.
    """
    operands = call.data
    alone = all(value.role is not Role.ACTIVATION for value in operands)
    read = [
        value for value in operands
        if value.role is not Role.NOISE and (alone or value.role is not Role.PARAMETER)
    ]  # fmt: skip
    per_step = 0 if alone else sum(value.in_memory for value in read if value.role is not Role.ACTIVATION)
    parameters = [value for value in operands if value.role is Role.PARAMETER]
    joins = alone and call.node.operator == "Concat"  # what is joined counts as one parameter where it is used
    names = [] if joins else [name for value in parameters for name in used(call, value, call.node.word)]
    if not alone and kind != "embedding":
        for name in names:
            call.walk.note("operands", name)
    return [
        Work(
            kind="dropout" if any(value.role is Role.NOISE for value in operands) else kind,
            word=call.node.word,
            counts=(sum(value.in_memory for value in read) if reads is None else reads, prod(call.result.shape)),
            shared=(per_step if reads is None else 0, 0),
            parameters=tuple(dict.fromkeys(names)),
            reads=tuple(value.producers for value in operands),
            depends=not alone,
            input_gradient=any(value.gradient for value in operands),
        )
    ]


def weight_of(call: Call, value: Value, arrange: Arrange, leaf: str = "weight") -> Weight:
    """Return the weight that a value with a source holds."""
    source, content = value.source, value.content
    assert source is not None
    tied = call.walk.tied_table(source) if source.parameters == (source.label,) else None
    return Weight(
        label=tied or call.walk.claim(source, call.node, leaf),
        elements=source.elements,
        content=None if content is None else _arranged(content, arrange),
    )


def _arranged(content: Content, arrange: Arrange) -> Content:
    def arranged() -> NDArray[np.generic]:
        array = arrange(content())
        return array if array.ndim == 4 else array[..., None]

    return arranged


def constant_weight(call: Call, value: Value, position: int) -> Weight:
    """Return an operand that is no parameter as a weight that is not trained."""
    name = call.node.inputs[position]
    call.walk.elements.setdefault(name, value.in_memory)
    return Weight(label=name, elements=value.in_memory, frozen=True)


def with_bias(call: Call, work: Work, bias: Value | None) -> Work:
    """Return a product with the parameters of its bias, if it has one, or with what else it adds."""
    if bias is None:
        return work
    names = used(call, bias, "bias") if bias.source else []
    return replace(work, parameters=(*work.parameters, *names), reads=(*work.reads, bias.producers))


def as_matrices(call: Call, value: Value, shape: Sequence[int], order: Sequence[int], target: Sequence[int]) -> Value:
    """Record the copy that a factor needs: repeated to `shape`, with its dimensions in `order`, as matrices `target`.

    None is needed where a view has that shape. Returns the factor, behind its copy where there is one.
    """
    strides = expanded(value.shape, value.strides, shape)
    wanted = [shape[axis] for axis in order], [strides[axis] for axis in order]
    return call.walk.copy(call, value, shape) if reshaped(*wanted, target) is None else value


def linear(
    weight: Weight, inputs: int, outputs: int, rows: int, *, depends: bool, input_gradient: bool,
    reads: Producers, parameters: Sequence[str] = (),
) -> Work:  # fmt: skip
    """Return the product of `rows` vectors, which `reads` wrote, with a weight."""
    return Work(
        kind="linear",
        word="linear",
        fixed=(("in_features", inputs), ("out_features", outputs)),
        counts=(rows,),
        weight=weight,
        reads=(reads,),
        parameters=tuple(parameters),
        depends=depends,
        input_gradient=input_gradient,
    )


def product(
    call: Call, left: Value, right: Value, *, m: int, n: int, k: int, batch: int, by_rows: Arrange, by_columns: Arrange,
    places: tuple[int, int] = (0, 1),
) -> Work:  # fmt: skip
    """Return the product of two matrices, or of two stacks of matrices: with a weight, or of two activations.

    `by_rows` arranges a weight on the right as (groups, k, n), `by_columns` one on the left as (groups, k, m). `places`
    of the factors among the inputs.
    """
    for position, operand, other, features, vectors, arrange in (
        (places[1], right, left, n, m, by_rows),
        (places[0], left, right, m, n, by_columns),
    ):
        elements = operand.source.elements if operand.source else operand.in_memory
        found = rules.with_weight(elements, batch, features, vectors, k)
        constant = operand.role is Role.CONSTANT and len(operand.shape) == 2 and other.role is Role.ACTIVATION
        is_weight = operand.source is not None and operand.role in {Role.PARAMETER, Role.CONSTANT}
        if found is None or not (constant or is_weight):
            continue
        kind, fixed, rows = found
        weight = weight_of(call, operand, arrange) if is_weight else constant_weight(call, operand, position)
        reads = other.producers, operand.producers
        work = Work(kind=kind, word=kind, fixed=fixed, counts=(rows,), weight=weight, reads=reads)
        return replace(work, depends=other.role is Role.ACTIVATION, input_gradient=other.gradient)
    return _of_activations(left, right, m=m, n=n, k=k, batch=batch)


def _of_activations(left: Value, right: Value, *, m: int, n: int, k: int, batch: int) -> Work:
    """The samples are in the batch of the product, or in the rows of the one factor that depends on the inputs."""
    depends = [value.role is Role.ACTIVATION for value in (left, right)]
    with_batch = 0 if batch > 1 or all(depends) else 1 if depends[0] else 2
    return Work(
        kind="matmul",
        word="matmul",
        reads=(left.producers, right.producers),
        counts=(batch, m, n, k),
        with_batch=with_batch,
        depends=any(depends),
        input_gradient=left.gradient or right.gradient,
        gradients=(left.gradient, right.gradient),
    )
