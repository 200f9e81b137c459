"""Topologies: what SCALE-Sim computes from them is what the trace holds, and whatever they cannot hold is said."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from export_cases import as_trace, conv, convolutions, linear, seen
from hypothesis import given, settings

import accelsim as acs
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.exporters.scalesim import layer_topology, misfits, product_topology
from accelsim.workload.exporting import Product
from accelsim.workload.importers.scalesim import read
from accelsim.workload.importing import ImportOptions

Make = Callable[..., acs.Trace]
CONV_HEADER = "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,"


def forward(trace: acs.Trace, design: acs.Design, batch: int = 1) -> list[Gemm]:
    step = lower(trace, design, find_method("dense"), pattern=None, batch=batch, mode="infer")
    return [task for task in step.tasks if isinstance(task, Gemm)]


def products(gemms: list[Gemm]) -> list[tuple[int, int, int]]:
    return [(gemm.m, gemm.n, gemm.k) for gemm in gemms for _ in range(gemm.count)]


def as_scalesim_reads(text: str) -> list[tuple[int, int, int]]:
    """(M, N, K) of every layer by the rules of SCALE-Sim v3's own reader and im2col, written without a look at ours."""
    header, *rows = text.splitlines()
    found = []
    for row in rows:
        values = row.split(",")[:-1]
        if header.split(",")[1] == "M":
            m, n, k = map(int, values[1:4])
            found.append((m, n, k))
            continue
        height, width, taps_h, taps_w, channels, filters, stride = map(int, values[1:8])
        out_h = math.ceil((height - taps_h + stride) / stride)
        out_w = math.ceil((width - taps_w + stride) / stride)
        copies, reduced = (channels, 1) if "DP" in values[0] else (1, channels)
        found += [(out_h * out_w, filters, taps_h * taps_w * reduced)] * copies
    return found


def imported(text: str, folder: Path) -> acs.Trace:
    path = folder / "net.csv"
    path.write_text(text)
    return read(path, ImportOptions())


def test_a_topology_holds_padding_in_the_ifmap_and_ends_where_windows_do(make_trace: Make) -> None:
    trace = make_trace(
        conv("same", padding=[1, 1]),
        conv("strided", in_channels=32, in_size=[14, 14], stride=[2, 2], padding=[1, 1]),
        conv("depth", in_channels=32, groups=32, in_size=[7, 8], out_channels=64),
        {"name": "relu", "kind": "activation", "reads": 10, "writes": 10},
        linear(rows=4, in_features=64, other_parameters=[{"name": "fc.bias", "elements": 10}]),
    )
    export = layer_topology(trace)
    assert export.texts[0][1].splitlines() == [
        CONV_HEADER, "same,16,16,3,3,16,32,1,", "strided,15,15,3,3,32,32,2,", "DP_depth,7,8,3,3,32,2,1,",
        "fc,4,1,1,1,64,10,1,",
    ]  # fmt: skip
    assert export.notes == (
        "DP in a name is what makes a layer depthwise; written as: DP_depth",
        "padding is written as part of the IFMAP: same, strided",
        "the edge of the IFMAP that no window reaches is left out, SCALE-Sim would add a window: strided",
        "linear layers are written as 1 x 1 convolutions over their rows: fc",
        "not written: 1 vector operations, 1 parameters outside of products (biases and the like)",
    )
    assert export.summary == "4 convolutions"


def test_names_are_written_as_scalesim_can_read_them(make_trace: Make, tmp_path: Path) -> None:
    trace = make_trace(conv("a,b"), conv("a;b"), conv("UDP head"), conv("two\nlines"))
    export = layer_topology(trace)
    names = [line.split(",")[0] for line in export.texts[0][1].splitlines()[1:]]
    assert names == ["a;b", "a;b_2", "Udp head", "two lines"]
    assert export.notes == (
        "a comma or a line break ends a value, so names are written without: a;b, two lines",
        "DP in a name is what makes a layer depthwise; written as: Udp head",
    )
    assert [layer.name for layer in imported(export.texts[0][1], tmp_path).operations] == names


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (conv(dilation=[2, 2]), "dilation (conv)"),
        (conv(stride=[1, 2]), "a stride of its own per dimension (conv)"),
        (conv(groups=4), "groups of several channels (conv)"),
        (conv(kind="conv3d", in_size=[4, 4, 4], kernel=[1, 1, 1]), "three spatial dimensions (conv)"),
        (conv(kind="conv_transpose2d"), "transposed convolutions (conv)"),
        ({"name": "qk", "kind": "matmul", "m": 2, "n": 3, "k": 4}, "products of two activations (qk)"),
    ],
)
def test_what_a_topology_cannot_hold_is_refused_and_can_be_products(
    make_trace: Make, sat: acs.Design, tmp_path: Path, operation: dict[str, Any], reason: str
) -> None:
    trace = make_trace(operation)
    assert misfits(trace) == [reason]
    with pytest.raises(acs.InputError) as caught:
        layer_topology(trace)
    assert str(caught.value) == f"a topology of convolutions cannot hold {reason}"
    gemms = forward(trace, sat)
    text = product_topology([Product(name=g.name, m=g.m, n=g.n, k=g.k, count=g.count) for g in gemms]).texts[0][1]
    assert as_scalesim_reads(text) == products(gemms) == products(forward(imported(text, tmp_path), sat))


def test_the_observed_ratio_of_ff_weights_becomes_a_column(make_trace: Make, tmp_path: Path) -> None:
    trace = make_trace(
        conv("a", observed=seen("2:8")),
        conv("b", in_channels=20, observed=seen("2:8")),
        conv("c", observed=seen("2:8", "output")),
        conv("d", observed={"FF": {"weight": {"density": 0.3}, "activation": {"density": 0.5}}}),
        linear("e", observed=seen("4:4")),
    )
    export = layer_topology(trace)
    assert [line.split(",")[8] for line in export.texts[0][1].splitlines()] == ["Sparsity", "2:8", "2:8", *["1:1"] * 3]
    assert export.notes == (
        "linear layers are written as 1 x 1 convolutions over their rows: e",
        "N:M groups were seen along the channels; SCALE-Sim forms them across filter positions, so that it keeps another"
        " number of weights: b",
        "weight sparsity without N:M groups along the inputs is not written: c, d",
        "densities of activations are not written: d",
    )
    again = imported(export.texts[0][1], tmp_path).operations
    assert [layer.observed is not None and layer.observed.FF.weight.pattern for layer in again] == [
        "2:8", None, False, False, False,
    ]  # fmt: skip


def test_products_are_as_many_rows_as_copies(tmp_path: Path) -> None:
    several = [
        Product(name="qk", m=2, n=3, k=4, count=2),
        Product(name="fc", m=5, n=6, k=8, pattern=Pattern.parse("2:8")),
    ]
    export = product_topology(several)
    assert export.texts[0][1].splitlines() == [
        "Layer,M,N,K,Sparsity,", "qk.0,2,3,4,1:1,", "qk.1,2,3,4,1:1,", "fc,5,6,8,2:8,",
    ]  # fmt: skip
    assert (export.notes, export.summary) == ((), "3 GEMMs")
    assert imported(export.texts[0][1], tmp_path).macs == 2 * 24 + 240
    with pytest.raises(acs.InputError, match=r"^there is no product to write$"):
        product_topology([])
    with pytest.raises(
        acs.InputError, match=r"^the topology would have 100001 rows, one per copy of a product; allowed: 100000$"
    ):
        product_topology([Product(name="qk", m=2, n=3, k=4, count=100_001)])


@settings(deadline=None)
@given(operation=convolutions(regular=True))
def test_any_topology_comes_back_with_the_same_products(
    tmp_path_factory: pytest.TempPathFactory, sat: acs.Design, operation: dict[str, Any]
) -> None:
    trace = as_trace(operation)
    text = layer_topology(trace).texts[0][1]
    again = imported(text, tmp_path_factory.mktemp("net"))
    assert as_scalesim_reads(text) == products(forward(trace, sat)) == products(forward(again, sat))
    assert again.macs == trace.macs
    # imported and exported again, nothing changes: the IFMAP holds exactly what windows cover
    assert layer_topology(again).texts[0][1] == text


def as_scalesim_lays_out(text: str) -> list[tuple[list[int], list[int]]]:
    """Per layer the axes of a transpose of (lines, words in a line) of IFMAP and filters, as SCALE-Sim v3 takes them."""
    found = []
    for row in text.splitlines()[1:]:
        values = [0, *map(int, row.split(",")[1:-1])]
        assert values[1:7] == [1] * 6  # words in a line along each dimension
        found.append(([*values[10:13], *values[7:10]], [*values[17:21], *values[13:17]]))
    return found


def test_a_layout_file_with_a_row_per_layer_keeps_the_plain_order(make_trace: Make) -> None:
    topology, layout = layer_topology(make_trace(conv("a,b"), linear("fc", in_features=7))).texts
    assert (topology[0], layout[0]) == ("", "_layout")
    assert [row.split(",")[0] for row in layout[1].splitlines()] == ["Layer name", "a;b", "fc"]
    assert len(layout[1].splitlines()[0].split(",")) == 22
    assert as_scalesim_lays_out(layout[1]) == [([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6, 7])] * 2
    copies = product_topology([Product(name="qk", m=2, n=3, k=4, count=2)]).texts[1][1]
    assert [row.split(",")[0] for row in copies.splitlines()[1:]] == ["qk.0", "qk.1"]
