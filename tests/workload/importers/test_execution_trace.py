"""Execution traces of real steps against the tracer, other schemas, and errors word for word."""

import gzip
import json

import pytest

from accelsim.base.errors import InputError
from accelsim.workload.importing import ImportOptions, import_trace, recognise
from accelsim.workload.trace import load_trace, save_trace

BATCH = 7
ATTENTION = (
    "attention in one kernel is opened into its two products, softmax and dropout, computed in full: a causal mask saves"
    " no work"
)
NOTES = {
    "vision transformer": (ATTENTION,),
    "several steps": ("ProfilerStep#3, the last complete one of 3 recorded steps, is the step of the trace",),
}
OTHER_VECTOR_WORK = frozenset({
    "recurrent",  # in-place work keeps copies that no gradient flows through
    "checkpoint",  # the observer does not see the end of the last call, which torch breaks off
    "checkpoint of a frozen layer",  # the same
    "LSTM",  # the last states are not used, and no gradient flows through their copies
})  # fmt: skip


def imported(path, batch=BATCH, **options):
    return import_trace(path, "execution-trace", ImportOptions(batch=batch, **options))


def error_of(path, batch=BATCH):
    with pytest.raises(InputError) as caught:
        imported(path, batch)
    return str(caught.value)


# Real steps


def test_a_real_step_has_the_products_of_the_tracer(network, recording, looks):
    trace = imported(recording.execution_trace)
    assert looks.products(trace) == looks.products(recording.traced)
    assert looks.macs(trace) == looks.macs(recording.traced)
    assert looks.ties(trace) == looks.ties(recording.traced)
    assert trace.parameters == recording.traced.parameters
    assert trace.input_shapes == recording.traced.input_shapes
    assert trace.origin.assumptions == NOTES.get(network, ())


def test_a_real_step_has_the_vector_work_of_the_tracer(network, recording, looks):
    if network in OTHER_VECTOR_WORK:
        pytest.skip("differs, as listed above")
    *operations, loss = looks.operations(imported(recording.execution_trace))
    assert operations == looks.operations(recording.traced)
    assert loss.startswith("reduce ")  # the sum of the outputs


@pytest.mark.parametrize(
    ("name", "counts"), [("ResNet-50", (54, 53, 54)), ("GPT-2 of twelve layers", (73, 97, 49))], ids=["161", "219"]
)
def test_products_of_known_networks(record, looks, name, counts):
    assert looks.counts(imported(record(name).execution_trace)) == counts


def test_names_and_header(record):
    trace = imported(record("tied").execution_trace)
    assert [(operation.name, operation.kind) for operation in trace.operations] == [
        ("embedding", "embedding"), ("linear", "linear"), ("sum", "reduce"),
    ]  # fmt: skip
    assert trace.operations[0].other_parameters[0].name == trace.operations[1].weight.name == "embedding.weight"
    assert (trace.model, trace.origin.batch, trace.origin.steps) == ("tied", 7, 0)
    assert trace.origin.versions == ("execution trace 1.1.1-chakra.0.0.4",)
    assert trace.origin.exporter.startswith("accelsim import ")
    assert imported(record("tied").execution_trace, name="mine").model == "mine"


def test_weights_in_parts_are_slices_of_one(record):
    trace = imported(record("decoder layer, weights in parts").execution_trace)
    names = [operation.weight.name for operation in trace.operations if operation.kind == "linear"]
    assert names[2:4] == ["linear_3.weight[0:8]", "linear_3.weight[8:24]"]


def test_a_mask_in_an_autograd_function_needs_the_step_of_the_optimizer(record, tmp_path):
    data = json.loads(record("autograd functions").execution_trace.read_text())
    optimizer = next(node for node in data["nodes"] if node["name"].startswith("Optimizer.step#"))
    optimizer["name"] = "something else"
    path = tmp_path / "t.json"
    path.write_text(json.dumps(data))
    assert error_of(path) == (
        f"{path}: Masked: 1 of 2 equal operands has a gradient, and only the step of the optimizer would say which;"
        " record it as well"
    )


# Other ways to write the same


def older(data):
    """The file as schema 1.0.1 had it: flat, without strides."""
    nodes = []
    for node in data["nodes"]:
        attributes = {entry["name"]: entry["value"] for entry in node["attrs"]}
        flat = {"name": node["name"], "id": node["id"], "parent": node["ctrl_deps"]}
        flat |= {
            key: attributes[key] for key in ("rf_id", "fw_parent", "seq_id", "scope", "tid", "fw_tid", "op_schema")
        }
        for field, short in (("inputs", "input"), ("outputs", "output")):
            flat |= {field: node[field]["values"], f"{short}_shapes": node[field]["shapes"]}
            flat[f"{short}_types"] = node[field]["types"]
        nodes.append(flat)
    return {**data, "schema": "1.0.1", "nodes": nodes}


def by_number(data):
    """The file sorted by the numbers of its nodes, as tools that link traces write it."""
    return {**data, "nodes": sorted(data["nodes"], key=lambda node: node["id"])}


@pytest.mark.parametrize("name", ["convolutions", "GPT-2", "decoder layer, weights in parts", "checkpoint, reentrant"])
@pytest.mark.parametrize("change", [older, by_number])
def test_other_schemas_and_orders_mean_the_same(record, looks, tmp_path, name, change):
    given = record(name).execution_trace
    path = tmp_path / "t.json"
    path.write_text(json.dumps(change(json.loads(given.read_text()))))
    assert imported(path).operations == imported(given).operations
    assert recognise(path) == "execution-trace"


def test_a_packed_file_and_a_round_trip(record, tmp_path):
    given = record("GPT-2").execution_trace
    path = tmp_path / "gpt2.json.gz"
    path.write_bytes(gzip.compress(given.read_bytes()))
    trace = import_trace(path, options=ImportOptions(batch=BATCH))
    assert trace.operations == imported(given).operations
    save_trace(trace, tmp_path / "saved.json")
    assert load_trace(tmp_path / "saved.json") == trace


def test_a_step_without_backward_follows_the_order_of_its_operations(record, tmp_path, looks):
    data = json.loads(record("convolutions").execution_trace.read_text())
    first = next(node["id"] for node in data["nodes"] if node["name"].startswith("autograd::engine"))
    data["nodes"] = [node for node in data["nodes"] if node["id"] < first]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(data))
    trace = imported(path)
    traced = record("convolutions").traced
    assert [operation.macs for operation in trace.operations[:-1]] == [
        operation.macs for operation in traced.operations
    ]
    assert looks.macs(trace) == looks.macs(traced)
    assert trace.origin.assumptions == (
        (
            "no backward pass is recorded: all parameters are taken as trained, and the gradients that a step computes"
            " follow from the order of the operations"
        ),
    )


# Errors


def written(tmp_path, data):
    path = tmp_path / "t.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def node(name, number, inputs=(), **attributes):
    attributes = {"seq_id": -1, "scope": 0, "tid": 1, "fw_tid": 0} | attributes
    shapes = [value if isinstance(value, list) else [] for value in inputs]
    values = [[9 + i, 10 + i, 0, 1, 4, "cpu"] if isinstance(v, list) else v for i, v in enumerate(inputs)]
    types = ["Tensor(float)" if isinstance(value, list) else "Int" for value in inputs]
    return {
        "name": name, "id": number, "ctrl_deps": 1, "inputs": {"values": values, "shapes": shapes, "types": types},
        "outputs": {"values": [], "shapes": [], "types": []},
        "attrs": [{"name": key, "type": "int64", "value": value} for key, value in attributes.items()],
    }  # fmt: skip


LINEAR = node("aten::mm", 5, [[7, 4], [4, 5]])
REFUSED = {
    "no nodes": ({"schema": "1.1.1-chakra.0.0.4"}, "no execution trace of PyTorch: it has no list of nodes"),
    "a list": ([], "no execution trace of PyTorch: it has no list of nodes"),
    "another schema": (
        {"schema": "2.0", "nodes": []}, "schema '2.0' is not known; known are 1.x.y and 1.x.y-chakra.0.0.4",
    ),
    "a node without a number": (
        {"schema": "1.0.1", "nodes": [{"name": "aten::mm"}]}, "a node is not as schema 1.0.1 has it (KeyError: 'scope')",
    ),
    "truncated": (
        '{"schema": "1.0.1", "nodes": [{"na',
        "not valid JSON: Unterminated string starting at line 1, column 32 (the file ends there: truncated?)",
    ),
    "nothing forward": (
        {"schema": "1.0.2-chakra.0.0.4", "nodes": [node("aten::relu", 3, [[14, 4]])]},
        "no forward operation is recorded; the recording must span a whole training step",
    ),
    "a wrong batch": (
        {"schema": "1.0.2-chakra.0.0.4", "nodes": [node("aten::mm", 5, [[15, 4], [4, 5]])]},
        "no operation works on 7 samples, as --batch says (the first product, aten::mm, is of 15x4 and 4x5)",
    ),
    "an opaque operation": (
        {"schema": "1.0.2-chakra.0.0.4", "nodes": [LINEAR, node("aten::_trilinear", 6, [[7, 4], [7, 4]])]},
        (
            "aten::_trilinear on 7x4, 7x4: may hold matrix products that cannot be read from a recording; say what it is: --call"
            " 'aten::_trilinear=ignore' or 'aten::_trilinear=linear(X, W)' with the places of data and weight"
        ),
    ),
    "an operation of others": (
        {"schema": "1.0.2-chakra.0.0.4", "nodes": [LINEAR, node("xformers::mystery", 6, [[7, 4]])]},
        (
            "xformers::mystery on 7x4: may hold matrix products that cannot be read from a recording; say what it is: --call"
            " 'xformers::mystery=ignore' or 'xformers::mystery=linear(X, W)' with the places of data and weight"
        ),
    ),
    "a quantised operation": (
        {"schema": "1.0.2-chakra.0.0.4", "nodes": [LINEAR, node("quantized::linear", 6, [[7, 4]])]},
        "quantized::linear on 7x4: is quantised; a trace describes training in floating point",
    ),
    "replicas": (
        {"schema": "1.0.2-chakra.0.0.4", "nodes": [LINEAR, node("aten::mm", 6, [[7, 4], [4, 5]], tid=2)]},
        "the forward pass runs in 2 threads, as several replicas of a model do; record a step of one replica",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    data, message = REFUSED[case]
    path = written(tmp_path, data)
    assert error_of(path) == f"{path}: {message}"


def test_the_batch_must_be_given(tmp_path):
    path = written(tmp_path, {"schema": "1.0.2-chakra.0.0.4", "nodes": [LINEAR]})
    assert error_of(path, None) == (
        f"{path}: say with --batch how many samples the step computes; its shapes hold all of them (the first product,"
        " aten::mm, is of 7x4 and 4x5)"
    )
    assert error_of(path, 0) == f"{path}: batch 0: at least 1 is needed"
