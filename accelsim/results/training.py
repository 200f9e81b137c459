"""Results of training runs: phases of equal steps, as values, as ``accelsim-training/2`` JSON and as flat rows.

A phase holds the full ``accelsim-result/2`` of its step. Whatever follows from the steps (totals, times and energies of
phases, what was simulated) is written for the reader of a file, and refused where it does not follow from them.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from accelsim.base.errors import InputError
from accelsim.base.files import (
    FileModel,
    Plain,
    Scalar,
    check_format,
    errors_of,
    form_of,
    make_form,
    parse_json,
    read_text,
    several,
    validate,
    write_atomically,
)
from accelsim.base.markup import Number, data_table
from accelsim.base.units import show
from accelsim.results.result_file import contradictions, result_form, result_of, write_rows
from accelsim.results.step import Result, identity_of
from accelsim.results.wording import training_summary
from accelsim.sparsity.methods import case_name
from accelsim.sparsity.recipes import Share

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "PHASES",
    "PhaseResult",
    "TrainingResult",
    "TrainingTotals",
    "load_training",
    "read_training",
    "write_training",
]

FORMAT = "accelsim-training/2"

PHASES = "phases"
"""The recipe of a run whose masks stand in traces of its steps."""

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTotals:
    """A run as a whole.

    `dense_latency_s`, `dense_energy_j`: of as many dense steps on the same design; `speedup`, `energy_gain`: over those
    of the run.
    """

    steps: int
    cycles: int
    latency_s: float
    energy_j: float
    dram_bytes: float
    dense_latency_s: float
    dense_energy_j: float
    speedup: float
    energy_gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseResult:
    """`steps` equal steps; `method` and `pattern` are in force, `result` is the step as it runs.

    Where the design has no mode for the pattern the step runs dense.
    """

    name: str
    steps: int
    method: str
    pattern: str | None
    result: Result

    @property
    def cycles(self) -> int:
        """Cycles of all steps."""
        return self.steps * self.result.step.cycles

    @property
    def latency_s(self) -> float:
        """Time of all steps."""
        return self.steps * self.result.step.latency_s

    @property
    def energy_j(self) -> float:
        """Energy of all steps."""
        return self.steps * self.result.step.energy_j

    @property
    def dram_bytes(self) -> float:
        """DRAM traffic of all steps."""
        return self.steps * self.result.step.dram_bytes

    @property
    def row(self) -> dict[str, Scalar]:
        """The phase in flat form; `runs` says what its step executes, `speedup` is over the dense step."""
        return {
            "phase": self.name,
            "method": self.method,
            "pattern": self.pattern,
            "runs": self.result.method,
            "steps": self.steps,
            "step_latency_s": self.result.step.latency_s,
            "cycles": self.cycles,
            "latency_s": self.latency_s,
            "energy_j": self.energy_j,
            "dram_bytes": self.dram_bytes,
            "speedup": self.result.step.speedup,
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TrainingResult:
    """A simulated training run: a recipe with its method, pattern and shares, phases in order, and the `dense` step.

    `epochs` and `dataset_size` (samples) are None where the run was given in steps.
    """

    recipe: str
    method: str
    pattern: str | None
    epochs: int | None
    dataset_size: int | None
    dense_share: Share | None
    fine_tune_share: Share | None
    phases: tuple[PhaseResult, ...]
    dense: Result
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The recipe with its method and pattern in words."""
        method = case_name(self.method, self.pattern)
        if self.recipe == PHASES:
            return "the traced run"
        return method if self.recipe == "constant" else f"{self.recipe} of {method}"

    @property
    def totals(self) -> TrainingTotals:
        """Sums over the phases, against dense training of the same length."""
        steps = sum(phase.steps for phase in self.phases)
        latency, energy = (sum(getattr(phase, name) for phase in self.phases) for name in ("latency_s", "energy_j"))
        dense_latency, dense_energy = steps * self.dense.step.latency_s, steps * self.dense.step.energy_j
        return TrainingTotals(
            steps=steps,
            cycles=sum(phase.cycles for phase in self.phases),
            latency_s=latency,
            energy_j=energy,
            dram_bytes=sum(phase.dram_bytes for phase in self.phases),
            dense_latency_s=dense_latency,
            dense_energy_j=dense_energy,
            speedup=dense_latency / latency,
            energy_gain=dense_energy / energy,
        )

    @property
    def head(self) -> dict[str, Scalar]:
        """What was simulated, in flat form."""
        step = self.dense.head
        return {
            "workload": step["workload"],
            "design": step["design"],
            "recipe": self.recipe,
            "method": self.method,
            "pattern": self.pattern,
            **{name: step[name] for name in ("batch", "engine", "optimizer")},
            "epochs": self.epochs,
            "dataset_size": self.dataset_size,
        }

    @property
    def identity(self) -> str:
        """SHA-256 of what the run depends on: the identities of its steps, how many there are, and the recipe."""
        phases = [(phase.name, phase.steps, phase.result.identity) for phase in self.phases]
        return identity_of({"phases": phases, **self.head, **self._shares})

    @property
    def _shares(self) -> dict[str, Any]:
        shares = {"dense_share": self.dense_share, "fine_tune_share": self.fine_tune_share}
        return {name: share and asdict(share) for name, share in shares.items()}

    def to_dict(self) -> dict[str, Plain]:
        """The run as the ``accelsim-training/2`` object."""
        return {
            "format": FORMAT,
            **self.head,
            **self._shares,
            "version": self.dense.version,
            "identity": self.identity,
            "totals": asdict(self.totals),
            "phases": [{**phase.row, "result": phase.result.to_dict(with_dense=False)} for phase in self.phases],
            "dense": self.dense.to_dict(),
            "notes": list(self.notes),
        }

    def phase_rows(self) -> Iterator[dict[str, Scalar]]:
        """One flat row per phase, with what was simulated in front; the recipe's method and pattern are named so."""
        head = self.head
        head["recipe_method"], head["recipe_pattern"] = head.pop("method"), head.pop("pattern")
        for phase in self.phases:
            yield {**head, **phase.row}

    def to_frame(self) -> "pd.DataFrame":
        """One row per phase, as a pandas frame."""
        import pandas as pd  # noqa: PLC0415  heavy, and only needed here

        return pd.DataFrame(list(self.phase_rows()))

    def __repr__(self) -> str:
        """What was simulated, its phases, and what it gains."""
        return training_summary(self)

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        numbers = {"steps": "{:,}", "cycles": "{:,}", "speedup": "{:.2f}x"}
        units = {"step_latency_s": "s", "latency_s": "s", "energy_j": "J", "dram_bytes": "B"}
        rows = []
        for phase in self.phases:
            row: dict[str, Any] = {name: "-" if value is None else value for name, value in phase.row.items()}
            row |= {name: Number(form.format(row[name]), row[name]) for name, form in numbers.items()}
            row |= {name: Number(show(row[name], unit), row[name]) for name, unit in units.items()}
            rows.append(row)
        title = f"{self.dense.workload} on {self.dense.design}: {self.title}"
        return data_table(title, list(rows[0]), [tuple(row.values()) for row in rows])


def write_training(path: Path, training: TrainingResult) -> None:
    """Write a run: ``.json`` everything, ``.csv`` one row per phase.

    Raises `InputError` for another suffix or a path that cannot be written.
    """
    if path.suffix == ".json":
        write_atomically(path, json.dumps(training.to_dict(), indent=1) + "\n")
    elif path.suffix == ".csv":
        write_rows(path, list(training.phase_rows()))
    else:
        raise InputError(f"{path}: training runs are written as .json or .csv, got '{path.suffix or 'no suffix'}'")


def load_training(path: str | Path) -> TrainingResult:
    """Return the training run in a ``.json`` file. Raises `InputError` that lists every error with its path."""
    path = Path(path)
    return read_training(parse_json(read_text(path), str(path)), str(path))


def read_training(data: Plain, source: str) -> TrainingResult:
    """Return the run in the plain `data` of the file `source`. Raises `InputError` as `load_training`."""
    check_format(data, source, {FORMAT: "simulate -o"})
    read = validate(_training_form(), data, source).model_dump()
    dense = result_of(read["dense"], f"{source}: dense")
    training = TrainingResult(
        **{name: read[name] for name in ("recipe", "method", "pattern", "epochs", "dataset_size")},
        dense_share=_share(read["dense_share"]),
        fine_tune_share=_share(read["fine_tune_share"]),
        phases=tuple(
            PhaseResult(
                name=phase["phase"],
                result=replace(result_of(phase["result"], f"{source}: phases[{index}].result"), dense=dense),
                **{name: phase[name] for name in ("steps", "method", "pattern")},
            )
            for index, phase in enumerate(read["phases"])
        ),
        dense=dense,
        notes=read["notes"],
    )
    problems = list(_impossible(training)) or list(
        contradictions(data, json.loads(json.dumps(training.to_dict())), "", "the steps in the file")
    )
    if problems:
        raise errors_of(source, [f"{source}: {problem}" for problem in problems])
    return training


def _share(data: dict[str, Any] | None) -> Share | None:
    return None if data is None else Share(**data)


def _training_form() -> type[FileModel]:
    """What a run in a file looks like."""
    texts = dict.fromkeys(("phase", "method", "runs"), str)
    numbers = dict.fromkeys(("step_latency_s", "latency_s", "energy_j", "dram_bytes", "speedup"), float)
    phase = make_form(
        "Phase", {**texts, "pattern": str | None, "steps": Count, "cycles": int, **numbers, "result": result_form()}
    )
    head = dict.fromkeys(("workload", "design", "recipe", "method", "engine", "optimizer", "version", "identity"), str)
    return make_form(
        "Training",
        {
            "format": Literal["accelsim-training/2"],
            **head,
            "pattern": str | None,
            "batch": Count,
            **dict.fromkeys(("epochs", "dataset_size"), Count | None),
            **dict.fromkeys(("dense_share", "fine_tune_share"), form_of(Share) | None),
            "totals": form_of(TrainingTotals),
            "phases": several(phase),
            "dense": result_form(),
            "notes": tuple[str, ...],
        },
    )


def _impossible(training: TrainingResult) -> Iterator[str]:
    """Yield what no run has: no phase, and steps that take no time or no energy."""
    if not training.phases:
        yield "phases: at least one is needed"
    for index, phase in enumerate(training.phases):
        for name in ("latency_s", "energy_j"):
            if not (value := getattr(phase.result.step, name)) > 0:
                yield f"phases[{index}].result.step.{name}: got {value:g}; a number above 0 is needed"
