"""What figures show, as frames: built from results, training runs and tables, with every metric computed here.

A result of several is a case: what distinguishes it from the others, as in ``bdwp 2:8``, and by design, batch, engine,
mode or optimizer only where these differ; where nothing of that does, the name of its file.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

import pandas as pd

from accelsim.base.errors import InputError
from accelsim.base.files import Scalar, Value
from accelsim.base.ratios import geometric_mean
from accelsim.base.units import GIGA
from accelsim.hardware.platform import load_platform, platform_names
from accelsim.lowering.summary import merge_names
from accelsim.lowering.tasks import Stage
from accelsim.plots.sources import as_text
from accelsim.plots.text import PARAMETERS, said
from accelsim.results.course import course_of
from accelsim.results.step import LayerResult, Result
from accelsim.results.training import TrainingResult
from accelsim.sparsity.methods import case_name
from accelsim.sparsity.pattern import Pattern
from accelsim.sweep.pareto import pareto_front

__all__ = [
    "MOST_GROUPS",
    "contenders_frame",
    "course_frame",
    "effects_frame",
    "energy_frame",
    "layer_speedup_frame",
    "mapping_frame",
    "pareto_frame",
    "phase_frame",
    "predicted_frame",
    "roofline_frame",
    "series_of",
    "speedup_frame",
    "stage_frame",
    "sweep_axes",
    "tornado_frame",
    "training_frame",
    "utilisation_frame",
    "with_averages",
]

MOST_LAYERS = 64
"""Of more layers, those that are equal and whose names differ in numbers alone are drawn as one."""

GEOMETRIC_MEAN = "geometric mean"

_ON_ARRAY = (Stage.FF.value, Stage.BP.value, Stage.WU.value)
_AXES = ("workload", "design", "method", "pattern", "batch", "optimizer", "engine")


def _cases(results: Sequence[Result]) -> list[str]:
    """Return the case of each result; refuses two of the same in one workload and results of different versions."""
    versions = sorted({result.version for result in results})
    if len(versions) > 1:
        raise InputError(f"results of versions {', '.join(versions)}: simulate them again with one version")
    heads = [result.head for result in results]
    differing = [
        name for name in ("design", "batch", "engine", "mode", "optimizer") if len({head[name] for head in heads}) > 1
    ]
    names = []
    for head in heads:
        words = [head["method"], head["pattern"], *(_shown(name, head[name]) for name in differing)]
        names.append(" ".join(word for word in words if word))
    counts = Counter(zip((result.workload for result in results), names, strict=True))
    labelled = [
        f"{name} ({result.label})" if counts[result.workload, name] > 1 and result.label else name
        for result, name in zip(results, names, strict=True)
    ]
    seen: set[tuple[str, str]] = set()
    for result, plain, name in zip(results, names, labelled, strict=True):
        if (result.workload, name) in seen:
            raise InputError(f"{result.workload}: {plain} is there twice; files of different names tell results apart")
        seen.add((result.workload, name))
    return labelled


def _shown(name: str, value: object) -> str:
    return f"batch {value}" if name == "batch" else str(value)


def _firsts(results: Sequence[Result]) -> dict[str, tuple[Result, str]]:
    """Return the first result of each workload with its case."""
    found: dict[str, tuple[Result, str]] = {}
    for result, case in zip(results, _cases(results), strict=True):
        found.setdefault(result.workload, (result, case))
    return found


def speedup_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Throughput of each case over that of dense training on the same design; with the geometric mean over workloads.

    Results of several designs, batches, engines, modes or optimizers are compared with the first of their workload.
    Columns: workload, case, speedup, over, latency_s, samples_per_s. Dense training over itself is left out.
    """
    cases, firsts = _cases(results), _firsts(results)
    same = len({tuple(result.head[name] for name in ("design", "batch", "engine", "mode", "optimizer"))
                for result in results}) == 1  # fmt: skip
    rows = []
    for result, case in zip(results, cases, strict=True):
        first, first_case = firsts[result.workload]
        relative = result.step.samples_per_s / first.step.samples_per_s
        if (result.method == "dense") if same else (result is first):
            continue
        rows.append(
            {
                "workload": result.workload,
                "case": case,
                "speedup": result.step.speedup if same else relative,
                "over": "dense" if same else first_case,
                "latency_s": result.step.latency_s,
                "samples_per_s": result.step.samples_per_s,
            }
        )
    if not rows:
        raise InputError("nothing to compare: only the baseline is there")
    frame = pd.DataFrame(rows)
    return pd.concat([frame, _geometric_means(frame)], ignore_index=True)


def _geometric_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each case that every workload has, if there are several workloads."""
    workloads = frame["workload"].nunique()
    rows = [
        {"workload": GEOMETRIC_MEAN, "case": case, "speedup": geometric_mean(part["speedup"]),
         "over": part["over"].iloc[0]}
        for case, part in frame.groupby("case", sort=False)
        if 1 < workloads == len(part)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=frame.columns if rows else None)


def stage_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Time of each stage, and its share of the step of the first case of the workload.

    Columns: workload, case, stage, latency_s, share, gain (of the first case's step time over that of the case).
    """
    return _stacked(
        results, "stage", "latency_s", lambda result: {name: stage.latency_s for name, stage in result.stages.items()}
    )


def energy_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Energy of each component, and its share of the step of the first case of the workload.

    Columns: workload, case, component, energy_j, share, gain (of the first case's energy over that of the case).
    """
    return _stacked(
        results,
        "component",
        "energy_j",
        lambda result: {name.removesuffix("_j"): value for name, value in asdict(result.energy).items()},
    )


def _stacked(
    results: Sequence[Result], part: str, column: str, parts_of: Callable[[Result], dict[str, float]]
) -> pd.DataFrame:
    firsts = _firsts(results)
    whole = {name: sum(parts_of(first).values()) for name, (first, _) in firsts.items()}
    return pd.DataFrame(
        [
            {
                "workload": result.workload,
                "case": case,
                part: name,
                column: value,
                "share": value / whole[result.workload],
                "gain": whole[result.workload] / sum(parts.values()),
            }
            for result, case in zip(results, _cases(results), strict=True)
            for parts in [parts_of(result)]
            for name, value in parts.items()
        ]
    )


def training_frame(runs: Sequence[TrainingResult]) -> pd.DataFrame:
    """Time of each phase of training runs, and its share of dense training of the same length.

    Columns: workload, case (recipe with its method and pattern), phase, latency_s, share, gain (of dense training).
    """
    versions = sorted({run.dense.version for run in runs})
    if len(versions) > 1:
        raise InputError(f"training runs of versions {', '.join(versions)}: simulate them again with one version")
    rows: list[dict[str, Scalar]] = []
    for run in runs:
        totals = run.totals
        head = {"workload": run.dense.workload}
        if not any(row["workload"] == run.dense.workload for row in rows):
            rows.append({**head, "case": "dense", "phase": "dense", "latency_s": totals.dense_latency_s, "share": 1.0,
                         "gain": 1.0})  # fmt: skip
        rows += [
            {**head, "case": run.title, "phase": phase.name, "latency_s": phase.latency_s,
             "share": phase.latency_s / totals.dense_latency_s, "gain": totals.speedup}
            for phase in run.phases
        ]  # fmt: skip
    return pd.DataFrame(rows)


def course_frame(runs: Sequence[TrainingResult], pattern: str | None = None) -> pd.DataFrame:
    """What masks gain over the steps of a training run, layer by layer.

    Columns: layer (`accelsim.results.course.ALL` first), phase, step (its first), steps, speedup over dense, density of
    the weights, conforming (share of their groups that obey the pattern), pattern.
    """
    if len(runs) != 1:
        raise InputError(f"phases: shows one training run, got {len(runs)}")
    return pd.DataFrame([asdict(point) for point in course_of(runs[0], pattern)])


def _only(results: Sequence[Result], kind: str) -> Result:
    if len(results) != 1:
        raise InputError(
            f"{kind}: shows one result, got {len(results)}; choose with --where, as in --where method=bdwp"
        )
    return results[0]


def _layer_rows(result: Result) -> list[dict[str, Scalar]]:
    """One row per layer with a product and stage on the array: sums over its products, and what maps most of them."""
    groups: dict[tuple[str, str], list[LayerResult]] = {}
    for layer in result.layers:
        if layer.stage in _ON_ARRAY and layer.m is not None:
            groups.setdefault((layer.operation, layer.stage), []).append(layer)
    order = {name: place for place, name in enumerate(dict.fromkeys(name for name, _ in groups))}
    rows: list[dict[str, Scalar]] = []
    for (name, stage), members in sorted(groups.items(), key=lambda item: order[item[0][0]]):
        cycles = sum(layer.cycles for layer in members)
        busy = sum((layer.utilisation or 0.0) * layer.cycles for layer in members)
        dataflows = dict.fromkeys(layer.dataflow for layer in sorted(members, key=lambda layer: -layer.cycles))
        rows.append(
            {
                "layer": name,
                "stage": stage,
                "pattern": members[0].pattern or "dense",
                "dataflow": " and ".join(str(flow) for flow in dataflows),
                "cycles": cycles,
                "latency_s": sum(layer.latency_s for layer in members),
                "utilisation": busy / cycles if cycles else 0.0,
                "macs_dense": sum(layer.macs_dense for layer in members),
                "macs_executed": sum(layer.macs_executed for layer in members),
                "dram_bytes": sum(layer.dram_bytes for layer in members),
            }
        )
    if not rows:
        raise InputError(f"{result.workload}: no layer has a matrix product")
    return rows


_SUMMED = ("cycles", "latency_s", "baseline_latency_s", "macs_dense", "macs_executed", "dram_bytes")


def _grouped(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Name how many layers a row stands for; of many layers, merge those that are equal in all but numbers in names."""
    frame = frame.assign(layers=1)
    names = list(dict.fromkeys(frame["layer"]))
    if len(names) <= MOST_LAYERS:
        return frame
    others = [column for column in frame.columns if column != "layer"]
    alike: dict[tuple[Value, ...], list[str]] = {}
    for name, part in frame.groupby("layer", sort=False):
        same: tuple[Value, ...] = (re.sub(r"\d+", "#", name), *map(tuple, part[others].to_numpy().tolist()))
        alike.setdefault(same, []).append(name)
    rows = []
    for members in alike.values():
        for row in frame[frame["layer"] == members[0]].to_dict("records"):
            sums = {column: row[column] * len(members) for column in _SUMMED if column in row}
            rows.append({**row, **sums, "layer": merge_names(members)[0], "layers": len(members)})
    merged = pd.DataFrame(rows, columns=frame.columns)
    assert not merged.duplicated(list(keys)).any(), "names that are merged differ in more than numbers"
    return merged


def utilisation_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Utilisation of the array by layer and stage: executed MACs over what it could have done in these cycles.

    Columns: layer, stage, utilisation, cycles, layers (how many a row stands for).
    """
    rows = pd.DataFrame(_layer_rows(_only(results, "utilisation")))
    return _grouped(rows[["layer", "stage", "utilisation", "cycles"]], ("layer", "stage"))


def mapping_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Dataflow and pattern of each layer and stage; where its products differ, of all, the longest first.

    Columns: layer, stage, dataflow, pattern, cycles, layers (how many a row stands for).
    """
    rows = pd.DataFrame(_layer_rows(_only(results, "mapping")))
    return _grouped(rows[["layer", "stage", "dataflow", "pattern", "cycles"]], ("layer", "stage"))


def layer_speedup_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Time of each layer in the first case over that in each other, with all that its operation takes in any stage.

    Columns: layer, case, speedup, over, latency_s, baseline_latency_s, layers (how many a row stands for).
    """
    workloads = list(dict.fromkeys(result.workload for result in results))
    if len(workloads) > 1 or len(results) < 2:
        raise InputError(
            "layer-speedup: compares results of one workload, the first with each other; got"
            f" {len(results)} of {', '.join(workloads)}"
        )
    cases, times = _cases(results), [_operation_times(result) for result in results]
    rows = [
        {"layer": name, "case": case, "speedup": base / own[name], "over": cases[0], "latency_s": own[name],
         "baseline_latency_s": base}
        for name, base in times[0].items()
        for case, own in zip(cases[1:], times[1:], strict=True)
        if own.get(name)
    ]  # fmt: skip
    if not rows:
        raise InputError(f"{results[0].workload}: no layer has a matrix product")
    return _grouped(pd.DataFrame(rows), ("layer", "case"))


def _operation_times(result: Result) -> dict[str, float]:
    """Seconds of each operation that has products."""
    on_array = {layer.operation for layer in result.layers if layer.stage in _ON_ARRAY and layer.m is not None}
    times: dict[str, float] = {}
    for layer in result.layers:
        if layer.operation in on_array:
            times[layer.operation] = times.get(layer.operation, 0.0) + layer.latency_s
    return times


def roofline_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Throughput of each layer and stage over its arithmetic intensity, and the roofs of the design.

    Two operations per MAC of the dense product, so the roof of an N:M pattern is M / N times the dense one. Intensity
    is over the bytes that were moved to and from DRAM. Columns: kind (layer or roof), layer, stage, pattern, intensity
    (operations per byte), gops, latency_s, layers. A roof is given by its ridge point.
    """
    result = _only(results, "roofline")
    rows, design = _layer_rows(result), result.basis.design
    frame = pd.DataFrame(rows)
    frame = frame[(frame["cycles"] > 0) & (frame["dram_bytes"] > 0)]
    frame = _grouped(frame[["layer", "stage", "pattern", "latency_s", "macs_dense", "dram_bytes"]], ("layer", "stage"))
    operations = 2 * frame["macs_dense"]
    frame = frame.assign(
        kind="layer", intensity=operations / frame["dram_bytes"], gops=operations / frame["latency_s"] / GIGA
    )
    bandwidth = design.dram.bandwidth_gb_per_s * design.dram.efficiency
    roofs = []
    for pattern in dict.fromkeys(["dense", *sorted(set(frame["pattern"]))]):
        gain = 1.0 if pattern == "dense" else 1 / Pattern.parse(pattern).density
        roof = 2 * design.peak_macs_per_cycle * design.clock_hz * gain / GIGA
        roofs.append({"kind": "roof", "layer": f"{pattern} roof", "pattern": pattern, "gops": roof,
                      "intensity": roof / bandwidth})  # fmt: skip
    columns = ["kind", "layer", "stage", "pattern", "intensity", "gops", "latency_s", "layers"]
    both = pd.concat([frame[columns], pd.DataFrame(roofs)], ignore_index=True)
    return both.astype({"layers": "Int64"})


def sweep_axes(frame: pd.DataFrame) -> list[str]:
    """Return the inputs that vary in a table of a sweep: paths of the design, and workload, method and so on."""
    inputs = [name for name in frame.columns if "." in name or name in (*_AXES, *PARAMETERS)]
    return [name for name in inputs if len(frame[name].unique()) > 1]


def pareto_frame(frame: pd.DataFrame, x: str, y: str, larger: Sequence[str]) -> pd.DataFrame:
    """Add which points are best: `on_front`, that no other point is better in one of `x` and `y` and as good in both.

    And which of them is the `knee`: farthest from the straight line between the ends of the front, in logarithms of
    both. Of the columns in `larger` more is better, of others less.
    """
    signs = [-1 if name in larger else 1 for name in (x, y)]
    points = [(signs[0] * one, signs[1] * other) for one, other in zip(frame[x], frame[y], strict=True)]
    ends = [points[index] for index in pareto_front(points)]
    front, knee = set(ends), _knee(ends)
    first = points.index(knee) if knee else -1
    return frame.assign(on_front=[point in front for point in points],
                        knee=[index == first for index in range(len(points))])  # fmt: skip


def _knee(front: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The point of a sorted front that is farthest from the line between its ends, if it has more than two points."""
    if len(front) < 3:
        return None
    places = [tuple(math.copysign(math.log(abs(value)), value) if value else 0.0 for value in point) for point in front]
    (x0, y0), (x1, y1) = places[0], places[-1]
    scaled = [((x - x0) / (x1 - x0), (y - y1) / (y0 - y1)) for x, y in places]
    return min(zip(scaled, front, strict=True), key=lambda pair: sum(pair[0]))[1]


def series_of(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Name the line that each point belongs to by its values of `columns`."""
    names = []
    for row in frame[list(columns)].to_dict("records"):
        pattern = row.pop("pattern", None) if "method" in row else None
        words = [said(str(name), value) for name, value in row.items()]
        names.append(", ".join(words).replace(str(row.get("method")), case_name(str(row.get("method")), pattern), 1)
                     if isinstance(pattern, str) else ", ".join(words))  # fmt: skip
    return pd.Series(names, index=frame.index, dtype=str)


def effects_frame(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """How far each varied value of a sweep moves the geometric mean of a `metric` over all other values, widest first.

    Columns: assumption (what varies), low, high, low_value, high_value, base (the mean over all points).
    """
    base = geometric_mean(frame[metric])
    rows = []
    for name in sweep_axes(frame):
        parts = frame.groupby(name, dropna=False)[metric]
        means = [(geometric_mean(part), as_text(value) or "none") for value, part in parts]
        (low, low_value), (high, high_value) = min(means), max(means)
        rows.append((name, low, high, low_value, high_value, base))
    if not rows:
        raise InputError("nothing varies in this sweep")
    rows.sort(key=lambda row: row[1] - row[2])
    return pd.DataFrame(rows, columns=["assumption", "low", "high", "low_value", "high_value", "base"])


SHOWN_MOVE = 0.004
"""Assumptions that move the average speedup less than this are left out of the figure."""

SEEN_MOVE = 0.001
"""Values that move it less than this are not named in the figure."""


def tornado_frame(moved: pd.DataFrame, base: float) -> pd.DataFrame:
    """Lowest and highest speedup that each assumption can give, the widest first; empty values where an end is `base`.

    `moved`: columns assumption, value, speedup, a row per value. Columns: assumption, low, low_value, high, high_value.
    """
    rows = []
    for name, part in moved.groupby("assumption", sort=False):
        moves = zip(part["speedup"], part["value"].astype(str), strict=True)
        ends = [(base, ""), *(end for end in moves if abs(end[0] - base) >= SEEN_MOVE)]
        (low, low_value), (high, high_value) = min(ends), max(ends)
        if high - low >= SHOWN_MOVE:
            rows.append((name, low, low_value, high, high_value))
    rows.sort(key=lambda row: row[1] - row[3])
    return pd.DataFrame(rows, columns=["assumption", "low", "low_value", "high", "high_value"])


def with_averages(frame: pd.DataFrame) -> pd.DataFrame:
    """Add to speedups by workload and engine the average of each engine, as the workload ``average``."""
    means = frame.groupby("engine", sort=False)["speedup"].mean().reset_index()
    return pd.concat([frame, means.assign(workload="average")], ignore_index=True)


def phase_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of `training_frame` for the phases of runs, as rows of their ``.csv``."""
    rows: list[dict[str, Scalar]] = []
    for (workload, recipe, method), run in table.groupby(["workload", "recipe", "recipe_method"], sort=False):
        dense = float((run["latency_s"] * run["speedup"]).sum())
        if not any(row["workload"] == workload for row in rows):
            rows.append({"workload": workload, "case": "dense", "phase": "dense", "latency_s": dense, "share": 1.0,
                         "gain": 1.0})  # fmt: skip
        pattern = run["recipe_pattern"].iloc[0] if "recipe_pattern" in run else None
        name = case_name(method, None if pd.isna(pattern) else pattern)
        title = name if recipe == "constant" else f"{recipe} of {name}"
        rows += [
            {"workload": workload, "case": title, "phase": phase, "latency_s": time, "share": time / dense,
             "gain": dense / float(run["latency_s"].sum())}
            for phase, time in zip(run["phase"], run["latency_s"], strict=True)
        ]  # fmt: skip
    return pd.DataFrame(rows)


_SHOWN_GAIN = 1.05


def _confidence(error: float, basis: str) -> str:
    """Whether measurements of the machine itself, or its paper, stand behind a point."""
    stated = "paper" in basis if pd.isna(error) else not basis.endswith(" 0 of it")
    return "measured" if stated else "assumed"


def contenders_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Geometric means over the workloads of each machine and method, with the error of estimates and of energies.

    `table`: rows of ``accelsim compare --platform``, all with a known efficiency. A method that a machine gains less
    than a twentieth from is left out. Columns: name, kind, throughput_gops and gops_per_w, each with ``_low`` and
    ``_high``, and confidence: measured where something of the machine itself is, or a paper states its rate; else
    assumed.
    """
    rows = []
    for (name, method, pattern), own in table.groupby(["name", "method", "pattern"], sort=False, dropna=False):
        if method != "dense" and geometric_mean(own["speedup"]) < _SHOWN_GAIN:
            continue
        gops, efficiency = (geometric_mean(own[column]) for column in ("effective_gops", "gops_per_w"))
        error = own["error"].iloc[0]
        rows.append(
            {
                "name": name
                if method == "dense"
                else f"{name} {case_name(method, None if pd.isna(pattern) else pattern)}",
                "kind": own["kind"].iloc[0],
                "throughput_gops": gops,
                "throughput_gops_low": gops / (1 + error),
                "throughput_gops_high": gops * (1 + error),
                "gops_per_w": efficiency,
                "gops_per_w_low": geometric_mean(own["gops_per_w"] * own["energy_j"] / own["energy_high_j"]),
                "gops_per_w_high": geometric_mean(own["gops_per_w"] * own["energy_j"] / own["energy_low_j"]),
                "confidence": _confidence(error, str(own["basis"].iloc[0])),
            }
        )
    return pd.DataFrame(rows)


MOST_GROUPS = 8
"""Of more platforms, those of one architecture are drawn as one group."""


def predicted_frame(frame: pd.DataFrame, by: str | None) -> pd.DataFrame:
    """Add to a table of `measured` and `predicted` the `relative_error` of each row and its `group`.

    The name of a group says how many rows it has and the median of their errors, whatever their sign. Where `by` is
    platform and there are many, a group holds the platforms of one architecture.
    """
    errors = frame["predicted"] / frame["measured"] - 1
    names = frame[by].astype(str) if by else pd.Series(["all"] * len(frame), index=frame.index)
    if by == "platform" and names.nunique() > MOST_GROUPS and set(names) <= set(platform_names()):
        architectures = {name: load_platform(name).behaviour or name for name in set(names)}
        names = names.map(architectures).str.replace("_", " ")
    medians = errors.abs().groupby(names).median()
    counts = names.value_counts()
    groups = [f"{name} ({counts[name]}, {100 * medians[name]:.1f} %)" for name in names]
    return frame.assign(relative_error=errors, group=groups)
