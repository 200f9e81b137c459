"""Whether a design can execute a plan: mappings, buffers, placement of copies, what stays on the chip, order.

The scheduler's plans are right by construction. These checks are for plans that someone wrote, or that were made for
another step or design.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from math import prod

from accelsim.base.errors import InfeasibleError, InputError
from accelsim.base.files import errors_of
from accelsim.cost.compiled.values import MachineNumbers
from accelsim.cost.gemm import gemm_numbers, machine_numbers
from accelsim.hardware.design import Design
from accelsim.lowering.tasks import Gemm, Generation, Step, Update, VectorWork
from accelsim.schedule.edges import Edge, edges_of
from accelsim.schedule.mapping import buffer_needs
from accelsim.schedule.overlap import waits_of
from accelsim.schedule.plan import DIMENSIONS, IM2COL, Mapping, Plan, copies_of, readers_of
from accelsim.sparsity.methods import Operand, case_name
from accelsim.workload.names import unique_names

__all__ = ["Problem", "check_plan", "problems_of", "raise_problems", "task_label", "task_names"]

_SHOWN_IN_CYCLE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with a plan; `task` where it is about one. `room`: a buffer is too small for it."""

    text: str
    task: int | None = None
    room: bool = False


def check_plan(plan: Plan, step: Step, design: Design) -> None:
    """Refuse a plan of another step than `step`, and one that `design` cannot execute.

    Raises `InputError` listing everything that is wrong, `InfeasibleError` where it is only that buffers are too small.
    """
    if plan.step != step:
        raise InputError(f"the plan: made for another step than this one ({_about(plan.step)}; {_about(step)})")
    raise_problems("the plan", step, list(problems_of(plan, design)))


def raise_problems(source: str, step: Step, problems: Sequence[Problem]) -> None:
    """Raise one error with a line for each problem, if there is any; see `check_plan`."""
    if not problems:
        return
    names = task_names(step)
    lines = [
        f"{source}: {item.text}" if item.task is None else f"{source}: {task_label(*names[item.task])}: {item.text}"
        for item in problems
    ]
    error = errors_of(source, lines)
    raise InfeasibleError(str(error)) if all(item.room for item in problems) else error


def task_names(step: Step) -> tuple[tuple[str, str], ...]:
    """Return a name and a stage for each task of a step, as in results; no two tasks have both in common."""
    given = []
    for task in step.tasks:
        suffix = f"[{task.direction}]" if isinstance(task, VectorWork) else ""
        given.append(f"{task.stage} {task.name}{suffix}")
    pairs = (name.split(" ", 1) for name in unique_names(given))
    return tuple((name, stage) for stage, name in pairs)


def task_label(name: str, stage: str) -> str:
    """Return how messages name a task."""
    return f"'{name}' ({stage})"


def _about(step: Step) -> str:
    case = case_name(step.method, step.pattern)
    return f"{step.model}, {case}, batch {step.batch}, {step.mode}, {len(step.tasks)} tasks"


def problems_of(plan: Plan, design: Design, *, complete: bool = True) -> Iterator[Problem]:
    """Yield everything that keeps `design` from executing `plan`.

    A plan that is not `complete` lacks tasks in its order; of it only those that it has are looked at, each by itself.
    """
    machine = machine_numbers(design)
    edges = edges_of(plan.step, range(len(plan.step.tasks)), design)
    if plan.overlap and not design.schedule.overlap:
        yield Problem(text="overlap: tasks run one after another on this design (schedule.overlap)")
    for index in plan.order:
        yield from _of_task(plan, index, design, machine, edges)
    if complete:
        yield from _of_placement(plan, design)
        yield from _of_order(plan, edges)
        yield from _of_room(plan, edges, design)


def _of_task(
    plan: Plan, index: int, design: Design, machine: MachineNumbers, edges: Collection[int]
) -> Iterator[Problem]:
    """What is wrong with the decisions about one task by themselves."""
    task, mapping = plan.step.tasks[index], plan.mappings[index]
    if isinstance(task, Gemm):
        yield from _of_gemm(plan, index, task, design, machine)
    else:
        if mapping is not None:
            yield Problem(task=index, text="mapping: only a GEMM has one")
        if index in plan.online:
            yield Problem(task=index, text="online: only in front of a GEMM")
    if index in plan.ahead and not isinstance(task, Generation):
        yield Problem(task=index, text="ahead: only a generation runs ahead of its readers")
    if isinstance(task, Generation) and any(later == index for later, _ in plan.also_after):
        yield Problem(task=index, text="after: it runs in the stream of its update; say what that one waits for")
    if index in plan.resident and index not in edges:
        reader = f"the next task, {_label(plan.step, index + 1)}" if index + 1 < len(plan.step.tasks) else "a next task"
        yield Problem(task=index, text=f"resident: it hands nothing to {reader}")


def _of_gemm(plan: Plan, index: int, gemm: Gemm, design: Design, machine: MachineNumbers) -> Iterator[Problem]:
    mapping = plan.mappings[index]
    if mapping is None:
        yield Problem(task=index, text="a GEMM needs a mapping")
    else:
        about = (*_dataflow_problems(gemm, mapping, design), *_interleave_problems(mapping, design))
        for text in (*about, *_im2col_problems(gemm, mapping)):
            yield Problem(task=index, text=text)
        too_large = list(_tile_problems(gemm, mapping))
        for text in too_large or _shortages(gemm, mapping, design, machine):
            yield Problem(task=index, text=text, room=not too_large)
    if index in plan.online and gemm.pattern is None:
        yield Problem(task=index, text="online: the GEMM is dense, there is nothing to generate")


def _label(step: Step, index: int) -> str:
    return task_label(*task_names(step)[index])


def _dataflow_problems(gemm: Gemm, mapping: Mapping, design: Design) -> Iterator[str]:
    array, allowed = design.array, design.schedule.dataflow
    flow = mapping.dataflow
    if flow not in array.dataflows:
        yield f"dataflow {flow}: the array has {', '.join(array.dataflows)} (array.dataflows)"
    elif allowed not in {"auto", flow}:
        yield f"dataflow {flow}: the design runs {allowed} alone (schedule.dataflow)"
    else:
        yield from _variant_problems(gemm, mapping, design)


def _tile_problems(gemm: Gemm, mapping: Mapping) -> Iterator[str]:
    for letter, whole, part in zip(DIMENSIONS, (gemm.m, gemm.n, gemm.k), mapping.tile, strict=True):
        if not 1 <= part <= whole:
            yield f"tile: {letter} = {part}; allowed: 1 to {whole}"
    group = gemm.pattern.group if gemm.pattern else 1
    if mapping.tile[2] < gemm.k and mapping.tile[2] % group:
        yield f"tile: k = {mapping.tile[2]} cuts groups of {group}; allowed: multiples of {group}, or all {gemm.k}"


def _variant_problems(gemm: Gemm, mapping: Mapping, design: Design) -> Iterator[str]:
    flow, variant = mapping.dataflow, mapping.variant
    if flow == "os":
        if variant is not None:
            yield f"variant {variant}: os has no variants"
        return
    legal = [name for name in design.array.stationary_variants if (flow, name) != ("is", "flat")]
    if gemm.pattern is None:
        legal = ["split"]
    if variant not in legal:
        why = "dense, the variants are one machine" if gemm.pattern is None else "array.stationary_variants"
        has = ", ".join(legal) or "none"
        yield f"variant {'missing' if variant is None else variant}: {flow} has {has} here ({why})"


def _im2col_problems(gemm: Gemm, mapping: Mapping) -> Iterator[str]:
    if gemm.window is None and mapping.im2col is not None:
        yield f"im2col {mapping.im2col}: no operand has windows that share pixels"
    elif gemm.window is not None and mapping.im2col not in IM2COL:
        got = "missing" if mapping.im2col is None else mapping.im2col
        letter = gemm.window.windows
        yield f"im2col {got}: what stands outermost along {letter}, {' or '.join(IM2COL)}, is needed"


def _interleave_problems(mapping: Mapping, design: Design) -> Iterator[str]:
    flow, accumulators = mapping.dataflow, design.array.accumulators_per_pe
    factors = {"ia": mapping.ia, "ib": mapping.ib, "split": mapping.split_k}
    used = ("ia", "ib", "split") if flow == "os" else ("ia",) if mapping.variant == "chain" else ()
    machine = flow if mapping.variant is None else f"{flow} {mapping.variant}"
    for name in [name for name, value in factors.items() if name not in used and value != 1]:
        yield f"{name} = {factors[name]}: {machine} does not use it, 1 is needed"
    total = prod(factors[name] for name in used)
    shown = " x ".join(str(factors[name]) for name in used) + (f" = {total}" if len(used) > 1 else "")
    if total > 1 and not design.schedule.interleave:
        yield f"interleave {shown}: the design does not interleave, 1 is needed (schedule.interleave)"
    elif total > accumulators:
        yield f"interleave {shown}: a PE has {accumulators} accumulators (array.accumulators_per_pe)"


def _shortages(gemm: Gemm, mapping: Mapping, design: Design, machine: MachineNumbers) -> Iterator[str]:
    numbers = gemm_numbers(gemm, design, online=False)
    for field, need, have in buffer_needs(numbers, mapping.tile, machine):
        if need > have * (1 + 1e-12):
            yield (
                f"tile {' x '.join(str(size) for size in mapping.tile)} held twice needs {need:.0f} bytes of {field},"
                f" which has {have:.0f}: {need - have:.0f} bytes are missing"
            )


def _of_placement(plan: Plan, design: Design) -> Iterator[Problem]:
    """Each sparse operand is generated once: ahead, or in front of the GEMM; gradients cannot be generated ahead."""
    step = plan.step
    copy_of = {reader: copy for copy, readers in readers_of(step).items() for reader in readers}
    for index in plan.order:
        task = step.tasks[index]
        if isinstance(task, Update):
            yield from _of_copies(plan, index, design)
        if isinstance(task, Gemm) and task.pattern is not None:
            text = _why_not_there(plan, index, task, copy_of.get(index), design)
            if text:
                yield Problem(task=index, text=text)


def _why_not_there(plan: Plan, index: int, gemm: Gemm, copy: int | None, design: Design) -> str | None:
    """Say why the sparse operand of a GEMM would not be there, or would be there twice."""
    online = index in plan.online
    if gemm.w_operand is Operand.GRADIENT:
        return None if online else "its pruned operand is a gradient, so it must be online"
    if copy is None:  # of a weight that this step does not update
        there = online or design.schedule.pregenerate
        return None if there else "the design generates no copy ahead (schedule.pregenerate), so it must be online"
    if online is (copy not in plan.ahead):
        return None
    if online:
        return f"online: its copy, {_label(plan.step, copy)}, is generated ahead already"
    return f"its copy, {_label(plan.step, copy)}, is not generated ahead, so it must be online"


def _of_copies(plan: Plan, update: int, design: Design) -> Iterator[Problem]:
    """The copies of a weight that are generated ahead; one that needs no pass of its own comes of the first one's."""
    first = copies_of(plan.step, update)[:1]
    for copy in plan.copies_behind(update):
        task = plan.step.tasks[copy]
        if not design.schedule.pregenerate:
            yield Problem(task=copy, text="ahead: the design generates no copy ahead (schedule.pregenerate)")
        elif isinstance(task, Generation) and task.passes == 0 and not plan.ahead.issuperset(first):
            text = f"ahead: it comes of the pass for {_label(plan.step, first[0])}, which is not ahead"
            yield Problem(task=copy, text=text)


def _of_order(plan: Plan, edges: dict[int, Edge]) -> Iterator[Problem]:
    """Tasks stand behind all that they wait for, also where units overlap: each unit takes its tasks in this order."""
    kept = {index: edges[index] for index in plan.resident & edges.keys()}
    waits = waits_of(plan.step, kept, plan.also_after)
    try:
        TopologicalSorter(dict(enumerate(waits))).prepare()
    except CycleError as error:
        yield Problem(text=f"tasks wait for each other: {_cycle(plan, error.args[1][:0:-1])}")
        return
    position = {index: at for at, index in enumerate(plan.order)}
    for index in plan.order:
        for other in waits[index]:
            if position[other] > position[index]:
                yield Problem(task=index, text=f"it stands before {_label(plan.step, other)}, which it waits for")


def _cycle(plan: Plan, tasks: Sequence[int]) -> str:
    """Name tasks of which each waits for the next, and the last for the first; begin where the plan asked for it."""
    pairs = list(zip(tasks, [*tasks[1:], tasks[0]], strict=True))
    start = next((at for at, pair in enumerate(pairs) if pair in plan.also_after), 0)
    labels = [_label(plan.step, index) for index in (*tasks[start:], *tasks[:start])]
    more = len(labels) - _SHOWN_IN_CYCLE
    if more > 1:
        labels[_SHOWN_IN_CYCLE - 1 : -1] = [f"{more} others, the last of which"]
    return " waits for ".join([*labels, labels[0]])


def _of_room(plan: Plan, edges: dict[int, Edge], design: Design) -> Iterator[Problem]:
    """What is on the chip while a task runs, in the order of the plan, fits there."""
    room = design.buffers.resident_bytes
    there: dict[int, Edge] = {}  # by consumer
    for index in plan.order:
        if index in plan.resident and index in edges:
            need = edges[index].size + sum(edge.size for edge in there.values())
            if need > room:
                others = [_label(plan.step, edge.producer) for edge in there.values()]
                beside = f" with the result of {' and '.join(others)}" if others else ""
                yield Problem(
                    task=index,
                    text=f"resident: its result needs {need} bytes{beside} of buffers.resident_bytes, which has {room}:"
                    f" {need - room} bytes are missing",
                    room=True,
                )
            there[edges[index].consumer] = edges[index]
        there.pop(index, None)
