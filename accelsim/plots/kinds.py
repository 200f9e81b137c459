"""Kinds of figures: from which files each is drawn, what it shows of them, and how.

``accelsim plot`` and reports take figures from here. Every kind but ``ablation`` is also drawn from a ``.csv`` with the
columns of its frame, such as the one that is written beside each figure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.plugins import Registry
from accelsim.hardware.design import check_same
from accelsim.plots import compose, frames
from accelsim.plots.ablation import panel_frame
from accelsim.plots.compose import Draw, Drawing
from accelsim.plots.sources import FORMS, Condition, PlotSource, as_text, checked, joined, kept
from accelsim.plots.text import LARGER_IS_BETTER, said
from accelsim.plots.timeline import MOST_JOBS, draw_timeline, timeline_frame
from accelsim.results.ablation import read_rows
from accelsim.results.published import SPEEDUP as PUBLISHED_SPEEDUP
from accelsim.results.step import Result, with_dense_steps
from accelsim.sparsity.methods import case_name
from accelsim.sweep.fronts import why_one_point
from accelsim.sweep.results_table import number_of, read_formula

__all__ = ["KINDS", "Choice", "Kind", "find_kind", "guess_kinds", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to show of the files; `where` are conditions of rows to keep, `settings` changes of the design."""

    layer: str | None = None
    x: str | None = None
    y: str | None = None
    value: str | None = None
    by: str | None = None
    where: tuple[Condition, ...] = ()
    hw: str | None = None
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of figure: how it is built, the forms that it `reads` besides tables, and the choices that it knows."""

    build: Callable[[Sequence[PlotSource], Choice], Drawing]
    reads: tuple[str, ...] = ("results",)
    knows: tuple[str, ...] = ("where",)


def find_kind(name: str) -> Kind:
    """Return a kind of figure by its name. Raises `InputError` with the nearest name."""
    if name not in KINDS:
        raise InputError(f"no such figure '{name}'{did_you_mean(name, KINDS)}; allowed: {', '.join(KINDS)}")
    return KINDS[name]


def guess_kinds(sources: Sequence[PlotSource]) -> list[str]:
    """Return the kinds that can be drawn from files as they are, the most obvious first; none where nothing is."""
    form = sources[0].form
    if form == "results":
        results = [result for source in sources for result in source.data]
        if len(results) == 1:
            layers = ["layer-speedup"] if results[0].dense is not None else []
            return ["stages", "energy", *layers, "utilisation", "mapping", "roofline"]
        alone = len({result.workload for result in results}) == 1
        return ["speedup", "stages", "energy", *(["layer-speedup"] if alone else [])]
    if form != "table":
        return [name for name, kind in KINDS.items() if form in kind.reads]
    columns = {column for source in sources for column in source.data.columns}
    if "status" in columns:  # of a sweep
        axes = len(frames.sweep_axes(sources[0].data))
        return {1: ["sweep", "pareto"], 2: ["sweep-map", "sweep", "pareto", "sensitivity"]}.get(axes, [])
    return [name for name, wanted in _SIGNS.items() if wanted <= columns]


def prepare(name: str, sources: Sequence[PlotSource], choice: Choice | None = None) -> Drawing:
    """Return what a kind of figure shows of files.

    Raises `InputError` for files of other kinds, missing columns, empty numbers, choices that the kind does not know
    and whatever cannot be drawn together, such as results of different versions.
    """
    kind, choice = find_kind(name), choice or Choice()
    for option, word in _OPTIONS.items():
        if getattr(choice, option) and option not in kind.knows:
            owners = [other for other, its in KINDS.items() if option in its.knows]
            raise InputError(f"{word}: {name} does not know it; it belongs to {', '.join(owners)}")
    forms = list(dict.fromkeys(source.form for source in sources))
    if len(forms) > 1:
        pair = [next(source for source in sources if source.form == form) for form in forms[:2]]
        raise InputError(
            f"{pair[0].path}: holds {FORMS[forms[0]]}, {pair[1].path} {FORMS[forms[1]]}; one figure shows one of them"
        )
    if forms[0] not in (*kind.reads, "table"):
        others = ", ".join(guess_kinds(sources))
        raise InputError(f"{sources[0].path}: holds {FORMS[forms[0]]}; {name} is not drawn from that, but {others}")
    if kind.reads == ("timeline",) and len(sources) > 1:
        raise InputError(f"{sources[1].path}: {name} shows one file")
    return kind.build(sources, choice)


_OPTIONS = {"layer": "--layer", "x": "-x", "y": "-y", "value": "--value", "by": "--by", "where": "--where",
            "hw": "--hw", "settings": "--set"}  # fmt: skip


# Results


def _results(sources: Sequence[PlotSource], where: Sequence[Condition]) -> list[Result]:
    results = [result for source in sources for result in source.data]
    heads = pd.DataFrame([result.head for result in results])
    return [results[index] for index in kept(heads, where, sources[0].path).index]


def _beside_dense(make: Callable[[Sequence[Result]], pd.DataFrame], results: Sequence[Result]) -> pd.DataFrame:
    """The frame of results with the dense steps that they hold."""
    return make(with_dense_steps(results))


def _title(results: Sequence[Result]) -> str:
    """What all results have in common, in words."""
    heads = [result.head for result in results]
    same = {name: heads[0][name] for name in heads[0] if len({head[name] for head in heads}) == 1}
    method = case_name(same["method"], same["pattern"]) if {"method", "pattern"} <= same.keys() else ""
    words = [" on ".join(str(same[name]) for name in ("workload", "design") if name in same), method]
    words += [f"batch {same['batch']}" if "batch" in same else ""]
    words += [f"engine {same['engine']}" if same.get("engine", "closed") != "closed" else ""]
    return ", ".join(word for word in words if word)


def _of_results(
    name: str,
    make: Callable[[Sequence[Result]], pd.DataFrame],
    draw_frame: Draw,
    texts: Sequence[str],
    numbers: Sequence[str],
    sources: Sequence[PlotSource],
    choice: Choice,
) -> Drawing:
    """Build a kind from results, or from a table with its columns."""
    if sources[0].form == "table":
        frame = checked(joined(sources, choice.where), name, sources[0].path, texts, numbers)
        return Drawing(frame=frame, draw=draw_frame)
    results = _results(sources, choice.where)
    return Drawing(frame=make(results), draw=draw_frame, title=_title(results))


def _training(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    show = partial(compose.draw_stacks, part="phase", label="time of the run relative to {}")
    if sources[0].form == "training":
        runs = [run for source in sources for run in source.data]
        title = (
            f"{runs[0].dense.design}, {runs[0].totals.steps:,} steps of {runs[0].dense.batch} samples"
            if len(runs) == 1
            else ""
        )
        return Drawing(frame=frames.training_frame(runs), draw=show, title=title)
    table = joined(sources, choice.where)
    if "recipe" in table:  # the phases that simulate -o writes
        needed = checked(table, "training", sources[0].path, ("workload", "recipe", "recipe_method", "phase"),
                          ("latency_s", "speedup"))  # fmt: skip
        return Drawing(frame=frames.phase_frame(needed), draw=show)
    frame = checked(table, "training", sources[0].path, ("workload", "case", "phase"), ("share", "gain"))
    return Drawing(frame=frame, draw=show)


def _phases(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    if sources[0].form == "training":
        runs = [run for source in sources for run in source.data]
        frame = frames.course_frame(runs, choice.value)
        title = f"{runs[0].dense.workload} on {runs[0].dense.design}: {runs[0].title}"
    else:
        frame = checked(joined(sources, choice.where), "phases", sources[0].path, ("layer", "phase"),
                        ("step", "steps", "speedup"))  # fmt: skip
        title = ""
    layers = list(dict.fromkeys(frame["layer"]))
    if choice.layer is not None and choice.layer not in layers:
        hint = did_you_mean(choice.layer, layers)
        raise InputError(f"--layer {choice.layer}: {sources[0].path} has no such layer with a mask{hint}")
    return Drawing(frame=frame, draw=partial(compose.draw_course, layer=choice.layer), title=title)


def _roofline(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    if sources[0].form == "table":
        frame = checked(joined(sources, choice.where), "roofline", sources[0].path, ("kind", "layer", "pattern"),
                         ("intensity", "gops"))  # fmt: skip
        return Drawing(frame=frame, draw=compose.draw_roofline)
    results = _results(sources, choice.where)
    for result in results:
        check_same(result.basis.design, sources[0].path, [choice.hw] if choice.hw else (), dict(choice.settings))
    return Drawing(frame=frames.roofline_frame(results), draw=compose.draw_roofline, title=_title(results))


def _timeline(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    if sources[0].form == "table":
        texts, numbers = ("panel", "lane", "kind"), ("panel_start_s", "panel_end_s", "start_s", "end_s")
        return Drawing(frame=checked(joined(sources), "timeline", sources[0].path, texts, numbers), draw=draw_timeline)
    timeline = sources[0].data
    frame = timeline_frame(timeline, choice.layer)
    title = timeline.about.title if choice.layer is None else f"{timeline.about.title}: {choice.layer}"
    jobs = frame[frame["kind"] == "job"]["panel"].value_counts()
    notes = (f"jobs are left out where a panel has more than {MOST_JOBS}",) if (jobs > MOST_JOBS).any() else ()
    return Drawing(frame=frame, draw=draw_timeline, title=title, notes=notes)


# Sweeps


def _feasible(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the points that could be simulated, and a note on how many could not."""
    if "status" not in frame:
        return frame, ()
    done = frame["status"] == "ok"
    count = int((~done).sum())
    return frame[done], (f"{count} of {len(frame)} points are not shown, as they were not feasible",) if count else ()


def _is_number(frame: pd.DataFrame, column: str) -> bool:
    return bool(pd.api.types.is_numeric_dtype(frame[column]))


def _known(frame: pd.DataFrame, column: str, option: str, path: str) -> str:
    if column not in frame:
        raise InputError(f"{option} {column}: {path} has no such column{did_you_mean(column, frame.columns)}")
    return column


def _fixed(table: pd.DataFrame, besides: Sequence[str]) -> str:
    """What all points of a sweep have in common, in words: workload, machine, method, batch, and fixed values."""
    same = {name: table[name].iloc[0] for name in table.columns if len(table[name].unique()) == 1}
    about = [str(same[name]) for name in ("workload", "design") if name in same]
    method = str(same["method"]) if isinstance(same.get("method"), str) else ""
    pattern = str(same["pattern"]) if isinstance(same.get("pattern"), str) else ""
    words = [" on ".join(about), f"{method} {pattern}".strip()]
    words += [f"batch {same['batch']}"] if "batch" in same else []
    words += [f"engine {same['engine']}"] if same.get("engine", "closed") != "closed" else []
    words += [said(name, value) for name, value in same.items() if "." in name and name not in besides]
    return ", ".join(word for word in words if word)


def _sweep(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    table, path = joined(sources, choice.where), sources[0].path
    axes = frames.sweep_axes(table)
    first = min(axes, key=lambda name: not _is_number(table, name), default="")
    x = _known(table, choice.x, "-x", path) if choice.x else first
    if not x:
        raise InputError(f"{path}: nothing varies; name the column to draw over with -x")
    y = choice.y or "latency_s"
    frame, notes = _feasible(table)
    frame = checked(frame, "sweep", path, (x,), (y,))
    others = [name for name in axes if name != x]
    if choice.by:
        _known(table, choice.by, "--by", path)
        open_axes = [name for name in others if name != choice.by]
        others = [choice.by]
    else:
        open_axes = []
    series = frames.series_of(frame, others)
    repeated = pd.DataFrame({"x": frame[x], "series": series}).duplicated()
    if repeated.any():
        what = ", ".join(open_axes) or "nothing that is named"
        raise InputError(
            f"{path}: several points at one {x}; {what} differs: choose with --where, as in --where {what}=VALUE"
        )
    if series.nunique() > _MOST_SERIES:
        raise InputError(
            f"{path}: {series.nunique()} lines, at most {_MOST_SERIES} can be told apart; choose with --where, as in"
            f" --where {others[0]}={as_text(frame[others[0]].iloc[0])}"
        )
    shown = frame.assign(series=series)[list(dict.fromkeys(["series", *axes, x, y]))]
    return Drawing(frame=shown, draw=partial(compose.draw_sweep, x=x, y=y), title=_fixed(table, (x,)), notes=notes)


_MOST_SERIES = 12


def _sweep_map(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    table, path = joined(sources, choice.where), sources[0].path
    axes = frames.sweep_axes(table)
    given = [name for name in (choice.x, choice.y) if name]
    left = sorted((name for name in axes if name not in given), key=lambda name: not _is_number(table, name))
    x, y = choice.x or (left.pop(0) if left else ""), choice.y or (left.pop(0) if left else "")
    for name, option in ((x, "-x"), (y, "-y")):
        if not name:
            raise InputError(f"{path}: fewer than two inputs vary; name the columns of the cells with -x and -y")
        _known(table, name, option, path)
    value = choice.value or "latency_s"
    done, _ = _feasible(table)
    checked(done, "sweep-map", path, (x, y), (value,))
    if table.duplicated([x, y]).any():
        what = ", ".join(left) or "nothing that is named"
        raise InputError(
            f"{path}: several points at one {x} and {y}; {what} differs: choose with --where, as in --where"
            f" {left[0] if left else 'COLUMN'}=VALUE"
        )
    shown = table.assign(**{value: table[value].where(table.index.isin(done.index))})
    columns = [x, y, value, *(["status"] if "status" in table else [])]
    draw = partial(compose.draw_sweep_map, x=x, y=y, value=value)
    return Drawing(frame=shown[columns], draw=draw, title=_fixed(table, (x, y)))


def _pareto(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    table, path = joined(sources, choice.where), sources[0].path
    frame, notes = _feasible(table)
    x, frame = _objective(frame, choice.x or "latency_s", "-x", path, given=choice.x is not None)
    y, frame = _objective(frame, choice.y or "energy_j", "-y", path, given=choice.y is not None)
    if x == y:
        raise InputError(f"-y {y}: is given twice; the objectives must differ")
    frame = checked(frame, "pareto", path, (), (x, y))
    axes = [name for name in frames.sweep_axes(table) if name not in {x, y}]
    shown = frames.pareto_frame(frame[[*axes, x, y]], x, y, LARGER_IS_BETTER)
    front = shown[shown["on_front"]]
    if len(front[[x, y]].drop_duplicates()) == 1:
        notes = (*notes, f"the front is {why_one_point(len(shown), len(front) - 1, (x, y))}")
    draw = partial(compose.draw_pareto, x=x, y=y, named=axes)
    return Drawing(frame=shown, draw=draw, title=_fixed(table, (x, y)), notes=notes)


def _objective(frame: pd.DataFrame, text: str, option: str, path: str, *, given: bool) -> tuple[str, pd.DataFrame]:
    """Return the column of an objective, and the frame with it where it is an expression over columns."""
    if text in frame or not given:
        return text, frame
    formula = read_formula(text, list(frame.columns), option)
    rows = zip(frame.index, frame.to_dict("records"), strict=True)
    return formula.text, frame.assign(**{formula.text: [number_of(formula, row, path, at + 1) for at, row in rows]})


# Comparisons with others


def _platforms(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    table, path = joined(sources, choice.where), sources[0].path
    if set(table.columns) >= _CONTENDER:
        unknown = table["gops_per_w"].isna()
        numbers = ("effective_gops", "gops_per_w", "energy_j", "energy_low_j", "energy_high_j", "speedup")
        known = checked(table[~unknown], "platforms", path, ("name", "kind", "method"), numbers)
        notes = tuple(
            f"{name} is not shown, as no power of it is known" for name in dict.fromkeys(table["name"][unknown])
        )
        show = partial(compose.draw_platforms, x="throughput_gops")
        return Drawing(frame=frames.contenders_frame(known), draw=show, title=_means_over(known), notes=notes)
    x = choice.x or (
        "samples_per_s" if "throughput_gops" not in table and "samples_per_s" in table else "throughput_gops"
    )
    frame = checked(table, "platforms", path, ("name", "kind"), (x, "gops_per_w"))
    return Drawing(frame=frame, draw=partial(compose.draw_platforms, x=x))


def _means_over(table: pd.DataFrame) -> str:
    workloads = list(dict.fromkeys(table["workload"]))
    return str(workloads[0]) if len(workloads) == 1 else f"geometric means over {len(workloads)} workloads"


def _predicted(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    table, path, words = joined(sources, choice.where), sources[0].path, ("measured", "predicted")
    if {"closed_cycles", "event_cycles"} <= set(table.columns):  # both engines, as accelsim validate overlap has them
        table = table.rename(columns={"closed_cycles": "predicted", "event_cycles": "measured"})
        words, by = ("event engine (cycles)", "closed form (cycles)"), choice.by or "method"
    else:
        by = choice.by or next((name for name in ("platform", "check", "workload") if name in table), "")
    frame = checked(table, "predicted", path, (by,) if by else (), ("measured", "predicted"))
    if "unit" in frame:
        units = ", ".join(sorted(set(frame["unit"])))
        words = (f"measured ({units})", f"predicted ({units})")
    if (frame[["measured", "predicted"]] <= 0).any(axis=None):
        raise InputError(f"{path}: measured, predicted: numbers above 0 are needed, the axes are logarithmic")
    return Drawing(frame=frames.predicted_frame(frame, by or None), draw=partial(compose.draw_predicted, words=words))


def _sensitivity(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    tables = [source.data for source in sources]
    moved = next((table for table in tables if "assumption" in table), None)
    path, label = sources[0].path, "average speedup of BDWP 2:8 over dense, closed form"
    if moved is None:
        y = choice.y or "latency_s"
        table, _ = _feasible(joined(sources, choice.where))
        checked(table, "sensitivity", path, (), (y,))
        frame = frames.effects_frame(table, y)
        return Drawing(frame=frame, draw=partial(compose.draw_tornado, column=y), title=_fixed(table, ()))
    if "low" in moved:
        frame = checked(moved, "sensitivity", path, ("assumption",), ("low", "high", "base"))
        return Drawing(
            frame=frame.fillna({"low_value": "", "high_value": ""}), draw=partial(compose.draw_tornado, label=label)
        )
    speedups = next((table for table in tables if {"engine", "speedup"} <= set(table.columns)), None)
    if speedups is None:
        raise InputError(f"{path}: speedups.csv of the same report is needed as well: it holds what was varied from")
    checked(moved, "sensitivity", path, ("assumption", "value"), ("speedup_closed",))
    base = float(speedups.loc[speedups["engine"] == "closed", "speedup"].mean())
    frame = frames.tornado_frame(moved.rename(columns={"speedup_closed": "speedup"}), base)
    return Drawing(
        frame=frame.assign(base=base, published=PUBLISHED_SPEEDUP), draw=partial(compose.draw_tornado, label=label)
    )


def _claims(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    path = sources[0].path
    frame = checked(joined(sources, choice.where), "claims", path, ("workload", "engine"), ("speedup",))
    if "average" not in set(frame["workload"]):
        frame = frames.with_averages(frame[["workload", "engine", "speedup"]])
    return Drawing(frame=frame.assign(published=PUBLISHED_SPEEDUP), draw=compose.draw_claims)


def _ablation(sources: Sequence[PlotSource], choice: Choice) -> Drawing:
    texts = ("workload", "design", "method", "variant")
    table = checked(joined(sources, choice.where), "ablation", sources[0].path, texts,
                    ("batch", "cycles", "dram_bytes", "gain", "speedup"))  # fmt: skip
    rows = read_rows(table.to_dict("records"), sources[0].path)
    return Drawing(frame=panel_frame(rows), draw=compose.draw_ablation)


_BARS = ("workload", "case")


def _kind(
    name: str,
    make: Callable[[Sequence[Result]], pd.DataFrame],
    draw: Draw,
    texts: Sequence[str],
    numbers: Sequence[str] = (),
) -> Kind:
    return Kind(build=partial(_of_results, name, make, draw, texts, numbers))


_stage_stacks = partial(compose.draw_stacks, part="stage", label="step time relative to {}")
_energy_stacks = partial(compose.draw_stacks, part="component", label="step energy relative to {}")

_SHIPPED = {
    "speedup": _kind("speedup", frames.speedup_frame, compose.draw_speedup, (*_BARS, "over"), ("speedup",)),
    "stages": _kind(
        "stages", partial(_beside_dense, frames.stage_frame), _stage_stacks, (*_BARS, "stage"), ("share", "gain")
    ),
    "energy": _kind(
        "energy", partial(_beside_dense, frames.energy_frame), _energy_stacks, (*_BARS, "component"), ("share", "gain")
    ),
    "training": Kind(build=_training, reads=("training",)),
    "phases": Kind(build=_phases, reads=("training",), knows=("layer", "value", "where")),
    "layer-speedup": _kind(
        "layer-speedup",
        partial(_beside_dense, frames.layer_speedup_frame),
        compose.draw_layer_speedup,
        ("layer", "case", "over"),
        ("speedup",),
    ),
    "utilisation": _kind(
        "utilisation", frames.utilisation_frame, compose.draw_utilisation, ("layer", "stage"), ("utilisation",)
    ),
    "mapping": _kind("mapping", frames.mapping_frame, compose.draw_mapping, ("layer", "stage", "dataflow", "pattern")),
    "roofline": Kind(build=_roofline, knows=("where", "hw", "settings")),
    "timeline": Kind(build=_timeline, reads=("timeline",), knows=("layer",)),
    "sweep": Kind(build=_sweep, reads=(), knows=("x", "y", "by", "where")),
    "sweep-map": Kind(build=_sweep_map, reads=(), knows=("x", "y", "value", "where")),
    "pareto": Kind(build=_pareto, reads=(), knows=("x", "y", "where")),
    "sensitivity": Kind(build=_sensitivity, reads=(), knows=("y", "where")),
    "platforms": Kind(build=_platforms, reads=(), knows=("x", "where")),
    "predicted": Kind(build=_predicted, reads=(), knows=("by", "where")),
    "claims": Kind(build=_claims, reads=()),
    "ablation": Kind(build=_ablation, reads=()),
}


def _as_kind(found: object, _name: str) -> Kind:
    if not isinstance(found, Kind):
        raise ValueError(f"a Kind is needed, got {type(found).__name__}")  # noqa: TRY004  what plugged_in reports
    return found


KINDS: Mapping[str, Kind] = Registry("figures", lambda: _SHIPPED, _as_kind)
"""Kinds of figures by name, those of other packages, too."""

_CONTENDER = {"workload", "name", "effective_gops", "error", "basis", "energy_low_j"}
"""Columns by which the rows of ``accelsim compare --platform`` are known."""

_SIGNS = {
    "ablation": {"variant", "gain", "speedup", "cycles"},
    "sensitivity": {"assumption"},
    "claims": {"workload", "engine", "dense_latency_s", "speedup"},
    "speedup": {"workload", "case", "speedup", "over"},
    "stages": {"workload", "case", "stage", "share"},
    "energy": {"workload", "case", "component", "share"},
    "training": {"workload", "phase", "latency_s"},
    "phases": {"layer", "phase", "step", "density", "conforming"},
    "layer-speedup": {"layer", "case", "speedup"},
    "utilisation": {"layer", "stage", "utilisation"},
    "roofline": {"layer", "intensity", "gops"},
    "mapping": {"layer", "stage", "dataflow", "pattern", "layers"},
    "timeline": {"panel", "lane", "start_s"},
    "platforms": {"name", "kind", "gops_per_w"},
    "predicted": {"measured", "predicted"},
}
"""Columns by which a table is known."""
