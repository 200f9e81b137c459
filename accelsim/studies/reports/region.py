"""What the paper's report says of claims taken together: the designs that agree, and the joint uncertainty."""

from collections.abc import Iterator

import pandas as pd

from accelsim.base.units import GIGA
from accelsim.hardware.design import load_design
from accelsim.results import published
from accelsim.studies.joint import Joint
from accelsim.studies.paper import DESIGN
from accelsim.studies.region import SWEEP, WITHIN, Assignment, Candidate, Region

__all__ = [
    "HEADS",
    "SHOWN_DESIGNS",
    "assignment_cells",
    "drawn_region",
    "region_frames",
    "region_summary",
    "region_text",
    "together_text",
]

SHOWN_DESIGNS = (DESIGN,)
"""Shipped designs that the figure shows among the others."""


def region_frames(region: Region, joint: Joint) -> dict[str, pd.DataFrame]:
    """The tables by file name: a row per design of the region, and one per joint draw, those with a speedup first."""
    rows = []
    for design in region.designs:
        row = {path: float(text) for path, text in design.changes}
        row |= {name: getattr(design, name) for name in _SHOWN} | {"power_w": design.power_w}
        row["agrees_in_speedup"] = design.agrees_in_speedup()
        row |= {_words(pair): design in pair.designs for pair in region.assignments}
        rows.append(row)
    draws = list[tuple[str, float | None]](("ok", value) for value in joint.speedups)
    draws += [("does not fit", None)] * joint.unfit + [("infeasible", None)] * joint.infeasible
    return {"region": pd.DataFrame(rows), "joint": pd.DataFrame(draws, columns=["status", "average_speedup"])}


_SHOWN = ("peak_gmacs", "bytes_per_mac", "speedup", "gops", "gops_low", "gops_high", "gops_per_w")


def drawn_region(region: Region) -> pd.DataFrame:
    """A row per design with what it agrees with, and one per shipped design, as `draw_region` takes them."""
    order = ("neither", "average speedup", "both ends of a throughput range", "all three")
    rows = [
        {"peak_gmacs": design.peak_gmacs, "bytes_per_mac": design.bytes_per_mac, "group": group, "name": ""}
        for group in order
        for design in region.designs
        if _group(design, region) == group
    ]
    for name in SHOWN_DESIGNS:
        shipped = load_design(name)
        peak = shipped.peak_macs_per_cycle
        rows.append({
            "peak_gmacs": peak * shipped.clock_hz / GIGA, "bytes_per_mac": shipped.dram_bytes_per_cycle / peak,
            "group": "", "name": name,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _group(design: Candidate, region: Region) -> str:
    if any(design in pair.designs for pair in region.assignments):
        return "all three"
    if any(all(map(design.reaches, pair.gops)) for pair in region.assignments):
        return "both ends of a throughput range"
    return "average speedup" if design.agrees_in_speedup() else "neither"


def _words(pair: Assignment) -> str:
    return f"largest over {pair.largest_over}, smallest over {pair.smallest_over}"


def region_summary(region: Region) -> str:
    """Return how many designs there are, and how many agree with the speedup alone."""
    alone = sum(map(Candidate.agrees_in_speedup, region.designs))
    return (
        f"{len(region.designs):,} designs of the sweep {SWEEP} fit their device ({region.left_out:,} do not);"
        f" {alone:,} agree with {published.SPEEDUP:g}x within {WITHIN:.0%}"
    )


HEADS = (
    f"{published.THROUGHPUT[1]:g}x over", f"{published.THROUGHPUT[0]:g}x over", "designs", "peak, GMAC/s",
    "DRAM B/MAC", "W, as modelled", f"W, were {published.EFFICIENCY[1]:g}x over EF-Train",
)  # fmt: skip
"""What the cells of `assignment_cells` are."""


def assignment_cells(region: Region) -> Iterator[tuple[str, ...]]:
    """Yield a row for each assignment of the ends of the throughput range that any design agrees with."""
    for pair in region.assignments:
        peak, share, draws = (pair.span(name) for name in ("peak_gmacs", "bytes_per_mac", "power_w"))
        spans = _span(peak, ".0f"), _span(share, ".3f"), _span(draws, ".0f"), _span(pair.watts, ".0f")
        yield pair.largest_over, pair.smallest_over, f"{len(pair.designs):,}", *spans


def region_text(region: Region) -> Iterator[str]:
    """Yield the section on the region."""
    small, large = published.THROUGHPUT
    yield "## The claims taken together"
    yield ""
    yield "![Designs by peak and DRAM bytes per MAC, and the claims that they agree with](region.png)"
    yield ""
    yield (
        f"`accelsim sweep {SWEEP}` varies array, MACs per PE, clock and DRAM channels within what the device holds. A"
        f" design agrees with the speedup where its average lies within {WITHIN:.0%} of {published.SPEEDUP:g}x, and"
        f" with {large:g}x or {small:g}x where that ratio over an earlier accelerator lies between the smallest and the"
        " largest of the five workloads. The abstract does not say which accelerators; every pair with a stated"
        " throughput was tried. `region.csv` has every design."
    )
    yield ""
    yield f"{region_summary(region)}. Those that agree with both ends of the throughput range as well:"
    yield ""
    yield f"| {' | '.join(HEADS)} |"
    yield f"|---|---|{'---:|' * (len(HEADS) - 2)}"
    yield from (f"| {' | '.join(cells)} |" for cells in assignment_cells(region))
    yield ""
    names = list(next(iter(region.constrains.values())))
    yield "What each claim measures, as the rank correlation over these designs:"
    yield ""
    yield f"| claim | {' | '.join(names)} |"
    yield f"|---|{'---:|' * len(names)}"
    for claim, found in region.constrains.items():
        yield f"| {claim} | {' | '.join(f'{found[name]:+.2f}' for name in names)} |"
    yield ""
    claims = {claim: max(found, key=lambda name: abs(found[name])) for claim, found in region.constrains.items()}
    measured = "; ".join(f"{claim}: `{name}`" for claim, name in claims.items())
    yield (
        f"So each claim alone constrains one number ({measured}), and only together they point at a machine. Whichever"
        " design is taken from the region is fitted to these claims: that it meets them is no evidence. What remains"
        " evidence is the spread over the networks, the energy, and other designs."
    )


def together_text(joint: Joint) -> Iterator[str]:
    """Yield the section on all assumptions drawn together."""
    low, median, high = joint.percentiles
    yield "## All assumptions together"
    yield ""
    yield (
        f"With all of them drawn at once (Latin hypercube, {len(joint.speedups) + joint.unfit + joint.infeasible:,}"
        f" draws; {joint.unfit:,} that the device does not hold are left out, {joint.infeasible:,} that a workload"
        f" cannot run on likewise) the average speedup lies between **{low:.2f}x and {high:.2f}x** (5th to 95th"
        f" percentile; median {median:.2f}x). `joint.csv` has every draw."
    )


def _span(ends: tuple[float, float], form: str) -> str:
    low, high = (format(end, form) for end in ends)
    return low if low == high else f"{low} - {high}"
