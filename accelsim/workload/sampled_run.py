"""A training run in samples, format ``accelsim-run/1``: one trace, and what was seen of its masks at several steps.

```json
{
  "format": "accelsim-run/1",
  "steps": 200,
  "trace": {"format": "accelsim-trace/1", "model": "tiny", ...},
  "samples": [
    {"step": 0, "observed": {"fc": {"FF": {"weight": {"density": 1.0}}}}},
    {"step": 100, "observed": {"fc": {"FF": {"weight": {"density": 0.25, "pattern": "2:8", "axis": "input"}}}}}
  ]
}
```

A sample stands for the steps from its own to that of the next. `accelsim.tracing` with `every` writes such files.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from accelsim.base.errors import InputError
from accelsim.base.files import FileModel, Plain, check_format, parse_json, read_text, validate, write_atomically
from accelsim.workload.observed import Observed
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Trace

__all__ = ["FORMAT", "Sample", "SampledRun", "TracePhase", "load_run", "read_run", "save_run"]

FORMAT = "accelsim-run/1"

_Weighted = Conv | ConvTranspose | Linear


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePhase:
    """`steps` equal steps of a training run, each as `trace` has it."""

    name: str
    steps: int
    trace: Trace


class Sample(FileModel):
    """What was seen at a step, counted from 0, of the operands of operations with a weight, by their names."""

    step: Annotated[int, Field(ge=0)]
    observed: dict[str, Observed]


class SampledRun(FileModel):
    """A run of `steps` training steps: the trace of one, and samples in order, the first of which is that of step 0."""

    format: Literal["accelsim-run/1"] = "accelsim-run/1"
    steps: Annotated[int, Field(ge=1)]
    trace: Trace
    samples: Annotated[tuple[Sample, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        steps = [sample.step for sample in self.samples]
        if steps[0] != 0 or any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError(f"samples: got steps {', '.join(map(str, steps))}; they rise from 0")
        if steps[-1] >= self.steps:
            raise ValueError(f"samples: one of step {steps[-1]}, but the run has {self.steps} steps, from 0")
        known = {operation.name for operation in self.trace.operations if isinstance(operation, _Weighted)}
        for index, sample in enumerate(self.samples):
            unknown = sorted(sample.observed.keys() - known)
            if unknown:
                raise ValueError(f"samples[{index}].observed: the trace has no operation '{unknown[0]}' with a weight")
            self._trace_at(sample)
        return self

    def phases(self) -> tuple[TracePhase, ...]:
        """The run in phases: each sample with the steps up to the next."""
        ends = [*(sample.step for sample in self.samples[1:]), self.steps]
        return tuple(
            TracePhase(name=f"step {sample.step:,}", steps=end - sample.step, trace=self._trace_at(sample))
            for sample, end in zip(self.samples, ends, strict=True)
        )

    def _trace_at(self, sample: Sample) -> Trace:
        """The trace of a step, with what was seen in it; raises `ValueError` where that cannot be."""
        operations = [
            type(operation).model_validate({**operation.model_dump(), "observed": seen.model_dump()})
            if (seen := sample.observed.get(operation.name))
            else operation
            for operation in self.trace.operations
        ]
        return self.trace.model_copy(update={"operations": tuple(operations)})


def load_run(path: str | Path) -> SampledRun:
    """Return the run in a file.

    Args:
        path: a ``.json`` or ``.json.gz`` file, as `Sampler.save` of ``accelsim.tracing(model, every=N)`` writes it.

    Raises `InputError` that lists every error of the file with its path.

    >>> import accelsim as acs, tempfile
    >>> run = SampledRun(steps=8, trace=acs.load_trace("resnet9_cifar10"), samples=(Sample(step=0, observed={}),))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_run(run, Path(folder, "run.json.gz"))
    ...     load_run(Path(folder, "run.json.gz")) == run
    True
    """
    return read_run(parse_json(read_text(Path(path)), str(path)), str(path))


def read_run(data: Plain, source: str) -> SampledRun:
    """Return the run in the plain `data` of the file `source`. Raises `InputError` as `load_run`."""
    check_format(data, source, {FORMAT: "accelsim.tracing(..., every=N)"})
    return validate(SampledRun, data, source)


def save_run(run: SampledRun, path: str | Path) -> None:
    """Write a run.

    Args:
        run: the run, as of a `Sampler` or from a file.
        path: the file, ``.json`` or ``.json.gz``; it is complete or as it was before.

    Raises `InputError` for another suffix, and where it cannot be written.

    >>> import accelsim as acs
    >>> trace = acs.load_trace("resnet9_cifar10")
    >>> save_run(SampledRun(steps=8, trace=trace, samples=(Sample(step=0, observed={}),)), "run.txt")
    Traceback (most recent call last):
    accelsim.base.errors.InputError: run.txt: got suffix '.txt'; runs are written as .json or .json.gz
    """
    target = Path(path)
    if not target.name.endswith((".json", ".json.gz")):
        raise InputError(f"{target}: got suffix '{target.suffix}'; runs are written as .json or .json.gz")
    data = run.model_dump(mode="json", exclude_defaults=True)
    write_atomically(target, json.dumps({"format": FORMAT, **data}) + "\n")
