"""Passes of work outside the products over memory, in multiples of what its forward reads and writes."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Multiple", "Passes"]


class Multiple(NamedTuple):
    """So many times the elements that the forward reads, and so many times those that it writes."""

    reads: int = 0
    writes: int = 0

    def of(self, reads: int, writes: int) -> int:
        """Elements, where the forward reads `reads` and writes `writes` of them."""
        return self.reads * reads + self.writes * writes


_READS, _WRITES = Multiple(reads=1), Multiple(writes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """What FF reads and writes, and what BP reads and writes; as it stands, BP is the mirror of FF."""

    forward_reads: Multiple = _READS
    forward_writes: Multiple = _WRITES
    backward_reads: Multiple = _WRITES
    backward_writes: Multiple = _READS

    def moved(self, direction: Literal["FF", "BP"], reads: int, writes: int) -> tuple[int, int]:
        """Elements read and written in FF or BP, where the forward has that many `reads` and `writes`.

        >>> Passes(backward_reads=Multiple(writes=4)).moved("BP", reads=1000, writes=500)
        (2000, 1000)
        """
        if direction == "FF":
            return self.forward_reads.of(reads, writes), self.forward_writes.of(reads, writes)
        return self.backward_reads.of(reads, writes), self.backward_writes.of(reads, writes)
