"""Results: a step with its stages and layers, as values, as ``accelsim-result/1`` JSON and as flat rows.

A comparison, ``accelsim-comparison/1``, is an object with the list of its `results`; each has one more key,
`relative_speedup`: the step latency of the first result of its workload over its own.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import form_of, make_form, parse_json, read_text, several, validate, write_atomically
from accelsim.base.markup import Cell, Number, data_table
from accelsim.base.ratios import relative_speedup
from accelsim.base.units import GIGA, show
from accelsim.lowering.tasks import Note, Stage
from accelsim.results.energy import Energy
from accelsim.sparsity.methods import case_name

if TYPE_CHECKING:
    import pandas as pd

    from accelsim.schedule.plan import Plan  # with compiled kernels, which readers of results do not need

__all__ = [
    "COMPARISON_FORMAT",
    "MORE_IS_BETTER",
    "LayerResult",
    "Result",
    "Results",
    "StageResult",
    "StepResult",
    "comparison",
    "group_notes",
    "load_results",
    "read_results",
    "result_form",
    "result_of",
    "step_cells",
    "write_results",
    "write_rows",
]

FORMAT = "accelsim-result/1"
COMPARISON_FORMAT = "accelsim-comparison/1"


_HEAD = ("workload", "design", "method", "pattern", "batch", "engine", "mode", "optimizer")
_PLAIN = (*_HEAD, "version", "identity")


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

    `pattern` None is dense. `tile` and `loop_order` are the buffer tile (m, n, k) and its loops from the outermost.
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
class Result:
    """A simulated step: identity, totals, stages, layers, energy by component, and notes.

    `dense`: the dense step that the speedup is over; None where it is this one. `plan`: what was executed. Neither is
    written to files, so a result that was read has none.
    """

    workload: str
    design: str
    method: str
    pattern: str | None
    batch: int
    engine: str
    mode: str
    optimizer: str
    version: str
    identity: str
    step: StepResult
    stage_items: tuple[tuple[str, StageResult], ...]
    layers: tuple[LayerResult, ...]
    energy: Energy
    notes: tuple[Note, ...]
    dense: "Result | None" = field(default=None, compare=False, repr=False)
    plan: "Plan | None" = field(default=None, compare=False, repr=False)

    @property
    def stages(self) -> dict[str, StageResult]:
        """Stages by name: FF, BP, WU, GENERATE, UPDATE, VECTOR."""
        return dict(self.stage_items)

    @property
    def head(self) -> dict[str, Any]:
        """What was simulated, in flat form."""
        return {name: getattr(self, name) for name in _HEAD}

    def to_dict(self) -> dict[str, Any]:
        """The result as the ``accelsim-result/1`` object."""
        return {
            "format": FORMAT,
            **self.head,
            "version": self.version,
            "identity": self.identity,
            "step": asdict(self.step),
            "stages": {name: asdict(stage) for name, stage in self.stage_items},
            "energy": asdict(self.energy),
            "layers": [asdict(layer) for layer in self.layers],
            "notes": [asdict(note) for note in self.notes],
        }

    def layer_rows(self) -> Iterator[dict[str, Any]]:
        """One flat row per layer and stage, with what was simulated in front."""
        for layer in self.layers:
            row = asdict(layer)
            row["tile"] = "x".join(str(size) for size in layer.tile) if layer.tile else None
            yield {**self.head, **row}

    def to_frame(self) -> "pd.DataFrame":
        """One row per layer and stage, as a pandas frame."""
        import pandas as pd  # noqa: PLC0415  heavy, and only needed here

        return pd.DataFrame(list(self.layer_rows()))

    @property
    def case(self) -> str:
        """The method with its pattern in words."""
        return case_name(self.method, self.pattern)

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

    def _repr_html_(self) -> str:
        """A table for notebooks, a row per result."""
        rows: list[tuple[Cell, ...]] = [
            (result.workload, result.design, result.case, *step_cells(result).values(), _speedup(result))
            for result in self
        ]
        names = step_cells(self[0]) if self else ()
        return data_table("one step", ("workload", "design", "method", *names, "speedup over dense"), rows)


def step_cells(result: Result) -> dict[str, Number]:
    """Return what a reader wants to know of a step, by name: the number, and how it is written."""
    step = result.step
    return {
        "step time": Number(show(step.latency_s, "s"), step.latency_s),
        "throughput": Number(f"{step.samples_per_s:,.0f} samples/s", step.samples_per_s),
        "dense-equivalent": Number(show(step.effective_gops * GIGA, "OP/s"), step.effective_gops),
        "array utilisation": Number(f"{step.array_utilisation:.1%}", step.array_utilisation),
        "DRAM traffic": Number(show(step.dram_bytes, "B"), step.dram_bytes),
        "energy": Number(f"{show(step.energy_j, 'J')} ({show(step.power_w, 'W')})", step.energy_j),
        "efficiency": Number(f"{step.gops_per_w:.1f} GOP/s/W", step.gops_per_w),
    }


def _speedup(result: Result) -> Number:
    return Number(f"{result.step.speedup:.2f}x", result.step.speedup)


def group_notes(notes: Iterable[Note]) -> dict[str, tuple[str, ...]]:
    """Return the operations, each with its stages, that each text is about."""
    groups: dict[str, dict[str, list[str]]] = {}
    for note in notes:
        groups.setdefault(note.text, {}).setdefault(note.operation, []).append(note.stage)
    return {
        text: tuple(f"{name} ({', '.join(dict.fromkeys(stages))})" for name, stages in operations.items())
        for text, operations in groups.items()
    }


def identity_of(inputs: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of everything a result depends on."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_results(path: Path, results: list[Result]) -> None:
    """Write results: ``.json`` the full objects (a list where there are several), ``.csv`` one row per layer.

    Raises `InputError` for another suffix or a path that cannot be written.
    """
    if path.suffix == ".json":
        data = [result.to_dict() for result in results]
        write_atomically(path, json.dumps(data[0] if len(data) == 1 else data, indent=1) + "\n")
    elif path.suffix == ".csv":
        write_rows(path, [row for result in results for row in result.layer_rows()])
    else:
        raise InputError(f"{path}: results are written as .json or .csv, got '{path.suffix or 'no suffix'}'")


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write flat rows of the same fields as a ``.csv``. Raises `InputError` for a path that cannot be written."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def comparison(groups: Iterable[Sequence[Result]]) -> dict[str, Any]:
    """Return the ``accelsim-comparison/1`` object of results, workload by workload."""
    entries = [
        {**result.to_dict(), "relative_speedup": relative_speedup(group[0].step.latency_s, result.step.latency_s)}
        for group in groups
        for result in group
    ]
    return {"format": COMPARISON_FORMAT, "results": entries}


def load_results(path: str | Path) -> Results:
    """Return the results in a file: of one result, of a list of them, or of a comparison.

    Args:
        path: a ``.json`` file, as ``accelsim simulate -o`` and ``accelsim compare -o`` write it.

    Raises `InputError` that lists every error of the file with its path.

    >>> import accelsim as acs, tempfile
    >>> result = acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_results(Path(folder, "step.json"), [result])
    ...     load_results(Path(folder, "step.json"))[0].step == result.step
    True
    """
    path = Path(path)
    if path.suffix == ".csv":
        raise InputError(f"{path}: results are read from .json; a .csv holds their layers alone")
    return read_results(parse_json(read_text(path), str(path)), str(path))


def read_results(data: Any, source: str) -> Results:
    """Return the results in the plain `data` of the file `source`. Raises `InputError` as `load_results`."""
    if isinstance(data, list):
        read = [validate(result_form(), entry, f"{source}[{index}]") for index, entry in enumerate(data)]
        return Results(result_of(entry.model_dump()) for entry in read)
    found, known = data.get("format") if isinstance(data, dict) else None, (FORMAT, COMPARISON_FORMAT)
    if found not in known:
        hint = did_you_mean(str(found), known)
        raise InputError(f"{source}: format: got {json.dumps(found)}{hint}; allowed: {', '.join(known)}")
    if found == FORMAT:
        return Results([result_of(validate(result_form(), data, source).model_dump())])
    entry = result_form(relative_speedup=float)
    comparison = make_form("Comparison", {"format": Literal["accelsim-comparison/1"], "results": several(entry)})
    return Results(map(result_of, validate(comparison, data, source).model_dump()["results"]))


def result_form(**more: Any) -> Any:
    """What a result in a file looks like: every field of the dataclasses here, and nothing else but `more`."""
    nested = {
        "step": form_of(StepResult),
        "stages": make_form("Stages", dict.fromkeys(Stage, form_of(StageResult))),
        "energy": form_of(Energy),
        "layers": several(form_of(LayerResult)),
        "notes": several(form_of(Note)),
    }
    plain: dict[str, Any] = {**dict.fromkeys(_PLAIN, str), "pattern": str | None, "batch": int}
    return make_form("Result", {"format": Literal["accelsim-result/1"], **plain, **nested, **more})


def result_of(data: dict[str, Any]) -> Result:
    """Return the result in plain data that `result_form` has checked."""
    nested: dict[str, Any] = {
        "step": StepResult(**data["step"]),
        "stage_items": tuple((name, StageResult(**stage)) for name, stage in data["stages"].items()),
        "energy": Energy(**data["energy"]),
        "layers": tuple(LayerResult(**layer) for layer in data["layers"]),
        "notes": tuple(Note(**note) for note in data["notes"]),
    }
    return Result(**{name: data[name] for name in _PLAIN}, **nested)
