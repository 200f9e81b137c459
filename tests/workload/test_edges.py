"""Data-flow edges in the trace format and in the shipped traces: rules, every kind of damage, and sizes that fit."""

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import accelsim as acs
from accelsim.base.files import validate
from accelsim.cli import main
from accelsim.workload.data_flow import input_name
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Operation, Trace, Vector, shipped_traces

Run = Callable[..., tuple[int, str, str]]
SHIPPED = sorted(shipped_traces())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line: exit code, output, messages."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        return code, *capsys.readouterr()

    return run_command


def error_of(data: Any) -> str:
    with pytest.raises(acs.InputError) as caught:
        validate(Trace, data, "t.json")
    return str(caught.value)


# The format


@pytest.mark.parametrize(
    ("where", "inputs", "message"),
    [
        (1, ["con"], "operations[1].inputs[0] (in 'relu'): got \"con\"; no operation has this name; did you mean 'conv'?"),
        (1, ["input0"],
         "operations[1].inputs[0] (in 'relu'): got \"input0\"; no operation has this name; did you mean 'input:0'?"),
        (1, ["zzz"], "operations[1].inputs[0] (in 'relu'): got \"zzz\"; no operation has this name"),
        (1, ["relu"], "operations[1].inputs[0] (in 'relu'): got \"relu\"; an operation cannot read its own output"),
        (0, ["input:0", "fc"], "operations[0].inputs[1] (in 'conv'): got \"fc\"; stands later, as operations[3] and reads what"
         " comes from 'conv', a circle; an operation reads what earlier ones wrote"),
        (0, ["input:1"],
         "operations[0].inputs[0] (in 'conv'): got \"input:1\"; the network has 1 input, counted from input:0"),
        (0, ["input:x"],
         "operations[0].inputs[0] (in 'conv'): got \"input:x\"; inputs of the network are input:0, input:1 and so on"),
        (0, ["input:01"],
         "operations[0].inputs[0] (in 'conv'): got \"input:01\"; inputs of the network are input:0, input:1 and so on"),
        (0, ["input:-1"],
         "operations[0].inputs[0] (in 'conv'): got \"input:-1\"; inputs of the network are input:0, input:1 and so on"),
        (3, ["pool", "pool"], "operations[3].inputs[1] (in 'fc'): got \"pool\"; stands twice, and linear reads one tensor"),
        (1, "conv", "operations[1].inputs (in 'relu'): got \"conv\"; should be a valid array"),
        (1, [0], "operations[1].inputs[0] (in 'relu'): got 0; should be a valid string"),
        (1, [""], "operations[1].inputs[0] (in 'relu'): got \"\"; String should have at least 1 character"),
    ],
)  # fmt: skip
def test_a_bad_edge_is_named_with_its_path(documented: dict[str, Any], where: int, inputs: Any, message: str) -> None:
    documented["operations"][where]["inputs"] = inputs
    assert error_of(documented) == f"t.json: {message}"


def test_a_later_operation_that_leads_nowhere_is_no_circle(documented: dict[str, Any]) -> None:
    documented["operations"][0]["inputs"] = ["relu"]
    documented["operations"][1]["inputs"] = ["input:0"]
    assert error_of(documented) == (
        "t.json: operations[0].inputs[0] (in 'conv'): got \"relu\"; stands later, as operations[1]; an operation reads what"
        " earlier ones wrote"
    )


def test_all_bad_edges_are_reported_at_once(documented: dict[str, Any]) -> None:
    documented["operations"][1]["inputs"] = ["zzz"]
    documented["operations"][3]["inputs"] = ["fc"]
    assert [line.partition(" (")[0] for line in error_of(documented).splitlines()] == [
        "t.json: operations[1].inputs[0]", "t.json: operations[3].inputs[0]",
    ]  # fmt: skip


def test_an_operation_is_not_called_as_an_input_where_there_are_edges(documented: dict[str, Any]) -> None:
    documented["operations"][1]["name"] = "input:0"
    documented["operations"][2]["inputs"] = ["conv"]
    assert error_of(documented) == (
        "t.json: top level: operations: 'input:0' names an input of the network where `inputs` are given"
    )
    for operation in documented["operations"]:
        del operation["inputs"]
    assert validate(Trace, documented, "t.json").operations[1].name == "input:0"


def test_bad_edges_end_a_command_and_nothing_is_written(run: Run, documented: dict[str, Any], tmp_path: Path) -> None:
    documented["operations"][3]["inputs"] = ["poool"]
    file, out = tmp_path / "t.json", tmp_path / "result.json"
    file.write_text(json.dumps(documented))
    message = f"error: {file}: operations[3].inputs[0] (in 'fc'): got \"poool\"; no operation has this name; did you mean 'pool'?\n"
    assert run("check", str(file)) == (2, "", message)
    assert run("simulate", str(file), "-o", str(out)) == (2, "", message)
    assert not out.exists()


@pytest.mark.parametrize("kind", ["matmul", "add", "multiply", "copy", "elementwise", "loss"])
def test_operations_with_several_operands_may_read_one_output_twice(
    make_trace: Callable[..., Trace], kind: str
) -> None:
    sizes = {"m": 2, "n": 2, "k": 2} if kind == "matmul" else {"reads": 8, "writes": 4}
    trace = make_trace({"name": "x", "kind": kind, "inputs": ["input:0", "input:0"], **sizes})
    assert trace.operations[0].inputs == ("input:0", "input:0")


def test_edges_are_optional_and_kept(documented: dict[str, Any], tmp_path: Path) -> None:
    trace = validate(Trace, documented, "t.json")
    assert (trace.has_edges, trace.edges) == (True, "data-flow edges")
    assert [operation.inputs for operation in trace.operations] == [("input:0",), ("conv",), ("relu",), ("pool",)]
    del documented["operations"][1]["inputs"]
    documented["operations"][2]["inputs"] = []
    some = validate(Trace, documented, "t.json")
    assert (some.has_edges, some.edges) == (False, "data-flow edges of 3 of 4 operations")
    assert [operation.inputs for operation in some.operations[1:3]] == [None, ()]
    for operation in documented["operations"]:
        operation.pop("inputs", None)
    none = validate(Trace, documented, "t.json")
    assert (none.has_edges, none.edges) == (False, "no data-flow edges")
    for one in (trace, some, none):
        acs.save_trace(one, tmp_path / "t.json")
        assert acs.load_trace(tmp_path / "t.json") == one


def test_the_schema_has_them(run: Run) -> None:
    schema = json.loads(run("schema", "trace")[1])
    field = schema["$defs"]["Matmul"]["properties"]["inputs"]
    assert field["default"] is None
    assert field["anyOf"][0]["items"]["type"] == "string"
    assert "left, right" in field["description"]


def test_info_and_check_say_whether_they_are_there(run: Run, documented: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "t.json"

    def said() -> tuple[str, str]:
        file.write_text(json.dumps(documented))
        return run("info", str(file))[1].splitlines()[4], run("check", str(file))[1]

    assert said() == (
        "data-flow edges", f"ok: {file}: trace of tiny, 4 operations, 1,226 parameters, data-flow edges\n"
    )  # fmt: skip
    del documented["operations"][0]["inputs"]
    assert said()[0] == "data-flow edges of 3 of 4 operations"
    layers = json.loads(run("info", str(file), "--json")[1])["layers"]
    assert [layer["inputs"] for layer in layers] == [None, ["conv"], ["relu"], ["pool"]]


@given(st.data())
def test_edges_are_legal_exactly_where_they_go_back(data: st.DataObject) -> None:
    """A trace of n additions is legal if and only if each name is an earlier operation or an input."""
    count = data.draw(st.integers(1, 5))
    names = [f"op{number}" for number in range(count)]
    legal = [*names, "input:0", "input:1"]
    reads = data.draw(st.lists(st.lists(st.sampled_from([*legal, "input:2", "nothing"]), max_size=3),
                               min_size=count, max_size=count))  # fmt: skip
    operations = [
        {"name": name, "kind": "add", "reads": 1, "writes": 1, "inputs": read}
        for name, read in zip(names, reads, strict=True)
    ]
    body = {
        "format": "accelsim-trace/1", "model": "any", "input_shapes": [[1], [1]], "parameters": 0,
        "origin": {"exporter": "test", "source": "test"}, "operations": operations,
    }  # fmt: skip
    wrong = [
        f"operations[{number}].inputs[{at}] (in '{names[number]}')"
        for number, read in enumerate(reads)
        for at, name in enumerate(read)
        if name not in {"input:0", "input:1", *names[:number]}
    ]
    if not wrong:
        assert validate(Trace, body, "t.json").has_edges
    else:
        assert [line.partition(": ")[2].partition(":")[0] for line in error_of(body).splitlines()] == wrong


# The shipped traces


def written(operation: Operation) -> int:
    """Elements of the result, per sample."""
    if isinstance(operation, Conv | ConvTranspose):
        return operation.out_channels * prod(operation.out_size)
    if isinstance(operation, Linear):
        return operation.rows * operation.out_features
    if isinstance(operation, Matmul):
        return operation.batch * operation.m * operation.n
    return operation.writes


@pytest.mark.parametrize("name", SHIPPED)
def test_every_operation_says_what_it_reads_and_every_result_is_read(name: str) -> None:
    trace = acs.load_trace(name)
    assert trace.has_edges
    read = {source for operation in trace.operations for source in operation.inputs or ()}
    assert read >= {input_name(number) for number in range(len(trace.input_shapes))}
    assert [operation.name for operation in trace.operations if operation.name not in read] == [
        trace.operations[-1].name
    ]


@pytest.mark.parametrize("name", SHIPPED)
def test_what_operations_read_is_as_large_as_what_was_written(name: str) -> None:
    trace = acs.load_trace(name)
    sizes = {operation.name: written(operation) for operation in trace.operations}
    sizes |= {input_name(number): prod(shape) for number, shape in enumerate(trace.input_shapes)}
    whole = {"norm", "activation", "softmax", "dropout", "reduce"}
    for operation in trace.operations:
        assert operation.inputs is not None
        got = [sizes[source] for source in operation.inputs]
        if isinstance(operation, Matmul):
            left, right = (operation.batch * operation.k * size for size in (operation.m, operation.n))
            assert got == [left, right], operation.name
        elif isinstance(operation, Conv):
            assert got[0] == operation.in_channels * prod(operation.in_size), operation.name
        elif isinstance(operation, Linear):
            used = operation.rows * operation.in_features
            one_token = operation.name in {"head", "pooler.0"}  # of a sequence
            assert got == [used * (got[0] // used)] if one_token else got == [used], operation.name
        elif operation.kind in whole:
            assert got == [operation.reads], operation.name
        elif operation.kind == "embedding":
            assert not got or operation.writes % got[0] == 0, operation.name  # a row of the table per number
        elif operation.kind == "pooling":
            assert len(got) == 1, operation.name


@pytest.mark.parametrize("name", ["resnet50_imagenet", "resnet18_tinyimagenet", "resnet9_cifar10"])
def test_both_branches_of_a_residual_block_come_from_its_input(name: str) -> None:
    """Each addition reads a norm or activation in front of it and, through a shortcut or not, the block's input."""
    trace = acs.load_trace(name)
    by_name = {operation.name: operation for operation in trace.operations}
    adds = [operation for operation in trace.operations if operation.kind == "add"]
    assert adds

    def ancestors(source: str) -> set[str]:
        found, waiting = {source}, [source]
        while waiting:
            one = by_name.get(waiting.pop())
            new = set(one.inputs or ()) - found if one else set()
            found |= new
            waiting += new
        return found

    readers = {source: [op.name for op in trace.operations if source in (op.inputs or ())] for source in by_name}
    for add in adds:
        one, other = add.inputs or ()
        common = ancestors(one) & ancestors(other)
        assert any(len(readers.get(source, ())) == 2 for source in common), add.name


def test_queries_and_keys_are_told_apart_where_their_sizes_are_not() -> None:
    """q_proj and the input of k_proj are of one size in Llama: edges say what sizes cannot."""
    trace = acs.load_trace("llama_1b_2048")
    by_name = {operation.name: operation for operation in trace.operations}
    q, k = by_name["layers.3.attention.q_proj"], by_name["layers.3.attention.k_proj"]
    assert q.inputs == k.inputs
    assert q.name not in (k.inputs or ())
    assert isinstance(q, Linear)
    assert isinstance(k, Linear)
    assert q.rows * q.out_features == k.rows * k.in_features


LOSSES = {
    "bert_base_128": (2, 1), "gpt2_1024": (50257, 1024), "llama_1b_2048": (128_256, 2048),
    "mobilenet_v2_imagenet": (1000, 1), "resnet18_tinyimagenet": (200, 1), "resnet18_tinyimagenet_3x3": (200, 1),
    "resnet50_imagenet": (1000, 1), "resnet9_cifar10": (10, 1), "resnet9_digits_2of4": (10, 1),
    "resnet9_digits_bdwp_2of8": (10, 1), "resnet9_digits_pruned": (10, 1), "vgg19_cifar100": (100, 1),
    "vit_b16_imagenet": (1000, 1), "vit_cifar100": (100, 1),
}  # fmt: skip
"""Classes or words of each shipped trace, and positions that are predicted."""


@pytest.mark.parametrize("name", acs.load_trace.__globals__["workload_names"]())
def test_the_loss_over_classes_or_vocabulary_is_counted(name: str) -> None:
    classes, positions = LOSSES[name]
    *_, scores, softmax, loss = acs.load_trace(name).operations
    assert isinstance(softmax, Vector)
    assert isinstance(loss, Vector)
    assert (softmax.kind, softmax.inputs, loss.kind, loss.inputs) == (
        "softmax", (scores.name,), "loss", (softmax.name,),
    )  # fmt: skip
    assert softmax.reads == softmax.writes == classes * positions
    assert loss.writes == 0  # one number of all samples
    targets = 0 if "digits" in name else positions  # of real steps those that come from outside of the model are shared
    assert loss.reads == classes * positions + targets
