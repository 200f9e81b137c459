"""Words on figures: axes with units, names that fit, labels beside points that do not overlap."""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise, product
from typing import SupportsFloat

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from accelsim.plots.style import width_of
from accelsim.results.step import MORE_IS_BETTER

__all__ = [
    "BEHIND_TEXT",
    "LARGER_IS_BETTER",
    "PARAMETERS",
    "above_lines",
    "broken",
    "factor_of",
    "in_words",
    "label_axis",
    "log_axis",
    "number",
    "place_labels",
    "ratio_axis",
    "said",
    "short_names",
    "value_axis",
    "words_of",
]

LARGER_IS_BETTER = (*MORE_IS_BETTER, "throughput_gops")
"""Columns of which more is wanted; of all others, less."""

BEHIND_TEXT = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.4}

_KNOWN = {
    "latency_s": ("step latency", "s"),
    "energy_j": ("step energy", "J"),
    "power_w": ("power", "W"),
    "samples_per_s": ("throughput", "samples/s"),
    "throughput_gops": ("throughput", "GOPS"),
    "effective_gops": ("throughput, dense equivalent", "GOPS"),
    "gops_per_w": ("energy efficiency", "GOPS/W"),
    "dram_bytes": ("DRAM traffic", "B"),
    "cycles": ("step latency", "cycles"),
    "speedup": ("speedup over dense", "x"),
    "array_utilisation": ("utilisation of the array", "share"),
    "batch": ("batch", "samples"),
    "dsp": ("DSP slices", ""),
    "lut": ("LUTs", ""),
    "bram36": ("BRAM36", ""),
    "uram288": ("URAM288", ""),
}
PARAMETERS = {
    "clock_hz": ("clock", "Hz"),
    "array.rows": ("PE rows", ""),
    "array.cols": ("PE columns", ""),
    "array.macs_per_pe": ("MACs per PE", ""),
    "array.adder_latency_cycles": ("adder latency", "cycles"),
    "array.accumulators_per_pe": ("accumulators per PE", ""),
    "array.overlap_tiles": ("overlap of tiles", ""),
    "array.dataflows": ("dataflows", ""),
    "array.stationary_variants": ("variants of WS and IS", ""),
    "array.patterns": ("N:M modes", ""),
    "array.metadata_bits_per_value": ("index of a kept value", "bits"),
    "array.row_port_elements_per_cycle": ("port of a PE row", "elements/cycle"),
    "array.col_port_elements_per_cycle": ("port of a PE column", "elements/cycle"),
    "buffers.x_bytes": ("X buffer", "bytes"),
    "buffers.w_bytes": ("W buffer", "bytes"),
    "buffers.y_bytes": ("Y buffer", "bytes"),
    "buffers.resident_bytes": ("store for whole tensors", "bytes"),
    "dram.channels": ("DRAM channels", ""),
    "dram.bandwidth_gb_per_s": ("DRAM bandwidth", "GB/s"),
    "dram.efficiency": ("DRAM efficiency", ""),
    "dram.capacity_gb": ("DRAM capacity", "GB"),
    "dram.dma_channels": ("DMA channels", ""),
    "precision.operand_bits": ("operands", "bits"),
    "precision.accumulator_bits": ("accumulators", "bits"),
    "precision.master_bits": ("master weights", "bits"),
    "sore.lanes": ("SORE lanes", ""),
    "wuve.lanes": ("WUVE lanes", ""),
    "vector.lanes": ("vector lanes", ""),
    "vector.fuse_activations": ("fused activations", ""),
    "resources.dsp": ("DSP slices of the device", ""),
    "resources.lut": ("LUTs of the device", ""),
    "resources.bram36": ("BRAM36 of the device", ""),
    "resources.uram288": ("URAM288 of the device", ""),
    "resources.shell_dsp": ("DSP slices of the shell", ""),
    "resources.shell_lut": ("LUTs of the shell", ""),
    "resources.shell_bram36": ("BRAM36 of the shell", ""),
    "resources.shell_uram288": ("URAM288 of the shell", ""),
    "resources.given_controllers": ("memory controllers given", ""),
    "schedule.dataflow": ("dataflow", ""),
    "schedule.interleave": ("interleaving", ""),
    "schedule.pregenerate": ("pre-generation", ""),
    "schedule.overlap": ("overlap of units", ""),
    "schedule.scheduler": ("scheduler", ""),
    "energy": ("energy table", ""),
}
"""Values of a design in words, with their unit: all that ``accelsim list parameters`` has."""

_KNOWN |= PARAMETERS
_UNITS = {"gb_per_s": "GB/s", "per_w": "1/W", "per_s": "1/s", "bytes": "B", "cycles": "cycles", "hz": "Hz",
          "mm2": "mm2", "bits": "bits", "s": "s", "j": "J", "w": "W", "gops": "GOPS", "pct": "%"}  # fmt: skip
_PLAIN = {"batch", "array_utilisation"}  # values that say what they are without a unit
_SCALED = {"s", "J", "W", "B", "Hz"}
_BINARY = ((2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki"), (1, ""))
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))
_MOST_TICKS = 10
_LOG_SPAN = 8.0
_LABEL_SHARE = 0.09  # of an axis: how high the label of a bar stands above it


def words_of(column: str) -> tuple[str, str]:
    """What a column holds, in words, and its unit; empty where it has none.

    >>> words_of("latency_s"), words_of("dram.bandwidth_gb_per_s"), words_of("array.rows")
    (('step latency', 's'), ('DRAM bandwidth', 'GB/s'), ('PE rows', ''))
    """
    if column in _KNOWN:
        return _KNOWN[column]
    if not re.fullmatch(r"[\w.]+", column):  # an expression
        return column, ""
    for suffix, unit in _UNITS.items():
        if column.endswith(f"_{suffix}"):
            return column.removesuffix(f"_{suffix}"), unit
    return column, ""


def number(value: float) -> str:
    """Return a number with three digits and no exponent between a thousandth and a million.

    >>> number(1.934), number(50), number(0.5), number(1234.5), number(0)
    ('1.93', '50.0', '0.50', '1,234', '0')
    """
    if value == 0 or not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    digits = max(0, 2 - max(0, math.floor(math.log10(abs(value)))))
    return f"{value:,.{digits}f}" if abs(value) >= 0.1 else f"{value:.2g}"


def label_axis(axis: Axis, column: str, values: Sequence[float]) -> None:
    """Write what `column` holds on an axis with its unit, large and small ones with a prefix instead of powers of ten.

    The values that are drawn stay as they are; the numbers at the ticks are divided.
    """
    factor, label = factor_of(column, values)
    axis.set_label_text(label)
    axis.set_major_formatter(_divided(factor))


def log_axis(axis: Axis, column: str | None, values: Sequence[float]) -> None:
    """Make an axis logarithmic with plain numbers at its ticks, labelled as by `label_axis` where a column is given."""
    _set_log(axis)
    if column is None:
        axis.set_major_formatter(_divided(1.0))
    else:
        label_axis(axis, column, values)
    span = math.log10(max(values) / min(values))
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if span < 2 else (1.0,), numticks=12))
    axis.set_minor_formatter(NullFormatter())


def _set_log(axis: Axis) -> None:
    axes = axis.axes
    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")


def factor_of(column: str, values: Sequence[float]) -> tuple[float, str]:
    """Return what to divide the values of a column by, and the label of an axis that shows them so."""
    words, unit = words_of(column)
    top = max(map(abs, values), default=0.0)
    factor, prefix = 1.0, ""
    if unit == "bytes" and column in PARAMETERS:
        factor, prefix = next(pair for pair in _BINARY if top >= pair[0] or pair[0] == 1)
        return float(factor), f"{words} ({prefix}B)"
    if unit in _SCALED and top > 0:
        factor, prefix = next((pair for pair in _PREFIXES if top >= pair[0]), _PREFIXES[-1])
    return factor, f"{words} ({prefix}{unit})" if unit else words


def in_words(column: str, value: object) -> str:
    """Return a value of a column with its unit: ``300 MHz``, ``2 MiB``, ``19.2 GB/s``, ``32``.

    >>> in_words("clock_hz", 3e8), in_words("buffers.x_bytes", 2**21), in_words("array.rows", 32)
    ('300 MHz', '2 MiB', '32')
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN is what a table holds of nothing
        return "none"
    if isinstance(value, bool | str) or not isinstance(value, SupportsFloat):
        return str(value).lower() if isinstance(value, bool) else str(value)
    number_of, unit = float(value), words_of(column)[1]
    if column in _PLAIN or column not in _KNOWN:
        return f"{number_of:,.12g}"
    if unit not in _SCALED and unit != "bytes":
        exact = column in PARAMETERS
        shown = f"{number_of:,.12g}" if exact else f"{float(f'{number_of:.4g}'):,.12g}"
        return f"{shown}x" if unit == "x" else f"{shown} {unit}".rstrip()
    factor, label = factor_of(column, [number_of])
    return f"{number_of / factor:,.4g} {label.rpartition('(')[2].rstrip(')')}"


def said(column: str, value: object) -> str:
    """Return a value of a column with what it is: ``PE rows 32``, ``clock 300 MHz``, ``bdwp``, ``pattern 2:8``.

    >>> said("array.rows", 32), said("clock_hz", 3e8), said("method", "bdwp")
    ('PE rows 32', 'clock 300 MHz', 'bdwp')
    """
    if column in {"method", "workload", "design"}:
        return str(value)
    return f"{words_of(column)[0]} {in_words(column, value)}"


def _divided(factor: float) -> FuncFormatter:
    return FuncFormatter(lambda value, _: _tick(value / factor))


def _tick(value: float) -> str:
    factor, prefix = next((pair for pair in _PREFIXES[:3] if abs(value) >= pair[0]), (1.0, ""))
    return f"{value / factor:,.6g}{prefix}"


def value_axis(axis: Axis, column: str, values: Iterable[float]) -> None:
    """Ticks at the values of a varied number, logarithmic where they grow by factors."""
    ticks = sorted(set(values))
    steps = [after / before for before, after in pairwise(ticks)] if ticks[0] > 0 else []
    if ticks[0] > 0 and ticks[-1] / ticks[0] >= _LOG_SPAN and min(steps) >= 1.4:
        _set_log(axis)
    shown = ticks[:: -(-len(ticks) // _MOST_TICKS)]
    axis.set_major_locator(FixedLocator(shown))
    axis.set_minor_locator(NullLocator())
    factor, label = factor_of(column, ticks)
    axis.set_major_formatter(_divided(factor))
    axis.set_label_text(label)


def ratio_axis(axis: Axis, low: float, high: float) -> bool:
    """Make an axis of ratios logarithmic where they span more than a factor of eight; say whether it is."""
    if low <= 0 or max(high, 1) / min(low, 1) <= _LOG_SPAN:
        return False
    log_axis(axis, None, (min(low, 1), max(high, 1)))
    return True


def above_lines(value: float, lines: Iterable[float], span: float) -> float:
    """Return where the label of a bar starts so that it stands on no line: at its top, or on a line just above it.

    `span` is what the axis shows.

    >>> above_lines(1.73, (1.0, 1.75), 2.0), above_lines(1.2, (1.0, 1.75), 2.0)
    (1.75, 1.2)
    """
    for line in sorted(lines):
        if value <= line < value + _LABEL_SHARE * span:
            value = line
    return value


def broken(name: str, room_in: float, size_pt: float) -> str:
    """Break a name into two lines where it is too wide, after an underscore, hyphen, dot or blank near the middle.

    >>> broken("resnet18_tinyimagenet", 0.8, 7), broken("vit", 0.8, 7)
    ('resnet18_\\ntinyimagenet', 'vit')
    """
    breaks = [match.end() for match in re.finditer(r"[_\-. ]", name)][: None if name[-1:] not in "_-. " else -1]
    if width_of(name, size_pt) <= room_in or not breaks:
        return name
    at = min(breaks, key=lambda place: max(place, len(name) - place))
    return f"{name[:at]}\n{name[at:]}"


def short_names(names: Sequence[str], longest: int = 24) -> list[str]:
    """Return names without the word in front that all share, the middle left out of long ones, still all different.

    >>> short_names(["transformer.h.0.attn", "transformer.h.1.mlp"]), short_names(["layer1.0.a", "layer1.0.b"])
    (['h.0.attn', 'h.1.mlp'], ['layer1.0.a', 'layer1.0.b'])
    """
    parts = [name.split(".") for name in names]
    while len(parts) > 1 and len({part[0] for part in parts}) == 1 and parts[0][0].isalpha():
        if min(map(len, parts)) <= 2 or parts[0][1].isdigit():
            break
        parts = [part[1:] for part in parts]
    found = [".".join(part) for part in parts]
    head = longest // 3
    shortened = [name if len(name) <= longest else f"{name[:head]}…{name[head + 1 - longest :]}" for name in found]
    return shortened if len(set(shortened)) == len(set(found)) else found


_OFFSETS = ((5, 0), (-5, 0), (0, 5), (0, -5), (4, 4), (-4, 4), (4, -4), (-4, -4))
_REACHES = (1, 2.5, 4, 6, 9)
_BESIDE_PT = 8  # a text farther away has a line to its point
_POINT_PX = 3
_APART_PX = 1.5  # of texts from each other and from points


def place_labels(
    ax: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    size_pt: float = 6,
    others: Sequence[tuple[float, float]] = (),
) -> list[str]:
    """Write a text beside each point, where it covers no other text, point or one of the `others`.

    A line leads to texts that stand farther away. The figure must have been laid out. Returns the texts that fit
    nowhere and are left out.
    """
    inside = ax.get_window_extent()
    centres = [ax.transData.transform(point) for point in (*points, *others)]
    taken = [Bbox.from_extents(x - _POINT_PX, y - _POINT_PX, x + _POINT_PX, y + _POINT_PX) for x, y in centres]
    taken += [text.get_window_extent() for text in ax.texts]
    left_out = []
    for point, text in zip(points, texts, strict=True):
        for reach, offset in product(_REACHES, _OFFSETS):
            note = _note(ax, point, text, size_pt, (offset[0] * reach, offset[1] * reach))
            note.get_window_extent()  # moves the text to its place
            box = Text.get_window_extent(note)  # without the line to the point
            if _within(box, inside) and not any(box.padded(_APART_PX).overlaps(other) for other in taken):
                taken.append(box)
                break
            note.remove()
        else:
            left_out.append(text)
    return left_out


def _within(box: Bbox, around: Bbox) -> bool:
    return bool(around.x0 <= box.x0 and box.x1 <= around.x1 and around.y0 <= box.y0 and box.y1 <= around.y1)


def _note(ax: Axes, point: tuple[float, float], text: str, size_pt: float, offset: tuple[float, float]) -> Annotation:
    right, up = offset
    line = {"arrowstyle": "-", "linewidth": 0.4, "color": "#555555", "shrinkA": 0, "shrinkB": 2}
    note = ax.annotate(
        text, point, offset, textcoords="offset points", fontsize=size_pt,
        ha="left" if right > 0 else "right" if right < 0 else "center",
        va="bottom" if up > 0 else "top" if up < 0 else "center",
        arrowprops=line if max(abs(right), abs(up)) > _BESIDE_PT else None,
    )  # fmt: skip
    note.set_in_layout(False)  # else the axes would move after the places were found
    return note
