"""Weights in ONNX files: names, sharing, sparsity."""

import numpy as np
import pytest

from accelsim.workload.importing import import_trace

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_models import FLOAT, IMAGE, INT64, ROWS, Without, built, filled, ints, listed, node, pruned, tensor  # noqa: E402


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


def test_parts_of_a_weight_in_another_order_are_that_weight(reading):
    """The gates of PyTorch's LSTM cell, as its exporter rearranges them."""
    nodes = [node("Split", "w", "i f g o", axis=0, num_outputs=4), node("Concat", "i o f g", "j", axis=0),
             node("Transpose", "j", "t"), node("MatMul", "x t")]  # fmt: skip
    weight = pruned((24, 16), "2:8", 1)
    trace = reading(nodes, {"x": ("N", 16)}, {"w": weight})
    product = trace.operations[-1]
    assert (product.weight.name, trace.parameters) == ("w", 24 * 16)
    assert product.observed.FF.weight.pattern == "2:8"


def test_joined_weights_count_once_and_show_their_zeros(reading):
    stored = {"q": pruned((16, 8), "2:8", 0), "k": pruned((16, 8), "1:8", 0), "b": filled(16)}
    nodes = [node("Concat", "q k", "qk", axis=1), node("MatMul", "x qk", "p"), node("Add", "p b")]
    trace = reading(nodes, {"x": ("N", 5, 16)}, stored)
    assert trace.parameters == 16 * 16 + 16
    assert sorted(trace.tensors) == ["b", "q+k"]
    seen = trace.operations[-1].observed.FF.weight
    assert (trace.operations[-1].weight.name, seen.pattern, seen.density) == ("q+k", "2:8", 3 / 16)
