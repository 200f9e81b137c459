"""Results: a step with its stages and layers, as values, as plain data and as flat rows.

`accelsim.results.result_file` writes and reads them.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from accelsim.base.files import Plain, Scalar
from accelsim.base.markup import Cell, Number, data_table
from accelsim.base.units import GIGA, show
from accelsim.base.version import __version__
from accelsim.hardware.design import Design
from accelsim.hardware.energy_table import EnergyTable
from accelsim.hardware.stored import stored
from accelsim.lowering.case import Case
from accelsim.lowering.seen import SeenOperation
from accelsim.lowering.step_memory import StepMemory
from accelsim.lowering.tasks import Note
from accelsim.results.energy import Energy

if TYPE_CHECKING:
    import pandas as pd

    from accelsim.results.gains import LayerGain
    from accelsim.schedule.plan import Plan  # with compiled kernels, which readers of results do not need

__all__ = [
    "FORMAT",
    "MORE_IS_BETTER",
    "Basis",
    "LayerResult",
    "Result",
    "Results",
    "StageResult",
    "StepResult",
    "group_notes",
    "identity_of",
    "named",
    "step_cells",
    "told_apart",
    "with_dense_steps",
]

FORMAT = "accelsim-result/2"


_MEASURED = re.compile(r"\d+\.\d+")
_STEP = ("design", "batch", "engine", "mode", "optimizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One step as a whole.

    `effective_gops`: two operations per MAC of the step executed dense, per second. `speedup`: latency of the dense
    step on the same design over this latency. `array_utilisation`: executed MACs over what the array could have done
    in the cycles of FF, BP and WU.
    """

    cycles: int
    latency_s: float
    samples_per_s: float
    macs_dense: int
    macs_executed: int
    effective_gops: float
    speedup: float
    array_utilisation: float
    dram_bytes: float
    energy_j: float
    power_w: float
    gops_per_w: float


MORE_IS_BETTER = ("samples_per_s", "effective_gops", "speedup", "array_utilisation", "gops_per_w")
"""Fields of `StepResult` of which more is wanted; of all others, less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """One stage of the step; GENERATE counts what generation adds to the step."""

    cycles: int
    latency_s: float
    dram_bytes: float
    energy_j: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerResult:
    """One task of the step, all `count` copies; m, n, k are None where it is no GEMM.

    `pattern` None is dense. `tile` and `loop_order` are the buffer tile (m, n, k) and its loops from the outermost,
    `im2col` what stands outermost in an im2col operand, channels or taps.
    """

    name: str
    operation: str
    stage: str
    m: int | None
    n: int | None
    k: int | None
    count: int
    pattern: str | None
    dataflow: str | None
    variant: str | None
    interleave: str | None
    tile: tuple[int, int, int] | None
    loop_order: str | None
    im2col: str | None = None
    cycles: int
    latency_s: float
    array_cycles: int
    utilisation: float | None
    macs_dense: int
    macs_executed: int
    dram_bytes: float
    energy_j: float
    bound: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a result rests on: the whole design and energy table, the case, and SHA-256 of the trace and of the plan."""

    workload: str
    design: Design
    energy_table: EnergyTable
    case: Case
    trace_sha256: str
    plan_sha256: str

    def identity(self, version: str = __version__) -> str:
        """SHA-256 of all of it and of the version of the model; sources and descriptions make no difference."""
        about = {"description", "format"}
        return identity_of(
            {
                "version": version,
                "workload": self.workload,
                "design": self.design.model_dump(exclude=about),
                "overrides": sorted((item.path, item.before) for item in self.design.overrides),
                "energy_table": self.energy_table.model_dump(exclude=about),
                "options": self.case.to_dict(),
                "trace": self.trace_sha256,
                "plan": self.plan_sha256,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Result:
    """A simulated step: what it rests on, identity, totals, stages, layers, energy by component, and notes.

    `memory`: the DRAM that the step needs. `operations`: those with products, and what the trace saw of their masks.
    `dense`: the dense step that the speedup is over; None where it is this one. `plan`: what was executed; it is not
    written to files, so a result that was read has none. `label` tells a result that was read from others of the same
    case: the name of its file.
    """

    basis: Basis
    version: str
    identity: str
    step: StepResult
    stage_items: tuple[tuple[str, StageResult], ...]
    layers: tuple[LayerResult, ...]
    energy: Energy
    memory: StepMemory
    notes: tuple[Note, ...]
    operations: tuple[SeenOperation, ...]
    dense: "Result | None" = field(default=None, compare=False)
    plan: "Plan | None" = field(default=None, compare=False)
    label: str = field(default="", compare=False)

    @property
    def workload(self) -> str:
        """The model that was trained."""
        return self.basis.workload

    @property
    def design(self) -> str:
        """The design in words: its name, and what was changed of it."""
        return self.basis.design.label

    @property
    def method(self) -> str:
        """The sparse-training method."""
        return self.basis.case.method.name

    @property
    def pattern(self) -> str | None:
        """The N:M pattern; None where the method takes none."""
        pattern = self.basis.case.pattern
        return None if pattern is None else str(pattern)

    @property
    def batch(self) -> int:
        """Samples of the step."""
        return self.basis.case.batch

    @property
    def engine(self) -> str:
        """The engine that timed the step."""
        return self.basis.case.engine

    @property
    def mode(self) -> str:
        """``train``, or ``infer`` for the forward pass alone."""
        return self.basis.case.mode

    @property
    def optimizer(self) -> str:
        """The optimizer."""
        return self.basis.case.optimizer.name

    @property
    def case(self) -> str:
        """The method with its pattern in words."""
        return str(self.basis.case)

    @property
    def stages(self) -> dict[str, StageResult]:
        """Stages by name: FF, BP, WU, GENERATE, UPDATE, VECTOR."""
        return dict(self.stage_items)

    @property
    def head(self) -> dict[str, Any]:
        """What was simulated, in flat form."""
        return {"workload": self.workload, "design": self.design, **self.basis.case.head}

    def layer_gains(self) -> "tuple[LayerGain, ...]":
        """What each layer gains over the dense step in FF, BP and WU, and why not more.

        Raises `InputError` for a dense step, and for a result that was read without its dense step.

        >>> import accelsim as acs
        >>> result = acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=64)
        >>> [(gain.layer, gain.stage, gain.runs, gain.why) for gain in result.layer_gains()[:2]]
        [('prep.0', 'FF', None, 'first layer'), ('prep.0', 'WU', None, 'bdwp leaves WU dense')]
        """
        from accelsim.results.gains import layer_gains  # noqa: PLC0415  which imports this module

        return layer_gains(self)

    def diagnosis(self) -> str:
        """What limits the gain over the dense step most, in one sentence; raises as `layer_gains`."""
        from accelsim.results.gains import diagnosis  # noqa: PLC0415  as above

        return diagnosis(self)

    def to_dict(self, *, with_dense: bool = True) -> dict[str, Plain]:
        """The result as the ``accelsim-result/2`` object; without its dense step where that stands beside it."""
        basis = self.basis
        return {
            "format": FORMAT,
            "workload": basis.workload,
            "design": stored(basis.design),
            "energy_table": stored(basis.energy_table),
            "options": basis.case.to_dict(),
            "trace_sha256": basis.trace_sha256,
            "plan_sha256": basis.plan_sha256,
            "version": self.version,
            "identity": self.identity,
            "step": asdict(self.step),
            "stages": {name: asdict(stage) for name, stage in self.stage_items},
            "energy": asdict(self.energy),
            "memory": asdict(self.memory),
            "layers": [asdict(layer) for layer in self.layers],
            "notes": [asdict(note) for note in self.notes],
            "operations": [asdict(operation) for operation in self.operations],
            "dense": self.dense.to_dict() if with_dense and self.dense is not None else None,
        }

    def layer_rows(self) -> Iterator[dict[str, Scalar]]:
        """One flat row per layer and stage, with what was simulated in front."""
        for layer in self.layers:
            row = asdict(layer)
            row["tile"] = "x".join(str(size) for size in layer.tile) if layer.tile else None
            yield {**self.head, **row}

    def to_frame(self) -> "pd.DataFrame":
        """One row per layer and stage, as a pandas frame."""
        import pandas as pd  # noqa: PLC0415  heavy, and only needed here

        return pd.DataFrame(list(self.layer_rows()))

    def __repr__(self) -> str:
        """What was simulated, the step beside the dense one, and its stages, as a terminal shows them."""
        from accelsim.results.wording import summary  # noqa: PLC0415  which imports this module

        return summary(self)

    def _repr_html_(self) -> str:
        """Two tables for notebooks: the step, and its stages."""
        title = f"{self.workload} on {self.design}: {self.case}, batch {self.batch}"
        stages = [
            (
                name,
                Number(show(stage.latency_s, "s"), stage.latency_s),
                Number(show(stage.energy_j, "J"), stage.energy_j),
            )
            for name, stage in self.stage_items
        ]
        return (
            f"{data_table(title, ('', 'step'), list(step_cells(self).items()))}"
            f"{data_table('by stage', ('stage', 'time', 'energy'), stages)}"
        )


class Results(tuple[Result, ...]):
    """Several results, which show as one table in a notebook."""

    __slots__ = ()

    def to_frame(self) -> "pd.DataFrame":
        """One row per result, as a pandas frame: what was simulated, and the step."""
        import pandas as pd  # noqa: PLC0415  as above

        return pd.DataFrame([{**result.head, **asdict(result.step)} for result in self])

    def __repr__(self) -> str:
        """A row per result."""
        from accelsim.results.wording import comparison_summary  # noqa: PLC0415  as above

        return comparison_summary(self)

    def _repr_html_(self) -> str:
        """A table for notebooks, a row per result."""
        rows: list[tuple[Cell, ...]] = [
            (result.workload, result.design, result.case, *step_cells(result).values(), _speedup(result))
            for result in self
        ]
        names = step_cells(self[0]) if self else ()
        return data_table("one step", ("workload", "design", "method", *names, "speedup over dense"), rows)


def with_dense_steps(results: Sequence[Result]) -> Results:
    """Return results of one machine and one kind of step with the dense steps that they hold, once for each workload.

    Where results differ in design, batch, engine, mode or optimizer they are compared with each other, and stay alone.
    """
    alike = {tuple(result.head[name] for name in _STEP) for result in results}
    dense = {result.workload for result in results if not result.basis.case.method.is_sparse}
    found: list[Result] = []
    for result in results:
        if len(alike) == 1 and result.dense is not None and result.workload not in dense:
            dense.add(result.workload)
            found.append(result.dense)
        found.append(result)
    return Results(found)


def told_apart(results: Sequence[Result]) -> Results:
    """Return results whose workloads carry the name of their file where otherwise two would be called alike."""
    keys = [tuple(result.head.values()) for result in results]
    labels: dict[tuple[Scalar, ...], set[str]] = {}
    for key, result in zip(keys, results, strict=True):
        labels.setdefault(key, set()).add(result.label)
    doubtful = {key[0] for key, own in labels.items() if len(own) > 1}
    return Results(
        named(result, f"{result.workload} ({result.label})") if result.workload in doubtful and result.label else result
        for result in results
    )


def named(result: Result, workload: str) -> Result:
    """A result, and its dense step, under another name of the workload."""
    dense = None if result.dense is None else named(result.dense, workload)
    return replace(result, basis=replace(result.basis, workload=workload), dense=dense)


def step_cells(result: Result) -> dict[str, Number]:
    """Return what a reader wants to know of a step, by name: the number, and how it is written."""
    step = result.step
    return {
        "step time": Number(show(step.latency_s, "s"), step.latency_s),
        "throughput": Number(f"{step.samples_per_s:,.0f} samples/s", step.samples_per_s),
        "dense-equivalent": Number(show(step.effective_gops * GIGA, "OP/s"), step.effective_gops),
        "array utilisation": Number(f"{step.array_utilisation:.1%}", step.array_utilisation),
        "DRAM traffic": Number(show(step.dram_bytes, "B"), step.dram_bytes),
        "DRAM needed": Number(show(result.memory.total, "B"), result.memory.total),
        "energy": Number(f"{show(step.energy_j, 'J')} ({show(step.power_w, 'W')})", step.energy_j),
        "efficiency": Number(f"{step.gops_per_w:.1f} GOP/s/W", step.gops_per_w),
    }


def _speedup(result: Result) -> Number:
    return Number(f"{result.step.speedup:.2f}x", result.step.speedup)


def group_notes(notes: Iterable[Note]) -> dict[str, tuple[str, ...]]:
    """Return the operations, each with its stages, that each text is about; none where it is about the whole step.

    Texts on operations that differ in measured numbers alone, as in a density of 0.25, are one, with their range.
    """
    notes = list(notes)
    alike: dict[str, list[str]] = {}
    for note in notes:
        alike.setdefault(_MEASURED.sub("#", note.text) if note.operation else note.text, []).append(note.text)
    merged = {text: whole for texts in alike.values() for whole in (_with_ranges(texts),) for text in texts}
    groups: dict[str, dict[str, list[str]]] = {}
    for note in notes:
        operations = groups.setdefault(merged[note.text], {})
        if note.operation is not None and note.stage is not None:
            operations.setdefault(note.operation, []).append(note.stage)
    return {
        text: tuple(f"{name} ({', '.join(dict.fromkeys(stages))})" for name, stages in operations.items())
        for text, operations in groups.items()
    }


def _with_ranges(texts: Sequence[str]) -> str:
    """Write texts that differ in measured numbers alone as one."""
    numbers = zip(*(map(float, _MEASURED.findall(text)) for text in texts), strict=True)
    ranges = ["-".join(dict.fromkeys(f"{value:g}" for value in (min(own), max(own)))) for own in numbers]
    return texts[0] if len(set(texts)) == 1 else _MEASURED.sub(lambda _: ranges.pop(0), texts[0])


def identity_of(inputs: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of everything a result depends on."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
