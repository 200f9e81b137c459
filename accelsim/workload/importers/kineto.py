"""PyTorch profiles (``torch.profiler``, Kineto) made with ``record_shapes=True``: calls with the shapes they got.

What a profile says of weights and parameters is described in `accelsim.workload.importers._torch_structure`.
"""

import contextlib
import json
import re
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict, TypeGuard

from accelsim.base.errors import InputError
from accelsim.base.files import Plain
from accelsim.workload.importers._torch_file import Entries
from accelsim.workload.importers._torch_rows import (
    LAUNCH,
    Operand,
    Recording,
    Row,
    Tensor,
    Thread,
    may_be_product,
)
from accelsim.workload.importers._torch_structure import Structure
from accelsim.workload.importers._torch_trace import build, refuse_early
from accelsim.workload.importing import ImportOptions
from accelsim.workload.trace import Trace

__all__ = ["read"]

_ANNOTATION = "user_annotation"
_CALLS = frozenset({"cpu_op", "operator", _ANNOTATION})
_RUNTIMES = frozenset({"cuda_runtime", "cuda_driver", "runtime", "hip_runtime"})
_MODULE = "nn.Module: "
_FLOWS = frozenset({"fwdbwd", "async_cpu_to_gpu_forward", "forward_backward"})


_Sizes = list[int] | list[list[int]]
"""Of a tensor, or of each tensor of a list."""

_Arguments = TypedDict(
    "_Arguments",
    {
        "Input Dims": list[_Sizes],
        "Input dims": list[_Sizes],
        "Input type": list[str],
        "Input Strides": list[_Sizes],
        "Concrete Inputs": list[str],
        "Sequence number": int,
        "Fwd thread id": int,
        "kernel_backend": str,
    },
    total=False,
)


class _Event(TypedDict, total=False):
    """An event as profiles have it; one that is not is met where it is read (`_rows`)."""

    ph: str
    cat: str
    name: str
    ts: float
    dur: float
    pid: int | str
    tid: int | str
    id: int
    args: _Arguments


def read(path: Path, options: ImportOptions) -> Trace:
    """Return the trace of the last complete step in the profile at `path`.

    Raises `InputError` for a file that cannot be read or says too little.
    """
    source = str(path)
    entries = Entries(path, "traceEvents")
    events = list[_Event]()
    arriving = _needed(entries, events)
    if not entries.mentions("Input Dims", "Input dims") and any("::" in str(event.get("name")) for event in arriving):
        raise InputError(f"{source}: holds no shapes; profile the step with record_shapes=True")
    refuse_early(entries, _products(arriving), options.batch)
    deque(arriving, maxlen=0)  # the rest
    data = entries.around()
    if not isinstance(data, dict) or not isinstance(data.get("traceEvents"), list):
        raise InputError(f"{source}: no profile of PyTorch: it has no list of traceEvents")
    calls = [event for event in events if event.get("ph") == "X"]
    if not any("::" in str(event.get("name")) for event in calls):
        raise InputError(
            f"{source}: holds no operation of the host; profile with ProfilerActivity.CPU among the activities"
        )
    if not any(_shapes(event) is not None for event in calls):
        raise InputError(f"{source}: holds no shapes; profile the step with record_shapes=True")
    if not options.calls and not any(map(may_be_product, {str(event.get("name")) for event in calls})):
        calls = [event for event in calls if "::" not in str(event.get("name"))]  # what explains it is quickly read
    recording = Recording(source=source, rows=_rows(source, calls, events))
    version = data.get("schemaVersion")
    return build(
        recording, Structure, options, [f"PyTorch profile, schema {version}" if version else "PyTorch profile"]
    )


# Reading


def _needed(entries: Iterable[Plain], events: list[_Event]) -> Iterator[_Event]:
    """Yield the events to keep, as they are parsed, and add each to `events`."""
    for entry in entries:
        if _is_needed(entry):
            events.append(entry)
            yield entry


def _products(events: Iterable[_Event]) -> Iterator[Row]:
    """Yield the calls that may be products and can be read, in the order of the file."""
    for event in events:
        if may_be_product(str(event.get("name"))) and _shapes(event) is not None:
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, OverflowError):
                yield _row(event).check()


def _is_needed(entry: Plain) -> TypeGuard[_Event]:
    """Whether an entry is an event to keep: profiles are large, and most of it is kernels."""
    if not isinstance(entry, dict):
        return False
    phase = str(entry.get("ph"))
    category = str(entry.get("cat", "")).lower()
    is_call = phase == "X" and category in _CALLS
    is_module = phase == "X" and category == "python_function" and str(entry.get("name")).startswith(_MODULE)
    is_launch = phase == "X" and category in _RUNTIMES and LAUNCH.fullmatch(str(entry.get("name"))) is not None
    is_flow = phase in {"s", "f"} and category in _FLOWS
    return is_call or is_module or is_launch or is_flow


def _shapes(event: _Event) -> list[_Sizes] | None:
    arguments = event.get("args")
    return arguments.get("Input Dims", arguments.get("Input dims")) if isinstance(arguments, dict) else None


def _rows(source: str, calls: Sequence[_Event], events: Sequence[_Event]) -> tuple[Row, ...]:
    """Return the outermost calls of all threads; a call runs inside the one of its thread whose time spans its own."""
    try:
        made = sorted((_row(event).check() for event in calls), key=lambda row: (row.start, -row.end))
        threads = _forward_threads(made, events)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{source}: an event is not as profiles have it ({type(error).__name__}: {error})") from None
    tops: list[Row] = []
    open_rows: dict[Hashable, list[Row]] = {}
    for row in made:
        if row.forward_thread is not None:
            if row.forward_thread not in threads:
                raise InputError(
                    f"{source}: does not say which thread ran the forward of {row.name}: the arrows from forward to"
                    " backward operations (fwdbwd) are missing"
                )
            row.forward_thread = threads[row.forward_thread]
        around = open_rows.setdefault(row.thread, [])
        while around and around[-1].end <= row.start:
            around.pop()
        (around[-1].children if around else tops).append(row)
        around.append(row)
    return tuple(tops)


def _row(event: _Event) -> Row:
    arguments, name = event.get("args", {}), str(event["name"])
    start = round(float(event["ts"]) * 1000)
    sequence = int(arguments.get("Sequence number", -1))
    forward = int(arguments.get("Fwd thread id", 0))
    return Row(
        name=name,
        start=start,
        end=start + max(round(float(event.get("dur", 0)) * 1000), 1),
        thread=(str(event.get("pid")), str(event.get("tid"))),
        inputs=tuple(_inputs(arguments)),
        sequence=sequence if sequence >= 0 else None,
        forward_thread=forward if forward and sequence >= 0 else None,
        is_module=name.startswith(_MODULE),
        is_annotation=str(event.get("cat", "")).lower() == _ANNOTATION,
        is_kernel=bool(arguments.get("kernel_backend")),
    )


def _inputs(arguments: _Arguments) -> Iterator[Operand]:
    shapes = arguments.get("Input Dims", arguments.get("Input dims")) or []
    kinds = arguments.get("Input type") or [""] * len(shapes)
    strides: Sequence[_Sizes | None] = arguments.get("Input Strides") or [None] * len(shapes)
    given = arguments.get("Concrete Inputs") or [""] * len(shapes)
    for shape, kind, step, value in zip(shapes, kinds, strides, given, strict=False):
        yield _value(shape, kind, step, value)


def _value(shape: list[Any], kind: str, strides: list[Any] | None, given: str) -> Operand:
    if kind == "TensorList" or (shape and isinstance(shape[0], list)):
        steps = strides if strides and len(strides) == len(shape) else [None] * len(shape)
        return tuple(
            Tensor(tuple(each), tuple(step) if step else None) for each, step in zip(shape, steps, strict=True)
        )
    if kind in {"Scalar", "ScalarList", ""} and not shape:
        return _number(given)
    return Tensor(tuple(shape), tuple(strides) if strides else None)


@lru_cache(maxsize=4096)
def _number(text: str) -> Operand:
    """Read a recorded number, truth value or list of them; anything else is not known."""
    if not text:
        return None
    plain = re.sub(r"(\d)\.(?!\d)", r"\1.0", text.replace("True", "true").replace("False", "false"))
    try:
        value = json.loads(plain)
    except json.JSONDecodeError:
        return None
    return tuple(value) if isinstance(value, list) else value


def _forward_threads(rows: Sequence[Row], events: Sequence[_Event]) -> dict[Thread | None, Thread]:
    """Return the thread that each number of a forward thread stands for.

    Where one thread alone ran forward calls it is that one; else the arrows from forward to backward calls tell.
    """
    forward = {row.thread for row in rows if row.sequence is not None and row.forward_thread is None}
    backward = [row for row in rows if row.forward_thread is not None]
    if len(forward) == 1:
        return dict.fromkeys((row.forward_thread for row in backward), next(iter(forward)))
    starts = {event["id"]: (str(event["pid"]), str(event["tid"])) for event in events if event["ph"] == "s"}
    ends: dict[tuple[Thread, int], int] = {
        ((str(event["pid"]), str(event["tid"])), round(float(event["ts"]) * 1000)): event["id"]
        for event in events
        if event["ph"] == "f"
    }
    found: dict[Thread | None, Thread] = {}
    for row in backward:
        if (arrow := ends.get((row.thread, row.start))) in starts:
            found.setdefault(row.forward_thread, starts[arrow])
    return found
