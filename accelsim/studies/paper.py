"""The claims of the paper (Fang et al., TCAD 2023) beside what the model says, all from one set of parameters.

The set is the design ``sat_vcu1525``, a batch of 512 and SGD with momentum; no factor per model exists. Two engines
give two answers: the closed form lets one task run after another, and SORE follow WUVE as a stream, which is all the
overlap that is known of SAT; the event engine lets all units work side by side. It is the closed form that is compared.

Earlier accelerators are compared by numbers that their papers state. A number marked recalled is left out, whatever
else its row says, and so is what is not training.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources

from accelsim.base.progress import Progress, silent
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.sourced import override
from accelsim.results import published
from accelsim.results.energy import energy_at
from accelsim.results.step import Result
from accelsim.simulation import simulate
from accelsim.workload.trace import load_trace

__all__ = [
    "DESIGN",
    "ENGINES_COMPARED",
    "WORKLOADS",
    "Accelerator",
    "Claim",
    "Paper",
    "Ratio",
    "Setting",
    "Workload",
    "accelerators",
    "compare_with_paper",
    "run_setting",
]

WORKLOADS = ("resnet9_cifar10", "vgg19_cifar100", "vit_cifar100", "resnet18_tinyimagenet", "resnet50_imagenet")
DESIGN = "sat_vcu1525"
ENGINES_COMPARED = ("closed", "event")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One answer to what the paper does not say: changes of the design, batch, optimizer, and which workloads."""

    label: str
    changes: tuple[tuple[str, str], ...] = ()
    batch: int = 512
    optimizer: str = "sgd"
    workloads: tuple[str, ...] = WORKLOADS


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """BDWP at 2:8 on one workload and engine: step times, speedup over dense, dense-equivalent throughput, efficiency.

    `gops_per_w_low` and `gops_per_w_high` take all energies of the table at the far ends of their ranges.
    """

    workload: str
    engine: str
    dense_latency_s: float
    latency_s: float
    speedup: float
    effective_gops: float
    gops_per_w: float
    gops_per_w_low: float
    gops_per_w_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """An earlier FPGA training accelerator: what its paper states, and why that cannot be compared where it cannot."""

    name: str
    platform: str
    precision: str
    throughput_gops: float | None
    gops_per_w: float | None
    no_throughput: str
    no_efficiency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A number of SAT over the same of an earlier accelerator, by engine; `low` and `high` of the closed form.

    They span the five workloads (throughput), or the ranges of the energy table (energy efficiency).
    """

    quantity: str
    accelerator: str
    published: float
    closed: float
    event: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A published number beside what each engine says, each as (smallest, largest); equal where it is one number."""

    name: str
    published: tuple[float, float]
    closed: tuple[float, float]
    event: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """What is compared with the paper: the claims, and what they are made of."""

    claims: tuple[Claim, ...]
    workloads: tuple[Workload, ...]
    ratios: tuple[Ratio, ...]
    accelerators: tuple[Accelerator, ...]

    def average_speedup(self, engine: str) -> float:
        """Arithmetic mean over the workloads, as the paper has it."""
        return _mean(item.speedup for item in self.workloads if item.engine == engine)


def compare_with_paper(progress: Progress = silent) -> Paper:
    """Simulate the five workloads at 2:8 under both engines, and compare with everything that is published.

    `progress` hears of each workload.
    """
    design, base = load_design(DESIGN), Setting(label="as shipped")
    cases = [(engine, name) for engine in ENGINES_COMPARED for name in WORKLOADS]
    found = []
    for done, (engine, name) in enumerate(cases):
        progress(done, len(cases), f"{name}, {engine}")
        (result,) = run_setting(design, replace(base, workloads=(name,)), engine)
        found.append(_workload(name, result))
    progress(len(cases), len(cases), "")
    workloads = tuple(found)
    earlier = tuple(accelerators())
    ratios = tuple(_ratios(workloads, earlier))
    averages = [_mean(item.speedup for item in workloads if item.engine == engine) for engine in ENGINES_COMPARED]
    return Paper(
        claims=(
            Claim(
                name="average speedup",
                published=(published.SPEEDUP, published.SPEEDUP),
                closed=(averages[0], averages[0]),
                event=(averages[1], averages[1]),
            ),
            _claim("throughput", published.THROUGHPUT, ratios),
            _claim("energy efficiency", published.EFFICIENCY, ratios),
        ),
        workloads=workloads,
        ratios=ratios,
        accelerators=earlier,
    )


def run_setting(design: Design, setting: Setting, engine: str) -> list[Result]:
    """Simulate BDWP at 2:8 on each workload of a setting."""
    changed = override(design, dict(setting.changes))
    return [
        simulate(
            load_trace(name),
            changed,
            method="bdwp",
            pattern="2:8",
            batch=setting.batch,
            optimizer=setting.optimizer,
            engine=engine,
        )
        for name in setting.workloads
    ]


def _workload(name: str, result: Result) -> Workload:
    step, basis = result.step, result.basis
    return Workload(
        workload=name,
        engine=result.engine,
        dense_latency_s=step.latency_s * step.speedup,
        latency_s=step.latency_s,
        speedup=step.speedup,
        effective_gops=step.effective_gops,
        gops_per_w=step.gops_per_w,
        gops_per_w_low=step.gops_per_w
        * step.energy_j
        / energy_at(result.energy, basis.design, basis.energy_table, "high"),
        gops_per_w_high=step.gops_per_w
        * step.energy_j
        / energy_at(result.energy, basis.design, basis.energy_table, "low"),
    )


def accelerators() -> Iterator[Accelerator]:
    """Yield the published accelerators other than SAT, with the numbers that their papers state."""
    for row in _rows("fpga_training_accelerators.csv"):
        if row["name"].startswith("SAT "):
            continue
        row_reason = _unusable(row)
        throughput, no_throughput = _number(row["throughput_GOPS"], row_reason)
        efficiency, no_efficiency = _number(row["GOPS_per_W"], row_reason)
        if not row["GOPS_per_W"] and "recalled" in row["power_W"]:
            no_efficiency = "power recalled, not read"
        yield Accelerator(
            name=row["name"],
            platform=row["platform"],
            precision=row["precision"],
            throughput_gops=throughput,
            gops_per_w=efficiency,
            no_throughput=no_throughput,
            no_efficiency=no_efficiency,
        )


def _unusable(row: Mapping[str, str]) -> str:
    """Why no number of a row can be compared; empty where some can."""
    if "not training" in row["notes"]:
        return "inference, not training"
    return "" if row["confidence"].startswith("paper") else "nothing of it was read in a paper"


def _number(text: str, row_reason: str) -> tuple[float | None, str]:
    """A number and why there is none."""
    if row_reason:
        return None, row_reason
    if not text:
        return None, "no number found"
    plain = re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)
    return (float(text), "") if plain else (None, "recalled, not read")


def _ratios(workloads: Sequence[Workload], earlier: Sequence[Accelerator]) -> Iterator[Ratio]:
    """Yield the mean of the five workloads over each published number."""
    closed, event = ([item for item in workloads if item.engine == engine] for engine in ENGINES_COMPARED)
    for other in earlier:
        if other.throughput_gops is not None:
            each = [item.effective_gops / other.throughput_gops for item in closed]
            yield Ratio(
                quantity="throughput",
                accelerator=other.name,
                published=other.throughput_gops,
                closed=_mean(each),
                event=_mean(item.effective_gops / other.throughput_gops for item in event),
                low=min(each),
                high=max(each),
            )
        if other.gops_per_w is not None:
            yield Ratio(
                quantity="energy efficiency",
                accelerator=other.name,
                published=other.gops_per_w,
                closed=_mean(item.gops_per_w / other.gops_per_w for item in closed),
                event=_mean(item.gops_per_w / other.gops_per_w for item in event),
                low=_mean(item.gops_per_w_low / other.gops_per_w for item in closed),
                high=_mean(item.gops_per_w_high / other.gops_per_w for item in closed),
            )


def _claim(quantity: str, published: tuple[float, float], ratios: Sequence[Ratio]) -> Claim:
    own = [ratio for ratio in ratios if ratio.quantity == quantity]
    closed, event = [ratio.closed for ratio in own], [ratio.event for ratio in own]
    return Claim(
        name=f"{quantity} over earlier accelerators",
        published=published,
        closed=(min(closed), max(closed)),
        event=(min(event), max(event)),
    )


def _rows(file: str) -> list[dict[str, str]]:
    text = (resources.files("accelsim") / "data" / file).read_text()
    return list(csv.DictReader(text.splitlines()))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
