"""What the points of a sweep rest on, by content: the design they change, traces and energy tables.

A point's identity is the SHA-256 of everything its numbers depend on but the version of the model, so that rows of two
versions can be held against each other.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from accelsim.base.carrying import recording
from accelsim.base.errors import InputError
from accelsim.base.files import Plain, Value, packaged_path
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.energy_table import load_energy_table
from accelsim.hardware.sourced import leaf_paths, read_scalar, value_at
from accelsim.sweep.point import Point
from accelsim.workload.names import workloads_of
from accelsim.workload.trace import load_trace

__all__ = ["Identities", "Inputs", "base_values", "check_inputs", "files_of", "read_inputs"]

_Digests = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The design by name and digest, and the digests of the traces and energy tables by name.

    `called`: what rows call the design and the traces, as results do: by the name in the file, and by model; by file as
    well where several traces are of one model.
    """

    design: str
    design_digest: str
    traces: _Digests
    tables: _Digests
    called: tuple[tuple[str, str], ...]

    def name_of(self, source: str) -> str:
        """Return what rows call the design or trace that a shipped name or file stands for."""
        return dict(self.called)[source]


def read_inputs(design: str, traces: tuple[str, ...], tables: tuple[str, ...]) -> Inputs:
    """Load everything and return its digests. Raises `InputError` for what cannot be read."""
    return Inputs(
        design=design,
        design_digest=_digest(base_values(load_design(design))),
        traces=tuple((name, _trace_digest(name)) for name in traces),
        tables=tuple((name, _digest(load_energy_table(name).model_dump(mode="json"))) for name in tables),
        called=tuple(_called(design, traces)),
    )


def _called(design: str, traces: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    yield from zip(traces, workloads_of(traces, [load_trace(name).model for name in traces]), strict=True)
    yield design, load_design(design).name


def _read_again(inputs: Inputs) -> Inputs:
    return read_inputs(inputs.design, *(tuple(name for name, _ in part) for part in (inputs.traces, inputs.tables)))


def files_of(inputs: Inputs) -> dict[str, bytes]:
    """Return the files that inputs are read from, by path, but those that are shipped: what another machine lacks."""
    with recording() as files:
        _read_again(inputs)
    shipped = [packaged_path(folder).resolve() for folder in ("hw_configs", "workloads")]
    return {
        path: content
        for path, content in files.items()
        if not any(Path(path).resolve().is_relative_to(folder) for folder in shipped)
    }


@lru_cache(maxsize=8)
def check_inputs(inputs: Inputs) -> None:
    """Refuse to go on where this process reads other inputs under the same names, as on another machine."""
    found = _read_again(inputs)
    pairs = [(inputs.design, inputs.design_digest), *inputs.traces, *inputs.tables]
    others = [(found.design, found.design_digest), *found.traces, *found.tables]
    changed = [name for (name, digest), (_, other) in zip(pairs, others, strict=True) if digest != other]
    if changed:
        raise InputError(
            f"{changed[0]}: holds something else where the points are evaluated than where the sweep began"
        )


def base_values(design: Design) -> dict[str, Value]:
    """Return the values of a design by dotted path, lists as tuples; its name and description are none of them."""
    values: dict[str, Value] = {}
    for path in leaf_paths(Design):
        values[path] = value_at(design, path)
    return values


class Identities:
    """Identities of points that change one design: the SHA-256 of a text of everything their numbers depend on.

    A value changed to what the design says anyway makes no difference, nor does ``80`` for a field that reads ``80.0``.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._base = base_values(load_design(inputs.design))
        self._texts = {path: json.dumps([path, value]) for path, value in sorted(self._base.items())}
        self._traces, self._tables = dict(inputs.traces), dict(inputs.tables)

    def of(self, point: Point) -> str:
        """Return the identity of a point."""
        texts, energy = dict(self._texts), str(self._base["energy"])
        for path, text in point.changes:
            value = read_scalar(text)
            if isinstance(self._base[path], float) and isinstance(value, int):
                value = float(value)
            texts[path] = json.dumps([path, value])
            energy = str(value) if path == "energy" else energy
        head = point.case.head
        step = [head[name] for name in ("method", "pattern", "batch", "optimizer", "engine", "accumulate")]
        parts = (self._traces[point.workload], self._tables[energy], json.dumps(step), *texts.values())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _trace_digest(name: str) -> str:
    return _digest(load_trace(name).model_dump(mode="json", exclude={"origin"}, exclude_defaults=True))


def _digest(values: Plain) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
