"""One look for all figures: sizes, colours that survive colour blindness, hatches that survive grey printing."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from accelsim.files import write_atomically, write_bytes_atomically

__all__ = ["COLOURS", "HATCHES", "WIDTHS_IN", "new_figure", "save_figure", "save_with_data"]

WIDTHS_IN = {"single": 3.5, "double": 7.16}
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#F0E442", "#999999")  # Okabe and Ito
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo", "--")

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
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "accelsim",
    "figure.dpi": 100,
    "savefig.dpi": 200,
}


@contextmanager
def new_figure(width: str = "double", height_in: float = 2.4) -> Iterator[Figure]:
    """Give an empty figure of a column width (`WIDTHS_IN`); what is drawn inside the block has the common style."""
    with mpl.rc_context(_RC):
        yield Figure(figsize=(WIDTHS_IN[width], height_in), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as ``.png``, ``.svg`` (text stays text) or ``.pdf`` (fonts embedded), as the suffix says.

    Byte-identical from run to run; a reader never sees half of it. Raises `InputError` when it cannot be written.
    """
    stamp = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}
    payload = BytesIO()
    with mpl.rc_context(_RC):
        figure.savefig(payload, format=path.suffix.removeprefix("."), metadata=stamp[path.suffix])
    write_bytes_atomically(path, payload.getvalue())


def save_with_data(frame: pd.DataFrame, figure: Figure, path: Path) -> Path:
    """Write a figure and, under the same name, what it shows as ``.csv``, and return where that is."""
    data = path.with_suffix(".csv")
    write_atomically(data, frame.to_csv(index=False, float_format="%.12g", lineterminator="\n"))
    save_figure(figure, path)
    return data
