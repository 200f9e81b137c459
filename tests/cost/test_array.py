"""The closed form of the array against golden tiles and the properties that hold."""

import csv
import importlib.resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.arrays.array import ArrayCounts, gemm_on_array

SIZES = st.integers(1, 70)
PATTERNS = st.sampled_from([None, "1:2", "2:4", "1:4", "2:8", "3:8", "4:8", "4:4", "1:16", "4:16", "16:32"])


@st.composite
def array_cases(draw: st.DrawFn) -> dict:
    dataflow = draw(st.sampled_from(["os", "ws", "is"]))
    variants = {"os": ["split"], "ws": ["split", "chain", "flat"], "is": ["split", "chain"]}[dataflow]
    return {
        "m": draw(SIZES),
        "n": draw(SIZES),
        "k": draw(SIZES),
        "rows": draw(st.integers(1, 9)),
        "cols": draw(st.integers(1, 9)),
        "macs_per_pe": draw(st.integers(1, 5)),
        "adder_latency": draw(st.integers(1, 12)),
        "dataflow": dataflow,
        "pattern": draw(PATTERNS),
        "interleave": (draw(st.integers(1, 5)), draw(st.integers(1, 5))),
        "split_k": draw(st.integers(1, 4)) if dataflow == "os" else 1,
        "variant": draw(st.sampled_from(variants)),
        "overlapped": draw(st.booleans()),
    }


def test_golden_tiles_are_met_exactly() -> None:
    text = (importlib.resources.files("accelsim") / "data" / "golden_tiles.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 3000
    for row in rows:
        pattern = None if row["N"] == "0" else f"{row['N']}:{row['M']}"
        got = gemm_on_array(
            int(row["Mdim"]),
            int(row["Ndim"]),
            int(row["Kdim"]),
            rows=int(row["R"]),
            cols=int(row["C"]),
            macs_per_pe=int(row["V"]),
            adder_latency=int(row["L"]),
            dataflow=row["dataflow"],
            pattern=pattern,
            interleave=(int(row["Ia"]), int(row["Ib"])),
            split_k=int(row["Z"]),
            variant="split" if row["variant"] == "-" else row["variant"],
            overlapped=row["overlap"] == "1",
        )
        want = ArrayCounts(**{name: int(row[name]) for name in ArrayCounts.__dataclass_fields__})
        assert got == want, row


@pytest.mark.parametrize(
    ("accumulators", "dense", "sparse"), [(1, 4702, 1246), (2, 4735, 1279), (4, 4801, 1345), (8, 4933, 1477)]
)
def test_one_output_stationary_tile_of_the_worked_example(accumulators: int, dense: int, sparse: int) -> None:
    """32 x 32 PEs, one MAC each, adder latency 8, k = 576, outputs for one full tile."""
    for pattern, want in ((None, dense), ("2:8", sparse)):
        got = gemm_on_array(
            32 * accumulators,
            32,
            576,
            rows=32,
            cols=32,
            macs_per_pe=1,
            adder_latency=8,
            dataflow="os",
            pattern=pattern,
            interleave=(accumulators, 1),
        )
        assert got.cycles == want


@given(array_cases())
@settings(max_examples=300, deadline=None)
def test_cycles_cover_the_work_and_overlap_never_costs(case: dict) -> None:
    counts = gemm_on_array(**case)
    assert counts.cycles * case["rows"] * case["cols"] >= counts.op_slots
    isolated = gemm_on_array(**{**case, "overlapped": False})
    assert gemm_on_array(**{**case, "overlapped": True}).cycles <= isolated.cycles
    words = (counts.op_slots, counts.x_words, counts.w_words, counts.y_words, counts.tiles)
    assert words == (isolated.op_slots, isolated.x_words, isolated.w_words, isolated.y_words, isolated.tiles)


@given(array_cases(), st.sampled_from(["m", "n", "k", "adder_latency"]))
@settings(max_examples=300, deadline=None)
def test_cycles_never_fall_when_a_dimension_or_the_latency_grows(case: dict, name: str) -> None:
    assert gemm_on_array(**{**case, name: case[name] + 1}).cycles >= gemm_on_array(**case).cycles


@given(array_cases(), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_narrow_ports_never_help_and_wide_ones_change_nothing(case: dict, row_port: int, col_port: int) -> None:
    free = gemm_on_array(**case).cycles
    assert gemm_on_array(**case, ports=(row_port, col_port)).cycles >= free
    assert gemm_on_array(**case, ports=(10**6, 10**6)).cycles >= free
    assert gemm_on_array(**case, ports=(None, None)).cycles == free


def test_a_dense_rate_port_without_reuse_takes_the_gain_of_sparsity() -> None:
    """With Ib = 1 and a row port of V elements, 2:8 needs as long as dense; with Ib = M/N it is four times faster."""
    common = {
        "rows": 4,
        "cols": 4,
        "macs_per_pe": 1,
        "adder_latency": 4,
        "dataflow": "os",
        "overlapped": True,
        "ports": (1, None),
    }
    dense = gemm_on_array(256, 256, 1024, interleave=(4, 1), **common).cycles
    narrow = gemm_on_array(256, 256, 1024, interleave=(4, 1), pattern="2:8", **common).cycles
    reused = gemm_on_array(256, 256, 1024, interleave=(1, 4), pattern="2:8", **common).cycles
    assert dense / narrow == pytest.approx(1.0, abs=0.02)
    assert dense / reused == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": 0}, "m: got 0; a whole number from 1 to 1099511627776 is needed"),
        ({"rows": 2.0}, "rows: got 2.0; a whole number from 1 to 1099511627776 is needed"),
        ({"dataflow": "oss"}, "dataflow: got 'oss'; did you mean 'os'?; allowed: os, ws, is"),
        ({"dataflow": "is", "variant": "flat"}, "variant: got 'flat'; allowed: split, chain"),
        ({"dataflow": "ws", "split_k": 2}, "split_k: got 2; only 'os' splits partial sums, so 1 is needed for 'ws'"),
        ({"ports": (0, None)}, "ports[0]: got 0; a whole number from 1 to 1099511627776 is needed"),
        ({"pattern": "2x8"}, "pattern '2x8': expected N:M with two whole numbers, as in 2:8"),
    ],
)
def test_bad_arguments_are_named(change: dict, message: str) -> None:
    case = {"m": 4, "n": 4, "k": 4, "rows": 2, "cols": 2, "macs_per_pe": 1, "adder_latency": 1, "dataflow": "os"}
    with pytest.raises(acs.InputError) as caught:
        gemm_on_array(**{**case, **change})
    assert str(caught.value) == message


def test_the_array_model_can_be_given_by_its_earlier_name() -> None:
    case = {"rows": 4, "cols": 4, "macs_per_pe": 2, "adder_latency": 8, "dataflow": "os", "pattern": "2:8"}
    assert gemm_on_array(8, 8, 32, engine="register", **case) == gemm_on_array(8, 8, 32, array_model="register", **case)
    for name in ("array_model", "engine"):
        with pytest.raises(acs.InputError) as caught:
            gemm_on_array(8, 8, 32, **case, **{name: "event"})
        assert str(caught.value) == "array_model: got 'event'; allowed: closed, register"
