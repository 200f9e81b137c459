"""Which kernels are measured, and measuring them one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from accelsim.base.units import GIGA, MEBI, MEGA
from accelsim.calibration.devices.device import Device, Run, UnsupportedKernel
from accelsim.calibration.measured_rows import Measurement, What
from accelsim.hardware.sourced_text import SourcedValue

__all__ = ["DEFAULT", "QUICK", "Effort", "LeftOut", "Task", "measure", "tasks_for"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: seconds of samples per kernel, and the longest kernel to run at all."""

    name: str
    sample_s: float
    longest_s: float


DEFAULT, QUICK = Effort("default", 0.5, 1.0), Effort("quick", 0.05, 0.1)
_FEWEST, _MOST = 5, 50
"""Samples of one kernel."""
_LEAST_SAMPLE_S = 1e-3
_MOST_CALLS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One kernel to measure; the fields are those of `accelsim.calibration.measured_rows.Measurement`."""

    what: What
    kind: str = ""
    precision: str = ""
    m: int = 0
    n: int = 0
    k: int = 0
    batch: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, item: Measurement) -> "Task":
        """Return the task that a measurement was made for."""
        return cls(
            what=item.what, kind=item.kind, precision=item.precision, m=item.m, n=item.n, k=item.k,
            batch=item.batch, bytes=item.bytes,
        )  # fmt: skip

    @property
    def work(self) -> int:
        """Operations, or bytes where there are none."""
        return 2 * self.m * self.n * self.k or self.bytes

    def __str__(self) -> str:
        """Return the task in short, as progress shows it."""
        size = f"{self.m} x {self.n} x {self.k}" if self.m else f"{self.bytes / MEGA:.0f} MB" if self.bytes else ""
        return " ".join(part for part in (self.what.replace("_", " "), self.kind, self.precision, size) if part)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A task that was not measured, and why."""

    task: Task
    reason: str


_SQUARES = {"cpu": (64, 128, 256, 512, 1024, 2048, 4096), "gpu": (64, 256, 512, 1024, 2048, 4096, 8192, 12288)}
_OTHER_GEMMS = {
    "cpu": ((64, 2048, 2048), (512, 768, 768), (512, 3072, 768), (512, 768, 3072), (1000, 1000, 1000),
            (2048, 2048, 512), (3136, 256, 64), (784, 512, 1152)),
    "gpu": ((128, 4096, 4096), (4096, 768, 768), (4096, 3072, 768), (4096, 768, 3072), (1000, 1000, 1000),
            (4100, 4100, 4100), (8192, 4096, 4096), (16384, 4096, 4096), (4096, 11008, 4096), (50176, 256, 64),
            (50176, 64, 256), (12544, 512, 1152)),
}  # fmt: skip
_QUICK_GEMMS = {"cpu": (64, 512, 1024), "gpu": (64, 4096, 8192)}
_CONVS = {"cpu": 4, "gpu": 64}
"""Images of a batch; the layers are those of a ResNet."""
GROUPS = 32
"""Groups of a grouped convolution, as in ResNeXt."""
_LARGEST_PAIR = (12288, 12288, 12288)
"""A dense and a 2:4 GEMM of 3.7 TFLOP, beside those down to 0.1 GFLOP."""
_SPARSE_ROWS, _SPARSE_WEIGHTS = (64, 256, 1024, 4096, 16384), ((1024, 1024), (4096, 4096), (11008, 4096))
_CACHES_OF_STREAM = 16
"""How much larger than the last-level cache the largest memory-bound kernel is, so that the cache hardly helps it."""
_LEAST_STREAM = 4 * MEBI


def tasks_for(device: Device, facts: Mapping[str, SourcedValue], *, quick: bool) -> list[Task]:
    """Return what to measure on a device, smaller kernels first; a few of them with `quick`."""
    tasks = [Task(what="kernel")]
    tasks += [Task(what="issue")] * device.asynchronous
    largest = _largest_stream(facts)
    sizes = [largest >> shift for shift in ((6, 0) if quick else (8, 6, 4, 2, 0))]
    tasks += [Task(what="stream", kind=kind, bytes=size) for size in sizes for kind in device.streams]
    shapes = [(size, size, size) for size in (_QUICK_GEMMS if quick else _SQUARES)[device.kind]]
    shapes += () if quick else _OTHER_GEMMS[device.kind]
    convs = _convolutions(_CONVS[device.kind], quick) if device.convolutions else []
    rows, weights = (_SPARSE_ROWS[::2], _SPARSE_WEIGHTS[1:2]) if quick else (_SPARSE_ROWS, _SPARSE_WEIGHTS)
    pairs = [(m, n, k) for m in rows for n, k in weights] if device.sparse else []
    pairs += [_LARGEST_PAIR] if device.sparse and not quick else []
    for precision in device.precisions:
        sparse = pairs if precision == "fp16" else []
        dense = {*shapes, *((m, n, k) for m, n, k, _ in convs), *sparse}
        group = [Task(what="gemm", precision=precision, m=m, n=n, k=k) for m, n, k in dense]
        group += [Task(what="conv", precision=precision, m=m, n=n, k=k, batch=batch) for m, n, k, batch in convs]
        if device.convolutions and precision == "fp32":
            group += [
                Task(what="conv", kind="grouped", precision=precision, m=m, n=n, k=k // GROUPS, batch=batch)
                for m, n, k, batch in _convolutions(_CONVS[device.kind], quick)
            ]
        group += [Task(what="sparse_gemm", precision=precision, m=m, n=n, k=k) for m, n, k in sparse]
        tasks += sorted(group, key=lambda task: (task.work, task.what, task.m, task.n))
    return tasks


def _largest_stream(facts: Mapping[str, SourcedValue]) -> int:
    """A power of two that exceeds the cache by `_CACHES_OF_STREAM`, but fills no more than an eighth of the memory."""
    wanted = int(facts["memory.cache_mb"].value * MEGA * _CACHES_OF_STREAM)
    room = int(facts["memory.capacity_gb"].value * GIGA / 8)
    return 1 << max(min(wanted - 1, room >> 1), int(_LEAST_STREAM) - 1).bit_length()


def _convolutions(batch: int, quick: bool) -> list[tuple[int, int, int, int]]:
    layers = ((64, 56), (128, 28), (256, 14), (512, 7))
    return [(batch * side**2, width, 9 * width, batch) for width, side in (layers[1:2] if quick else layers)]


def measure(
    device: Device, tasks: Sequence[Task], known: Sequence[Measurement], effort: Effort, date: str
) -> Iterator[Measurement | LeftOut]:
    """Measure each of `tasks` in turn. A GEMM is left out if one before it, or a `known` one, says it takes long."""
    rates = {_alike(item): item.operations / item.median_s for item in known if item.operations}
    for task in tasks:
        rate = rates.get(_alike(task))
        if rate and task.m and task.work / rate > effort.longest_s:
            yield LeftOut(task, f"would take longer than {effort.longest_s:g} s")
            continue
        try:
            samples = _samples(device, task, effort)
        except UnsupportedKernel as error:
            yield LeftOut(task, str(error))
            continue
        first, _, last = quantiles(samples, n=4)
        found = Measurement(
            device=device.name, software=device.software, date=date, effort=effort.name, what=task.what,
            kind=task.kind, precision=task.precision, m=task.m, n=task.n, k=task.k, batch=task.batch,
            bytes=task.bytes, repeats=len(samples), median_s=median(samples), q1_s=first, q3_s=last,
        )  # fmt: skip
        if found.operations:
            rates[_alike(task)] = found.operations / found.median_s
        yield found


def _alike(item: Task | Measurement) -> tuple[str, str, str]:
    """Kernels with the same are about equally fast when they are large."""
    return item.what, item.kind, item.precision


def _samples(device: Device, task: Task, effort: Effort) -> list[float]:
    if task.what == "issue":
        device.issue()
        return [device.issue() for _ in range(_FEWEST)]
    run = _kernel(device, task)
    device.time(run, 1)  # warms up: memory is touched and libraries choose their kernels
    once = device.time(run, 1)
    calls = min(_MOST_CALLS, max(1, round(_LEAST_SAMPLE_S / once)))
    device.time(run, calls)
    count = min(_MOST, max(_FEWEST, int(effort.sample_s / (calls * once))))
    return [device.time(run, calls) for _ in range(count)]


def _kernel(device: Device, task: Task) -> Run:
    if task.what == "kernel":
        return device.empty()
    if task.what == "stream":
        return device.stream(task.kind, task.bytes)
    if task.what == "conv":
        groups = GROUPS if task.kind == "grouped" else 1
        return device.conv(task.m, task.n, task.k, task.batch, task.precision, groups)
    make = device.gemm if task.what == "gemm" else device.sparse_gemm
    return make(task.m, task.n, task.k, task.precision)
