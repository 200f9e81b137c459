"""What a calibrated platform leaves unexplained: each measured GEMM beside its estimate."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np

from accelsim.base.units import MICRO
from accelsim.calibration.measured_rows import Measurement
from accelsim.hardware.platform import Behaviour, Platform
from accelsim.platforms.kernel_time import pair_seconds

__all__ = ["Residual", "residuals", "residuals_text"]


@dataclass(frozen=True, slots=True)
class Residual:
    """A measured GEMM, dense or 2:4, and the seconds that `accelsim.platforms.kernel_time.pair_seconds` says."""

    measured: Measurement
    estimated_s: float

    @property
    def relative_error(self) -> float:
        """Estimate over measurement, less one."""
        return self.estimated_s / self.measured.median_s - 1


def residuals(measurements: Sequence[Measurement], platform: Platform, behaviour: Behaviour) -> list[Residual]:
    """Return the residual of every GEMM among `measurements`."""
    found = []
    for precision in dict.fromkeys(item.precision for item in measurements if item.what == "gemm"):
        group = [item for item in measurements if item.precision == precision and item.what in {"gemm", "sparse_gemm"}]
        m, n, k = np.array([item.shape for item in group], dtype=np.float64).T
        dense, sparse = pair_seconds(m, n, k, platform, behaviour, precision)
        estimates = np.where([item.what == "gemm" for item in group], dense, sparse)
        found += [Residual(item, float(seconds)) for item, seconds in zip(group, estimates, strict=True)]
    return found


def residuals_text(found: Sequence[Residual]) -> str:
    """Return residuals as the text of a CSV file."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("what", "precision", "m", "n", "k", "measured_us", "estimated_us", "relative_error"))
    for item in found:
        times = (f"{seconds / MICRO:.5g}" for seconds in (item.measured.median_s, item.estimated_s))
        shape = (item.measured.what, item.measured.precision, *item.measured.shape)
        writer.writerow((*shape, *times, f"{item.relative_error:.4f}"))
    return out.getvalue()
