"""SCALE-Sim topologies: what SCALE-Sim computes is what is imported, and every broken row gets one sentence."""

import csv
import gzip
import math
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import accelsim as acs
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.importers.scalesim import kept_weights, read
from accelsim.workload.importing import ImportOptions

CONV = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
GEMM = "Layer, M, N, K,"
LIMIT = "a whole number from 1 to 16777216 is needed"
COLUMNS = (
    "the first line names the columns: 'Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num"
    " Filter, Strides' for convolutions or 'Layer, M, N, K' for GEMMs, and Sparsity after them where layers are sparse"
)
GAPS = (
    "the file holds the forward pass alone; BP and WU are derived from it",
    "every layer has a trained weight of its own; a product of two activations (attention) would look the same",
    "layers run in the order of the file; how they are connected is not in it",
    "no biases, normalisation, activation functions, pooling or other vector work: none is in the file",
)
IFMAP_GAP = "the IFMAP belongs to one sample and holds its padding; what part of it is padding is not in the file"
ROWS_GAP = "the rows M of a GEMM belong to one sample"
SPARSITY_GAP = "Sparsity is that of the weights in FF; BP and WU are dense"


def as_scalesim_reads(text: str) -> list[tuple[int, int, int]]:
    """(M, N, K) of every layer by the rules of SCALE-Sim v3's own reader and im2col, written without a look at ours."""
    header, *rows = text.splitlines()
    products = []
    for row in rows:
        values = [value.strip() for value in row.split(",")[:-1]]
        if header.split(",")[1].strip() == "M":
            m, n, k = map(int, values[1:4])
            products.append((m, n, k))
            continue
        height, width, taps_h, taps_w, channels, filters, stride = map(int, values[1:8])
        out_h = math.ceil((height - taps_h + stride) / stride)
        out_w = math.ceil((width - taps_w + stride) / stride)
        copies, reduced = (channels, 1) if "DP" in values[0] else (1, channels)
        products += [(out_h * out_w, filters, taps_h * taps_w * reduced)] * copies
    return products


def products_of(trace: acs.Trace, design: acs.Design) -> list[tuple[int, int, int]]:
    step = lower(trace, design, find_method("dense"), pattern=None, batch=1, mode="infer")
    return [(g.m, g.n, g.k) for g in step.tasks if isinstance(g, Gemm) for _ in range(g.count)]


@pytest.fixture
def load(tmp_path: Path):
    def call(*lines: str, **options) -> acs.Trace:
        path = tmp_path / "net.csv"
        path.write_text("\n".join(lines) + "\n")
        return read(path, ImportOptions(**options))

    return call


@pytest.fixture
def errors_of(load, tmp_path: Path):
    def call(*lines: str, **options) -> list[str]:
        with pytest.raises(acs.InputError) as caught:
            load(*lines, **options)
        return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]

    return call


def test_a_convolution_is_imported_as_it_stands(load) -> None:
    trace = load(CONV, "conv1, 66, 34, 3, 5, 16, 32, 1,")
    (conv,) = trace.operations
    assert conv.model_dump(exclude_defaults=True) == {
        "name": "conv1", "kind": "conv2d", "in_channels": 16, "out_channels": 32, "in_size": (66, 34), "kernel": (3, 5),
        "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "weight": {"name": "conv1.weight"},
    }  # fmt: skip
    assert (trace.model, trace.input_shapes, trace.parameters) == ("net", ((16, 66, 34),), 32 * 16 * 15)
    assert trace.origin.model_dump() == {
        "exporter": f"accelsim import {acs.__version__}", "source": "net.csv, a SCALE-Sim topology", "versions": (),
        "assumptions": (*GAPS, IFMAP_GAP), "command": None, "batch": None, "steps": 0,
    }  # fmt: skip


def test_a_gemm_is_a_linear_layer_over_its_rows(load) -> None:
    trace = load(GEMM, "fc, 196, 64, 32,", "head, 4, 10, 64,", name="mlp", batch=4)
    first, last = trace.operations
    assert (first.kind, first.rows, first.out_features, first.in_features) == ("linear", 49, 64, 32)
    assert (last.rows, last.out_features, last.in_features) == (1, 10, 64)
    assert (trace.model, trace.input_shapes) == ("mlp", ((49, 32),))
    assert trace.origin.assumptions == (*GAPS, "the rows M of a GEMM belong to 4 samples")


def test_a_name_with_dp_is_depthwise_with_num_filter_filters_per_channel(load, sat: acs.Design) -> None:
    trace = load(CONV, "ConvDP1, 16, 16, 3, 3, 8, 2, 1,", "Depthwise, 16, 16, 3, 3, 8, 2, 1,")
    assert [(conv.groups, conv.out_channels) for conv in trace.operations] == [(8, 16), (1, 2)]
    assert products_of(trace, sat) == [(196, 2, 9)] * 8 + [(196, 2, 72)]
    assert trace.origin.assumptions[-1] == "depthwise, as SCALE-Sim takes a name with DP: ConvDP1 (line 2)"


def test_the_last_window_may_run_over_the_edge(load, sat: acs.Design) -> None:
    trace = load(CONV, "conv1, 224, 224, 11, 11, 3, 96, 4,", "conv2, 227, 227, 11, 11, 3, 96, 4,")
    assert [conv.in_size for conv in trace.operations] == [(227, 227), (227, 227)]
    assert products_of(trace, sat) == [(3025, 96, 363)] * 2
    assert trace.origin.assumptions[-1] == (
        "the last window runs over the edge, which SCALE-Sim counts; the IFMAP is as large as the windows need: conv1 (line 2)"
    )


def test_two_strides_as_version_2_has_them(load) -> None:
    header = CONV.replace("Strides,", "Stride height, Stride width, Sparsity,")
    trace = load(header, "a, 9, 9, 3, 3, 4, 8, 2, 3,", "b, 9, 9, 3, 3, 4, 8, 1, 1, 2:4,")
    assert [conv.stride for conv in trace.operations] == [(2, 3), (1, 1)]
    assert trace.operations[1].observed.FF.weight.pattern == "2:4"


@pytest.mark.parametrize(
    ("row", "seen"),
    [
        ("1, 1, 1, 1, 32, 8, 1, 2:8,", {"pattern": "2:8", "axis": "input"}),
        ("9, 9, 3, 3, 32, 8, 1, 2:8,", {"pattern": "2:8", "axis": "input"}),
        ("1, 1, 1, 1, 20, 8, 1, 2:8,", {"pattern": "2:8", "axis": "input"}),  # what is left of the last group keeps 2
        ("9, 9, 3, 3, 20, 8, 1, 2:8,", {"density": 46 / 180}),  # groups of 8 of 3 x 3 x 20 hold channels of two taps
        ("9, 9, 3, 3, 32, 8, 1, 8:8,", None),
        ("9, 9, 3, 3, 32, 8, 1, 1:1,", None),
        ("9, 9, 3, 3, 32, 8, 1, ,", None),
        ("9, 9, 3, 3, 32, 8, 1,", None),
        ("9, 9, 3, 3, 32, 8, 1, 1:1", None),
        ("9, 9, 3, 3, 32, 8, 1, 2 : 8, # a comment", {"pattern": "2:8", "axis": "input"}),
        ("1, 1, 1, 1, 2, 8, 1, 2:8,", None),  # a group that is not longer than what it keeps
    ],
)  # fmt: skip
def test_sparsity_is_what_ff_saw_in_the_weight(load, row: str, seen: dict | None) -> None:
    (conv,) = load(f"{CONV} Sparsity,", f"conv, {row}").operations
    got = None if conv.observed is None else conv.observed.model_dump(exclude_defaults=True)
    assert got == (None if seen is None else {"FF": {"weight": seen}})


def test_sparsity_reaches_a_traced_step(load, sat: acs.Design) -> None:
    trace = load(f"{GEMM} Sparsity,", "a, 64, 64, 64, 2:8,", "b, 64, 64, 64, 1:8,", "c, 64, 64, 64,,")
    step = lower(trace, sat, find_method("traced"), pattern=None, batch=1)
    found = {(g.operation, g.stage): str(g.pattern) for g in step.tasks if isinstance(g, Gemm) and g.pattern}
    assert found == {("a", "FF"): "2:8", ("b", "FF"): "1:8"}
    assert trace.origin.assumptions == (*GAPS, ROWS_GAP, SPARSITY_GAP)


def test_groups_across_filter_positions_are_named(load) -> None:
    trace = load(f"{CONV} Sparsity,", "conv, 9, 9, 3, 3, 3, 8, 1, 2:4,")
    assert trace.origin.assumptions == (
        *GAPS, IFMAP_GAP, SPARSITY_GAP,
        "N:M groups cross filter positions, so what groups along the channels hold is unknown; FF runs dense: conv (line 2)",
    )  # fmt: skip


@pytest.mark.parametrize(("ratio", "k", "kept"), [("2:4", 27, 14), ("1:4", 3, 1), ("2:8", 16, 4), ("3:8", 5, 3)])
def test_kept_weights_follow_scalesim(ratio: str, k: int, kept: int) -> None:
    pattern = Pattern.parse(ratio)
    leading = [i % pattern.group < pattern.kept for i in range(k)]  # SCALE-Sim keeps the first N of each M
    assert kept_weights(pattern, k) == sum(leading) == kept


def test_repeated_names_get_a_number_that_is_free(load) -> None:
    trace = load(GEMM, "a, 1, 2, 3,", "a, 1, 2, 3,", "a_2, 1, 2, 3,", "a, 1, 2, 3,")
    assert [layer.name for layer in trace.operations] == ["a", "a_3", "a_2", "a_4"]
    assert trace.origin.assumptions[-1] == "names that stand more than once got a number, as in a_2: a"


def test_forms_that_scalesim_files_have_are_read(tmp_path: Path) -> None:
    text = (
        "\ufeffLayer , IFMAP  Width, IFMAP Width, Filter Height, Filter Width, Channels, num filters, strides,  ,\r\n"
        ",,,,,,,\r\n\r\n"
        "\tconv ,12,12,3,3,1,1,1,#dw\r\n"
        "fc,1,1,1,1,16,8,1\r\n"
    )
    path = tmp_path / "net.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    trace = read(path, ImportOptions())
    assert (trace.model, [layer.name for layer in trace.operations]) == ("net", ["conv", "fc"])
    assert trace.origin.assumptions == (
        *GAPS, IFMAP_GAP,
        "line 1 names column 2 'IFMAP Width'; it is read as IFMAP Height, as SCALE-Sim does",
        "no comma ends the row; it is read whole where SCALE-Sim would drop its last value and stop: fc (line 5)",
    )  # fmt: skip


def test_sizes_stand_in_for_names(load, errors_of) -> None:
    trace = load(CONV, "gate, 1, B, 1, 1, H, H, 1,", sizes={"B": 3, "H": 8})
    assert (trace.operations[0].in_size, trace.operations[0].in_channels) == ((1, 3), 8)
    assert errors_of(CONV, "gate, 1, B, 1, 1, H, 8, 1,", sizes={"H": 0, "X": 1}) == [
        f"net.csv:2: IFMAP Width (in 'gate'): got 'B'; {LIMIT}, or --size B=NUMBER",
        f"net.csv:2: Channels (in 'gate'): got 'H' = 0; {LIMIT}",
        "net.csv: --size X: no layer has this name in place of a number",
    ]


NAME = "(in 'c')"


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (CONV, "c, -8, 8, 3, 3, 4, 4, 1,", f":2: IFMAP Height {NAME}: got '-8'; {LIMIT}"),
        (CONV, "c, 8, 8.0, 3, 3, 4, 4, 1,", f":2: IFMAP Width {NAME}: got '8.0'; {LIMIT}"),
        (CONV, "c, 8, 8, 3, 3, four, 4, 1,", f":2: Channels {NAME}: got 'four'; {LIMIT}, or --size four=NUMBER"),
        (CONV, "c, 8, 8, 3, 3, , 4, 1,", f":2: Channels {NAME}: got ''; {LIMIT}"),
        (CONV, "c, 8, 8, 3, 3, 1 2, 4, 1,", f":2: Channels {NAME}: got '1 2'; {LIMIT}"),
        (CONV, "c, 8, 8, 3, 3, 4, 0, 1,", f":2: Num Filter {NAME}: got '0'; {LIMIT}"),
        (CONV, "c, 8, 8, 3, 3, 4, 4, 0,", f":2: Strides {NAME}: got '0'; {LIMIT}"),
        (CONV, "c, 8, 8, 3, 3, 4, 16777217, 1,", f":2: Num Filter {NAME}: got '16777217'; {LIMIT}"),
        (CONV, f"c, 8, 8, 3, 3, {'9' * 80}, 4, 1,", f":2: Channels {NAME}: got '{'9' * 57}...'; {LIMIT}"),
        (CONV, "c, 8, 8, 9, 3, 4, 4, 1,", f":2: Filter Height {NAME}: got 9; at most the IFMAP Height, 8, is allowed"),
        (CONV, "c, 8, 2, 3, 3, 4, 4, 1,", f":2: Filter Width {NAME}: got 3; at most the IFMAP Width, 2, is allowed"),
        (CONV, "c, 8, 8, 3, 3, 4, 4, 16777216,",
         f":2: Strides {NAME}: the windows reach over 16777219 rows; at most 16777216 are allowed"),
        (CONV, "DP, 8, 8, 3, 3, 4096, 8192, 1,",
         ":2: Num Filter (in 'DP'): makes 33554432 filters in all; at most 16777216 are allowed"),
        (CONV, "c, 9999, 9999, 9999, 9999, 9999, 9999, 1,",
         f":2: got {9999**4} weights {NAME}; at most {2**44} are allowed"),
        (CONV, ", 8, 8, 3, 3, 4, 4, 1,", ":2: Layer name: got ''; a name of 1 to 400 printable characters is needed"),
        (CONV, f"{'c' * 401}, 8, 8, 3, 3, 4, 4, 1,",
         f":2: Layer name: got '{'c' * 57}...'; a name of 1 to 400 printable characters is needed"),
        (CONV, "a\u2028b, 8, 8, 3, 3, 4, 4, 1,",
         r":2: Layer name: got 'a\u2028b'; a name of 1 to 400 printable characters is needed"),
        (CONV, "a\x1b[b, 8, 8, 3, 3, 4, 4, 1,", r": line 2: holds the control character '\x1b', which no name can have"),
        (CONV, "c,", f":2: got 1 of 8 values {NAME}; missing: IFMAP Height, IFMAP Width, Filter Height, Filter Width,"
                     " Channels, Num Filter, Strides"),
        (CONV, "c, 8, 8, 3, 3, 4, 4,", f":2: got 7 of 8 values {NAME}; missing: Strides"),
        (CONV, "c, 8, 8, 3, 3, 4, 4, 1, 2:4,", f":2: got 9 values {NAME} for the 8 columns of the first line"),
        (CONV, "c, 8, 8, 3, 3, 4, 4, 2, 2", f":2: got 9 values {NAME} for the 8 columns of the first line; SCALE-Sim drops"
                                            " the last, '2': no comma follows it"),
        (GEMM, "c, 8, 8,", f":2: got 3 of 4 values {NAME}; missing: K"),
        (GEMM, "c, 8, 8, 0x10,", f":2: K {NAME}: got '0x10'; {LIMIT}"),
        (f"{GEMM} Sparsity,", "c, 8, 8, 8, 2:1,",
         f":2: Sparsity {NAME}: got '2:1'; N:M is needed, N of every M weights kept, as in 2:4"),
        (f"{GEMM} Sparsity,", "c, 8, 8, 8, 0:4,",
         f":2: Sparsity {NAME}: got '0:4'; N:M is needed, N of every M weights kept, as in 2:4"),
        (f"{GEMM} Sparsity,", "c, 8, 8, 8, 1,",
         f":2: Sparsity {NAME}: got '1'; N:M is needed, N of every M weights kept, as in 2:4"),
        (f"{GEMM} Sparsity,", "c, 8, 8, 8, 2:4",
         f":2: Sparsity {NAME}: no comma ends the row, so SCALE-Sim drops '2:4' and runs the layer dense; end the row with"
         " a comma, or leave the ratio out"),
        (CONV.replace("Strides", "Stride Height, Stride Width"), "c, 8, 8, 3, 3, 4, 4, 1, 2",
         f":2: Stride Width {NAME}: no comma ends the row, so SCALE-Sim drops '2' and takes stride 1 both ways; end the row"
         " with a comma"),
        ("Layer, N, M, K,", "c, 8, 8, 8,", f":1: column 2: got 'N'; {COLUMNS}"),
        ("Layer, M, X, K,", "c, 8, 8, 8,", ":1: column 3: got 'X'; N is needed there"),
        ("Name, M, N, K,", "c, 8, 8, 8,", ":1: column 1: got 'Name'; Layer is needed there"),
        ("Layer, M, N,", "c, 8, 8, 8,", ":1: column K is missing"),
        (f"{CONV} Batch Size,", "c, 8, 8, 3, 3, 4, 4, 1, 1,", ":1: column 9: got 'Batch Size'; Sparsity or nothing is"
                                                             " needed there"),
        (f"{GEMM} Sparsity, Batch,", "c, 8, 8, 8, 1:2, 1,", ":1: column 6: got 'Batch'; nothing comes after Sparsity"),
        (CONV.replace("Strides", "Stride"), "c, 8, 8, 3, 3, 4, 4, 1,", ":1: column 8: got 'Stride'; Strides is needed there"),
        ("c, 8, 8, 3, 3, 4, 4, 1,", "d, 8, 8, 3, 3, 4, 4, 1,", f":1: column 2: got '8'; {COLUMNS}"),
        ("a topology", "c, 8, 8, 8,", f":1: column 2: got ''; {COLUMNS}"),
        ("", "c, 8, 8, 8,", f":1: blank; {COLUMNS}"),
        ("Layer\tM\tN\tK", "c\t8\t8\t8", ":1: tabs separate the values; commas are needed"),
        ("Layer;M;N;K;", "c;8;8;8;", ":1: semicolons separate the values; commas are needed"),
        (GEMM, "", ": no layers below the first line"),
        ("", "", f": empty; {COLUMNS}"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_with_line_and_column(errors_of, header: str, row: str, message: str) -> None:
    assert errors_of(header, row) == [f"net.csv{message}"]


def test_batches_that_cannot_be(load, errors_of) -> None:
    assert load(CONV, "c, 8, 8, 3, 3, 4, 4, 1,", batch=1).operations
    assert errors_of(CONV, "c, 8, 8, 3, 3, 4, 4, 1,", batch=2) == [
        "net.csv: --batch 2: a topology of convolutions holds one sample"
    ]
    assert errors_of(GEMM, "c, 8, 8, 8,", "d, 9, 8, 8,", batch=4) == [
        "net.csv:3: M (in 'd'): got 9; a multiple of the batch, 4, is needed"
    ]


def test_all_errors_of_a_file_come_at_once_but_not_without_end(errors_of) -> None:
    errors = errors_of(GEMM, *["c, 0, x, 8,"] * 15)
    assert errors[:2] == [
        f"net.csv:2: M (in 'c'): got '0'; {LIMIT}",
        f"net.csv:2: N (in 'c'): got 'x'; {LIMIT}, or --size x=NUMBER",
    ]
    assert len(errors) == 21
    assert errors[-1] == "net.csv: and 10 more errors"


def test_the_weights_of_all_layers_have_a_limit(errors_of) -> None:
    rows = [f"c{i}, 1, 4194304, 4194304," for i in range(2)]
    assert errors_of(GEMM, *rows) == [f"net.csv: parameters: got {2**45}; should be less than or equal to {2**44}"]


def test_files_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    path.write_bytes(b"Layer, M, N, K,\nc\xe9, 1, 1, 1,\n")
    with pytest.raises(acs.InputError, match=rf"^{path}: not a text file \(UTF-8 expected\)$"):
        read(path, ImportOptions())
    with pytest.raises(acs.InputError, match=r"^.*none\.csv: no such file$"):
        read(tmp_path / "none.csv", ImportOptions())


# IFMAP, filter, channels, filters and stride of the convolutions whose SCALE-Sim runs are in the package's data.
GEOMETRY = {
    ("conv_nets/test.csv", "Inc5b_3x3"): "7, 7, 3, 3, 192, 384, 1",
    ("ispass25_models/alexnet.csv", "Conv1"): "224, 224, 11, 11, 3, 96, 4",
    ("ispass25_models/alexnet.csv", "Conv2"): "27, 27, 5, 5, 96, 256, 1",
    ("ispass25_models/alexnet.csv", "Conv3"): "13, 13, 3, 3, 256, 384, 1",
    ("ispass25_models/alexnet.csv", "Conv4"): "13, 13, 3, 3, 384, 384, 1",
    ("ispass25_models/alexnet.csv", "Conv5"): "13, 13, 3, 3, 384, 256, 1",
    ("sparsity/alexnet_part.csv", "Conv1"): "224, 224, 11, 11, 3, 96, 4",
    **{("rnn_eval/deep_voice.csv", f"LSTM{i}"): "1, 1024, 1, 1024, 1, 4, 1" for i in (1, 2, 3)},
}


def test_scalesim_ran_the_products_that_are_imported(load, sat: acs.Design) -> None:
    text = (resources.files("accelsim") / "data" / "scalesim_cycles.csv").read_text()
    ran = {
        (r["topology"], r["layer"]): (int(r["M"]), int(r["N"]), int(r["K"])) for r in csv.DictReader(text.splitlines())
    }
    assert GEOMETRY.keys() <= ran.keys()
    for key, mnk in ran.items():
        header, sizes = (CONV, GEOMETRY[key]) if key in GEOMETRY else (GEMM, ", ".join(map(str, mnk)))
        assert products_of(load(header, f"{key[1]}, {sizes},"), sat) == [mnk]


SIZE = st.integers(1, 40)


@given(
    layers=st.lists(
        st.tuples(st.sampled_from(["conv", "aDPb", "dp"]), SIZE, SIZE, SIZE, SIZE, st.integers(1, 6), SIZE, st.integers(1, 7)),
        min_size=1,
        max_size=4,
    )
)  # fmt: skip
def test_any_convolution_has_the_products_of_scalesim(
    tmp_path_factory: pytest.TempPathFactory, sat: acs.Design, layers: list[tuple]
) -> None:
    rows = [
        f"{name},{max(h, r)},{max(w, s)},{min(h, r)},{min(w, s)},{c},{k},{stride},"
        for name, h, w, r, s, c, k, stride in layers
    ]
    text = "\n".join([CONV, *rows])
    path = tmp_path_factory.mktemp("net") / "net.csv"
    path.write_text(text)
    trace = read(path, ImportOptions())
    assert products_of(trace, sat) == as_scalesim_reads(text)
    assert trace.macs == sum(m * n * k for m, n, k in as_scalesim_reads(text))


@given(data=st.data())
def test_damage_is_an_error_of_the_file_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = f"{CONV} Sparsity,\nconv1, 8, 8, 3, 3, 4, 8, 1, 2:4,\nDP2, 8, 8, 3, 3, 4, 2, 2,\n"
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 6)))
    damaged = text[:start] + data.draw(st.text(max_size=3)) + text[end:]
    path = tmp_path_factory.mktemp("net") / "net.csv"
    path.write_bytes(damaged.encode("utf-8", "surrogatepass"))
    try:
        trace = read(path, ImportOptions())
    except acs.InputError as error:
        assert all(line.startswith(f"{path}:") for line in str(error).splitlines())  # noqa: PT017
    else:
        assert trace.macs > 0


@pytest.mark.parametrize(
    ("header", "row", "product"),
    [
        ("L,M,N,K,", "L0,256,768,64,", (256, 768, 64)),
        (CONV.replace("Channels", "channel"), "c, 9, 9, 3, 3, 4, 8, 2,", (16, 8, 36)),
        (GEMM + " Batch Size,", "g, 5, 6, 7,", (5, 6, 7)),
        (CONV + "batch size,", "c, 9, 9, 3, 3, 4, 8, 2,", (16, 8, 36)),
    ],
)
def test_words_of_headers_that_come_with_scalesim(load, sat, header, row, product) -> None:
    assert products_of(load(header, row), sat) == [product]
