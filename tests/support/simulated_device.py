"""A device whose kernels take the time that a known behaviour gives them."""

from accelsim.calibration.devices.device import UnsupportedKernel
from accelsim.hardware.sourced_text import SourcedValue

PEAK_TFLOPS = {"fp32": 60.0, "tf32": 400.0, "fp16": 900.0, "bf16": 900.0}
EFFICIENCY = {"fp32": 0.9, "tf32": 0.7, "fp16": 0.75, "bf16": 0.75}
BANDWIDTH, MEMORY_EFFICIENCY, CACHE_GAIN = 4.8e12, 0.85, 3.0
KERNEL_S, HOST_S, SPARSE_KERNEL_S = 2e-6, 7e-6, 5e-6
CONV_FACTOR, WINOGRAD_GAIN, DIRECT_SHARE, SPARSE_GAIN = 0.8, 1.5, 0.2, 1.6
CACHE_MB = 50.0


class SimulatedDevice:
    """See `accelsim.calibration.devices.device.Device`; a kernel is the number of seconds that it takes."""

    name, software, kind = "NVIDIA Simulated", "simulator 1.0", "gpu"
    precisions, streams = ("fp32", "tf32", "fp16", "bf16"), ("copy", "add", "norm")
    convolutions = asynchronous = sparse = True

    def __init__(self, interrupt_after: int | None = None, power: bool = True) -> None:
        self.made, self.interrupt_after, self.power = [], interrupt_after, power

    def facts(self):
        found = {
            "compute.multiprocessors": 132, "compute.matrix_units": True, "memory.capacity_gb": 141.0,
            "memory.cache_mb": CACHE_MB, **({"power.idle_w": 75.0, "power.peak_w": 700.0} if self.power else {}),
        }  # fmt: skip
        return {path: SourcedValue(value, f"{self.name}: simulated", "measured") for path, value in found.items()}

    def _made(self, text, seconds):
        if len(self.made) == self.interrupt_after:
            raise KeyboardInterrupt
        self.made.append(text)
        return seconds

    def empty(self):
        return self._made("kernel", KERNEL_S)

    def stream(self, kind, size):
        rate = BANDWIDTH * MEMORY_EFFICIENCY * (CACHE_GAIN if size <= CACHE_MB * 1e6 / 2 else 1.0)
        return self._made(f"{kind} {size}", KERNEL_S + size / rate)

    def gemm(self, m, n, k, precision):
        return self._made(f"gemm {precision} {m}x{n}x{k}", KERNEL_S + self._work(m, n, k, precision))

    def conv(self, m, n, k, batch, precision, groups):
        assert (m % batch, k % 9, n % groups) == (0, 0, 0)
        factor = DIRECT_SHARE if groups > 1 else CONV_FACTOR * (WINOGRAD_GAIN if precision == "fp32" else 1.0)
        return self._made(
            f"conv {precision} {m}x{n}x{k} groups {groups}", KERNEL_S + self._work(m, n, k, precision) / factor
        )

    def sparse_gemm(self, m, n, k, precision):
        if n == 11008:
            raise UnsupportedKernel("no memory is left")
        seconds = KERNEL_S + self._work(m, n, k, precision) / SPARSE_GAIN + SPARSE_KERNEL_S
        return self._made(f"sparse {precision} {m}x{n}x{k}", seconds)

    def time(self, run, calls):
        assert calls >= 1
        return run

    def issue(self):
        return HOST_S

    @staticmethod
    def _work(m, n, k, precision):
        return 2 * m * n * k / (PEAK_TFLOPS[precision] * 1e12 * EFFICIENCY[precision])
