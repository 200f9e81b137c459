"""Layers that the ONNX importer opens into their products and vector work."""

import re

import pytest

pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx import helper
from onnx_models import NEWEST, ROWS, built, filled, listed, node

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
