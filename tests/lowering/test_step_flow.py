"""What flows through a step: gradients of branches, activations that ride on others, and the note without edges."""

from collections import Counter

import pytest
from graphs import SIZE, graphs, square, trace_of, work
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_cases import linear, vector

from accelsim.hardware.design import load_design
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Step, VectorWork
from accelsim.platforms.kernels import Software, kernels_of
from accelsim.sparsity.methods import find_method
from accelsim.workload.trace import Trace

NOTE = (
    "the trace does not say what each operation reads (inputs): gradients of branches are not summed, what may stay on"
    " the chip is told by equal sizes, and every result is taken to be kept for the backward pass"
)


def dense(trace: Trace, batch: int = 1, **changes: object) -> Step:
    design = load_design("sat_vcu1525", changes)
    return lower(trace, design, find_method("dense"), pattern=None, batch=batch)


def reading(operation: dict, *inputs: str) -> dict:
    return {**operation, "inputs": list(inputs)}


def moved(step: Step) -> list[tuple[str, str, int, int]]:
    return [(task.name, task.direction, task.reads, task.writes) for task in step.tasks if isinstance(task, VectorWork)]


def test_gradients_of_two_branches_are_summed_once_where_they_part(make_trace) -> None:
    block = [
        square("stem", "input:0"), square("branch", "stem"), work("add", "add", "branch", "stem"), square("out", "add")
    ]  # fmt: skip
    found = moved(dense(make_trace(*block), batch=4))
    assert found == [("add", "FF", 4 * 2 * SIZE, 4 * SIZE), ("stem[sum]", "BP", 4 * 2 * SIZE, 4 * SIZE)]


def test_the_sum_stands_right_behind_the_branch_that_completes_it(make_trace) -> None:
    block = [
        square("stem", "input:0"), square("branch", "stem"), work("add", "add", "branch", "stem"), square("out", "add")
    ]  # fmt: skip
    names = [(task.name, str(task.stage)) for task in dense(make_trace(*block)).tasks]
    assert names[names.index(("branch", "BP")) :] == [
        ("branch", "BP"), ("stem[sum]", "VECTOR"), ("branch", "WU"), ("branch", "UPDATE"), ("stem", "BP"), ("stem", "WU"),
        ("stem", "UPDATE"),
    ]  # fmt: skip


def test_four_readers_take_three_sums(make_trace) -> None:
    heads = [square(name, "x") for name in "qkv"]
    trace = make_trace(
        square("x", "input:0"), *heads, work("mix", "multiply", "q", "k"), work("more", "multiply", "mix", "v"),
        work("add", "add", "more", "x"), square("out", "add"),
    )  # fmt: skip
    sums = [entry for entry in moved(dense(trace)) if "sum" in entry[0]]
    assert sums == [(f"x[{name}]", "BP", 2 * SIZE, SIZE) for name in ("sum", "sum 2", "sum 3")]


def test_parts_of_one_projection_have_nothing_to_sum(make_trace) -> None:
    """Queries, keys and values of one projection are read by two products, a third of it each."""
    product = {"kind": "matmul", "m": 8, "n": 8, "k": 8}
    trace = make_trace(
        reading({**linear("qkv"), "in_features": SIZE, "out_features": 3 * SIZE}, "input:0"),
        reading({**product, "name": "scores"}, "qkv", "qkv"),
        work("softmax", "softmax", "scores"),
        reading({**product, "name": "mixed"}, "softmax", "qkv"),
        square("out", "mixed"),
    )
    assert not [name for name, *_ in moved(dense(trace)) if "sum" in name]
    # a reader of all of it shares each part with one of them
    whole = make_trace(
        *(operation.model_dump() for operation in trace.operations),
        reading({**linear("more"), "in_features": 3 * SIZE}, "qkv"),
    )
    assert sum(writes for name, _, _, writes in moved(dense(whole)) if "sum" in name) == 3 * SIZE


def test_a_gradient_that_nothing_wants_is_not_summed(make_trace) -> None:
    frozen = {**square("stem", "input:0"), "input_gradient": False, "weight": {"name": "w", "frozen": True}}
    trace = make_trace(
        frozen, square("a", "stem"), square("b", "stem"), work("add", "add", "a", "b"), square("out", "add")
    )
    assert not [name for name, *_ in moved(dense(trace)) if "sum" in name]


@pytest.mark.parametrize("edges", [True, False])
def test_an_activation_behind_an_addition_has_its_mask_pass(make_trace, *, edges: bool) -> None:
    operations = [
        square("stem", "input:0"), square("side", "stem"), work("add", "add", "side", "stem"),
        work("relu", "activation", "add"), square("out", "relu"),
    ]  # fmt: skip
    if not edges:
        operations = [{key: value for key, value in entry.items() if key != "inputs"} for entry in operations]
    found = moved(dense(make_trace(*operations)))
    assert [entry for entry in found if entry[0] == "relu"] == [("relu", "BP", 2 * SIZE, SIZE)]
    unfused = moved(dense(make_trace(*operations), **{"vector.fuse_activations": False}))
    assert [entry[1] for entry in unfused if entry[0] == "relu"] == ["FF", "BP"]


def test_an_activation_rides_on_a_norm_that_nothing_else_reads(make_trace) -> None:
    def passes(*tail: dict) -> list[tuple[str, str]]:
        operations = [square("stem", "input:0"), work("norm", "norm", "stem"), *tail]
        return [(name, way) for name, way, *_ in moved(dense(make_trace(*operations))) if name == "relu"]

    alone = [work("relu", "activation", "norm"), square("out", "relu")]
    assert passes(*alone) == []
    assert passes(*alone[:1], work("add", "add", "relu", "norm"), square("out", "add")) == [
        ("relu", "FF"),
        ("relu", "BP"),
    ]
    # what stands in between changes nothing, nor does what has the same size
    assert passes(square("side", "norm"), work("relu", "activation", "side"), square("out", "relu")) == [
        ("relu", "FF"),
        ("relu", "BP"),
    ]
    far = [square("stem", "input:0"), work("norm", "norm", "stem"), square("side", "stem"), work("relu", "activation", "norm"),
           work("add", "add", "relu", "side"), square("out", "add")]  # fmt: skip
    assert [name for name, *_ in moved(dense(make_trace(*far)))] == ["norm", "add", "norm", "stem[sum]"]


def test_without_edges_the_step_says_what_it_assumed(make_trace) -> None:
    plain = [vector("add", 2 * SIZE, SIZE, name="add"), linear("out")]
    step = dense(make_trace(linear("stem"), *plain))
    assert [(note.operation, note.stage, note.text) for note in step.notes] == [(None, None, NOTE)]
    assert step.handed is None
    # a chain leaves nothing open, and edges say it
    assert not dense(make_trace(linear("stem"), linear("out"))).notes
    assert not dense(
        make_trace(square("stem", "input:0"), work("add", "add", "stem", "input:0"), square("out", "add"))
    ).notes


def additions(operations: list[dict]) -> Counter[str]:
    """Count by hand: every use of a result gives a gradient; all of these but one take an addition."""
    uses = Counter(name for entry in operations for name in entry["inputs"])
    return Counter({name: count - 1 for name, count in uses.items() if name != "input:0" and count > 1})


@settings(max_examples=60, deadline=None)
@given(operations=graphs(), batch=st.integers(1, 3))
def test_sums_of_random_graphs_are_those_counted_by_hand(operations: list[dict], batch: int) -> None:
    found = Counter[str]()
    for task in dense(trace_of(operations), batch=batch).tasks:
        if isinstance(task, VectorWork) and task.sums:
            assert (task.reads, task.writes) == (2 * batch * SIZE, batch * SIZE)
            found[task.operation] += 1
    assert found == additions(operations)


def test_platforms_are_charged_the_same_sums(make_trace) -> None:
    """One sum of an addition, with edges or without."""
    operations = [
        square("stem", "input:0"), square("branch", "stem"), work("add", "add", "branch", "stem"), square("out", "add")
    ]  # fmt: skip
    bare = [{key: value for key, value in entry.items() if key != "inputs"} for entry in operations]
    software = Software(precision="amp")
    totals = []
    for entries in (operations, bare):
        trace = make_trace(*entries)
        kernels = kernels_of(trace, dense(trace, batch=8), software)
        totals.append((kernels.bytes.sum(), kernels.launches.sum()))
    assert totals[0] == totals[1]
