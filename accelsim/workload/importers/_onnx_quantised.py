"""Operators of quantised numbers, of ONNX and of ONNX Runtime, as those of the numbers that they stand for.

A quantised tensor is the real one that it approximates: products of quantised numbers are products, and steps between
number formats are casts. Weights that are stored quantised are those of the product, and zero where they equal their
zero point.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelsim.workload.importers._onnx_body import Body, Expansion

__all__ = ["QUANTISED", "real"]

_CONVOLUTION = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def real(body: Body, name: str, zero: str = "", *, axis: int = 1) -> str:
    """Add the real numbers that a quantised tensor stands for, and return their name; an empty name stays empty."""
    if not name:
        return ""
    inputs = [name, body.number(1), *filter(None, [zero])]
    return body.add("DequantizeLinear", inputs, same=True, kind=body.real, axis=axis)


def _quantise(body: Body, name: str, *, kind: int) -> None:
    """Give the first result as quantised numbers of an element type."""
    body.add("QuantizeLinear", [name, body.number(1)], to=body.result(0), same=True, kind=kind)


def _kept(body: Body, *names: str) -> dict[str, Any]:
    return {name: body.node.attributes[name] for name in names if name in body.node.attributes}


def _qlinear_conv(body: Body) -> None:
    x, kernel = real(body, body.needed(0), body.given(2)), real(body, body.needed(3), body.given(5), axis=0)
    bias = real(body, body.given(8))
    result = body.add("Conv", [x, kernel, *filter(None, [bias])], **_kept(body, *_CONVOLUTION))
    _quantise(body, result, kind=body.kind(body.needed(7)))


def _conv_integer(body: Body) -> None:
    x, kernel = real(body, body.needed(0), body.given(2)), real(body, body.needed(1), body.given(3), axis=0)
    result = body.add("Conv", [x, kernel], **_kept(body, *_CONVOLUTION))
    _quantise(body, result, kind=int(body.onnx.TensorProto.INT32))


def _qlinear_matmul(body: Body) -> None:
    left, right = real(body, body.needed(0), body.given(2)), real(body, body.needed(3), body.given(5), axis=-1)
    _quantise(body, body.add("MatMul", [left, right]), kind=body.kind(body.needed(7)))


def _matmul_integer(body: Body) -> None:
    left, right = real(body, body.needed(0), body.given(2)), real(body, body.needed(1), body.given(3), axis=-1)
    _quantise(body, body.add("MatMul", [left, right]), kind=int(body.onnx.TensorProto.INT32))


def _matmul_integer_to_float(body: Body) -> None:
    left, right = real(body, body.needed(0), body.given(4)), real(body, body.needed(1), body.given(5), axis=-1)
    _with_bias(body, body.add("MatMul", [left, right], to="" if body.given(6) else body.result(0)), body.given(6))


def _dynamic_quantize_matmul(body: Body) -> None:
    right, bias = real(body, body.needed(1), body.given(3), axis=-1), body.given(4)
    _with_bias(body, body.add("MatMul", [body.needed(0), right], to="" if bias else body.result(0)), bias)


def _with_bias(body: Body, name: str, bias: str) -> None:
    if bias:
        body.add("Add", [name, bias], to=body.result(0))


def _qgemm(body: Body) -> None:
    left, right = real(body, body.needed(0), body.given(2)), real(body, body.needed(3), body.given(5))
    inputs = [left, right, *filter(None, [real(body, body.given(6))])]
    zero = body.given(8)
    result = body.add("Gemm", inputs, to="" if zero else body.result(0), **_kept(body, "transA", "transB", "alpha"))
    if zero:
        _quantise(body, result, kind=body.kind(zero))


def _pointwise(operator: str, *places: int, attributes: Sequence[str] = ()) -> Expansion:
    """An operator of quantised tensors that stand, with scale and zero point, at these places."""

    def expand(body: Body) -> None:
        operands = [real(body, body.needed(place), body.given(place + 2)) for place in places]
        result = body.add(operator, operands, **_kept(body, *attributes))
        _quantise(body, result, kind=body.kind(body.needed(places[0])))

    return expand


def _qlinear_pooling(operator: str) -> Expansion:
    def expand(body: Body) -> None:
        x = real(body, body.needed(0), body.given(2))
        rank = len(body.shape(body.needed(0)))
        last = body.attribute("channels_last", 0)
        if last:
            x = body.add("Transpose", [x], perm=[0, rank - 1, *range(1, rank - 1)])
        x = body.add(operator, [x], **_kept(body, "auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads",
                                            "strides"))  # fmt: skip
        if last:
            x = body.add("Transpose", [x], perm=[0, *range(2, rank), 1])
        _quantise(body, x, kind=body.kind(body.needed(0)))

    return expand


def _qlinear_concat(body: Body) -> None:
    places = range(2, len(body.node.inputs), 3)
    parts = [real(body, body.needed(place), body.given(place + 2)) for place in places]
    _quantise(body, body.add("Concat", parts, axis=body.attribute("axis")), kind=body.kind(body.needed(1)))


def _qlinear_where(body: Body) -> None:
    chosen = [real(body, body.needed(place), body.given(place + 2)) for place in (1, 4)]
    _quantise(body, body.add("Where", [body.needed(0), *chosen]), kind=body.kind(body.needed(1)))


def _qlinear_reduce_mean(body: Body) -> None:
    x = real(body, body.needed(0), body.given(2))
    axes = body.integers([int(axis) for axis in body.attribute("axes")])
    result = body.add("ReduceMean", [x, axes], keepdims=body.attribute("keepdims", 1))
    _quantise(body, result, kind=body.kind(body.needed(0)))


def _lstm(body: Body) -> None:
    """Its weights are stored as (directions, inputs, 4 hidden)."""
    weights = [real(body, body.needed(place), body.given(zero), axis=0) for place, zero in ((1, 9), (2, 11))]
    turned = [body.add("Transpose", [weight], perm=[0, 2, 1]) for weight in weights]
    inputs = [body.needed(0), *turned, *(body.given(place) for place in range(3, 8))]
    while not inputs[-1]:
        inputs.pop()
    steps, samples, _ = body.shape(body.needed(0))
    directions, hidden = body.shape(body.needed(2))[:2]
    shapes = ((steps, directions, samples, hidden), *((directions, samples, hidden),) * 2)
    body.several(
        "LSTM", inputs, body.node.outputs, shapes=shapes[: len(body.node.outputs)],
        **_kept(body, "direction", "hidden_size", "input_forget", "clip", "activations"),
    )  # fmt: skip


def _converted(operator: str) -> Expansion:
    """A step between number formats that ONNX Runtime had before the standard."""

    def expand(body: Body) -> None:
        inputs = [name for name in body.node.inputs if name]
        kind = body.real if operator == "DequantizeLinear" or len(inputs) < 3 else body.kind(inputs[2])
        body.add(operator, inputs, to=body.result(0), same=True, kind=kind, **_kept(body, "axis"))

    return expand


# Weights of a few bits


def _matmul_n_bits(body: Body) -> None:
    """The weight is (outputs, inputs), packed in blocks along its inputs."""
    name, bits, size = body.needed(1), int(body.attribute("bits", 4)), int(body.attribute("block_size"))
    outputs, inputs, zeros = int(body.attribute("N")), int(body.attribute("K")), body.given(3)
    weight = body.unpacked(name, (outputs, inputs), _blocks(body, name, zeros, bits, size, (outputs, inputs)))
    turned, bias = body.add("Transpose", [weight], perm=[1, 0]), body.given(5)
    _with_bias(body, body.add("MatMul", [body.needed(0), turned], to="" if bias else body.result(0)), bias)


def _blocks(body: Body, name: str, zeros: str, bits: int, size: int, shape: tuple[int, int]) -> Any:
    """Return a reader of a packed weight less its zero points; None where the numbers are in no file."""
    packed, zero = body.content(name), body.content(zeros) if zeros else None
    if packed is None or (zeros and zero is None) or body.given(4) or 8 % bits:
        return None

    def content() -> NDArray[np.generic]:
        outputs, inputs = shape
        values = _unpacked(packed().reshape(outputs, -1), bits).astype(np.float32)
        blocks = values.shape[1] // size
        if zero is None:
            less = np.full((outputs, blocks), 2.0 ** (bits - 1), np.float32)
        elif zero().dtype == np.uint8:
            less = _unpacked(zero().reshape(outputs, -1), bits)[:, :blocks].astype(np.float32)
        else:
            less = zero().reshape(outputs, blocks).astype(np.float32)
        real_values: NDArray[np.generic] = values - np.repeat(less, size, axis=1)
        return real_values[:, :inputs]

    return content


def _unpacked(packed: NDArray[np.generic], bits: int) -> NDArray[np.generic]:
    """Return the numbers of a few bits that bytes hold, the first in the lowest bits."""
    parts = [(packed.astype(np.uint8) >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(packed.shape[0], -1)


_MICROSOFT = "com.microsoft"
QUANTISED: Mapping[tuple[str, str], Expansion] = MappingProxyType(
    {
        ("", "QLinearConv"): _qlinear_conv,
        ("", "QLinearMatMul"): _qlinear_matmul,
        ("", "MatMulInteger"): _matmul_integer,
        ("", "ConvInteger"): _conv_integer,
        **{
            (_MICROSOFT, operator): expansion
            for operator, expansion in {
                "QLinearConv": _qlinear_conv,
                "MatMulIntegerToFloat": _matmul_integer_to_float,
                "DynamicQuantizeMatMul": _dynamic_quantize_matmul,
                "DynamicQuantizeLSTM": _lstm,
                "QGemm": _qgemm,
                "QLinearAdd": _pointwise("Add", 0, 3),
                "QLinearMul": _pointwise("Mul", 0, 3),
                "QLinearSigmoid": _pointwise("Sigmoid", 0),
                "QLinearLeakyRelu": _pointwise("LeakyRelu", 0, attributes=("alpha",)),
                "QLinearSoftmax": _pointwise("Softmax", 0, attributes=("axis",)),
                "QLinearAveragePool": _qlinear_pooling("AveragePool"),
                "QLinearGlobalAveragePool": _qlinear_pooling("GlobalAveragePool"),
                "QLinearReduceMean": _qlinear_reduce_mean,
                "QLinearConcat": _qlinear_concat,
                "QLinearWhere": _qlinear_where,
                "QuantizeLinear": _converted("QuantizeLinear"),
                "DequantizeLinear": _converted("DequantizeLinear"),
                "MatMulNBits": _matmul_n_bits,
            }.items()
        },
    }
)
"""Expansions by domain and operator."""
