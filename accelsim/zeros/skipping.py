"""What of a product a machine executes: the share of the dense multiplications, or of the time they take.

Timing scales the slots of the dense product by the skipped share and the wait of the fullest lane. It leaves out what a
real machine of its kind adds: decoding of indices, conflicts of banks, the overhead of small tiles, and reuse that is
lost where operands are gathered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from accelsim.hardware.skips import BlockSkips, NmSkips, Skips, UnstructuredSkips
from accelsim.sparsity.imbalance import cover_share, imbalance
from accelsim.sparsity.pattern import Pattern
from accelsim.zeros.masks import Mask, MaskedProduct

__all__ = ["IDEAL", "ONE_SIDED_32", "Executed", "executed_share"]

IDEAL = Skips(unstructured=UnstructuredSkips(operands=2, output=True, imbalance="none"))
"""The machine of the papers' counters: it executes what is needed and nothing else."""

ONE_SIDED_32 = Skips(unstructured=UnstructuredSkips(operands=1, lanes=32))
"""A hypothetical machine of the EIE and SIGMA class: single zeros of one operand, 32 lanes that wait for each other."""


@dataclass(frozen=True, slots=True)
class Executed:
    """Share of the dense product that is executed, and what makes it so, in words."""

    share: float
    why: str


@lru_cache(maxsize=65536)
def executed_share(product: MaskedProduct, skips: Skips, reduction: int) -> Executed:
    """Return what a machine executes of a product.

    Args:
        product: its masks.
        skips: what the machine can.
        reduction: k of the product.

    Of several means it takes the one that leaves least; zeros of whole channels shorten the product on any machine.
    """
    channels = product.kept("channel")
    ways = list(_ways(product, skips, reduction))
    best = min(ways, key=lambda way: way.share, default=None)
    if best is None or best.share >= 1:
        return Executed(channels, "dense" if channels == 1 else "whole channels")
    return Executed(best.share * channels, best.why)


def _ways(product: MaskedProduct, skips: Skips, reduction: int) -> Iterator[Executed]:
    yield from _by_modes(product, skips.nm, reduction)
    if skips.block.size is not None:
        yield from _by_blocks(product, skips.block, skips.block.size)
    if skips.unstructured.operands or skips.unstructured.output:
        yield _one_by_one(product, skips.unstructured, reduction)


def _by_modes(product: MaskedProduct, nm: NmSkips, reduction: int) -> Iterator[Executed]:
    modes = tuple(map(Pattern.parse, nm.modes))
    for tensor, mask in product.operands:
        if tensor not in nm.operands or mask.form == "channel":
            continue
        if mask.pattern is not None and mask.along == product.reduces:
            fitting = [mode for mode in modes if _holds(mode, mask.pattern)]
            if fitting:
                mode = min(fitting, key=lambda mode: mode.density)
                yield Executed(mode.kept_in(reduction) / reduction, f"{mode}")
        elif mask.form == "unstructured" and nm.cover is not None and nm.cover_values is not None:
            yield _covered(mask.density, nm.cover, nm.cover_values, modes, reduction)


def _holds(mode: Pattern, pattern: Pattern) -> bool:
    """Whether every operand of a pattern is also one of a mode: of the same groups, or of parts or several of them."""
    if mode.group == pattern.group:
        return mode.kept >= pattern.kept
    if mode.group % pattern.group == 0:
        return mode.kept >= pattern.kept * (mode.group // pattern.group)
    return pattern.group % mode.group == 0 and mode.kept >= min(pattern.kept, mode.group)


def _covered(density: float, over: str, values: int, modes: tuple[Pattern, ...], reduction: int) -> Executed:
    best = 1.0
    for group in {mode.group for mode in modes}:
        row = min(values, reduction) if over == "row" else reduction
        groups = -(-row // group) * (values if over == "pass" else 1)
        best = min(best, cover_share(density, groups, tuple(mode for mode in modes if mode.group == group)))
    return Executed(best, f"unstructured {density:.3g}, covered by modes over a {over}")


def _by_blocks(product: MaskedProduct, block: BlockSkips, size: int) -> Iterator[Executed]:
    masks = [mask for _, mask in product.operands]
    if block.output and product.output is not None:
        masks.append(product.output)
    for mask in masks:
        kept = _blocks_kept(mask, size)
        if kept is not None:
            yield Executed(kept / block.tie, f"blocks of {size} x {size}")


def _blocks_kept(mask: Mask, size: int) -> float | None:
    """Share of blocks that hold anything; None where zeros of whole channels shorten the product anyway."""
    if mask.form == "channel":
        return None
    if mask.form == "block" and mask.block is not None and all(side % size == 0 for side in mask.block):
        return mask.density
    return 1 - (1 - mask.density) ** (size * size)


def _one_by_one(product: MaskedProduct, skips: UnstructuredSkips, reduction: int) -> Executed:
    masks = {mask.key: mask for _, mask in product.operands if mask.form != "channel"}
    chosen = sorted(masks.values(), key=lambda mask: mask.density)[: skips.operands]
    kept, at_random = 1.0, 1.0
    for mask in chosen:
        kept *= mask.density
        if mask.form != "nm":
            at_random *= mask.density
    wait = 1.0
    if skips.imbalance == "binomial" and at_random < 1:
        wait = imbalance(min(skips.barrier or reduction, reduction), at_random, skips.lanes)
    share = min(1.0, kept * wait)
    if skips.output and product.output is not None and product.output.form != "channel":
        share *= 1.0 if product.output.key in masks else product.output.density
    which = " and ".join(f"{mask.density:.3g}" for mask in chosen) or "output"
    return Executed(skips.fixed + (1 - skips.fixed) * share, f"kept {which}, fullest lane {wait:.2f}x")
