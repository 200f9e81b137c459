"""The ways in which a product can run, and the step that a choice among them makes.

A product whose operand is pruned N:M runs in the mode of its pattern, in a denser mode that covers it, or dense. Pruned
weights are the same in all of these: the copy that SORE makes holds them in the form that is read, zeros included, so
the method computes what it did. Output gradients are pruned for speed alone, in front of a product: where that one runs
dense they are taken whole, nothing is generated, and the step is closer to dense training than the method (a note says
so). A batch of products of one column each (`count` > 1, n = 1) of a weight, as FF, BP and WU of a depthwise
convolution are, can run on the vector unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from accelsim.lowering.tasks import Gemm, Generation, Note, Stage, Step, Task, Way
from accelsim.sparsity.methods import Operand
from accelsim.sparsity.pattern import Pattern, covering_modes

__all__ = [
    "WayGroup",
    "as_lowered",
    "in_way",
    "in_ways",
    "least_macs",
    "own_way",
    "products_of",
    "suits_vector_unit",
    "ways_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WayGroup:
    """GEMMs, by their places among the tasks, that run in one way: those that read the same copy of a weight, or one by
    itself. `copy`: the generation that makes what they read, if this step does. `ways`: their own first."""

    gemms: tuple[int, ...]
    copy: int | None
    ways: tuple[Way, ...]


def own_way(gemm: Gemm) -> Way:
    """Return the way that a GEMM was lowered for: in the mode of its mask, on the array."""
    return Way(gemm.mask)


def suits_vector_unit(gemm: Gemm) -> bool:
    """Say whether a GEMM is a batch of products of one column each of a weight that is not pruned.

    So are FF, BP and WU of a depthwise convolution: one result channel for each of `count` groups.
    """
    return gemm.count > 1 and gemm.n == 1 and gemm.tensor is not None and gemm.mask is None


def ways_of(gemm: Gemm, modes: frozenset[Pattern], *, vector: bool) -> tuple[Way, ...]:
    """Return the ways in which a GEMM can run on an array with these `modes`, its own first, then the sparsest.

    Of covering modes of one density that of the same groups is tried alone, where there is one: others cost more to
    store and as much to run. `vector`: the vector unit multiplies as well.
    """
    if gemm.mask is not None:
        return _ways_of_mask(gemm.mask, modes)
    return (own_way(gemm), Way(None, on_vector=True)) if vector and suits_vector_unit(gemm) else (own_way(gemm),)


@cache
def _ways_of_mask(mask: Pattern, modes: frozenset[Pattern]) -> tuple[Way, ...]:
    covering = covering_modes(mask, modes)
    same_groups = {mode.density for mode in covering if mode.group == mask.group}
    tried = (mode for mode in covering if mode.group == mask.group or mode.density not in same_groups)
    return (Way(mask), *map(Way, tried), Way(None))


def products_of(step: Step, modes: frozenset[Pattern], *, vector: bool) -> tuple[WayGroup, ...]:
    """Return the products of a step, as it was lowered, that can run in several ways."""
    copies: dict[object, int] = {
        (task.tensor, task.reader, task.pattern): index
        for index, task in enumerate(step.tasks)
        if isinstance(task, Generation)
    }
    alike: dict[object, list[int]] = {}
    for index, task in enumerate(step.tasks):
        if isinstance(task, Gemm) and (task.mask is not None or (vector and suits_vector_unit(task))):
            key = (task.tensor, task.form, task.mask)
            alike.setdefault(key if _reads_copy(task) else index, []).append(index)
    return tuple(
        WayGroup(gemms=tuple(gemms), copy=copies.get(key), ways=ways)
        for key, gemms in alike.items()
        if len(ways := ways_of(_gemm_at(step.tasks, gemms[0]), modes, vector=vector)) > 1
    )


def _reads_copy(gemm: Gemm) -> bool:
    return gemm.mask is not None and gemm.w_operand is Operand.WEIGHT


def _gemm_at(tasks: Sequence[Task], index: int) -> Gemm:
    task = tasks[index]
    assert isinstance(task, Gemm), "GEMMs only"
    return task


def in_way(gemm: Gemm, way: Way) -> Gemm:
    """Return a GEMM, as it was lowered, run in some way; k is padded to whole groups of that mode alone."""
    if way == own_way(gemm):
        return gemm
    if way.on_vector:
        return replace(gemm, on_vector=True)
    k = gemm.k
    if gemm.channels and gemm.mask is not None:
        k = k // _whole(gemm.channels, gemm.mask) * _whole(gemm.channels, way.pattern)
    transposed = gemm.w_operand is Operand.GRADIENT and gemm.form is not Stage.WU
    sides = gemm.m * k, k * gemm.n
    if gemm.form is Stage.WU:
        elements = gemm.x_elements, gemm.w_elements
    elif transposed:
        elements = sides[0], min(sides[1], gemm.w_elements)
    else:
        elements = min(sides[0], gemm.x_elements), sides[1]
    found = replace(gemm, k=k, pattern=way.pattern, x_elements=elements[0], w_elements=elements[1])
    if gemm.w_operand is not Operand.GRADIENT or way.pattern is not None:
        return found
    if not transposed:
        return replace(found, mask=None)
    return replace(
        found, m=gemm.n, n=gemm.m, x_elements=elements[1], w_elements=elements[0], w_operand=Operand.WEIGHT, mask=None
    )


def _whole(channels: int, pattern: Pattern | None) -> int:
    return channels if pattern is None else -(-channels // pattern.group) * pattern.group


def least_macs(gemm: Gemm, way: Way) -> float:
    """Multiply-accumulates that a GEMM, as it was lowered, takes at least in some way of the array."""
    k = gemm.k
    if gemm.channels and gemm.mask is not None:
        k = k // _whole(gemm.channels, gemm.mask) * gemm.channels
    return gemm.count * gemm.m * gemm.n * k * (1.0 if way.pattern is None else way.pattern.density)


def in_ways(step: Step, ways: Mapping[int, Way]) -> Step:
    """Return a step, as it was lowered, with GEMMs, by their places, in other ways, and the copies that they read."""
    found = {
        index: way
        for index, way in ways.items()
        if index < len(step.tasks) and isinstance(task := step.tasks[index], Gemm) and way != own_way(task)
    }
    if not found:
        return step
    tasks, read = list(step.tasks), dict[object, Pattern | None]()
    for index, way in found.items():
        gemm = _gemm_at(step.tasks, index)
        tasks[index] = in_way(gemm, way)
        if _reads_copy(gemm):
            read[gemm.tensor, gemm.form, gemm.mask] = way.pattern
    for index, task in enumerate(tasks):
        if isinstance(task, Generation) and (key := (task.tensor, task.reader, task.pattern)) in read:
            tasks[index] = replace(task, mode=read[key])
    notes = dict.fromkeys((*step.notes, *_notes(step.tasks, found)))
    return replace(step, tasks=tuple(tasks), notes=tuple(notes), ways=frozenset(found.items()), lowered=step)


def as_lowered(step: Step) -> Step:
    """Return a step with all of its products in the ways that they were lowered for."""
    return step if step.lowered is None else step.lowered


def _notes(tasks: Sequence[Task], ways: Mapping[int, Way]) -> Iterator[Note]:
    """Say what runs otherwise than its mask suggests."""
    for index, way in sorted(ways.items()):
        gemm = _gemm_at(tasks, index)
        yield Note(operation=gemm.operation, stage=gemm.stage, text=_text(gemm, way))


def _text(gemm: Gemm, way: Way) -> str:
    if way.on_vector:
        return "runs on the vector unit, faster there than on the array"
    faster = f"faster here than in the {gemm.mask} mode"
    if way.pattern is not None:
        return f"{gemm.mask} runs in the {way.pattern} mode, which covers it, {faster}"
    if gemm.w_operand is Operand.GRADIENT:
        return f"kept dense, {faster}; its gradients are not pruned, which is closer to dense training"
    return f"kept dense, zeros of its mask included, {faster}"
