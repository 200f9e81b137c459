"""An ONNX graph as plain values: nodes, the tensors that the file stores, and what is known of any tensor."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError

__all__ = ["STANDARD", "Content", "Fact", "Graph", "MisfitError", "Node", "Stored", "is_made_up", "shown"]

STANDARD = ("", "ai.onnx")
"""Names of the domain of standard operators."""

Content = Callable[[], NDArray[np.generic]]
_MADE_BY_EXPORTERS = re.compile(r"onnx::\w+|val_\d+|_?\d+")
_WORDS = {"MatMul": "matmul", "PRelu": "prelu"}
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An operation of the file. `module` is the dotted path of the module it stems from, None where unknown.

    `origin`: the node of the file that it is a part of, where that stands for several. `domain`: empty for the
    operators of the standard.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    domain: str = ""
    module: str | None = None
    origin: "Node | None" = None

    @property
    def in_file(self) -> "Node":
        """The node that the file holds: itself, or the one that it is a part of."""
        return self.origin or self

    @property
    def result(self) -> str:
        """The name of the first result that is not left out."""
        return next(filter(None, self.outputs), "")

    @property
    def where(self) -> str:
        """The node for messages."""
        if self.origin:
            return self.origin.where
        return f"node '{self.name}' ({self.operator})" if self.name else f"the {self.operator} of '{self.result}'"

    @property
    def word(self) -> str:
        """The operator in small letters, as in ``batch_normalization``."""
        return _WORDS.get(self.operator) or _WORD_STARTS.sub("_", self.operator).lower()


@dataclass(frozen=True, slots=True)
class Fact:
    """What shape inference says of a tensor: its shape, and its content where that is small and constant."""

    shape: tuple[int, ...]
    floating: bool
    known: NDArray[np.generic] | None = None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor that the file stores. `content` reads it; None where the file leaves it out."""

    name: str
    shape: tuple[int, ...]
    floating: bool
    in_node: bool = False
    content: Content | None = None

    @cached_property
    def uniform(self) -> bool:
        """Whether all elements are the same, as in a scale that no training has touched."""
        if self.content is None or not prod(self.shape):
            return False
        flat = self.content().reshape(-1)
        return bool((flat[:64] == flat[0]).all() and (flat == flat[0]).all())

    @cached_property
    def masks(self) -> bool:
        """Whether it is a mask: infinities, the ends of its number range, or nothing but zeros and one other number."""
        if self.content is None or not self.floating:
            return False
        values = self.content()
        if not values.size:
            return False
        limit = np.finfo(values.dtype.str).max / 2 if values.dtype.kind == "f" else np.inf
        least, most = values.min(), values.max()
        if not (most < limit and least > -limit):
            return True
        return bool((least == 0) != (most == 0) and ((values == least) | (values == most)).all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The nodes of a file in order, the tensors it stores, and its inputs and outputs.

    `joined`: nodes that stand for an operation which the file writes out in several. `unused`: nodes that are left out
    because no output depends on them.
    """

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    stored: Mapping[str, Stored]
    joined: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


class MisfitError(InputError):
    """Shapes that do not fit together, perhaps at one batch size only."""


def is_made_up(name: str) -> bool:
    """Whether an exporter numbered a tensor that had no name, or lost it."""
    return _MADE_BY_EXPORTERS.fullmatch(name) is not None


def shown(shape: Sequence[int]) -> str:
    """Return a shape for messages, as in 3x32x32."""
    return "x".join(map(str, shape)) or "a single number"
