"""What a step needs of the DRAM, walked task by task; and what is said of one that needs more than there is."""

from dataclasses import replace

import pytest
from graphs import PARAMETERS, SIZE, graphs, square, trace_of, work
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.base.errors import InfeasibleError, InputError
from accelsim.hardware.design import Design, load_design
from accelsim.lowering.builder import lower_case
from accelsim.lowering.case import Case, case_of
from accelsim.lowering.step_memory import StepMemory
from accelsim.lowering.tasks import Gemm, Stage, Step, Task, Update, VectorWork
from accelsim.schedule.capacity import memory_of_plan, parts_needed
from accelsim.schedule.offline import greedy_outline
from accelsim.simulation import fewest_parts, plan_step
from accelsim.workload.trace import Trace

RESNET9 = acs.load_trace("resnet9_cifar10")


def with_room(gb: float, **changes: object) -> Design:
    return load_design("sat_vcu1525", {"dram.capacity_gb": gb, **changes})


def needed(trace: Trace, design: Design, case: Case) -> StepMemory:
    return memory_of_plan(greedy_outline(lower_case(trace, design, case), design), design, case)


class Walk:
    """Runs a dense step task by task with what is in DRAM: `most` bytes at once of all but weights and what the
    optimizer keeps. Who reads what is told from the operations, not from the step."""

    def __init__(self, operations: list[dict], step: Step, batch: int) -> None:
        self.entries = {entry["name"]: entry for entry in operations}
        self.turns = [*reversed(self.entries)]  # of BP
        self.gradient: dict[str, list[str]] = {}  # tensors that are to be summed to the gradient of a result
        made_and_read = [self.of_task(task) for task in step.tasks]
        last = {name: at for at, (_, read) in enumerate(made_and_read) for name in read}
        there, self.most = {"input:0"} & last.keys(), 0
        for at, (made, _) in enumerate(made_and_read):
            there.update(made)
            self.most = max(
                self.most, sum(4 * SIZE * SIZE if name.startswith("dW ") else 2 * batch * SIZE for name in there)
            )
            there = {name for name in there if last.get(name, -1) > at}

    def of_task(self, task: Task) -> tuple[list[str], list[str]]:
        """What a task writes and reads."""
        if isinstance(task, Update):
            return [], [f"dW {task.operation}"]
        assert isinstance(task, Gemm | VectorWork)
        entry = self.entries[task.operation]
        if (task.direction if isinstance(task, VectorWork) else task.stage) == "FF":
            return [task.operation], entry["inputs"]
        if isinstance(task, VectorWork) and task.sums:
            while len(self.gradient.get(task.operation, [])) < 2:
                self.pass_on()
            first, second, *rest = self.gradient[task.operation]
            self.gradient[task.operation] = [task.name, *rest]
            return [task.name], [first, second]
        while task.operation in self.turns:
            self.pass_on()
        gradient = self.gradient.get(task.operation, [])
        if isinstance(task, Gemm) and task.stage is Stage.WU:
            return [f"dW {task.operation}"], [*entry["inputs"], *gradient]
        made = [f"d {task.operation} {place}" for place in range(len(entry["inputs"]))]
        for source, tensor in zip(entry["inputs"], made, strict=True):
            self.gradient.setdefault(source, []).append(tensor)
        kept = entry["inputs"] if entry["kind"] in {"norm", "activation", "multiply"} else []
        return made, [*gradient, *kept]

    def pass_on(self) -> None:
        """Have the next turn of BP; an addition has no task in it, its gradient is that of both its operands."""
        name = self.turns.pop(0)
        if self.entries[name]["kind"] == "add":
            for source in self.entries[name]["inputs"]:
                self.gradient.setdefault(source, []).extend(self.gradient.get(name, []))


@pytest.mark.parametrize("mode", ["train", "infer"])
@settings(max_examples=80, deadline=None)
@given(operations=graphs(), batch=st.integers(1, 40))
def test_memory_of_random_graphs_is_what_a_walk_finds(mode: str, operations: list[dict], batch: int) -> None:
    design = with_room(64, **{"vector.fuse_activations": False})
    case = case_of(method="dense", batch=batch, mode=mode)
    memory = needed(trace_of(operations), design, case)
    assert (
        memory.activations + memory.gradients
        == Walk(operations, lower_case(trace_of(operations), design, case), batch).most
    )
    trained = SIZE * SIZE * sum(entry["kind"] == "linear" for entry in operations) * (mode == "train")
    assert (memory.weights, memory.masters, memory.state) == (2 * PARAMETERS, 4 * trained, 4 * trained)


def test_a_chain_by_hand() -> None:
    """Results that BP needs: the operands of both products and of the norm, under which the activation rides."""
    chain = [square("a", "input:0"), work("norm", "norm", "a"), work("relu", "activation", "norm"), square("b", "relu")]
    memory = needed(trace_of(chain), with_room(64), case_of(method="dense", batch=100))
    one, weight = 2 * 100 * SIZE, 4 * SIZE * SIZE
    # when BP of the norm runs: input, a, with the gradients of relu and of a; when WU of b does, three and its gradient
    assert (memory.activations, memory.gradients) == max((2 * one, 2 * one), (3 * one, one + weight), key=sum)
    assert (
        needed(trace_of(chain), with_room(64), case_of(method="dense", batch=100, optimizer="adam")).state == 4 * weight
    )


def test_recomputed_results_are_not_kept() -> None:
    def chain(**changes: object) -> Trace:
        middle = [square(f"m{at}", f"m{at - 1}" if at else "first", **changes) for at in range(6)]
        return trace_of([square("first", "input:0"), *middle, square("last", "m5")])

    kept, dropped = (
        needed(chain(recomputed=recomputed), with_room(64), case_of(method="dense", batch=1000)).activations
        for recomputed in (False, True)
    )
    one = 2 * 1000 * SIZE
    assert (kept, dropped) == (8 * one, 3 * one)  # input, first, and one of the middle at a time


def test_compact_copies_take_the_place_of_dense_weights() -> None:
    dense, sparse, online = (
        needed(RESNET9, with_room(64, **{"schedule.pregenerate": ahead}), case_of(method=method, batch=8)).weights
        for method, ahead in (("dense", True), ("bdwp", True), ("bdwp", False))
    )
    assert dense == online == 2 * RESNET9.parameters
    compact = sum(
        elements for name, (elements, _) in RESNET9.tensors.items()
        if elements > 1000 and name not in {"prep.0.weight", "classifier.weight"}
    )  # fmt: skip
    left = RESNET9.parameters - compact
    assert sparse == pytest.approx(2 * left + compact * 2 * (2 * 19 / 8 / 8), rel=0.01)  # 16 + 3 bits of 2 in 8, twice


def test_without_edges_every_result_is_kept_until_its_backward(make_trace) -> None:
    trace = make_trace(*({k: v for k, v in entry.items() if k != "inputs"} for entry in
                         (square("a"), work("copy", "copy", "a"), square("b"))))  # fmt: skip
    case = case_of(method="dense", batch=10)
    with_edges = trace_of([square("a", "input:0"), work("copy", "copy", "a"), square("b", "copy")])
    one = 2 * 10 * SIZE
    assert needed(with_edges, with_room(64), case).activations == 2 * one  # input and copy
    assert (
        needed(trace, with_room(64), case).activations == 3 * one + 2 * 10 * 3 * 32 * 32
    )  # all of them, and the input


def refusal(design: Design, case: Case, trace: Trace = RESNET9) -> str:
    with pytest.raises(InfeasibleError) as error:
        plan_step(trace, design, case)
    return str(error.value)


def test_the_error_names_bytes_capacity_batch_and_parts() -> None:
    assert refusal(with_room(0.2), case_of(batch=512)) == (
        "resnet9_cifar10, bdwp 2:8: a step of 512 samples needs 701 MB of DRAM (7.81 MB weights, 26.3 MB masters, 26.3"
        " MB state, 134 MB gradients, 506 MB activations); sat_vcu1525 + dram.capacity_gb 0.2 has 200 MB"
        " (dram.capacity_gb), enough for 105 samples: lower the batch (--batch 105) or run it in parts (--accumulate 8)"
    )
    assert refusal(with_room(0.2), case_of(batch=512, accumulate=2)) == (
        "resnet9_cifar10, bdwp 2:8: a step of 512 samples in 2 parts needs 407 MB of DRAM (7.81 MB weights, 26.3 MB"
        " masters, 26.3 MB state, 93.4 MB gradients, 253 MB activations); sat_vcu1525 + dram.capacity_gb 0.2 has 200 MB"
        " (dram.capacity_gb), enough for 166 samples in 2 parts: lower the batch (--batch 166) or run it in parts"
        " (--accumulate 8)"
    )
    assert refusal(with_room(0.05), case_of(batch=512)) == (
        "resnet9_cifar10, bdwp 2:8: a step of 512 samples needs 701 MB of DRAM (7.81 MB weights, 26.3 MB masters, 26.3"
        " MB state, 134 MB gradients, 506 MB activations); sat_vcu1525 + dram.capacity_gb 0.05 has 50.0 MB"
        " (dram.capacity_gb); one sample alone needs 76.4 MB"
    )
    assert refusal(with_room(0.1), case_of(batch=512, mode="infer")).endswith(
        " (dram.capacity_gb), enough for 165 samples: lower the batch (--batch 165)"
    )


@pytest.mark.parametrize("gb", [0.1, 0.2, 0.33, 0.69])
@pytest.mark.parametrize("method", ["dense", "bdwp", "sdgp"])
def test_the_largest_batch_fits_and_one_sample_more_does_not(gb: float, method: str) -> None:
    design = with_room(gb)
    text = refusal(design, case_of(method=method, batch=512))
    largest = int(text.split("--batch ")[1].split(")")[0])
    fitting = acs.simulate(RESNET9, design, method=method, batch=largest)
    assert max(fitting.memory.total, (fitting.dense or fitting).memory.total) <= gb * 1e9
    with pytest.raises(InfeasibleError, match=f"a step of {largest + 1} samples needs"):
        acs.simulate(RESNET9, design, method=method, batch=largest + 1)


@pytest.mark.parametrize("batch", [509, 510, 512])
def test_the_parts_are_the_fewest_equal_ones_that_fit(batch: int) -> None:
    design, case = with_room(0.25), case_of(batch=batch)
    parts = parts_needed(design, case, lambda other: lower_case(RESNET9, design, other))
    fitting = [
        number
        for number in range(1, batch + 1)
        if batch % number == 0
        and needed(RESNET9, design, replace(case.dense, accumulate=number)).total <= design.dram.capacity_gb * 1e9
    ]  # the dense step needs more
    assert parts == fitting[0] == fewest_parts(RESNET9, design, [case])
    assert f"(--accumulate {parts})" in refusal(design, case)
    found = acs.simulate(RESNET9, design, batch=batch, accumulate=parts)
    assert max(found.memory.total, found.dense.memory.total) <= 0.25e9


def test_what_fits_is_not_changed_by_the_capacity() -> None:
    one, other = (acs.simulate(RESNET9, with_room(gb), batch=64) for gb in (0.16, 68.72))
    assert one.step == other.step
    assert one.memory == other.memory


def test_the_dense_step_has_to_fit_as_well() -> None:
    """It has no compact copies: 5 MB more."""
    with pytest.raises(InfeasibleError, match=r"^resnet9_cifar10, dense: a step of 64 samples needs 151 MB of DRAM"):
        acs.simulate(RESNET9, with_room(0.148), batch=64)


@pytest.mark.parametrize("engine", ["closed", "event"])
def test_no_plan_needs_more_than_there_is(engine: str) -> None:
    """An order of tasks that runs ahead would keep more at once; it is not taken where there is no room for it."""
    case = case_of(batch=8, engine=engine)
    roomy = with_room(64, **{"schedule.scheduler": "optimal"})
    in_order = needed(RESNET9, roomy, case).total
    tight = with_room(in_order / 1e9, **{"schedule.scheduler": "optimal"})
    plan = plan_step(RESNET9, tight, case)
    assert plan.memory == memory_of_plan(plan, tight, case)
    assert plan.memory.total <= in_order


def test_a_plan_of_ones_own_is_checked_in_its_own_order() -> None:
    design, case = with_room(64), case_of(batch=64)
    plan = plan_step(RESNET9, design, case)
    with pytest.raises(InfeasibleError, match="has 100 MB"):
        plan_step(RESNET9, with_room(0.1), case, plan=plan)


@pytest.mark.parametrize(
    ("batch", "parts", "message"),
    [
        (512, 3, "accumulate: got 3; equal parts of a batch of 512 are needed, as 1, 2, 4"),
        (512, 0, "accumulate: got 0; equal parts of a batch of 512 are needed, as 1, 2, 4"),
        (512, -1, "accumulate: got -1; equal parts of a batch of 512 are needed, as 1, 2, 4"),
        (6, 7, "accumulate: got 7; equal parts of a batch of 6 are needed, as 2, 3, 6"),
    ],
)
def test_parts_that_cannot_be(batch: int, parts: int, message: str) -> None:
    with pytest.raises(InputError) as error:
        case_of(batch=batch, accumulate=parts)
    assert str(error.value) == message


def test_a_forward_pass_has_no_parts() -> None:
    with pytest.raises(InputError) as error:
        case_of(batch=512, accumulate=2, mode="infer")
    assert str(error.value) == ("accumulate: got 2; a forward pass has no gradients that could accumulate over parts")
