"""The ONNX importer against hand arithmetic, operator by operator, against the tracer, and its errors word for word."""

import math
import re
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from operations import definitions, shown

from accelsim.base.errors import InputError
from accelsim.cli import main
from accelsim.sparsity.masks import magnitude_mask
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.importing import ImportOptions, import_trace
from accelsim.workload.trace import load_trace, save_trace

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
NEWEST = onnx.defs.onnx_opset_version()


def node(operator, inputs, outputs="y", name="", **attributes):
    return helper.make_node(operator, inputs.split(), outputs.split(), name=name, **attributes)


def filled(*shape):
    """Dense numbers, no two alike."""
    return np.arange(1, math.prod(shape) + 1, dtype=np.float32).reshape(shape)


def ints(*values):
    return np.array(values, np.int64)


class Without:
    """A stored tensor whose numbers the file leaves out."""

    def __init__(self, *shape):
        self.shape = shape


def tensor(name, content):
    if isinstance(content, Without):
        return TensorProto(name=name, data_type=FLOAT, dims=content.shape)
    return numpy_helper.from_array(np.asarray(content), name)


def built(nodes, inputs, stored=None, opset=20, ir=10, **more):
    """A model of nodes, inputs (shape, or shape and element type) and stored tensors; its outputs are what none uses."""
    given = []
    for name, shape in inputs.items():
        kind, sizes = (shape[1], shape[0]) if shape and isinstance(shape[0], tuple) else (FLOAT, shape)
        given.append(helper.make_tensor_value_info(name, kind, sizes))
    nodes = nodes if isinstance(nodes, list) else [nodes]
    used = {name for one in nodes for name in one.input}
    ends = [name for one in nodes for name in one.output if name and name not in used]
    out = [helper.make_tensor_value_info(name, FLOAT, None) for name in ends]
    graph = helper.make_graph(nodes, "graph", given, out, [tensor(*item) for item in (stored or {}).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir, **more)


@pytest.fixture
def reading(tmp_path):
    """Write a model and read it as a trace."""

    def read(nodes, inputs=None, stored=None, *, name=None, batch=None, sizes=None, **options):
        model = nodes if isinstance(nodes, onnx.ModelProto) else built(nodes, inputs, stored, **options)
        file = tmp_path / "m.onnx"
        file.write_bytes(model.SerializeToString())
        return import_trace(file, options=ImportOptions(name=name, batch=batch, sizes=sizes or {}))

    return read


def listed(trace):
    return [shown(operation, parameters=True) for operation in trace.operations]


# Products


IMAGE = {"x": ("N", 4, 9, 9)}
ROWS = {"x": ("N", 5, 4)}
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
        ["concat = copy 20->20 once +w +v", "w[:,2:5]+v = linear 4->5 rows 5 w[:,2:5]+v no gradient"],
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


# Layers that are opened


needs_opset_23 = pytest.mark.skipif(NEWEST < 23, reason="this onnx has no Attention")


def attended(reading, inputs, stored=None, **attributes):
    names = " ".join(inputs)
    return [text.replace(" no gradient", "") for text in
            listed(reading(node("Attention", names, **attributes), inputs, stored, opset=23))]  # fmt: skip


@needs_opset_23
def test_attention_is_opened(reading):
    by_heads = dict.fromkeys("qkv", ("N", 2, 5, 4))
    assert attended(reading, by_heads, is_causal=1) == [
        "attention.mul = multiply 40->40",
        "attention.mul_2 = multiply 40->40",
        "attention.matmul = matmul 2 x 5,4,5",
        "attention.add = add 50->50",
        "attention.softmax = softmax 50->50",
        "attention.matmul_2 = matmul 2 x 5,5,4",
    ]


@needs_opset_23
def test_attention_with_packed_heads_copies_them_as_the_tracer_does(reading):
    packed = {"q": ("N", 5, 8), "k": ("N", 6, 8), "v": ("N", 6, 8)}
    assert attended(reading, packed, q_num_heads=2, kv_num_heads=2, softcap=2.0) == [
        "attention.mul = multiply 40->40",
        "attention.mul_2 = multiply 48->48",
        "attention.copy = copy 40->40",
        "attention.copy_2 = copy 48->48",
        "attention.matmul = matmul 2 x 5,4,6",
        "attention.div = multiply 60->60",
        "attention.tanh = activation 60->60",
        "attention.mul_3 = multiply 60->60",
        "attention.softmax = softmax 60->60",
        "attention.copy_3 = copy 48->48",
        "attention.matmul_2 = matmul 2 x 5,6,4",
        "attention.copy_4 = copy 40->40",
    ]


@needs_opset_23
def test_attention_with_shared_heads_past_and_mask(reading):
    inputs = {"q": ("N", 4, 1, 8), "k": ("N", 2, 1, 8), "v": ("N", 2, 1, 8), "m": ("N", 1, 1, 7),
              "pk": ("N", 2, 6, 8), "pv": ("N", 2, 6, 8)}  # fmt: skip
    assert attended(reading, inputs) == [
        "attention.past_key = copy 112->112",
        "attention.past_value = copy 112->112",
        "attention.mul = multiply 32->32",
        "attention.mul_2 = multiply 112->112",
        "attention.matmul = matmul 4 x 1,8,7",
        "attention.add = add 35->28",
        "attention.softmax = softmax 28->28",
        "attention.matmul_2 = matmul 4 x 1,7,8",
    ]


GATED = {
    "LSTM": (4, ["add", "sigmoid", "sigmoid", "tanh", "sigmoid", "mul", "mul", "add", "tanh", "mul"], {}),
    "GRU": (
        3,
        ["add", "sigmoid", "add", "sigmoid", "mul", "add", "tanh", "sub", "mul", "add"],
        {"linear_before_reset": 1},
    ),
    "RNN": (1, ["add", "tanh"], {}),
}


@pytest.mark.parametrize("operator", GATED)
def test_recurrent_layers_are_opened_step_by_step(reading, operator):
    gates, words, attributes = GATED[operator]
    stored = {"w": filled(1, gates * 8, 4), "r": filled(1, gates * 8, 8), "b": filled(1, 2 * gates * 8)}
    trace = reading(
        node(operator, "x w r b", name="rnn", hidden_size=8, layout=1, **attributes), {"x": ("N", 3, 4)}, stored
    )
    products = [text for text in listed(trace) if "linear" in text]
    assert products == [
        f"w = linear 4->{gates * 8} rows 3 w no gradient +b",
        f"r = linear 8->{gates * 8} rows 1 r no gradient",
        f"rnn.linear = linear 8->{gates * 8} rows 1 r",
        f"rnn.linear_2 = linear 8->{gates * 8} rows 1 r",
    ]
    vectors = [re.sub(r"^rnn\.|(_\d+)? = .*", "", text) for text in listed(trace) if "linear" not in text]
    assert vectors == [*words * 3, "stack"]
    assert trace.parameters == gates * 8 * (4 + 8 + 2)


def test_a_bidirectional_layer_and_an_early_reset(reading):
    stored = {"w": filled(2, 24, 4), "r": filled(2, 24, 8)}
    trace = reading(
        node("GRU", "x w r", name="rnn", hidden_size=8, direction="bidirectional", layout=1), {"x": ("N", 1, 4)}, stored
    )
    assert [text for text in listed(trace) if "linear" in text] == [
        "w[0] = linear 4->24 rows 1 w[0] no gradient",
        "r[0,0:16] = linear 8->16 rows 1 r[0,0:16] no gradient",
        "r[0,16:24] = linear 8->8 rows 1 r[0,16:24] no gradient",
        "w[1] = linear 4->24 rows 1 w[1] no gradient",
        "r[1,0:16] = linear 8->16 rows 1 r[1,0:16] no gradient",
        "r[1,16:24] = linear 8->8 rows 1 r[1,16:24] no gradient",
    ]
    assert trace.parameters == 2 * 24 * (4 + 8)


def test_functions_of_the_file_are_opened(reading):
    inner = helper.make_function(
        "mine", "Twice", ["a", "w"], ["c"],
        [node("MatMul", "a w", "b", name="first"), node("MatMul", "b w", "c", name="second")],
        [helper.make_opsetid("", 20)],
    )  # fmt: skip
    call = helper.make_node("Twice", ["x", "w"], ["y"], domain="mine", name="call")
    model = built(call, ROWS, {"w": filled(4, 4)}, functions=[inner])
    model.opset_import.append(helper.make_opsetid("mine", 1))
    assert [text.partition(" = ")[2] for text in listed(reading(model))] == [
        "linear 4->4 rows 5 w no gradient",
        "linear 4->4 rows 5 w",
    ]


# Dimensions and batch


def test_an_open_batch_is_one_sample_and_other_sizes_are_given_by_name(reading):
    nodes = [node("Gather", "e.weight t", "a", name="e"), node("MatMul", "a w", "b"), node("Transpose", "b", "c", perm=[0, 2, 1]),
             node("MatMul", "b c", name="scores")]  # fmt: skip
    stored = {"e.weight": filled(9, 4), "w": filled(4, 6)}
    trace = reading(nodes, {"t": (("N", "seq"), INT64)}, stored, sizes={"seq": 7})
    assert listed(trace) == [
        "e = embedding 28->28 +e.weight",
        "w = linear 4->6 rows 7 w",
        "scores = matmul 1 x 7,6,7",
    ]
    assert trace.input_shapes == ((7,),)
    assert trace.origin.assumptions[0] == "dimension 'N', the first one of the inputs, is taken as the batch"


def test_a_size_without_a_name_is_called_after_input_and_position(reading):
    relu = node("Relu", "x")
    assert listed(reading(relu, {"x": (None, None, 4)}, sizes={"x.1": 3})) == ["relu = activation 12->12 no gradient"]


def test_a_fixed_batch_is_divided_by(reading):
    nodes = [node("Gather", "p.weight i", "p", name="p"), node("Add", "x p", "a"), node("MatMul", "a w", "b"),
             node("Transpose", "b", "c", perm=[0, 2, 1]), node("MatMul", "b c", name="scores")]  # fmt: skip
    stored = {"p.weight": filled(9, 4), "i": ints(*range(5)), "w": filled(4, 6)}
    expected = [
        "p = embedding 20->20 once +p.weight",
        "add = add 20->20",
        "w = linear 4->6 rows 5 w",
        "scores = matmul 1 x 5,6,5",
    ]
    for shape, batch in (((8, 5, 4), 8), ((1, 5, 4), None), (("N", 5, 4), None)):
        trace = reading(nodes, {"x": shape}, stored, batch=batch)
        assert listed(trace) == expected
        assert trace.input_shapes == ((5, 4),)


def test_the_samples_are_in_the_factor_that_depends_on_the_inputs(reading):
    nodes = [node("MatMul", "a b", "d"), node("MatMul", "b c", "e"), node("MatMul", "x d", "p", name="right"),
             node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "e t", name="left")]  # fmt: skip
    stored = {"a": filled(4, 2), "b": filled(2, 3), "c": filled(3, 4)}
    for shape, batch in ((("N", 5, 4), None), ((6, 5, 4), 6)):
        trace = reading(nodes, {"x": shape}, stored, batch=batch)
        assert [text for text in listed(trace) if "matmul" in text.partition(" ")[2]] == [
            "right = matmul 1 x 5,4,3 no left gradient",
            "left.matmul = matmul 1 x 2,4,5 no right gradient",
        ]
        right = next(one for one in trace.operations if one.name == "right")
        assert (right.left_gradient, right.right_gradient) == (False, True)


def test_a_whole_input_may_be_one_sample(reading):
    trace = reading(node("Relu", "x"), {"x": (8, 5, 4)}, batch=1)
    assert (listed(trace), trace.input_shapes) == (["relu = activation 160->160 no gradient"], ((8, 5, 4),))


def test_an_open_batch_may_be_fixed(reading):
    trace = reading(
        [node("Reshape", "x sizes"), node("Relu", "y", "z")],
        {"x": ("N", 4, 5)},
        {"sizes": ints(2, 20)},
        sizes={"N": 2},
        batch=2,
    )
    assert listed(trace) == ["relu = activation 20->20 no gradient"]


def test_inputs_that_all_samples_share_keep_their_shape(reading):
    trace = reading(node("Add", "x bias"), {"x": ("N", 5, 4), "bias": (5, 4)})
    assert (listed(trace), trace.input_shapes) == (["add = add 20->20 no gradient"], ((5, 4), (5, 4)))


# Weights, their names and their sparsity


def test_names_come_from_weights_and_paths(reading):
    nodes = [
        node("Conv", "x layer1.0.conv1.weight", "a", name="/layer1/layer1.0/conv1/Conv"),
        node("Relu", "a", "b", name="/layer1/layer1.0/Relu"),
        node("Conv", "b onnx::Conv_12 onnx::Conv_13", "c", name="/layer1/layer1.0/conv2/conv2.0/Conv"),
        node("Add", "a c", "d", name="/layer1/layer1.0/Add"),
        node("Relu", "d", "e", name="/layer1/layer1.0/Relu_1"),
        node("Sigmoid", "e", "f", name="/act/Sigmoid"),
        node("Tanh", "f", "g", name="Tanh_7"),
        node("Neg", "g", "h"),
    ]
    stored = {
        "layer1.0.conv1.weight": filled(4, 4, 1, 1),
        "onnx::Conv_12": filled(4, 4, 1, 1),
        "onnx::Conv_13": filled(4),
    }
    trace = reading(nodes, IMAGE, stored)
    assert [operation.name for operation in trace.operations] == [
        "layer1.0.conv1", "layer1.0.relu", "layer1.0.conv2.0", "layer1.0.add", "layer1.0.relu_2", "act", "Tanh_7", "neg",
    ]  # fmt: skip
    assert list(trace.tensors) == ["layer1.0.conv1.weight", "layer1.0.conv2.0.bias", "layer1.0.conv2.0.weight"]


def test_a_weight_without_a_name_is_called_after_its_bias(reading):
    nodes = [node("MatMul", "x onnx::MatMul_7", "p", name="/attn/MatMul"), node("Add", "attn.in_proj_bias p", name="/attn/Add"),
             node("Relu", "y", "z", name="/attn/Relu")]  # fmt: skip
    trace = reading(nodes, ROWS, {"onnx::MatMul_7": filled(4, 6), "attn.in_proj_bias": filled(6)})
    assert listed(trace) == [
        "attn.linear = linear 4->6 rows 5 attn.in_proj_weight no gradient +attn.in_proj_bias",
        "attn.relu = activation 30->30",
    ]


def test_names_from_scopes(reading):
    linear = node("MatMul", "x val_3", name="node_linear")
    entry = linear.metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'blocks', 'blocks.0', 'blocks.0.fc', 'linear']"
    assert listed(reading(linear, ROWS, {"val_3": filled(4, 6)})) == [
        "blocks.0.fc = linear 4->6 rows 5 blocks.0.fc.weight no gradient"
    ]


def test_parameters_that_an_exporter_merged_are_separate_again(reading):
    nodes = [
        node("Identity", "norm1.weight", "norm2.weight"),
        node("LayerNormalization", "x norm1.weight", "a", name="/norm1/LayerNormalization"),
        node("LayerNormalization", "a norm2.weight", "b", name="/norm2/LayerNormalization"),
        node("LayerNormalization", "b norm1.weight", "c", name="/norm3/LayerNormalization"),
    ]
    trace = reading(nodes, ROWS, {"norm1.weight": np.ones(4, np.float32)})
    assert (list(trace.tensors), trace.parameters) == (["norm1.weight", "norm2.weight", "norm3.weight"], 12)
    assert trace.origin.assumptions[-1] == (
        "parameters that the file stores once because all their elements are equal are taken as separate ones:"
        " norm1.weight"
    )
    trained = reading(nodes, ROWS, {"norm1.weight": filled(4)})
    assert (list(trained.tensors), trained.parameters) == (["norm1.weight"], 4)


@pytest.mark.parametrize("copied", [False, True])
def test_tied_weights_share_a_name(reading, copied):
    nodes = [node("Gather", "e.weight t", "a", name="e"), node("Transpose", "e.weight", "t2"),
             node("MatMul", "a " + ("head" if copied else "t2"), name="out")]  # fmt: skip
    stored = {"e.weight": filled(50, 8)} | ({"head": filled(50, 8).T.copy()} if copied else {})
    trace = reading(nodes, {"t": (("N", 6), INT64)}, stored)
    assert listed(trace)[1] == "out = linear 8->50 rows 6 e.weight"
    assert trace.parameters == 400
    sentence = "a weight that equals an embedding table element by element is taken as tied to it: head to e.weight"
    assert (sentence in trace.origin.assumptions) is copied


def test_parameters_in_constant_nodes_count_where_a_file_has_no_others(reading):
    constant = helper.make_node("Constant", [], ["w"], value=tensor("w", filled(4, 6)))
    assert listed(reading([constant, node("MatMul", "x w", name="fc")], ROWS)) == [
        "w = linear 4->6 rows 5 w no gradient"
    ]
    nodes = [constant, node("MatMul", "x w", "a", name="fc"), node("MatMul", "a v", name="out")]
    assert listed(reading(nodes, ROWS, {"v": filled(6, 3)})) == [
        "w = linear 4->6 rows 5 w frozen no gradient",
        "v = linear 6->3 rows 5 v no gradient",
    ]


def pruned(shape, pattern, axis):
    dense = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return dense * magnitude_mask(dense, Pattern.parse(pattern), axis)


def test_the_sparsity_of_stored_weights_is_read(reading):
    conv = pruned((16, 8, 3, 3), "2:8", 1)
    (operation,) = reading(node("Conv", "x c.weight"), {"x": ("N", 8, 9, 9)}, {"c.weight": conv}).operations
    forward, backward = operation.observed.FF.weight, operation.observed.BP.weight
    assert (forward.density, forward.pattern, forward.axis) == (0.25, "2:8", "input")
    assert [len(counts) for counts in forward.groups] == [5, 9]  # 8 channels hold no group of 16
    assert forward.groups[1] == (0, 0, 16 * 9, 0, 0, 0, 0, 0, 0)
    assert (backward.density, backward.axis) == (0.25, "output")
    assert [sum(counts) for counts in backward.groups] == [8 * 9 * 4, 8 * 9 * 2, 8 * 9]


@pytest.mark.parametrize(
    ("form", "nodes", "turned"),
    [
        ("MatMul", [node("MatMul", "x w")], False),
        ("transposed", [node("Transpose", "w", "t"), node("MatMul", "x t")], True),
        ("Gemm", [node("Flatten", "x", "f", axis=2), node("Gemm", "f w", transB=1)], True),
        ("left", [node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "w t")], True),
        ("einsum", [node("Einsum", "x w", equation="btd,ed->bte")], True),
        ("masked", [node("Mul", "dense mask", "w"), node("MatMul", "x w")], False),
    ],
)
def test_groups_run_along_inputs_whatever_the_layout(reading, form, nodes, turned):
    weight = pruned((16, 24), "2:8", 0)  # inputs, outputs
    stored = {"w": weight.T.copy() if turned else weight}
    if form == "masked":
        stored = {"dense": filled(16, 24), "mask": (weight != 0).astype(np.float32)}
    operation = next(op for op in reading(nodes, {"x": ("N", 5, 16)}, stored).operations if op.macs)
    seen = operation.observed
    assert (seen.FF.weight.pattern, seen.FF.weight.density) == ("2:8", 0.25)
    assert seen.BP.weight.pattern != "2:8"


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "DOUBLE", "FLOAT8E4M3FN"])
def test_weights_in_other_number_formats(reading, kind):
    weight = pruned((16, 24), "2:8", 0)
    dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
    model = built([node("Cast", "w", "c", to=FLOAT), node("MatMul", "x c")], {"x": ("N", 5, 16)},
                  {"w": (np.sign(weight) * 2).astype(dtype)})  # fmt: skip
    (operation,) = reading(model).operations
    assert (operation.weight.name, operation.observed.FF.weight.pattern) == ("w", "2:8")


def test_steps_between_number_formats_are_casts(reading):
    weight = pruned((16, 24), "2:8", 0)
    nodes = [node("QuantizeLinear", "x s z", "q", name="quantise"), node("DequantizeLinear", "q s z", "d", name="back"),
             node("DequantizeLinear", "w s z", "v"), node("MatMul", "d v", name="fc")]  # fmt: skip
    stored = {"w": np.sign(weight).astype(np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    trace = reading(nodes, {"x": ("N", 5, 16)}, stored)
    assert listed(trace) == ["w = linear 16->24 rows 5 w no gradient"]
    assert trace.operations[0].observed.FF.weight.pattern == "2:8"
    assert trace.origin.assumptions[-1] == ("steps between number formats are casts and left out: quantise, back")
    shifted = reading(nodes, {"x": ("N", 5, 16)}, stored | {"z": np.int8(1)})
    assert shifted.operations[0].observed.FF.weight.density == (weight <= 0).mean()  # a stored 0 is not a weight of 0


def test_a_grouped_convolution_has_groups_of_its_own(reading):
    weight = np.zeros((16, 8, 1, 1), np.float32)
    weight[:8, :2] = weight[8:, 4:6] = 1
    trace = reading(node("Conv", "x w", group=2), {"x": ("N", 16, 3, 3)}, {"w": weight})
    seen = trace.operations[0].observed
    assert (seen.FF.weight.pattern, seen.BP.weight.pattern) == ("2:8", None)
    assert seen.BP.weight.groups[-1] == (12, 0, 0, 0, 0, 0, 0, 0, 4)  # no group of 16 across the two


def test_dense_zero_and_absent_weights_have_no_observed_sparsity(reading):
    matmul = node("MatMul", "x w")
    for stored in (filled(16, 8), np.zeros((16, 8), np.float32), Without(16, 8)):
        trace = reading(matmul, {"x": ("N", 5, 16)}, {"w": stored})
        assert (trace.operations[0].observed, trace.parameters) == (None, 128)
    zeros = reading(matmul, {"x": ("N", 5, 16)}, {"w": np.zeros((16, 8), np.float32)})
    assert (
        zeros.origin.assumptions[-1] == "weights that hold nothing but zeros are taken as not yet set, not as sparse: w"
    )


def test_weights_may_lie_outside_the_file(reading, tmp_path):
    model = built(node("MatMul", "x w"), ROWS, {"w": filled(4, 6)})
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin")
    for present in (True, False):
        if not present:
            (tmp_path / "weights.bin").unlink()
        trace = import_trace(tmp_path / "e.onnx")
        assert listed(trace) == ["w = linear 4->6 rows 5 w no gradient"]


def test_a_sparse_initializer_is_a_weight(reading):
    model = built(node("MatMul", "x w"), {"x": ("N", 5, 16)})
    values = numpy_helper.from_array(np.float32([1, 2, 3]), "w")
    places = numpy_helper.from_array(ints(0, 9, 20), "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [16, 8]))
    (operation,) = reading(model).operations
    assert (operation.weight.name, operation.observed.FF.weight.density) == ("w", 3 / 128)


# The header


def test_what_the_header_says(reading):
    trace = reading(
        node("Conv", "x w"),
        IMAGE,
        {"w": filled(6, 4, 3, 3)},
        name="tiny",
        producer_name="by hand",
        producer_version="1",
    )
    origin = trace.origin
    assert (trace.model, trace.input_shapes, trace.parameters) == ("tiny", ((4, 9, 9),), 216)
    assert (origin.source, origin.exporter.startswith("accelsim import ")) == ("m.onnx, an ONNX model", True)
    assert origin.versions == ("by hand 1", "opset 20", f"onnx {onnx.__version__}")
    assert origin.assumptions == (
        "dimension 'N', the first one of the inputs, is taken as the batch",
        "an ONNX graph does not say what is trained: all floating-point weights, biases, scales and tables are",
        "no normalisation is in the file: one that its exporter folded into convolutions cannot be seen",
        "no dropout is in the file: one that its exporter removed cannot be seen",
    )
    assert reading(node("Relu", "x"), IMAGE).model == "m"


# Errors


W = {"w": filled(4, 6)}
CONV = {"w": filled(6, 4, 3, 3)}
REFUSED = {
    "unknown operator": (
        node("Det", "x", name="d"), ROWS, {}, {},
        "node 'd' (Det): what this operator computes is not known here, so its work cannot be counted",
    ),
    "operator without a name": (
        node("Det", "x"), ROWS, {}, {},
        "the Det of 'y': what this operator computes is not known here, so its work cannot be counted",
    ),
    "operator that the opset lacks": (
        node("Gelu", "x", name="g"), ROWS, {}, {"opset": 13}, "node 'g' (Gelu): opset 13 has no such operator",
    ),
    "contradicting attribute": (
        node("Conv", "x w", name="c", group=-3), IMAGE, {"w": filled(8, 1, 3, 3)}, {},
        re.compile(r"node 'c' \(Conv\): .*"),
    ),
    "a node without a result": (
        helper.make_node("Relu", ["x"], [""], name="r"), ROWS, {}, {}, "node 'r' (Relu): has no result",
    ),
    "missing attribute": (
        node("Concat", "x x", name="c"), ROWS, {}, {}, "node 'c' (Concat): Required attribute 'axis' is missing.",
    ),
    "runtime's operator": (
        helper.make_node("Inverse", ["x"], ["y"], domain="com.microsoft", name="f"), ROWS, {}, {},
        "node 'f' (Inverse): an operator of com.microsoft that is not known here, so its work cannot be counted (save the"
        " model before it is optimised for a runtime)",
    ),
    "four dimensions": (
        node("Conv", "x w", name="c"), {"x": ("N", 1, 5, 5, 5, 5)}, {"w": filled(1, 1, 3, 3, 3, 3)}, {},
        "node 'c' (Conv): has 4 spatial dimensions; 1 to 3 are supported",
    ),
    "negative padding": (
        node("Conv", "x w", name="c", pads=[-1, 0, 0, 0]), IMAGE, CONV, {},
        re.compile(r"node 'c' \(Conv\): its inputs of .* do not fit: .*negative values|operations\[0\].padding\[0\].*"),
    ),
    "several volumes": (
        [node("Reshape", "x s", "r"), node("Conv", "r w", name="c")], {"x": ("N", 10, 5, 5, 5)},
        {"s": ints(-1, 2, 5, 5, 5), "w": filled(3, 2, 3, 3, 3)}, {},
        "node 'c' (Conv): a 3-D convolution of 5 volumes per sample has no entry in a trace",
    ),
    "einsum with a diagonal": (
        node("Einsum", "x s", name="e", equation="btd,tt->bd"), ROWS, {"s": filled(5, 5)}, {},
        "node 'e' (Einsum): an index stands twice in one factor (btd,tt->bd); take the diagonal before the product",
    ),
    "peepholes": (
        helper.make_node("LSTM", ["x", "w", "r", "", "", "", "", "p"], ["y"], name="l", hidden_size=8),
        {"x": (3, 1, 4)}, {"w": filled(1, 32, 4), "r": filled(1, 32, 8), "p": filled(1, 24)}, {"batch": 1},
        "node 'l' (LSTM): has peepholes or coupled gates; a trace has no entry for them",
    ),
    "too many steps": (
        node("RNN", "x w r", name="l", hidden_size=8), {"x": (5000, 1, 4)}, {"w": filled(1, 8, 4), "r": filled(1, 8, 8)},
        {"batch": 1}, "node 'l' (RNN): has 5000 steps; they are listed one by one, and at most 4096 can be",
    ),
    "computed recurrent weights": (
        node("RNN", "x v r", name="l", hidden_size=8), {"x": (3, 1, 4), "v": (1, 8, 4)}, {"r": filled(1, 8, 8)},
        {"batch": 1}, "node 'l' (RNN): its weights are not stored in the file; only stored ones can be read",
    ),
    "attention without heads": (
        node("Attention", "x x x", name="a"), ROWS, {}, {"opset": min(NEWEST, 23)},
        re.compile(r"node 'a' \(Attention\): (the number of its heads is missing|its inputs of .* do not fit: .*|opset .*)"),
    ),
    "shapes that do not fit": (
        node("MatMul", "x w", name="m"), {"x": (1, 5, 3)}, W, {},
        "node 'm' (MatMul): its inputs of shapes 1x5x3, 4x6 do not fit: [ShapeInferenceError] Incompatible dimensions for"
        " matrix multiplication",
    ),
    "a batch that the graph fixes": (
        [node("Reshape", "x s", "r"), node("Add", "r v", name="a")], {"x": ("N", 6)}, {"s": ints(2, 6), "v": filled(2, 6)},
        {}, "the Reshape of 'r': 3x6 cannot become 2x6 (at a batch of 2 the graph can be read: --size N=2 --batch 2)",
    ),
    "a shape that depends on data": (
        [node("Reshape", "x s", "r"), node("Relu", "r", name="a")], {"x": ("N", 6), "s": ((2,), INT64)}, {}, {},
        "the Reshape of 'r': the shape of its result depends on values that the file does not hold",
    ),
    "a result without elements": (
        [node("Slice", "x from to axes", "s"), node("Relu", "s", name="a")], ROWS,
        {"from": ints(3), "to": ints(3), "axes": ints(1)}, {},
        "node 'a' (Relu): its result 'y' has shape 2x0x4: sizes of at least 1 are needed",
    ),
    "undefined tensor": (
        node("Relu", "z", name="a"), ROWS, {}, {},
        "node 'a' (Relu): its input 'z' is neither an input of the graph, nor stored, nor the result of a node before it",
    ),
    "a name twice": (
        [node("Relu", "x", name="a"), node("Relu", "x", name="b")], ROWS, {}, {},
        "node 'b' (Relu): its result 'y' exists already; names are unique",
    ),
    "samples multiplied with each other": (
        [node("Transpose", "x", "t"), node("MatMul", "x t", name="m")], {"x": ("N", 4)}, {}, {},
        "node 'm' (MatMul): multiplies samples of a batch with each other; a trace has no entry for it",
    ),
    "growth that is not in proportion": (
        [node("Concat", "x c", "j", axis=0), node("MatMul", "j w", name="m")], {"x": ("N", 4)},
        {"c": filled(3, 4), **W}, {},
        "node 'm' (MatMul): grows from 5 to 6 between a batch of 2 and of 3, neither in proportion to the batch nor"
        " constant; a trace cannot express it",
    ),
    "a batch that does not divide": (
        [node("Concat", "x c", "j", axis=0), node("MatMul", "j w", name="m")], {"x": (2, 4)}, {"c": filled(3, 4), **W},
        {"batch": 2}, "node 'm' (MatMul): a count of 5 does not divide by the batch of 2",
    ),
    "an open size": (
        node("Relu", "x"), {"x": ("N", "seq", 4)}, {}, {},
        "dimension 'seq' is left open (number 2 of input 'x'); give its size, as in --size seq=128",
    ),
    "a nameless open size": (
        node("Relu", "x"), {"x": ("N", None, 4)}, {}, {},
        "dimension 'x.1' is left open (number 2 of input 'x'); give its size, as in --size x.1=128",
    ),
    "a size for no dimension": (
        node("Relu", "x"), {"x": ("N", "seq", 4)}, {}, {"sizes": {"sep": 4}},
        "no dimension is named 'sep'; did you mean 'seq'?; open are: N, seq",
    ),
    "a size where none is open": (
        node("Relu", "x"), {"x": (1, 4)}, {}, {"sizes": {"seq": 4}},
        "no dimension is named 'seq'; the file leaves no dimension open",
    ),
    "a size below 1": (
        node("Relu", "x"), {"x": ("N", "seq")}, {}, {"sizes": {"seq": 0}}, "dimension 'seq': got 0, at least 1 is needed",
    ),
    "a batch that is fixed": (
        node("Relu", "x"), {"x": (8, 3, 4)}, {}, {},
        "input 'x' is 8x3x4, and its batch is not open; give --batch 8 if these are 8 samples, --batch 1 if they are one",
    ),
    "a batch that is another": (
        node("Relu", "x"), {"x": (8, 3, 4)}, {}, {"batch": 4},
        "a batch of 4 is given, but the first dimension of input 'x' is 8 (8x3x4)",
    ),
    "a batch for an open one": (
        node("Relu", "x"), {"x": ("N", 4)}, {}, {"batch": 4},
        "a batch of 4 is given, but the file leaves its batch open (dimension 'N'); --batch is for files that fix it",
    ),
    "a size of zero": (
        node("Relu", "x"), {"x": (1, 0)}, {}, {}, "input 'x' has size 0 in dimension 2; at least 1 is needed",
    ),
    "a negative size": (
        node("Relu", "x"), {"x": (1, -2)}, {}, {}, "input 'x' has size -2 in dimension 2; at least 1 is needed",
    ),
    "work on constants alone": (
        node("Relu", "c"), ROWS, {"c": np.float32(1)}, {},
        "no node computes anything from the inputs; there is nothing to simulate",
    ),
    "a newer opset": (
        node("Relu", "x"), ROWS, {}, {"opset": 999},
        f"opset 999; the installed onnx {onnx.__version__} knows up to {NEWEST}: pip install -U onnx",
    ),
    "a newer IR": (
        node("Relu", "x"), ROWS, {}, {"ir": 999},
        f"IR version 999; the installed onnx {onnx.__version__} reads up to {onnx.IR_VERSION}: pip install -U onnx",
    ),
    "a size that no trace holds": (
        node("Gemm", "x w", name="g"), {"x": ("N", 2**25)}, {"w": Without(2**25, 2)}, {},
        "input_shapes[0][0]: got 33554432; should be less than or equal to 16777216",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named(reading, tmp_path, case):
    nodes, inputs, stored, options, message = REFUSED[case]
    with pytest.raises(InputError) as caught:
        reading(nodes, inputs, stored, **options)
    text = str(caught.value).splitlines()[0].removeprefix(f"{tmp_path / 'm.onnx'}: ")
    if isinstance(message, re.Pattern):
        assert message.fullmatch(text)
    else:
        assert text == message


def test_damaged_files_are_refused_with_one_sentence(tmp_path):
    whole = built(node("MatMul", "x w"), ROWS, {"w": filled(40, 60)}).SerializeToString()
    nothing = helper.make_model(helper.make_graph([], "g", [], []), ir_version=10).SerializeToString()
    cases = {
        "cut.onnx": (whole[: len(whole) // 2], "not an ONNX model, or cut off (its protobuf cannot be decoded)"),
        "text.onnx": (b"<!doctype html><html>", "not an ONNX model, or cut off (its protobuf cannot be decoded)"),
        "empty.onnx": (b"", "not an ONNX model (it holds no graph)"),
        "nodes.onnx": (nothing, "its graph has no nodes"),
    }
    for name, (content, message) in cases.items():
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(InputError) as caught:
            import_trace(file)
        assert str(caught.value) == f"{file}: {message}"


def changed(change, **more):
    model = built(node("MatMul", "x w", name="m"), ROWS, {"w": filled(4, 6)}, **more)
    change(model)
    return model


def without_shape(model):
    model.graph.input[0].type.tensor_type.ClearField("shape")


def with_short_data(model):
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:20]


def with_text_constant(model):
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value_string="words"))
    model.graph.output.append(helper.make_tensor_value_info("c", FLOAT, None))


DAMAGED = {
    "no opset": (lambda model: model.ClearField("opset_import"), "does not say which opset its operators belong to"),
    "no shape": (without_shape, "input 'x' has no shape in the file; a tensor with a shape is needed"),
    "too few numbers": (with_short_data, "tensor 'w' is 4x6, and the file holds another number of elements"),
    "stored twice": (
        lambda model: model.graph.initializer.append(model.graph.initializer[0]),
        "tensor 'w' is stored twice",
    ),
    "words": (with_text_constant, "the Constant of 'c' has attribute value_string; only numbers can be read"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_models_are_refused(reading, tmp_path, case):
    change, message = DAMAGED[case]
    with pytest.raises(InputError) as caught:
        reading(changed(change))
    assert str(caught.value) == f"{tmp_path / 'm.onnx'}: {message}"


def test_without_onnx_the_reader_says_what_to_install(monkeypatch, tmp_path):
    file = tmp_path / "m.onnx"
    file.write_bytes(built(node("Relu", "x"), ROWS).SerializeToString())
    monkeypatch.setitem(sys.modules, "onnx.inliner", None)
    with pytest.raises(InputError, match=r"^an ONNX model needs onnx: pip install 'accelsim\[onnx\]'$"):
        import_trace(file)


# Whole networks


ALEXNET = {
    "conv1": (96, 3, 11),
    "conv2": (256, 48, 5),
    "conv3": (384, 256, 3),
    "conv4": (384, 192, 3),
    "conv5": (256, 192, 3),
}
MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repeats and stride of the blocks of MobileNetV2."""


class Chain:
    """A graph that grows at its end, without numbers for its weights."""

    def __init__(self):
        self.nodes, self.stored, self.last = [], {}, "x"

    def add(self, operator, *more, **attributes):
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [self.last, *more], [out], **attributes))
        self.last = out
        return out

    def conv(self, name, outputs, inputs, kernel, stride=1, groups=1, pad=None):
        self.stored[name] = Without(outputs, inputs // groups, kernel, kernel)
        pads = [kernel // 2 if pad is None else pad] * 4
        return self.add("Conv", name, group=groups, strides=[stride] * 2, pads=pads)


def alexnet():
    """As in the Caffe model zoo (Krizhevsky et al., 2012): two groups in three layers, three fully connected ones."""
    net = Chain()
    for name, (outputs, inputs, kernel) in ALEXNET.items():
        groups = 2 if name in {"conv2", "conv4", "conv5"} else 1
        net.conv(
            name, outputs, inputs * groups, kernel, 4 if name == "conv1" else 1, groups, 0 if name == "conv1" else None
        )
        net.add("Relu")
        if name in {"conv1", "conv2", "conv5"}:
            net.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
    net.add("Flatten")
    for name, inputs, outputs in (("fc6", 9216, 4096), ("fc7", 4096, 4096), ("fc8", 4096, 1000)):
        net.stored[name] = Without(outputs, inputs)
        net.add("Gemm", name, transB=1)
    return built(net.nodes, {"x": ("N", 3, 227, 227)}, net.stored)


def mobilenet():
    """MobileNetV2 (Sandler et al., 2018) at 224."""
    net, inputs = Chain(), 32
    net.conv("stem", 32, 3, 3, 2)
    for expansion, outputs, repeats, stride in MOBILENET:
        for repeat in range(repeats):
            name, before, wide = f"{outputs}.{repeat}", net.last, inputs * expansion
            if expansion > 1:
                net.conv(f"{name}.expand", wide, inputs, 1)
            net.conv(f"{name}.depthwise", wide, wide, 3, 1 if repeat else stride, wide)
            net.conv(f"{name}.project", outputs, wide, 1)
            if repeat:
                net.add("Add", before)
            inputs = outputs
    net.conv("head", 1280, 320, 1)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.stored["fc"] = Without(1000, 1280)
    net.add("Gemm", "fc", transB=1)
    return built(net.nodes, {"x": (1, 3, 224, 224)}, net.stored)


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        (alexnet, 724_406_816),  # 0.655 G at 224, where conv1 has 54 x 54 places instead of 55 x 55
        (mobilenet, 300_774_272),
    ],
)
def test_published_multiplications(reading, model, macs):
    trace = reading(model())
    assert trace.macs == macs


def test_models_that_come_with_onnx():
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    expected = {
        "light_bvlc_alexnet": 654_560_384,
        "light_resnet50": 4_089_184_256,
        "light_vgg19": 19_632_062_464,
        "light_squeezenet": 349_151_936,
    }
    for name, macs in expected.items():
        if not (folder / f"{name}.onnx").exists():
            pytest.skip("this onnx comes without its test models")
        trace = import_trace(folder / f"{name}.onnx")
        assert (name, trace.macs) == (name, macs)
        assert all(
            operation.weight.frozen for operation in trace.operations if operation.macs
        )  # made by ConstantOfShape


# Against the tracer


@pytest.fixture
def exported(tmp_path):
    """Write a torch model to ONNX as it trains, with an open batch or a fixed one."""
    torch = pytest.importorskip("torch", reason="comparing with the tracer needs the torch extra")
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def export(model, spec, *, batch=None, train=True):
        kind = torch.int64 if spec.dtype == "int64" else torch.float32
        example = torch.zeros((batch or 2, *spec.shape), dtype=kind)
        file = tmp_path / "exported.onnx"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    model, (example,), file, dynamo=False, input_names=["x"], training=torch.onnx.TrainingMode.PRESERVE,
                    dynamic_axes=None if batch else {"x": {0: "N"}},
                )  # fmt: skip
        except (ImportError, TypeError, AttributeError) as error:
            pytest.skip(f"this torch has no exporter that needs onnx alone: {error}")
        return file

    yield export
    torch.set_num_threads(before)


NETWORKS = {
    "resnet18": ("resnet", lambda m: m.resnet18_imagenet(), "3x224x224"),
    "resnet9": ("resnet", lambda m: m.resnet9_cifar10(), "3x32x32"),
    "resnet50": ("resnet", lambda m: m.ResNet(m.Bottleneck, (1, 1, 1, 1), 10), "3x64x64"),
    "vgg19": ("vgg", lambda m: m.vgg19_cifar100(), "3x32x32"),
    "bert": ("transformers", lambda m: m.Bert(width=96, depth=2, heads=4), "32:int64:30522"),
    "gpt2": ("transformers", lambda m: m.Gpt2(width=64, depth=2, heads=4), "32:int64:50257"),
    "vit": ("vit", lambda m: m.VisionTransformer(image=16, patch=4, width=24, depth=2, heads=3, hidden=48, classes=5), "3x16x16"),
}  # fmt: skip


def plain(operation):
    return operation.model_dump(exclude={"observed"})


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_network_gives_the_same_trace(exported, name):
    from accelsim.workload.tracer import InputSpec, trace_model

    file, make, shape = NETWORKS[name]
    model, spec = make(definitions(file)), InputSpec.parse(shape)
    traced = trace_model(model, [spec])
    fixes_its_batch = name == "vit"  # the exporter writes len(x) as the batch of the example
    options = ImportOptions(sizes={"N": 2}, batch=2) if fixes_its_batch else ImportOptions()
    imported = import_trace(exported(model, spec), options=options)
    assert [plain(one) for one in imported.operations if one.macs] == [
        plain(one) for one in traced.operations if one.macs
    ]
    assert (imported.macs, imported.parameters, imported.tensors) == (traced.macs, traced.parameters, traced.tensors)

    def vectors(trace):
        return [plain(one) | {"name": ""} for one in trace.operations if not one.macs]

    if not fixes_its_batch:
        assert vectors(imported) == vectors(traced)
    assert len(imported.operations) == len(traced.operations)


def test_a_pruned_network_shows_its_pattern_wherever_it_is_exported(exported):
    torch = pytest.importorskip("torch", reason="comparing with the tracer needs the torch extra")
    from accelsim.workload.tracer import InputSpec

    model = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3), torch.nn.Flatten(), torch.nn.Linear(32 * 36, 24))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.mul_(torch.from_numpy(magnitude_mask(layer.weight.numpy(), Pattern.parse("2:8"), 1)))
    trace = import_trace(exported(model, InputSpec.parse("16x8x8")))
    assert [op.observed.FF.weight.pattern for op in trace.operations if op.macs] == ["2:8", "2:8"]


def test_a_network_of_the_size_of_resnet50_is_read_in_well_under_a_second(tmp_path):
    shipped = load_trace("resnet50_imagenet")
    net = Chain()
    for operation in shipped.operations:  # a chain of its layers, whatever their order
        if operation.kind == "conv2d":
            net.last = "x"
            net.stored[operation.name] = Without(operation.out_channels, 3, *operation.kernel)
            net.add("Conv", operation.name)
            net.add("Relu")
    file = tmp_path / "deep.onnx"
    file.write_bytes(built(net.nodes, {"x": ("N", 3, 64, 64)}, net.stored).SerializeToString())
    import_trace(file)
    start = time.perf_counter()
    trace = import_trace(file)
    assert len(trace.operations) == 2 * 53
    assert time.perf_counter() - start < 1


# The command line


def test_the_command_reads_and_simulate_runs_what_it_wrote(tmp_path, capsys):
    file = tmp_path / "net.onnx"
    nodes = [node("Conv", "x c.weight", "a"), node("Relu", "a", "b"), node("GlobalAveragePool", "b", "p"),
             node("Flatten", "p", "f"), node("Gemm", "f fc.weight", transB=1)]  # fmt: skip
    stored = {"c.weight": filled(16, 8, 3, 3), "fc.weight": filled(10, 16)}
    file.write_bytes(built(nodes, {"x": ("N", 8, 9, 9)}, stored).SerializeToString())
    assert main(["import", str(file), "-o", str(tmp_path / "t.json")]) == 0
    assert "is taken as the batch" in capsys.readouterr().err
    assert main(["simulate", str(tmp_path / "t.json"), "--batch", "4"]) == 0
    file.write_bytes(b"nothing")
    assert main(["import", str(file), "-o", str(tmp_path / "t.json")]) == 2
    assert "not an ONNX model" in capsys.readouterr().err


def test_a_trace_that_was_read_round_trips(reading, tmp_path):
    trace = reading(node("MatMul", "x w"), {"x": ("N", 5, 16)}, {"w": pruned((16, 24), "2:8", 0)})
    save_trace(trace, tmp_path / "t.json")
    assert load_trace(tmp_path / "t.json") == trace
