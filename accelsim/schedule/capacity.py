"""Whether a step fits the DRAM of a design, and what would: the largest batch, and the fewest parts that a batch takes.

A step is judged with its tasks in the order in which they were lowered, and with every copy where the design generates
it (`accelsim.schedule.offline.greedy_outline`); of other plans those that need more than there is are not taken.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from accelsim.base.errors import InfeasibleError
from accelsim.base.units import GIGA, show
from accelsim.hardware.design import Design
from accelsim.lowering.case import Case
from accelsim.lowering.step_memory import StepMemory, memory_of
from accelsim.lowering.tasks import Step
from accelsim.schedule.offline import greedy_outline
from accelsim.schedule.plan import Plan

__all__ = ["capacity_bytes", "check_capacity", "memory_of_plan", "parts_needed"]


def capacity_bytes(design: Design) -> int:
    """Return the bytes of DRAM that a design has."""
    return int(design.dram.capacity_gb * GIGA)


def memory_of_plan(plan: Plan, design: Design, case: Case) -> StepMemory:
    """Return the DRAM that a plan needs."""
    return memory_of(plan.step, design, case.optimizer, order=plan.order, online=plan.online, resident=plan.resident)


def check_capacity(memory: StepMemory, design: Design, case: Case, model: str, lowered: Callable[[Case], Step]) -> None:
    """Refuse a step that needs more DRAM than there is.

    Args:
        memory: what it needs.
        design: what it runs on.
        case: how it is trained.
        model: what is trained.
        lowered: lowers the step in another case, to find what fits.

    Raises `InfeasibleError` that names the bytes, the capacity, the largest batch that fits and the fewest parts, with
    the dense step that a speedup is over.
    """
    capacity = capacity_bytes(design)
    if memory.total <= capacity:
        return
    kinds = ", ".join(f"{show(size, 'B')} {name}" for name, size in asdict(memory).items() if size)
    in_parts = f" in {case.accumulate} parts" if case.accumulate > 1 else ""
    needs = (
        f"{model}, {case}: a step of {_samples(case.batch)}{in_parts} needs {show(memory.total, 'B')} of DRAM"
        f" ({kinds}); {design.label} has {show(capacity, 'B')} (dram.capacity_gb)"
    )
    need = _Need(design, case, lowered)
    part = _largest(lambda samples: need(samples, case.accumulate) <= capacity, case.batch // case.accumulate)
    if not part:
        raise InfeasibleError(f"{needs}; one sample alone needs {show(need(1, 1), 'B')}")
    ways = [f"lower the batch (--batch {part * case.accumulate})"]
    if parts := parts_needed(design, case, lowered):
        ways.append(f"run it in parts (--accumulate {parts})")
    raise InfeasibleError(f"{needs}, enough for {_samples(part * case.accumulate)}{in_parts}: {' or '.join(ways)}")


def parts_needed(design: Design, case: Case, lowered: Callable[[Case], Step]) -> int | None:
    """Return into how many equal parts a batch has to be cut, at least, to fit the DRAM of a design.

    Args:
        design: what it runs on.
        case: how it is trained; the parts that it has are of no account.
        lowered: lowers the step in another case.

    None where even single samples do not fit, and for a forward pass that does not fit, which has no parts.
    """
    need, capacity = _Need(design, case, lowered), capacity_bytes(design)
    if need(case.batch, 1) <= capacity:
        return 1
    most = _largest(lambda samples: need(samples, 2) <= capacity, case.batch // 2 + 1) if case.mode == "train" else 0
    equal = (parts for parts in range(2, case.batch + 1) if not case.batch % parts)
    return next((parts for parts in equal if case.batch // parts <= most), None)


@dataclass(frozen=True, slots=True)
class _Need:
    """The bytes that a step, or the dense one that its speedup is over, takes with parts of so many samples."""

    design: Design
    case: Case
    lowered: Callable[[Case], Step]

    def __call__(self, samples: int, parts: int) -> int:
        other = replace(self.case, batch=samples * parts, accumulate=parts)
        return max(
            memory_of_plan(greedy_outline(self.lowered(case), self.design), self.design, case).total
            for case in dict.fromkeys((other, other.dense))
        )


def _samples(number: int) -> str:
    return f"{number:,} sample{'s' * (number != 1)}"


def _largest(fits: Callable[[int], bool], below: int) -> int:
    """Return the largest number below `below` that fits, 0 where none does; what is larger than a misfit does not."""
    least, most = 0, below
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return least
