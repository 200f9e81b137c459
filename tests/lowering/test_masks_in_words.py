"""What is said of masks: unstructured ones, such as fit a mode by chance, and such as hold along the other axis."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import accelsim as acs
from accelsim.lowering.builder import lower
from accelsim.lowering.seen import along_output_as_well, has_masks, seen_in
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.masks import group_histograms, magnitude_mask, tightest_of
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern, by_chance

Make = Callable[..., acs.Trace]


def observed(nonzero: np.ndarray, axis: str) -> dict[str, Any]:
    """What the tracer writes of a weight (outputs, inputs)."""
    groups = group_histograms(nonzero, 1 if axis == "input" else 0)
    entry: dict[str, Any] = {"density": float(np.mean(nonzero))}
    if nonzero.all():
        return entry
    pattern = tightest_of(groups)
    entry |= {"axis": axis, "groups": [counts.tolist() for counts in groups.values()]}
    return entry if pattern is None else {**entry, "pattern": str(pattern)}


def layer(name: str, mask: np.ndarray) -> dict[str, Any]:
    """A linear layer whose weight has this mask in FF and BP."""
    both = {"FF": {"weight": observed(mask, "input")}, "BP": {"weight": observed(mask, "output")}}
    return {
        "name": name,
        "kind": "linear",
        "in_features": mask.shape[1],
        "out_features": mask.shape[0],
        "observed": both,
    }


def unstructured(density: float, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    kept = round(density * shape[0] * shape[1])
    flat = np.zeros(shape[0] * shape[1], bool)
    flat[np.random.default_rng(seed).permutation(flat.size)[:kept]] = True
    return flat.reshape(shape)


def patterned(pattern: str, shape: tuple[int, int], axis: int = 1) -> np.ndarray:
    weights = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return np.asarray(magnitude_mask(weights, Pattern.parse(pattern), axis))


def notes_of(trace: acs.Trace, sat: acs.Design) -> dict[tuple[str | None, str], str]:
    step = lower(trace, sat, find_method("traced"), pattern=None, batch=8)
    return {(note.operation, str(note.stage)): note.text for note in step.notes}


def patterns_of(trace: acs.Trace, sat: acs.Design) -> dict[tuple[str, str], str]:
    step = lower(trace, sat, find_method("traced"), pattern=None, batch=8)
    gemms = (task for task in step.tasks if isinstance(task, Gemm) and task.pattern is not None)
    return {(gemm.operation, str(gemm.stage)): str(gemm.pattern) for gemm in gemms}


def test_chance_is_counted_in_groups() -> None:
    """Half of two elements: three of four groups of 1:2 are obeyed by chance, 48 of 48 once in a million."""
    half = Pattern(kept=1, group=2)
    assert 0.75**48 > 1e-6 > 0.75**49
    assert (by_chance(half, 0.5, 48), by_chance(half, 0.5, 49)) == (True, False)


@pytest.mark.parametrize("density", [0.25, 0.6, 0.9])
def test_unstructured_masks_are_called_so(make_trace: Make, sat: acs.Design, density: float) -> None:
    mask = unstructured(density, (256, 512))
    trace = make_trace(layer("a", patterned("2:8", (64, 64))), layer("b", mask))
    shown = f"kept dense, unstructured (density {np.mean(mask):.2f}): the design skips N:M only"
    notes = notes_of(trace, sat)
    assert (notes["b", "FF"], notes["b", "BP"]) == (shown, shown)
    assert [operand.unstructured for operand in seen_in(trace, sat.patterns)[1].operands] == [True, True]


def test_a_mask_that_fits_a_mode_by_chance_runs_and_is_told(make_trace: Make, sat: acs.Design) -> None:
    mask = unstructured(0.1, (16, 32))
    most = int(mask.reshape(16, 2, 16).sum(axis=2).max())
    assert most <= 8
    trace = make_trace(layer("a", mask))
    (runs,) = {pattern for (_, stage), pattern in patterns_of(trace, sat).items() if stage == "FF"}
    mode = Pattern.parse(runs)
    assert mask.reshape(16, -1, mode.group).sum(axis=2).max() <= mode.kept
    assert notes_of(trace, sat)["a", "FF"] == f"unstructured (density 0.10), but runs as {runs}: all groups fit"


@pytest.mark.parametrize("pattern", ["1:4", "2:4", "2:8", "4:8", "1:16", "8:16"])
@pytest.mark.parametrize("shape", [(4, 16), (64, 64), (256, 512)])
def test_masks_that_are_meant_are_not_taken_for_chance(
    make_trace: Make, sat: acs.Design, pattern: str, shape: tuple[int, int]
) -> None:
    trace = make_trace(layer("a", patterned(pattern, shape)))
    assert ("a", "FF") not in notes_of(trace, sat)
    run = Pattern.parse(patterns_of(trace, sat)["a", "FF"])
    assert run.density == Pattern.parse(pattern).density


def test_a_pattern_that_the_design_lacks_is_no_chance(make_trace: Make, sat: acs.Design) -> None:
    assert notes_of(make_trace(layer("a", patterned("7:8", (64, 64)))), sat)["a", "FF"] == (
        "kept dense, the design has no 7:8 mode"
    )


def test_masks_along_the_input_say_what_the_other_axis_would_gain(make_trace: Make, sat: acs.Design) -> None:
    first, second = patterned("2:8", (512, 512)), patterned("2:8", (512, 512))
    trace = make_trace(layer("a", first), layer("b", second))
    assert notes_of(trace, sat)["b", "BP"] == "kept dense, 2:8 along the input, and BP reduces the output"
    result = acs.simulate(trace, sat, method="traced", batch=512)
    both = {
        "FF": {"weight": observed(second, "input")},
        "BP": {"weight": observed(patterned("2:8", (512, 512), 0), "output")},
    }
    transposable = acs.simulate(make_trace(layer("a", first), {**layer("b", second), "observed": both}), sat,
                                method="traced", batch=512)  # fmt: skip
    assert transposable.step.speedup > 1.1 * result.step.speedup
    assert [note.text for note in result.notes if note.operation is None] == [
        "if masks along the input held along the output as well (transposable), or BP had its own (as in bdwp), the step"
        f" would gain {transposable.step.speedup:.2f}x instead of {result.step.speedup:.2f}x"
    ]
    assert [note for note in transposable.notes if note.operation is None] == []
    assert along_output_as_well(make_trace(layer("a", unstructured(0.25, (64, 64))))) is None
    gain = next(gain for gain in result.layer_gains() if (gain.layer, gain.stage) == ("b", "BP"))
    assert (gain.seen, gain.runs, gain.why) == ("2:8 by input", None, "2:8 along the input, and BP reduces the output")


def test_what_has_masks(make_trace: Make) -> None:
    dense = np.ones((64, 64), bool)
    nearly = dense.copy()
    nearly[0, :8] = False
    found = [
        has_masks(make_trace(layer("a", mask)))
        for mask in (dense, nearly & dense, patterned("2:4", (64, 64)), unstructured(0.5, (64, 64)))
    ]
    assert found == [False, False, True, True]
    assert not has_masks(acs.load_trace("resnet9_cifar10"))
    assert has_masks(acs.load_trace("resnet9_digits_pruned"))
