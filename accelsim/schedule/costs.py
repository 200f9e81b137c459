"""What the tasks of a step cost alone under the decisions of a plan, with the best mapping of every GEMM."""

from accelsim.cost.charges import (
    copy_numbers,
    unit_numbers,
    update_cycles,
    update_numbers,
    vector_cycles,
    vector_gemm_numbers,
    vector_numbers,
)
from accelsim.cost.compiled.unit_pace import VectorNumbers
from accelsim.cost.compiled.values import GemmNumbers
from accelsim.cost.gemm import gemm_numbers
from accelsim.hardware.design import Design
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Gemm, Generation, Step, Update, VectorWork
from accelsim.schedule.edges import Edge
from accelsim.schedule.mapping import Searcher
from accelsim.schedule.plan import Mapping, Plan

__all__ = ["TaskCosts", "vector_numbers_of"]


class TaskCosts:
    """Costs of the tasks of a step on a design; equal GEMMs are searched once. `taken` and `handed` are the tensors
    that a task takes from the chip and leaves there."""

    def __init__(self, step: Step, design: Design, optimizer: Optimizer, searcher: Searcher) -> None:
        self._step, self._design, self._optimizer, self._searcher = step, design, optimizer, searcher
        self._units = unit_numbers(design)

    def numbers(
        self, index: int, *, online: bool, taken: Edge | None = None, handed: Edge | None = None
    ) -> GemmNumbers:
        """Return the numbers of a GEMM; `online`: SORE generates its sparse operand in front of it."""
        task = self._step.tasks[index]
        assert isinstance(task, Gemm), "GEMMs only"
        y_resident = handed is not None and not handed.stored
        return gemm_numbers(task, self._design, online=online, x_resident=taken is not None, y_resident=y_resident)

    def gemm(
        self, index: int, *, online: bool, taken: Edge | None = None, handed: Edge | None = None
    ) -> tuple[Mapping, int]:
        """Return the best mapping of a GEMM and its cycles, those of the generation in front of it included.

        Raises `InfeasibleError` naming the buffer and the missing bytes when no tile fits.
        """
        task = self._step.tasks[index]
        assert isinstance(task, Gemm), "GEMMs only"
        return self._searcher.fastest(task, self.numbers(index, online=online, taken=taken, handed=handed))

    def update(self, plan: Plan, index: int, taken: Edge | None = None) -> int:
        """Return the cycles of an update with the copies that are generated behind it."""
        task, behind = self._step.tasks[index], [self._step.tasks[copy] for copy in plan.copies_behind(index)]
        assert isinstance(task, Update), "updates only"
        copies = [copy_numbers(copy, self._design) for copy in behind if isinstance(copy, Generation)]
        resident = 0 if taken is None else taken.elements
        own = update_numbers(task, self._optimizer, dense=plan.reads_dense(index), resident=resident)
        return update_cycles(own, copies, self._units)

    def of(self, plan: Plan, index: int, taken: Edge | None, handed: Edge | None) -> int:
        """Return the cycles of a task; generations run within their update."""
        task = self._step.tasks[index]
        if isinstance(task, Gemm) and not task.on_vector:
            return self.gemm(index, online=index in plan.online, taken=taken, handed=handed)[1]
        if isinstance(task, Update):
            return self.update(plan, index, taken)
        if isinstance(task, Gemm | VectorWork):
            return vector_cycles(vector_numbers_of(task, self._design, taken, handed), self._units)
        return 0


def vector_numbers_of(
    task: Gemm | VectorWork, design: Design, taken: Edge | None, handed: Edge | None
) -> VectorNumbers:
    """Return the numbers of a task on the vector unit with the tensors that it takes from the chip and leaves there."""
    resident = 0 if taken is None else taken.elements
    if isinstance(task, VectorWork):
        return vector_numbers(task, design, resident=resident)
    y_resident = handed is not None and not handed.stored
    return vector_gemm_numbers(task, design, resident=resident, y_resident=y_resident)
