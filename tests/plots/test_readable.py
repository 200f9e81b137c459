"""Every kind of figure at both widths: no text covers another or is cut off, however much there is to show."""

from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from figure_checks import check_readable

import accelsim as acs
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.plots.compose import make_figure
from accelsim.plots.kinds import KINDS, Choice, prepare
from accelsim.plots.sources import PlotSource, read_source
from accelsim.results.timeline import make_timeline
from accelsim.simulation import plan_step

ROOT = Path(acs.__file__).parent.parent

METHODS = ("dense", "sr-ste 2:8", "sdgp 2:8", "sdwp 2:8", "bdwp 2:8", "mvue 2:8")
WORKLOADS = ("resnet9_cifar10", "vgg19_cifar100", "vit_cifar100", "resnet18_tinyimagenet", "resnet50_imagenet")
STAGES = ("FF", "BP", "WU", "GENERATE", "UPDATE", "VECTOR")
COMPONENTS = ("mac", "register", "buffer", "sore", "wuve", "vector", "dram", "static")
MODERATE, EXTREME = (1.0, 1.3, 1.25, 1.7, 1.9, 2.4), (1.0, 0.5, 0.8, 3.0, 12.0, 50.0)


def layers(count: int) -> list[str]:
    return [f"layer{index // 9 + 1}.{index // 3 % 3}.conv{index % 3 + 1}" for index in range(count)]


def speedups(cases: int, workloads: int, ratios: tuple[float, ...]) -> pd.DataFrame:
    names = (*WORKLOADS[:workloads], *(["geometric mean"] if workloads > 1 else []))
    return pd.DataFrame(
        [
            {
                "workload": name,
                "case": METHODS[-1 - case],
                "speedup": ratios[-1 - case] * (1 + 0.03 * at),
                "over": "dense",
            }
            for at, name in enumerate(names)
            for case in range(cases)
        ]
    )


def stacks(part: str, parts: tuple[str, ...], cases: int, workloads: int, ratios: tuple[float, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"workload": name, "case": METHODS[case], part: each, "share": 1 / ratios[case] / len(parts),
             "gain": ratios[case]}
            for name in WORKLOADS[:workloads]
            for case in range(cases)
            for each in parts
        ]
    )  # fmt: skip


def layer_speedups(count: int, cases: int, ratios: tuple[float, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "layer": name,
                "case": METHODS[-1 - case],
                "speedup": ratios[-1 - (case + at) % len(ratios)],
                "over": "dense",
            }
            for at, name in enumerate(layers(count))
            for case in range(cases)
        ]
    )


def cells(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"layer": name, "stage": stage, "utilisation": ((at * 7 + place) % 11) / 10, "pattern": ("dense", "2:8")[at % 2],
             "dataflow": ("os", "ws", "is", "os and ws")[(at + place) % 4]}
            for at, name in enumerate(layers(count))
            for place, stage in enumerate(STAGES[:3])
            if (at, stage) != (0, "BP")
        ]
    )  # fmt: skip


def roofline(count: int, span: float) -> pd.DataFrame:
    points = [
        {"kind": "layer", "layer": name, "stage": stage, "pattern": ("dense", "2:8")[place % 2],
         "intensity": 5 * span ** (at / count) + place, "gops": 100 + 2000 * ((at * 7) % count) / count,
         "latency_s": 1e-4 * (1 + (at * 5) % count)}
        for at, name in enumerate(layers(count))
        for place, stage in enumerate(STAGES[:3])
    ]  # fmt: skip
    roofs = [{"kind": "roof", "layer": f"{name} roof", "pattern": name, "intensity": peak / 70, "gops": peak}
             for name, peak in (("dense", 819.0), ("2:8", 3277.0))]  # fmt: skip
    return pd.DataFrame([*points, *roofs])


def sweep(lines: int, values: int, span: float) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"dram.bandwidth_gb_per_s": 4.8 * 2**at, "pattern": f"2:{4 * (line + 1)}", "status": "ok",
             "latency_s": 1e-3 * (1 + span / (at + 1) + line), "energy_j": 1e-2 * (1 + at * span + line)}
            for line, at in product(range(lines), range(values))
        ]
    )  # fmt: skip


def grid(size: int, span: float) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"array.rows": 8 * (row + 1), "array.cols": 8 * (column + 1), "latency_s": 2e-2 * (1 + span / (row * column + 1)),
             "energy_j": 0.4 + 0.02 * row * column, "status": "ok" if row + column < 2 * size - 3 else "infeasible"}
            for row, column in product(range(size), range(size))
        ]
    )  # fmt: skip


def tornado(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"assumption": f"array.row_port_elements_per_cycle_{at}", "low": 1.8 - 0.02 * at, "high": 1.8 + 0.01 * at,
             "low_value": "without vgg19_cifar100", "high_value": "300,000,000", "base": 1.8, "published": 1.75}
            for at in range(1, count + 1)
        ]
    )  # fmt: skip


def platforms(count: int, span: float) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"name": f"Platform {at} (32 GB)", "kind": ("FPGA", "edge", "GPU", "CPU")[at % 4],
             "throughput_gops": 100 * span ** (at / count), "gops_per_w": 3 + (at * 7) % count,
             "gops_per_w_low": 2 + (at * 7) % count, "gops_per_w_high": 5 + (at * 7) % count,
             "confidence": ("measured", "fitted")[at % 2]}
            for at in range(count)
        ]
    )  # fmt: skip


def predicted(groups: int, rows: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"platform": f"GeForce RTX {group}090 Ti", "unit": "samples/s", "measured": 10.0 * (at + 1) * (group + 1),
             "predicted": 10.5 * (at + 1) * (group + 1) + at}
            for group, at in product(range(groups), range(rows))
        ]
    )  # fmt: skip


def course(count: int, samples: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"layer": name, "phase": f"step {100 * at}", "step": 100 * at, "steps": 100, "pattern": "2:8",
             "speedup": 1 + 0.9 * at / samples * (place % 3), "density": 1 - 0.75 * at / samples,
             "conforming": min(1.0, at / samples + 0.1 * (place % 2))}
            for place, name in enumerate(("all layers", *layers(count)))
            for at in range(samples)
        ]
    )  # fmt: skip


def claims() -> pd.DataFrame:
    return pd.DataFrame(
        [{"workload": name, "engine": engine, "speedup": 1.7 + 0.02 * at}
         for at, (name, engine) in enumerate(product((*WORKLOADS, "average"), ("closed form", "event engine, overlap")))]
    )  # fmt: skip


CASES = {
    **{f"speedup-{cases}-methods-{workloads}-workloads-{name}": ("speedup", speedups(cases, workloads, ratios))
       for cases, workloads, (name, ratios) in product((1, 6), (1, 5), (("moderate", MODERATE), ("extreme", EXTREME)))},
    **{f"stages-{cases}-methods-{workloads}-workloads-{name}": ("stages", stacks("stage", STAGES, cases, workloads, ratios))
       for cases, workloads, (name, ratios) in product((1, 2, 6), (1, 5), (("moderate", MODERATE), ("extreme", EXTREME)))},
    "energy-6-methods": ("energy", stacks("component", COMPONENTS, 6, 5, MODERATE)),
    "training-2-phases": ("training", stacks("phase", ("dense warm-up", "sparse training"), 6, 2, MODERATE)),
    **{f"phases-{count}-layers-{samples}-samples": ("phases", course(count, samples))
       for count, samples in product((1, 6, 60), (1, 200))},
    **{f"layer-speedup-{count}-layers-{cases}-methods-{name}": ("layer-speedup", layer_speedups(count, cases, ratios))
       for count, cases, (name, ratios) in product((3, 60), (1, 6), (("moderate", MODERATE), ("extreme", EXTREME)))},
    **{f"{kind}-{count}-layers": (kind, cells(count)) for kind, count in product(("utilisation", "mapping"), (3, 60))},
    **{f"roofline-{count}-layers-span-{span}": ("roofline", roofline(count, span))
       for count, span in product((3, 60), (3.0, 1000.0))},
    **{f"sweep-{lines}-lines-{values}-values-span-{span}": ("sweep", sweep(lines, values, span))
       for lines, values, span in product((1, 6), (3, 12), (2.0, 500.0))},
    **{f"sweep-map-{size}-span-{span}": ("sweep-map", grid(size, span)) for size, span in product((3, 30), (0.5, 50.0))},
    **{f"pareto-{size}": ("pareto", grid(size, 20.0)) for size in (3, 30)},
    **{f"sensitivity-{count}": ("sensitivity", tornado(count)) for count in (1, 3, 16)},
    **{f"platforms-{count}-span-{span}": ("platforms", platforms(count, span)) for count, span in product((3, 18), (3.0, 1e4))},
    **{f"predicted-{groups}-groups": ("predicted", predicted(groups, rows)) for groups, rows in ((1, 3), (6, 10))},
    "claims": ("claims", claims()),
}  # fmt: skip


@pytest.mark.parametrize("width", ["single", "double"])
@pytest.mark.parametrize("case", CASES)
def test_no_text_covers_another_or_is_cut_off(case: str, width: str) -> None:
    kind, frame = CASES[case]
    drawing = prepare(kind, [PlotSource(path="t.csv", form="table", data=frame)], Choice())
    check_readable(
        make_figure(drawing, width, "A title that says where all of this comes from"[: 30 if width == "single" else 60])
    )


@pytest.mark.parametrize("width", ["single", "double"])
def test_the_ladder_and_the_grid_are_readable(width: str) -> None:
    source = read_source(ROOT / "reports" / "ablation" / "ablation.csv")
    check_readable(make_figure(prepare("ablation", [source]), width))


@pytest.mark.parametrize("width", ["single", "double"])
@pytest.mark.parametrize("layer", [None, "layer1.0.conv1"])
def test_a_timeline_is_readable(width: str, layer: str | None) -> None:
    design, sgd = acs.load_design("sat_vcu1525"), find_optimizer("sgd")
    trace = acs.load_trace("resnet50_imagenet")
    plan = plan_step(trace, design, case_of(batch=8, engine="event"))
    timeline = PlotSource(path="t.json", form="timeline", data=make_timeline(plan, design, sgd))
    check_readable(make_figure(prepare("timeline", [timeline], Choice(layer=layer)), width, "A title"))


def test_every_kind_is_looked_at() -> None:
    assert {kind for kind, _ in CASES.values()} | {"timeline", "ablation"} == set(
        KINDS
    )  # those have tests of their own
