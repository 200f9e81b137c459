"""Files of results: ``accelsim-result/2``, lists of such objects, and comparisons.

A result holds all that it rests on: the `design` and the `energy_table` with every value and its source, the `options`,
and SHA-256 of the trace and of the plan. A file is refused where its identity or its totals do not follow from what
else is in it. A comparison, ``accelsim-comparison/2``, is an object with the list of its `results`; each has one more
key, `relative_speedup`: the step latency of the first result of its workload over its own. The `dense` step that the
speedup is over stands in the result, unless it is a result of the same file.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

from accelsim.base.cells import safe_cell
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
from accelsim.base.ratios import relative_speedup
from accelsim.hardware.design import Design
from accelsim.hardware.energy_table import EnergyTable
from accelsim.hardware.stored import StoredModel, restored
from accelsim.lowering.case import Case, StoredCase, case_from
from accelsim.lowering.seen import SeenOperand, SeenOperation
from accelsim.lowering.step_memory import StepMemory
from accelsim.lowering.tasks import Note, Stage
from accelsim.results.energy import Energy
from accelsim.results.performance import stages_of, totals_of
from accelsim.results.step import FORMAT, Basis, LayerResult, Result, Results, StageResult, StepResult

__all__ = [
    "COMPARISON_FORMAT",
    "comparison",
    "contradictions",
    "load_results",
    "read_results",
    "result_form",
    "result_of",
    "write_results",
    "write_rows",
]

COMPARISON_FORMAT = "accelsim-comparison/2"

_RESULT = {FORMAT: "simulate -o"}
_EITHER = {**_RESULT, COMPARISON_FORMAT: "compare --json"}


def write_results(path: Path, results: list[Result]) -> None:
    """Write results: ``.json`` the full objects (a list where there are several), ``.csv`` one row per layer.

    Raises `InputError` for another suffix or a path that cannot be written.
    """
    if path.suffix == ".json":
        data = plain_results(results)
        write_atomically(path, json.dumps(data[0] if len(data) == 1 else data, indent=1) + "\n")
    elif path.suffix == ".csv":
        write_rows(path, [row for result in results for row in result.layer_rows()])
    else:
        raise InputError(f"{path}: results are written as .json or .csv, got '{path.suffix or 'no suffix'}'")


def plain_results(results: Sequence[Result]) -> list[dict[str, Plain]]:
    """Return results as plain data; a dense step that is one of them does not stand in the others as well."""
    return [result.to_dict(with_dense=result.dense not in results) for result in results]


def write_rows(path: Path, rows: Sequence[Mapping[str, Scalar]]) -> None:
    """Write flat rows of the same fields as a ``.csv``. Raises `InputError` for a path that cannot be written."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: safe_cell(cell) for name, cell in row.items()} for row in rows)
    write_atomically(path, text.getvalue())


def comparison(groups: Iterable[Sequence[Result]]) -> dict[str, Plain]:
    """Return the ``accelsim-comparison/2`` object of results, workload by workload."""
    entries = [
        {**plain, "relative_speedup": relative_speedup(group[0].step.latency_s, result.step.latency_s)}
        for group in groups
        for result, plain in zip(group, plain_results(group), strict=True)
    ]
    return {"format": COMPARISON_FORMAT, "results": entries}


def load_results(path: str | Path) -> Results:
    """Return the results in a file: of one result, of a list of them, or of a comparison.

    Args:
        path: a ``.json`` file, as ``accelsim simulate -o`` and ``accelsim compare -o`` write it.

    Raises `InputError` that lists every error of the file with its path, and for a result that does not match its
    identity.

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
    label = path.name.removesuffix(".gz").removesuffix(".json")
    found = read_results(parse_json(read_text(path), str(path)), str(path))
    return Results(replace(result, label=label) for result in found)


def read_results(data: Plain, source: str) -> Results:
    """Return the results in the plain `data` of the file `source`. Raises `InputError` as `load_results`."""
    if isinstance(data, list):
        return _linked(
            result_of(_checked(result_form(), entry, place), place)
            for entry, place in ((entry, f"{source}[{index}]") for index, entry in enumerate(data))
        )
    if check_format(data, source, _EITHER) == FORMAT:
        return Results([result_of(_checked(result_form(), data, source), source)])
    entry = result_form(relative_speedup=float)
    form = make_form("Comparison", {"format": Literal["accelsim-comparison/2"], "results": several(entry)})
    listed = data.get("results") if isinstance(data, dict) else None
    for index, each in enumerate(listed if isinstance(listed, list) else ()):
        check_format(each, f"{source}: results[{index}]", _RESULT)
    read = validate(form, data, source).model_dump()["results"]
    return _linked(result_of(each, f"{source}: results[{index}]") for index, each in enumerate(read))


def _linked(results: Iterable[Result]) -> Results:
    """Give results of one file without a dense step of their own the one that is beside them."""
    found = list(results)
    beside = [result for result in found if result.dense is None]
    return Results(
        result
        if result.dense or (dense := next((one for one in beside if is_dense_of(one, result)), None)) is None
        else replace(result, dense=dense)
        for result in found
    )


def is_dense_of(dense: Result, result: Result) -> bool:
    """Whether a result is the dense step that the speedup of another, which is not it, is over."""
    basis = replace(result.basis, case=result.basis.case.dense, plan_sha256=dense.basis.plan_sha256)
    return dense.identity != result.identity and basis.identity(result.version) == dense.identity


def _checked(form: type[FileModel], data: Plain, source: str) -> dict[str, Any]:
    check_format(data, source, _RESULT)
    read: dict[str, Any] = validate(form, data, source).model_dump()
    return read


def result_form(**more: type) -> type[FileModel]:
    """What a result in a file looks like: every field, and nothing else but `more`."""
    fields = _fields()
    return make_form("Result", {**fields, "dense": make_form("Dense", {**fields, "dense": None}) | None, **more})


def _fields() -> dict[str, Any]:
    operands = several(form_of(SeenOperand))
    return {
        "format": Literal["accelsim-result/2"],
        "workload": str,
        "design": StoredModel,
        "energy_table": StoredModel,
        "options": StoredCase,
        **dict.fromkeys(("trace_sha256", "plan_sha256", "version", "identity"), str),
        "step": form_of(StepResult),
        "stages": make_form("Stages", dict.fromkeys(Stage, form_of(StageResult))),
        "energy": form_of(Energy),
        "memory": form_of(StepMemory),
        "layers": several(form_of(LayerResult)),
        "notes": several(form_of(Note)),
        "operations": several(
            make_form("SeenOperation", {"name": str, "kind": str, "weights": int, "operands": operands})
        ),
    }


def result_of(data: dict[str, Any], source: str) -> Result:
    """Return the result in plain data that `result_form` has checked.

    Raises `InputError` where values cannot be, and where the identity or the totals do not follow from the rest.
    """
    basis = Basis(
        workload=data["workload"],
        design=restored(Design, StoredModel(**data["design"]), f"{source}: design"),
        energy_table=restored(EnergyTable, StoredModel(**data["energy_table"]), f"{source}: energy_table"),
        case=_case_of(data["options"], f"{source}: options"),
        trace_sha256=data["trace_sha256"],
        plan_sha256=data["plan_sha256"],
    )
    result = Result(
        basis=basis,
        version=data["version"],
        identity=data["identity"],
        step=StepResult(**data["step"]),
        stage_items=tuple((name, StageResult(**stage)) for name, stage in data["stages"].items()),
        energy=Energy(**data["energy"]),
        memory=StepMemory(**data["memory"]),
        layers=tuple(LayerResult(**layer) for layer in data["layers"]),
        notes=tuple(Note(**note) for note in data["notes"]),
        operations=tuple(
            SeenOperation(**{**each, "operands": tuple(SeenOperand(**one) for one in each["operands"])})
            for each in data["operations"]
        ),
        dense=None if data["dense"] is None else result_of(data["dense"], f"{source}: dense"),
    )
    if basis.identity(result.version) != result.identity:
        raise InputError(
            f"{source}: identity: is not that of the workload, design, energy_table, options, trace, plan and version"
            " here, one of which was changed after the step was simulated; simulate it again"
        )
    problems = [*_of_numbers(result), *_of_dense(result), *_of_totals(result)]
    if problems:
        raise errors_of(source, [f"{source}: {problem}" for problem in problems])
    return result


def _case_of(data: dict[str, Any], source: str) -> Case:
    try:
        return case_from(StoredCase(**data))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _of_numbers(result: Result) -> Iterator[str]:
    """Yield numbers below zero: none of a result can be."""
    for place, values in _parts(result):
        for name in (field.name for field in fields(values)):
            value = getattr(values, name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and number < 0:
                    yield f"{place}.{name}: got {json.dumps(value)}; a number from 0 is needed"


def _parts(result: Result) -> Iterator[tuple[str, LayerResult | Energy | SeenOperation | SeenOperand]]:
    """Yield what holds numbers of its own, with its path."""
    yield "energy", result.energy
    for index, layer in enumerate(result.layers):
        yield f"layers[{index}]", layer
    for index, operation in enumerate(result.operations):
        yield f"operations[{index}]", operation
        for at, operand in enumerate(operation.operands):
            yield f"operations[{index}].operands[{at}]", operand


def _of_dense(result: Result) -> Iterator[str]:
    """Yield where the dense step in a result is not its own."""
    dense = result.dense
    if dense is None:
        return
    if not is_dense_of(dense, result):
        yield "dense: is not the dense step of this workload on this design under the same options"
    elif result.step.cycles > 0:
        wanted = dense.step.cycles / result.step.cycles
        yield from contradictions(result.step.speedup, wanted, "step.speedup", "the dense step")


def _of_totals(result: Result) -> Iterator[str]:
    """Yield the numbers of a result that do not follow from its layers, energy and design."""
    layers, step, clock_hz = result.layers, result.step, result.basis.design.clock_hz
    for index, layer in enumerate(layers):
        latency = layer.cycles / clock_hz
        yield from contradictions(layer.latency_s, latency, f"layers[{index}].latency_s", "its cycles and the clock")
    if step.cycles < 1:
        yield f"step.cycles: got {step.cycles}; a step takes at least one"
    if not sum(layer.cycles for layer in layers) > 0 or step.cycles < 1:
        return
    stages = stages_of(layers, result.basis.design)
    wanted = {name: asdict(stage) for name, stage in stages}
    yield from contradictions({name: asdict(stage) for name, stage in result.stage_items}, wanted, "stages", _LAYERS)
    dense_cycles = round(step.speedup * step.cycles)
    totals = totals_of(layers, stages, result.energy, result.basis, dense_cycles)
    yield from contradictions(asdict(step), asdict(totals), "step", _LAYERS)


_LAYERS = "the layers, the energy and the design"


def contradictions(found: Any, wanted: Plain, path: str, of: str) -> Iterator[str]:
    """Yield the plain values at and below `path` that are not as wanted, which follows from what `of` names."""
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            place = f"{path}.{name}" if path else name
            if name in found:
                yield from contradictions(found[name], value, place, of)
            else:
                yield f"{place}: missing; from {of} follows {json.dumps(value)}"
    elif isinstance(wanted, list):
        for index, pair in enumerate(zip(found, wanted, strict=True)):
            yield from contradictions(*pair, f"{path}[{index}]", of)
    elif found != wanted:
        yield f"{path}: got {json.dumps(found)}; from {of} follows {json.dumps(wanted)}"
