"""Quantised ONNX operators: the products of the numbers that they stand for, and zeros where the zero point is."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx_models import FLOAT, IMAGE, INT64, ROWS, filled, ints, listed, node, pruned  # noqa: E402

MS = {"com.microsoft": 1}
ONE = np.float32(0.1)


def ms(operator, inputs, outputs="y", name="", **attributes):
    return node(operator, inputs, outputs, name, domain="com.microsoft", **attributes)


def bytes_of(*shape, kind=np.uint8):
    return (np.arange(np.prod(shape)) % 100 + 1).astype(kind).reshape(shape)


def zero_where(weight, point):
    """Bytes that hold the zero point where a weight is zero, and 0 at one of its other places."""
    stored = np.where(weight == 0, point, 200).astype(np.uint8)
    stored.flat[np.flatnonzero(weight)[0]] = 0
    return stored


QUANTISE = node("QuantizeLinear", "x s z", "q")
SCALE = {"s": ONE, "z": np.uint8(7)}


def test_a_quantised_convolution_is_one(reading):
    nodes = [node("QuantizeLinear", "x s z", "q"), node("QLinearConv", "q s z w s z s z b", "r", name="conv", strides=[2, 2]),
             node("DequantizeLinear", "r s z", name="back")]  # fmt: skip
    stored = {**SCALE, "w": bytes_of(6, 4, 3, 3), "b": filled(6).astype(np.int32)}
    trace = reading(nodes, IMAGE, stored)
    assert listed(trace) == ["w = conv2d 4->6 on 9x9 kernel 3x3 groups 1 no gradient +b"]
    assert (trace.macs, trace.parameters) == (6 * 4 * 9 * 16, 6 * 4 * 9 + 6)
    assert trace.origin.assumptions[-2:] == (
        "weights that are stored as whole numbers are taken as trained: w, b",
        "steps between number formats are casts and left out: q, conv, back",
    )


@pytest.mark.parametrize("point", [0, 7, 128])
def test_zeros_are_where_the_zero_point_is(reading, point):
    weight = pruned((16, 16, 3, 3), "2:8", 1)
    nodes = [QUANTISE, node("QLinearConv", "q s z w s p s z", "r"), node("DequantizeLinear", "r s z")]
    stored = {**SCALE, "w": zero_where(weight, point), "p": np.uint8(point)}
    seen = reading(nodes, {"x": ("N", 16, 9, 9)}, stored).operations[0].observed
    dropped = point == 0  # one more place then holds the zero point
    assert seen.FF.weight.density == 0.25 - dropped / weight.size
    assert seen.FF.weight.pattern == "2:8"


def test_each_channel_may_have_its_zero_point(reading):
    weight = pruned((24, 16), "1:4", 0)  # inputs, outputs
    points = np.arange(16).astype(np.uint8)
    stored = {"w": np.where(weight == 0, points, 200).astype(np.uint8), "s": np.full(16, ONE), "z": points}
    nodes = [node("DequantizeLinear", "w s z", "d", axis=1), node("MatMul", "x d")]
    assert reading(nodes, {"x": ("N", 24)}, stored).operations[0].observed.FF.weight.pattern == "1:4"
    blocks = {"w": stored["w"], "s": np.full((3, 16), ONE), "z": np.stack([points] * 3)}
    nodes[0] = node("DequantizeLinear", "w s z", "d", axis=0, block_size=8)
    blocked = reading(nodes, {"x": ("N", 24)}, blocks, opset=21).operations[0].observed
    assert (blocked.FF.weight.pattern, blocked.FF.weight.density) == ("1:4", 0.25)


def test_dynamic_quantisation_is_the_product_and_its_scale(reading):
    nodes = [node("MatMul", "x first", "h"), node("DynamicQuantizeLinear", "h", "q s z"),
             node("MatMulInteger", "q w z p", "i", name="fc"), node("Cast", "i", "f", to=FLOAT),
             node("Mul", "s ws", "t"), node("Mul", "f t", name="scaled")]  # fmt: skip
    stored = {"first": filled(4, 4), "w": bytes_of(4, 6), "p": np.uint8(0), "ws": ONE}
    trace = reading(nodes, ROWS, stored)
    assert listed(trace) == [
        "first = linear 4->4 rows 5 first no gradient",
        "w = linear 4->6 rows 5 w",  # its input has a gradient: BP of the quantised product is work
        "scaled = multiply 30->30",
    ]
    assert (trace.macs, trace.parameters) == (5 * 16 + 5 * 24, 16 + 24)


def test_a_gradient_flows_through_whole_numbers(reading):
    """The int32 bias that some quantisers add before the cast."""
    nodes = [node("MatMul", "x first", "h"), node("DynamicQuantizeLinear", "h", "q s z"),
             node("MatMulInteger", "q w z", "i"), node("Add", "i b", "j"), node("Cast", "j", "f", to=FLOAT),
             node("MatMul", "f last")]  # fmt: skip
    stored = {"first": filled(4, 4), "w": bytes_of(4, 6), "b": filled(6).astype(np.int32), "last": filled(6, 3)}
    products = [one for one in reading(nodes, ROWS, stored).operations if one.macs]
    assert [(one.weight.name, one.input_gradient) for one in products] == [
        ("first", False),
        ("w", True),
        ("last", True),
    ]


INTEGER_PRODUCTS = {
    "ConvInteger": ([QUANTISE, node("ConvInteger", "q w z p", "i"), node("Cast", "i", "y", to=FLOAT)], IMAGE,
                    {**SCALE, "w": bytes_of(8, 1, 3, 3), "p": np.uint8(1)}, {"group": 4},
                    "w = conv2d 4->8 on 9x9 kernel 3x3 groups 4 no gradient", 8 * 9 * 49),
    "QLinearMatMul": ([QUANTISE, node("QLinearMatMul", "q s z w s p s z", "r"), node("DequantizeLinear", "r s z")], ROWS,
                      {**SCALE, "w": bytes_of(4, 6), "p": np.full(6, 1, np.uint8)}, {},
                      "w = linear 4->6 rows 5 w no gradient", 120),
    "QLinearMatMul of activations": (
        [QUANTISE, node("Transpose", "q", "t", perm=[0, 2, 1]), node("QLinearMatMul", "q s z t s z s z", "r", name="m"),
         node("DequantizeLinear", "r s z")], ROWS, SCALE, {}, "m = matmul 1 x 5,4,5 no gradient", 100),
    "MatMulIntegerToFloat": ([QUANTISE, ms("MatMulIntegerToFloat", "q w s s z p b")], ROWS,
                             {**SCALE, "w": bytes_of(4, 6), "p": np.uint8(1), "b": filled(6)}, {},
                             "w = linear 4->6 rows 5 w no gradient +b", 120),
    "DynamicQuantizeMatMul": ([ms("DynamicQuantizeMatMul", "x w s p b")], ROWS,
                              {"s": ONE, "w": bytes_of(4, 6), "p": np.uint8(1), "b": filled(6)}, {},
                              "w = linear 4->6 rows 5 w no gradient +b", 120),
    "QGemm": ([QUANTISE, ms("QGemm", "q s z w s p b s z", "r", transB=1), node("DequantizeLinear", "r s z")], {"x": ("N", 4)},
              {**SCALE, "w": bytes_of(6, 4), "p": np.uint8(1), "b": filled(6).astype(np.int32)}, {},
              "w = linear 4->6 rows 1 w no gradient +b", 24),
}  # fmt: skip


@pytest.mark.parametrize("case", INTEGER_PRODUCTS)
def test_products_of_whole_numbers(reading, case):
    nodes, inputs, stored, attributes, line, macs = INTEGER_PRODUCTS[case]
    if attributes:
        nodes = [nodes[0], node("ConvInteger", "q w z p", "i", **attributes), nodes[2]]
    trace = reading(nodes, inputs, stored, domains=MS)
    assert (listed(trace), trace.macs) == ([line], macs)


VECTORS = {
    "QLinearAdd": ([ms("QLinearAdd", "q s z q s z s z", "r")], "add = add 648->324"),
    "QLinearMul": ([ms("QLinearMul", "q s z q s z s z", "r")], "mul = multiply 648->324"),
    "QLinearSigmoid": ([ms("QLinearSigmoid", "q s z s z", "r")], "sigmoid = activation 324->324"),
    "QLinearLeakyRelu": ([ms("QLinearLeakyRelu", "q s z s z", "r", alpha=0.1)], "leaky_relu = activation 324->324"),
    "QLinearSoftmax": ([ms("QLinearSoftmax", "q s z s z", "r", axis=1)], "softmax = softmax 324->324"),
    "QLinearConcat": ([ms("QLinearConcat", "s z q s z q s z", "r", axis=1)], "concat = copy 648->648"),
    "QLinearAveragePool": ([ms("QLinearAveragePool", "q s z s z", "r", kernel_shape=[3, 3], strides=[3, 3])],
                           "average_pool = pooling 324->36"),
    "QLinearGlobalAveragePool": ([ms("QLinearGlobalAveragePool", "q s z s z", "r")], "global_average_pool = reduce 324->4"),
    "QLinearReduceMean": ([ms("QLinearReduceMean", "q s z s z", "r", axes=[2, 3])], "reduce_mean = reduce 324->4"),
}  # fmt: skip


@pytest.mark.parametrize("operator", VECTORS)
def test_vector_work_of_whole_numbers(reading, operator):
    nodes, line = VECTORS[operator]
    trace = reading([QUANTISE, *nodes, node("DequantizeLinear", "r s z")], IMAGE, SCALE, domains=MS)
    assert [text.replace(" no gradient", "") for text in listed(trace)] == [line]


def test_a_quantised_table_is_an_embedding(reading):
    nodes = [node("Gather", "e t", "g", name="e"), node("DequantizeLinear", "g s z", "a"), node("MatMul", "a w")]
    stored = {**SCALE, "e": bytes_of(9, 4), "w": filled(4, 6)}
    trace = reading(nodes, {"t": (("N", 5), INT64)}, stored)
    assert listed(trace) == ["e = embedding 20->20 +e", "w = linear 4->6 rows 5 w"]
    assert trace.parameters == 9 * 4 + 24


def test_a_quantised_recurrent_layer_is_that_of_its_numbers(reading):
    """(directions, inputs, 4 hidden), and zero points of each direction."""
    weights = {"w": bytes_of(2, 3, 24), "r": bytes_of(2, 6, 24)}
    scales = {"s": np.full(2, ONE), "z": np.array([0, 3], np.uint8)}
    layer = ms("DynamicQuantizeLSTM", "", name="l", hidden_size=6, direction="bidirectional")
    layer.input[:] = ["x", "w", "r", "b", "", "", "", "", "s", "z", "s", "z"]
    trace = reading([layer], {"x": (5, "N", 3)}, {**weights, **scales, "b": filled(2, 48)}, domains=MS)
    float_layer = node("LSTM", "x w r b", name="l", hidden_size=6, direction="bidirectional")
    plain = reading(
        [float_layer], {"x": (5, "N", 3)}, {"w": filled(2, 24, 3), "r": filled(2, 24, 6), "b": filled(2, 48)}
    )
    assert listed(trace) == listed(plain)
    assert trace.macs == 2 * 5 * 24 * (3 + 6)
    assert trace.parameters == 2 * 24 * (3 + 6) + 2 * 48


def packed_nibbles(values):
    """(outputs, blocks, bytes of a block), the first of two numbers in the lower half of a byte."""
    return (values[..., ::2] | values[..., 1::2] << 4).astype(np.uint8)


@pytest.mark.parametrize("points", [None, 5])
def test_weights_of_four_bits(reading, points):
    weight = pruned((24, 32), "2:8", 1)  # outputs, inputs
    zero = 8 if points is None else points
    values = np.where(weight == 0, zero, 15 - zero).astype(np.uint8).reshape(24, 2, 16)
    stored = {"w": packed_nibbles(values), "s": np.full(48, ONE)}
    if points is not None:
        stored["z"] = packed_nibbles(np.full((24, 2), points, np.uint8)).reshape(-1)
    names = "x w s z" if points is not None else "x w s"
    product = ms("MatMulNBits", names, name="fc", K=32, N=24, bits=4, block_size=16)
    trace = reading([product], {"x": ("N", 5, 32)}, stored, domains=MS)
    assert listed(trace) == ["w = linear 32->24 rows 5 w no gradient"]
    assert (trace.macs, trace.parameters) == (5 * 32 * 24, 32 * 24)
    seen = trace.operations[0].observed.FF.weight
    assert (seen.pattern, seen.density) == ("2:8", 0.25)


def test_weights_of_eight_bits_and_a_bias(reading):
    product = ms("MatMulNBits", "x w s", name="fc", K=20, N=6, bits=8, block_size=16)
    product.input[:] = ["x", "w", "s", "", "", "b"]
    values = np.full((6, 2, 16), 3, np.uint8)
    values[:, 0, ::2] = 128
    trace = reading([product], {"x": ("N", 20)}, {"w": values, "s": np.full(12, ONE), "b": filled(6)}, domains=MS)
    assert listed(trace) == ["w = linear 20->6 rows 1 w no gradient +b"]
    assert trace.operations[0].observed.FF.weight.density == 12 / 20  # the block is filled up to 32 inputs


def test_numbers_that_are_no_weight_stay_numbers(reading):
    """A quantised scalar is a constant, as a floating-point one is."""
    nodes = [node("DequantizeLinear", "c s z", "d"), node("Mul", "x d")]
    trace = reading(nodes, ROWS, {**SCALE, "c": np.uint8(3)})
    assert (listed(trace), trace.parameters) == (["mul = multiply 20->20 no gradient"], 0)


def test_indices_are_no_quantised_numbers(reading):
    trace = reading(node("Gather", "x i", axis=1), ROWS, {"i": ints(0, 2)})
    assert trace.parameters == 0
