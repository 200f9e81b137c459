"""Which dimension of an ONNX input is the batch, and sizes that the file leaves open."""

import pytest

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx_models import INT64, built, filled, listed, node, tensor  # noqa: E402

WEIGHTS = {"w": filled(1, 24, 3), "r": filled(1, 24, 6)}
MACS = 5 * 24 * (3 + 6)  # of each sample: 5 steps of 4 x 6 gates


def lstm(inputs="x w r", outputs="y", **attributes):
    made = node("LSTM", inputs, outputs, name="l", hidden_size=6, **attributes)
    for names in (made.input, made.output):
        names[:] = ["" if name == "-" else name for name in names]
    return made


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5, "N", 3), {}),
        ((5, None, 3), {}),
        ((5, -1, 3), {}),
        ((5, 1, 3), {}),
        ((5, 4, 3), {"batch": 4}),
        ((5, "N", 3), {"sizes": {"N": 4}, "batch": 4}),
        (("T", "N", 3), {"sizes": {"T": 5}}),
    ],
)
@pytest.mark.parametrize("outputs", ["y", "- y", "- - y", "a b y"])
def test_time_comes_first_and_the_batch_second(reading, shape, options, outputs):
    trace = reading(lstm(outputs=outputs), {"x": shape}, WEIGHTS, **options)
    assert (trace.macs, trace.input_shapes) == (MACS, ((5, 3),))
    assert all(one.rows == (5 if one.in_features == 3 else 1) for one in trace.operations if one.macs)
    stacked = sum(one.kind == "copy" for one in trace.operations)
    assert stacked == outputs.startswith(
        ("y", "a")
    )  # the states of all steps are put together where they are asked for


def test_the_note_says_which_dimension(reading):
    assert reading(lstm(), {"x": (5, "N", 3)}, WEIGHTS).origin.assumptions[0] == (
        "dimension 'N', the second one of 'x', as the layer that reads it has it, is taken as the batch"
    )
    assert reading(lstm(), {"x": (5, 1, 3)}, WEIGHTS).origin.assumptions[0] == (
        "the second dimension of 'x', as the layer that reads it has it, 1, is taken as a batch of one sample; copies that"
        " only larger batches need cannot be seen"
    )


def test_initial_states_have_it_second_too(reading):
    layer = lstm("x w r - - h c", "y hn cn")
    inputs = {"x": (5, "N", 3), "h": (1, "N", 6), "c": (1, None, 6)}
    trace = reading(layer, inputs, WEIGHTS)
    assert (trace.macs, trace.input_shapes) == (MACS, ((5, 3), (1, 6), (1, 6)))


@pytest.mark.parametrize(
    ("before", "inputs", "stored"),
    [
        ([node("MatMul", "i p", "a"), node("Relu", "a", "x")], {"i": (5, "N", 7)}, {"p": filled(7, 3)}),
        ([node("Gather", "e i", "x")], {"i": ((5, "N"), INT64)}, {"e": filled(9, 3)}),
        ([node("Transpose", "i", "x", perm=[1, 2, 0])], {"i": (3, 5, "N")}, {}),
        ([node("Unsqueeze", "i z", "x")], {"i": ("N", 3)}, {"z": onnx.numpy_helper.to_array(onnx.helper.make_tensor("z", INT64, [1], [0]))}),
        ([node("Squeeze", "i z", "x")], {"i": (1, 5, "N", 3)}, {"z": onnx.numpy_helper.to_array(onnx.helper.make_tensor("z", INT64, [1], [0]))}),
        ([node("Transpose", "i", "x", perm=[1, 0, 2])], {"i": ("N", 5, 3)}, {}),
    ],
)  # fmt: skip
def test_the_way_to_the_layer_is_followed(reading, before, inputs, stored):
    trace = reading([*before, lstm()], inputs, {**WEIGHTS, **stored})
    steps = 1 if before[0].op_type == "Unsqueeze" else 5
    recurrent = [one for one in trace.operations if one.macs and one.weight.name in {"w", "r"}]
    assert sum(one.macs for one in recurrent) == steps * 24 * 9
    assert all(one.scales_with_batch for one in recurrent)


def test_a_layer_with_the_batch_first(reading):
    trace = reading(lstm(layout=1), {"x": ("N", 5, 3)}, WEIGHTS)
    assert (trace.macs, trace.input_shapes) == (MACS, ((5, 3),))


@pytest.mark.parametrize("written", ["-1", "?", "None", -1])
def test_a_dimension_without_a_name_is_open(reading, written):
    trace = reading(node("MatMul", "x w"), {"x": (written, 8)}, {"w": filled(8, 4)})
    assert (trace.macs, trace.input_shapes) == (32, ((8,),))
    assert trace.origin.assumptions[0] == "dimension 'x.0', the first one of the inputs, is taken as the batch"
    sized = reading(node("MatMul", "x w"), {"x": (written, written, 8)}, {"w": filled(8, 4)}, sizes={"x.1": 3})
    assert sized.macs == 3 * 32


def test_steps_that_are_the_batch_get_a_hint(reading):
    """An LSTM over the first dimension, which is open: one sample is what it reads at a size of 1."""
    nodes = [node("Unsqueeze", "x one", "u"), lstm("u w r")]
    model = built(nodes, {"x": ("T", 3)}, {**WEIGHTS, "one": onnx.numpy_helper.to_array(tensor("one", [1]))})
    with pytest.raises(Exception, match=r"^.*node 'l' \(LSTM\): differs between a batch of 2 and of 3 in more than its rows; a trace"
                       r" needs a model that treats samples alike \(at a batch of 1 the graph can be read: --size T=1"
                       r" --batch 1\)$"):  # fmt: skip
        reading(model)
    assert listed(reading(model, sizes={"T": 5}, batch=1))[0] == "w = linear 3->24 rows 5 w no gradient"
