"""What numbers rest on: the machine in short, and every value of designs and energy tables with its origin."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from accelsim.base.markup import Cell, Html, Number, element
from accelsim.base.units import show
from accelsim.hardware.design import Design
from accelsim.hardware.energy_table import EnergyTable
from accelsim.hardware.sourced import leaf_paths
from accelsim.plots.text import PARAMETERS, in_words
from accelsim.report.pieces import table_of

__all__ = ["DesignParameter", "machine_table", "parameter_tables", "parameters_of"]

_CONFIDENCES = {
    "paper": "stated in the paper itself",
    "datasheet": "from a data sheet or manual",
    "measured": "measured",
    "quoted": "a third party's account of a paper, data sheet or measurement",
    "derived": "follows from other values",
    "fitted": "fitted to measurements",
    "recalled": "general knowledge, no published figure found",
    "assumption": "not published: a stated assumption",
    "choice": "a freedom of the design, not a fact about it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignParameter:
    """A value that the numbers rest on: of the design or energy table `owner`, with its origin."""

    owner: str
    path: str
    value: str
    plausible: str
    confidence: str
    source: str


def parameters_of(owner: Design | EnergyTable) -> list[DesignParameter]:
    """Return every value of a design or energy table with its origin, in the order of its file."""
    origins = {origin.path: origin for origin in owner.provenance}
    found = []
    for path in leaf_paths(type(owner)):
        origin = origins.get(path)
        spans = [] if origin is None or origin.low is None is origin.high else [origin.low, origin.high]
        found.append(
            DesignParameter(
                owner=_label(owner),
                path=path,
                value=_plain(attrgetter(path)(owner)),
                plausible=" to ".join("?" if end is None else _plain(end) for end in spans),
                confidence="choice" if origin is None else origin.confidence,
                source="" if origin is None else origin.source,
            )
        )
    return found


def _label(owner: Design | EnergyTable) -> str:
    return owner.label if isinstance(owner, Design) else owner.name


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,.12g}" if isinstance(value, int | float) else str(value)


def machine_table(designs: Sequence[Design], tables: Sequence[EnergyTable]) -> Html:
    """Return what the machines are: the numbers that decide most, and what was changed of their files."""
    rows: list[tuple[Cell, ...]] = []
    for design in designs:
        array, buffers = design.array, design.buffers
        sizes = (buffers.x_bytes, buffers.w_bytes, buffers.y_bytes, buffers.resident_bytes)
        peak = 2 * design.peak_macs_per_cycle * design.clock_hz
        changed = [
            f"{PARAMETERS[item.path][0]} {in_words(item.path, attrgetter(item.path)(design))}"
            f" (was {in_words(item.path, item.before)})"
            for item in design.overrides
        ]
        table = next((table.name for table in tables if table.name == design.energy), design.energy)
        rows.append(
            (
                design.label,
                f"{array.rows} x {array.cols} PEs x {array.macs_per_pe} MACs",
                in_words("clock_hz", design.clock_hz),
                Number(show(peak, "OP/s"), peak),
                Number(f"{design.dram.bandwidth_gb_per_s:g} GB/s", design.dram.bandwidth_gb_per_s),
                ", ".join(in_words("buffers.x_bytes", size) for size in sizes),
                table,
                ", ".join(changed) or "nothing",
            )
        )
    heads = ("machine", "array", "clock", "peak, dense", "DRAM", "X, W, Y buffer, whole tensors", "energy table",
             "changed of its file")  # fmt: skip
    return table_of("The machine" if len(designs) == 1 else "The machines", heads, rows)


def parameter_tables(owners: Sequence[Design | EnergyTable], file: str = "") -> Iterator[Html]:
    """Yield how sure the values of designs and energy tables are, and a table of each; `file` holds the same."""
    everything = [item for owner in owners for item in parameters_of(owner)]
    counts = {name: sum(item.confidence == name for item in everything) for name in _CONFIDENCES}
    yield element("p", f"Confidence of the {len(everything)} values:")
    terms = [(f"{name} ({counts[name]})", text) for name, text in _CONFIDENCES.items() if counts[name]]
    yield element("dl", *(element(tag, text) for pair in terms for tag, text in zip(("dt", "dd"), pair, strict=True)))
    for owner in owners:
        kind = "Design" if isinstance(owner, Design) else "Energy table"
        rows = [(item.path, item.value, item.plausible, item.confidence, item.source) for item in parameters_of(owner)]
        yield element("p", owner.description)
        heads = ("parameter", "value", "plausible range", "confidence", "source")
        yield table_of(f"{kind} {_label(owner)}", heads, rows, tall=True, wraps=True, filtered=True)
    if file:
        yield element("p", "The same as ", element("a", file, href=file), ".", class_="soft")
