"""Where tensors come from: which operations wrote the memory that an operand lies in.

Views share memory with what they show, so what wrote a part of a storage wrote every view of it. Slices of one tensor
are told apart by their place in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from accelsim.workload.tracer.roles import Roles, stored
from accelsim.workload.tracer.works import Call
from accelsim.workload.tracer.wrapped import memory_of

__all__ = ["Flow", "Producers"]

Producers = tuple[object, ...]
"""What wrote a tensor: records of operations, and inputs of the network by their number; in order of writing."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a storage: bytes from `start` up to `stop`, sizes by their step in bytes, and whether it fills them."""

    start: int
    stop: int
    sizes: tuple[tuple[int, int], ...]  # step, size; without dimensions that repeat the same memory
    width: int
    filled: bool

    @classmethod
    def of(cls, tensor: Tensor) -> "_Part":
        tensor = memory_of(tensor)
        width = tensor.element_size()
        start = tensor.storage_offset() * width
        steps = zip(tensor.stride(), tensor.shape, strict=True)
        sizes = tuple((step * width, size) for step, size in steps if step and size > 1)
        stop = start + (sum(step * (size - 1) for step, size in sizes) + width if tensor.numel() else 0)
        return cls(start, stop, sizes, width, stored(tensor) * width >= stop - start)

    def meets(self, other: "_Part") -> bool:
        """Whether the two have bytes in common; taken to where they cannot be told apart."""
        if self.start >= other.stop or other.start >= self.stop:
            return False
        steps = sorted({step for part in (self, other) for step, _ in part.sizes} | {self.width}, reverse=True)
        if self.width != other.width or any(large % small for large, small in pairwise(steps)):
            return True
        one, two = self._box(steps), other._box(steps)  # noqa: SLF001  of the same class
        return not (one and two) or all(a < d and c < b for (a, b), (c, d) in zip(one, two, strict=True))

    def _box(self, steps: Sequence[int]) -> list[tuple[int, int]] | None:
        """Return first and last index, exclusive, along each step from the largest; None where rows run into others."""
        sizes, rest, box = dict(self.sizes), self.start, []
        if len(sizes) < len(self.sizes):
            return None
        for before, step in zip((0, *steps), steps, strict=False):
            first, rest = divmod(rest, step)
            box.append((first, first + sizes.get(step, 1)))
            if before and box[-1][1] > before // step:
                return None
        return box

    def covers(self, other: "_Part") -> bool:
        """Whether all bytes of another part are its own."""
        return self == other or (self.filled and self.start <= other.start and other.stop <= self.stop)


class Flow:
    """The producers of all memory that a step wrote."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self._written: dict[int, list[tuple[_Part, Producers]]] = {}

    def forget(self) -> None:
        """Forget all: what an earlier step wrote comes from no operation of the next."""
        self._written.clear()

    def of(self, tensor: Tensor) -> Producers:
        """Return what wrote a tensor, or parts of it; () for constants, parameters and whatever else was there."""
        written = self._written.get(self._roles.key(tensor))
        if not written:
            return ()
        part = _Part.of(tensor)
        found: list[Producers] = []
        for other, producers in reversed(written):
            if part.meets(other):
                found.append(producers)
                if other.covers(part):
                    break
        return _once(producer for producers in reversed(found) for producer in producers)

    def write(self, tensor: Tensor, producers: Producers) -> None:
        """Take note of what wrote a tensor."""
        key, part = self._roles.key(tensor), _Part.of(tensor)
        before = [own for own in self._written.get(key, ()) if not part.covers(own[0])]
        self._written[key] = [*before, (part, producers)]

    def behind(self, call: Call) -> Producers:
        """Return what wrote the operands of an operation: where its results come from, if no trace lists it."""
        return _once(one for tensor in call.tensors for one in self.of(tensor))

    def write_results(self, call: Call, producers: Producers, *, writes: bool) -> None:
        """Take note of what wrote the results of an operation, but for those that only show its operands."""
        shown: Sequence[int] = () if writes else [self._roles.key(tensor) for tensor in call.tensors]
        for result in call.results:
            if self._roles.key(result) not in shown:
                self.write(result, producers)


def _once(producers: Iterable[object]) -> Producers:
    """Return them in order, each once: records are told apart by identity."""
    return tuple({id(one) if not isinstance(one, int) else one: one for one in producers}.values())
