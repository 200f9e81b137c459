"""What stays on the chip follows the edges of a trace, not sizes that happen to be equal."""

import pytest
from graphs import square, work

from accelsim.hardware.design import Design, load_design
from accelsim.lowering.case import case_of
from accelsim.schedule.edges import edges_of
from accelsim.schedule.plan import Plan
from accelsim.simulation import plan_step
from accelsim.workload.trace import Trace

BATCH = 64


@pytest.fixture
def roomy() -> Design:
    return load_design("sat_vcu1525", {"schedule.scheduler": "optimal"})


def planned(trace: Trace, design: Design) -> Plan:
    return plan_step(trace, design, case_of(method="dense", batch=BATCH))


def handed(trace: Trace, design: Design, *, kept: bool = False) -> set[tuple[str, str]]:
    """Pairs of tasks, of products and vector work, whose tensor may stay on the chip, or with `kept` does."""
    plan = planned(trace, design)
    names = [(task.name, getattr(task, "direction", task.stage)) for task in plan.step.tasks]
    edges = edges_of(plan.step, plan.order, design)
    found = (edges[producer] for producer in (plan.resident if kept else edges))
    return {(" ".join(names[edge.producer]), " ".join(names[edge.consumer])) for edge in found if edge.stored}


def without_edges(trace: Trace) -> Trace:
    plain = tuple(operation.model_copy(update={"inputs": None}) for operation in trace.operations)
    return trace.model_copy(update={"operations": plain})


def test_a_projection_is_not_kept_for_the_next_one(make_trace, roomy) -> None:
    """Queries and keys are of one size and read the same; the one is no operand of the other."""
    trace = make_trace(square("q", "input:0"), square("k", "input:0"), work("mix", "multiply", "q", "k"))
    assert handed(without_edges(trace), roomy, kept=True) == {("q FF", "k FF"), ("k FF", "mix FF")}
    assert handed(trace, roomy, kept=True) == {("k FF", "mix FF")}


def test_cutting_an_edge_changes_what_stays(make_trace, roomy) -> None:
    chain = [square("a", "input:0"), square("b", "a"), square("c", "b")]
    cut = [*chain[:2], square("c", "a")]
    whole, parted = (handed(make_trace(*operations), roomy, kept=True) for operations in (chain, cut))
    assert whole == {("a FF", "b FF"), ("b FF", "c FF")}
    assert parted == {("a FF", "b FF"), ("b BP", "a[sum] BP")}
    assert handed(without_edges(make_trace(*cut)), roomy, kept=True) == whole  # sizes tell no difference


def test_a_sum_of_gradients_takes_the_last_of_them_from_the_chip(make_trace, roomy) -> None:
    trace = make_trace(
        square("stem", "input:0"), square("branch", "stem"), work("add", "add", "branch", "stem"), square("out", "add")
    )
    assert {("branch BP", "stem[sum] BP"), ("stem FF", "branch FF"), ("branch FF", "add FF")} <= handed(trace, roomy)


def test_the_right_factor_of_a_product_is_no_stream(make_trace, roomy) -> None:
    """What stays on the chip comes in at the row ports, so only the left factor is taken from there."""
    product = {"kind": "matmul", "name": "product", "m": 8, "n": 8, "k": 8}
    for left, right, stays in (("b", "a", True), ("a", "b", False)):
        trace = make_trace(
            square("a", "input:0"), square("b", "a"), {**product, "inputs": [left, right]}, square("out", "product")
        )
        assert (("b FF", "product FF") in handed(trace, roomy)) is stays


def test_a_graph_of_one_chain_is_planned_alike_with_edges_and_without(make_trace, roomy) -> None:
    trace = make_trace(
        square("a", "input:0"), work("norm", "norm", "a"), work("relu", "activation", "norm"), square("b", "relu"),
        square("c", "b"),
    )  # fmt: skip
    plans = [planned(each, roomy) for each in (trace, without_edges(trace))]
    assert plans[0].resident == plans[1].resident
    assert plans[0].mappings == plans[1].mappings
