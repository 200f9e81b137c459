"""Tracing a PyTorch model: what one training step executes, with the sparsity that is really there.

One dispatch mode sees every operation that PyTorch executes, below modules, functions and autograd, forward and
backward. Four decisions shape a trace:

- Attention is opened into its products, softmax and dropout.
- Work on constants alone (masks, position indices) is left out: it can be prepared before training.
- Casts between number formats are left out: the precision belongs to the design, not to the trace.
- A tensor computed from parameters alone, and as large as one of them, still is that parameter (masked, cast or
  normalised weights).

`trace_model` runs a model by itself, on shapes without memory, at two batch sizes: what grows with the batch is divided
by it, the rest is work done once per step. `trace` and `tracing` watch real steps of a training script and read the
sparsity of every operand from its values; there the batch is the first dimension of the model's inputs, and all that is
computed from them is taken to grow with it.
"""

import platform
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from accelsim.base.errors import InputError
from accelsim.base.files import Plain, validate
from accelsim.base.version import __version__
from accelsim.workload.masks_file import beside, save_masks
from accelsim.workload.names import counted, few
from accelsim.workload.rules import Entry
from accelsim.workload.trace import FORMAT, VECTOR_KINDS, Trace, save_trace
from accelsim.workload.tracer.beyond import entries_beyond, notes_of_entries, settle_updates
from accelsim.workload.tracer.checking import check_complete
from accelsim.workload.tracer.collectives import scattered_gradients
from accelsim.workload.tracer.entries import (
    Counted,
    OneRecord,
    TwoRecords,
    entries_of,
    in_order,
    observe,
    same_operations,
    take_masks,
)
from accelsim.workload.tracer.measure import Meter
from accelsim.workload.tracer.recorder import Recorder
from accelsim.workload.tracer.records import Record, StepSeen
from accelsim.workload.tracer.roles import inputs_in
from accelsim.workload.tracer.running import left_as_it_was, opened
from accelsim.workload.tracer.several import are_routed, check_same, in_line, mean_of, other_edges
from accelsim.workload.tracer.specs import InputSpec

__all__ = ["Tracing", "first_step", "trace", "trace_model", "watched_steps"]

Loss = Callable[[Any], Tensor]
_DENSE = 0.95  # share of nonzeros from which a weight without a mask is taken to be dense


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """What a trace says of its making."""

    name: str | None
    source: str = "a model in memory"
    assumptions: tuple[str, ...] = ()
    command: str | None = None


class Tracing:
    """What `tracing` sees: the training steps between entering and leaving the context."""

    def __init__(self, recorder: Recorder, batch: int | None, header: _Header, *, masks: bool, measured: bool) -> None:
        self._recorder, self._batch, self._header = recorder, batch, header
        self._masks, self._measured = masks, measured

    @property
    def trace(self) -> Trace:
        """The trace of the steps seen so far."""
        return self.build()

    def step(self) -> None:
        """End a training step where no optimizer of the model does."""
        self._recorder.end_step()

    def save(self, path: str | Path) -> Trace:
        """Write the trace to `path` (``.json`` or ``.json.gz``) and return it.

        Where masks were asked for they go to a file beside it, ``NAME.masks.npz``, which the trace refers to.
        """
        made = self.build(beside(path) if self._masks else None)
        save_trace(made, path)
        return made

    def build(self, masks: Path | None = None) -> Trace:
        """Return the trace of the steps seen so far, and write the masks of its weights where a file is given.

        Raises `InputError` where the steps cannot be expressed as one trace.
        """
        steps, without = _training_steps(self._recorder)
        if not any(not record.backward_only for step in steps for record in step.records):
            raise InputError(
                "no operation of the model was executed while it was traced; run a step inside the context"
            )
        ordered = [in_order(step) for step in steps]
        settle_updates(steps)
        notes = [*_notes_of(steps, self._batch), *without]
        batches = [self._batch or _batch_of(step) for step in steps]
        made = [
            entries_of(self._recorder, step, [OneRecord(record, batch) for record in records], len(steps[0].inputs))
            for step, records, batch in zip(steps, ordered, batches, strict=True)
        ]
        if routed := are_routed(made):
            lines = in_line(ordered)
            entries, note = mean_of(lines, ordered, made, batches)
            notes.append(note)
        else:
            check_same(ordered, made)
            notes += other_edges(made)
            lines, entries = [[at] * len(steps) for at in range(len(made[0]))], made[0]
        if batches[0] == 1:
            notes += _unknown_growth(entries)
        header = replace(self._header, assumptions=(*self._header.assumptions, *notes))
        shapes = [_per_sample(shape, steps[0], batches[0]) for shape in steps[0].inputs]
        measured = [
            [step[at] for step, at in zip(ordered, line, strict=True) if at is not None and self._measured]
            for line in lines
        ]
        count = len(steps) if self._measured else 0
        trace = _finish(self._recorder, steps[0], entries, measured, count, masks, header, shapes, batches[0])
        for own, step, batch in zip(made, steps, batches, strict=True):
            of_step = _trace_of(self._recorder, step, own, header, shapes, batch) if routed else trace
            check_complete(of_step, step, batch, self._recorder.dispatched(step))
        return trace


def _training_steps(recorder: Recorder) -> tuple[list[StepSeen], list[str]]:
    """Return the steps that were seen; where some have a backward pass, those without are named as left out."""
    steps = [step for step in recorder.steps if step.records]
    training = [step for step in steps if step.backward or step.differentiated]
    without = [step for step in steps if not (step.backward or step.differentiated)]
    if not training:
        return steps, []
    macs = sum(recorder.dispatched(step) for step in without)
    said = f"forward passes without a backward pass are left out: {len(without)}, with {macs:,} multiply-accumulates"
    return training, [said] * bool(without)


def _notes_of(steps: Sequence[StepSeen], batch: int | None) -> Iterator[str]:
    """Yield what was decided about steps and samples."""
    if batch is None and steps[0].layout:
        name, samples = steps[0].layout
        yield (
            f"the step is taken to have {counted(samples, 'sample')}, as {name or 'the model'} has its sequence first"
            " (batch_first=False); batch= says otherwise"
        )
    sizes = sorted({shape[0] for shape in steps[0].inputs if shape})
    if batch is None and not steps[0].layout and len(sizes) > 1:
        yield (
            f"the model is called with batches of {', '.join(map(str, sizes))}: the step is taken to have"
            f" {counted(_batch_of(steps[0]), 'sample')}, which divides them; batch= says otherwise"
        )
    if any(step.rounds for step in steps) and not any(step.optimized for step in steps):
        rounds = 1 + max(step.rounds for step in steps)
        yield (
            f"the model is called {rounds} times in a step, with a backward pass between; a step ends where an"
            " optimizer of the model has run or tracer.step() is called"
        )


def _per_sample(shape: tuple[int, ...], step: StepSeen, batch: int) -> tuple[int, ...]:
    at = 1 if step.layout and shape[1:2] == (batch,) else 0
    return shape[:at] + shape[at + 1 :] if shape[at : at + 1] == (batch,) else shape


def _unknown_growth(entries: Sequence[Entry]) -> list[str]:
    """Name the products that a single sample cannot show to grow with the batch."""
    once = [
        str(entry["name"]) for entry in entries if entry["kind"] not in VECTOR_KINDS and not entry["scales_with_batch"]
    ]
    said = (
        f"taken as work done once per step: {few(once)}; with one sample, what grows with the batch cannot be told from"
        " what does not, with two it can"
    )
    return [said] * bool(once)


def _batch_of(step: StepSeen) -> int:
    if step.layout:
        return step.layout[1]
    sizes = sorted({shape[0] for shape in step.inputs if shape})
    if len(sizes) > 1 and all(len(own) <= 1 for own in step.calls):
        return gcd(*sizes)
    if len(sizes) > 1:
        raise InputError(
            f"the inputs of the model have first dimensions {' and '.join(map(str, sizes))}; say with batch= how many"
            " samples a step has"
        )
    return sizes[0] if sizes else 1


@contextmanager
def watched_steps(
    model: nn.Module, *, batch: int | None = None, name: str | None = None, masks: bool = False
) -> Iterator[Tracing]:
    """Watch all training steps of `model` inside the context: `accelsim.tracing` without `every`."""
    _check(model, batch)
    recorder = Recorder(model, meter=Meter(keep_masks=masks), batch=batch or 0, steps_by_optimizer=True)
    with opened(model), recorder.watching():
        yield Tracing(recorder, batch, _Header(name=name), masks=masks, measured=True)


def first_step(model: nn.Module, batch: int | None, name: str | None) -> tuple[Recorder, Tracing]:
    """Return what records the first step of a training loop that is sampled, and what makes a trace of it."""
    _check(model, batch)
    recorder = Recorder(model, meter=Meter(keep_masks=False), batch=batch or 0, steps_by_optimizer=True)
    return recorder, Tracing(recorder, batch, _Header(name=name), masks=False, measured=True)


def trace(
    step: Callable[[], Any],
    model: nn.Module,
    *,
    steps: int = 1,
    batch: int | None = None,
    name: str | None = None,
    values: bool = True,
    masks: str | Path | None = None,
    source: str = "a model in memory",
    assumptions: Sequence[str] = (),
    command: str | None = None,
) -> Trace:
    """Return the trace of a training step of `model` that a function runs, forward and backward.

    Args:
        step: runs one step, whatever it holds. A scalar loss that it returns without having called ``backward()`` is
            differentiated here.
        model: the model that it trains.
        steps: how often it runs on real tensors, from 1; densities are means.
        batch: samples of a step, from 1; None: the first dimension of the model's inputs.
        name: what the trace calls the model; None: the name of its class.
        values: whether it runs on real tensors, whose sparsity is read; else on shapes without memory.
        masks: an ``.npz`` file for the masks of sparse weights; None: none is written.
        source: where the model comes from, for the trace's origin.
        assumptions: what the trace rests on, for its origin.
        command: what makes the trace again, for its origin.

    Parameters, buffers, gradients, hooks and random state of the model are put back afterwards; the state of an
    optimizer is not. Raises `InputError` as `tracing`, and for a loss that is not a scalar.

    >>> model, images = nn.Linear(16, 8), torch.ones(4, 16)
    >>> trace(lambda: model(images).square().mean(), model).operations[0].out_features
    8
    """
    _check(model, batch)
    if steps < 1:
        raise InputError(f"steps: got {steps}, at least 1 is needed")
    fake = None if values else FakeTensorMode(allow_non_fake_inputs=True)
    recorder = Recorder(model, fake, Meter(keep_masks=masks is not None) if values else None, batch or 0)
    header = _Header(name=name, source=source, assumptions=tuple(assumptions), command=command)
    seen = Tracing(recorder, batch, header, masks=masks is not None, measured=values)
    with left_as_it_was(model, values=values), opened(model), fake or nullcontext(), recorder.watching():
        for _ in range(steps):
            loss = step()
            if not recorder.step.backward and isinstance(loss, Tensor) and loss.requires_grad:
                _scalar(loss).backward()
            seen.step()
    return seen.build(None if masks is None else Path(masks))


def trace_model(
    model: nn.Module,
    inputs: Sequence[InputSpec],
    *,
    batch: int = 2,
    train: bool = True,
    loss: Loss | None = None,
    steps: int = 0,
    masks: str | Path | None = None,
    name: str | None = None,
    source: str = "a model in memory",
    assumptions: Sequence[str] = (),
    command: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Return the trace of `model` on random inputs, with the batch as their first dimension.

    Args:
        model: the model.
        inputs: its inputs, in the order of its arguments, each without the batch.
        batch: samples of a step, from 1. The model runs on shapes without memory at this many and one more, so that
            what grows with the batch is seen.
        train: whether it is in training mode.
        loss: turns its output into a scalar; None: outputs are summed, which the trace leaves out.
        steps: how often it runs on real tensors, too, where the sparsity of all operands is read; 0: it is not.
        masks: with `steps`, an ``.npz`` file for the masks of sparse weights; None: none is written.
        name: what the trace calls the model; None: the name of its class.
        source: where the model comes from, for the trace's origin.
        assumptions: what the trace rests on, for its origin.
        command: what makes the trace again, for its origin.
        progress: called with the steps done, and of all; None: nobody is told.

    The model, its gradients and the random state stay as they were. Raises `InputError` when the inputs do not fit the
    model, or when it does something that a trace cannot express.

    >>> [operation.macs for operation in trace_model(nn.Linear(16, 8), [InputSpec((16,))]).operations]
    [128]
    """
    _check(model, batch)
    with left_as_it_was(model, train, values=steps > 0), opened(model):
        first, second = (_run(model, inputs, size, loss) for size in (batch, batch + 1))
        real = (
            _run(model, inputs, batch, loss, steps, keep_masks=masks is not None, progress=progress) if steps else None
        )
    records, larger = in_order(first.steps[0]), in_order(second.steps[0])
    same_operations(records, larger, f"at batch {batch}", f"at batch {batch + 1}")
    steps_measured = [in_order(step) for step in real.steps if step.records] if real else []
    for step in steps_measured:
        same_operations(records, step, "on shapes alone", "on real tensors")
    measured = [[step[at] for step in steps_measured] for at in range(len(records))]
    sizes: list[Counted] = [TwoRecords(*both, batch) for both in zip(records, larger, strict=True)]
    entries = entries_of(first, first.steps[0], sizes, len(inputs))
    unread = [] if steps else _unread(model, first.steps[0])
    header = _Header(name=name, source=source, assumptions=(*assumptions, *unread), command=command)
    file, shapes = None if masks is None else Path(masks), [spec.shape for spec in inputs]
    count = len(steps_measured)
    trace = _finish(first, first.steps[0], entries, measured, count, file, header, shapes, batch)
    check_complete(trace, first.steps[0], batch, first.dispatched(first.steps[0]))
    return trace


def _unread(model: nn.Module, step: StepSeen) -> list[str]:
    """Say that weights are sparse where shapes alone were traced."""
    zeros = [
        name for name, weight in model.named_parameters()
        if weight.dim() > 1 and not weight.is_meta and 0 < int(torch.count_nonzero(weight)) < _DENSE * weight.numel()
    ]  # fmt: skip
    found = [f"weights that are zero in part: {few(zeros)}"] * bool(zeros) + ["masked weights"] * step.masked
    return [f"the model has {what}; shapes alone were traced, how sparse they are is read with steps on real tensors"
            for what in found]  # fmt: skip


def _check(model: nn.Module, batch: int | None) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model: a torch.nn.Module is needed, got {type(model).__name__}")
    if batch is not None and batch < 1:
        raise InputError(f"batch: got {batch}, at least 1 is needed")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise InputError(f"{name}: has no shape yet (a lazy module); run the model once before it is traced")
        if tensor.layout is not torch.strided or tensor.is_quantized:
            kind = "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.").replace("_", "-")
            into = "dequantize" if tensor.is_quantized else "to_dense"
            raise InputError(f"{name}: is a {kind} tensor; the tracer reads dense ones, make it one with .{into}()")


def _finish(
    recorder: Recorder,
    step: StepSeen,
    entries: list[Entry],
    measured: Sequence[Sequence[Record]],
    steps: int,
    masks: Path | None,
    header: _Header,
    shapes: Sequence[Sequence[int]],
    batch: int,
) -> Trace:
    """Add what was measured, in the records of each entry over so many steps, and write the masks that are wanted."""
    observe(entries, measured)
    notes = [*notes_of_entries(step, entries, [own[0] for own in measured if own])]
    found = take_masks(entries, [own[-1] for own in measured], masks.name) if masks is not None and steps else {}
    header = replace(header, assumptions=(*header.assumptions, *notes))
    made = _trace_of(recorder, step, entries, header, shapes, batch, steps)
    if masks is not None:
        save_masks(masks, found)
    return made


def _trace_of(
    recorder: Recorder,
    step: StepSeen,
    entries: list[Entry],
    header: _Header,
    shapes: Sequence[Sequence[int]],
    batch: int,
    steps: int = 0,
) -> Trace:
    """Return the trace with these entries and this header, and what the step does besides."""
    left_out = [
        f"matrix products of {what} are left out: {macs:,} multiply-accumulates in a step"
        for what, macs in sorted(step.left_out.items()) if macs
    ]  # fmt: skip
    data: dict[str, Plain] = {
        "format": FORMAT,
        "model": header.name or type(recorder.model).__name__,
        "input_shapes": [list(shape) for shape in shapes],
        "parameters": sum(map(recorder.roles.numbers.__getitem__, recorder.parameters))
        + sum(recorder.roles.constants.values()),
        "origin": {
            "exporter": f"accelsim trace {__version__}",
            "source": header.source,
            "versions": [
                f"torch {torch.__version__.partition('+')[0]}",
                f"python {'.'.join(platform.python_version_tuple()[:2])}",
            ],
            "assumptions": [*header.assumptions, *scattered_gradients(step.messages), *left_out],
            "command": header.command,
            "batch": batch,
            "steps": steps,
        },
        "operations": [*entries, *entries_beyond(step, batch, recorder.parameters, entries, len(shapes))],
    }
    return validate(Trace, data, header.source)


def _run(
    model: nn.Module,
    inputs: Sequence[InputSpec],
    batch: int,
    loss: Loss | None,
    steps: int = 0,
    *,
    keep_masks: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Recorder:
    """Run a step on shapes alone, or `steps` steps on real tensors."""
    shapes = ", ".join(f"{batch}x{spec}" for spec in inputs) or "no inputs"
    random.seed(0)
    torch.manual_seed(0)
    passing = "forward"
    try:
        with nullcontext() if steps else FakeTensorMode(allow_non_fake_inputs=True) as fake:
            recorder = Recorder(model, fake, Meter(keep_masks=keep_masks) if steps else None)
            for done in range(max(steps, 1)):
                if progress is not None:
                    progress(done, steps)
                arguments = _inputs(model, inputs, batch, real=steps > 0)
                for parameter in model.parameters():
                    parameter.grad = None
                passing = "forward"
                with recorder.watching():
                    out = model(*arguments)
                    total = _loss_of(out, loss, recorder)
                    passing = "backward"
                    if total is not None:
                        total.backward()
                recorder.end_step()
    except InputError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise InputError(
            f"the {passing} pass needs the values of a tensor ({error}), and tracing knows shapes only;"
            " shapes and branches must not depend on data"
        ) from error
    except Exception as error:  # whatever the user's model raises
        said = next(iter(str(error).strip().splitlines()), "") or "no message"
        raise InputError(f"the {passing} pass fails on {shapes}: {type(error).__name__}: {said}") from error
    if not recorder.steps[0].records:
        raise InputError(f"the model executes no operation on its inputs ({shapes}); there is nothing to trace")
    if layout := recorder.steps[0].layout:
        raise InputError(
            f"{layout[0] or 'the model'}: takes the second dimension of its input for the batch (batch_first=False),"
            " and a model that is traced by itself gets the batch first; build it with batch_first=True or trace a step"
            " of it"
        )
    return recorder


def _inputs(model: nn.Module, inputs: Sequence[InputSpec], batch: int, *, real: bool) -> list[Tensor]:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    made = []
    for spec in inputs:
        shape = (batch, *spec.shape)
        if not real:
            made.append(torch.zeros(shape, dtype=getattr(torch, spec.dtype), device=device))
        elif spec.below is not None:
            made.append(torch.randint(spec.below, shape, device=device))
        else:
            made.append(torch.randn(shape, device=device))
    return made


def _loss_of(out: Any, loss: Loss | None, recorder: Recorder) -> Tensor | None:
    """Return what is differentiated: the user's loss, or the sum of all outputs, which is not recorded."""
    if loss is not None:
        return _scalar(loss(out))
    recorder.paused = True
    sums = [tensor.sum().float() for tensor in inputs_in(out) if tensor.requires_grad]
    total = torch.stack(sums).sum() if sums else None
    recorder.paused = False
    return total


def _scalar(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor):
        raise InputError(f"the loss is a {type(loss).__name__}; a tensor with one element is needed")
    if loss.numel() != 1:
        raise InputError(f"the loss has shape {tuple(loss.shape)}; a scalar is needed, such as its mean")
    if not loss.requires_grad:
        raise InputError("the loss does not depend on the parameters of the model: nothing can be differentiated")
    return loss
