"""What the operators of ONNX compute: products, and vector work by the elements it reads and writes.

Every operator has an entry in a table or is refused: work that is not known is never counted as none.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from types import MappingProxyType

import numpy as np

from accelsim.workload.importers._onnx_convolutions import convolution, deformed_convolution, transposed_convolution
from accelsim.workload.importers._onnx_einsum import einsum
from accelsim.workload.importers._onnx_sequences import attention, linear_attention, recurrent
from accelsim.workload.importers._onnx_views import VIEWS
from accelsim.workload.importers._onnx_walk import Call, Operator, Operators, Work
from accelsim.workload.importers._onnx_works import as_matrices, product, used, vector, with_bias
from accelsim.workload.rules import Role

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
        left = as_matrices(call, left, left.shape, range(len(left.shape)), (m, k))
    elif not outer:
        n, batch = n * batch, 1
        right = as_matrices(call, right, right.shape, [*range(len(inner)), -1, -2], (n, k))
    else:
        shapes = [(*stack, *value.shape[-2:]) for value in (left, right)]
        left, right = (
            as_matrices(call, value, shape, range(len(shape)), (batch, *shape[-2:]))
            for value, shape in zip((left, right), shapes, strict=True)
        )
    work = product(
        call, left, right, m=m, n=n, k=k, batch=batch,
        by_rows=lambda array: array.reshape(-1, k, array.shape[-1] if array.ndim > 1 else 1),
        by_columns=lambda array: array.reshape(-1, array.shape[-2] if array.ndim > 1 else 1, k).swapaxes(1, 2),
    )  # fmt: skip
    if inner and not outer:  # the product is that of the transposed factors
        size = prod(call.result.shape)
        return [work, work.followed_by(kind="copy", word="copy", fixed=(), counts=(size, size), weight=None,
                                       parameters=(), input_gradient=True)]  # fmt: skip
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
    return [with_bias(call, work, bias)]


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
    softmax = replace(loss, kind="softmax", word="log_softmax", counts=(scores.in_memory, scores.elements),
                      reads=(scores.producers,))  # fmt: skip
    return [softmax, softmax.followed_by(kind="loss", word="nll_loss", counts=loss.counts,
                                         reads=((softmax.result,), target.producers))]  # fmt: skip


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

_CONTROL = "decides at run time what is executed; export the model without control flow"
REFUSED: Mapping[str, str] = MappingProxyType({
    **dict.fromkeys(("Loop", "Scan", "SequenceMap"), _CONTROL),
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
        "Conv": convolution,
        "ConvTranspose": transposed_convolution,
        "DeformConv": deformed_convolution,
        "MatMul": _matmul,
        "Gemm": _gemm,
        "Einsum": einsum,
        "Attention": attention,
        "LinearAttention": linear_attention,
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
                         "MaxUnpool", "DeformConv"), 2),
        "RotaryEmbedding": 1,
        "TensorScatter": 2,
    }),
)  # fmt: skip
"""Every operator that can be read. Free ones give constants; `data` counts the inputs that are no settings."""
