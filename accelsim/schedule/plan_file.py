"""Plan files, ``accelsim-plan/2``: what was decided about a step, to be kept, read, changed and executed.

JSON with one task per line, in order of execution::

    {
     "format": "accelsim-plan/2",
     "made_for": {"model": "lenet", "design": "sat_vcu1525", "method": "bdwp", "pattern": "2:8", "batch": 64,
                  "mode": "train", "optimizer": "sgd"},
     "overlap": false,
     "tasks": [
      {"name": "conv1", "stage": "FF", "mapping": {"dataflow": "os", "ia": 2, "ib": 4, "split": 1,
                                                   "tile": [512, 64, 147], "order": "mnk",
                                                   "im2col": "channels"}},
      {"name": "relu1[FF]", "stage": "VECTOR", "resident": true},
      {"name": "conv2", "stage": "FF", "mapping": {"dataflow": "ws", "variant": "chain", "ia": 8, "ib": 1, "split": 1,
                                                   "tile": [1024, 64, 64], "order": "nkm"}, "online": true},
      {"name": "conv2[FF copy]", "stage": "GENERATE", "ahead": false},
      {"name": "fc", "stage": "WU", "mapping": {...}, "after": ["conv2 (BP)"]}
     ],
     "design": {"name": "sat_vcu1525", "description": "...", "overrides": {},
                "values": {"clock_hz": {"value": 200000000.0}}}
    }

Every task of the step stands in it once, with the name and stage that it has in results. What a task leaves out is not
so: `online` (SORE generates the sparse operand in front of the GEMM), `resident` (the result stays on the chip for the
next task of the step), `after` (what it waits for besides its inputs, as ``name (stage)``). `ahead` of a generation
says whether it runs in the stream of its update. `made_for` is for the reader alone. `design` is the one that the plan
was made for, with all of its values; on another the result says how they differ. ``accelsim schema plan`` prints the
JSON Schema.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from accelsim.base.errors import did_you_mean
from accelsim.base.files import FileModel, Plain, check_format, parse_json, read_text, validate, write_atomically
from accelsim.hardware.design import Design, differences
from accelsim.hardware.stored import StoredModel, restored, stored
from accelsim.lowering.optimizers import Optimizer
from accelsim.lowering.tasks import Generation, Step
from accelsim.schedule.plan import Mapping, Plan
from accelsim.schedule.plan_checks import Problem, problems_of, raise_problems, task_label, task_names
from accelsim.sparsity.methods import case_name
from accelsim.workload.names import few

__all__ = ["PlanFile", "decisions_of", "load_plan", "plan_text", "read_plan", "save_plan"]

FORMAT: Final = "accelsim-plan/2"
_HINTS = 20

Size = Annotated[int, Field(ge=1, le=2**60)]


class MappingEntry(FileModel):
    """How a GEMM runs; see `accelsim.schedule.plan.Mapping`."""

    dataflow: Literal["os", "ws", "is"]
    variant: Literal["split", "chain", "flat"] | None = Field(default=None, description="how WS and IS execute slots")
    ia: Size = Field(description="rows of outputs that a PE accumulates in turn; the depth of a chain")
    ib: Size = Field(description="columns of outputs that a PE accumulates in turn")
    split: Size = Field(description="partial sums of each output")
    tile: tuple[Size, Size, Size] = Field(description="buffer tile: m, n, k")
    order: Literal["mnk", "mkn", "nmk", "nkm", "kmn", "knm"] = Field(description="loops over tiles, outermost first")
    im2col: Literal["channels", "taps"] | None = Field(
        default=None, description="what stands outermost in an im2col operand whose windows share pixels"
    )


class TaskEntry(FileModel):
    """One task with what was decided about it."""

    name: str
    stage: Literal["FF", "BP", "WU", "GENERATE", "UPDATE", "VECTOR"]
    mapping: MappingEntry | None = Field(default=None, description="of a GEMM")
    online: bool = Field(default=False, description="SORE generates the sparse operand in front of the GEMM")
    ahead: bool | None = Field(default=None, description="of a generation: it runs in the stream of its update")
    resident: bool = Field(default=False, description="the result stays on the chip for the next task of the step")
    after: tuple[str, ...] = Field(default=(), description="what it waits for besides its inputs, as 'name (stage)'")


class MadeFor(FileModel):
    """What a plan was made for: information for its reader."""

    model: str
    design: str
    method: str
    pattern: str | None
    batch: int
    mode: str
    optimizer: str

    def __str__(self) -> str:
        case = case_name(self.method, self.pattern)
        return f"{self.model} on {self.design}, {case}, batch {self.batch}, {self.mode}"


class PlanFile(FileModel):
    """A plan as it stands in a file."""

    format: Literal["accelsim-plan/2"]
    made_for: MadeFor
    overlap: bool = Field(description="units work side by side; false: one task runs after another")
    tasks: tuple[TaskEntry, ...]
    design: StoredModel = Field(description="what the plan was made for")


def plan_text(plan: Plan, design: Design, optimizer: Optimizer) -> str:
    """Return the text of the file of a plan; the same for equal plans."""
    made_for = _made_for(plan.step, design, optimizer.name)
    head: dict[str, Plain] = {"format": FORMAT, "made_for": made_for.model_dump(), "overlap": plan.overlap}
    lines = [f" {_json(key)}: {_json(value)}" for key, value in head.items()]
    tasks = ",\n".join(f"  {_json(task)}" for task in _entries(plan))
    last = f' "design": {_json(stored(design, sources=False))}'
    return "{\n" + ",\n".join([*lines, f' "tasks": [\n{tasks}\n ]', last]) + "\n}\n"


def _made_for(step: Step, design: Design, optimizer: str) -> MadeFor:
    return MadeFor(
        model=step.model,
        design=design.label,
        method=step.method,
        pattern=None if step.pattern is None else str(step.pattern),
        batch=step.batch,
        mode=step.mode,
        optimizer=optimizer,
    )


def _json(value: Plain) -> str:
    return json.dumps(value, ensure_ascii=False)


def decisions_of(plan: Plan) -> dict[str, Plain]:
    """Return all that was decided, as plain data: the content of a plan file without what it was made for."""
    return {"overlap": plan.overlap, "tasks": list(_entries(plan))}


def _entries(plan: Plan) -> Iterator[dict[str, Plain]]:
    names = task_names(plan.step)
    for index in plan.order:
        name, stage = names[index]
        mapping = plan.mappings[index]
        entry: dict[str, Plain] = {"name": name, "stage": stage}
        if mapping is not None:
            entry["mapping"] = _mapping_data(mapping)
        if index in plan.online:
            entry["online"] = True
        if isinstance(plan.step.tasks[index], Generation):
            entry["ahead"] = index in plan.ahead
        if index in plan.resident:
            entry["resident"] = True
        after = sorted(other for later, other in plan.also_after if later == index)
        if after:
            entry["after"] = [_reference(*names[other]) for other in after]
        yield entry


def _mapping_data(mapping: Mapping) -> dict[str, Plain]:
    variant = {} if mapping.variant is None else {"variant": mapping.variant}
    im2col = {} if mapping.im2col is None else {"im2col": mapping.im2col}
    return {
        "dataflow": mapping.dataflow,
        **variant,
        "ia": mapping.ia,
        "ib": mapping.ib,
        "split": mapping.split_k,
        "tile": list(mapping.tile),
        "order": mapping.order,
        **im2col,
    }


def _reference(name: str, stage: str) -> str:
    return f"{name} ({stage})"


def save_plan(path: str | Path, plan: Plan, design: Design, optimizer: Optimizer) -> None:
    """Write a plan, whole or not at all. Raises `InputError` when the file cannot be written."""
    write_atomically(Path(path), plan_text(plan, design, optimizer))


def read_plan(path: str | Path) -> PlanFile:
    """Return a plan file as it stands; `load_plan` says whether a step and a design can use it.

    Raises `InputError` that lists every error of its form.
    """
    source, text = str(path), read_text(Path(path))
    data = parse_json(text, source)
    check_format(data, source, {FORMAT: "schedule -o"})
    return validate(PlanFile, data, source, text=text)


def load_plan(path: str | Path, step: Step, design: Design, optimizer: str | None = None) -> Plan:
    """Return the plan in a file, for `step` on `design`; None: the optimizer is not looked at.

    Raises `InputError` listing every error of the file: its form, tasks that are missing, unknown or there twice, and
    all that the design cannot execute; `InfeasibleError` where it is only that buffers are too small.
    """
    file = read_plan(path)
    made_for = restored(Design, file.design, f"{path}: design")
    plan, problems = _matched(file, step)
    problems += problems_of(plan, design, complete=len(plan.order) == len(step.tasks))
    here = _made_for(step, design, optimizer or file.made_for.optimizer)
    others = _differences(file.made_for, here, differences(made_for, design))
    if problems and others:
        room = all(problem.room for problem in problems)
        problems.insert(0, Problem(text=f"made for {others}", room=room))
    raise_problems(str(path), step, problems)
    return replace(plan, made_for=made_for, made_under=_differences(file.made_for, here, ()))


def _differences(made_for: MadeFor, here: MadeFor, of_design: Iterable[tuple[str, str, str]]) -> str:
    values = [(name, value, getattr(here, name)) for name, value in made_for.model_dump(exclude={"design"}).items()]
    apart = (*(item for item in values if item[1] != item[2]), *of_design)
    return ", ".join(f"{name} {value} (here {now})" for name, value, now in apart)


def _matched(file: PlanFile, step: Step) -> tuple[Plan, list[Problem]]:
    """Return the plan of the tasks that the file and the step have in common, and what is wrong with the others."""
    index_of = {pair: index for index, pair in enumerate(task_names(step))}
    references = {_reference(*pair): index for pair, index in index_of.items()}
    problems: list[Problem] = []
    found: dict[int, TaskEntry] = {}
    for entry in file.tasks:
        index = index_of.get((entry.name, entry.stage))
        if index is None:
            hint = did_you_mean(_reference(entry.name, entry.stage), references) if len(problems) < _HINTS else ""
            text = f"{task_label(entry.name, entry.stage)}: the step has no such task{hint}"
            problems.append(Problem(text=text))
        elif index in found:
            problems.append(Problem(task=index, text="stands twice in the file"))
        else:
            found[index] = entry
    missing = [task_label(*pair) for pair, index in index_of.items() if index not in found]
    if missing:
        problems.append(Problem(text=f"missing: {few(missing)}"))
    also_after: set[tuple[int, int]] = set()
    for index, entry in found.items():
        problems += _of_ahead(index, entry, step)
        for reference in entry.after:
            if reference in references:
                also_after.add((index, references[reference]))
            else:
                text = f"after: no task '{reference}'{did_you_mean(reference, references)}"
                problems.append(Problem(task=index, text=text))
    return _plan_of(file, found, step, frozenset(also_after)), problems


def _of_ahead(index: int, entry: TaskEntry, step: Step) -> Iterator[Problem]:
    if isinstance(step.tasks[index], Generation):
        if entry.ahead is None:
            yield Problem(task=index, text="ahead: missing; true (in the stream of its update) or false is needed")
    elif entry.ahead is not None:
        yield Problem(task=index, text="ahead: only a generation runs ahead of its readers")


def _mapping_of(entry: MappingEntry) -> Mapping:
    return Mapping(split_k=entry.split, **entry.model_dump(exclude={"split"}))


def _plan_of(file: PlanFile, found: dict[int, TaskEntry], step: Step, also_after: frozenset[tuple[int, int]]) -> Plan:
    mappings = {index: entry.mapping for index, entry in found.items() if entry.mapping is not None}
    return Plan(
        step=step,
        mappings=tuple(_mapping_of(mappings[index]) if index in mappings else None for index in range(len(step.tasks))),
        order=tuple(found),
        online=frozenset(index for index, entry in found.items() if entry.online),
        ahead=frozenset(
            index for index, entry in found.items() if entry.ahead and isinstance(step.tasks[index], Generation)
        ),
        resident=frozenset(index for index, entry in found.items() if entry.resident),
        overlap=file.overlap,
        also_after=also_after,
    )
