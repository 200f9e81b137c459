"""From operations of a framework to entries of a trace: the rules that hold whichever way an operation comes in.

The tracer, the ONNX reader and the readers of recordings each know in their own way what an operand holds and what
grows with the batch. What follows for an entry is said here, once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Protocol

from accelsim.base.errors import InputError
from accelsim.base.files import Plain
from accelsim.workload.torch_words import READ_WHAT_THEY_WRITE

__all__ = [
    "FACTOR_SIZES",
    "Entry",
    "Fixed",
    "Role",
    "Sizes",
    "Source",
    "TwoBatches",
    "Work",
    "convolution",
    "fields_of",
    "full",
    "of_windows",
    "several_images",
    "what_is_read",
    "with_weight",
]

Entry = dict[str, Plain]
"""An operation of a trace as plain data, or some of its fields."""

Fixed = tuple[tuple[str, int | tuple[int, ...]], ...]
"""Sizes of an operation by name that do not depend on the batch."""


class Role(Enum):
    """What a tensor holds while a step runs."""

    CONSTANT = "the same in every step"
    PARAMETER = "parameters, perhaps reshaped, cast or masked"
    DERIVED = "computed from parameters alone, and no longer one of them"
    ACTIVATION = "computed from the inputs"
    GRADIENT = "computed in the backward pass"
    NOISE = "a dropout mask"
    CHOICE = "which weights are kept"
    SIZED = "a constant with an entry for each sample, such as an initial state"


@dataclass(frozen=True, slots=True)
class Source:
    """The named parameters that a tensor consists of, `rows` of them where it is cut along its first dimension.

    `derived` says that it is computed from them rather than made up of them, `repeated` that the tensor holds a copy
    for each sample, as learned queries do; `alias` is a second name that a file gives to the same content.
    """

    label: str
    elements: int
    rows: int = 1
    parameters: tuple[str, ...] = ()
    derived: bool = False
    repeated: bool = False
    alias: str | None = None


FACTOR_SIZES = ("batch", "m", "n", "k")
"""Sizes of a product of two activations: `batch` times (m, k) by (k, n)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One operation: sizes that must not depend on the batch, and counts that may.

    `counts`: rows of a product with a weight, images of a convolution, `FACTOR_SIZES`, or elements that are read and
    written; `shared` is the part of each that all samples share.
    """

    kind: str
    counts: tuple[int, ...]
    fixed: Fixed = ()
    shared: tuple[int, ...] = ()

    @property
    def groups(self) -> int:
        """Groups of a convolution, 1 of anything else."""
        return next((size for name, size in self.fixed if name == "groups" and isinstance(size, int)), 1)


class Sizes(Protocol):
    """Counts of one operation per sample."""

    @property
    def work(self) -> Work:
        """The operation."""

    def rows(self) -> tuple[int, bool]:
        """Images of a convolution per sample, and whether they grow with the batch."""

    def vectors(self) -> tuple[int, int, bool]:
        """Vectors of a product with a weight, over how many samples they are counted, and whether they grow."""

    def factors(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The `FACTOR_SIZES` of a product of two activations per sample, and which of them grow with the batch."""

    def elements(self) -> tuple[int, int, bool]:
        """Elements that vector work reads and writes per sample, and whether they grow with the batch."""

    def error(self, what: str) -> InputError:
        """Return an error that names the operation."""


@dataclass(frozen=True, slots=True)
class TwoBatches:
    """`Sizes` of an operation at `batch` samples and, as `larger`, at one more: what grows is seen, not assumed."""

    work: Work
    larger: Work
    batch: int
    error: Callable[[str], InputError]

    def _per_sample(self, small: int, large: int) -> tuple[int, bool]:
        if small == large:
            return small, False
        if small * (self.batch + 1) != large * self.batch:
            raise self.error(
                f"grows from {small} to {large} between batch {self.batch} and {self.batch + 1}, neither in proportion"
                " to the batch nor constant; a trace cannot express it"
            )
        return small // self.batch, True

    def rows(self) -> tuple[int, bool]:
        """See `Sizes`."""
        return self._per_sample(self.work.counts[0], self.larger.counts[0])

    def vectors(self) -> tuple[int, int, bool]:
        """See `Sizes`."""
        rows, grows = self.rows()
        return rows, 1, grows

    def factors(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """See `Sizes`; a single size that grows counts as copies of the product."""
        counts = [self._per_sample(*two) for two in zip(self.work.counts, self.larger.counts, strict=True)]
        growing = tuple(name for name, (_, grows) in zip(FACTOR_SIZES, counts, strict=True) if grows)
        copies = ("batch",) if growing and growing != ("k",) and len(growing) == 1 else growing
        return tuple(count for count, _ in counts), copies

    def elements(self) -> tuple[int, int, bool]:
        """See `Sizes`; operands and results that all samples share are left out where the rest grows."""
        small, large = self.work.counts, self.larger.counts
        if small == large:
            return small[0], small[1], False
        for less, more in zip(small, large, strict=True):
            if not 0 <= (more - less) * self.batch <= less:
                self._per_sample(less, more)
        return large[0] - small[0], large[1] - small[1], True


def fields_of(sizes: Sizes) -> Entry:
    """Return kind and sizes of an operation as its entry has them. Raises `InputError` where there is no such entry."""
    work = sizes.work
    if work.kind == "linear":
        rows, samples, grows = sizes.vectors()
        over: Entry = {"samples": samples} if samples > 1 else {}
        return {"kind": work.kind, **dict(work.fixed), "rows": rows, **over, "scales_with_batch": grows}
    if work.kind.startswith("conv"):
        images, grows = sizes.rows()
        kind, fixed = several_images(work.kind, work.fixed, images, sizes.error)
        return {"kind": kind, **dict(fixed), "scales_with_batch": grows}
    if work.kind == "matmul":
        factors, growing = sizes.factors()
        other: Entry = {} if growing in {(), ("batch",)} else {"grows": list(growing)}
        return {"kind": work.kind, **dict(zip(FACTOR_SIZES, factors, strict=True)), **other,
                "scales_with_batch": bool(growing)}  # fmt: skip
    reads, writes, grows = sizes.elements()
    return {"kind": work.kind, "reads": reads, "writes": writes, "scales_with_batch": grows}


def with_weight(elements: int, batch: int, features: int, vectors: int, k: int) -> tuple[str, Fixed, int] | None:
    """Return kind, sizes and rows of `batch` products of (vectors, k) by (k, features) with a weight of `elements`.

    The weight is one matrix, or one for each of some groups: then each is applied to its rows, as a convolution with a
    kernel of 1. None where it is neither.
    """
    groups, rest = divmod(elements, k * features)
    if not groups or rest or batch % groups:
        return None
    rows = vectors * batch // groups
    if groups == 1:
        return "linear", (("in_features", k), ("out_features", features)), rows
    sizes: Fixed = (
        ("in_channels", groups * k), ("out_channels", groups * features), ("kernel", (1,)), ("groups", groups),
    )  # fmt: skip
    return "conv1d", sizes, rows


def convolution(
    source: Sequence[int], kernel: Sequence[int], groups: int, *, transposed: bool = False, **geometry: Sequence[int]
) -> tuple[str, Fixed]:
    """Return kind and sizes of a convolution of `source` (images, channels, sizes) by a kernel as torch shapes it.

    `geometry`: stride, padding, dilation and, if `transposed`, output_padding, a number for all dimensions or one each.
    """
    rank = len(kernel) - 2
    sizes: dict[str, int | tuple[int, ...]] = {
        "in_channels": source[1],
        "out_channels": kernel[1] * groups if transposed else kernel[0],
        "in_size": tuple(source[2:]),
        "kernel": tuple(kernel[2:]),
        **{name: full(numbers, rank) for name, numbers in geometry.items()},
        "groups": groups,
    }
    return f"conv_transpose{rank}d" if transposed else f"conv{rank}d", tuple(sizes.items())


_OF_IMAGES = {"in_size": 0, "kernel": 1, "stride": 1, "padding": 0, "dilation": 1, "output_padding": 0}


def several_images(kind: str, fixed: Fixed, images: int, error: Callable[[str], InputError]) -> tuple[str, Fixed]:
    """Return kind and sizes of a convolution of so many images per sample.

    Several become one more spatial dimension with a kernel of 1; of one matrix per group (`with_weight`) they are the
    rows. Raises what `error` makes where that is a dimension too many.
    """
    sizes = dict(fixed)
    if "in_size" not in sizes:
        return kind, (*fixed, ("in_size", (images,)))
    if images <= 1:
        return kind, fixed
    if kind.endswith("3d"):
        raise error(f"a 3-D convolution of {images} volumes per sample has no entry in a trace")
    first = _OF_IMAGES | {"in_size": images}
    wider = tuple((name, (first[name], *size) if isinstance(size, tuple) else size) for name, size in fixed)
    return f"{kind[:-2]}{int(kind[-2]) + 1}d", wider


def full(values: Sequence[int], rank: int) -> tuple[int, ...]:
    """Return one number per dimension where one stands for all.

    >>> full([3], 2), full([1, 2], 2)
    ((3, 3), (1, 2))
    """
    return tuple(values) * rank if len(values) == 1 else tuple(values)


def what_is_read(
    kind: str, word: str, operands: list[tuple[int, bool]], result: tuple[int, bool], windows: Callable[[], int]
) -> list[tuple[int, bool]]:
    """Return what vector work reads, of `operands` without parameters and dropout masks: elements, and if they grow.

    A pooling reads its `windows`, a look-up what it writes, a copy into memory not what was there; the numbers of a
    norm are few beside its input.
    """
    if kind == "pooling":
        return [(windows(), result[1])]
    if word in READ_WHAT_THEY_WRITE:
        return [result]
    return operands[-1:] if word == "copy" else operands[:1] if kind == "norm" else operands


def of_windows(word: str, source: Sequence[int], result: Sequence[int], window: Sequence[int]) -> int:
    """Return the elements that a pooling reads: its window times its outputs, of an adaptive one the exact windows."""
    if not word.startswith("adaptive"):
        return prod(result) * prod(full(window, int(next(letter for letter in word if letter.isdigit()))))
    rank = len(window)
    taken = [sum(-(-(i + 1) * size // out) - i * size // out for i in range(out))
             for size, out in zip(source[-rank:], result[-rank:], strict=True)]  # fmt: skip
    return prod(result[:-rank]) * prod(taken)
