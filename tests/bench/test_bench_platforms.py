"""Speed of platform estimates beside simulating the same step; read them side by side, nothing is asserted of time.

``pytest tests/bench/test_bench_platforms.py -m bench``. Warm: the step was lowered before, for any platform.
"""

import pytest

import accelsim as acs
from accelsim.hardware.platform import load_platform
from accelsim.platforms import estimate as estimates
from accelsim.platforms.accuracy import check_platforms
from accelsim.platforms.estimate import estimate

pytestmark = pytest.mark.bench

STEP = {"method": "bdwp", "pattern": "2:8", "batch": 256}


@pytest.fixture(scope="module")
def resnet50() -> acs.Trace:
    return acs.load_trace("resnet50_imagenet")


def test_resnet50_step_estimated_warm(benchmark, resnet50) -> None:
    """The step under BDWP 2:8 and its dense baseline, on a platform with 2:4 products: within 5 ms."""
    found = benchmark(estimate, resnet50, load_platform("a100_sxm_80gb"), **STEP)
    assert found.speedup == 1


def test_resnet50_step_estimated_first(benchmark, resnet50) -> None:
    """The same with both steps lowered anew."""

    def forget() -> None:
        estimates._lowered.cache_clear()
        estimates._macs.cache_clear()

    platform = load_platform("a100_sxm_80gb")
    found = benchmark.pedantic(estimate, (resnet50, platform), STEP, setup=forget, rounds=30)
    assert found.speedup == 1


def test_resnet50_step_simulated(benchmark, resnet50) -> None:
    """The same step on SAT."""
    assert benchmark(acs.simulate, resnet50, acs.load_design("sat_vcu1525"), **STEP).step.speedup > 1


def test_held_out_measurements_compared(benchmark) -> None:
    """What ``accelsim validate throughput`` does, steps lowered before."""
    assert benchmark.pedantic(check_platforms, ("throughput",), rounds=5, warmup_rounds=1).compared
