"""Einsum of ONNX: products of two factors by their letters, several factors from the left, as PyTorch takes them."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from accelsim.workload.importers._onnx_layout import contiguous
from accelsim.workload.importers._onnx_walk import Call, Producers, Value, Work
from accelsim.workload.importers._onnx_works import as_matrices, product, used, vector
from accelsim.workload.rules import Role

__all__ = ["einsum"]


def einsum(call: Call) -> list[Work]:
    """Return the work of an equation: each factor is multiplied with what those before it gave."""
    equation = call.node.attributes["equation"].replace(" ", "")
    given, arrow, result = equation.partition("->")
    operands, terms = [value for value in call.operands if value is not None], given.split(",")
    if len(operands) != len(terms):
        raise call.error(f"has {len(operands)} inputs for the {len(terms)} factors of {equation}")
    if len(operands) == 1:
        return list(vector(call, "reduce" if call.result.shape != operands[0].shape else "copy"))
    terms = [_named(call, term, value, equation) for term, value in zip(terms, operands, strict=True)]
    together = "".join(terms)
    if arrow:
        result = _expanded(result, len(set(together) & set("0123456789")))
    else:
        result = "".join(sorted(letter for letter in set(together) if together.count(letter) == 1))
    if len(operands) > 2:
        call.walk.note("factors", call.node.name or call.node.result)
    size = _sizes(terms, operands)
    for place, term in enumerate(terms):
        kept = set(result).union(*terms[:place], *terms[place + 1 :])
        if not set(term) <= kept:
            terms[place] = "".join(letter for letter in term if letter in kept)
            made = call.walk.record(call, [_summed(call, operands[place], term, terms[place])])
            operands[place] = _made(tuple(size[letter] for letter in terms[place]), made, operands[place])
    value, term = operands[0], terms[0]
    for place in range(1, len(operands)):
        kept = set(result).union(*terms[place + 1 :])
        pair = _Pair(call, (value, operands[place]), (term, terms[place]), kept, size, place)
        works = pair.works()
        if place == len(operands) - 1:
            return works
        value, term = pair.result(call.walk.record(call, works))
    return []


def _made(shape: tuple[int, ...], producers: Producers, *values: Value) -> Value:
    """Return what work on values gives."""
    depends = any(value.role is Role.ACTIVATION for value in values)
    return Value(
        shape=shape, role=Role.ACTIVATION if depends else Role.DERIVED, strides=contiguous(shape),
        gradient=any(value.gradient for value in values), producers=producers,
    )  # fmt: skip


def _summed(call: Call, value: Value, term: str, kept: str) -> Work:
    """Return the sum over the letters that only one factor has."""
    sizes = dict(zip(term, value.shape, strict=True))
    return Work(
        kind="reduce",
        word="sum",
        counts=(value.in_memory, prod(sizes[letter] for letter in kept)),
        parameters=tuple(used(call, value, "weight")) if value.role is Role.PARAMETER else (),
        depends=value.role is Role.ACTIVATION,
        input_gradient=value.gradient,
        reads=(value.producers,),
    )


class _Pair:
    """A product of two factors: shared and kept is batch, shared and summed is k, the others are m or n.

    `place`: that of the second factor in the equation.
    """

    def __init__(
        self, call: Call, values: tuple[Value, Value], terms: tuple[str, str], kept: set[str], size: Mapping[str, int],
        place: int,
    ) -> None:  # fmt: skip
        left, right = terms
        self.call, self.values, self.terms, self.size, self.place = call, values, terms, size, place
        self.batch = [letter for letter in left if letter in right and letter in kept]
        self.summed = [letter for letter in left if letter in right and letter not in kept]
        self.rows = [letter for letter in left if letter not in right]
        self.columns = [letter for letter in right if letter not in left]

    def _count(self, letters: Sequence[str]) -> int:
        return prod(self.size[letter] for letter in letters)

    def result(self, producers: Producers = ()) -> tuple[Value, str]:
        """Return what the product, which `producers` stand for, gives, and its letters."""
        term = "".join(self.batch + self.rows + self.columns)
        shape = tuple(self.size[letter] for letter in term)
        return _made(shape, producers, *self.values), term

    def works(self) -> list[Work]:
        """Return the product, element by element where nothing is summed."""
        if not self.summed:
            return [self._multiplied()]
        m, n, k, count = map(self._count, (self.rows, self.columns, self.summed, self.batch))
        (first, second), (left, right) = self.values, self.terms
        factors = []
        for value, term, free, length in ((first, left, self.rows, m), (second, right, self.columns, n)):
            shape = [self.size[letter] for letter in term]
            axes = [term.index(letter) for letter in (*self.batch, *free, *self.summed)]
            factors.append(as_matrices(self.call, value, shape, axes, (count, length, k)))
        first, second = factors
        return [
            product(
                self.call, first, second, m=m, n=n, k=k, batch=count, places=(0, self.place),
                by_rows=self._ordered(right, self.columns), by_columns=self._ordered(left, self.rows),
            )
        ]  # fmt: skip

    def _ordered(self, term: str, free: Sequence[str]) -> Callable[[NDArray[np.generic]], NDArray[np.generic]]:
        parts = (self.batch, self.summed, free)
        axes = [term.index(letter) for part in parts for letter in part]
        sizes = [self._count(part) for part in parts]
        return lambda array: array.transpose(axes).reshape(sizes)

    def _multiplied(self) -> Work:
        read = [value for value in self.values if value.role is not Role.PARAMETER]
        names = [
            name for value in self.values if value.role is Role.PARAMETER for name in used(self.call, value, "weight")
        ]
        return Work(
            kind="multiply",
            word=self.call.node.word,
            counts=(sum(value.in_memory for value in read), self.result()[0].elements),
            parameters=tuple(dict.fromkeys(names)),
            depends=any(value.role is Role.ACTIVATION for value in self.values),
            input_gradient=any(value.gradient for value in self.values),
            reads=tuple(value.producers for value in self.values),
        )


def _named(call: Call, term: str, value: Value, equation: str) -> str:
    """Return the letters of a factor; the dimensions of an ellipsis get digits, counted from the last."""
    term = _expanded(term, len(value.shape) - len(term.replace("...", "")))
    if len(set(term)) != len(term):
        raise call.error(f"an index stands twice in one factor ({equation}); take the diagonal before the product")
    return term


def _expanded(term: str, rank: int) -> str:
    return term.replace("...", "".join(str(axis) for axis in reversed(range(max(rank, 0)))))


def _sizes(terms: Sequence[str], operands: Sequence[Value]) -> dict[str, int]:
    """Return the size of each letter; a dimension of 1 is repeated."""
    size: dict[str, int] = {}
    for term, value in zip(terms, operands, strict=True):
        for letter, length in zip(term, value.shape, strict=True):
            size[letter] = max(size.get(letter, 1), length)
    return size
