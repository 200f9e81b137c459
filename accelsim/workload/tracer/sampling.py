"""Sampling a training loop: one of every so many steps is watched and its masks are read; others run as they are.

The first step is traced whole, and its products are kept as a script: which are executed in which order, and what is
measured of each. Later samples follow the script: they need no shapes, names and links, and read what a machine can
skip alone, weights, and gradients where they are sparse. A step whose products are others is left out, with a note in
the trace: the training goes on whatever the tracer makes of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch
from torch import nn
from torch._ops import HigherOrderOperator
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from accelsim.base.errors import InputError
from accelsim.workload.names import few
from accelsim.workload.sampled_run import Sample, SampledRun, save_run
from accelsim.workload.torch_words import MULTIPLY
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Trace
from accelsim.workload.tracer.api import Tracing, first_step, watched_steps
from accelsim.workload.tracer.entries import in_order, observe
from accelsim.workload.tracer.measure import Measured, Meter, QuickMeter
from accelsim.workload.tracer.opened_calls import Opening, run_control_flow
from accelsim.workload.tracer.probing import Probe, Reading
from accelsim.workload.tracer.recorder import Recorder
from accelsim.workload.tracer.records import Pass, Record
from accelsim.workload.tracer.running import opened
from accelsim.workload.tracer.works import Call

__all__ = ["Sampler", "tracing"]

_Seen = dict[int, dict[tuple[Pass, str], Measured]]
"""What was measured, by the record of the first sample."""


@dataclass(frozen=True, slots=True)
class _Script:
    """Products of a step in order, each with what is measured of it."""

    products: tuple[tuple[str, tuple[Reading, ...]], ...]


class _Replay(TorchDispatchMode):  # type: ignore[misc]
    """Measures the operands of products as a script says; `failed` where a step does not follow it."""

    supports_higher_order_operators = True

    def __init__(self, script: _Script, probe: Probe) -> None:
        super().__init__()
        self._script, self._probe = script, probe
        self._words: dict[Any, str] = {}
        self._at = 0
        self.ignoring = False
        self.failed = False
        self.records: dict[int, Record] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Execute `func` and measure it where it is a product."""
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            with self:
                return run_control_flow(func, args, kwargs)
        if any(hasattr(kind, "__tensor_flatten__") for kind in types):
            return NotImplemented
        if func not in self._words:  # seen for the first time
            with self:
                if (parts := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return parts
        out = func(*args, **kwargs)
        word = self._words.get(func)
        if word is None:
            word = self._words[func] = func.overloadpacket.__name__.strip("_").removeprefix("native_")
        if word in MULTIPLY and not self.ignoring and not self.failed:
            self._follow(word, func, args, kwargs, out)
        return out

    def _follow(self, word: str, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        wanted, readings = self._script.products[self._at] if self._at < len(self._script.products) else ("", ())
        if wanted != word:
            self.failed = True
            return
        self._at += 1
        for method, record, more in readings:
            own = self.records.setdefault(id(record), replace(record, measured={}))
            try:
                getattr(self._probe, method)(Call.of(func, args, kwargs, out), own, *more)
            except (RuntimeError, IndexError, InputError):  # operands of other dimensions
                self.failed = True
            else:
                sizes = {key: one.elements for key, one in record.measured.items() if key[1] == "weight"}
                self.failed |= any(sizes.get(key, one.elements) != one.elements for key, one in own.measured.items())

    @property
    def complete(self) -> bool:
        """Whether the step executed what the script says, on weights as large."""
        return not self.failed and self._at == len(self._script.products)

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Measure nothing inside."""
        before, self.ignoring = self.ignoring, True
        try:
            yield
        finally:
            self.ignoring = before


class Sampler:
    """What `accelsim.tracing` with `every` sees of a training loop: its masks at the sampled steps.

    A step ends where an optimizer of the model has run, or where `step` is called.
    """

    def __init__(self, model: nn.Module, traced: Tracing, recorder: Recorder, every: int) -> None:
        self._model, self._traced, self._recorder, self._every = model, traced, recorder, every
        self._steps = 0
        self._script: _Script | None = None
        self._samples: list[tuple[int, _Seen]] = []
        self._left_out: list[int] = []
        self._replay: _Replay | None = None
        self._window = ExitStack()

    @property
    def run(self) -> SampledRun:
        """The run so far. Raises `InputError` where no step has ended, or the first cannot be expressed as a trace."""
        if self._script is None:
            raise InputError(
                "no training step has ended while it was sampled; a step ends where an optimizer of the model has run,"
                " or where .step() is called"
            )
        trace = self._traced.build()
        records = in_order(self._traced_step())
        weighted = [entry for entry in trace.operations if isinstance(entry, Conv | ConvTranspose | Linear)]
        first = {entry.name: entry.observed for entry in weighted if entry.observed is not None}
        bare = tuple(entry.model_copy(update={"observed": None} if entry.name in first else {})
                     for entry in trace.operations)  # fmt: skip
        seen = [Sample(step=0, observed=first)]
        seen += [Sample.model_validate({"step": step, "observed": _observed(trace, records, measured)})
                 for step, measured in self._samples]  # fmt: skip
        return SampledRun(steps=self._steps, trace=self._noted(trace, bare), samples=tuple(seen))

    def step(self) -> None:
        """End a training step where no optimizer of the model does."""
        self._end_step()

    def save(self, path: str | Path) -> SampledRun:
        """Write the run to `path` (``.json`` or ``.json.gz``) and return it."""
        made = self.run
        save_run(made, path)
        return made

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Sample what runs inside."""
        hooks = (
            register_optimizer_step_pre_hook(self._optimizes),
            register_optimizer_step_post_hook(self._optimized),
        )
        try:
            with self._window:
                self._open()
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _traced_step(self) -> Any:
        return next(step for step in self._recorder.steps if step.records and (step.backward or step.differentiated))

    def _noted(self, trace: Trace, operations: tuple[Any, ...]) -> Trace:
        steps = few([f"{number:,}" for number in self._left_out])
        said = f"samples that execute other products than the first step are left out: steps {steps}"
        assumptions = (*trace.origin.assumptions, *([said] if self._left_out else []))
        origin = trace.origin.model_copy(update={"assumptions": assumptions})
        return trace.model_copy(update={"operations": operations, "origin": origin})

    def _optimizes(self, *_: Any) -> None:
        if self._script is None:
            self._recorder.optimizes()

    def _optimized(self, optimizer: Optimizer, *_: Any) -> None:
        if self._script is None:
            self._recorder.optimized(optimizer)
        if self._recorder.is_of_model(optimizer):
            self._end_step()

    def _open(self) -> None:
        """Begin to watch: the first sample whole, later ones by its script."""
        self._window.enter_context(opened(self._model))
        if self._script is None:
            self._window.enter_context(self._recorder.watching(optimizers=False))
            return
        meter: Meter = QuickMeter()
        self._replay = replay = _Replay(self._script, Probe(self._recorder.roles, meter))
        for hook in (
            self._model.register_forward_pre_hook(self._entered),
            self._model.register_forward_hook(self._left, always_call=True),
        ):
            self._window.callback(hook.remove)
        self._window.enter_context(Opening(replay.unseen))
        self._window.enter_context(replay)

    def _entered(self, *_: Any) -> None:
        """A forward pass without gradients, as of a validation, is no part of a step."""
        if self._replay is not None:
            self._replay.ignoring = not torch.is_grad_enabled()

    def _left(self, *_: Any) -> None:
        if self._replay is not None:
            self._replay.ignoring = False

    def _end_step(self) -> None:
        number, self._steps = self._steps, self._steps + 1
        if self._script is None:
            if not any(step.backward or step.differentiated for step in self._recorder.steps):
                self._steps = number  # an optimizer before the first backward pass
                return
            self._recorder.end_step()
            self._script = _Script(tuple(self._recorder.script))
            self._window.close()
        elif self._replay is not None:
            self._window.close()
            if self._replay.complete:
                self._samples.append((number, {key: own.measured for key, own in self._replay.records.items()}))
            else:
                self._left_out.append(number)
            self._replay = None
        if self._steps % self._every == 0:
            self._open()


@overload
def tracing(
    model: nn.Module, *, batch: int | None = None, name: str | None = None, masks: bool = False, every: None = None
) -> AbstractContextManager[Tracing]: ...


@overload
def tracing(
    model: nn.Module, *, batch: int | None = None, name: str | None = None, masks: bool = False, every: int
) -> AbstractContextManager[Sampler]: ...


def tracing(
    model: nn.Module,
    *,
    batch: int | None = None,
    name: str | None = None,
    masks: bool = False,
    every: int | None = None,
) -> AbstractContextManager[Tracing] | AbstractContextManager[Sampler]:
    """Watch the training steps of `model` inside the context, forward and backward, on their real tensors.

    Args:
        model: the model that is trained.
        batch: samples of a step, from 1; None: the first dimension of the model's inputs.
        name: what the trace calls the model; None: the name of its class.
        masks: whether the masks of sparse weights are kept for `Tracing.save`; not with `every`.
        every: watch the first of every so many steps alone, from 1, and keep each by itself: how the masks of weights
            and gradients change over a training run. None: watch all, as one.

    Several steps may run inside; one ends where an optimizer of the model has run, or where ``step()`` is called.
    Densities are their mean, and a pattern counts where it holds in all. Optimizer and metrics may run inside and are
    left out. The step computes what it would have computed, with attention and LSTMs opened into their products.

    With `every` the context gives a `Sampler`, whose `save` writes a run that ``accelsim simulate`` takes: the first
    step is traced with all operands, of later samples weights and sparse gradients are read. Steps between run as they
    are. Raises `InputError` for operations that hide products and for tensors without dense storage.

    >>> model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    >>> with tracing(model, batch=2) as tracer:
    ...     model(torch.ones(2, 16)).sum().backward()
    >>> [operation.name for operation in tracer.trace.operations]
    ['0', '1', '2', 'sum']
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with tracing(model, every=2) as sampler:
    ...     for _ in range(5):
    ...         model(torch.ones(2, 16)).sum().backward()
    ...         optimizer.step()
    >>> [(phase.name, phase.steps) for phase in sampler.run.phases()]
    [('step 0', 2), ('step 2', 2), ('step 4', 1)]
    """
    if every is None:
        return watched_steps(model, batch=batch, name=name, masks=masks)
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InputError(f"every: got {every}; a whole number of at least 1 is needed")
    if masks:
        raise InputError("masks: a sampled run keeps what was seen of masks, not the masks; leave masks or every out")
    return _sampled(model, batch, name, every)


@contextmanager
def _sampled(model: nn.Module, batch: int | None, name: str | None, every: int) -> Iterator[Sampler]:
    recorder, traced = first_step(model, batch, name)
    sampler = Sampler(model, traced, recorder, every)
    with sampler.sampling():
        yield sampler


def _observed(trace: Trace, records: Sequence[Record], measured: _Seen) -> dict[str, Any]:
    """What a sample saw, as it stands in a file, by the operations of the trace."""
    entries = [entry.model_dump(mode="json") for entry in trace.operations[: len(records)]]
    for entry in entries:
        entry.pop("observed", None)
    observe(entries, [[replace(record, measured=measured.get(id(record), {}))] for record in records])
    return {entry["name"]: entry["observed"] for entry in entries if entry.get("observed") and "weight" in entry}
