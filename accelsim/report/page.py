"""The page of a report: what was found, the figures, the layers, and what all of it rests on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from accelsim.base.markup import Cell, Html, Number, element, joined
from accelsim.base.ratios import gain_words
from accelsim.base.units import show, show_duration
from accelsim.hardware.design import Design
from accelsim.hardware.energy_table import EnergyTable
from accelsim.hardware.resources import check_fits
from accelsim.report.drawings import ReportFigure
from accelsim.report.layer_tables import layer_tables
from accelsim.report.origins import DesignParameter, machine_table, parameter_tables, parameters_of
from accelsim.report.pieces import figures_of, page_of, table_of
from accelsim.results.energy import energy_at
from accelsim.results.step import Result, Results, StageResult, group_notes, step_cells
from accelsim.results.training import TrainingResult
from accelsim.results.wording import run_sentence
from accelsim.sparsity.methods import case_name, find_method
from accelsim.workload.trace import Trace, macs_text

__all__ = ["Contents", "make_page"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a report shows; `detailed` are the results whose layers are shown, `svgs` the figures as SVG, by name."""

    results: Results
    designs: tuple[Design, ...]
    tables: tuple[EnergyTable, ...]
    traces: tuple[Trace, ...]
    runs: tuple[TrainingResult, ...] = ()
    run_figures: tuple[ReportFigure, ...] = ()
    comparing: tuple[ReportFigure, ...]
    detailed: tuple[tuple[Result, tuple[ReportFigure, ...]], ...]
    svgs: Mapping[str, Html]
    command: str

    @property
    def title(self) -> str:
        """Which workloads on which designs."""
        workloads, designs = (
            dict.fromkeys(result.head[name] for result in self.results) for name in ("workload", "design")
        )
        return f"{', '.join(workloads)} on {', '.join(designs)}"

    @property
    def owners(self) -> tuple[Design | EnergyTable, ...]:
        """What the parameters are those of."""
        return (*self.designs, *self.tables)


def make_page(contents: Contents) -> str:
    """Return the whole page; it needs nothing but itself."""
    first = contents.results[0]
    words = f"{'One training step' if first.mode == 'train' else 'One forward pass'}, {_options(contents.results)}"
    return page_of(
        contents.title,
        words,
        {
            "summary": ("Summary", _summary(contents)),
            **({"runs": ("Training", _runs(contents))} if contents.runs else {}),
            "figures": ("Figures", [figures_of(contents.comparing, contents.svgs)]),
            "layers": ("Layers", _layers(contents)),
            "warnings": ("Warnings", _warnings(contents)),
            "method": ("Method and workload", _method(contents)),
            "parameters": (
                "Parameters, their sources and confidence",
                parameter_tables(contents.owners, "parameters.csv"),
            ),
            "command": ("How this was made", _command(contents)),
        },
    )


def _options(results: Results) -> str:
    parts = {
        name: dict.fromkeys(str(result.head[name]) for result in results) for name in ("batch", "optimizer", "engine")
    }
    return f"{', '.join(parts['batch'])} samples, {', '.join(parts['optimizer'])}, {', '.join(parts['engine'])} engine"


# Summary


def _summary(contents: Contents) -> Iterator[Html]:
    results = contents.results
    for sentence in _findings(results):
        yield element("p", sentence, class_="lead")
    yield machine_table(contents.designs, contents.tables)
    names = _case_names(results)
    cells = [step_cells(result) for result in results]
    rows: list[tuple[Cell, ...]] = [
        (name, Number(f"{result.step.speedup:.2f}x", result.step.speedup), *cell.values(), _interval(result))
        for name, result, cell in zip(names, results, cells, strict=True)
    ]
    heads = ("case", "speedup over dense", *cells[0], "energy, range")
    yield table_of("Steps, dense against sparse", heads, rows)
    yield _stage_table(results, names)
    texts = group_notes(note for result in results for note in result.notes)
    unsure = [item for item in _all_parameters(contents) if item.confidence in {"assumption", "recalled"}]
    yield element(
        "p",
        "These numbers come from a model of the machine; no measured cycle count of it is known, so their error cannot"
        " be stated. They rest on ",
        element("a", f"{len(unsure)} values that are assumed or recalled", href="#parameters"),
        "; the range of the energy is that of its table. ",
        element("a", f"Warnings: {len(texts) + len(_shortfalls(contents))}", href="#warnings"),
        ".",
    )  # fmt: skip


def _findings(results: Results) -> Iterator[str]:
    """One sentence for the fastest sparse result of each workload and design, against dense training on the same."""
    for workload, design in dict.fromkeys((result.workload, result.design) for result in results):
        own = [result for result in results if (result.workload, result.design) == (workload, design)]
        sparse = [result for result in own if result.method != "dense"]
        if not sparse:
            continue
        best = max(sparse, key=lambda result: result.step.speedup)
        dense = _dense_of(best, results)
        step = best.step
        text = f"{workload} on {design}: {best.case}" + (f", the fastest of {len(sparse)}," if len(sparse) > 1 else "")
        text += f" takes {show(step.latency_s, 's')} instead of {show(step.latency_s * step.speedup, 's')} dense,"
        text += f" {gain_words(step.speedup, 'faster', 'slower', 'as fast')}"
        if dense is None:
            yield f"{text}."
            continue
        gain = dense.step.energy_j / step.energy_j
        yield f"{text}, for {gain_words(gain, 'less energy', 'more energy', 'the same energy')}."


def _case_names(results: Results) -> list[str]:
    """Name each result by what distinguishes it."""
    names = [name for name in ("workload", "design", "batch", "engine", "mode", "optimizer")
             if len({result.head[name] for result in results}) > 1]  # fmt: skip
    return [" ".join([*(str(result.head[name]) for name in names), result.case]) for result in results]


def _interval(result: Result) -> str:
    low, high = (
        energy_at(result.energy, result.basis.design, result.basis.energy_table, end) for end in ("low", "high")
    )
    return f"{show(low, 'J')} to {show(high, 'J')}"


def _stage_table(results: Results, names: Sequence[str]) -> Html:
    rows: list[tuple[Cell, ...]] = [
        (name, *(_stage_cell(stage, result) for _, stage in result.stage_items))
        for name, result in zip(names, results, strict=True)
    ]
    return table_of("Time by stage, and its share of the step", ("case", *results[0].stages), rows)


def _stage_cell(stage: StageResult, result: Result) -> Number:
    return Number(f"{show(stage.latency_s, 's')} ({stage.cycles / result.step.cycles:.1%})", stage.latency_s)


# Training runs


def _runs(contents: Contents) -> Iterator[Html]:
    """Training runs: their phases, and what they gain over dense training."""
    for run in contents.runs:
        yield element("p", run_sentence(run), class_="lead")
        heads = ("phase", "method", "runs", "steps", "step time", "phase time", "energy", "speedup over dense")
        rows: list[tuple[Cell, ...]] = [
            (
                phase.name,
                case_name(phase.method, phase.pattern),
                phase.result.case,
                Number(f"{phase.steps:,}", phase.steps),
                Number(show(phase.result.step.latency_s, "s"), phase.result.step.latency_s),
                Number(show_duration(phase.latency_s), phase.latency_s),
                Number(show(phase.energy_j, "J"), phase.energy_j),
                Number(f"{phase.result.step.speedup:.2f}x", phase.result.step.speedup),
            )
            for phase in run.phases
        ]
        yield table_of(f"Phases of {run.title} on {run.dense.workload}", heads, rows)
        yield from (element("p", note, class_="soft") for note in run.notes)
    yield figures_of(contents.run_figures, contents.svgs)


# Layers


def _layers(contents: Contents) -> Iterator[Html]:
    yield element(
        "p", "All cases, with every column, are in ", element("a", "layers.csv", href="layers.csv"), ".", class_="soft"
    )
    for result, figures in contents.detailed:
        yield figures_of(figures, contents.svgs)
        yield from layer_tables(result, _dense_of(result, contents.results))


def _dense_of(result: Result, results: Results) -> Result | None:
    """The dense step of a result: its own, or one among the others that is the same in all else."""
    wanted = {**result.head, "method": "dense", "pattern": None}
    return result.dense or next((other for other in results if other.head == wanted), None)


# What it rests on


def _shortfalls(contents: Contents) -> list[str]:
    """What there is to say of the designs: that they do not fit their devices, and what stayed as it was."""
    return [
        text
        for design in contents.designs
        for text in (
            *(f"Design {design.label} does not fit its device: {each} (estimate)" for each in check_fits(design)),
            *(f"Design {design.label}: {remark}" for remark in design.remarks),
        )
    ]


def _warnings(contents: Contents) -> Iterator[Html]:
    items = [element("li", text) for text in _shortfalls(contents)]
    for text, names in group_notes(note for result in contents.results for note in result.notes).items():
        items.append(element("li", f"{text}: {', '.join(names)}" if names else text))
    yield element("ul", *items, class_="warnings") if items else element("p", "None.")


def _method(contents: Contents) -> Iterator[Html]:
    rows = []
    for method in map(find_method, dict.fromkeys(result.method for result in contents.results)):
        stages = [getattr(method, stage) for stage in ("ff", "bp", "wu")]
        words = ["as traced" if method.traced else f"{item.operand}, groups along {item.axis}" if item else "dense"
                 for item in stages]  # fmt: skip
        rows.append((method.name, *words, method.title, method.source))
    heads = ("method", "FF sparse", "BP sparse", "WU sparse", "what it is", "source")
    yield table_of("Methods", heads, rows)
    for trace in contents.traces:
        origin = trace.origin
        yield element("h3", f"Workload {trace.model}")
        facts = {
            "size": f"{trace.parameters:,} parameters, {macs_text(trace.macs, trace.macs_once)},"
            f" {len(trace.operations)} operations",
            "source": origin.source,
            "exporter": ", ".join((origin.exporter, *origin.versions)),
            "exported by": origin.command,
            "assumed": "; ".join(origin.assumptions),
        }
        known = [(name, text) for name, text in facts.items() if text]
        yield element(
            "dl", *(element(tag, text) for pair in known for tag, text in zip(("dt", "dd"), pair, strict=True))
        )
    if not contents.traces:
        yield element("p", "The results were read from files, which do not hold the trace that was simulated.")


def _all_parameters(contents: Contents) -> list[DesignParameter]:
    return [item for owner in contents.owners for item in parameters_of(owner)]


def _tables_of(contents: Contents) -> Sequence[str]:
    return ("steps.csv", "layers.csv", *(("phases.csv",) if contents.runs else ()), "parameters.csv")


def _command(contents: Contents) -> Iterator[Html]:
    if contents.command:
        yield element("p", "This command makes the report again, byte for byte with the same versions:")
        yield element("pre", element("code", contents.command))
    files = [element("a", name, href=name) for name in _tables_of(contents)]
    yield element("p", "Tables: ", joined(files, ", "), "; each figure has its own beside it.")
    rows = [
        (name, result.identity) for name, result in zip(_case_names(contents.results), contents.results, strict=True)
    ]
    yield table_of("Identity of each result: SHA-256 of everything it depends on", ("case", "identity"), rows)
