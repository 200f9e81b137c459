"""Exports: what another tool computes from them is what the trace holds, and whatever it cannot hold is said."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

import accelsim as acs
from accelsim.base.files import validate
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.exporters.scalesim import layer_topology, misfits, product_topology
from accelsim.workload.exporters.timeloop import layer_problems, product_problems
from accelsim.workload.exporting import Product, write_directory
from accelsim.workload.importers.scalesim import read
from accelsim.workload.importing import ImportOptions
from accelsim.workload.trace import Trace

Make = Callable[..., acs.Trace]
CONV_HEADER = "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,"


def conv(name: str = "conv", **fields: Any) -> dict[str, Any]:
    basic = {"in_channels": 16, "out_channels": 32, "in_size": [14, 14], "kernel": [3, 3]}
    return {"name": name, "kind": "conv2d", **basic, **fields}


def linear(name: str = "fc", **fields: Any) -> dict[str, Any]:
    return {"name": name, "kind": "linear", "in_features": 32, "out_features": 10, **fields}


def seen(pattern: str, axis: str = "input") -> dict[str, Any]:
    return {"FF": {"weight": {"pattern": pattern, "axis": axis}}}


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


SIZE = st.integers(1, 20)


@st.composite
def convolutions(draw: st.DrawFn, regular: bool) -> dict[str, Any]:
    """A convolution of one or two dimensions; `regular` ones fit a topology of convolutions."""
    rank = draw(st.integers(1, 2 if regular else 3))
    several = st.lists(st.integers(1, 4), min_size=rank, max_size=rank)
    groups, filters = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    channels = groups if regular and groups > 1 else groups * draw(st.integers(1, 4))
    stride = [draw(st.integers(1, 4))] * rank if regular else draw(several)
    return {
        "name": draw(st.sampled_from(["conv", "DP", "a.b"])),
        "kind": f"conv{rank}d",
        "in_channels": channels,
        "out_channels": groups * filters,
        "in_size": draw(st.lists(SIZE, min_size=rank, max_size=rank)),
        "kernel": draw(several),
        "stride": stride,
        "padding": draw(st.lists(st.integers(0, 3), min_size=rank, max_size=rank)),
        "dilation": [1] * rank if regular else draw(several),
        "groups": groups,
        "weight": {"name": "w"},
    }


def as_trace(operation: dict[str, Any]) -> acs.Trace:
    origin = {"exporter": "test", "source": "test"}
    data = {"format": "accelsim-trace/1", "model": "net", "input_shapes": [], "parameters": 10**9, "origin": origin}
    try:
        return validate(Trace, {**data, "operations": [operation]}, "test")
    except acs.InputError:
        assume(False)
        raise


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


def extent(projection: list[list[list[str]]], instance: dict[str, int]) -> int:
    """Elements of a data space: per dimension the range of a sum of dimensions times coefficients."""
    ranges = [
        1 + sum((instance[t[0]] - 1) * instance.get(t[1] if len(t) > 1 else "", 1) for t in d) for d in projection
    ]
    return math.prod(ranges)


@given(operation=convolutions(regular=False), batch=st.integers(1, 3))
def test_any_convolution_is_a_timeloop_problem_of_the_same_size(operation: dict[str, Any], batch: int) -> None:
    trace = as_trace(operation)
    (layer,) = trace.operations
    ((_, text),) = layer_problems(trace, batch).texts
    problem = yaml.safe_load(text)["problem"]
    instance, spaces = problem["instance"], {s["name"]: s["projection"] for s in problem["shape"]["data_spaces"]}
    assert math.prod(instance[dimension] for dimension in problem["shape"]["dimensions"]) == batch * layer.macs
    assert extent(spaces["Weights"], instance) == layer.weight_elements
    assert extent(spaces["Outputs"], instance) == batch * layer.out_channels * math.prod(layer.out_size)
    used = [
        (size - 1) * step + (taps - 1) * gap + 1
        for size, step, taps, gap in zip(layer.out_size, layer.stride, layer.kernel, layer.dilation, strict=True)
    ]
    assert extent(spaces["Inputs"], instance) == batch * layer.in_channels * math.prod(used)
    padded = [size + 2 * pad for size, pad in zip(layer.in_size, layer.padding, strict=True)]
    assert all(part <= whole for part, whole in zip(used, padded, strict=True))


def test_a_timeloop_problem_reads_as_timeloop_writes_it(make_trace: Make) -> None:
    trace = make_trace(
        conv("conv:1", in_size=[14, 9], kernel=[3, 5], stride=[1, 2], padding=[1, 0], dilation=[2, 1],
             observed={"FF": {"weight": {"pattern": "2:8", "axis": "input"}, "activation": {"density": 0.5}}}),
    )  # fmt: skip
    export = layer_problems(trace, batch=4)
    ((name, text),) = export.texts
    assert (name, export.summary) == ("0_conv_1.yaml", "1 problem")
    assert export.notes == ("padding is written as part of Inputs: conv:1",)
    assert text == (
        '# "conv:1 of tiny: conv2d, forward"\n'
        "problem:\n"
        "  version: '0.4'\n"
        "  shape:\n"
        "    name: cnn_layer\n"
        "    dimensions: [R, S, P, Q, C, K, N]\n"
        "    coefficients:\n"
        "      - {name: Wstride, default: 1}\n"
        "      - {name: Hstride, default: 1}\n"
        "      - {name: Wdilation, default: 1}\n"
        "      - {name: Hdilation, default: 1}\n"
        "    data_spaces:\n"
        "      - name: Weights\n"
        "        projection:\n"
        "          - [[C]]\n"
        "          - [[K]]\n"
        "          - [[R]]\n"
        "          - [[S]]\n"
        "      - name: Inputs\n"
        "        projection:\n"
        "          - [[N]]\n"
        "          - [[C]]\n"
        "          - [[R, Wdilation], [P, Wstride]]\n"
        "          - [[S, Hdilation], [Q, Hstride]]\n"
        "      - name: Outputs\n"
        "        projection:\n"
        "          - [[N]]\n"
        "          - [[K]]\n"
        "          - [[Q]]\n"
        "          - [[P]]\n"
        "        read_write: true\n"
        "  instance:\n"
        "    R: 5\n"
        "    S: 3\n"
        "    P: 3\n"
        "    Q: 12\n"
        "    C: 16\n"
        "    K: 32\n"
        "    N: 4\n"
        "    Wstride: 2\n"
        "    Hstride: 1\n"
        "    Wdilation: 1\n"
        "    Hdilation: 2\n"
        "    densities:\n"
        "      Weights: {distribution: fixed_structured, density: 0.25}\n"
        "      Inputs: {distribution: hypergeometric, density: 0.5}\n"
    )


def test_linear_layers_and_matmuls_are_timeloop_gemms(make_trace: Make) -> None:
    trace = make_trace(
        linear(rows=7, observed=seen("1:4")),
        {"name": "qk", "kind": "matmul", "batch": 3, "m": 7, "n": 5, "k": 8,
         "observed": {"FF": {"right": {"density": 0.5}}}},
        linear("once", rows=2, scales_with_batch=False),
    )  # fmt: skip
    problems = [yaml.safe_load(text)["problem"] for _, text in layer_problems(trace, batch=2).texts]
    assert [problem["shape"]["name"] for problem in problems] == ["gemm_ABZ", "batched_gemm_ABZ", "gemm_ABZ"]
    assert [problem["instance"] for problem in problems] == [
        {"M": 14, "N": 10, "K": 32, "densities": {"B": {"distribution": "fixed_structured", "density": 0.25}}},
        {"M": 7, "N": 5, "K": 8, "G": 6, "densities": {"B": {"distribution": "hypergeometric", "density": 0.5}}},
        {"M": 2, "N": 10, "K": 32},
    ]
    assert [space["projection"] for space in problems[1]["shape"]["data_spaces"]] == [
        [[["G"]], [["M"]], [["K"]]], [[["G"]], [["N"]], [["K"]]], [[["G"]], [["M"]], [["N"]]],
    ]  # fmt: skip


def test_products_are_timeloop_gemms_with_their_ratio() -> None:
    several = [
        Product(
            name=f"layer.{i}[dA]", m=2, n=3, k=8, count=1 + i % 2, pattern=Pattern.parse("2:8") if i == 10 else None
        )
        for i in range(11)
    ]
    texts = product_problems(several).texts
    assert [name for name, _ in texts][::5] == ["00_layer.0_dA_.yaml", "05_layer.5_dA_.yaml", "10_layer.10_dA_.yaml"]
    assert yaml.safe_load(texts[5][1])["problem"]["instance"] == {"M": 2, "N": 3, "K": 8, "G": 2}
    assert yaml.safe_load(texts[10][1])["problem"]["instance"]["densities"] == {
        "B": {"distribution": "fixed_structured", "density": 0.25}
    }
    with pytest.raises(acs.InputError, match=r"^there is no product to write$"):
        product_problems([])


def test_what_no_format_holds_is_said(make_trace: Make) -> None:
    shared = {"weight": {"name": "shared"}}
    trace = make_trace(
        linear("a", out_features=32, recomputed=True, **shared),
        linear("b", out_features=32, **shared),
        {"name": "later", "kind": "matmul", "m": 2, "n": 2, "k": 2, "backward_only": True},
    )
    assert layer_problems(trace).notes == (
        "weights that layers share are written with each of them: shared",
        "operations of the backward pass alone are not written: later",
        "operations that the backward pass computes again are written once: a",
    )
    assert len(layer_problems(trace).texts) == 2
    with pytest.raises(acs.InputError) as caught:
        layer_problems(make_trace(conv("up", kind="conv_transpose2d")))
    assert str(caught.value) == (
        "a Timeloop problem cannot hold transposed convolutions (up); --stage FF writes products"
    )
    with pytest.raises(acs.InputError, match=r"^trace 'tiny': no operation has a product$"):
        layer_topology(make_trace({"name": "relu", "kind": "activation", "reads": 1, "writes": 1}))


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(acs.InputError, match=rf"^{target}: cannot be written: No such file or directory$"):
        write_directory(target, [("a.yaml", "a"), ("no/b.yaml", "b")])
    assert list(tmp_path.iterdir()) == []
    target.mkdir()
    write_directory(target, [("a.yaml", "a"), ("b.yaml", "b")])
    assert {path.name: path.read_text() for path in target.iterdir()} == {"a.yaml": "a", "b.yaml": "b"}
    assert target.stat().st_mode & 0o777 == (tmp_path / "probe").mkdir() or (tmp_path / "probe").stat().st_mode & 0o777
    with pytest.raises(acs.InputError, match=rf"^{target}: exists; a new or an empty directory is needed$"):
        write_directory(target, [("c.yaml", "c")])
    assert sorted(path.name for path in target.iterdir()) == ["a.yaml", "b.yaml"]
    with pytest.raises(acs.InputError, match=r"^.*: cannot be written: No such file or directory$"):
        write_directory(tmp_path / "no" / "out", [("c.yaml", "c")])
