"""What one session of measurements on a device found, beside what is estimated for it."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from accelsim.base.units import GIGA, MICRO
from accelsim.calibration.measured_rows import Measurement

__all__ = ["session_text"]


def session_text(
    name: str,
    measurements: Sequence[Measurement],
    training: Sequence[Mapping[str, str]],
    estimates: Sequence[float | None],
    products: Sequence[Mapping[str, str]],
) -> str:
    """Return a page of Markdown: training steps, then dense and 2:4 products.

    `training` are rows of training throughputs with an estimate each; `products` rows of residuals, as
    `accelsim.calibration.residuals.residuals_text` writes them, or none where nothing could be estimated.
    """
    first = measurements[0]
    lines = [
        f"# {name}: {first.device}",
        "",
        f"Measured by `accelsim calibrate --session` with {first.software} on {first.date}.",
        "",
        *_training_lines(training, estimates),
        "",
        *_product_lines(measurements, products),
    ]
    return "\n".join(lines) + "\n"


def _training_lines(training: Sequence[Mapping[str, str]], estimates: Sequence[float | None]) -> Iterator[str]:
    yield "| step | measured | estimated | error |"
    yield "|---|---:|---:|---:|"
    for row, found in zip(training, estimates, strict=True):
        measured = float(row["throughput"])
        step = f"{row['model']}, batch {row['batch_per_device']}, {row['precision']}"
        cells = ("no trace", "-") if found is None else (f"{found:.5g} {row['unit']}", f"{found / measured - 1:+.1%}")
        yield f"| {step} | {measured:.5g} {row['unit']} | {cells[0]} | {cells[1]} |"


def _product_lines(measurements: Sequence[Measurement], products: Sequence[Mapping[str, str]]) -> Iterator[str]:
    dense = {(item.precision, item.shape): item.median_s for item in measurements if item.what == "gemm"}
    pairs = [item for item in measurements if item.what == "sparse_gemm" and (item.precision, item.shape) in dense]
    estimated = {
        (row["what"], row["precision"], row["m"], row["n"], row["k"]): float(row["estimated_us"]) for row in products
    }
    if not pairs:
        yield "No 2:4 product could be measured."
    else:
        yield "| m x n x k | GFLOP | dense | 2:4 | gain | gain estimated |"
        yield "|---|---:|---:|---:|---:|---:|"
    for item in sorted(pairs, key=lambda each: each.operations):
        before = dense[item.precision, item.shape]
        m, n, k = map(str, item.shape)
        times = [estimated.get((what, item.precision, m, n, k)) for what in ("gemm", "sparse_gemm")]
        gain = "-" if times[0] is None or not times[1] else f"{times[0] / times[1]:.2f}x"
        yield (
            f"| {' x '.join(map(str, item.shape))} {item.precision} | {item.operations / GIGA:.3g}"
            f" | {before / MICRO:.4g} us | {item.median_s / MICRO:.4g} us | {before / item.median_s:.2f}x | {gain} |"
        )
    errors = [abs(float(row["relative_error"])) for row in products]
    if errors:
        yield ""
        yield f"Estimates of {len(errors)} products, dense and 2:4, are {median(errors):.1%} off in the median."
