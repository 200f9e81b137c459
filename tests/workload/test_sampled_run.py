"""Runs in samples: round trips, phases, and every kind of damage named with its path."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.workload.sampled_run import Sample, read_run

SPARSE = {"FF": {"weight": {"density": 0.25, "pattern": "2:8", "axis": "input"}}}


@pytest.fixture
def run(make_trace: Callable[..., acs.Trace]) -> acs.SampledRun:
    trace = make_trace(
        {"name": "a", "kind": "linear", "in_features": 64, "out_features": 64},
        {"name": "b", "kind": "linear", "in_features": 64, "out_features": 64},
    )
    seen = Sample.model_validate({"step": 100, "observed": {"b": SPARSE}})
    return acs.SampledRun(steps=250, trace=trace, samples=(Sample(step=0, observed={}), seen))


@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
def test_a_written_run_loads_as_it_was(run: acs.SampledRun, tmp_path: Path, name: str) -> None:
    acs.save_run(run, tmp_path / name)
    assert acs.load_run(tmp_path / name) == run


def test_a_sample_stands_for_the_steps_up_to_the_next(run: acs.SampledRun) -> None:
    first, second = run.phases()
    assert [(phase.name, phase.steps) for phase in run.phases()] == [("step 0", 100), ("step 100", 150)]
    assert first.trace == run.trace
    assert second.trace.operations[0] == run.trace.operations[0]
    assert second.trace.operations[1].model_dump(exclude_none=True)["observed"]["FF"]["weight"]["pattern"] == "2:8"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: got 0; should be greater than or equal to 1"),
        ({"steps": 100}, "top level: samples: one of step 100, but the run has 100 steps, from 0"),
        ({"samples": []}, "samples: Tuple should have at least 1 item after validation, not 0"),
        ({"samples": [{"step": 3, "observed": {}}]}, "top level: samples: got steps 3; they rise from 0"),
        ({"samples": [{"step": 0, "observed": {}}, {"step": 0, "observed": {}}]}, "top level: samples: got steps 0, 0; they rise from 0"),
        ({"samples": [{"step": 0, "observed": {"c": SPARSE}}]}, "top level: samples[0].observed: the trace has no operation 'c' with a weight"),
        ({"format": "accelsim-run/2"}, "format: got \"accelsim-run/2\"; did you mean 'accelsim-run/1'?; allowed: accelsim-run/1"),
    ],
)  # fmt: skip
def test_damaged_runs_are_refused(run: acs.SampledRun, change: dict[str, Any], message: str) -> None:
    data = {"format": "accelsim-run/1", **json.loads(run.model_dump_json(exclude_defaults=True)), **change}
    with pytest.raises(acs.InputError) as caught:
        read_run(data, "run.json")
    assert str(caught.value) == f"run.json: {message}"


def test_a_density_that_a_pattern_does_not_leave_is_refused(run: acs.SampledRun) -> None:
    data = {"format": "accelsim-run/1", **json.loads(run.model_dump_json(exclude_defaults=True))}
    data["samples"][1]["observed"]["b"]["FF"]["weight"]["density"] = 0.5
    with pytest.raises(acs.InputError) as caught:
        read_run(data, "run.json")
    assert "observed.FF.weight: density: 0.5, but 2:8 along 64 leaves 0.25 at most" in str(caught.value)
