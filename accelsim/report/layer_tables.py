"""Tables of the layers of a result: all stages of a layer together, and stage by stage, the dense step beside."""

from collections.abc import Callable, Iterator, Sequence

from accelsim.base.markup import Cell, Html, Number
from accelsim.lowering.tasks import Stage
from accelsim.report.pieces import glossary, table_of
from accelsim.results.step import LayerResult, Result

__all__ = ["layer_tables"]

_ON_ARRAY = (Stage.FF, Stage.BP, Stage.WU)


def layer_tables(result: Result, dense: Result | None) -> Iterator[Html]:
    """Yield the tables of a result, with the time of the `dense` step where that is known and another one."""
    beside = None if dense is None or dense.identity == result.identity else dense
    yield _totals_table(result, beside)
    yield _stages_table(result, beside)
    yield glossary(_words_of(result))


def _words_of(result: Result) -> Iterator[str]:
    for layer in result.layers:
        yield from (layer.name, layer.stage, layer.bound, layer.pattern or "dense", "utilisation", "share")
        if layer.dataflow is not None:
            yield _mapping(layer)
        if layer.m is not None:
            yield "m x n x k"
        if layer.count > 1:
            yield f"(x{layer.count})"


def _us(seconds: float) -> Number:
    return Number(f"{seconds * 1e6:,.1f}", seconds)


def _share(cycles: int, result: Result) -> Number:
    return Number(f"{cycles / result.step.cycles:.2%}", cycles / result.step.cycles)


def _gain(dense_s: float, latency_s: float) -> Cell:
    return Number(f"{dense_s / latency_s:.2f}x", dense_s / latency_s) if latency_s and dense_s else ""


def _by(layers: Sequence[LayerResult], key: Callable[[LayerResult], str]) -> dict[str, list[LayerResult]]:
    found: dict[str, list[LayerResult]] = {}
    for layer in layers:
        found.setdefault(key(layer), []).append(layer)
    return found


def _seconds(layers: Sequence[LayerResult]) -> float:
    return sum(layer.latency_s for layer in layers)


def _totals_table(result: Result, dense: Result | None) -> Html:
    own = _by(result.layers, lambda layer: layer.operation)
    others = {} if dense is None else _by(dense.layers, lambda layer: layer.operation)
    heads = ("layer", *(f"{stage} (us)" for stage in _ON_ARRAY), "other (us)", "time (us)",
             *(("dense (us)", "gain") if dense else ()), "share", "energy (mJ)")  # fmt: skip

    def cells(name: str, layers: Sequence[LayerResult], before: Sequence[LayerResult]) -> list[Cell]:
        staged = [_seconds([layer for layer in layers if layer.stage == stage]) for stage in _ON_ARRAY]
        time, energy = _seconds(layers), sum(layer.energy_j for layer in layers)
        row: list[Cell] = [name, *map(_us, staged), _us(max(0.0, time - sum(staged))), _us(time)]
        row += [_us(_seconds(before)), _gain(_seconds(before), time)] if dense else []
        return [*row, _share(sum(layer.cycles for layer in layers), result), Number(f"{energy * 1e3:,.3f}", energy)]

    rows = [cells(name, layers, others.get(name, ())) for name, layers in own.items()]
    totals = cells("all layers", result.layers, dense.layers if dense else ())
    caption = f"Layers of {result.workload} under {result.case}, all stages together"
    return table_of(caption, heads, rows, tall=True, filtered=True, totals=totals)


def _stages_table(result: Result, dense: Result | None) -> Html:
    times = {} if dense is None else {
        name: _seconds(layers) for name, layers in _by(dense.layers, _place).items()
    }  # fmt: skip
    heads = ("layer", "stage", "m x n x k", "pattern", "mapping", "cycles", "time (us)",
             *(("dense (us)", "gain") if dense else ()), "share", "utilisation", "MACs", "DRAM bytes", "energy (mJ)",
             "bound")  # fmt: skip

    def cells(layer: LayerResult) -> list[Cell]:
        shape = "" if layer.m is None else f"{layer.m} x {layer.n} x {layer.k}"
        before = times.get(_place(layer))
        beside = [""] * 2 if before is None else [_us(before), _gain(before, layer.latency_s)]
        return [
            layer.name,
            layer.stage,
            f"{shape} (x{layer.count})" if layer.count > 1 else shape,
            layer.pattern or ("" if layer.m is None else "dense"),
            _mapping(layer),
            Number(f"{layer.cycles:,}", layer.cycles),
            _us(layer.latency_s),
            *(beside if dense else ()),
            _share(layer.cycles, result),
            "" if layer.utilisation is None else Number(f"{layer.utilisation:.1%}", layer.utilisation),
            Number(f"{layer.macs_executed:,}", layer.macs_executed),
            Number(f"{layer.dram_bytes:,.0f}", layer.dram_bytes),
            Number(f"{layer.energy_j * 1e3:,.3f}", layer.energy_j),
            layer.bound,
        ]

    step = result.step
    beside: list[Cell] = [_us(dense.step.latency_s), _gain(dense.step.latency_s, step.latency_s)] if dense else []
    totals: list[Cell] = [
        *("all layers", "", "", "", ""),
        Number(f"{step.cycles:,}", step.cycles),
        _us(step.latency_s),
        *beside,
        _share(step.cycles, result),
        "",
        Number(f"{step.macs_executed:,}", step.macs_executed),
        Number(f"{step.dram_bytes:,.0f}", step.dram_bytes),
        Number(f"{step.energy_j * 1e3:,.3f}", step.energy_j),
        "",
    ]
    caption = f"Layers of {result.workload} under {result.case}, stage by stage"
    rows = map(cells, result.layers)
    return table_of(caption, heads, rows, tall=True, filtered=True, totals=totals)


def _place(layer: LayerResult) -> str:
    return f"{layer.name} {layer.stage}"


def _mapping(layer: LayerResult) -> str:
    return " ".join(part for part in (layer.dataflow, layer.variant or layer.interleave) if part)
