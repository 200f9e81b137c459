"""The page of a report: what was found, the figures, the layers, and what all of it rests on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from accelsim.base.markup import Cell, Html, Number, data_table, element, joined
from accelsim.base.units import show
from accelsim.base.version import __version__
from accelsim.hardware.design import Design
from accelsim.hardware.energy_table import EnergyTable
from accelsim.hardware.resources import check_fits
from accelsim.hardware.sourced import leaf_paths
from accelsim.plots.style import WIDTHS_IN
from accelsim.report.drawings import ReportFigure
from accelsim.results.energy import energy_at
from accelsim.results.step import LayerResult, Result, Results, StageResult, group_notes, step_cells
from accelsim.sparsity.methods import find_method
from accelsim.workload.trace import Trace, macs_text

__all__ = ["Contents", "DesignParameter", "make_page", "parameters_of"]

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

_CSS_PER_IN = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignParameter:
    """A value that the numbers rest on: of the design or energy table `owner`, with its origin."""

    owner: str
    path: str
    value: str
    plausible: str
    confidence: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a report shows; `detailed` are the results whose layers are shown, `svgs` the figures as SVG, by name."""

    results: Results
    designs: tuple[Design, ...]
    tables: tuple[EnergyTable, ...]
    traces: tuple[Trace, ...]
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


def make_page(contents: Contents) -> str:
    """Return the whole page; it needs nothing but itself."""
    sections = {
        "summary": ("Summary", _summary(contents)),
        "figures": ("Figures", [_figures(contents.comparing, contents.svgs)]),
        "layers": ("Layers", _layers(contents)),
        "warnings": ("Warnings", _warnings(contents)),
        "method": ("Method and workload", _method(contents)),
        "parameters": ("Parameters, their sources and confidence", _parameters(contents)),
        "command": ("How this was made", _command(contents)),
    }
    links = [element("li", element("a", title, href=f"#{name}")) for name, (title, _) in sections.items()]
    body = [
        element("section", element("h2", title, id=f"{name}-title"), *parts, id=name, aria_labelledby=f"{name}-title")
        for name, (title, parts) in sections.items()
    ]
    first = contents.results[0]
    words = f"{'One training step' if first.mode == 'train' else 'One forward pass'}, {_options(contents.results)}"
    page = element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        element("header", element("h1", contents.title), element("p", words, class_="soft")),
        element("nav", element("ul", *links), aria_label="Contents"),
        element("main", *body, id="content", tabindex="-1"),
        element("footer", element("p", f"accelsim {__version__}", class_="soft")),
        element("script", _beside("page.js")),
    )
    return f"<!doctype html>\n{element('html', _head(contents), page, lang='en')}\n"


def _head(contents: Contents) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"accelsim {__version__}"),
        element("meta", http_equiv="Content-Security-Policy",
                content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{contents.title} - accelsim"),
        element("style", _beside("page.css")),
    )  # fmt: skip


def _beside(name: str) -> Html:
    """A file beside this one, which holds no text of a user."""
    return Html((Path(__file__).parent / name).read_text(encoding="utf-8"))


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
    names = _case_names(results)
    cells = [step_cells(result) for result in results]
    rows: list[tuple[Cell, ...]] = [
        (name, Number(f"{result.step.speedup:.2f}x", result.step.speedup), *cell.values(), _interval(result))
        for name, result, cell in zip(names, results, cells, strict=True)
    ]
    heads = ("case", "speedup over dense", *cells[0], "energy, range")
    yield _table("Steps, dense against sparse", heads, rows)
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
        same = {**best.head, "method": "dense", "pattern": None}
        dense = next((result for result in own if result.head == same), None)
        step = best.step
        text = f"{workload} on {design}: {best.case}" + (f", the fastest of {len(sparse)}," if len(sparse) > 1 else "")
        text += f" takes {show(step.latency_s, 's')} instead of {show(step.latency_s * step.speedup, 's')} dense,"
        text += f" {step.speedup:.2f}x faster"
        yield f"{text}, for {dense.step.energy_j / step.energy_j:.2f}x less energy." if dense else f"{text}."


def _case_names(results: Results) -> list[str]:
    """Name each result by what distinguishes it."""
    names = [name for name in ("workload", "design", "batch", "engine", "mode", "optimizer")
             if len({result.head[name] for result in results}) > 1]  # fmt: skip
    return [" ".join([*(str(result.head[name]) for name in names), result.case]) for result in results]


def _interval(result: Result) -> str:
    low, high = (energy_at(result.energy, result.basis.energy_table, end) for end in ("low", "high"))
    return f"{show(low, 'J')} to {show(high, 'J')}"


def _stage_table(results: Results, names: Sequence[str]) -> Html:
    rows: list[tuple[Cell, ...]] = [
        (name, *(_stage_cell(stage, result) for _, stage in result.stage_items))
        for name, result in zip(names, results, strict=True)
    ]
    return _table("Time by stage, and its share of the step", ("case", *results[0].stages), rows)


def _stage_cell(stage: StageResult, result: Result) -> Number:
    return Number(f"{show(stage.latency_s, 's')} ({stage.cycles / result.step.cycles:.1%})", stage.latency_s)


# Figures and layers


def _figures(figures: Iterable[ReportFigure], svgs: Mapping[str, Html]) -> Html:
    """Figures side by side where there is room; on narrow screens each scrolls rather than shrinks."""
    found = []
    for figure in figures:
        files = [
            element("a", f"{figure.name}{suffix}", href=f"{figure.name}{suffix}") for suffix in (".svg", ".png", ".csv")
        ]
        notes = [f" Not shown: {note}." for note in figure.drawing.notes]
        shown = element(
            "figure",
            _box(svgs[figure.name], figure.heading),
            element("figcaption", figure.caption, *notes, " ", joined(files, ", ")),
        )
        natural = f"--natural: {WIDTHS_IN[figure.width] * _CSS_PER_IN:.0f}px"
        found.append(element("div", element("h3", figure.heading), shown, style=natural))
    return element("div", *found, class_="figures")


def _layers(contents: Contents) -> Iterator[Html]:
    yield element(
        "p", "All cases, with every column, are in ", element("a", "layers.csv", href="layers.csv"), ".", class_="soft"
    )
    for result, figures in contents.detailed:
        yield _figures(figures, contents.svgs)
        yield _layer_table(result)


def _layer_table(result: Result) -> Html:
    heads = ("layer", "stage", "m x n x k", "pattern", "mapping", "cycles", "time (us)", "share", "utilisation", "MACs",
             "DRAM bytes", "energy (mJ)", "bound")  # fmt: skip
    rows = [_layer_row(layer, result.step.cycles) for layer in result.layers]
    return _table(f"Layers of {result.workload} under {result.case}, stage by stage", heads, rows, tall=True)


def _layer_row(layer: LayerResult, cycles: int) -> list[Cell]:
    shape = "" if layer.m is None else f"{layer.m} x {layer.n} x {layer.k}"
    mapping = " ".join(part for part in (layer.dataflow, layer.variant or layer.interleave) if part)
    return [
        layer.name,
        layer.stage,
        f"{shape} (x{layer.count})" if layer.count > 1 else shape,
        layer.pattern or ("" if layer.m is None else "dense"),
        mapping,
        Number(f"{layer.cycles:,}", layer.cycles),
        Number(f"{layer.latency_s * 1e6:,.1f}", layer.latency_s),
        Number(f"{layer.cycles / cycles:.2%}", layer.cycles / cycles),
        "" if layer.utilisation is None else Number(f"{layer.utilisation:.1%}", layer.utilisation),
        Number(f"{layer.macs_executed:,}", layer.macs_executed),
        Number(f"{layer.dram_bytes:,.0f}", layer.dram_bytes),
        Number(f"{layer.energy_j * 1e3:,.3f}", layer.energy_j),
        layer.bound,
    ]


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
    yield _table("Methods", heads, rows)
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


def _parameters(contents: Contents) -> Iterator[Html]:
    everything = _all_parameters(contents)
    counts = {name: sum(item.confidence == name for item in everything) for name in _CONFIDENCES}
    yield element("p", f"Confidence of the {len(everything)} values:")
    terms = [(f"{name} ({counts[name]})", text) for name, text in _CONFIDENCES.items() if counts[name]]
    yield element("dl", *(element(tag, text) for pair in terms for tag, text in zip(("dt", "dd"), pair, strict=True)))
    for owner in contents.owners:
        kind = "Design" if isinstance(owner, Design) else "Energy table"
        rows = [(item.path, item.value, item.plausible, item.confidence, item.source) for item in parameters_of(owner)]
        yield element("p", owner.description)
        heads = ("parameter", "value", "plausible range", "confidence", "source")
        yield _table(f"{kind} {_label(owner)}", heads, rows, tall=True, wraps=True)
    yield element("p", "The same as ", element("a", "parameters.csv", href="parameters.csv"), ".", class_="soft")


def _command(contents: Contents) -> Iterator[Html]:
    if contents.command:
        yield element("p", "This command makes the report again, byte for byte with the same versions:")
        yield element("pre", element("code", contents.command))
    files = [element("a", name, href=name) for name in ("steps.csv", "layers.csv", "parameters.csv")]
    yield element("p", "Tables: ", joined(files, ", "), "; each figure has its own beside it.")
    rows = [
        (name, result.identity) for name, result in zip(_case_names(contents.results), contents.results, strict=True)
    ]
    yield _table("Identity of each result: SHA-256 of everything it depends on", ("case", "identity"), rows)


# Pieces


def _table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, tall: bool = False, wraps: bool = False
) -> Html:
    """A table in its box; a `tall` one has a box of less than a screen, the last column of one that `wraps` is text."""
    table = data_table(caption, heads, rows, class_="sortable wraps" if wraps else "sortable")
    return _box(table, caption, "box tall" if tall else "box")


def _box(inside: Html, label: str, class_: str = "box") -> Html:
    """What may be wider than the page scrolls in a box of its own, with the keyboard as well."""
    return element("div", inside, class_=class_, tabindex="0", role="group", aria_label=label)
