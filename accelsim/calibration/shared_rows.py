"""Measured kernels as rows of the data that platform estimates are held against.

`accelsim validate sparse-gemm` compares them as they are; appended to ``accelsim/data/sparse_speedups.csv`` they join
the rows there, on the side of the split that their shape decides.
"""

import csv
import hashlib
from collections.abc import Sequence
from io import StringIO

from accelsim.base.units import MICRO
from accelsim.calibration.measured_rows import Measurement

__all__ = ["SPARSE_ROW", "sparse_rows_text"]

SPARSE_ROW = (
    "id", "platform", "dtype", "sparsity", "M", "N", "K", "dense_us", "sparse_us", "speedup", "dense_lib",
    "sparse_lib", "scope", "source", "confidence", "notes",
)  # fmt: skip
"""Columns of ``sparse_speedups.csv``."""


def sparse_rows_text(measurements: Sequence[Measurement], platform: str) -> str:
    """Return every 2:4 GEMM that was measured dense, too, as the text of a CSV file; `platform` names the device."""
    dense = {(item.precision, item.shape): item for item in measurements if item.what == "gemm"}
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(SPARSE_ROW)
    for item in measurements:
        pair = dense.get((item.precision, item.shape))
        if item.what == "sparse_gemm" and pair is not None:
            writer.writerow(_row(pair, item, platform))
    return out.getvalue()


def _row(dense: Measurement, sparse: Measurement, platform: str) -> list[str]:
    times = [f"{item.median_s / MICRO:.5g}" for item in (dense, sparse)]
    row = [
        platform, sparse.precision.upper(), "2:4", *map(str, sparse.shape), *times,
        f"{dense.median_s / sparse.median_s:.4g}", dense.software, sparse.software,
        "GEMM kernel only (weight pre-compressed)",
        f"measured by accelsim calibrate on {sparse.device}, {sparse.software}, {sparse.date}", "measured",
        f"medians of {dense.repeats} and {sparse.repeats} samples; sparse operand = weight NxK",
    ]  # fmt: skip
    return [f"sp-{hashlib.sha256('|'.join(row).encode()).hexdigest()[:8]}", *row]
