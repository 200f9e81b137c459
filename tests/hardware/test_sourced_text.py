"""Written files are read back as they were meant, and a platform finds the behaviour beside it."""

from pathlib import Path

import pytest

from accelsim.hardware.platform import load_platform
from accelsim.hardware.sourced import parse_yaml
from accelsim.hardware.sourced_text import SourcedValue, sourced_text, values_alone

PLAIN = {"format": "accelsim-platform/1", "name": "box: 2", "aliases": ["a #1", "b"], "kind": "cpu"}


@pytest.mark.parametrize("value", [1e-05, 1.5e-7, 1e22, 3, 0.25, True, "no: 'text' # here", None])
def test_values_come_back_as_they_were(value) -> None:
    values = {
        "power.idle_w": SourcedValue(value, 'a "source": \u00b5s, # 5', "measured"),
        "top": SourcedValue(1, "s", "paper"),
    }
    data, _ = parse_yaml(sourced_text("two\nlines", PLAIN, values), "file")
    assert data == {
        **PLAIN,
        "power": {"idle_w": {"value": value, "source": 'a "source": \u00b5s, # 5', "confidence": "measured"}},
        "top": {"value": 1, "source": "s", "confidence": "paper"},
    }
    assert values_alone(PLAIN, values) == {**PLAIN, "power": {"idle_w": value}, "top": 1}


def test_a_platform_finds_the_behaviour_beside_it(tmp_path: Path) -> None:
    facts = {
        "compute.multiprocessors": 2, "compute.fp32_tflops": 0.1, "compute.matrix_units": False,
        "compute.sparse_2_4": False, "memory.bandwidth_gb_per_s": 10.0, "memory.capacity_gb": 8.0,
        "memory.cache_mb": 32.0, "power.idle_w": 10.0, "power.peak_w": 65.0,
    }  # fmt: skip
    values = {path: SourcedValue(value, "a test", "assumption") for path, value in facts.items()}
    for behaviour, found in [("box.behaviour.yaml", str(tmp_path / "box.behaviour.yaml")), ("hopper", "hopper")]:
        plain = {**PLAIN, "description": "a box", "behaviour": behaviour}
        (tmp_path / "box.yaml").write_text(sourced_text("A box.", plain, values))
        platform = load_platform(tmp_path / "box.yaml")
        assert (platform.behaviour, platform.aliases) == (found, ("a #1", "b"))
        assert platform.peak_flops("fp32") == 1e11
