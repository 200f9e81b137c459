"""What the operators of ONNX compute: products, and vector work by the elements it reads and writes.

Every operator has an entry in a table or is refused: work that is not known is never counted as none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelsim.workload.importers._onnx_sequences import attention, recurrent
from accelsim.workload.importers._onnx_views import VIEWS
from accelsim.workload.importers._onnx_walk import Call, Operator, Operators, Role, Value, Weight, Work
from accelsim.workload.importers._onnx_works import as_matrices, constant_weight, product, used, vector, weight_of

__all__ = ["OPERATORS", "REFUSED"]

# Products


def _matmul(call: Call) -> list[Work]:
    left, right = call.needed(0), call.needed(1)
    m, k = ((1, *left.shape) if len(left.shape) == 1 else left.shape)[-2:]
    n = right.shape[-1] if len(right.shape) > 1 else 1
    outer, inner = left.shape[:-2], right.shape[:-2]
    stack = np.broadcast_shapes(outer, inner)
    batch = prod(stack)
    if not inner:  # one matrix for all of the left: their rows follow one another
        m, batch = m * batch, 1
        as_matrices(call, left, left.shape, range(len(left.shape)), (m, k))
    elif not outer:
        n, batch = n * batch, 1
        as_matrices(call, right, right.shape, [*range(len(inner)), -1, -2], (n, k))
    else:
        for value in (left, right):
            shape = (*stack, *value.shape[-2:])
            as_matrices(call, value, shape, range(len(shape)), (batch, *shape[-2:]))
    work = product(
        call, left, right, m=m, n=n, k=k, batch=batch,
        by_rows=lambda array: array.reshape(-1, k, array.shape[-1] if array.ndim > 1 else 1),
        by_columns=lambda array: array.reshape(-1, array.shape[-2] if array.ndim > 1 else 1, k).swapaxes(1, 2),
    )  # fmt: skip
    if inner and not outer:  # the product is that of the transposed factors
        size = prod(call.result.shape)
        return [work, replace(work, kind="copy", word="copy", fixed=(), counts=(size, size), weight=None, parameters=(),
                              input_gradient=True)]  # fmt: skip
    return [work]


def _gemm(call: Call) -> list[Work]:
    left, right, bias = call.needed(0), call.needed(1), call.operand(2)
    turned = call.attribute("transA", 0), call.attribute("transB", 0)
    m, k = left.shape[::-1] if turned[0] else left.shape
    n = right.shape[0] if turned[1] else right.shape[1]
    work = product(
        call, left, right, m=m, n=n, k=k, batch=1,
        by_rows=lambda array: (array.T if turned[1] else array)[None],
        by_columns=lambda array: (array if turned[0] else array.T)[None],
    )  # fmt: skip
    return [_with_bias(call, work, bias)]


def _with_bias(call: Call, work: Work, bias: Value | None) -> Work:
    names = [] if bias is None or bias.source is None else used(call, bias, "bias")
    return replace(work, parameters=(*work.parameters, *names))


def _einsum(call: Call) -> list[Work]:
    """A product of two operands by its letters: shared and kept is batch, shared and summed is k, the others m or n."""
    equation = call.node.attributes["equation"].replace(" ", "")
    given, arrow, result = equation.partition("->")
    operands = [value for value in call.operands if value is not None]
    terms = given.split(",")
    if len(operands) != 2 or len(terms) != 2:
        if len(operands) == 1:
            return vector(call, "reduce" if call.result.shape != operands[0].shape else "copy")
        raise call.error(
            f"the order of its {len(operands)} factors is not given ({equation}); write it as products of two"
        )
    terms = [_named(call, term, value, equation) for term, value in zip(terms, operands, strict=True)]
    if arrow:
        result = _expanded(result, len(set("".join(terms)) & set("0123456789")))
    else:
        result = "".join(sorted(letter for letter in set("".join(terms)) if "".join(terms).count(letter) == 1))
    size = {letter: max(a, b) for letter, a, b in _sizes(terms, operands)}
    left, right = terms
    batch = [letter for letter in left if letter in right and letter in result]
    summed = [letter for letter in left if letter in right and letter not in result]
    rows = [letter for letter in left if letter not in right]
    columns = [letter for letter in right if letter not in left]
    if any(letter not in result for letter in rows + columns):
        raise call.error(f"an index of only one factor is summed ({equation}); sum it before the product")
    if not summed:
        return vector(call, "multiply")

    def ordered(term: str, *parts: Sequence[str]) -> Callable[[NDArray[Any]], NDArray[Any]]:
        axes = [term.index(letter) for part in parts for letter in part]
        sizes = [prod(size[letter] for letter in part) for part in parts]
        return lambda array: array.transpose(axes).reshape(sizes)

    m, n, k, count = (prod(size[letter] for letter in part) for part in (rows, columns, summed, batch))
    for value, term, free, length in ((operands[0], left, rows, m), (operands[1], right, columns, n)):
        shape = [size[letter] for letter in term]
        axes = [term.index(letter) for letter in (*batch, *free, *summed)]
        as_matrices(call, value, shape, axes, (count, length, k))
    return [
        product(
            call, operands[0], operands[1], m=m, n=n, k=k, batch=count,
            by_rows=ordered(right, batch, summed, columns), by_columns=ordered(left, batch, summed, rows),
        )
    ]  # fmt: skip


def _named(call: Call, term: str, value: Value, equation: str) -> str:
    """Return the letters of a factor; the dimensions of an ellipsis get digits, counted from the last."""
    term = _expanded(term, len(value.shape) - len(term.replace("...", "")))
    if len(set(term)) != len(term):
        raise call.error(f"an index stands twice in one factor ({equation}); take the diagonal before the product")
    return term


def _expanded(term: str, rank: int) -> str:
    return term.replace("...", "".join(str(axis) for axis in reversed(range(max(rank, 0)))))


def _sizes(terms: Sequence[str], operands: Sequence[Value]) -> list[tuple[str, int, int]]:
    sizes = [dict(zip(term, value.shape, strict=True)) for term, value in zip(terms, operands, strict=True)]
    letters = dict.fromkeys("".join(terms))
    return [(letter, sizes[0].get(letter, 1), sizes[1].get(letter, 1)) for letter in letters]


def _full(call: Call, name: str, rank: int) -> tuple[int, ...]:
    return tuple(call.attribute(name, [1] * rank))


def _pads(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """Return zeros before and after each spatial dimension, from the attributes of a convolution."""
    rank = len(kernel)
    how = call.attribute("auto_pad", "NOTSET")
    if how == "NOTSET":
        pads = call.attribute("pads", [0] * 2 * rank)
        return list(zip(pads[:rank], pads[rank:], strict=True))
    if how == "VALID":
        return [(0, 0)] * rank
    found = []
    geometry = zip(sizes, call.result.shape[2:], kernel, _full(call, "strides", rank), _full(call, "dilations", rank),
                   strict=True)  # fmt: skip
    for size, out, taps, stride, dilation in geometry:
        total = max((out - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if how == "SAME_UPPER" else (more, less))
    return found


def _kernel(call: Call) -> tuple[Value, Value, int]:
    source, kernel = call.needed(0), call.needed(1)
    rank = len(kernel.shape) - 2
    if kernel.role is Role.ACTIVATION:
        raise call.error(
            f"its kernel '{call.node.inputs[1]}' is an input or computed from one; only kernels that the file holds or"
            " that are constant can be read"
        )
    if not 1 <= rank <= 3:
        raise call.error(f"has {rank} spatial dimensions; 1 to 3 are supported")
    return source, kernel, rank


def _conv(call: Call) -> list[Work]:
    """A convolution; where the padding differs between the sides, the surplus zeros belong to the input."""
    source, kernel, rank = _kernel(call)
    groups = call.attribute("group", 1)
    pads = _pads(call, source.shape[2:], kernel.shape[2:])
    if any(before != after for before, after in pads):
        call.walk.note("padded", call.node.name or call.node.outputs[0])
    fixed = {
        "in_channels": source.shape[1],
        "out_channels": kernel.shape[0],
        "in_size": tuple(size + abs(a - b) for size, (a, b) in zip(source.shape[2:], pads, strict=True)),
        "kernel": kernel.shape[2:],
        "stride": _full(call, "strides", rank),
        "padding": tuple(map(min, pads)),
        "dilation": _full(call, "dilations", rank),
        "groups": groups,
    }
    return [
        _convolution(
            call, f"conv{rank}d", fixed, source, kernel,
            lambda array: array.reshape(groups, array.shape[0] // groups, array.shape[1], -1).swapaxes(1, 2),
        )
    ]  # fmt: skip


def _conv_transpose(call: Call) -> list[Work]:
    """A transposed convolution; what its result has beyond symmetric padding counts as output padding."""
    source, kernel, rank = _kernel(call)
    groups, out_size = call.attribute("group", 1), call.result.shape[2:]
    stride, dilation = _full(call, "strides", rank), _full(call, "dilations", rank)
    whole = [(size - 1) * step + dil * (taps - 1) + 1 for size, step, taps, dil
             in zip(source.shape[2:], stride, kernel.shape[2:], dilation, strict=True)]  # fmt: skip
    given = call.attribute("pads", None)
    if given is None or call.attribute("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in call.node.attributes:
        padding = [max(-(-(size - out) // 2), 0) for size, out in zip(whole, out_size, strict=True)]
    else:
        padding = [max(given[axis], given[axis + rank]) for axis in range(rank)]
    fixed = {
        "in_channels": source.shape[1],
        "out_channels": kernel.shape[1] * groups,
        "in_size": source.shape[2:],
        "kernel": kernel.shape[2:],
        "stride": stride,
        "padding": tuple(padding),
        "dilation": dilation,
        "output_padding": tuple(out - size + 2 * pad for out, size, pad in zip(out_size, whole, padding, strict=True)),
        "groups": groups,
    }
    return [
        _convolution(
            call, f"conv_transpose{rank}d", fixed, source, kernel,
            lambda array: array.reshape(groups, array.shape[0] // groups, array.shape[1], -1),
        )
    ]  # fmt: skip


def _convolution(
    call: Call, kind: str, fixed: Mapping[str, Any], source: Value, kernel: Value,
    arrange: Callable[[NDArray[Any]], NDArray[Any]],
) -> Work:  # fmt: skip
    weight: Weight = weight_of(call, kernel, arrange) if kernel.source else constant_weight(call, kernel, 1)
    work = Work(
        kind=kind,
        word=kind,
        fixed=tuple(fixed.items()),
        counts=(source.shape[0],),
        weight=weight,
        depends=source.role is Role.ACTIVATION,
        input_gradient=source.gradient,
    )
    return _with_bias(call, work, call.operand(2))


# Vector work


def _of(kind: str) -> Operator:
    return lambda call: vector(call, kind)


def _norm(call: Call) -> list[Work]:
    """A normalisation with a scale and perhaps a bias, which are trained; statistics that it keeps are not."""
    names = [name for position, leaf in ((1, "weight"), (2, "bias"))
             if (value := call.operand(position)) and value.source for name in used(call, value, leaf)]  # fmt: skip
    return [replace(work, parameters=tuple(names)) for work in vector(call, "norm")]


def _prelu(call: Call) -> list[Work]:
    slope = call.needed(1)
    names = used(call, slope, "weight") if slope.source else []
    return [replace(work, parameters=tuple(names)) for work in vector(call, "activation")]


def _pooling(call: Call) -> list[Work]:
    writes = prod(call.result.shape)
    return vector(call, "pooling", reads=writes * prod(call.node.attributes["kernel_shape"]))


def _reads_what_it_writes(call: Call) -> list[Work]:
    return vector(call, "copy", reads=prod(call.result.shape))


def _gather(call: Call) -> list[Work]:
    """Rows of a trained table are an embedding, other gathered elements a copy."""
    table = call.needed(0)
    is_table = table.role is Role.PARAMETER and len(table.shape) == 2 and not call.attribute("axis", 0)
    works = vector(call, "embedding" if is_table else "copy", reads=prod(call.result.shape))
    if is_table and table.source:
        call.walk.remember_table(used(call, table, "weight")[0], table.source)
    return works


def _add(call: Call) -> list[Work]:
    """An addition; a vector added to the product just computed is its bias."""
    for value, other in (call.operands, call.operands[::-1]):
        if value and other and value.product is not None and other.role is Role.PARAMETER and other.source:
            work = call.walk.seen[value.product].work
            features = dict(work.fixed).get("out_features")
            if not work.parameters and other.shape[-1] == other.elements == features:
                for name in used(call, other, "bias"):
                    call.walk.bias(value.product, name)
                return []
    return vector(call, "add")


def _cross_entropy(call: Call) -> list[Work]:
    scores, target = call.needed(0), call.needed(1)
    (loss,) = vector(call, "loss", reads=scores.in_memory + target.in_memory)
    softmax = replace(loss, kind="softmax", word="log_softmax", counts=(scores.in_memory, scores.elements))
    return [softmax, replace(loss, word="nll_loss")]


_KINDS = {
    "norm": "LpNormalization MeanVarianceNormalization LRN",
    "activation": "Relu LeakyRelu Elu Celu Selu Sigmoid HardSigmoid Tanh Softplus Softsign Gelu HardSwish Mish Swish"
    " ThresholdedRelu Shrink Clip",
    "pooling": "GlobalMaxPool GlobalLpPool",
    "add": "Sub Sum Mean",
    "multiply": "Mul Div",
    "softmax": "Softmax LogSoftmax",
    "dropout": "Dropout",
    "reduce": "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp"
    " ReduceSumSquare ArgMax ArgMin CumSum CumProd GlobalAveragePool",
    "loss": "NegativeLogLikelihoodLoss",
    "copy": "Concat Pad Tile DepthToSpace SpaceToDepth Col2Im ReverseSequence ScatterElements ScatterND Scatter"
    " CenterCropPad TensorScatter",
    "elementwise": "Abs Acos Acosh And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil"
    " Cos Cosh Equal Erf Exp Floor Greater GreaterOrEqual GridSample Hardmax IsInf IsNaN Less LessOrEqual Log Max Min"
    " Mod Neg Not OneHot Or Pow Reciprocal Resize RotaryEmbedding Round Sign Sin Sinh Sqrt Tan TopK Trilu Upsample"
    " Where Xor MaxUnpool",
}
"""Vector operators by kind, all of whose operands are read once; a global average reduces, as a mean does."""

_QUANTISED = "computes with quantised numbers; import the model as it was before its quantisation"
_CONTROL = "decides at run time what is executed; export the model without control flow"
REFUSED: Mapping[str, str] = MappingProxyType({
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), _CONTROL),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger", "DynamicQuantizeLinear"),
                    _QUANTISED),
    "DeformConv": "reads places that depend on the data; a trace has no entry for it",
})  # fmt: skip
"""Operators that a trace cannot express, and why."""

OPERATORS = Operators(
    views=VIEWS,
    work=MappingProxyType({
        **{name: _of(kind) for kind, names in _KINDS.items() for name in names.split()},
        **dict.fromkeys(("BatchNormalization", "LayerNormalization", "GroupNormalization", "InstanceNormalization",
                         "RMSNormalization"), _norm),
        **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pooling),
        **dict.fromkeys(("GatherElements", "GatherND"), _reads_what_it_writes),
        **dict.fromkeys(("LSTM", "GRU", "RNN"), recurrent),
        "Conv": _conv,
        "ConvTranspose": _conv_transpose,
        "MatMul": _matmul,
        "Gemm": _gemm,
        "Einsum": _einsum,
        "Attention": attention,
        "Add": _add,
        "Gather": _gather,
        "PRelu": _prelu,
        "SoftmaxCrossEntropyLoss": _cross_entropy,
    }),
    free=frozenset({"Constant", "ConstantOfShape", "EyeLike", "Range", "Shape", "Size", "RandomNormal",
                    "RandomNormalLike", "BlackmanWindow", "HammingWindow",
                    "HannWindow"}),
    noise=frozenset({"Bernoulli", "RandomUniform", "RandomUniformLike"}),
    data=MappingProxyType({
        **dict.fromkeys(("BatchNormalization", "LayerNormalization", "GroupNormalization", "InstanceNormalization",
                         "RMSNormalization", "PRelu", "Clip", "Dropout", "Pad", "Tile", "Resize", "Upsample", "OneHot",
                         "TopK", "CumSum", "CumProd", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd",
                         "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "Trilu",
                         "Col2Im", "ReverseSequence", "CenterCropPad", "Shrink"), 1),
        **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", "Gemm", "Conv", "ConvTranspose",
                         "MaxUnpool"), 2),
        "RotaryEmbedding": 3,
        "TensorScatter": 2,
    }),
)  # fmt: skip
"""Every operator that can be read. Free ones give constants; `data` counts the inputs that are no settings."""
