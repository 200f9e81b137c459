"""What the ONNX importer says of files that it cannot read, word for word."""

import re
import sys

import numpy as np
import pytest

from accelsim.base.errors import InputError
from accelsim.workload.importing import import_trace

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx import helper  # noqa: E402
from onnx_models import FLOAT, IMAGE, INT64, NEWEST, ROWS, Without, built, filled, ints, node  # noqa: E402

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
    "growth that is not in proportion": (
        [node("Concat", "x c", "j", axis=0), node("MatMul", "j w", name="m")], {"x": ("N", 4)},
        {"c": filled(3, 4), **W}, {},
        "node 'm' (MatMul): grows from 5 to 6 between batch 2 and 3, neither in proportion to the batch nor"
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
    with pytest.raises(
        InputError, match=r"^an ONNX model needs onnx: pip install -e '\.\[onnx\]' in the folder of accelsim$"
    ):
        import_trace(file)
