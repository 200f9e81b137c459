"""The plan: everything that is decided before a step runs. Engines execute plans and decide nothing.

For each GEMM its mapping and whether SORE generates its sparse operand in front of it; for the whole step the order of
tasks, what stays on the chip from one task to the next, and whether units work side by side.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from accelsim.cost.compiled.values import ArrayMapping, LoopOrder, MappingNumbers, Mnk
from accelsim.hardware.design import Design
from accelsim.lowering.step_memory import StepMemory
from accelsim.lowering.tasks import Gemm, Generation, Step, Update
from accelsim.sparsity.pattern import Pattern

__all__ = ["DATAFLOWS", "DIMENSIONS", "IM2COL", "VARIANTS", "Mapping", "Plan", "copies_of", "readers_of", "without"]

DATAFLOWS = ("os", "ws", "is")
VARIANTS = ("split", "chain", "flat")
DIMENSIONS = "mnk"
IM2COL = ("channels", "taps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """How one GEMM runs: dataflow and variant, accumulators Ia x Ib with Z partial sums each, buffer tile, loop order.

    `order` lists the loops over buffer tiles from the outermost, as in ``mnk``. `im2col` says what stands outermost
    along the side of an im2col operand that runs over channels and kernel taps: ``channels`` (in blocks of the group
    of an N:M pattern along them, else one by one; then taps, then the channels of a block) or ``taps``; None where no
    operand has windows that share pixels.
    """

    dataflow: str
    variant: str | None
    ia: int
    ib: int
    split_k: int
    tile: tuple[int, int, int]
    order: str
    im2col: str | None = None

    @property
    def interleave(self) -> str:
        """Accumulators as Ia x Ib, with x Z where partial sums are split."""
        return f"{self.ia}x{self.ib}" + (f"x{self.split_k}" if self.split_k > 1 else "")

    @property
    def numbers(self) -> MappingNumbers:
        """The mapping as kernels see it."""
        variant = 0 if self.variant is None else VARIANTS.index(self.variant)
        return MappingNumbers(
            array=ArrayMapping(DATAFLOWS.index(self.dataflow), variant, self.ia, self.ib, self.split_k),
            tile=Mnk(*self.tile),
            order=LoopOrder(*(DIMENSIONS.index(letter) for letter in self.order)),
            taps_outer=self.im2col == "taps",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A step with everything decided.

    `mappings[i]` belongs to task i, None where it is no GEMM. `order`: all tasks; each unit takes its own in this
    order, and with `overlap` false one task runs after another. `online`: GEMMs whose sparse operand SORE generates in
    front of them. `ahead`: generations that run in the stream of the update they follow; others do not run, as their
    readers generate for themselves. `resident`: tasks whose result stays on the chip for the next in order
    (`accelsim.schedule.edges`). `also_after`: pairs of a task and another that it waits for besides its inputs; of use
    where units overlap. `made_for`: the design that it was made for, where that is known; `made_under`: how the
    rest of what it was made for differs from this step, in words. `evaluated` and `pruned` count the mappings whose
    cost was computed and those excluded by a bound. `memory`: the DRAM that it needs, where that is known. These five
    tell of the plan and are no part of it.
    """

    step: Step
    mappings: tuple[Mapping | None, ...]
    order: tuple[int, ...]
    online: frozenset[int] = frozenset()
    ahead: frozenset[int] = frozenset()
    resident: frozenset[int] = frozenset()
    overlap: bool = False
    also_after: frozenset[tuple[int, int]] = frozenset()
    made_for: Design | None = field(default=None, compare=False)
    made_under: str = field(default="", compare=False)
    evaluated: int = field(default=0, compare=False)
    pruned: int = field(default=0, compare=False)
    memory: StepMemory | None = field(default=None, compare=False)

    def copies_behind(self, update: int) -> tuple[int, ...]:
        """Return the generations that run in the stream of an update."""
        return tuple(index for index in copies_of(self.step, update) if index in self.ahead)

    def reads_dense(self, update: int) -> int:
        """Return the elements of an update that are written in the operands' precision besides compact copies."""
        task = self.step.tasks[update]
        assert isinstance(task, Update), "only updates write weights"
        return task.dense_elements if self.ahead.issuperset(copies_of(self.step, update)) else task.elements


def copies_of(step: Step, update: int) -> tuple[int, ...]:
    """Return the generations that belong to an update: those that follow it."""
    found = []
    for index in range(update + 1, len(step.tasks)):
        if not isinstance(step.tasks[index], Generation):
            break
        found.append(index)
    return tuple(found)


def readers_of(step: Step) -> dict[int, frozenset[int]]:
    """Return for each generation the GEMMs that read the compact copy which it makes."""
    readers: dict[tuple[str | None, str, Pattern | None], set[int]] = {}
    for index, task in enumerate(step.tasks):
        if isinstance(task, Gemm):
            readers.setdefault((task.tensor, task.form, task.pattern), set()).add(index)
    return {
        index: frozenset(readers[task.tensor, task.reader, task.pattern])
        for index, task in enumerate(step.tasks)
        if isinstance(task, Generation)
    }


def without(plan: Plan, tasks: Collection[int]) -> Plan:
    """Return a plan as it is without some tasks, which no other waits for; of tensors its step says nothing then."""
    step = plan.step
    left = [index for index in range(len(step.tasks)) if index not in tasks]
    number = {index: new for new, index in enumerate(left)}

    def kept(indices: Iterable[int]) -> Iterable[int]:
        return (number[index] for index in indices if index in number)

    def pairs(given: Iterable[tuple[int, int]]) -> frozenset[tuple[int, int]]:
        return frozenset((number[one], number[other]) for one, other in given if one in number and other in number)

    part = replace(
        step,
        tasks=tuple(step.tasks[index] for index in left),
        after=tuple(tuple(kept(step.after[index])) for index in left),
        tensors=(),
        handed=None if step.handed is None else pairs(step.handed),
    )
    return replace(
        plan,
        step=part,
        mappings=tuple(plan.mappings[index] for index in left),
        order=tuple(kept(plan.order)),
        online=frozenset(kept(plan.online)),
        ahead=frozenset(kept(plan.ahead)),
        resident=frozenset(kept(plan.resident)),
        also_after=pairs(plan.also_after),
    )
