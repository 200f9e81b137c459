"""One look for all figures: sizes, colours that survive colour blindness, hatches that survive grey printing."""

import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NotRequired, TypedDict

import matplotlib as mpl
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from accelsim.base.cells import safe_cell
from accelsim.base.files import replacing, write_bytes_atomically
from accelsim.lowering.tasks import Stage

__all__ = [
    "COLOURS",
    "HATCHES",
    "MARKERS",
    "WIDTHS_IN",
    "BarStyle",
    "MarkerStyle",
    "bar_style",
    "explain",
    "fitted",
    "legend_above",
    "marker_style",
    "new_figure",
    "put_legend",
    "save_figure",
    "save_with_data",
    "spread",
    "stage_marker",
    "stage_style",
    "width_of",
]

WIDTHS_IN = {"single": 3.5, "double": 7.16}
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#F0E442", "#999999")  # Okabe and Ito
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo", "--")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")

_STAGES = tuple(stage.value for stage in Stage)
_PDF_TRUETYPE = 42  # fonts are embedded whole, so that their text can be searched and edited
_WIDEST_BAR_IN = 0.45
_CHARACTER_EM = 0.62  # mean width of a character of the font
_STAMPS = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.linewidth": 0.4,
    "grid.color": "#cccccc",
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
    "pdf.fonttype": _PDF_TRUETYPE,
    "svg.fonttype": "none",
    "svg.hashsalt": "accelsim",
    "text.parse_math": False,  # a name with a $ is a name
    "figure.dpi": 100,
    "savefig.dpi": 200,
}


class BarStyle(TypedDict):
    """What matplotlib calls the look of a bar; the width of its edge in points."""

    color: str
    hatch: str
    edgecolor: str
    linewidth: float


class MarkerStyle(TypedDict):
    """What matplotlib calls the look of a line's markers; sizes in points."""

    color: str
    marker: str
    markersize: float
    markeredgecolor: str
    markeredgewidth: float
    markerfacecolor: NotRequired[str]


@contextmanager
def new_figure(width: str = "double", height_in: float = 2.4) -> Iterator[Figure]:
    """Give an empty figure of a column width (`WIDTHS_IN`); what is drawn inside the block has the common style."""
    with _look():
        yield Figure(figsize=(WIDTHS_IN[width], height_in), layout="constrained")


@contextmanager
def _look() -> Iterator[None]:
    """The common style; characters that the font lacks are boxes, and nothing is said of them."""
    with mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def stage_style(stage: str) -> BarStyle:
    """Colour, hatch and edge of a stage, the same in every figure."""
    return bar_style(_STAGES.index(stage)) if stage in _STAGES else bar_style(len(_STAGES))


def stage_marker(stage: str) -> tuple[str, str]:
    """Colour and marker of a stage, the same in every figure."""
    at = _STAGES.index(stage) if stage in _STAGES else len(_STAGES)
    return COLOURS[at], MARKERS[at]


def fitted(title: str, width_in: float, size_pt: float = 8) -> str:
    """Break a title into lines that fit, after its commas where they let it.

    >>> fitted("resnet18 on sat_vcu1525, batch 64", 2.0)
    'resnet18 on sat_vcu1525,\\nbatch 64'
    """
    lines: list[str] = []
    for part in (piece for line in title.split("\n") for piece in (*re.split(r"(?<=,) ", line), None)):
        if part is None:
            lines.append("")
        elif lines and lines[-1] and width_of(f"{lines[-1]} {part}", size_pt) <= width_in:
            lines[-1] += f" {part}"
        elif lines and not lines[-1]:
            lines[-1] = part
        else:
            lines.append(part)
    most = max(8, int(width_in / width_of("m", size_pt)))
    return "\n".join(textwrap.fill(line, most) for line in lines if line)


def bar_style(index: int) -> BarStyle:
    """Colour, hatch and edge of series `index`; more series than colours differ in their hatch."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "hatch": HATCHES[(index + index // len(COLOURS)) % len(HATCHES)],
        "edgecolor": "black",
        "linewidth": 0.4,
    }


def marker_style(index: int, size: float = 4) -> MarkerStyle:
    """Colour and marker of series `index`; more series than colours differ in their marker."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],
        "markersize": size,
        "markeredgecolor": "black",
        "markeredgewidth": 0.4,
    }


def width_of(text: str, size_pt: float) -> float:
    """Return about how wide a text is, in inches."""
    return max(map(len, text.split("\n"))) * _CHARACTER_EM * size_pt / 72


def spread(ax: Axes, groups: int, bars: int) -> None:
    """Show so many groups of so many bars, one apart, and leave room to the right where bars would be very wide."""
    room = ax.figure.get_figwidth() - 0.7  # type: ignore[union-attr]
    ax.set_xlim(-0.5, max(groups, room / (_WIDEST_BAR_IN * bars + 0.15)) - 0.5)


def explain(figure: Figure, panels: Sequence[Axes], title: str = "") -> None:
    """Put one legend for all `panels` above them, in as many columns as fit, under the `title`."""
    found: dict[str, Artist] = {}
    for ax in panels:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    put_legend(figure, found, title)


def put_legend(figure: Figure, handles: Mapping[str, Artist], title: str = "") -> None:
    """Put a legend of handles by label above all panels, in as many columns as fit, under the `title`."""
    if not handles:
        if title:
            figure.suptitle(title, fontsize=8, x=0.01, ha="left")
        return
    columns = _columns(list(handles), figure.get_figwidth() - 0.1, 0.42)
    legend = figure.legend(
        list(handles.values()), list(handles), loc="outside upper left", ncols=columns, handlelength=1.8,
        columnspacing=1.2, borderpad=0, title=title or None, title_fontsize=8, alignment="left",
    )  # fmt: skip
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):  # points whose size means something
            handle.set_sizes([18.0])


def _columns(labels: Sequence[str], room_in: float, handle_in: float) -> int:
    """Columns that fit, no more than fill their rows evenly."""
    fit = max(1, min(len(labels), int(room_in / (max(width_of(label, 7) for label in labels) + handle_in))))
    return -(-len(labels) // -(-len(labels) // fit))


def legend_above(ax: Axes) -> None:
    """Put a legend above one panel, in as many columns as fit the figure."""
    handles, labels = ax.get_legend_handles_labels()
    columns = _columns(labels, ax.figure.get_figwidth() - 0.6, 0.36)  # type: ignore[union-attr]
    ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, handlelength=1.4,
              columnspacing=1.0, borderpad=0.2)  # fmt: skip


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as ``.png``, ``.svg`` (text stays text) or ``.pdf`` (fonts embedded), as the suffix says.

    Byte-identical from run to run; a reader never sees half of it. Raises `InputError` when it cannot be written.
    """
    write_bytes_atomically(path, _drawn(figure, path))


def _drawn(figure: Figure, path: Path) -> bytes:
    payload = BytesIO()
    with _look():
        figure.savefig(payload, format=path.suffix.removeprefix("."), metadata=_STAMPS[path.suffix])
    return payload.getvalue()


def save_with_data(frame: pd.DataFrame, figure: Figure, path: Path) -> Path:
    """Write a figure and, under the same name, what it shows as ``.csv``, and return where that is: both or none."""
    data = path.with_suffix(".csv")
    text = safe_cells(frame).to_csv(index=False, float_format="%.12g", lineterminator="\n")
    drawn = _drawn(figure, path)
    with replacing(data) as new_data, replacing(path) as new_figure:
        new_data.write_text(text, encoding="utf-8", newline="\n")
        new_figure.write_bytes(drawn)
    return data


def safe_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose texts no spreadsheet executes; see `accelsim.base.cells`."""
    texts = frame.select_dtypes(exclude="number").columns
    return frame.assign(**{name: [safe_cell(cell) for cell in frame[name]] for name in texts})
