"""The closed form equals the register-level machine exactly: no tolerance anywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.arrays.array import gemm_on_array

PATTERNS = [
    "1:2",
    "2:4",
    "1:4",
    "3:4",
    "4:4",
    "1:8",
    "2:8",
    "3:8",
    "4:8",
    "5:8",
    "1:16",
    "2:16",
    "4:16",
    "7:16",
    "8:32",
    "16:32",
]


@st.composite
def cases(draw: st.DrawFn, ports: bool) -> dict:
    dataflow = draw(st.sampled_from(["os", "ws", "is"]))
    variants = {"os": ["split"], "ws": ["split", "chain", "flat"], "is": ["split", "chain"]}[dataflow]
    latency = draw(st.integers(1, 12))
    wide = st.one_of(st.none(), st.integers(1, 9))
    return {
        "m": draw(st.integers(1, 30)),
        "n": draw(st.integers(1, 30)),
        "k": draw(st.integers(1, 70)),
        "rows": draw(st.integers(1, 6)),
        "cols": draw(st.integers(1, 6)),
        "macs_per_pe": draw(st.integers(1, 5)),
        "adder_latency": latency,
        "dataflow": dataflow,
        "pattern": draw(st.one_of(st.none(), st.sampled_from(PATTERNS))),
        "interleave": (draw(st.integers(1, 5)), draw(st.integers(1, 4))),
        "split_k": draw(st.integers(1, 4)) if dataflow == "os" else 1,
        "variant": draw(st.sampled_from(variants)),
        "overlapped": draw(st.booleans()),
        "ports": (draw(wide), draw(wide)) if ports else None,
    }


@given(cases(ports=False))
@settings(max_examples=250, deadline=None)
def test_cycles_and_words_are_equal(case: dict) -> None:
    assert gemm_on_array(**case) == gemm_on_array(**case, array_model="register")


@given(cases(ports=True))
@settings(max_examples=250, deadline=None)
def test_cycles_are_equal_behind_narrow_ports(case: dict) -> None:
    assert gemm_on_array(**case) == gemm_on_array(**case, array_model="register")


@pytest.mark.parametrize("dataflow", ["os", "ws"])
def test_a_larger_array_agrees_too(dataflow: str) -> None:
    case = {"m": 150, "n": 70, "k": 288, "rows": 32, "cols": 32, "macs_per_pe": 2, "adder_latency": 8,
            "dataflow": dataflow, "pattern": "2:8", "interleave": (2, 4), "overlapped": True, "ports": (8, 2)}  # fmt: skip
    assert gemm_on_array(**case) == gemm_on_array(**case, array_model="register")


def test_a_column_port_does_not_pass_the_empty_macs_of_a_flat_group() -> None:
    """3:8 on PEs of two MACs: each group takes two slots, the second of which holds one weight."""
    case = {"m": 4, "n": 6, "k": 40, "rows": 3, "cols": 2, "macs_per_pe": 2, "adder_latency": 2, "dataflow": "ws",
            "pattern": "3:8", "variant": "flat", "overlapped": False, "ports": (None, 1)}  # fmt: skip
    assert gemm_on_array(**case) == gemm_on_array(**case, array_model="register")
