"""The report on platforms: SAT beside some of them on the paper's workloads, and how far estimates are from measured.

Platforms are chosen to span what people use: the earlier accelerator whose paper states throughput and efficiency, two
edge modules, and three generations of GPUs.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from accelsim.base.files import write_atomically
from accelsim.base.units import show
from accelsim.hardware.design import load_design
from accelsim.hardware.platform import load_platform
from accelsim.platforms.accuracy import PLATFORM_CHECKS, Accuracy, Spread, check_platforms, describe_check
from accelsim.platforms.contenders import Contender, contender_of_estimate, contender_of_result
from accelsim.platforms.estimate import estimate
from accelsim.plots import frames
from accelsim.plots.compose import draw_platforms, draw_predicted
from accelsim.plots.style import new_figure, save_figure
from accelsim.simulation import simulate
from accelsim.sparsity.methods import case_name
from accelsim.studies.paper import DESIGN, WORKLOADS
from accelsim.workload.trace import load_trace

__all__ = ["COMPARED", "compare_platforms", "write_accuracy", "write_platforms"]

COMPARED = ("ef_train", "jetson_nano", "jetson_xavier_nx", "rtx2080ti", "a100_sxm_80gb", "h100_sxm")
_WHAT_IS_HELD_OUT = (
    "The values of the model were fitted without the held-out rows. Its early form was chosen with all rows in sight"
    " that were shipped then; what it gained since was chosen by cross-validation without them."
)
_CASES = (("dense", None), ("bdwp", "2:8"))
_BATCH = 512


def compare_platforms() -> list[Contender]:
    """The five workloads, dense and under BDWP 2:8, on SAT and each of `COMPARED`; 512 samples, in parts if need be."""
    design = load_design(DESIGN)
    platforms = [load_platform(name) for name in COMPARED]
    found = []
    for trace in map(load_trace, WORKLOADS):
        for method, pattern in _CASES:
            result = simulate(trace, design, method=method, pattern=pattern, batch=_BATCH)
            found.append(contender_of_result(result))
        for platform in platforms:
            for method, pattern in _CASES:
                step = estimate(trace, platform, method=method, pattern=pattern, batch=_BATCH, accumulate=True)
                found.append(contender_of_estimate(step))
    return found


def write_platforms(folder: Path) -> None:
    """Write ``comparison.md`` and ``.csv`` with a figure, and `write_accuracy` of all checks, into `folder`."""
    contenders = compare_platforms()
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame([item.to_dict() for item in contenders])
    frame["recalled"], frame["notes"] = frame["recalled"].map(";".join), frame["notes"].map(";".join)
    _write_csv(folder / "comparison.csv", frame)
    write_atomically(folder / "comparison.md", "\n".join(_comparison_lines(contenders)) + "\n")
    with new_figure("double") as figure:
        title = f"geometric means over {len(WORKLOADS)} workloads, a training step of {_BATCH} samples"
        draw_platforms(frames.contenders_frame(frame), figure, title, x="throughput_gops")
        for suffix in (".svg", ".png"):
            save_figure(figure, folder / f"comparison{suffix}")
    write_accuracy(folder, [check_platforms(name) for name in PLATFORM_CHECKS], shipped=True)


def _comparison_lines(contenders: Sequence[Contender]) -> Iterator[str]:
    names = [DESIGN, *COMPARED]
    yield f"Made by `accelsim report --all --only platforms -o reports`. One training step of {_BATCH} samples."
    yield ""
    yield "Step time with the error to be expected of its estimate; below it the speed relative to dense training on"
    yield "SAT, then operations of the dense step per second and watt, with the interval of the energy."
    for method, pattern in _CASES:
        yield ""
        yield f"## {case_name(method, pattern)}"
        yield ""
        yield "| workload | " + " | ".join(names) + " |"
        yield "|---|" + "---:|" * len(names)
        for workload in dict.fromkeys(item.workload for item in contenders):
            own = {(item.name, item.method): item for item in contenders if item.workload == workload}
            base = own[DESIGN, "dense"]
            yield f"| {workload} | " + " | ".join(_cell(own[name, method], base) for name in names) + " |"
    yield ""
    yield "What stands behind each:"
    yield ""
    for name in names:
        own_items = [item for item in contenders if item.name == name]
        texts = dict.fromkeys(text for item in own_items for text in (item.basis, *item.notes))
        recalled = f" Recalled: {', '.join(own_items[0].recalled)}." if own_items[0].recalled else ""
        yield f"- {name}, {own_items[0].precision}: {'; '.join(texts)}.{recalled}"


def _cell(item: Contender, base: Contender) -> str:
    error = "" if item.error is None else f" \u00b1 {item.error:.0%}"
    speed = f"{base.latency_s / item.latency_s:.3g}x"
    efficiency = "no power stated"
    if item.gops_per_w is not None and item.energy_j and item.energy_low_j and item.energy_high_j:
        ends = [item.gops_per_w * item.energy_j / end for end in (item.energy_high_j, item.energy_low_j)]
        span = "" if ends[0] == ends[1] else f" ({ends[0]:.3g} to {ends[1]:.3g})"
        efficiency = f"{item.gops_per_w:.3g} GOP/s/W{span}"
    return f"{show(item.latency_s, 's')}{error}<br>{speed}<br>{efficiency}"


def write_accuracy(folder: Path, found: Sequence[Accuracy], *, shipped: bool) -> None:
    """Write ``accuracy.md``, and for each check its rows as CSV and predicted over measured as a figure.

    `shipped`: the rows are the held-out shipped ones, not those of a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = "--platforms -o DIR" if shipped else f"{found[0].check} FILE.csv -o DIR"
    lines = [f"Made by `accelsim validate {made}`. Relative error: |predicted - measured| / measured."]
    if shipped:
        lines += ["", _WHAT_IS_HELD_OUT]
    for each in found:
        rows = [
            {
                "line": row.line,
                "platform": row.platform,
                "case": row.label,
                "unit": row.unit,
                "measured": row.measured,
                "predicted": row.predicted,
                "relative_error": row.relative_error,
                "held_out": row.held_out,
            }
            for row in each.compared
        ]
        frame = pd.DataFrame(rows)
        _write_csv(folder / f"{each.check}.csv", frame)
        lines += ["", *_accuracy_lines(each, shipped=shipped)]
        words, unit = _WORDS[each.check]
        shown = frame[frame["unit"] == unit] if rows else frame
        if shown.empty:
            continue
        with new_figure("double") as figure:
            unread = "; rows that no fit has read" if shown["held_out"].all() else ""
            draw_predicted(frames.predicted_frame(shown, "platform"), figure, _TITLES[each.check] + unread, words=words)
            for suffix in (".svg", ".png"):
                save_figure(figure, folder / f"{each.check}{suffix}")
    write_atomically(folder / "accuracy.md", "\n".join(lines) + "\n")


_TITLES = {
    "throughput": "training steps of GPUs and edge modules, measured and estimated",
    "sparse-gemm": "2:4 products of GPUs, measured and estimated",
}

_WORDS = {
    "throughput": (("measured (samples/s)", "predicted (samples/s)"), "samples/s"),
    "sparse-gemm": (("measured speedup of 2:4", "predicted speedup of 2:4"), "x"),
}


def _accuracy_lines(found: Accuracy, *, shipped: bool) -> Iterator[str]:
    yield f"## {found.check}"
    yield ""
    yield f"{describe_check(found.check, shipped=shipped)}."
    yield ""
    yield "| platform | rows | median error | 90th percentile | worst | which row |"
    yield "|---|---:|---:|---:|---:|---|"
    overall = found.overall
    for name, spread in found.by_platform.items():
        yield _spread_line(name, spread)
    if overall is not None:
        yield _spread_line("**all**", overall)
    yield ""
    if found.signs is not None:
        yield f"{str(found.signs).capitalize()}."
        yield ""
    if found.band is not None:
        yield f"{found.band}."
        yield ""
    for reason, count in found.reasons.items():
        yield f"- unsupported: {count} {'row' if count == 1 else 'rows'} of {reason}"


def _spread_line(name: str, spread: Spread) -> str:
    numbers = (spread.median, spread.p90, spread.worst.relative_error)
    cells = (name, str(spread.rows), *(f"{value:.1%}" for value in numbers), spread.worst.label)
    return "| " + " | ".join(cells) + " |"


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    write_atomically(path, frame.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
