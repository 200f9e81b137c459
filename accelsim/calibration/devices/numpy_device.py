"""The CPU through NumPy: GEMMs in FP32, copies and additions."""

import os
import time
from collections.abc import Mapping
from typing import Literal

import numpy as np

from accelsim.calibration.devices.device import Run, UnsupportedKernel
from accelsim.calibration.devices.host import cpu_facts, cpu_name, with_name
from accelsim.hardware.sourced_text import SourcedValue

__all__ = ["NumpyDevice"]


class NumpyDevice:
    """The CPU as NumPy uses it; see `accelsim.calibration.devices.device.Device`."""

    kind: Literal["cpu", "gpu"] = "cpu"
    precisions: tuple[str, ...] = ("fp32",)
    streams: tuple[str, ...] = ("copy", "add")
    convolutions = asynchronous = sparse = False

    def __init__(self) -> None:
        self.name = cpu_name()
        self.software = f"numpy {np.__version__}"
        self._random = np.random.default_rng(0)

    def facts(self) -> Mapping[str, SourcedValue]:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return with_name(cpu_facts(threads), self.name)

    def empty(self) -> Run:
        value = np.zeros(1, np.float32)
        return lambda: np.add(value, 1, out=value)

    def stream(self, kind: str, size: int) -> Run:
        arrays = [np.ones(size // 4 // (2 if kind == "copy" else 3), np.float32) for _ in range(3)]
        if kind == "copy":
            return lambda: np.copyto(arrays[1], arrays[0])
        return lambda: np.add(arrays[0], arrays[1], out=arrays[2])

    def gemm(self, m: int, n: int, k: int, precision: str) -> Run:
        if precision not in self.precisions:
            raise UnsupportedKernel(f"no {precision} GEMM in NumPy")
        x, w = (self._random.standard_normal(shape, dtype=np.float32) for shape in ((m, k), (n, k)))
        out = np.empty((m, n), np.float32)
        return lambda: np.matmul(x, w.T, out=out)

    def conv(self, m: int, n: int, k: int, batch: int, precision: str, groups: int) -> Run:
        raise UnsupportedKernel("no convolutions in NumPy")

    def sparse_gemm(self, m: int, n: int, k: int, precision: str) -> Run:
        raise UnsupportedKernel("no 2:4 GEMMs in NumPy")

    def time(self, run: Run, calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - start) / calls

    def issue(self) -> float:
        raise UnsupportedKernel("the host runs the kernels itself")
