"""CPUs and CUDA GPUs through PyTorch."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812  the idiom of the field
from torch import Tensor

from accelsim.base.errors import InputError
from accelsim.base.units import GIGA, MEGA
from accelsim.calibration.devices.device import Run, UnsupportedKernel
from accelsim.calibration.devices.host import cpu_facts, cpu_name, gpu_power, with_name
from accelsim.hardware.sourced_text import SourcedValue

__all__ = ["TorchDevice", "allow_tf32", "check_cuda"]

_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_ROW = 1024
"""Elements that are normalised together."""
_ISSUED = 200
"""Kernels of the forward pass whose issue is timed, and of the backward pass: fewer than a queue holds."""
_TICKS_PER_CALL = 50_000
"""Clock ticks that the device waits per kernel before timed ones, so that the host is ahead: above 20 us."""


class TorchDevice:
    """A CPU or GPU as PyTorch uses it, a `Device`. Raises `InputError` without the GPU."""

    def __init__(self, where: str) -> None:
        self._device = torch.device(where)
        self._cuda = where == "cuda"
        self.kind: Literal["cpu", "gpu"] = "gpu" if self._cuda else "cpu"
        self.streams: tuple[str, ...] = ("copy", "add", "norm")
        self.convolutions, self.asynchronous = True, self._cuda
        if not self._cuda:
            # FP16 is left out: PyTorch computes it on most CPUs without vector instructions, a thousand times slower
            self.precisions: tuple[str, ...] = ("fp32", "bf16")
            self.sparse = False
            self.name, self.software = cpu_name(), f"torch {torch.__version__}"
            return
        check_cuda()
        self._properties = torch.cuda.get_device_properties(0)
        self._power = gpu_power(f"GPU-{self._properties.uuid}" if hasattr(self._properties, "uuid") else "0")
        self.name = self._properties.name
        self.software = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
        capability = torch.cuda.get_device_capability(0)
        self.sparse = self._ampere = capability >= (8, 0)
        self._matrix_units = capability >= (7, 0)
        self.precisions = ("fp32", "tf32", "fp16", "bf16") if self._ampere else ("fp32", "fp16")
        torch.backends.cudnn.benchmark = True

    def facts(self) -> Mapping[str, SourcedValue]:
        if not self._cuda:
            return with_name(cpu_facts(torch.get_num_threads()), self.name)
        found = self._properties
        by = "reported by the driver"
        facts = {
            "compute.multiprocessors": SourcedValue(found.multi_processor_count, by, "measured"),
            "compute.matrix_units": SourcedValue(
                self._matrix_units, f"compute capability {found.major}.{found.minor}", "derived"
            ),
            "memory.capacity_gb": SourcedValue(float(f"{found.total_memory / GIGA:.4g}"), by, "measured"),
            **self._power,
        }
        cache = getattr(found, "L2_cache_size", 0)
        if cache:
            facts["memory.cache_mb"] = SourcedValue(float(f"{cache / MEGA:.4g}"), by, "measured")
        return with_name(facts, self.name)

    def empty(self) -> Run:
        value = torch.zeros(1, device=self._device)
        return lambda: value.add_(1.0)

    def stream(self, kind: str, size: int) -> Run:
        with _fitting():
            words = size // 4 // (3 if kind == "add" else 2) // _ROW * _ROW
            x, y, out = (torch.zeros(words, device=self._device) for _ in range(3))
            if kind == "copy":
                return lambda: out.copy_(x)
            if kind == "add":
                return lambda: torch.add(x, y, out=out)
            rows, weight, bias = x.view(-1, _ROW), *(torch.ones(_ROW, device=self._device) for _ in range(2))
            return lambda: F.layer_norm(rows, (_ROW,), weight, bias)

    def gemm(self, m: int, n: int, k: int, precision: str) -> Run:
        with _fitting():
            x, w = self._normal((m, k), precision), self._normal((n, k), precision)
            out = x.new_empty(m, n)
            return lambda: torch.mm(x, w.t(), out=out)

    def conv(self, m: int, n: int, k: int, batch: int, precision: str, groups: int) -> Run:
        side = math.isqrt(m // batch)
        with _fitting():
            x = self._normal((batch, k // 9 * groups, side, side), precision)
            w = self._normal((n, k // 9, 3, 3), precision)
            layout = torch.channels_last if self._cuda and precision != "fp32" else torch.contiguous_format
            x, w = x.contiguous(memory_format=layout), w.contiguous(memory_format=layout)
            return lambda: F.conv2d(x, w, padding=1, groups=groups)

    def sparse_gemm(self, m: int, n: int, k: int, precision: str) -> Run:
        if not self.sparse:
            raise UnsupportedKernel("no 2:4 GEMMs before compute capability 8.0")
        with _fitting():
            x, w = self._normal((m, k), precision), self._normal((n, k), precision)
            kept = torch.tensor([True, True, False, False], device=self._device).repeat(n, k // 4)
            weight = torch.sparse.to_sparse_semi_structured(w.where(kept, 0))
            return lambda: F.linear(x, weight)

    def time(self, run: Run, calls: int) -> float:
        with _fitting(), torch.no_grad():
            return self._time_on_device(run, calls) if self._cuda else _time_on_host(run, calls)

    def _time_on_device(self, run: Run, calls: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        torch.cuda._sleep(_TICKS_PER_CALL * calls)  # noqa: SLF001  what PyTorch's own tests keep a stream busy with
        start.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000 / calls

    def issue(self) -> float:
        if not self.asynchronous:
            raise UnsupportedKernel("the host runs the kernels itself")
        x = torch.zeros(1, device=self._device, requires_grad=True)
        torch.cuda.synchronize()
        start = time.perf_counter()
        y = x
        for _ in range(_ISSUED):
            y = y.sigmoid()
        y.backward()
        seconds = time.perf_counter() - start
        torch.cuda.synchronize()
        return seconds / (2 * _ISSUED)

    def _normal(self, shape: tuple[int, ...], precision: str) -> Tensor:
        """Random values, as the power of a GPU and so its clock depend on them; sets TF32 as `precision` wants it."""
        if self._cuda:
            allow_tf32(precision == "tf32")
        return torch.randn(shape, device=self._device).to(_DTYPES[precision])


def check_cuda() -> None:
    """Raise `InputError` where PyTorch sees no GPU."""
    if not torch.cuda.is_available():
        raise InputError(f"--device cuda: torch {torch.__version__} finds no CUDA GPU; allowed here: cpu")


def allow_tf32(allowed: bool) -> None:
    """Let FP32 products and convolutions on CUDA round their operands to TF32, or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def _time_on_host(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


@contextmanager
def _fitting() -> Iterator[None]:
    """Turn the refusals of PyTorch into reasons to leave a kernel out."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:  # out of memory is a RuntimeError too
        text = str(error).strip().splitlines()
        raise UnsupportedKernel(text[0] if text else type(error).__name__) from error
