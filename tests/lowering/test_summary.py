"""Summaries of traces: shapes, intensity and totals by hand, and against the lowered step; names and reasons merged."""

from collections.abc import Callable
from math import prod
from typing import Any

import pytest

import accelsim as acs
from accelsim.lowering.builder import lower
from accelsim.lowering.summary import LayerSummary, Summary, group_layers, merge_names, summarise
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.methods import METHODS, find_method
from accelsim.workload.trace import workload_names

P28 = acs.Pattern.parse("2:8")


def summary_of(trace: acs.Trace, design: acs.Design, method: str = "bdwp", **more: Any) -> Summary:
    return summarise(trace, design, find_method(method), **{"pattern": P28, "batch": 4, **more})


def by_name(summary: Summary) -> dict[str, LayerSummary]:
    return {layer.name: layer for layer in summary.layers}


OPERATIONS: tuple[dict[str, Any], ...] = (
    {"name": "conv", "kind": "conv2d", "in_channels": 4, "out_channels": 8, "in_size": [6, 6], "kernel": [3, 3],
     "stride": [1, 1], "padding": [1, 1], "groups": 2, "other_parameters": [{"name": "conv.bias", "elements": 8}]},
    {"name": "down", "kind": "conv2d", "in_channels": 8, "out_channels": 8, "in_size": [6, 6], "kernel": [1, 1],
     "stride": [2, 2]},
    {"name": "relu", "kind": "activation", "reads": 72, "writes": 70},
    {"name": "up", "kind": "conv_transpose1d", "in_channels": 8, "out_channels": 6, "in_size": [9], "kernel": [2],
     "stride": [3]},
    {"name": "mm", "kind": "matmul", "batch": 2, "m": 3, "k": 5, "n": 7},
    {"name": "fc", "kind": "linear", "in_features": 8, "out_features": 16, "rows": 5, "weight": {"name": "shared"}},
    {"name": "tied", "kind": "linear", "in_features": 8, "out_features": 16, "scales_with_batch": False,
     "weight": {"name": "shared"}},
)  # fmt: skip


def test_layers_by_hand(make_trace: Callable[..., acs.Trace], sat: acs.Design) -> None:
    summary = summary_of(make_trace(*OPERATIONS), sat)
    layers = by_name(summary)
    shapes = {name: (layer.input, layer.weight, layer.output) for name, layer in layers.items()}
    assert shapes == {
        "conv": ((4, 6, 6), (8, 2, 3, 3), (8, 6, 6)),
        "down": ((8, 6, 6), (8, 8, 1, 1), (8, 3, 3)),
        "relu": ((72,), (), (70,)),
        "up": ((8, 9), (8, 6, 2), (6, 26)),
        "mm": ((2, 3, 5), (2, 5, 7), (2, 3, 7)),
        "fc": ((5, 8), (16, 8), (5, 16)),
        "tied": ((8,), (16, 8), (16,)),
    }
    macs = {"conv": 144 * 36, "down": 64 * 9, "relu": 0, "up": 96 * 9, "mm": 210, "fc": 640, "tied": 128}
    assert {name: layer.macs for name, layer in layers.items()} == macs
    assert layers["fc"].share == 640 / sum(macs.values())
    assert (summary.macs, summary.macs_once) == (sum(macs.values()) - 128, 128)
    assert {name: layer.parameters for name, layer in layers.items()} == {
        "conv": 144 + 8, "down": 64, "relu": 0, "up": 96, "mm": 0, "fc": 128, "tied": 0,
    }  # fmt: skip
    assert {name: layer.activations for name, layer in layers.items()} == {
        "conv": 144 + 288, "down": 288 + 72, "relu": 142, "up": 72 + 156, "mm": 30 + 70 + 42, "fc": 40 + 80, "tied": 24,
    }  # fmt: skip


def test_intensity_by_hand(make_trace: Callable[..., acs.Trace], sat: acs.Design) -> None:
    layers = by_name(summary_of(make_trace(*OPERATIONS), sat, batch=4))
    assert layers["conv"].macs_per_byte == 4 * 5184 / (2 * (4 * (144 + 288) + 144))
    assert layers["down"].macs_per_byte == 4 * 576 / (2 * (4 * (72 + 72) + 64))  # a quarter of the input is reached
    assert layers["up"].macs_per_byte == 4 * 864 / (2 * (4 * (72 + 108) + 96))  # two of three outputs are reached
    assert layers["mm"].macs_per_byte == 210 / (2 * 142)  # both factors grow with the batch
    assert layers["tied"].macs_per_byte == 128 / (2 * (24 + 128))  # done once per step
    assert layers["relu"].macs_per_byte is None


@pytest.mark.parametrize("name", workload_names())
def test_shipped_traces_against_their_lowered_forward_pass(name: str, sat: acs.Design) -> None:
    """The same MACs, parameters and distinct elements as the products that the engines time."""
    trace = acs.load_trace(name)
    summary = summary_of(trace, sat, batch=16)
    step = lower(trace, sat, METHODS["dense"], pattern=None, batch=16, mode="infer")
    layers = by_name(summary)
    for gemm in step.tasks:
        if isinstance(gemm, Gemm):
            moved = gemm.count * (gemm.x_elements + gemm.w_elements + gemm.m * gemm.n)
            assert layers[gemm.operation].macs_per_byte == gemm.macs / (2 * moved)
    assert sum(layer.macs for layer in summary.layers) == trace.macs == sum(kind.macs for kind in summary.kinds)
    assert sum(layer.share for layer in summary.layers) == pytest.approx(1)
    assert sum(layer.parameters for layer in summary.layers) == trace.parameters
    assert sum(kind.parameters for kind in summary.kinds) == trace.parameters
    assert sum(kind.operations for kind in summary.kinds) == len(trace.operations)


@pytest.mark.parametrize("method", METHODS)
def test_every_mac_of_a_step_is_sparse_or_has_a_reason(method: str, sat: acs.Design) -> None:
    trace = acs.load_trace("vit_cifar100")
    step = lower(trace, sat, METHODS[method], pattern=P28, batch=4)
    summary = summary_of(trace, sat, method)
    assert [stage.stage for stage in summary.stages] == ["FF", "BP", "WU"]
    assert sum(stage.macs for stage in summary.stages) == step.macs_dense
    for stage in summary.stages:
        assert stage.sparse_macs + sum(reason.macs for reason in stage.dense) == stage.macs


def test_reasons_by_hand(make_trace: Callable[..., acs.Trace], sat: acs.Design) -> None:
    def fc(name: str, inputs: int) -> dict[str, Any]:
        return {"name": name, "kind": "linear", "in_features": inputs, "out_features": 8}

    summary = summary_of(make_trace(fc("a", 8), fc("b", 12), fc("c", 9), fc("d", 16), fc("e", 8)), sat, batch=4)
    forward, backward, update = summary.stages
    assert (forward.macs, forward.sparse_macs) == (4 * 8 * 53, 4 * 8 * 16)
    assert [(reason.text, reason.macs, reason.operations) for reason in forward.dense] == [
        ("first layer", 4 * 64, ("a",)),
        ("9-12 input channels are no multiple of 8", 4 * 8 * 21, ("b", "c")),
        ("last layer", 4 * 64, ("e",)),
    ]
    assert [(reason.text, reason.operations) for reason in backward.dense] == [("last layer", ("e",))]
    assert [(reason.text, reason.macs) for reason in update.dense] == [("bdwp leaves WU dense", update.macs)]
    odd = [observed(name, 0.5, pattern=pattern) for name, pattern in (("a", "9:16"), ("b", "5:8"), ("c", "9:16"))]
    traced = summary_of(make_trace(*odd), sat, "traced")
    assert [reason.text for reason in traced.stages[0].dense] == ["the design has no 5:8, 9:16 mode"]
    traced = summary_of(make_trace(fc("a", 8)), sat, "traced")
    assert [reason.text for stage in traced.stages for reason in stage.dense] == ["no sparsity observed"] * 2
    assert traced.stages[1].macs == 0


def observed(name: str, density: float, **weight: Any) -> dict[str, Any]:
    return {
        "name": name, "kind": "linear", "in_features": 8, "out_features": 16,
        "observed": {"FF": {"weight": {"density": density, "axis": "input", **weight}, "activation": {"density": density}}},
    }  # fmt: skip


def test_how_near_weights_come_to_a_pattern(make_trace: Callable[..., acs.Trace], sat: acs.Design) -> None:
    histogram = [3, 4, 5, 2, 2, 0, 0, 0, 0]
    trace = make_trace(
        observed("counted", 0.21875, groups=[histogram]), observed("exact", 0.125, pattern="1:8"), observed("wide", 0.3, pattern="2:4")
    )  # fmt: skip
    summary = summary_of(trace, sat)
    found = {layer.name: [entry.conforming for entry in layer.observed] for layer in summary.layers}
    assert found == {"counted": [12 / 16, None], "exact": [1.0, None], "wide": [None, None]}
    weight, activation = summary.layers[0].observed
    assert (weight.stage, weight.operand, weight.density, weight.pattern, weight.axis) == (
        "FF",
        "weight",
        0.21875,
        None,
        "input",
    )
    assert (activation.operand, activation.density) == ("activation", 0.21875)


def test_equal_layers_are_grouped_whatever_their_densities(
    make_trace: Callable[..., acs.Trace], sat: acs.Design
) -> None:
    trace = make_trace(
        observed("b.0.fc", 0.1, pattern="1:8"), observed("b.0.proj", 0.1, pattern="1:8"), observed("b.1.fc", 0.05, pattern="1:8"),
        observed("b.2.fc", 0.2, pattern="2:8"), {"name": "b.3.fc", "kind": "linear", "in_features": 8, "out_features": 9},
    )  # fmt: skip
    groups = group_layers(summary_of(trace, sat).layers)
    assert [group.label for group in groups] == ["b.{0..1}.fc", "b.0.proj", "b.2.fc", "b.3.fc"]
    assert [len(group.layers) for group in groups] == [2, 1, 1, 1]
    assert (groups[0].macs, groups[0].parameters) == (256, 256)
    assert groups[0].share == pytest.approx(256 / (4 * 128 + 72))
    assert [entry.density for entry in groups[0].seen("FF", "weight")] == [0.1, 0.05]
    assert groups[0].seen("BP", "gradient") == ()


@pytest.mark.parametrize(
    ("names", "merged"),
    [
        (["a"], ["a"]),
        (["l1.0.c1", "l1.0.c2", "l1.1.c1"], ["l1.{0..1}.c{1..2}"]),
        (["f.0", "g", "f.30", "f.4"], ["f.{0,4,30}", "g"]),
        ([f"f.{i}" for i in (0, 3, 7, 10, 14)], ["f.{0,3,..,14}"]),
        (["c", "c1", "1c"], ["c", "c1", "1c"]),
        ([], []),
    ],
)
def test_names_that_differ_in_numbers_are_one(names: list[str], merged: list[str]) -> None:
    assert merge_names(names) == merged


def test_the_object_holds_everything(make_trace: Callable[..., acs.Trace], sat: acs.Design) -> None:
    summary = summary_of(make_trace(*OPERATIONS), sat)
    data = summary.to_dict()
    assert list(data) == [
        "format", "model", "origin", "input_shapes", "parameters", "macs", "batch", "design", "method", "pattern",
        "operand_bits", "layers", "kinds", "stages",
    ]  # fmt: skip
    assert (data["format"], data["operand_bits"], data["pattern"]) == ("accelsim-info/1", 16, "2:8")
    assert [prod(layer["weight"]) for layer in data["layers"]][:2] == [144, 64]
