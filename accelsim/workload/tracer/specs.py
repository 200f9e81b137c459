"""Inputs of a model as text: shapes, and bounds where they hold tokens."""

import re
from dataclasses import dataclass
from typing import Literal

from accelsim.base.errors import InputError
from accelsim.workload.trace import LARGEST_DIMENSION

__all__ = ["InputSpec"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model.

    Args:
        shape: its sizes without the batch, each from 1.
        dtype: ``float32``, or ``int64`` for tokens.
        below: what tokens lie below, from 1; None for ``float32``.

    >>> InputSpec.parse("3x64x64")
    InputSpec(shape=(3, 64, 64), dtype='float32', below=None)
    >>> str(InputSpec.parse("128:int64:30522"))
    '128:int64:30522'
    """

    shape: tuple[int, ...]
    dtype: Literal["float32", "int64"] = "float32"
    below: int | None = None

    def __post_init__(self) -> None:
        if not self.shape or not all(1 <= size <= LARGEST_DIMENSION for size in self.shape):
            raise InputError(f"input '{self}': sizes from 1 to {LARGEST_DIMENSION} are allowed")
        if self.dtype == "float32" and self.below is not None:
            raise InputError(f"input '{self}': only int64 has a bound")
        if self.dtype == "int64" and (self.below is None or self.below < 1):
            raise InputError(f"input '{self}': int64 needs a bound of at least 1, as tokens lie below it")

    @classmethod
    def parse(cls, text: str) -> "InputSpec":
        """Read ``3x64x64`` (float32) or ``128:int64:30522``. Raises `InputError` for anything else."""
        match = re.fullmatch(r"([0-9]{1,9}(?:x[0-9]{1,9})*)(?::float32|:int64:([0-9]{1,12}))?", text.strip())
        if match is None:
            raise InputError(
                f"input '{text}': SIZExSIZE as in 3x64x64 (float32, without the batch) or SIZE:int64:BOUND as in"
                " 128:int64:30522 (128 tokens below 30522, the size of the vocabulary) is needed"
            )
        shape = tuple(int(size) for size in match[1].split("x"))
        return cls(shape, "int64", int(match[2])) if match[2] else cls(shape)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        bound = "" if self.below is None else f":{self.dtype}:{self.below}"
        return "x".join(map(str, self.shape)) + bound
