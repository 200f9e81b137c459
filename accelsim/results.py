"""Results: a step with its stages and layers, as values, as ``accelsim-result/1`` JSON and as flat rows."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelsim.energy import Energy
from accelsim.errors import InputError
from accelsim.files import write_atomically
from accelsim.step import Note

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LayerResult", "Result", "StageResult", "StepResult", "write_results"]

FORMAT = "accelsim-result/1"


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
    array_cycles: int
    utilisation: float | None
    macs_dense: int
    macs_executed: int
    dram_bytes: float
    energy_j: float
    bound: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A simulated step: identity, totals, stages, layers, energy by component, notes and the design's assumptions."""

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

    @property
    def stages(self) -> dict[str, StageResult]:
        """Stages by name: FF, BP, WU, GENERATE, UPDATE, VECTOR."""
        return dict(self.stage_items)

    @property
    def head(self) -> dict[str, Any]:
        """What was simulated, in flat form."""
        names = ("workload", "design", "method", "pattern", "batch", "engine", "mode", "optimizer")
        return {name: getattr(self, name) for name in names}

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

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        cells = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in asdict(self.step).items())
        title = f"{self.workload} on {self.design}: {self.method} {self.pattern or ''} batch {self.batch}"
        return f"<table><caption>{title}</caption>{cells}</table>"


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
        rows = [row for result in results for row in result.layer_rows()]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue())
    else:
        raise InputError(f"{path}: results are written as .json or .csv, got '{path.suffix or 'no suffix'}'")
