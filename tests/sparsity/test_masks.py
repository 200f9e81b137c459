import dataclasses
import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from accelsim.base.errors import InputError
from accelsim.sparsity.masks import (
    Packed,
    _nonzero_planes,
    conformity,
    group_histograms,
    is_transposable,
    magnitude_mask,
    pack,
    tightest_pattern,
    unpack,
)
from accelsim.sparsity.pattern import Pattern

# few distinct magnitudes, so that most groups hold ties
CROWDED_VALUES = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 1e-7, -6e-8, np.inf, -np.inf, 65504.0]


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    shape = draw(hnp.array_shapes(max_dims=4, max_side=11))
    smallest = np.finfo(dtype).smallest_subnormal
    values = st.sampled_from([*CROWDED_VALUES, float(smallest), -2 * float(smallest)])
    return draw(hnp.arrays(dtype, shape, elements=values)), draw(st.integers(-len(shape), len(shape) - 1))


@st.composite
def patterns(draw):
    group = draw(st.integers(1, 12))
    return Pattern(kept=draw(st.integers(1, group)), group=group)


def groups_of(array, pattern, axis):
    """Yield every group as the list of its positions in the array, by plain counting."""
    axis %= array.ndim
    others = [range(size) for i, size in enumerate(array.shape) if i != axis]
    for rest in itertools.product(*others):
        for first in range(0, array.shape[axis], pattern.group):
            members = range(first, min(first + pattern.group, array.shape[axis]))
            yield [(*rest[:axis], member, *rest[axis:]) for member in members]


def mask_by_sorting(array, pattern, axis):
    mask = np.zeros(array.shape, bool)
    for positions in groups_of(array, pattern, axis):
        ranked = sorted(positions, key=lambda position: -abs(float(array[position])))
        for position in ranked[: pattern.kept]:
            mask[position] = True
    return mask


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual.view(np.uint8), expected.view(np.uint8))


@settings(deadline=None, max_examples=200)
@given(tensors(), patterns())
def test_mask_keeps_the_largest_of_each_group_ties_to_the_lowest_index(tensor, pattern):
    array, axis = tensor
    np.testing.assert_array_equal(magnitude_mask(array, pattern, axis), mask_by_sorting(array, pattern, axis))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((19, 64), 0), ((2, 19, 131), 1), ((67, 19), 1), ((5, 16, 3, 3), 1), ((70,), 0), ((16, 64, 1), 0)],
)
@pytest.mark.parametrize("pattern", ["2:8", "1:4", "3:5", "8:8", "16:32"])
def test_mask_on_planes_wider_and_narrower_than_a_block(dtype, shape, axis, pattern):
    array = np.random.default_rng(5).integers(-6, 7, shape).astype(dtype)
    np.testing.assert_array_equal(
        magnitude_mask(array, Pattern.parse(pattern), axis), mask_by_sorting(array, Pattern.parse(pattern), axis)
    )


def test_mask_of_the_largest_pattern():
    array = np.random.default_rng(6).standard_normal(1500).astype(np.float32)
    pattern = Pattern(kept=512, group=1024)
    np.testing.assert_array_equal(magnitude_mask(array, pattern, 0), mask_by_sorting(array, pattern, 0))


def test_mask_does_not_depend_on_memory_order_or_byte_order():
    array = np.random.default_rng(7).standard_normal((12, 20)).astype(np.float32)
    pattern = Pattern(kept=2, group=8)
    expected = magnitude_mask(array, pattern, 1)
    np.testing.assert_array_equal(magnitude_mask(np.asfortranarray(array), pattern, 1), expected)
    np.testing.assert_array_equal(magnitude_mask(array.astype(">f4"), pattern, 1), expected)
    np.testing.assert_array_equal(
        magnitude_mask(array[:, ::-1], pattern, 1), mask_by_sorting(array[:, ::-1], pattern, 1)
    )
    np.testing.assert_array_equal(magnitude_mask(array.T, pattern, 0), expected.T)


def test_mask_of_no_weights_is_empty():
    assert magnitude_mask(np.empty((0, 8), np.float32), Pattern(kept=2, group=8), 1).shape == (0, 8)
    assert magnitude_mask(np.empty((8, 0), np.float32), Pattern(kept=2, group=8), 1).shape == (8, 0)


@settings(deadline=None, max_examples=200)
@given(tensors(), patterns())
def test_packing_and_unpacking_returns_the_pruned_tensor_bit_for_bit(tensor, pattern):
    array, axis = tensor
    packed = pack(array, pattern, axis)
    pruned = np.where(mask_by_sorting(array, pattern, axis), array, array.dtype.type(0))
    assert_same_bits(unpack(packed), pruned)
    # ones in place of the values unpack to the mask, kept zeros included
    ones = dataclasses.replace(packed, values=np.ones_like(packed.values))
    np.testing.assert_array_equal(unpack(ones), mask_by_sorting(array, pattern, axis))


@settings(deadline=None, max_examples=100)
@given(tensors(), patterns(), st.integers(0, 2**32 - 1))
def test_packing_under_a_sparser_mask(tensor, pattern, seed):
    array, axis = tensor
    random = np.random.default_rng(seed).random(array.shape) < 0.5
    mask = random & mask_by_sorting(np.arange(array.size, dtype=np.float64).reshape(array.shape), pattern, axis)
    packed = pack(array, pattern, axis, mask)
    assert_same_bits(unpack(packed), np.where(mask, array, array.dtype.type(0)))
    assert packed.filled.sum() == mask.sum()


def test_packed_layout_of_a_ragged_tensor():
    dense = np.array([[5.0, 0.0, -7.0, 6.0, 4.0, 9.0], [1.0, 1.0, 1.0, 1.0, -0.0, 0.0]], np.float32)
    packed = pack(dense, Pattern(kept=3, group=4), 1)
    np.testing.assert_array_equal(packed.values, [[5, -7, 6, 4, 9, 0], [1, 1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(packed.indices, [[0, 2, 3, 0, 1, 2], [0, 1, 2, 0, 1, 2]])
    np.testing.assert_array_equal(packed.filled, [[3, 2], [3, 2]])
    assert (packed.values.dtype, packed.indices.dtype) == (np.float32, np.uint8)
    assert np.signbit(packed.values[1, 3])
    assert not packed.values.flags.writeable


def test_spare_slots_name_the_lowest_unused_positions():
    mask = np.array([False, True, False, False])
    packed = pack(np.array([1.0, 2.0, 3.0, 4.0]), Pattern(kept=3, group=4), 0, mask)
    np.testing.assert_array_equal(packed.values, [2, 0, 0])
    np.testing.assert_array_equal(packed.indices, [1, 0, 2])


def test_positions_in_a_large_group_take_two_bytes():
    packed = pack(np.arange(600.0), Pattern(kept=2, group=512), 0)
    np.testing.assert_array_equal(packed.indices, np.array([510, 511, 86, 87], np.uint16))
    assert packed.indices.dtype == np.uint16


def test_a_mask_of_ones_where_nothing_needs_ranking_carries_nan():
    dense = np.array([np.nan, 1.0])
    assert_same_bits(unpack(pack(dense, Pattern(kept=2, group=2), 0, np.ones(2, bool))), dense)


def test_conformity_is_a_share_of_groups():
    tensor = np.array([[1, 0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 0, np.nan, 2, 3, 0]])
    assert conformity(tensor, Pattern(kept=2, group=4), 1) == 0.5
    assert conformity(tensor != 0, Pattern(kept=3, group=4), -1) == 1
    assert conformity(tensor, Pattern(kept=1, group=2), 0) == 5 / 8
    assert conformity(tensor[:, :5], Pattern(kept=1, group=4), 1) == 3 / 4


@settings(deadline=None, max_examples=100)
@given(tensors(), patterns())
def test_conformity_against_counting(tensor, pattern):
    array, axis = tensor
    counts = [sum(array[position] != 0 for position in group) for group in groups_of(array, pattern, axis)]
    assert conformity(array, pattern, axis) == sum(count <= pattern.kept for count in counts) / len(counts)
    assert conformity(magnitude_mask(array, pattern, axis), pattern, axis) == 1


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1000", "0100", "0010", "0001"], True),
        (["1000", "1000", "0010", "0001"], False),
        (["1100", "0000", "0010", "0001"], False),
        (["10001", "01001", "00100", "00010"], False),
        (["10001", "01000", "00100", "00010", "10000"], True),
    ],
    ids=["permutation", "two-in-a-column", "two-in-a-row", "ragged-block-column", "ragged-blocks"],
)
def test_transposable_masks(rows, expected):
    mask = np.array([[int(digit) for digit in row] for row in rows])
    assert is_transposable(mask, Pattern(kept=1, group=4)) is expected
    assert is_transposable(mask.T, Pattern(kept=1, group=4)) is expected
    kernels = np.repeat(mask[:, :, None], 3, axis=2)
    assert is_transposable(np.moveaxis(kernels, 2, 0), Pattern(kept=1, group=4), axes=(1, 2)) is expected


@pytest.mark.parametrize(
    ("digits", "groups", "expected"),
    [
        ("1000100010001000", (4, 8, 16, 32), "1:4"),
        ("1000000010000000", (4, 8, 16), "1:8"),
        ("1100000010000000", (4, 8, 16), "3:16"),
        ("1111", (4, 8, 16, 32), None),
        ("111", (4, 8), None),
        ("11110000", (4,), None),
        ("11110000", (8, 4), "4:8"),
        ("0000000000000000", (4, 8, 16), "1:16"),
    ],
)
def test_tightest_pattern(digits, groups, expected):
    nonzero = np.array([digit == "1" for digit in digits])
    tightest = tightest_pattern(nonzero, 0, groups)
    assert (tightest and str(tightest)) == expected


@pytest.mark.parametrize("pattern", ["1:4", "2:8", "3:8", "5:16", "7:32"])
def test_tightest_pattern_of_a_pruned_tensor_is_the_one_it_was_pruned_to(pattern):
    weights = np.random.default_rng(8).standard_normal((96, 640)).astype(np.float32)
    pruned = unpack(pack(weights, Pattern.parse(pattern), 0))
    assert str(tightest_pattern(pruned, 0)) == pattern


def histograms_by_numpy(nonzero, axis, groups):
    moved = np.moveaxis(nonzero != 0, axis, -1)
    starts = {group: np.arange(0, moved.shape[-1], group) for group in groups if group <= moved.shape[-1]}
    sums = {group: np.add.reduceat(moved, first, axis=-1, dtype=np.int64) for group, first in starts.items()}
    return {group: np.bincount(found.ravel(), minlength=group + 1) for group, found in sums.items()}


def assert_same_histograms(actual, expected):
    assert list(actual) == sorted(expected)
    for group, counts in expected.items():
        assert actual[group].dtype == np.int64
        np.testing.assert_array_equal(actual[group], counts)


def test_histograms_by_hand():
    found = group_histograms(np.array([[1, 1, 1, 1, 1, 0, 0, 0, 1, np.nan], [0] * 10]), 1, groups=(2, 16, 4, 3))
    assert_same_histograms(found, {2: [6, 1, 3], 3: [4, 2, 1, 1], 4: [3, 1, 1, 0, 1]})


@settings(deadline=None, max_examples=200)
@given(tensors(), st.lists(st.integers(1, 12), max_size=5))
def test_histograms_against_numpy(tensor, groups):
    array, axis = tensor
    assert_same_histograms(group_histograms(array, axis, groups), histograms_by_numpy(array, axis, groups))


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 700), st.sampled_from([1, 2, 7, 8, 9, 63, 64, 65, 130])),
    st.integers(0, 2),
    st.sampled_from([(4, 8, 16, 32), (32, 64), (5, 7, 10), (1024, 512), (1, 2)]),
    st.integers(0, 2**32 - 1),
)
def test_histograms_across_the_seams_of_tiles(shape, axis, groups, seed):
    rng = np.random.default_rng(seed)
    array = rng.random(shape) < rng.random()
    assert_same_histograms(group_histograms(array, axis, groups), histograms_by_numpy(array, axis, groups))


@pytest.mark.parametrize("length", [8191, 8192, 8193, 8196, 16380, 20000])
def test_histograms_of_one_long_row(length):
    array = np.random.default_rng(9).random(length) < 0.3
    assert_same_histograms(group_histograms(array, 0), histograms_by_numpy(array, 0, (4, 8, 16, 32)))


def test_histograms_do_not_depend_on_memory_order_and_count_any_nonzero_byte():
    array = np.random.default_rng(10).integers(0, 3, (12, 5, 40)).astype(np.uint8) * 100
    expected = histograms_by_numpy(array, 2, (4, 8, 16, 32))
    for same in (array, np.asfortranarray(array), array.view(np.int8), array.astype(">f4"), array[:, ::-1]):
        assert_same_histograms(group_histograms(same, 2), expected)
    channels_last = np.ascontiguousarray(array.transpose(0, 2, 1)).transpose(0, 2, 1)
    assert_same_histograms(group_histograms(channels_last, -1), expected)
    assert_same_histograms(group_histograms(array.view(np.bool_), 2), expected)
    assert_same_histograms(group_histograms(np.broadcast_to(array[:1], array.shape), 2),
                           {group: 12 * counts for group, counts in histograms_by_numpy(array[:1], 2, expected).items()})  # fmt: skip


def test_no_dense_layout_of_bytes_is_copied():
    array = np.ones((6, 5, 4), np.uint8)
    for axes in itertools.permutations(range(3)):
        for axis in range(3):
            assert np.shares_memory(_nonzero_planes("tensor", array.transpose(axes), axis), array)


def test_histograms_of_an_axis_shorter_than_every_group_are_none():
    assert group_histograms(np.ones((3, 3)), 0) == {}
    assert group_histograms(np.ones(8), 0, groups=()) == {}


EIGHT = np.zeros((2, 8), np.float32)
P28 = Pattern(kept=2, group=8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: magnitude_mask(np.zeros((2, 8), int), P28, 1),
            "weights: element type int64; float16, float32 or float64 is allowed",
        ),
        (lambda: magnitude_mask(EIGHT, P28, 2), "axis 2: a whole number from -2 to 1 is needed for shape (2, 8)"),
        (lambda: magnitude_mask(EIGHT, P28, 1.0), "axis 1.0: a whole number from -2 to 1 is needed for shape (2, 8)"),
        (
            lambda: magnitude_mask(np.float32(1), P28, 0),
            "shape (): a tensor with at least one axis is needed, its elements are grouped along it",
        ),
        (
            lambda: magnitude_mask(np.where(np.arange(16).reshape(2, 8) > 12, np.nan, 1), P28, 1),
            "weights: NaN at position (1, 5); numbers and infinities can be ranked, NaN cannot",
        ),
        (
            lambda: pack(EIGHT, P28, 1, np.zeros((2, 7), bool)),
            "mask: bool of shape (2, 7); bool of the shape of the weights, (2, 8), is needed",
        ),
        (
            lambda: pack(EIGHT, P28, 1, np.arange(16).reshape(2, 8) > 12),
            "mask: more than 2 of 8 set in group (1, 0); 2:8 along axis 1 allows 2",
        ),
        (
            lambda: conformity(np.array(["a"]), P28, 0),
            "tensor: element type <U1; booleans or numbers are allowed",
        ),
        (
            lambda: group_histograms(np.array([1j]), 0),
            "tensor: element type complex128; booleans or numbers are allowed",
        ),
        (
            lambda: group_histograms(EIGHT[:, :0], 0),
            "tensor: shape (2, 0) has no elements; at least one group is needed",
        ),
        (lambda: group_histograms(EIGHT, 2), "axis 2: a whole number from -2 to 1 is needed for shape (2, 8)"),
        (
            lambda: group_histograms(EIGHT, 1, groups=(4, 2000)),
            "pattern 1:2000: N of every M elements are kept, so 1 <= N <= M <= 1024 is needed, as in 2:8",
        ),
        (lambda: conformity(EIGHT[:0], P28, 0), "tensor: shape (0, 8) has no elements; at least one group is needed"),
        (
            lambda: is_transposable(EIGHT, P28, axes=(1, -1)),
            "axes (1, -1): two different axes are needed for shape (2, 8)",
        ),
        (
            lambda: tightest_pattern(EIGHT, 1, groups=(0,)),
            "pattern 1:0: N of every M elements are kept, so 1 <= N <= M <= 1024 is needed, as in 2:8",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_nan_of_either_sign_is_refused_wherever_it_is(dtype, sign):
    for position in range(20):
        array = np.full((1, 20), np.inf, dtype)
        array[0, position] = np.copysign(dtype(np.nan), dtype(sign))
        message = f"weights: NaN at position (0, {position}); numbers and infinities can be ranked, NaN cannot"
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            magnitude_mask(array, P28, 1)


def packed_fields(**changes):
    fields = {
        "pattern": P28,
        "axis": 1,
        "shape": (1, 10),
        "values": np.zeros((1, 4), np.float32),
        "indices": np.array([[0, 1, 0, 1]], np.uint8),
        "filled": np.array([[2, 2]], np.uint16),
    }
    return fields | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axis": -1}, "axis -1: counted from the first axis, 0 to 1, is needed here"),
        (
            {"values": np.zeros((1, 3), np.float32)},
            "values: float32 of shape (1, 3); floating-point of shape (1, 4) is needed for 2:8 along axis 1 of (1, 10)",
        ),
        (
            {"indices": np.zeros((1, 4))},
            "indices: float64 of shape (1, 4); unsigned of shape (1, 4) is needed for 2:8 along axis 1 of (1, 10)",
        ),
        ({"indices": np.array([[0, 8, 0, 1]], np.uint8)}, "group (0, 0)"),
        ({"indices": np.array([[0, 1, 1, 1]], np.uint8)}, "group (0, 1)"),
        ({"indices": np.array([[0, 1, 0, 2]], np.uint8)}, "group (0, 1)"),
        ({"filled": np.array([[3, 2]], np.uint16)}, "group (0, 0)"),
    ],
    ids=["axis", "values", "indices", "beyond-group", "twice", "beyond-axis", "overfull"],
)
def test_packed_refuses_what_cannot_be_unpacked(changes, message):
    if message.startswith("group"):
        message += (
            ": at most 2 filled slots and distinct indices below 8, those of filled slots within the axis, are allowed"
        )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        Packed(**packed_fields(**changes))


def test_packed_values_are_hashable_and_frozen():
    packed = Packed(**packed_fields())
    assert len({packed, dataclasses.replace(packed)}) == 1
    with pytest.raises(ValueError, match="read-only"):
        packed.values[0, 0] = 1
