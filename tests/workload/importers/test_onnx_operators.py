"""The ONNX importer against hand arithmetic, operator by operator."""

import math

import numpy as np
import pytest

pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx import TensorProto, helper
from onnx_models import BOOL, FLOAT, IMAGE, INT64, NEWEST, ROWS, filled, ints, listed, node

# Products


PRODUCTS = {
    "convolution with a bias": (
        node("Conv", "x c.weight c.bias", strides=[2, 2], pads=[1, 1, 1, 1]),
        IMAGE, {"c.weight": filled(6, 4, 3, 3), "c.bias": filled(6)},
        "c = conv2d 4->6 on 9x9 kernel 3x3 groups 1 no gradient +c.bias",
    ),
    "depthwise": (
        node("Conv", "x w", name="c", group=4), IMAGE, {"w": filled(8, 1, 3, 3)},
        "w = conv2d 4->8 on 9x9 kernel 3x3 groups 4 no gradient",
    ),
    "1-D": (
        node("Conv", "x w", dilations=[2]), {"x": ("N", 4, 9)}, {"w": filled(8, 4, 3)},
        "w = conv1d 4->8 on 9 kernel 3 groups 1 no gradient",
    ),
    "3-D": (
        node("Conv", "x w"), {"x": ("N", 2, 5, 6, 7)}, {"w": filled(4, 2, 3, 3, 3)},
        "w = conv3d 2->4 on 5x6x7 kernel 3x3x3 groups 1 no gradient",
    ),
    "transposed": (
        node("ConvTranspose", "x w b", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        IMAGE, {"w": filled(4, 3, 3, 3), "b": filled(3)},
        "w = conv_transpose2d 4->3 on 9x9 kernel 3x3 groups 1 no gradient +b",
    ),
    "five images per sample": (
        [node("Reshape", "x sizes", "r"), node("Conv", "r w")], {"x": ("N", 5, 3, 8, 8)},
        {"sizes": ints(-1, 3, 8, 8), "w": filled(8, 3, 3, 3)},
        "w = conv3d 3->8 on 5x8x8 kernel 1x3x3 groups 1 no gradient",
    ),
    "Gemm": (
        node("Gemm", "x fc.weight fc.bias", transB=1), {"x": ("N", 4)}, {"fc.weight": filled(6, 4), "fc.bias": filled(6)},
        "fc = linear 4->6 rows 1 fc.weight no gradient +fc.bias",
    ),
    "Gemm with its weight on the left": (
        node("Gemm", "w x", transA=1, transB=1), {"x": ("N", 4)}, {"w": filled(4, 6)},
        "w = linear 4->6 rows 1 w no gradient",
    ),
    "MatMul with a bias": (
        [node("MatMul", "x fc.weight", "p"), node("Add", "b p")], ROWS, {"fc.weight": filled(4, 6), "b": filled(6)},
        "fc = linear 4->6 rows 5 fc.weight no gradient +b",
    ),
    "weight on the left": (
        node("MatMul", "w x"), {"x": ("N", 3, 5, 4)}, {"w": filled(7, 5)},
        ["matmul.copy = copy 60->60 no gradient", "w = linear 5->7 rows 12 w no gradient", "matmul.copy_2 = copy 84->84"],
    ),
    "vector times weight": (
        [node("Squeeze", "x axis", "v"), node("MatMul", "v w")], {"x": (1, 4)}, {"axis": ints(0), "w": filled(4, 6)},
        "w = linear 4->6 rows 1 w no gradient",
    ),
    "transposed weight": (
        [node("Cast", "w", "c", to=FLOAT), node("Transpose", "c", "t"), node("MatMul", "x t")],
        ROWS, {"w": filled(6, 4)}, "w = linear 4->6 rows 5 w no gradient",
    ),
    "quantised weight": (
        [node("DequantizeLinear", "w scale", "d"), node("MatMul", "x d")], ROWS,
        {"w": filled(4, 6).astype(np.int8), "scale": np.float32(0.5)}, "w = linear 4->6 rows 5 w no gradient",
    ),
    "masked weight": (
        [node("Mul", "w mask", "m"), node("MatMul", "x m", name="p")], ROWS, {"w": filled(4, 6), "mask": np.eye(4, 6, dtype=np.float32)},
        ["mul = multiply 48->24 once +w", "p = linear 4->6 rows 5 w no gradient"],
    ),
    "half of a weight": (
        [node("Split", "w", "a b", axis=1, num_outputs=2), node("MatMul", "x a", "p"), node("MatMul", "x b", "q"),
         node("Concat", "p q", axis=-1, name="join")], ROWS, {"w": filled(4, 6)},
        ["w[:,0:3] = linear 4->3 rows 5 w[:,0:3] no gradient", "w[:,3:6] = linear 4->3 rows 5 w[:,3:6] no gradient",
         "join = copy 30->30"],
    ),
    "sliced and joined weights": (
        [node("Slice", "w from to axes", "a"), node("Concat", "a v", "c", axis=1), node("MatMul", "x c")], ROWS,
        {"w": filled(4, 6), "v": filled(4, 2), "from": ints(2), "to": ints(5), "axes": ints(1)},
        ["concat = copy 20->20 once", "w[:,2:5]+v = linear 4->5 rows 5 w[:,2:5]+v no gradient"],
    ),
    "one of several stacked weights": (
        [node("Gather", "w which", "a"), node("MatMul", "x a")], ROWS, {"w": filled(3, 4, 6), "which": np.int64(-1)},
        "w[2] = linear 4->6 rows 5 w[2] no gradient",
    ),
    "one matrix per expert": (
        node("Einsum", "x w", equation="becd,edf->becf"), {"x": ("N", 3, 6, 4)}, {"w": filled(3, 4, 5)},
        ["einsum.copy = copy 72->72 no gradient", "w = conv1d 12->15 on 6 kernel 1 groups 3 no gradient"],
    ),
    "one matrix per expert by MatMul": (
        node("MatMul", "x w"), {"x": ("N", 3, 6, 4)}, {"w": filled(3, 4, 5)},
        ["matmul.copy = copy 0->60", "w = conv1d 12->15 on 6 kernel 1 groups 3 no gradient"],
    ),
    "einsum with a weight": (
        node("Einsum", "x w", equation="...d, de -> ...e"), ROWS, {"w": filled(4, 6)},
        "w = linear 4->6 rows 5 w no gradient",
    ),
    "einsum of activations": (
        node("Einsum", "x x", equation="btd,bsd->bts"), ROWS, {}, "matmul = matmul 1 x 5,4,5 no gradient",
    ),
    "einsum without an arrow": (
        node("Einsum", "x w", equation="btd,de"), ROWS, {"w": filled(4, 6)}, "w = linear 4->6 rows 5 w no gradient",
    ),
    "einsum without a sum": (
        node("Einsum", "x x", equation="btd,btd->btd"), ROWS, {}, "einsum = multiply 40->20 no gradient",
    ),
    "einsum of one factor": (
        node("Einsum", "x", equation="btd->bt"), ROWS, {}, "einsum = reduce 20->5 no gradient",
    ),
    "two activations": (
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "x t")], ROWS, {},
        "matmul = matmul 1 x 5,4,5 no gradient",
    ),
    "two activations, heads": (
        node("MatMul", "q k"), {"q": ("N", 3, 5, 4), "k": ("N", 3, 4, 7)}, {}, "matmul = matmul 3 x 5,4,7 no gradient",
    ),
    "one weight twice": (
        [node("MatMul", "x w", "p", name="first"), node("MatMul", "p w", name="second")], ROWS, {"w": filled(4, 4)},
        ["w = linear 4->4 rows 5 w no gradient", "second = linear 4->4 rows 5 w"],
    ),
    "a computed filter": (
        [node("Range", "zero n one", "r"), node("Cast", "r", "c", to=FLOAT), node("Reshape", "c sizes", "f"),
         node("Conv", "x f", name="blur")], IMAGE,
        {"zero": np.int64(0), "n": np.int64(36), "one": np.int64(1), "sizes": ints(4, 1, 3, 3)},
        "blur = conv2d 4->4 on 9x9 kernel 3x3 groups 4 frozen no gradient",
    ),
}  # fmt: skip
PRODUCTS["a computed filter"][0][-1].attribute.append(helper.make_attribute("group", 4))


@pytest.mark.parametrize("case", PRODUCTS)
def test_products(reading, case):
    nodes, inputs, stored, expected = PRODUCTS[case]
    assert listed(reading(nodes, inputs, stored)) == ([expected] if isinstance(expected, str) else expected)


def test_geometry_of_convolutions_is_kept(reading):
    (conv,) = reading(
        node("Conv", "x w", group=2, strides=[2, 1], pads=[1, 2, 1, 2], dilations=[1, 2]),
        {"x": ("N", 4, 9, 11)}, {"w": filled(6, 2, 3, 5)},
    ).operations  # fmt: skip
    assert (conv.stride, conv.padding, conv.dilation, conv.out_size) == ((2, 1), (1, 2), (1, 2), (5, 7))
    (up,) = reading(
        node("ConvTranspose", "x w", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        {"x": ("N", 4, 5, 5)}, {"w": filled(4, 6, 3, 3)},
    ).operations  # fmt: skip
    assert (up.stride, up.padding, up.output_padding, up.out_size) == ((2, 2), (1, 1), (1, 1), (10, 10))


@pytest.mark.parametrize(
    ("attributes", "in_size", "padding", "out_size"),
    [
        ({"pads": [0, 0, 1, 1], "strides": [2, 2]}, (9, 9), (0, 0), (4, 4)),  # zeros on one side: an input of 9
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (9, 9), (0, 0), (4, 4)),
        ({"auto_pad": "SAME_LOWER"}, (8, 8), (1, 1), (8, 8)),
        ({"auto_pad": "VALID"}, (8, 8), (0, 0), (6, 6)),
    ],
)
def test_padding_of_convolutions(reading, attributes, in_size, padding, out_size):
    trace = reading(node("Conv", "x w", name="c", **attributes), {"x": ("N", 4, 8, 8)}, {"w": filled(6, 4, 3, 3)})
    (conv,) = trace.operations
    assert (conv.in_size, conv.padding, conv.out_size) == (in_size, padding, out_size)
    assert conv.macs == 6 * 4 * 9 * math.prod(out_size)
    sentence = "padding that differs between two sides is taken as equal padding of a larger input: c"
    assert (sentence in trace.origin.assumptions) == (in_size == (9, 9))


@pytest.mark.parametrize(
    ("attributes", "out_size"),
    [
        ({}, (9, 9)),
        ({"pads": [0, 0, 1, 1]}, (8, 8)),
        ({"auto_pad": "SAME_UPPER"}, (8, 8)),
        ({"output_shape": [8, 8]}, (8, 8)),
    ],
)
def test_padding_of_transposed_convolutions(reading, attributes, out_size):
    given = {"x": ("N", 4, 4, 4)}
    (up,) = reading(
        node("ConvTranspose", "x w", strides=[2, 2], **attributes), given, {"w": filled(4, 2, 3, 3)}
    ).operations
    assert (up.out_size, up.macs) == (out_size, 4 * 4 * 4 * 2 * 9)


# Vector work


PLANE = {"x": ("N", 2, 16, 16)}
AXES = {"axes": ints(1)}
VECTORS = {
    "MaxPool": (node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), PLANE, {},
                "max_pool = pooling 1152->128"),  # 3 x 3 windows, 2 x 8 x 8 results
    "AveragePool": (node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2]), PLANE, {},
                    "average_pool = pooling 512->128"),
    "GlobalAveragePool": (node("GlobalAveragePool", "x"), PLANE, {}, "global_average_pool = reduce 512->2"),
    "GlobalMaxPool": (node("GlobalMaxPool", "x"), PLANE, {}, "global_max_pool = pooling 512->2"),
    "BatchNormalization": (node("BatchNormalization", "x w b mean var"), PLANE,
                           {name: filled(2) for name in ("w", "b", "mean", "var")},
                           "batch_normalization = norm 512->512 +w +b"),
    "LayerNormalization": (node("LayerNormalization", "x w b"), ROWS, {"w": filled(4), "b": filled(4)},
                           "layer_normalization = norm 20->20 +w +b"),
    "GroupNormalization": (node("GroupNormalization", "x w b", num_groups=1), PLANE, {"w": filled(2), "b": filled(2)},
                           "group_normalization = norm 512->512 +w +b"),
    "InstanceNormalization": (node("InstanceNormalization", "x w b"), PLANE, {"w": filled(2), "b": filled(2)},
                              "instance_normalization = norm 512->512 +w +b"),
    "RMSNormalization": (node("RMSNormalization", "x w"), ROWS, {"w": filled(4)}, "rms_normalization = norm 20->20 +w"),
    "scale of one channel": (node("InstanceNormalization", "x w b"), {"x": ("N", 1, 4)}, {"w": filled(1), "b": filled(1)},
                             "instance_normalization = norm 4->4 +w +b"),
    "Relu": (node("Relu", "x"), ROWS, {}, "relu = activation 20->20"),
    "Clip": (node("Clip", "x low high"), ROWS, {"low": np.float32(0), "high": np.float32(6)}, "clip = activation 20->20"),
    "PRelu": (node("PRelu", "x s"), ROWS, {"s": filled(4)}, "prelu = activation 20->20 +s"),
    "Add": (node("Add", "x x"), ROWS, {}, "add = add 40->20"),
    "Add of a trained tensor": (node("Add", "x p"), ROWS, {"p": filled(1, 5, 4)}, "add = add 20->20 +p"),
    "Add of a mask": (node("Add", "x m"), ROWS, {"m": np.full((5, 4), -np.inf, np.float32)}, "add = add 20->20"),
    "Add of a mask of one number": (node("Add", "x m"), ROWS, {"m": -100 * np.eye(5, 4, dtype=np.float32)}, "add = add 20->20"),
    "Sum": (node("Sum", "x x x"), ROWS, {}, "sum = add 60->20"),
    "Mul by a number": (node("Mul", "x half"), ROWS, {"half": np.float32(0.5)}, "mul = multiply 20->20"),
    "Mul by a broadcast": ([node("ReduceMean", "x axes", "m", name="mean"), node("Mul", "x m")], ROWS, AXES,
                           ["mean = reduce 20->4", "mul = multiply 24->20"]),
    "Softmax": (node("Softmax", "x", axis=-1), ROWS, {}, "softmax = softmax 20->20"),
    "Dropout": (node("Dropout", "x ratio mode"), ROWS, {"ratio": np.float32(0.1), "mode": np.bool_(True)},
                "dropout = dropout 20->20"),
    "Dropout by hand": ([node("Bernoulli", "x", "m"), node("Mul", "x m")], ROWS, {}, "mul = dropout 20->20"),
    "Dropout by comparison": ([node("RandomUniformLike", "x", "r"), node("Less", "r half", "l"), node("Cast", "l", "m", to=FLOAT),
                               node("Mul", "x m")], ROWS, {"half": np.float32(0.5)}, "mul = dropout 20->20"),
    "Dropout of nothing": ([node("Dropout", "x ratio", "d"), node("Relu", "d")], ROWS, {"ratio": np.float32(0)},
                           "relu = activation 20->20"),
    "ReduceSum": (node("ReduceSum", "x axes", keepdims=0), ROWS, AXES, "reduce_sum = reduce 20->4"),
    "ArgMax": (node("ArgMax", "x", axis=2), ROWS, {}, "arg_max = reduce 20->5"),
    "Concat": (node("Concat", "x x", axis=1), ROWS, {}, "concat = copy 40->40"),
    "Concat of a trained row": ([node("Shape", "x", "n", end=1), node("Concat", "n rest", "s", axis=0),
                                 node("Expand", "token s", "t"), node("Concat", "t x", axis=1)], ROWS,
                                {"token": filled(1, 1, 4), "rest": ints(1, 4)}, "concat = copy 20->24 +token"),
    "Pad": (node("Pad", "x pads"), ROWS, {"pads": ints(0, 1, 0, 0, 1, 0)}, "pad = copy 20->28"),
    "Embedding": (node("Gather", "e.weight x", name="e"), {"x": (("N", 5), INT64)}, {"e.weight": filled(9, 4)},
                  "e = embedding 20->20 +e.weight"),
    "Positions": ([node("Gather", "p.weight i", "p", name="p"), node("Add", "x p")], ROWS,
                  {"p.weight": filled(9, 4), "i": ints(*range(5))},
                  ["p = embedding 20->20 once +p.weight", "add = add 20->20"]),
    "Gather": (node("Gather", "x i", axis=1), ROWS, {"i": ints(0, 2)}, "gather = copy 8->8"),
    "GatherElements": (node("GatherElements", "x i", axis=1), {"x": (1, 5, 4)}, {"i": np.zeros((1, 2, 4), np.int64)},
                       "gather_elements = copy 8->8"),
    "Where": (node("Where", "c x x"), {"x": ("N", 5, 4), "c": (("N", 5, 4), BOOL)}, {}, "where = elementwise 60->20"),
    "Resize": (node("Resize", "x none scales"), PLANE, {"none": np.zeros(0, np.float32), "scales": np.float32([1, 1, 2, 2])},
               "resize = elementwise 512->2048"),
    "Resize by computed sizes": (
        [node("Shape", "x", "s", start=2), node("Mul", "s two", "d"), node("Shape", "x", "n", end=2),
         node("Concat", "n d", "t", axis=0), helper.make_node("Resize", ["x", "", "", "t"], ["y"])], PLANE,
        {"two": ints(2)}, "resize = elementwise 512->2048"),
    "cross entropy": (node("SoftmaxCrossEntropyLoss", "x t", name="loss"), {"x": ("N", 8), "t": (("N",), INT64)}, {},
                      ["loss.log_softmax = softmax 8->8", "loss.nll_loss = loss 9->0"]),
    "views": ([node("Transpose", "x", "a"), node("Flatten", "a", "b"), node("Unsqueeze", "b axes", "c"),
               node("Cast", "c", "d", to=TensorProto.FLOAT16), node("Identity", "d")], {"x": ("N",)}, AXES, []),
    "work on constants": ([node("Shape", "x", "s"), node("Cast", "s", "f", to=FLOAT), node("Sqrt", "f", "r"),
                           node("ReduceSum", "r", "t", keepdims=0), node("Mul", "x t")], ROWS, {}, "mul = multiply 20->20"),
    "a transposed tensor flattened is copied": (
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Flatten", "t")], ROWS, {}, "copy = copy 20->20"),
}  # fmt: skip


@pytest.mark.parametrize("case", VECTORS)
def test_vector_work_is_counted_by_elements(reading, case):
    nodes, inputs, stored, expected = VECTORS[case]
    if case == "RMSNormalization" and NEWEST < 23:
        pytest.skip("this onnx has no RMSNormalization")
    expected = [expected] if isinstance(expected, str) else expected
    nodes = [*(nodes if isinstance(nodes, list) else [nodes]), node("Neg", "y", "end", name="end")]
    got = [text.replace(" no gradient", "") for text in listed(reading(nodes, inputs, stored, opset=NEWEST))]
    assert [text for text in got if not text.startswith("end ")] == expected


def written_out(form):
    """Activations and normalisations as exporters write them without an operator: nodes from x to y, and numbers."""
    half, one, root = {"half": np.float32(0.5)}, {"one": np.float32(1)}, {"root": np.float32(2**0.5)}
    erf = [node("Div", "x root", "a"), node("Erf", "a", "b"), node("Add", "b one", "c")]
    tanh = [node("Mul", "x x", "s"), node("Mul", "s x", "q"), node("Mul", "q root", "r"), node("Add", "x r", "u"),
            node("Tanh", "u", "t"), node("Add", "t one", "c"), node("Mul", "x half", "h")]  # fmt: skip
    norm = [node("ReduceMean", "x axis", "m"), node("Sub", "x m", "d"), node("Pow", "d two", "p"),
            node("ReduceMean", "p axis", "v"), node("Add", "v half", "e"), node("Sqrt", "e", "r"), node("Div", "d r", "n"),
            node("Mul", "n w", "k"), node("Add", "k b", "y")]  # fmt: skip
    numbers = {"axis": ints(-1), "two": np.float32(2), **half, "w": filled(4), "b": filled(4)}
    return {
        "GELU": ([*erf, node("Mul", "x c", "d"), node("Mul", "d half")], half | one | root),
        "GELU, half first": ([*erf, node("Mul", "x half", "h"), node("Mul", "h c")], half | one | root),
        "GELU by tanh": ([*tanh, node("Mul", "h c")], half | one | root),
        "SiLU": ([node("Sigmoid", "x", "s"), node("Mul", "x s")], {}),
        "Mish": ([node("Softplus", "x", "s"), node("Tanh", "s", "t"), node("Mul", "t x")], {}),
        "Hard Swish": ([node("HardSigmoid", "x", "s"), node("Mul", "x s")], {}),
        "Hard Swish by Clip": (
            [
                node("Add", "x one", "a"),
                node("Clip", "a half one", "c"),
                node("Mul", "x c", "m"),
                node("Div", "m root"),
            ],
            half | one | root,
        ),
        "layer norm": (norm, numbers),
        "layer norm without parameters": ([*norm[:-3], node("Div", "d r")], numbers),
    }[form]


JOINED = {
    "GELU": "gelu = activation 20->20",
    "GELU, half first": "gelu = activation 20->20",
    "GELU by tanh": "gelu = activation 20->20",
    "SiLU": "swish = activation 20->20",
    "Mish": "mish = activation 20->20",
    "Hard Swish by Clip": "hard_swish = activation 20->20",
    "Hard Swish": "hard_swish = activation 20->20",
    "layer norm": "layer_normalization = norm 20->20 +w +b",
    "layer norm without parameters": "layer_normalization = norm 20->20",
}


@pytest.mark.parametrize("form", JOINED)
def test_operations_that_are_written_out_are_one_again(reading, form):
    nodes, numbers = written_out(form)
    trace = reading(nodes, ROWS, numbers)
    assert [text.replace(" no gradient", "") for text in listed(trace)] == [JOINED[form]]
    assert "written out in arithmetic are counted as one operation: y" in trace.origin.assumptions[-1]


@pytest.mark.parametrize("form", JOINED)
def test_a_result_in_the_middle_that_is_used_elsewhere_keeps_them_apart(reading, form):
    nodes, numbers = written_out(form)
    middle = "m" if form.startswith("layer") else nodes[0].output[0]
    kinds = [operation.kind for operation in reading([*nodes, node("Neg", middle, "z")], ROWS, numbers).operations]
    assert len(kinds) > 2
    assert "counted as one" not in " ".join(
        reading([*nodes, node("Neg", middle, "z")], ROWS, numbers).origin.assumptions
    )


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Mul", "x x")],  # a square
        [node("Split", "x", "a b", axis=2, num_outputs=2), node("Sigmoid", "b", "s"), node("Mul", "a s")],  # a gate
        [node("ReduceMean", "x", "m"), node("Sigmoid", "m", "s"), node("Mul", "x s")],  # squeeze and excite
        [node("Neg", "x", "n"), node("Mul", "x n")],  # nothing but arithmetic
    ],
)
def test_other_products_of_a_tensor_with_itself_stay(reading, nodes):
    assert reading(nodes, ROWS).operations[-1].kind == "multiply"
