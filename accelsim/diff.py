"""What differs between two traces, sets of results, sweeps or training runs: every value, by identity, side by side.

Everything compared is a row: named fields under a key. A trace is the row of its head and one row per operation, found
by its name; a result is a row of inputs, one per parameter of its design and of its energy table, one of step totals,
and rows of stages, of energy, of layers by name and stage, of masks, and of notes; a sweep is the row of the inputs
that all its points share, one per parameter of its design, and one row per point, found by those inputs that vary; a
training run is a row of inputs, one of totals, one per phase, and the rows of its steps. Rows found on one side only
are added or removed, and rows in another order have moved.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from accelsim.base.errors import InputError
from accelsim.base.files import Plain, parse_json, read_text, validate
from accelsim.hardware.sourced import SourcedModel, leaf_paths, value_at
from accelsim.lowering.seen import SeenOperand, seen_in
from accelsim.lowering.tasks import Note
from accelsim.results.result_file import COMPARISON_FORMAT, read_results
from accelsim.results.step import FORMAT as RESULT_FORMAT
from accelsim.results.step import LayerResult, Result
from accelsim.results.training import FORMAT as TRAINING_FORMAT
from accelsim.results.training import TrainingResult, read_training
from accelsim.sweep.basis_file import read_basis
from accelsim.sweep.results_table import Table, open_table
from accelsim.workload.trace import FORMAT as TRACE_FORMAT
from accelsim.workload.trace import Trace, load_trace, workload_names

__all__ = [
    "Change",
    "Comparison",
    "MaskChange",
    "Section",
    "compare_files",
    "compare_results",
    "compare_rows",
    "compare_sweeps",
    "compare_traces",
    "compare_trainings",
]

FORMAT = "accelsim-diff/1"

_INPUTS = ("workload", "design", "method", "pattern", "batch", "engine", "mode", "optimizer")

Key = tuple[str, ...]
Value = Any  # a text, number, truth value or None, or a tuple of them
Row = Mapping[str, Value]
Keyed = TypeVar("Keyed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field of the row at `key` that differs; None where one side does not have it."""

    key: Key
    field: str
    old: Value
    new: Value

    @property
    def relative(self) -> float | None:
        """The difference of two numbers over the old one; None of others and where the old one is zero."""
        if not (_is_number(self.old) and _is_number(self.new)) or self.old == 0:
            return None
        return float((self.new - self.old) / abs(self.old))


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Rows of one kind: `columns` name the parts of their keys, `of` says whose they are where there are several.

    `moved` rows are as few as explain the new order. `compared` counts the fields of rows that both sides have.
    """

    title: str
    of: str = ""
    columns: tuple[str, ...]
    added: tuple[Key, ...]
    removed: tuple[Key, ...]
    moved: tuple[Key, ...]
    changes: tuple[Change, ...]
    compared: int

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.moved or self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskChange:
    """How the weight of an operation, as one stage reads it, differs between two traces: patterns in words."""

    operation: str
    stage: str
    old: str
    new: str
    old_density: float | None
    new_density: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two traces, sets of results, sweeps or training runs, section by section.

    `masks`: of two traces, which weights were seen to be sparse in another way; the sections have the same in numbers.
    """

    kind: Literal["trace", "results", "sweep", "training"]
    sections: tuple[Section, ...]
    masks: tuple[MaskChange, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return all(section.equal for section in self.sections)

    def to_dict(self) -> dict[str, Plain]:
        """The differences as the ``accelsim-diff/1`` object."""
        sections = []
        for section in self.sections:
            changes = [{**asdict(change), "relative": change.relative} for change in section.changes]
            sections.append({**asdict(section), "changes": changes})
        return {"format": FORMAT, "kind": self.kind, "equal": self.equal, "sections": sections}


def compare_files(old: str | Path, new: str | Path, *, rtol: float = 0.0) -> Comparison:
    """Compare two files of traces, of results or of training runs, told apart by their `format`, or of sweeps.

    A sweep is a ``.csv`` or ``.parquet``. Shipped traces go by name. Numbers differ where they are further apart than
    `rtol` times the larger one. Raises `InputError` for files that cannot be read or hold different kinds of things.
    """
    if not 0 <= rtol < 1:
        raise InputError(f"rtol: got {rtol}; a number from 0 to below 1 is needed")
    first, second = _load(old), _load(new)
    if isinstance(first, Trace) and isinstance(second, Trace):
        return compare_traces(first, second, rtol=rtol)
    if isinstance(first, TrainingResult) and isinstance(second, TrainingResult):
        return compare_trainings(first, second, rtol=rtol)
    if isinstance(first, Table) and isinstance(second, Table):
        return compare_sweeps(first, second, rtol=rtol)
    if isinstance(first, tuple) and isinstance(second, tuple):
        return compare_results(first, second, rtol=rtol)
    raise InputError(f"{old} holds {_words(first)}, {new} {_words(second)}: two of a kind can be compared")


_Side = Trace | TrainingResult | Table | tuple[Result, ...]


def _words(side: _Side) -> str:
    words = {Trace: "a trace", Table: "a sweep", TrainingResult: "a training run"}
    return next((text for kind, text in words.items() if isinstance(side, kind)), "results")


def _load(name: str | Path) -> _Side:
    path = Path(name)
    if str(name) in workload_names() or not path.exists():
        return load_trace(name)
    if path.suffix in {".csv", ".parquet"}:
        return _load_sweep(path)
    if path.suffix not in {".json", ".gz"}:
        raise InputError(f"{path}: got suffix '{path.suffix}'; files are compared as .json, .json.gz, .csv or .parquet")
    text = read_text(path)
    data = parse_json(text, str(path))
    kind = str(data.get("format")).partition("/")[0] if isinstance(data, dict) else ""
    if kind == TRACE_FORMAT.partition("/")[0]:
        return validate(Trace, data, str(path), text=text)
    if kind in {RESULT_FORMAT.partition("/")[0], COMPARISON_FORMAT.partition("/")[0]} or isinstance(data, list):
        return read_results(data, str(path))
    if kind == TRAINING_FORMAT.partition("/")[0]:
        return read_training(data, str(path))
    known = ", ".join((TRACE_FORMAT, RESULT_FORMAT, COMPARISON_FORMAT, TRAINING_FORMAT))
    raise InputError(
        f"{path}: neither a trace nor results nor a training run; the format is one of {known}, or a list of results"
    )


def _load_sweep(path: Path) -> Table:
    table = open_table(path)
    if not {"status", "identity", "sweep", "version"}.issubset(table.columns):
        raise InputError(f"{path}: is no sweep; a .csv or .parquet that is compared must be one, and results a .json")
    return table


def compare_traces(old: Trace, new: Trace, *, rtol: float = 0.0) -> Comparison:
    """Compare two traces: what stands in their heads, then their operations by name."""
    heads, operations = zip(*(_trace_rows(trace) for trace in (old, new)), strict=True)
    return Comparison(
        kind="trace",
        sections=(
            compare_rows("trace", (), *heads, rtol=rtol),
            compare_rows("operations", ("operation",), *operations, rtol=rtol),
        ),
        masks=tuple(_mask_changes(old, new, rtol)),
    )


def _mask_changes(old: Trace, new: Trace, rtol: float) -> Iterator[MaskChange]:
    before, after = ({operation.name: operation for operation in seen_in(trace, ())} for trace in (old, new))
    for name in [name for name in before if name in after]:
        for stage in ("FF", "BP"):
            one, two = before[name].seen(stage), after[name].seen(stage)
            first, second = (None if seen is None else seen.density for seen in (one, two))
            if _mask_words(one) != _mask_words(two) or _differ(first, second, rtol):
                yield MaskChange(
                    operation=name,
                    stage=stage,
                    old=_mask_words(one),
                    new=_mask_words(two),
                    old_density=first,
                    new_density=second,
                )


def _mask_words(seen: SeenOperand | None) -> str:
    """The masks of a stage in words."""
    if seen is None:
        return "not seen"
    if seen.unstructured:
        return "unstructured"
    return seen.pattern or "dense"


def _trace_rows(trace: Trace) -> tuple[dict[Key, Row], dict[Key, Row]]:
    data = trace.model_dump(mode="json", exclude_none=True)
    operations = data.pop("operations")
    return {(): dict(_leaves(data))}, {(entry.pop("name"),): dict(_leaves(entry)) for entry in operations}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Value]]:
    """Yield dotted paths and values; a list of plain values is one, entries of other lists go by name or number."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for index, inner in enumerate(value):
            name = inner.pop("name", None) if isinstance(inner, dict) else None
            yield from _leaves(inner, f"{path}[{index if name is None else name}]")
    elif value != []:
        yield path, tuple(value) if isinstance(value, list) else value


def compare_results(old: Sequence[Result], new: Sequence[Result], *, rtol: float = 0.0) -> Comparison:
    """Compare results: which there are, then for each pair the inputs, step totals, stages, energy, layers and notes.

    Results are paired by those of their inputs that vary within a file.
    """
    columns = [name for name in _INPUTS if any(len({getattr(item, name) for item in side}) > 1 for side in (old, new))]
    first, second = (_by_key((_texts(item, columns), item) for item in side) for side in (old, new))
    sections = [compare_rows("results", columns, {key: {} for key in first}, {key: {} for key in second}, rtol=rtol)]
    for key, before in first.items():
        if key in second:
            sections += _result_sections(before, second[key], rtol, " ".join(key))
    return Comparison(kind="results", sections=tuple(sections))


def _result_sections(old: Result, new: Result, rtol: float, of: str) -> list[Section]:
    rows = zip(_result_rows(old), _result_rows(new), strict=True)
    return [compare_rows(title, names, older, newer, rtol=rtol, of=of) for (title, names, older), (_, _, newer) in rows]


def _texts(item: Result | LayerResult | Note, names: Iterable[str]) -> Key:
    return tuple(str(getattr(item, name) or "-") for name in names)


def _by_key(rows: Iterable[tuple[Key, Keyed]]) -> dict[Key, Keyed]:
    """Index rows by key; of several with one key the second is numbered 2, and so on."""
    seen: Counter[Key] = Counter()
    found = {}
    for key, row in rows:
        seen[key] += 1
        found[key if seen[key] == 1 else (*key, f"#{seen[key]}")] = row
    return found


def _result_rows(result: Result) -> Iterator[tuple[str, Sequence[str], dict[Key, Row]]]:
    """Yield what is compared of a result: a title, the columns of the keys, and the rows."""
    basis, options = result.basis, result.basis.case.to_dict()
    overrides = basis.case.overrides
    sparse = tuple(glob if pattern is None else f"{glob}={pattern}" for glob, pattern in overrides.sparse)
    forced = {"dense": overrides.dense, "sparse": sparse}
    about = {
        "trace": basis.trace_sha256,
        "plan": basis.plan_sha256,
        "version": result.version,
        "identity": result.identity,
    }
    yield "inputs", (), {(): {**result.head, **options, **forced, **about}}
    yield "design", ("parameter",), _parameters(basis.design)
    yield "energy table", ("parameter",), _parameters(basis.energy_table)
    yield "step", (), {(): asdict(result.step)}
    yield "stages", ("stage",), {(name,): asdict(stage) for name, stage in result.stage_items}
    yield "energy", (), {(): asdict(result.energy)}
    layers = ((_texts(layer, ("name", "stage")), _layer_row(layer)) for layer in result.layers)
    yield "layers", ("layer", "stage"), _by_key(layers)
    masks: dict[Key, Row] = {
        (operation.name, seen.stage): {"masks": _mask_words(seen), "density": seen.density}
        for operation in result.operations
        for seen in operation.operands
    }
    yield "masks", ("operation", "stage"), masks
    notes = ("operation", "stage", "text")
    yield "notes", notes, {_texts(note, notes): {} for note in result.notes}


def _parameters(model: SourcedModel) -> dict[Key, Row]:
    return {(path,): {"value": value_at(model, path)} for path in leaf_paths(type(model))}


def _layer_row(layer: LayerResult) -> Row:
    """A layer without its time, which says what its cycles do."""
    return {name: value for name, value in asdict(layer).items() if name != "latency_s"}


def compare_sweeps(old: Table, new: Table, *, rtol: float = 0.0) -> Comparison:
    """Compare the results of two sweeps: the inputs that their points share, then the points.

    Points are paired by those of their inputs that vary within a file. A point has its outcome, its metrics and its
    identity, which differs where anything that it rests on does, as with a changed trace.
    """
    inputs = dict.fromkeys((*old.inputs, *new.inputs))
    values = [_values_of(table) for table in (old, new)]
    varied = [name for name in inputs if any(len(found.get(name, ())) > 1 for found in values)]
    sides = [_sweep_rows(table, found, varied) for table, found in zip((old, new), values, strict=True)]
    (shared, points), (other_shared, other_points) = sides
    return Comparison(
        kind="sweep",
        sections=(
            compare_rows("inputs", (), {(): shared}, {(): other_shared}, rtol=rtol),
            *_basis_sections(old, new, rtol),
            compare_rows("points", varied, points, other_points, rtol=rtol),
        ),
    )


def _basis_sections(old: Table, new: Table, rtol: float) -> Iterator[Section]:
    """Compare the designs and energy tables of two sweeps, where they stand beside the rows of both."""
    first, second = (read_basis(Path(table.path), str(next(table.rows(("sweep",)))["sweep"])) for table in (old, new))
    if first is None or second is None:
        return
    yield compare_rows("design", ("parameter",), _parameters(first.design), _parameters(second.design), rtol=rtol)
    tables: list[dict[Key, Row]] = [
        {(table.name, path): row for table in side.energy_tables for (path,), row in _parameters(table).items()}
        for side in (first, second)
    ]
    yield compare_rows("energy tables", ("table", "parameter"), *tables, rtol=rtol)


def _values_of(table: Table) -> dict[str, set[Value]]:
    found: dict[str, set[Value]] = {name: set() for name in (*table.inputs, "sweep", "version")}
    for row in table.rows(found):
        for name, values in found.items():
            values.add(row[name])
    return found


def _sweep_rows(table: Table, values: Mapping[str, set[Value]], varied: Sequence[str]) -> tuple[Row, dict[Key, Row]]:
    shared = {name: next(iter(found)) for name, found in values.items() if name not in varied and len(found) == 1}
    fields = [name for name in table.columns if name not in values]
    rows = table.rows()
    points: dict[Key, Row] = _by_key(
        (tuple(_text_of(row.get(name)) for name in varied), {name: row[name] for name in fields}) for row in rows
    )
    return shared, points


def _text_of(value: Value) -> str:
    return "-" if value is None else str(value)


def compare_trainings(old: TrainingResult, new: TrainingResult, *, rtol: float = 0.0) -> Comparison:
    """Compare training runs: inputs, totals, phases by name, notes, then the distinct steps of phases on both sides."""
    rows = zip(_training_rows(old), _training_rows(new), strict=True)
    sections = [compare_rows(title, names, before, after, rtol=rtol) for (title, names, before), (_, _, after) in rows]
    steps = {phase.name: phase.result for phase in new.phases}
    pairs: dict[tuple[Result, Result], str] = {}
    for phase in old.phases:
        if phase.name in steps:
            pairs.setdefault((phase.result, steps[phase.name]), phase.name)
    for (before, after), name in pairs.items():
        sections += _result_sections(before, after, rtol, name)
    return Comparison(kind="training", sections=tuple(sections))


def _training_rows(run: TrainingResult) -> Iterator[tuple[str, Sequence[str], dict[Key, Row]]]:
    shares = {"dense_share": run.dense_share, "fine_tune_share": run.fine_tune_share}
    inputs = {**run.head, **{name: share and share.value for name, share in shares.items()}}
    yield "inputs", (), {(): {**inputs, "version": run.dense.version, "identity": run.identity}}
    yield "totals", (), {(): asdict(run.totals)}
    rows = ({name: value for name, value in phase.row.items() if name != "phase"} for phase in run.phases)
    yield "phases", ("phase",), _by_key(zip(((phase.name,) for phase in run.phases), rows, strict=True))
    yield "notes", ("text",), {(text,): {} for text in run.notes}


def compare_rows(
    title: str,
    columns: Sequence[str],
    old: Mapping[Key, Row],
    new: Mapping[Key, Row],
    *,
    rtol: float = 0.0,
    of: str = "",
) -> Section:
    """Compare rows by their keys, whose parts `columns` names, and the fields of those that both sides have."""
    shared = [key for key in old if key in new]
    changes, compared = [], 0
    for key in shared:
        before, after = old[key], new[key]
        names = dict.fromkeys((*before, *after))
        compared += len(names)
        changes += [
            Change(key=key, field=name, old=before.get(name), new=after.get(name))
            for name in names
            if _differ(before.get(name), after.get(name), rtol)
        ]
    return Section(
        title=title,
        of=of,
        columns=tuple(columns),
        added=tuple(key for key in new if key not in old),
        removed=tuple(key for key in old if key not in new),
        moved=_moved(shared, [key for key in new if key in old]),
        changes=tuple(changes),
        compared=compared,
    )


def _moved(old: Sequence[Key], new: Sequence[Key]) -> tuple[Key, ...]:
    """Return the fewest keys without which both orders are the same: all but a longest increasing run of positions."""
    place = {key: index for index, key in enumerate(old)}
    ends: list[int] = []  # the least position that a run of each length can end with
    lengths = []
    for key in new:
        length = bisect_left(ends, place[key])
        ends[length : length + 1] = [place[key]]
        lengths.append(length)
    kept, wanted = set(), len(ends) - 1
    for key, length in zip(reversed(new), reversed(lengths), strict=True):
        if length == wanted:
            kept.add(key)
            wanted -= 1
    return tuple(key for key in new if key not in kept)


def _differ(old: Value, new: Value, rtol: float) -> bool:
    if _is_number(old) and _is_number(new):
        return bool(old != new and abs(new - old) > rtol * max(abs(old), abs(new)))
    if isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
        return any(_differ(*pair, rtol) for pair in zip(old, new, strict=True))
    return bool(isinstance(old, bool) is not isinstance(new, bool) or old != new)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
