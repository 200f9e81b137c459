"""What ``accelsim schedule --explain`` shows: the alternatives to what is planned for one operation."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from accelsim.base.units import show
from accelsim.cli.screen import table_of, words
from accelsim.lowering.tasks import Gemm, Stage
from accelsim.schedule.explain import Alternative, Explanation, GemmChoice, Handover, Placement
from accelsim.schedule.plan import Mapping, Plan
from accelsim.schedule.plan_checks import task_names
from accelsim.sparsity.methods import Operand, case_name
from accelsim.workload.names import counted

if TYPE_CHECKING:
    from rich.console import Console

    from accelsim.hardware.design import Design

__all__ = ["mapping_cells", "shape_of", "show_explanation"]

_SHOWN = 12
_CHOSEN = "*"


def show_explanation(
    out: "Console", explanation: Explanation, plan: Plan, design: "Design", *, every: bool = False
) -> None:
    """Print the alternatives of one operation: mappings of its GEMMs (`every` one, or the best dozen), placements of
    its compact copies, and what staying on the chip saves."""
    step = plan.step
    case = case_name(step.method, step.pattern)
    head = f"{explanation.operation} of {step.model}, {case}, {step.batch:,} samples, on {design.name}"
    out.print(Text(head, style="bold"))
    out.print(f"cycles of each task alone, with all else as planned; {_CHOSEN} marks what is planned")
    shown: list[GemmChoice] = []
    for choice in explanation.gemms:
        alike = [other for other in shown if (other.chosen, other.alternatives) == (choice.chosen, choice.alternatives)]
        _show_choice(out, choice, plan, alike[0] if alike else None, every=every)
        shown.append(choice)
    _show_short_runs(out, explanation, design)
    if explanation.placements:
        _show_placements(out, explanation.placements, plan)
    if explanation.handovers:
        _show_handovers(out, explanation.handovers, plan, design)


def shape_of(gemm: Gemm) -> str:
    """Return the sizes of a GEMM with its copies, in short."""
    return f"{gemm.m}x{gemm.n}x{gemm.k}" + (f" (x{gemm.count})" if gemm.count > 1 else "")


def mapping_cells(gemm: Gemm, mapping: Mapping) -> tuple[str, str, str, str]:
    """Return the array mapping, the tile, the loop order and that of an im2col operand in short."""
    own = _machine_of(gemm, mapping)
    tile = "x".join(map(str, mapping.tile))
    return f"{mapping.dataflow} {own}".strip(), tile, mapping.order, mapping.im2col or ""


def _show_short_runs(out: "Console", explanation: Explanation, design: "Design") -> None:
    """Print what is charged as if it passed the DRAM in runs as long as all else."""
    short = dict.fromkeys(text for choice in explanation.gemms for text in _short_runs(choice.gemm))
    if short:
        out.print(f"\nat {design.dram.efficiency:.0%} of the bandwidth (dram.efficiency), as runs of 64 bytes or more:")
        for text in short:
            out.print(f"   {text}")


def _short_runs(gemm: Gemm) -> Iterator[str]:
    """Yield what of a product may pass the DRAM in shorter runs than other operands; see `Dram`."""
    if "[phase" in gemm.name:
        yield f"the result of a phase of {gemm.form}, whose neighbours are those of other phases"
    if gemm.form is Stage.BP and gemm.w_operand is Operand.WEIGHT and gemm.pattern is None:
        yield "the weight that BP reads transposed"
    if gemm.form is Stage.WU:
        yield "the input that WU reads transposed, in rows of its planes"


def _machine_of(gemm: Gemm, mapping: Mapping) -> str:
    """Interleaving of OS; variant of WS and IS, which have one where the GEMM is sparse, with the depth of a chain."""
    if mapping.variant is None:
        return mapping.interleave
    depth = f" {mapping.ia}" if mapping.variant == "chain" else ""
    return f"{mapping.variant}{depth}" if gemm.pattern else ""


def _show_choice(out: "Console", choice: GemmChoice, plan: Plan, alike: GemmChoice | None, *, every: bool) -> None:
    """Print the alternatives of a GEMM, or that they are those of another one, `alike`."""
    gemm, chosen = choice.gemm, choice.chosen
    name, stage = task_names(plan.step)[choice.task]
    online = ", generated online" if choice.task in plan.online else ""
    kept = ", its result stays on the chip" if choice.task in plan.resident else ""
    what = f"  {shape_of(gemm)}, {gemm.pattern or 'dense'}{online}{kept}"
    out.print(Text.assemble("\n", (f"{stage}  {name}", "bold"), what))
    if alike is not None:
        out.print(Text(f"   as {alike.gemm.stage}  {alike.gemm.name}"))
        return
    groups = _grouped(choice)
    shown = [group for at, group in enumerate(groups) if every or at < _SHOWN or chosen in group]
    generation = ["generation"] if any(item.generation_cycles for group in groups for item in group) else []
    table = table_of(
        words(""),
        words("mapping"),
        "tile",
        words("loops"),
        words("im2col"),
        "cycles",
        "vs plan",
        *generation,
        "DRAM",
        words("bound"),
    )
    for group in shown:
        table.add_row(*_cells(group, choice, generation=bool(generation)))
    out.print(table)
    left = sum(len(group) for group in groups if group not in shown)
    if left:
        slowest = groups[-1][0].cycles / chosen.cycles
        out.print(f"   and {counted(left, 'more mapping')} (--all), up to {slowest:.2f}x")


def _grouped(choice: GemmChoice) -> list[list[Alternative]]:
    """Group the alternatives that differ in interleaving or variant alone, the fastest first; the mapping that is
    planned leads its group, and has its own where it is none of them."""
    chosen = choice.chosen
    groups: dict[tuple[object, ...], list[Alternative]] = {}
    for item in choice.alternatives if chosen in choice.alternatives else (*choice.alternatives, chosen):
        mapping = item.mapping
        key = (
            mapping.dataflow,
            mapping.tile,
            mapping.order,
            mapping.im2col,
            item.cycles,
            item.generation_cycles,
            item.dram_bytes,
            item.bound,
        )
        groups.setdefault(key, []).append(item)
    by_cycles = sorted(groups.values(), key=lambda group: (group[0].cycles, chosen not in group, group[0].dram_bytes))
    return [sorted(group, key=lambda item: item != chosen) for group in by_cycles]


def _without_runs(machines: Sequence[str]) -> list[str]:
    """Chains of neighbouring depths as one: ``chain 2 to 5``."""
    told: list[str] = []
    first = last = 0
    for machine in machines:
        depth = int(machine.removeprefix("chain ")) if machine.startswith("chain ") else 0
        if depth and depth == last + 1 and first:
            told[-1] = f"chain {first} to {depth}"
        else:
            told.append(machine)
            first = depth
        last = depth
    return told


def _cells(group: Sequence[Alternative], choice: GemmChoice, *, generation: bool) -> list[str]:
    first = group[0]
    _, *others = mapping_cells(choice.gemm, first.mapping)
    machines = ", ".join(_without_runs([_machine_of(choice.gemm, item.mapping) for item in group]))
    return [
        _CHOSEN if first == choice.chosen else "",
        f"{first.mapping.dataflow} {machines}".strip(),
        *others,
        f"{first.cycles:,}",
        f"{first.cycles / choice.chosen.cycles:.3f}x",
        *([f"{first.generation_cycles:,}"] if generation else []),
        show(first.dram_bytes, "B"),
        first.bound,
    ]


def _show_placements(out: "Console", placements: Sequence[Placement], plan: Plan) -> None:
    names = task_names(plan.step)
    out.print(Text("\ncompact copies of its weight", style="bold"))
    table = table_of(words(""), "ahead, behind the update", "online", "update", "its readers", "cycles", "vs plan")
    for column in table.columns[1:3]:
        column.justify = "left"
    planned = {item.update: item.cycles for item in placements if item.chosen}
    for item in placements:
        online = [copy for copy in item.copies if copy not in item.ahead]
        table.add_row(
            _CHOSEN if item.chosen else "",
            *(", ".join(names[copy][0] for copy in copies) or "none" for copies in (item.ahead, online)),
            f"{item.update_cycles:,}",
            f"{item.reader_cycles:,}",
            f"{item.cycles:,}",
            f"{item.cycles / planned[item.update]:.3f}x",
        )
    out.print(table)


def _show_handovers(out: "Console", handovers: Sequence[Handover], plan: Plan, design: "Design") -> None:
    names, room = task_names(plan.step), design.buffers.resident_bytes
    out.print(Text("\nresults that the next task reads", style="bold"))
    table = table_of(words(""), "result of", "read by", "size", "saves cycles", "stays on the chip")
    for at in (1, 2, 5):
        table.columns[at].justify = "left"
    for item in handovers:
        made, reader = (f"{names[index][0]} ({names[index][1]})" for index in (item.edge.producer, item.edge.consumer))
        table.add_row(_CHOSEN if item.stays else "", made, reader, show(item.edge.size, "B"), f"{item.saved_cycles:,}",
                      _why(item, room))  # fmt: skip
    out.print(table)


def _why(item: Handover, room: int) -> str:
    if item.stays:
        return "yes"
    if not item.fits:
        beside = "" if item.edge.size > room else " beside what stays already"
        return (
            f"no: {show(room, 'B')} hold no more{beside}" if beside else f"no: larger than the {show(room, 'B')} there"
        )
    return "no" if item.saved_cycles else "no: saves nothing"
