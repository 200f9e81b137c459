"""The report on the paper's claims: claims, speedups, ratios and sensitivity as text, CSV and figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from accelsim.base.files import write_atomically
from accelsim.base.progress import Progress, silent
from accelsim.hardware.design import load_design
from accelsim.hardware.energy_prices import prices_of
from accelsim.hardware.energy_table import load_energy_table
from accelsim.plots import frames
from accelsim.plots.compose import draw_claims, draw_region, draw_tornado
from accelsim.plots.style import new_figure, save_figure
from accelsim.studies.joint import Joint, draw_together
from accelsim.studies.paper import DESIGN, ENGINES_COMPARED, WORKLOADS, Claim, Paper, compare_with_paper
from accelsim.studies.region import SWEEP, Region, find_region
from accelsim.studies.reports.region import drawn_region, region_frames, region_text, together_text
from accelsim.studies.sensitivity import UNVARIED, Sensitivity, bandwidth_for, sensitivities

__all__ = ["paper_frames", "paper_text", "speedup_frame", "tornado_frame", "write_paper"]

_TITLE = f"{DESIGN}, BDWP 2:8, {len(WORKLOADS)} workloads, 512 samples"
TORNADO_LABEL = "average speedup of BDWP 2:8 over dense, closed form"
"""What the axis of the figure on sensitivity says."""


def write_paper(folder: Path, progress: Progress = silent) -> tuple[Paper, Region]:
    """Write ``report.md``, tables of speedups, ratios, sensitivity, region and joint draws, and figures, into `folder`.

    Returns what was compared with the paper, and the region; `progress` hears of each workload, assumption and point.
    """
    paper, moved = compare_with_paper(progress), sensitivities(progress=progress)
    region, joint = find_region(progress), draw_together(progress=progress)
    target = paper.claims[0].published[0]
    needed = {engine: bandwidth_for(target, engine) for engine in ENGINES_COMPARED}
    folder.mkdir(parents=True, exist_ok=True)
    tables = paper_frames(paper, moved) | region_frames(region, joint)
    for name, frame in tables.items():
        write_atomically(folder / f"{name}.csv", frame.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    write_atomically(folder / "report.md", paper_text(paper, moved, needed, region, joint))
    tornado = tornado_frame(paper, moved)
    with new_figure("double") as figure:
        draw_claims(speedup_frame(paper).assign(published=target), figure, _TITLE)
        for suffix in (".svg", ".png"):
            save_figure(figure, folder / f"speedups{suffix}")
    with new_figure("double") as figure:
        base = paper.average_speedup("closed")
        draw_tornado(tornado.assign(base=base, published=target), figure, _TITLE, label=TORNADO_LABEL)
        for suffix in (".svg", ".png"):
            save_figure(figure, folder / f"sensitivity{suffix}")
    with new_figure("double") as figure:
        draw_region(drawn_region(region), figure, f"{SWEEP}: BDWP 2:8, {len(WORKLOADS)} workloads, 512 samples")
        for suffix in (".svg", ".png"):
            save_figure(figure, folder / f"region{suffix}")
    return paper, region


def paper_frames(paper: Paper, moved: Sequence[Sensitivity]) -> dict[str, pd.DataFrame]:
    """The tables of the report by file name: speedups, ratios, sensitivity."""
    rows = [
        {
            "assumption": item.assumption,
            "value": item.value,
            "speedup_closed": item.closed.speedup,
            "speedup_event": item.event.speedup,
            "gops_closed": item.closed.gops,
            "gops_event": item.event.gops,
            "reason": item.reason,
        }
        for item in moved
    ]
    return {
        "speedups": pd.DataFrame([asdict(item) for item in paper.workloads]),
        "ratios": pd.DataFrame([asdict(item) for item in paper.ratios]),
        "sensitivity": pd.DataFrame(rows),
    }


def speedup_frame(paper: Paper) -> pd.DataFrame:
    """Speedup by workload and engine, with the average at the end."""
    rows = [{"workload": item.workload, "engine": item.engine, "speedup": item.speedup} for item in paper.workloads]
    rows += [
        {"workload": "average", "engine": engine, "speedup": paper.average_speedup(engine)}
        for engine in ENGINES_COMPARED
    ]
    return pd.DataFrame(rows).replace({"engine": {"closed": "closed form", "event": "event engine, overlap"}})


def tornado_frame(paper: Paper, moved: Sequence[Sensitivity]) -> pd.DataFrame:
    """Lowest and highest average speedup (closed form) that each assumption can give, the widest first."""
    rows = [{"assumption": item.assumption, "value": item.value, "speedup": item.closed.speedup} for item in moved]
    return frames.tornado_frame(pd.DataFrame(rows), paper.average_speedup("closed"))


def _by_assumption(moved: Sequence[Sensitivity]) -> dict[str, list[Sensitivity]]:
    found: dict[str, list[Sensitivity]] = {}
    for item in moved:
        found.setdefault(item.assumption, []).append(item)
    return found


def paper_text(
    paper: Paper, moved: Sequence[Sensitivity], needed: Mapping[str, float | None], region: Region, joint: Joint
) -> str:
    """Return the report as Markdown; `needed`: GB/s at which the speedup is the published one, by engine, if any."""
    sections = (
        _introduction(),
        _claims(paper),
        _speedups(paper),
        _earlier(paper),
        _sensitivity(moved),
        together_text(joint),
        region_text(region),
        _differences(paper, moved, needed),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _introduction() -> Iterator[str]:
    design = load_design(DESIGN)
    yield "# What the paper claims, and what the model says"
    yield ""
    yield "Made by `accelsim validate --paper -o DIR`."
    yield ""
    yield (
        f"One set of parameters for everything: `{DESIGN}`, batch 512, SGD with momentum, BDWP at 2:8 against dense"
        " training on the same machine; no factor per model. What decides most is not published:"
    )
    yield ""
    yield "| parameter | value | why |"
    yield "|---|---:|---|"
    values = {
        "array.rows": f"{design.array.rows} x {design.array.cols}",
        "array.macs_per_pe": str(design.array.macs_per_pe),
        "clock_hz": f"{design.clock_hz:,.0f}",
        "dram.bandwidth_gb_per_s": f"{design.dram.bandwidth_gb_per_s:g}",
    }
    reasons = {origin.path: origin.source for origin in design.provenance}
    for path, value in values.items():
        yield f"| {path} | {value} | {reasons[path]} |"
    yield ""
    yield (
        "Nothing was fitted to a speedup. But MACs per PE and clock were chosen so that the dense throughput fits what"
        " the published ratios imply at 1.75x. So agreement on the speedup proves little, and agreement on the"
        " throughput ratios nothing: they went in. What can fail is the rest: the spread over workloads, the energy"
        " ratio, and whether one set of parameters serves all claims."
    )


def _claims(paper: Paper) -> Iterator[str]:
    yield "## Claims"
    yield ""
    yield "| claim | published | closed form | event engine, overlap | closed form against it |"
    yield "|---|---:|---:|---:|---|"
    for claim in paper.claims:
        cells = (_span(claim.published), _span(claim.closed), _span(claim.event), verdict(claim, paper))
        yield f"| {claim.name} | {' | '.join(cells)} |"
    yield "| accuracy loss | 0.56 % | | | not testable: nothing is trained here |"


def verdict(claim: Claim, paper: Paper) -> str:
    """Say in a few words how the closed form stands to a claim."""
    low, high = claim.published
    if low == high:
        return _off(claim.closed[0], low)
    own = [ratio for ratio in paper.ratios if claim.name.startswith(ratio.quantity)]
    inside = sum(low <= ratio.closed <= high for ratio in own)
    return f"{inside} of {len(own)} ratios inside"


def _speedups(paper: Paper) -> Iterator[str]:
    yield "## Speedup over dense training"
    yield ""
    yield "![Speedup of BDWP 2:8 by workload and engine](speedups.png)"
    yield ""
    yield "| workload | closed form | event engine, overlap | GOP/s, closed | GOP/s, event |"
    yield "|---|---:|---:|---:|---:|"
    by_engine = [[item for item in paper.workloads if item.engine == engine] for engine in ENGINES_COMPARED]
    for closed, event in zip(*by_engine, strict=True):
        yield (
            f"| {closed.workload} | {closed.speedup:.2f}x | {event.speedup:.2f}x"
            f" | {closed.effective_gops:,.0f} | {event.effective_gops:,.0f} |"
        )
    averages = " | ".join(f"**{paper.average_speedup(engine):.2f}x**" for engine in ENGINES_COMPARED)
    gops = " | ".join(f"{_gops(paper, engine):,.0f}" for engine in ENGINES_COMPARED)
    yield f"| **average** | {averages} | {gops} |"
    yield ""
    yield (
        "The closed form is compared with 1.75x: the overlap known of SAT is that SORE follows the weight update as a"
        " stream, and that is in it. The event engine runs normalisation and updates beside the products of WU, too,"
        " which nothing published says of SAT. It hides about as much of the dense step as of the sparse one, which is"
        " the shorter, so the speedup grows. GOP/s count the operations of the dense step."
    )


def _earlier(paper: Paper) -> Iterator[str]:
    yield "## Earlier FPGA training accelerators"
    yield ""
    yield "| accelerator | precision | its number | ratio, closed form | from - to | ratio, event engine |"
    yield "|---|---|---:|---:|---:|---:|"
    units = {"throughput": "GOP/s", "energy efficiency": "GOP/s/W"}
    precisions = {other.name: other.precision for other in paper.accelerators}
    for ratio in paper.ratios:
        number = f"{ratio.published:g} {units[ratio.quantity]}"
        yield (
            f"| {ratio.accelerator} | {precisions[ratio.accelerator]} | {number} | **{ratio.closed:.2f}x**"
            f" | {ratio.low:.2f} - {ratio.high:.2f} | {ratio.event:.2f}x |"
        )
    yield ""
    yield (
        "SAT is the mean of the five workloads; from - to spans these, for energy the ranges of the energy table. Their"
        " networks, batches and number formats differ from ours and from each other."
    )
    yield ""
    yield "What cannot be tested:"
    yield ""
    yield (
        "- which accelerators the ends of 2.97-25.22x and 1.36-3.58x belong to, as the abstract does not say; and SAT's"
        " own throughput, clock and power, which no text that was read states"
    )
    yield "- accuracy: nothing is trained here"
    missing: dict[str, list[str]] = {}
    for other in paper.accelerators:
        reasons = {"throughput": other.no_throughput, "energy": other.no_efficiency}
        for quantity, reason in reasons.items():
            if reason:
                missing.setdefault(f"{quantity}, {reason}", []).append(other.name)
    for what, names in missing.items():
        yield f"- {what}: {', '.join(names)}"


def _sensitivity(moved: Sequence[Sensitivity]) -> Iterator[str]:
    yield "## Which assumptions carry the speedup"
    yield ""
    yield "![Average speedup at other values of each assumption](sensitivity.png)"
    yield ""
    yield (
        "Each assumption alone at other plausible values, everything else as shipped; the figure has those that matter."
        " Throughput moves with array size, MACs per PE and clock, of course: `sensitivity.csv` has it."
    )
    yield ""
    yield "| assumption | value: average, closed form | value: average, event engine | why these values |"
    yield "|---|---|---|---|"
    for name, items in _by_assumption(moved).items():
        closed = ", ".join(f"{item.value}: {item.closed.speedup:.3f}x" for item in items)
        event = ", ".join(f"{item.value}: {item.event.speedup:.3f}x" for item in items)
        yield f"| {name} | {closed} | {event} | {items[0].reason} |"
    yield ""
    yield "Not varied: " + "; ".join(f"{path} ({reason})" for path, reason in UNVARIED.items()) + "."


def _differences(paper: Paper, moved: Sequence[Sensitivity], needed: Mapping[str, float | None]) -> Iterator[str]:
    speedup, throughput, efficiency = paper.claims
    target = speedup.published[0]
    enough = [f"{item.assumption} {item.value}" for item in moved if item.closed.speedup <= target]
    closed, event = speedup.closed[0], speedup.event[0]
    yield "## Where we differ, and what would have to be true"
    yield ""
    yield (
        f"- **Speedup**: {closed:.2f}x is {_off(closed, target)} than {target:g}x, with overlap {event:.2f}x is"
        f" {_off(event, target)}. DRAM at {_bandwidth(needed['closed'])} would give {target:g}x in the closed form, at"
        f" {_bandwidth(needed['event'])} with overlap (a channel has 19.2). Each of these alone is enough or more than"
        f" enough in the closed form: {'; '.join(enough) or 'none'}. One number does not tell which is true."
    )
    yield from _throughput_difference(paper, throughput)
    yield from _efficiency_difference(paper, efficiency)


def _throughput_difference(paper: Paper, claim: Claim) -> Iterator[str]:
    own = [item for item in paper.ratios if item.quantity == "throughput"]
    stated = {item.accelerator: item.published for item in own}
    fast, slow = stated["Automatic compiler (FPL'19)"], stated["EF-Train"]
    low, high = claim.published
    below = ", ".join(item.accelerator for item in own if item.closed < low)
    above = ", ".join(item.accelerator for item in own if item.closed > high)
    yield (
        f"- **Throughput**: below {low:g}x: {below or 'none'}; above {high:g}x: {above or 'none'}. Were {high:g}x over"
        f" EF-Train and {low:g}x over the FPL'19 compiler, from which MACs per PE and clock were inferred, SAT would"
        f" do {high * slow:,.0f} and {low * fast:,.0f} GOP/s; here it does {_gops(paper, 'closed'):,.0f}. No one number"
        f" gives both: the two lie a factor {fast / slow:.1f} apart, the ends of the range {high / low:.1f}. So the"
        " paper compares other accelerators, or other networks with each, or per DSP slice."
    )


def _efficiency_difference(paper: Paper, claim: Claim) -> Iterator[str]:
    (ratio,) = [item for item in paper.ratios if item.quantity == "energy efficiency"]
    high, gops = claim.published[1], _gops(paper, "closed")
    needed = gops / (high * ratio.published)
    own, least, most = (gops / (each * ratio.published) for each in (ratio.closed, ratio.high, ratio.low))
    where = "that is inside" if least <= needed <= most else f"that is {'above' if needed > most else 'below'}"
    design = load_design(DESIGN)
    prices = prices_of(design, load_energy_table(design.energy))
    clocks = prices.static_w(design.clock_hz) - prices.base_w
    yield (
        f"- **Energy**: {ratio.closed:.2f}x over EF-Train, {ratio.low:.2f}x to {ratio.high:.2f}x over the ranges of the"
        f" energy table. Were the largest ratio, {high:g}x, the one over EF-Train, SAT would draw {needed:.0f} W at our"
        f" throughput; the model has it draw {own:.0f} W, {least:.0f} to {most:.0f} W over the ranges: {where}."
        f" {prices.base_w:.0f} W of it are board and device at rest, {clocks:.1f} W the clocks of what the design uses;"
        f" a multiply-accumulate takes {prices.pj_per_mac:.0f} pJ, by the DSPs and LUTs that the estimate of"
        " resources counts for it. The idle card and the energy of a DSP slice are recalled, that of a LUT derived from"
        " a published power report at the activity of arithmetic, so the range says more than the value."
    )


def _gops(paper: Paper, engine: str) -> float:
    """Mean dense-equivalent throughput of the five workloads."""
    return sum(item.effective_gops for item in paper.workloads if item.engine == engine) / len(WORKLOADS)


def _bandwidth(value: float | None) -> str:
    return "no bandwidth of one to four channels" if value is None else f"{value:.1f} GB/s"


def _span(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{low:.2f}x" if low == high else f"{low:.2f} - {high:.2f}x"


def _off(value: float, target: float) -> str:
    return f"{abs(value / target - 1):.1%} {'higher' if value > target else 'lower'}"
