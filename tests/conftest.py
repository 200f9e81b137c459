"""Two small fixtures: a design, and a trace of a few operations that can be changed."""

import copy
import json
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.base.files import validate
from accelsim.workload import trace as trace_module


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--damaged N``: how many damaged files `tests/robustness` tries."""
    parser.addoption("--damaged", type=int, default=300, help="damaged files that tests/robustness tries")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Collect a test file once: its second reading, for doctests, would take the first one's failed import for success."""
    return [collector for collector in (yield) if type(collector).__name__ != "DoctestModule"]


@pytest.fixture(scope="session")
def sat() -> acs.Design:
    """The shipped SAT."""
    return acs.load_design("sat_vcu1525")


@pytest.fixture
def documented() -> dict[str, Any]:
    """The example trace of the format's documentation, as plain data."""
    example = re.search(r"```json\n(.*?)```", trace_module.__doc__ or "", re.DOTALL)
    assert example is not None
    return copy.deepcopy(json.loads(example[1]))


@pytest.fixture
def make_trace(documented: dict[str, Any]) -> Callable[..., acs.Trace]:
    """Build a trace from operations given as dictionaries."""

    def make(*operations: dict[str, Any], parameters: int = 10**9) -> acs.Trace:
        for operation in operations:
            if operation["kind"].startswith(("conv", "linear")):
                operation.setdefault("weight", {"name": f"{operation['name']}.weight"})
        data = {**documented, "operations": list(operations), "parameters": parameters}
        return validate(trace_module.Trace, data, "test")

    return make
