"""What a step gains over the dense one, layer by layer, and what limits it.

A product of N:M weights takes N/M of the dense operations. A layer gains less where it runs dense, for the reasons that
lowering noted, and where something else than the array's operations takes the time: its bound. All numbers in the
sentences are those of the two steps.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from accelsim.base.errors import InputError
from accelsim.base.files import Plain
from accelsim.lowering.seen import DEPTHWISE, SeenOperand
from accelsim.lowering.summary import merge_names
from accelsim.lowering.tasks import Stage
from accelsim.sparsity.methods import METHODS
from accelsim.sparsity.pattern import Pattern

if TYPE_CHECKING:
    from accelsim.results.step import LayerResult, Result  # which refers to this module

__all__ = ["GainGroup", "LayerGain", "diagnosis", "fold_gains", "gains_data", "layer_gains"]

FORMAT = "accelsim-gains/1"

_MEASURED = re.compile(r" \(density [^)]*\)")
_KEPT_DENSE = "kept dense, "
_OTHER_AXIS = re.compile(r"kept dense, (\d+:\d+) along the (\w+)")
_NEAR = 0.9  # of what a pattern allows: nothing limits such a layer
_STAGES = (Stage.FF, Stage.BP, Stage.WU)
_OTHERS = {
    Stage.GENERATE: "the generation of compact weights",
    Stage.UPDATE: "the weight update",
    Stage.VECTOR: "vector work (norms, activations and the like)",
}
_BOUNDS = {"dram": "waits for DRAM", "drain": "waits for results to drain", "port": "waits for an input port"}
_LIMITS = {
    "dram": "sparse layers that wait for DRAM",
    "drain": "sparse layers that wait for their results to drain",
    "port": "sparse layers that wait for an input port",
    "compute": "sparse layers that fill the array less well than dense ones",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGain:
    """One layer in one stage: seconds of the dense step and of the step, and their ratio.

    `seen`: the pattern of the masks in the trace (``2:8 by input`` where the stage reduces another axis),
    ``unstructured``, or ``dense``; None where nothing was seen.
    `density`: share of nonzeros of the masks, None where that is not known. `runs`: the pattern that was executed, None
    where dense. `why`: what keeps the gain below what N/M allows, empty where nothing does. `utilisation`: of the
    array.
    """

    layer: str
    kind: str
    stage: str
    dense_s: float
    latency_s: float
    seen: str | None
    density: float | None
    runs: str | None
    utilisation: float
    bound: str
    why: str

    @property
    def gain(self) -> float:
        """Dense time over time."""
        return self.dense_s / self.latency_s


@dataclass(frozen=True, slots=True, kw_only=True)
class GainGroup:
    """Layers that differ in numbers of their names and in measured densities alone; `label` is the name of all."""

    label: str
    gains: tuple[LayerGain, ...]

    @property
    def dense_s(self) -> float:
        """Dense time of all."""
        return sum(gain.dense_s for gain in self.gains)

    @property
    def latency_s(self) -> float:
        """Time of all."""
        return sum(gain.latency_s for gain in self.gains)


def layer_gains(result: "Result") -> tuple[LayerGain, ...]:
    """Return what each layer with products gains in FF, BP and WU, layer by layer. Raises as `Result.layer_gains`."""
    dense = _dense_of(result)
    before, after = _products(dense), _products(result)
    kept = [note for note in result.notes if note.text.startswith(_KEPT_DENSE)]
    reasons = {(note.operation or "", str(note.stage)): note.text for note in kept}
    return tuple(
        _gain(result, operation.name, operation.kind, stage, before[key], after[key], operation.seen(stage),
              reasons.get(key, ""))
        for operation in result.operations
        for stage in _STAGES
        if (key := (operation.name, stage.value)) in after and key in before
    )  # fmt: skip


def _dense_of(result: "Result") -> "Result":
    if result.dense is not None:
        return result.dense
    if not result.basis.case.method.is_sparse:
        raise InputError("layer gains: a dense step is what gains are over; simulate a sparse method")
    raise InputError("layer gains: the file holds no dense step to compare with; simulate it again with -o")


def _products(result: "Result") -> "Mapping[tuple[str, str], Sequence[LayerResult]]":
    found: dict[tuple[str, str], list[LayerResult]] = {}
    for layer in result.layers:
        if layer.stage in set(_STAGES) and layer.m is not None:
            found.setdefault((layer.operation, str(layer.stage)), []).append(layer)
    return found


def _gain(
    result: "Result",
    name: str,
    kind: str,
    stage: Stage,
    before: "Sequence[LayerResult]",
    after: "Sequence[LayerResult]",
    seen: SeenOperand | None,
    reason: str,
) -> LayerGain:
    dense_s, latency_s = (sum(layer.latency_s for layer in layers) for layers in (before, after))
    longest = max(after, key=lambda layer: layer.cycles)
    runs = next((layer.pattern for layer in after if layer.pattern), None)
    return LayerGain(
        layer=name,
        kind=kind,
        stage=stage.value,
        dense_s=dense_s,
        latency_s=latency_s,
        seen=None if seen is None else _words(seen, reason),
        density=None if seen is None else seen.density,
        runs=runs,
        utilisation=_utilisation(after),
        bound=str(longest.bound),
        why=_sparse_why(before, after, Pattern.parse(runs), str(longest.bound))
        if runs
        else _dense_why(result, kind, stage, seen, reason),
    )


def _words(seen: SeenOperand, reason: str) -> str:
    """The masks in words; of those of another axis the pattern that they have there."""
    if found := _OTHER_AXIS.match(reason):
        return f"{found[1]} by {found[2]}"
    if seen.unstructured:
        return "unstructured"
    of = "" if seen.operand == "weight" else f" {seen.operand}"
    return f"{seen.pattern}{of}" if seen.pattern else "dense"


def _utilisation(layers: "Sequence[LayerResult]") -> float:
    cycles = sum(layer.cycles for layer in layers)
    return sum((layer.utilisation or 0.0) * layer.cycles for layer in layers) / cycles if cycles else 0.0


def _dense_why(result: "Result", kind: str, stage: Stage, seen: SeenOperand | None, reason: str) -> str:
    """Why a product runs dense."""
    if reason:
        return reason.removeprefix(_KEPT_DENSE)
    if kind == "matmul":
        return "product of two activations"
    method = result.basis.case.method
    if not method.traced:
        return f"{method.name} leaves {stage} dense"
    if seen is None and stage is not Stage.WU:
        return "the trace holds no observed sparsity of it"
    return "no pruned gradient was seen" if stage is Stage.WU else "no zeros were seen"


def _sparse_why(before: "Sequence[LayerResult]", after: "Sequence[LayerResult]", pattern: Pattern, bound: str) -> str:
    """What keeps a sparse product from the gain that its pattern allows."""
    gain = sum(layer.cycles for layer in before) / sum(layer.cycles for layer in after)
    allowed = 1 / pattern.density
    if gain >= _NEAR * allowed:
        return ""
    told = _BOUNDS.get(bound, f"utilisation {_utilisation(after):.0%}, dense {_utilisation(before):.0%}")
    return f"{told}; {pattern} allows {allowed:.3g}x"


def fold_gains(gains: Iterable[LayerGain]) -> tuple[GainGroup, ...]:
    """Return gains with equal layers as one, layer by layer and by first appearance.

    Layers are equal where all of their stages are: times, patterns, and reasons but for measured numbers.
    """
    layers: dict[str, list[LayerGain]] = {}
    for gain in gains:
        layers.setdefault(gain.layer, []).append(gain)
    alike: dict[tuple[object, ...], list[list[LayerGain]]] = {}
    for name, stages in layers.items():
        alike.setdefault((_without_numbers(name), *map(_key, stages)), []).append(stages)
    return tuple(
        GainGroup(label=merge_names([stages[0].layer for stages in members])[0], gains=rows)
        for members in alike.values()
        for rows in zip(*members, strict=True)
    )


def _key(gain: LayerGain) -> tuple[object, ...]:
    why = re.sub(r"\d+\.\d+", "#", gain.why)
    return gain.kind, gain.stage, gain.dense_s, gain.latency_s, gain.seen, gain.runs, why


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "#", text)


def diagnosis(result: "Result") -> str:
    """Return what takes the largest part of the step without gaining what a pattern allows, in one sentence.

    The sentence says how much of the step that is, what it gains, and what the rest of the step gains. Raises as
    `Result.layer_gains`.
    """
    dense = _dense_of(result)
    parts: dict[str, list[tuple[float, float, float]]] = {}
    for text, *part in (*_limits(layer_gains(result)), *_beside(dense, result)):
        parts.setdefault(text, []).append((part[0], part[1], part[2]))
    limits = {text: several for text, several in parts.items() if text}
    if not limits:
        return "nothing but the patterns limits the gain"
    text, own = max(limits.items(), key=lambda item: sum(part[1] for part in item[1]))
    before, after = (sum(part[index] for part in own) for index in (0, 1))
    busy = sum(part[1] * part[2] for part in own) / after
    share, rest = after / result.step.latency_s, result.step.latency_s - after
    verb = "is" if text in _OTHERS.values() else "are"
    at = f", at {busy:.1%} utilisation" if busy else ""
    gain = f"{before / after:.2f}"
    gains = f"a gain of {gain}x there" if before and gain != "1.00" else "no gain there"
    others = f"; the rest gains {(dense.step.latency_s - before) / rest:.2f}x" if rest > 0 else ""
    return f"{share:.0%} of the step {verb} {text}{at}: {gains}{others}"


def _limits(gains: Iterable[LayerGain]) -> Iterator[tuple[str, float, float, float]]:
    """Yield of each layer and stage what limits it, empty where nothing does; dense and own time, utilisation."""
    for gain in gains:
        if not gain.why:
            text = ""
        elif gain.kind == DEPTHWISE:
            text = "products of depthwise layers"
        elif gain.runs is not None:
            text = _LIMITS[gain.bound]
        elif (found := re.fullmatch(r"(\S+) leaves (\S+) dense", gain.why)) and found[1] in METHODS:
            text = f"{found[2]} products, which {found[1]} leaves dense"
        else:
            text = f"products that run dense ({_MEASURED.sub('', gain.why)})"
        yield text, gain.dense_s, gain.latency_s, gain.utilisation


def _beside(dense: "Result", result: "Result") -> Iterator[tuple[str, float, float, float]]:
    """Yield the stages beside products likewise."""
    for stage, text in _OTHERS.items():
        both = (dense.stages[stage].latency_s, result.stages[stage].latency_s)
        if both[1]:
            yield text, *both, 0.0


def gains_data(result: "Result") -> dict[str, Plain]:
    """Return the gains of all layers and the diagnosis as the ``accelsim-gains/1`` object; raises as `layer_gains`."""
    rows = [{**asdict(gain), "gain": gain.gain} for gain in layer_gains(result)]
    return {
        "format": FORMAT,
        **result.head,
        "speedup": result.step.speedup,
        "diagnosis": diagnosis(result),
        "layers": rows,
    }
