"""Operators of ONNX Runtime: the same products as the operators of the standard that they join."""

import re

import numpy as np
import pytest

from accelsim.base.errors import InputError

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx_models import IMAGE, INT64, ROWS, filled, listed, node  # noqa: E402

MS = {"com.microsoft": 1}


def ms(operator, inputs, outputs="y", name="", **attributes):
    """A node whose inputs and results may be left out, written as a dash."""
    made = node(operator, inputs, outputs, name, domain="com.microsoft", **attributes)
    for names in (made.input, made.output):
        names[:] = ["" if name == "-" else name for name in names]
    return made


def lines(trace):
    return [text.replace(" no gradient", "") for text in listed(trace)]


NORM = {"g": filled(4), "b": filled(4)}
JOINED = {
    "FusedConv": (ms("FusedConv", "x w b", name="c", activation="Relu", strides=[2, 2]), IMAGE,
                  {"w": filled(6, 4, 3, 3), "b": filled(6)}, ["w = conv2d 4->6 on 9x9 kernel 3x3 groups 1 +b", "c.relu = activation 96->96"]),
    "FusedConv with a sum": (
        ms("FusedConv", "x w - x", name="c", activation="LeakyRelu", pads=[1, 1, 1, 1]), IMAGE, {"w": filled(4, 4, 3, 3)},
        ["w = conv2d 4->4 on 9x9 kernel 3x3 groups 1", "c.add = add 648->324", "c.leaky_relu = activation 324->324"]),
    "FusedGemm": (ms("FusedGemm", "x w b", name="f", transB=1, activation="Tanh"), {"x": ("N", 4)}, {"w": filled(6, 4), "b": filled(6)},
                  ["w = linear 4->6 rows 1 +b", "f.tanh = activation 6->6"]),
    "FusedMatMul": (ms("FusedMatMul", "x w", name="f", transB=1, alpha=0.5), ROWS, {"w": filled(6, 4)},
                    ["w = linear 4->6 rows 5", "f.mul = multiply 30->30"]),
    "FusedMatMul of activations": (ms("FusedMatMul", "x x", name="f", transB=1), ROWS, {}, ["f = matmul 1 x 5,4,5"]),
    "FusedMatMul turned in its batch": (
        ms("FusedMatMul", "x w", name="f", transBatchB=1, transB=1), {"x": ("N", 2, 5, 4)}, {"w": filled(6, 2, 4)},
        ["f.copy = copy 0->48", "w = conv1d 8->12 on 5 kernel 1 groups 2"]),
    "BiasGelu": (ms("BiasGelu", "x b", name="a"), ROWS, {"b": filled(4)}, ["a.add = add 20->20 +b", "a.gelu = activation 20->20"]),
    "FastGelu": (ms("FastGelu", "x", name="a"), ROWS, {}, ["a = activation 20->20"]),
    "QuickGelu": (ms("QuickGelu", "x", name="a"), ROWS, {}, ["a = activation 20->20"]),
    "BiasSplitGelu": (ms("BiasSplitGelu", "x b", name="a"), ROWS, {"b": filled(4)},
                      ["a.add = add 20->20 +b", "a.gelu = activation 10->10", "a.mul = multiply 20->10"]),
    "BiasSoftmax": (ms("BiasSoftmax", "x x", name="a", axis=1), ROWS, {}, ["a.add = add 40->20", "a.softmax = softmax 20->20"]),
    "BiasAdd": (ms("BiasAdd", "x b x", name="a"), ROWS, {"b": filled(4)}, ["a.add = add 20->20 +b", "a.add_2 = add 40->20"]),
    "BiasDropout": (ms("BiasDropout", "x b x r t", name="a"), ROWS, {"b": filled(4), "r": np.float32(0.1), "t": np.bool_(True)},
                    ["a.add = add 20->20 +b", "a.dropout = dropout 20->20", "a.add_2 = add 40->20"]),
    "SkipLayerNormalization": (ms("SkipLayerNormalization", "x x g b", name="n"), ROWS, NORM,
                               ["n.add = add 40->20", "n.layer_normalization = norm 20->20 +g +b"]),
    "SkipLayerNormalization with a bias": (
        [ms("SkipLayerNormalization", "x x g b c", "n - - s", name="n"), node("Add", "n s", name="after")], ROWS, NORM | {"c": filled(4)},
        ["n.add = add 40->20", "n.add_2 = add 20->20 +c", "n.layer_normalization = norm 20->20 +g +b", "after = add 40->20"]),
    "SkipSimplifiedLayerNormalization": (ms("SkipSimplifiedLayerNormalization", "x x g", name="n"), ROWS, NORM,
                                         ["n.add = add 40->20", "n.rms_normalization = norm 20->20 +g"]),
    "SimplifiedLayerNormalization": (node("SimplifiedLayerNormalization", "x g", name="n"), ROWS, NORM, ["n = norm 20->20 +g"]),
    "GroupNorm": (ms("GroupNorm", "x g b", name="n", groups=2, activation=1), {"x": ("N", 3, 3, 4)}, NORM,
                  ["n.group_normalization = norm 36->36 +g +b", "n.swish = activation 36->36"]),
    "EmbedLayerNormalization": (
        ms("EmbedLayerNormalization", "t s words places kinds g b", "y m", name="e"), {"t": (("N", 5), INT64), "s": (("N", 5), INT64)},
        {"words": filled(9, 4), "places": filled(7, 4), "kinds": filled(2, 4), **NORM},
        ["e.gather = embedding 20->20 +words", "e.gather_2 = embedding 20->20 once +places", "e.gather_3 = embedding 20->20 +kinds",
         "e.add = add 20->20", "e.add_2 = add 40->20", "e.layer_normalization = norm 20->20 +g +b"]),
    "RotaryEmbedding": (ms("RotaryEmbedding", "x p c s", name="r"), {"x": ("N", 5, 4), "p": (("N", 5), INT64)},
                        {"c": filled(7, 2), "s": filled(7, 2)}, ["r = elementwise 20->20"]),
}  # fmt: skip


@pytest.mark.parametrize("case", JOINED)
def test_joined_operators_are_apart_again(reading, case):
    nodes, inputs, stored, expected = JOINED[case]
    got = lines(reading(nodes, inputs, stored, domains=MS))
    assert [re.sub(r"^(\w+) = (linear .*rows \d+) \1", r"\1 = \2", text) for text in got] == expected


def products(trace):
    return [
        text.partition(" = ")[2] for text in lines(trace) if "linear" in text or "matmul" in text.partition(" = ")[2]
    ]


def test_attention_is_a_projection_and_two_products(reading):
    trace = reading(
        ms("Attention", "x w b", name="a", num_heads=2),
        {"x": ("N", 5, 8)},
        {"w": filled(8, 24), "b": filled(24)},
        domains=MS,
    )
    assert lines(trace) == [
        "w = linear 8->24 rows 5 w +b",
        "a.mul = multiply 40->40",
        "a.mul_2 = multiply 40->40",
        "a.copy = copy 40->40",
        "a.copy_2 = copy 40->40",
        "a.matmul = matmul 2 x 5,4,5",
        "a.softmax = softmax 50->50",
        "a.copy_3 = copy 40->40",
        "a.matmul_2 = matmul 2 x 5,5,4",
        "a.copy_4 = copy 40->40",
    ]
    assert trace.macs == 5 * 8 * 24 + 2 * 2 * 5 * 5 * 4


def test_attention_with_other_sizes_a_past_and_a_mask(reading):
    """4 wide values in 2 heads, 3 positions before, both of which are results again."""
    inputs = {"x": ("N", 5, 8), "m": (("N", 8), onnx.TensorProto.INT32), "p": (2, "N", 2, 3, 2)}
    layer = ms("Attention", "x w b m p", "y present", name="a", num_heads=2, qkv_hidden_sizes=[4, 4, 4])
    stored = {"w": filled(8, 12), "b": filled(12)}
    trace = reading(layer, inputs, stored, domains=MS)
    assert products(trace) == ["linear 8->12 rows 5 w +b", "matmul 2 x 5,2,8", "matmul 2 x 5,8,2"]
    assert [text for text in lines(trace) if text.startswith(("a.add", "a.concat", "a.past"))] == [
        "a.past_key = copy 32->32",
        "a.past_value = copy 32->32",
        "a.add = add 80->80",
        "a.concat = copy 64->64",
    ]


def test_quantised_attention_is_attention(reading):
    nodes = [node("QuantizeLinear", "x s z", "q"), ms("QAttention", "q w b s s - z z", name="a", num_heads=2)]
    stored = {"s": np.float32(0.1), "z": np.uint8(3), "w": filled(8, 24).astype(np.uint8), "b": filled(24)}
    trace = reading(nodes, {"x": ("N", 5, 8)}, stored, domains=MS)
    assert products(trace) == ["linear 8->24 rows 5 w +b", "matmul 2 x 5,4,5", "matmul 2 x 5,5,4"]
    assert trace.operations[0].observed.FF.weight.density == 1 - 1 / 192  # a single 3 among 1 to 192


HEADS = {
    "apart": ({"q": ("N", 5, 8), "k": ("N", 6, 8), "v": ("N", 6, 4)}, "q k v", ["2 x 5,4,6", "2 x 5,6,2"]),
    "queries, keys and values packed": ({"q": ("N", 5, 2, 3, 4)}, "q", ["2 x 5,4,5", "2 x 5,5,4"]),
    "keys and values packed": ({"q": ("N", 5, 8), "k": ("N", 6, 2, 2, 4)}, "q k", ["2 x 5,4,6", "2 x 5,6,4"]),
    "keys by head": ({"q": ("N", 5, 8), "k": ("N", 2, 6, 4), "v": ("N", 2, 6, 4)}, "q k v", ["2 x 5,4,6", "2 x 5,6,4"]),
    "with a past": (
        {"q": ("N", 1, 8), "k": ("N", 1, 8), "v": ("N", 1, 8), "pk": ("N", 2, 6, 4), "pv": ("N", 2, 6, 4)},
        "q k v - - - pk pv", ["2 x 1,4,7", "2 x 1,7,4"]),
}  # fmt: skip


@pytest.mark.parametrize("form", HEADS)
def test_multi_head_attention(reading, form):
    inputs, names, expected = HEADS[form]
    trace = reading(ms("MultiHeadAttention", names, name="a", num_heads=2), inputs, domains=MS)
    assert products(trace) == [f"matmul {text}" for text in expected]


def test_multi_head_attention_with_a_bias_and_masks(reading):
    inputs = {"q": ("N", 5, 8), "k": ("N", 5, 8), "v": ("N", 5, 8), "m": (("N", 5), onnx.TensorProto.INT32)}
    layer = ms("MultiHeadAttention", "q k v b m r", name="a", num_heads=2)
    trace = reading(layer, inputs, {"b": filled(24), "r": filled(1, 2, 5, 5)}, domains=MS)
    assert lines(trace)[:3] == [f"a.add{number} = add 40->40 +b" for number in ("", "_2", "_3")]
    assert [text for text in lines(trace) if "matmul" in text or text.startswith("a.add_4")] == [
        "a.matmul = matmul 2 x 5,4,5",
        "a.add_4 = add 50->50",
        "a.matmul_2 = matmul 2 x 5,5,4",
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_groups_of_queries_share_keys_and_values(reading, packed):
    """4 heads of 2 over 2 shared ones, after 3 positions, turned by their place."""
    inputs = {
        "q": ("N", 5, 16 if packed else 8),
        "k": ("N", 5, 4),
        "v": ("N", 5, 4),
        "pk": ("N", 2, 3, 2),
        "pv": ("N", 2, 3, 2),
    }
    if packed:
        inputs = {name: shape for name, shape in inputs.items() if name not in {"k", "v"}}
    names = "q - - pk pv n t c s" if packed else "q k v pk pv n t c s"
    layer = ms("GroupQueryAttention", names, "y nk nv", name="a", num_heads=4, kv_num_heads=2, do_rotary=1)
    stored = {"n": np.int32([7]), "t": np.int32(8), "c": filled(9, 1), "s": filled(9, 1)}
    trace = reading([layer, node("Neg", "nk", "end", name="kept")], inputs, stored, domains=MS)
    assert products(trace) == ["matmul 4 x 5,2,8", "matmul 4 x 5,8,2"]
    assert lines(trace)[-1] == "kept = elementwise 32->32"  # 2 heads, 3 + 5 positions, 2 wide
    assert trace.parameters == 0  # the sines and cosines of places are not trained
    assert [text for text in lines(trace) if "rotary" in text or "add" in text] == [
        "a.rotary_embedding = elementwise 40->40",
        "a.rotary_embedding_2 = elementwise 20->20",
        "a.add = add 160->160",
    ]


REFUSED = {
    "without its heads": (ms("Attention", "x w", name="a"), "node 'a' (Attention): its attribute num_heads is missing"),
    "without its weight": (ms("FusedMatMul", "x", name="f"), "node 'f' (FusedMatMul): its input 2 is missing"),
    "without keys": (ms("MultiHeadAttention", "x", name="a", num_heads=2), "node 'a' (MultiHeadAttention): its keys and values are missing"),
    "with inputs of another rank": (
        ms("GroupQueryAttention", "w", name="a", num_heads=2, kv_num_heads=1),
        "node 'a' (GroupQueryAttention): its inputs and attributes do not fit together (not enough values to unpack"
        " (expected 3, got 2))"),
    "with no heads": (
        ms("Attention", "x w", name="a", num_heads=0),
        "node 'a' (Attention): its inputs and attributes do not fit together (integer division or modulo by zero)"),
    "with text for a number": (
        ms("MatMulNBits", "x w", name="a", N="many", K=8, block_size=16),
        "node 'a' (MatMulNBits): its inputs and attributes do not fit together (invalid literal for int() with base 10:"
        " 'many')"),
    "of its hardware": (
        node("Conv", "x w", name="c", domain="com.microsoft.nchwc"),
        "node 'c' (Conv): an operator of com.microsoft.nchwc that is not known here, so its work cannot be counted (save the"
        " model before it is optimised for a runtime)"),
    "of training": (
        node("Gradient", "x w", name="g", domain="ai.onnx.preview.training", xs=["x"], y="y"),
        "node 'g' (Gradient): belongs to a training graph; BP and WU follow from the forward graph: export that"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named(reading, tmp_path, case):
    nodes, message = REFUSED[case]
    with pytest.raises(InputError) as caught:
        reading(
            nodes,
            {"x": ("N", 5, 8)},
            {"w": filled(8, 24)},
            domains=MS | {"com.microsoft.nchwc": 1, "ai.onnx.preview.training": 1},
        )
    assert str(caught.value) == f"{tmp_path / 'm.onnx'}: {message}"
