"""Work outside the products: what each kind reads and writes in FF and BP, counted by hand."""

from typing import get_args

import pytest
from platform_cases import linear, vector

import accelsim as acs
from accelsim.cost.charges import vector_numbers
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import VectorWork
from accelsim.sparsity.methods import find_method
from accelsim.workload.trace import Vector

# elements per sample, (read, written) in FF and in BP, of 1000 that the forward reads and 500 that it writes
WORK = {
    "norm": ((1000, 500), (2000, 1000)),  # dY and X for the two sums, and both again for dX
    "activation": ((1000, 500), (1000, 1000)),  # dY and Y
    "pooling": ((1000, 500), (500, 1000)),
    "add": ((1000, 500), None),  # the gradient passes on as it is
    "multiply": ((1000, 500), (1500, 1000)),  # both factors and dY
    "softmax": ((3000, 500), (2000, 1000)),  # largest, sum, quotient
    "embedding": ((1000, 500), (1000, 500)),  # dY and the rows it is added to
    "dropout": ((1000, 500), (1000, 1000)),  # dY and the mask
    "reduce": ((1000, 500), (500, 1000)),
    "loss": ((1000, 500), (1000, 1000)),  # logits alone
    "copy": ((1000, 500), (500, 1000)),
    "elementwise": ((1000, 500), (1500, 1000)),
}


def test_every_kind_is_pinned() -> None:
    assert set(WORK) == set(get_args(Vector.model_fields["kind"].annotation))


@pytest.mark.parametrize("kind", WORK)
def test_what_a_kind_moves(make_trace, sat, kind: str) -> None:
    forward, backward = WORK[kind]
    trace = make_trace(linear("first"), vector(kind, 1000, 500), linear("last"))
    step = lower(trace, sat, find_method("dense"), pattern=None, batch=4)
    found = [
        (task.direction, task.reads, task.writes, task.name) for task in step.tasks if isinstance(task, VectorWork)
    ]
    want = [("FF", 4 * forward[0], 4 * forward[1], kind)]
    want += [("BP", 4 * backward[0], 4 * backward[1], kind)] if backward else []
    assert found == want


@pytest.mark.parametrize(("windows", "repeats"), [(2250, 1250), (1000, 0), (500, 0)])
def test_a_pooling_moves_its_input_once_where_edges_say_how_large_that_is(
    make_trace, sat, windows: int, repeats: int
) -> None:
    """Windows that overlap, that do not, and that leave elements out; the unit takes every element of each window."""
    before, pool, after = linear("first"), vector("pooling", windows, 250), linear("last")
    source = vector("activation", 1000, 1000)
    edges = {"first": ["input:0"], "activation": ["first"], "pooling": ["activation"], "last": ["pooling"]}
    plain = [before, source, pool, after]
    moved = min(windows, 1000)
    for operations, want, again in (
        ([{**each, "inputs": edges[each["name"]]} for each in plain], moved, repeats),
        (plain, windows, 0),
    ):
        step = lower(make_trace(*operations), sat, find_method("dense"), pattern=None, batch=4)
        ff, bp = (task for task in step.tasks if isinstance(task, VectorWork) and task.operation == "pooling")
        assert (ff.reads, ff.writes, ff.repeats) == (4 * want, 4 * 250, 4 * again)
        assert (bp.reads, bp.writes, bp.repeats) == (4 * 250, 4 * want, 4 * again)
        for work in (ff, bp):
            assert vector_numbers(work) == (4 * (windows + 250), 4 * (want + 250))


def test_the_pool_of_a_shipped_stem_moves_its_input_once(sat) -> None:
    trace = acs.load_trace("resnet50_imagenet")
    step = lower(trace, sat, find_method("dense"), pattern=None, batch=1)
    (ff,) = (
        task
        for task in step.tasks
        if isinstance(task, VectorWork) and task.name == "maxpool" and task.direction == "FF"
    )
    assert (ff.reads, ff.writes) == (64 * 112 * 112, 64 * 56 * 56)
    assert ff.reads + ff.repeats == 9 * ff.writes
