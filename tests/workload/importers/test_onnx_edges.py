"""Edges of imported ONNX graphs: what each operation reads, against the graph and against the traced model."""

import warnings

import pytest

pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

import numpy as np
from onnx_models import FLOAT, INT64, NEWEST, filled, ints, node, reader


@pytest.fixture
def read(tmp_path):
    return reader(tmp_path)


def edges(trace):
    return {operation.name: list(operation.inputs) for operation in trace.operations}


def test_a_residual_block_with_views_between(read):
    nodes = [
        node("Conv", "x w1", "a", "first", pads=[1, 1, 1, 1]), node("Relu", "a", "b", "relu"),
        node("Conv", "b w2", "c", "second", pads=[1, 1, 1, 1]), node("Add", "c x", "d", "sum"),
        node("Reshape", "d shape", "e", "flat"), node("Cast", "e", "f", "cast", to=FLOAT), node("Gemm", "f w3 b3", "y", "last"),
    ]  # fmt: skip
    stored = {
        "w1": filled(4, 4, 3, 3),
        "w2": filled(4, 4, 3, 3),
        "shape": ints(-1, 4 * 25),
        "w3": filled(100, 2),
        "b3": filled(2),
    }
    assert list(edges(read(nodes, {"x": ("N", 4, 5, 5)}, stored)).values()) == [
        ["input:0"], ["w1"], ["relu"], ["w2", "input:0"], ["sum"],
    ]  # fmt: skip


def test_operands_stand_in_their_order_with_data_before_weights(read):
    nodes = [
        node("MatMul", "x w", "a", "a"), node("MatMul", "v y", "b", "b"), node("Transpose", "b", "t", "t", perm=[0, 2, 1]),
        node("MatMul", "a t", "c", "c"), node("Sub", "z c", "d", "d"), node("MatMul", "d b", "e", "e"),
    ]  # fmt: skip
    stored = {"w": filled(4, 6), "v": filled(3, 4)}
    assert edges(read(nodes, {"x": ("N", 5, 4), "y": ("N", 4, 6), "z": ("N", 5, 3)}, stored)) == {
        "w": ["input:0"], "b.copy": ["input:1"], "v": ["b.copy"], "b.copy_2": ["v"], "c": ["w", "b.copy_2"],
        "d": ["input:2", "c"], "e": ["d", "b.copy_2"],
    }  # fmt: skip


def test_one_output_in_two_operands_stands_twice_and_a_join_reads_all_parts(read):
    nodes = [node("Relu", "x", "a", "a"), node("Mul", "a a", "b", "b"), node("Concat", "b x a", "y", "c", axis=1)]
    assert edges(read(nodes, {"x": ("N", 4)})) == {"a": ["input:0"], "b": ["a", "a"], "c": ["b", "input:0", "a"]}


def test_parts_of_a_split_lead_to_what_was_split(read):
    nodes = [node("MatMul", "x w", "a", "a"), node("Split", "a", "q k v", "s", axis=2, num_outputs=3), node("Mul", "q k", "m", "m"),
             node("Add", "m v", "y", "y")]  # fmt: skip
    found = edges(read(nodes, {"x": ("N", 2, 4)}, {"w": filled(4, 12)}))
    assert found == {"w": ["input:0"], "m": ["w", "w"], "y": ["m", "w"]}


def test_a_bias_added_afterwards_and_dropout_of_nothing_are_looked_through(read):
    nodes = [node("MatMul", "x w", "a", "a"), node("Add", "a b", "c", "c"), node("Dropout", "c zero", "d", "d"),
             node("Relu", "d", "y", "r")]  # fmt: skip
    stored = {"w": filled(4, 3), "b": filled(3), "zero": np.float32(0)}
    assert edges(read(nodes, {"x": ("N", 4)}, stored)) == {"w": ["input:0"], "r": ["w"]}


def test_a_copy_that_a_reshape_needs_stands_between(read):
    nodes = [node("Relu", "x", "a", "a"), node("Transpose", "a", "b", "b", perm=[0, 2, 1]), node("Reshape", "b shape", "c", "c"),
             node("Relu", "c", "y", "d")]  # fmt: skip
    found = edges(read(nodes, {"x": ("N", 3, 4)}, {"shape": ints(-1, 12)}))
    assert list(found.values()) == [["input:0"], ["a"], [list(found)[1]]]


def test_parameters_constants_and_shapes_have_no_name(read):
    nodes = [node("Gather", "table i", "a", "a"), node("Shape", "i", "s", "s"), node("ConstantOfShape", "s", "o", "o"),
             node("Unsqueeze", "o last", "u", "u"), node("Add", "a u", "b", "b"), node("Add", "b scale", "y", "c")]  # fmt: skip
    stored = {"table": filled(9, 4), "last": ints(-1), "scale": filled(4)}
    found = edges(read(nodes, {"i": (("N", 3), INT64)}, stored))
    assert list(found.values()) == [["input:0"], [next(iter(found))], [list(found)[1]]]


def test_a_weight_that_nodes_compute_follows_the_data(read):
    nodes = [node("MatMul", "u v", "w", "low"), node("MatMul", "x w", "y", "high")]
    found = list(edges(read(nodes, {"x": ("N", 4)}, {"u": filled(4, 2), "v": filled(2, 3)})).items())
    (low, of_low), (_, of_high) = found
    assert (of_low, of_high) == ([], ["input:0", low])


def test_a_loss_is_a_softmax_and_what_reads_it(read):
    nodes = [node("SoftmaxCrossEntropyLoss", "x t", "y", "loss")]
    found = edges(read(nodes, {"x": ("N", 4), "t": (("N",), INT64)}))
    assert list(found.values()) == [["input:0"], [next(iter(found)), "input:1"]]


ATTENTION = {"q": ("N", 2, 3, 4), "k": ("N", 2, 5, 4), "v": ("N", 2, 5, 6)}


def test_attention_reads_its_factors_and_its_past(read):
    found = edges(read(node("Attention", "q k v", "y", "a", is_causal=1), ATTENTION, opset=23))
    assert found == {
        "a.mul": ["input:0"], "a.mul_2": ["input:1"], "a.matmul": ["a.mul", "a.mul_2"], "a.add": ["a.matmul"],
        "a.softmax": ["a.add"], "a.matmul_2": ["a.softmax", "input:2"],
    }  # fmt: skip
    past = {"mask": (3, 12), "pk": ("N", 2, 7, 4), "pv": ("N", 2, 7, 6)}
    nodes = [node("Attention", "q k v mask pk pv", "y nk nv", "a", softcap=2.0), node("Relu", "nk", "k2", "keys"),
             node("Relu", "nv", "v2", "values"), node("Relu", "y", "z", "result")]  # fmt: skip
    found = edges(read(nodes, {**ATTENTION, **past}, opset=23))
    assert found == {
        "a.past_key": ["input:4", "input:1"], "a.past_value": ["input:5", "input:2"], "a.mul": ["input:0"],
        "a.mul_2": ["a.past_key"], "a.matmul": ["a.mul", "a.mul_2"], "a.div": ["a.matmul"], "a.tanh": ["a.div"],
        "a.mul_3": ["a.tanh"], "a.add": ["a.mul_3", "input:3"], "a.softmax": ["a.add"],
        "a.matmul_2": ["a.softmax", "a.past_value"], "keys": ["a.past_key"], "values": ["a.past_value"],
        "result": ["a.matmul_2"],
    }  # fmt: skip


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LSTM = """add r w | sigmoid add | sigmoid_2 add | tanh add | sigmoid_3 add | mul sigmoid_2 input:2 | mul_2 sigmoid tanh
| add_2 mul mul_2 | tanh_2 add_2 | mul_3 sigmoid_3 tanh_2 | linear mul_3 | add_3 linear w | sigmoid_4 add_3
| sigmoid_5 add_3 | tanh_3 add_3 | sigmoid_6 add_3 | mul_4 sigmoid_5 add_2 | mul_5 sigmoid_4 tanh_3 | add_4 mul_4 mul_5
| tanh_4 add_4 | mul_6 sigmoid_6 tanh_4 | stack mul_3 mul_6 | end_y stack | end_h mul_6 | end_c add_4"""
RNN = """add r w | tanh add | linear tanh | add_2 linear w | tanh_2 add_2 | stack tanh tanh_2 | end_y stack
| end_h tanh_2"""
GRU = """add r w | sigmoid add | add_2 r w | sigmoid_2 add_2 | mul sigmoid r | add_3 mul w | tanh add_3 | sub input:1 tanh
| mul_2 sigmoid_2 sub | add_4 tanh mul_2 | linear add_4 | add_5 linear w | sigmoid_3 add_5 | add_6 linear w
| sigmoid_4 add_6 | mul_3 sigmoid_3 linear | add_7 mul_3 w | tanh_2 add_7 | sub_2 add_4 tanh_2 | mul_4 sigmoid_4 sub_2
| add_8 tanh_2 mul_4 | stack add_4 add_8 | end_y stack | end_h add_8"""
EARLY = """add r[0,0:6] w | sigmoid add | add_2 r[0,0:6] w | sigmoid_2 add_2 | mul sigmoid input:1 | r[0,6:9] mul
| add_3 r[0,6:9] w | tanh add_3 | sub input:1 tanh | mul_2 sigmoid_2 sub | add_4 tanh mul_2 | linear add_4
| add_5 linear w | sigmoid_3 add_5 | add_6 linear w | sigmoid_4 add_6 | mul_3 sigmoid_3 add_4 | linear_2 mul_3
| add_7 linear_2 w | tanh_2 add_7 | sub_2 add_4 tanh_2 | mul_4 sigmoid_4 sub_2 | add_8 tanh_2 mul_4 | stack add_4 add_8
| end_y stack | end_h add_8"""


@pytest.mark.parametrize(
    ("operator", "more", "steps"),
    [("LSTM", {}, LSTM), ("RNN", {}, RNN), ("GRU", {"linear_before_reset": 1}, GRU), ("GRU", {}, EARLY)],
)
def test_a_recurrent_layer_hands_its_state_from_step_to_step(read, operator, more, steps):
    """Two steps: the first reads the given state, each the product with all inputs, and the ends what was left."""
    has_cell, outputs = operator == "LSTM", GATES[operator] * 3
    one = node(operator, "x w r b _ h0" + " c0" * has_cell, "y h" + " c" * has_cell, "l", hidden_size=3, **more)
    one.input[4] = ""
    inputs = {"x": (2, "N", 4), "h0": (1, "N", 3), "c0": (1, "N", 3)}
    ends = [node("Relu", name, f"{name}_end", f"end_{name}") for name in one.output]
    stored = {"w": filled(1, outputs, 4), "r": filled(1, outputs, 3), "b": filled(1, 2 * outputs)}
    found = edges(read([one, *ends], {name: inputs[name] for name in list(inputs)[: 2 + has_cell]}, stored))
    plain = {name.removeprefix("l."): [source.removeprefix("l.") for source in read] for name, read in found.items()}
    first = list(plain)[1]
    assert [plain.pop("w"), plain.pop(first)] == [["input:0"], ["input:1"]]
    assert [[name, *read] for name, read in plain.items()] == [part.split() for part in steps.split("|")]


def test_einsum_of_several_factors_reads_from_the_left(read):
    one = node("Einsum", "x w y", "z", "e", equation="nab,bc,ncd->nad")
    assert edges(read(one, {"x": ("N", 3, 4), "y": ("N", 5, 2)}, {"w": filled(4, 5)})) == {
        "w": ["input:0"], "e.matmul": ["w", "input:1"],
    }  # fmt: skip
    summed = node("Einsum", "x y w", "z", "e", equation="nab,nbcq,cd->nda")
    assert edges(read(summed, {"x": ("N", 3, 4), "y": ("N", 4, 5, 2)}, {"w": filled(5, 6)})) == {
        "e.sum": ["input:1"], "e.matmul": ["input:0", "e.sum"], "w": ["e.matmul"],
    }  # fmt: skip


@pytest.mark.skipif(NEWEST < 27, reason="this onnx has no LinearAttention")
def test_linear_attention_hands_its_state_on(read):
    inputs = {
        "q": ("N", 2, 8),
        "k": ("N", 2, 8),
        "v": ("N", 2, 8),
        "s": ("N", 2, 4, 4),
        "g": ("N", 2, 8),
        "r": ("N", 2, 2),
    }
    nodes = [node("LinearAttention", "q k v s g r", "y state", "a", q_num_heads=2, kv_num_heads=2, update_rule="gated_delta"),
             node("Relu", "state", "t", "end")]  # fmt: skip
    found = edges(read(nodes, inputs, opset=27))
    assert {name.removeprefix("a."): [one.removeprefix("a.") for one in read] for name, read in found.items()} == {
        "decay": ["input:3", "input:4"], "matmul": ["input:1", "decay"], "sub": ["input:2", "matmul"],
        "mul": ["sub", "input:5"], "matmul_2": ["input:1", "mul"], "add": ["decay", "matmul_2"],
        "matmul_3": ["input:0", "add"],
        "decay_2": ["add", "input:4"], "matmul_4": ["input:1", "decay_2"], "sub_2": ["input:2", "matmul_4"],
        "mul_2": ["sub_2", "input:5"], "matmul_5": ["input:1", "mul_2"], "add_2": ["decay_2", "matmul_5"],
        "matmul_6": ["input:0", "add_2"], "scale": ["matmul_3", "matmul_6"], "end": ["add_2"],
    }  # fmt: skip


def test_deformed_and_computed_convolutions(read):
    inputs = {"x": ("N", 2, 5, 5), "w": (4, 2, 3, 3), "o": ("N", 18, 3, 3)}
    found = list(edges(read(node("DeformConv", "x w o", "y", "d"), {key: inputs[key] for key in "xo"}, {"w": filled(4, 2, 3, 3)},
                            opset=22)).items())  # fmt: skip
    assert [names for _, names in found] == [["input:0", "input:1"], [found[0][0]]]
    both = list(edges(read(node("Conv", "x w", "y", "c"), {"x": (1, 2, 5, 5), "w": (4, 2, 3, 3)}, batch=1)).items())
    assert [names for _, names in both] == [["input:0"], [both[0][0], "input:1"]]


def test_a_node_called_as_an_input_gets_another_name(read):
    nodes = [node("Relu", "x", "a", "input:0"), node("Sigmoid", "a", "y", "next")]
    assert edges(read(nodes, {"x": ("N", 4)})) == {"input_0": ["input:0"], "next": ["input_0"]}


def test_the_trained_model_and_its_export_have_the_same_edges(read, tmp_path):
    torch = pytest.importorskip("torch", reason="tracing needs the torch extra")
    from operations import definitions

    from accelsim.workload.importing import import_trace
    from accelsim.workload.tracer import InputSpec, trace_model

    model = definitions("resnet").BasicBlock(4, 8, 2).eval()
    traced = trace_model(model, [InputSpec((4, 6, 6))], train=False)
    file = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.randn(2, 4, 6, 6),), file, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "N"}},
            training=torch.onnx.TrainingMode.PRESERVE,
        )  # fmt: skip
    imported = import_trace(file)
    assert [o.kind for o in imported.operations] == [o.kind for o in traced.operations]
    renamed = dict(zip(edges(imported), edges(traced), strict=True)) | {"input:0": "input:0"}
    assert [[renamed[name] for name in names] for names in edges(imported).values()] == list(edges(traced).values())
