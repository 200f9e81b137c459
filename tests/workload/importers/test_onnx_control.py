"""If of ONNX, decided by shapes or by a given number; and nodes that no output depends on."""

import numpy as np
import pytest

from accelsim.base.errors import InputError
from accelsim.cli import main
from accelsim.workload.importing import ImportOptions, import_trace

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx import TensorProto, helper  # noqa: E402
from onnx_models import BOOL, FLOAT, INT64, built, filled, ints, listed, node, tensor  # noqa: E402


def graph(nodes, result, stored=None):
    """A branch: no inputs, one result."""
    out = helper.make_tensor_value_info(result, FLOAT, None)
    return helper.make_graph(nodes, "branch", [], [out], [tensor(*item) for item in (stored or {}).items()])


def branching(condition, yes, no, outputs="y", name="branch"):
    return node("If", condition, outputs, name, then_branch=yes, else_branch=no)


WIDE = graph([node("MatMul", "x wide", "p", name="wide")], "p", {"wide": filled(4, 6)})
NARROW = graph([node("MatMul", "x narrow", "p", name="narrow")], "p", {"narrow": filled(4, 2)})
ROWS = {"x": ("N", 5, 4)}


@pytest.mark.parametrize(("rows", "macs"), [(5, 5 * 24), (7, 7 * 8)])
def test_shapes_decide(reading, rows, macs):
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s one", "n"),
        node("Equal", "n five", "c"),
        branching("c", WIDE, NARROW),
    ]
    trace = reading(nodes, {"x": ("N", rows, 4)}, {"one": np.int64(1), "five": np.int64(5)})
    assert (len(trace.operations), trace.macs) == (1, macs)
    assert "left out" not in " ".join(trace.origin.assumptions)


def with_rate():
    """Another layer for each of two rates; what leads to the narrow one is idle at 16000."""
    nodes = [node("Neg", "x", "n", name="negative"), node("Equal", "sr rate", "c"),
             branching("c", WIDE, graph([node("MatMul", "n narrow", "p")], "p", {"narrow": filled(4, 2)}))]  # fmt: skip
    return nodes, {**ROWS, "sr": ((), INT64)}, {"rate": np.int64(16000)}


def test_a_given_number_decides(reading):
    wide = reading(*with_rate(), values={"sr": 16000})
    assert listed(wide) == ["wide = linear 4->6 rows 5 wide no gradient"]
    assert wide.parameters == 24
    assert wide.origin.assumptions[-1] == "nodes that no output of the graph depends on are left out: negative"
    narrow = reading(*with_rate(), values={"sr": 8000})
    assert (narrow.macs, narrow.parameters, len(narrow.operations)) == (40, 8, 2)


def test_without_it_the_command_says_what_to_give(tmp_path, capsys):
    file = tmp_path / "m.onnx"
    file.write_bytes(built(*with_rate()).SerializeToString())
    assert main(["import", str(file), "-o", str(tmp_path / "t.json")]) == 2
    assert capsys.readouterr().err == (
        f"error: {file}: node 'branch' (If): decides at run time what is executed; give what decides it: --input sr=NUMBER\n"
    )
    assert main(["import", str(file), "--input", "sr=16000", "-o", str(tmp_path / "t.json")]) == 0
    assert "120 MACs forward per sample" in capsys.readouterr().out
    for text, message in (
        ("sr", "expected NAME=NUMBER, as in sr=16000"),
        ("sr=fast", "expected NAME=NUMBER, as in sr=16000"),
        ("sr=nan", "expected NAME=NUMBER, as in sr=16000"),
    ):
        assert main(["import", str(file), "--input", text, "-o", str(tmp_path / "t.json")]) == 2
        assert capsys.readouterr().err == f"error: --input {text}: {message}\n"
    assert main(["import", str(file), "--input", "sr=1", "--input", "sr=2", "-o", str(tmp_path / "t.json")]) == 2
    assert capsys.readouterr().err == "error: --input sr=2: sr is set twice\n"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rs": 1}, "no input is named 'rs'; did you mean 'sr'?; there are: x, sr"),
        ({"x": 1}, "input 'x': got 1; it is 5x4, and only inputs of one number can be given"),
    ],
)
def test_a_number_for_another_input_is_refused(reading, tmp_path, values, message):
    with pytest.raises(InputError) as caught:
        reading(*with_rate(), values=values)
    assert str(caught.value) == f"{tmp_path / 'm.onnx'}: {message}"


def test_a_number_for_a_topology_is_refused(tmp_path):
    (tmp_path / "net.csv").write_text("Layer, M, N, K,\na, 1, 2, 3,\n")
    with pytest.raises(InputError) as caught:
        import_trace(tmp_path / "net.csv", options=ImportOptions(inputs={"M": 3}))
    assert str(caught.value) == (
        f"{tmp_path / 'net.csv'}: --input gives numbers to inputs of an ONNX model; format scalesim has none"
    )


def test_a_truth_value_decides_and_may_be_an_open_dimension(reading):
    for shape in ((), (1,), (None,)):
        trace = reading(branching("c", WIDE, NARROW), {**ROWS, "c": (shape, BOOL)}, values={"c": 0})
        assert trace.macs == 40


def test_data_decide(reading, tmp_path):
    nodes = [node("ReduceMax", "x", "m", keepdims=0), node("Greater", "m zero", "c"), branching("c", WIDE, NARROW)]
    with pytest.raises(InputError) as caught:
        reading(nodes, ROWS, {"zero": np.float32(0)})
    assert str(caught.value) == (
        f"{tmp_path / 'm.onnx'}: node 'branch' (If): decides at run time what is executed; export the model without control flow"
    )


def test_branches_inside_branches_share_the_names_outside(reading):
    """Both levels use x and w of the graph, and call what they make alike."""
    inner = branching(
        "c",
        graph([node("MatMul", "h w", "p", name="inner")], "p"),
        graph([node("Unknown", "h", "p")], "p"),
        "q",
        "inside",
    )
    outer = graph([node("MatMul", "x w", "h", name="outer"), inner, node("Add", "q h", "r", name="sum")], "r")
    nodes = [node("Neg", "x", "p", name="first"), branching("c", outer, NARROW, "z"), node("Add", "z p", name="last")]
    trace = reading(nodes, {**ROWS, "c": ((), BOOL)}, {"w": filled(4, 4)}, values={"c": 1})
    assert [text.replace(" no gradient", "") for text in listed(trace)] == [
        "first = elementwise 20->20",
        "w = linear 4->4 rows 5 w",
        "inner = linear 4->4 rows 5 w",
        "sum = add 40->20",
        "last = add 40->20",
    ]
    assert trace.parameters == 16


def test_a_branch_that_is_taken_is_checked(reading, tmp_path):
    unknown = graph([node("Det", "x", "p", name="d")], "p")
    with pytest.raises(InputError) as caught:
        reading(branching("c", unknown, NARROW), {**ROWS, "c": ((), BOOL)}, values={"c": 1})
    assert str(caught.value) == (
        f"{tmp_path / 'm.onnx'}: node 'd' (Det): what this operator computes is not known here, so its work cannot be counted"
    )


def test_a_branch_that_gives_what_is_there(reading):
    """A result of a branch may be a tensor of the graph, and a constant."""
    nodes = [
        node("MatMul", "x w", "h", name="fc"),
        branching("c", graph([], "h"), graph([], "x"), "z"),
        node("Relu", "z", name="act"),
    ]
    trace = reading(nodes, {**ROWS, "c": ((), BOOL)}, {"w": filled(4, 4)}, values={"c": 1})
    assert [one.kind for one in trace.operations] == ["linear", "activation"]


def test_samples_that_decide_otherwise_are_refused(reading):
    nodes = [node("Shape", "x", "s", end=1), node("Equal", "s two", "c"), branching("c", WIDE, NARROW)]
    with pytest.raises(InputError, match=r": an If decides otherwise at a batch of 2 than of 3 \(at a batch of 1 the graph can be"
                       r" read: --size N=1 --batch 1\)$"):  # fmt: skip
        reading(nodes, ROWS, {"two": ints(2)})


@pytest.mark.parametrize("operator", ["Loop", "Scan"])
def test_other_control_flow_is_refused(reading, operator):
    body = helper.make_graph([], "body", [], [])
    extra = {"num_scan_inputs": 1} if operator == "Scan" else {}
    with pytest.raises(
        InputError, match=r": decides at run time what is executed; export the model without control flow$"
    ):
        reading(node(operator, "x", name="l", body=body, **extra), ROWS)


# Nodes that reach no output


def test_what_reaches_no_output_is_left_out_and_noted(reading):
    nodes = [node("MatMul", "x w", name="fc"), node("MatMul", "x v", "idle", name="head"), node("Sigmoid", "idle", "end", name="act"),
             node("Shape", "idle", "size", name="shape")]  # fmt: skip
    model = built(nodes, ROWS, {"w": filled(4, 6), "v": filled(4, 100)})
    kept = [entry for entry in model.graph.output if entry.name == "y"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    trace = reading(model)
    assert listed(trace) == ["w = linear 4->6 rows 5 w no gradient"]
    assert (trace.macs, trace.parameters) == (120, 24)
    assert trace.origin.assumptions[-1] == "nodes that no output of the graph depends on are left out: head, act"


def test_an_idle_node_need_not_be_known(reading):
    nodes = [node("Relu", "x", name="act"), helper.make_node("Mystery", ["x"], ["m"], domain="mine", name="mystery")]
    model = built(nodes, ROWS, domains={"mine": 1})
    model.graph.output.pop()
    assert reading(model).origin.assumptions[-1].endswith("left out: mystery")


def test_what_only_a_branch_needs_is_needed(reading):
    branch = graph([node("MatMul", "h w", "p", name="second")], "p")
    nodes = [node("MatMul", "x v", "h", name="first"), branching("c", branch, branch)]
    trace = reading(nodes, {**ROWS, "c": ((), BOOL)}, {"v": filled(4, 6), "w": filled(6, 2)}, values={"c": 1})
    assert (trace.macs, trace.parameters) == (5 * 24 + 5 * 12, 24 + 12)


def test_training_information_is_noted(reading):
    model = built(node("MatMul", "x w", name="fc"), ROWS, {"w": filled(4, 6)})
    model.training_info.add()
    assert reading(model).origin.assumptions[-1] == (
        "what the file says of training (training_info) is left out: BP and WU follow from its forward graph"
    )


def test_tensors_of_a_branch_may_be_constants(reading):
    constant = helper.make_node(
        "Constant", [], ["k"], value=helper.make_tensor("k", TensorProto.FLOAT, [4, 2], range(8))
    )
    branch = graph([constant, node("MatMul", "x k", "p", name="fc")], "p")
    trace = reading(branching("c", branch, NARROW), {**ROWS, "c": ((), BOOL)}, values={"c": 1})
    assert trace.macs == 40
