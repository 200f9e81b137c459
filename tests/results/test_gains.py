"""Gains by layer: every number follows from the two steps, every reason from the trace and the method."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.lowering.tasks import Note, Stage
from accelsim.results.gains import fold_gains, gains_data
from accelsim.results.result_file import load_results, read_results, write_results
from accelsim.results.step import group_notes

SAT = acs.load_design("sat_vcu1525")


def step_of(name: str, **options: Any) -> acs.Result:
    return acs.simulate(acs.load_trace(name), SAT, **{"batch": 16, **options})


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("resnet9_cifar10", "bdwp"),
        ("resnet18_tinyimagenet", "mvue"),
        ("vit_cifar100", "sr-ste"),
        ("mobilenet_v2_imagenet", "sdgp"),
        ("resnet9_digits_2of4", "traced"),
        ("resnet9_digits_pruned", "traced"),
    ],
)
def test_layers_and_what_is_beside_them_add_up_to_both_steps(name: str, method: str) -> None:
    result = step_of(name, method=method)
    assert result.dense is not None
    gains = result.layer_gains()
    for step, field in ((result.dense, "dense_s"), (result, "latency_s")):
        beside = sum(step.stages[stage].latency_s for stage in (Stage.GENERATE, Stage.UPDATE, Stage.VECTOR))
        assert sum(getattr(gain, field) for gain in gains) + beside == pytest.approx(step.step.latency_s, rel=1e-12)
    for gain in gains:
        own = [layer for layer in result.layers if (layer.operation, layer.stage) == (gain.layer, gain.stage)]
        assert gain.latency_s == sum(layer.latency_s for layer in own)
        assert {layer.pattern for layer in own} == {gain.runs}
        allowed = 1 if gain.runs is None else 1 / acs.Pattern.parse(gain.runs).density
        assert bool(gain.why) == (gain.runs is None or gain.gain < 0.9 * allowed)
    folded = fold_gains(gains)
    assert sorted(gain.layer for group in folded for gain in group.gains) == sorted(gain.layer for gain in gains)


def test_reasons_are_those_of_the_method_and_of_the_design() -> None:
    why = {(gain.layer, gain.stage): gain.why for gain in step_of("vit_cifar100").layer_gains()}
    assert why["patch_embed", "FF"] == "first layer"
    assert why["head", "BP"] == "last layer"
    assert why["blocks.0.attn.qkv", "WU"] == "bdwp leaves WU dense"
    assert why["blocks.0.attn.matmul", "FF"] == "product of two activations"
    why = {(gain.layer, gain.stage): gain.why for gain in step_of("mobilenet_v2_imagenet").layer_gains()}
    assert why["blocks.0.depthwise.0.0", "FF"] == "1 input channels are no multiple of 8"


def test_equal_blocks_are_one_row_for_each_stage() -> None:
    rows = {(group.label, group.gains[0].stage): group for group in fold_gains(step_of("vit_cifar100").layer_gains())}
    qkv = next(group for (label, stage), group in rows.items() if label.endswith("attn.qkv") and stage == "FF")
    assert re.fullmatch(r"blocks\.\{0\.\.\d+\}\.attn\.qkv", qkv.label)
    assert qkv.dense_s == pytest.approx(len(qkv.gains) * qkv.gains[0].dense_s)
    assert len({gain.latency_s for gain in qkv.gains}) == 1


def test_the_sentence_says_what_the_two_steps_say() -> None:
    result = step_of("mobilenet_v2_imagenet", batch=32)
    dense = result.dense
    assert dense is not None

    def depthwise(step: acs.Result) -> list[Any]:
        return [layer for layer in step.layers if "depthwise" in layer.name and layer.stage in {"FF", "BP", "WU"}]

    own, before = depthwise(result), depthwise(dense)
    cycles, dense_cycles = (sum(layer.cycles for layer in layers) for layers in (own, before))
    share = cycles / result.step.cycles
    assert {layer.unit for layer in own} == {"vector"}  # which has no utilisation of the array
    rest = (dense.step.cycles - dense_cycles) / (result.step.cycles - cycles)
    assert cycles == dense_cycles
    assert result.diagnosis() == (
        f"{share:.0%} of the step are products of depthwise layers: no gain there; the rest gains {rest:.2f}x"
    )


def test_the_sentence_names_the_stage_that_a_method_leaves_dense() -> None:
    result = step_of("resnet18_tinyimagenet", batch=128)
    share = result.stages["WU"].latency_s / result.step.latency_s
    assert result.diagnosis().startswith(f"{share:.0%} of the step are WU products, which bdwp leaves dense, at ")
    assert gains_data(result)["diagnosis"] == result.diagnosis()
    rows = gains_data(result)["layers"]
    assert [row["gain"] for row in rows] == [gain.gain for gain in result.layer_gains()]


def test_gains_need_two_steps() -> None:
    for result, message in (
        (step_of("resnet9_cifar10", method="dense"), "layer gains: a dense step is what gains are over; simulate a sparse method"),
        (replace(step_of("resnet9_cifar10"), dense=None), "layer gains: the file holds no dense step to compare with; simulate it again with -o"),
    ):  # fmt: skip
        with pytest.raises(acs.InputError, match=f"^{re.escape(message)}$"):
            result.layer_gains()


def test_the_dense_step_stands_in_a_file_once(tmp_path: Path) -> None:
    result = step_of("resnet9_digits_2of4", method="traced")
    dense = result.dense
    assert dense is not None
    write_results(tmp_path / "one.json", [result])
    (read,) = load_results(tmp_path / "one.json")
    assert (read, read.dense, read.label) == (result, dense, "one")
    assert read.layer_gains() == result.layer_gains()
    write_results(tmp_path / "two.json", [dense, result])
    data = json.loads((tmp_path / "two.json").read_text())
    assert [entry["dense"] for entry in data] == [None, None]
    assert [each.dense for each in load_results(tmp_path / "two.json")] == [None, dense]


def test_a_dense_step_of_something_else_is_refused() -> None:
    result = step_of("resnet9_cifar10")
    data = json.loads(json.dumps(result.to_dict()))
    other = step_of("resnet9_cifar10", method="dense", batch=8).to_dict()
    with pytest.raises(acs.InputError) as caught:
        read_results({**data, "dense": json.loads(json.dumps(other))}, "r.json")
    assert (
        str(caught.value)
        == "r.json: dense: is not the dense step of this workload on this design under the same options"
    )
    assert result.dense is not None
    slower = json.loads(json.dumps(data))
    slower["step"]["speedup"] *= 2
    with pytest.raises(acs.InputError) as caught:
        read_results(slower, "r.json")
    first = str(caught.value).splitlines()[0]
    assert first == (
        f"r.json: step.speedup: got {2 * result.step.speedup}; from the dense step follows {result.step.speedup}"
    )


def test_notes_that_differ_in_measured_numbers_are_one() -> None:
    def note(operation: str | None, text: str) -> Note:
        return Note(operation=operation, stage=None if operation is None else Stage.FF, text=text)

    texts = ("density 0.25 of 2:8", "density 0.50 of 2:8", "density 0.50 of 4:8")
    notes = [
        *(note(name, text) for name, text in zip("abc", texts, strict=True)),
        note(None, "1.33x"),
        note(None, "1.50x"),
    ]
    assert group_notes(notes) == {
        "density 0.25-0.5 of 2:8": ("a (FF)", "b (FF)"),
        "density 0.50 of 4:8": ("c (FF)",),
        "1.33x": (),
        "1.50x": (),
    }


def test_a_trace_without_observations_says_so() -> None:
    gains = step_of("resnet9_cifar10", method="traced").layer_gains()
    assert {gain.why for gain in gains if gain.stage != "WU"} == {"the trace holds no observed sparsity of it"}
    assert {(gain.seen, gain.density) for gain in gains} == {(None, None)}
