"""Timing conventions: how other simulators count the cycles of the same array.

`sat` is ours (`accelsim.engines.gemm_on_array`). The others differ from it in stated ways, so that their published
counts can be computed from their inputs by the same model of an array, tile by tile:

- whole array: a ragged tile takes the skew and preload of the whole array, not of the rows and columns it uses;
- drain: whether results leave an output-stationary tile one value per column and cycle;
- adders: sums can be added to again in the next cycle, so latency and interleaving do not exist;
- groups: whether a ragged last group of an N:M pattern is padded (N values) or clipped (at most as many as it has);
- offset: cycles added to each tile and to the GEMM.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from accelsim.sparsity.pattern import Pattern

__all__ = ["CONVENTIONS", "Convention", "convention_cycles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How a simulator counts; see the module."""

    name: str
    source: str
    dataflows: tuple[str, ...]
    whole_array: bool
    drain: bool = False
    clip_groups: bool = False
    tile_offset: int = 0
    lone_side_offset: int = 0
    gemm_offset: int = 0


CONVENTIONS: dict[str, Convention] = {
    item.name: item
    for item in (
        Convention(
            name="scalesim",
            source="SCALE-Sim v3.0.0: the last cycle's number is reported, hence one less than the count",
            dataflows=("os", "ws", "is"),
            whole_array=True,
            clip_groups=True,
            gemm_offset=-1,
        ),
        Convention(
            name="stonne",
            source="STONNE 22634b8, TPU_OS_DENSE: five cycles to set up, fill and empty a tile, four if a side is one",
            dataflows=("os",),
            whole_array=False,
            tile_offset=5,
            lone_side_offset=-1,
        ),
    )
}


def convention_cycles(
    convention: Convention,
    m: int,
    n: int,
    k: int,
    rows: int,
    cols: int,
    macs_per_pe: int,
    dataflow: str,
    pattern: Pattern | None = None,
) -> int:
    """Return the cycles of ``Y[m, n] = X[m, k] W[k, n]`` under a convention, tiles one after another.

    A pattern leaves its kept values as a shorter reduction, as if X came already selected. With (a, b, t) = (m, n, k)
    for os, (k, n, m) for ws and (k, m, n) for is, a over PE rows and b over PE columns, a tile of r x c takes
    (r - 1) + (c - 1) + t, and r more to preload what stays in ws and is.
    """
    reduction = -(-_kept(k, pattern, convention.clip_groups) // macs_per_pe)
    over_rows, over_cols, stream = {
        "os": (m, n, reduction),
        "ws": (reduction, n, m),
        "is": (reduction, m, n),
    }[dataflow]
    cycles = convention.gemm_offset
    for r, row_tiles in _tiles(over_rows, rows):
        for c, col_tiles in _tiles(over_cols, cols):
            used_r, used_c = (rows, cols) if convention.whole_array else (r, c)
            tile = (used_r - 1) + (used_c - 1) + stream + convention.tile_offset
            tile += used_r if dataflow != "os" or convention.drain else 0
            tile += convention.lone_side_offset if 1 in (r, c) else 0
            cycles += row_tiles * col_tiles * tile
    return cycles


def _kept(k: int, pattern: Pattern | None, clip: bool) -> int:
    if pattern is None:
        return k
    groups, rest = divmod(k, pattern.group)
    return groups * pattern.kept + (min(rest, pattern.kept) if clip else pattern.kept * (rest > 0))


def _tiles(size: int, step: int) -> Iterator[tuple[int, int]]:
    """Sizes of the tiles of a dimension with their number: full ones and a ragged last one."""
    if size >= step:
        yield step, size // step
    if size % step:
        yield size % step, 1
