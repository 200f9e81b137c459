"""Strides of views against PyTorch, which refuses a view exactly where a copy is needed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.workload.importers._onnx_layout import contiguous, expanded, in_order_of, reshaped

torch = pytest.importorskip("torch", reason="comparing with views needs the torch extra")

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@st.composite
def views(draw):
    """A tensor transposed, sliced and repeated, and a shape of as many elements."""
    shape = draw(SIZES)
    tensor = torch.zeros(shape).permute(draw(st.permutations(range(len(shape)))))
    for axis in range(tensor.dim()):
        size = tensor.shape[axis]
        step = draw(st.integers(1, 2))
        tensor = tensor[(slice(None),) * axis + (slice(draw(st.integers(0, size - 1)), size, step),)]
    if draw(st.booleans()):
        tensor = tensor.unsqueeze(0).expand(draw(st.integers(1, 3)), *tensor.shape)
    target, left = [], tensor.numel()
    while left > 1 or draw(st.booleans()):
        target.append(draw(st.sampled_from([size for size in range(1, left + 1) if left % size == 0])))
        left //= target[-1]
        if len(target) > 5:
            target.append(left)
            break
    return tensor, target


@given(views())
def test_a_view_exists_where_torch_makes_one(case):
    tensor, target = case
    try:
        expected = tensor.view(target).stride()
    except RuntimeError:
        expected = None
    strides = reshaped(tuple(tensor.shape), tensor.stride(), target)
    if expected is None or strides is None:
        assert strides is expected
    else:
        assert [step for size, step in zip(target, strides, strict=True) if size > 1] == [
            step for size, step in zip(target, expected, strict=True) if size > 1
        ]


@given(views())
def test_work_element_by_element_keeps_the_order_in_memory(case):
    tensor, _ = case
    if 0 in tensor.stride() or tensor.numel() != math.prod(tensor.shape):
        return
    shape = tuple(tensor.shape)
    expected = torch.neg(tensor).stride()
    got = in_order_of(shape, tensor.stride())
    assert [step for size, step in zip(shape, got, strict=True) if size > 1] == [
        step for size, step in zip(shape, expected, strict=True) if size > 1
    ]


@given(SIZES, st.integers(1, 3))
def test_strides_of_rows_and_repeats(shape, times):
    assert contiguous(shape) == torch.zeros(shape).stride()
    target = [times, *shape]
    repeated = torch.zeros(shape).expand(target)
    assert expanded(shape, contiguous(shape), target)[1:] == repeated.stride()[1:]
    assert expanded(shape, contiguous(shape), target)[0] == 0
