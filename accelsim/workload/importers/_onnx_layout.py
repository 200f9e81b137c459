"""Where the elements of a tensor lie in memory: strides, and whether a view can serve another shape.

ONNX does not speak of memory. As in PyTorch, a transposed or sliced tensor is a view, work on it element by element
keeps its order, and what a view cannot serve is copied.
"""

from collections.abc import Sequence
from itertools import accumulate

__all__ = ["contiguous", "expanded", "in_order_of", "reshaped"]

Strides = tuple[int, ...]


def contiguous(shape: Sequence[int]) -> Strides:
    """Return the strides of a tensor that lies row by row.

    >>> contiguous((2, 3, 4))
    (12, 4, 1)
    """
    return tuple(accumulate(shape[:0:-1], lambda step, size: step * size, initial=1))[::-1] if shape else ()


def expanded(shape: Sequence[int], strides: Sequence[int], target: Sequence[int]) -> Strides:
    """Return the strides of a tensor repeated to `target`: 0 where it repeats.

    >>> expanded((3, 1), (1, 1), (2, 3, 4))
    (0, 1, 0)
    """
    missing = len(target) - len(shape)
    return (0,) * missing + tuple(
        step if size == wanted else 0 for size, step, wanted in zip(shape, strides, target[missing:], strict=True)
    )


def in_order_of(shape: Sequence[int], strides: Sequence[int]) -> Strides:
    """Return strides without gaps that keep the order of the dimensions in memory.

    >>> in_order_of((2, 3, 4), (100, 1, 10))
    (12, 1, 3)
    """
    order = sorted(range(len(shape)), key=lambda axis: -strides[axis])
    compact = contiguous([shape[axis] for axis in order])
    return tuple(compact[order.index(axis)] for axis in range(len(shape)))


def reshaped(shape: Sequence[int], strides: Sequence[int], target: Sequence[int]) -> Strides | None:
    """Return the strides of a view with another shape; None where the elements would have to be copied.

    >>> reshaped((2, 3, 4), (12, 4, 1), (6, 4)), reshaped((2, 3, 4), (12, 1, 3), (2, 12))
    ((4, 1), None)
    """
    if not shape:
        return (1,) * len(target)
    found = [0] * len(target)
    axis, step, size, covered = len(target) - 1, strides[-1], 1, 1
    for outer in reversed(range(len(shape))):
        size *= shape[outer]
        if outer and (shape[outer - 1] == 1 or strides[outer - 1] == size * step):
            continue  # one run in memory with the dimension before it
        while axis >= 0 and (covered < size or target[axis] == 1):
            found[axis] = covered * step
            covered *= target[axis]
            axis -= 1
        if covered != size:
            return None
        if outer:
            step, size, covered = strides[outer - 1], 1, 1
    return tuple(found) if axis < 0 else None
