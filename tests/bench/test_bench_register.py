"""Speed of the register-level machine beside the closed form: pytest tests/bench -m bench."""

import pytest

from accelsim.arrays.array import gemm_on_array

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize(("dataflow", "array_model"), [("os", "register"), ("ws", "register"), ("os", "closed")])
def test_one_gemm(benchmark, side: int, dataflow: str, array_model: str) -> None:
    """PE updates (one PE in one cycle) per second are printed as extra information."""
    case = {"rows": side, "cols": side, "macs_per_pe": 1, "adder_latency": 8, "dataflow": dataflow, "pattern": "2:8",
            "interleave": (2, 4), "overlapped": True}  # fmt: skip
    how = {**case, "array_model": array_model}
    counts = benchmark.pedantic(gemm_on_array, (512, 512, 576), how, rounds=3, warmup_rounds=1)
    updates = counts.cycles * side * side
    benchmark.extra_info.update(pe_updates_per_second=f"{updates / benchmark.stats['median']:.3g}")
