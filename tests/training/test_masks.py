import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from accelsim.sparsity import masks as numpy_masks
from accelsim.sparsity.pattern import Pattern

torch = pytest.importorskip("torch")
from accelsim.torch import masks  # noqa: E402

# few distinct magnitudes, so that most groups hold ties
VALUES = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 1e-7, -6e-8, np.inf, -np.inf, 65504.0]
P12, P24 = Pattern(kept=1, group=2), Pattern(kept=2, group=4)


@st.composite
def patterns(draw, largest=10):
    group = draw(st.integers(1, largest))
    return Pattern(kept=draw(st.integers(1, group)), group=group)


@st.composite
def tensors(draw, least_dims=1):
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    shape = draw(hnp.array_shapes(min_dims=least_dims, max_dims=4, max_side=9))
    return draw(hnp.arrays(dtype, shape, elements=st.sampled_from(VALUES)))


@settings(deadline=None, max_examples=200)
@given(tensors(), patterns(), st.data())
def test_magnitude_mask_is_that_of_the_simulator_bit_for_bit(array, pattern, data):
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    mask = masks.magnitude_mask(torch.from_numpy(array), pattern, axis)
    assert mask.dtype == torch.bool
    np.testing.assert_array_equal(mask.numpy(), numpy_masks.magnitude_mask(array, pattern, axis))


@settings(deadline=None, max_examples=50)
@given(tensors(), patterns())
def test_magnitude_mask_in_bfloat16(array, pattern):
    tensor = torch.from_numpy(array.astype(np.float32)).bfloat16()
    expected = numpy_masks.magnitude_mask(tensor.float().numpy(), pattern, 0)
    np.testing.assert_array_equal(masks.magnitude_mask(tensor, pattern, 0).numpy(), expected)


def test_magnitude_mask_of_nan_and_of_nothing():
    mask = masks.magnitude_mask(torch.tensor([1.0, np.inf, np.nan, 2.0]), P24, 0)
    assert mask.tolist() == [False, True, True, False]
    assert masks.magnitude_mask(torch.empty(0, 8), P24, 1).shape == (0, 8)
    assert masks.magnitude_mask(torch.empty(8, 0), P24, 1).shape == (8, 0)


def transposable_by_hand(plane, pattern):
    """Go through every block from its largest element down, one element at a time."""
    size, mask = pattern.group, np.zeros(plane.shape, bool)
    for top in range(0, plane.shape[0], size):
        for left in range(0, plane.shape[1], size):
            block, kept = plane[top : top + size, left : left + size], mask[top : top + size, left : left + size]
            positions = sorted(np.ndindex(block.shape), key=lambda position: -abs(float(block[position])))
            for row, column in positions:
                kept[row, column] = kept[row].sum() < pattern.kept and kept[:, column].sum() < pattern.kept
    return mask


@settings(deadline=None, max_examples=100)
@given(tensors(least_dims=2), patterns(largest=6))
def test_transposable_mask_against_plain_counting(array, pattern):
    mask = masks.transposable_mask(torch.from_numpy(array), pattern).numpy()
    planes = array.reshape(*array.shape[:2], -1)
    expected = np.stack([transposable_by_hand(planes[:, :, i], pattern) for i in range(planes.shape[2])], axis=2)
    np.testing.assert_array_equal(mask, expected.reshape(array.shape))
    assert numpy_masks.is_transposable(mask, pattern)


def test_transposable_mask_on_other_axes():
    tensor = torch.randn(5, 8, 12, generator=torch.Generator().manual_seed(1))
    expected = masks.transposable_mask(tensor.movedim(0, -1), P24).movedim(-1, 0)
    torch.testing.assert_close(masks.transposable_mask(tensor, P24, (1, 2)), expected)


def test_transposable_mask_may_leave_a_row_short():
    block = torch.tensor([[9.0, 8.0, 1.0], [7.0, 6.0, 2.0], [3.0, 4.0, 0.0]])
    # 9 and 6 fill rows and columns of 1:3 but for the last: 0
    assert masks.transposable_mask(block, Pattern(kept=1, group=3)).int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    greedy = torch.tensor([[3.0, 2.0], [2.0, 0.0]])  # 2 + 2 would be more than 3 + 0
    assert masks.transposable_mask(greedy, P12).int().tolist() == [[1, 0], [0, 1]]


@settings(deadline=None, max_examples=200)
@given(hnp.arrays(np.float64, (7, 4), elements=st.floats(-1e6, 1e6, allow_subnormal=False)), st.integers(1, 4))
def test_inclusion_has_the_least_variance(array, kept):
    sizes = torch.from_numpy(np.abs(array))
    chance = masks._inclusion(sizes, kept).numpy()
    assert (chance <= 1).all()
    np.testing.assert_allclose(chance.sum(1), np.minimum(kept, (array != 0).sum(1)), rtol=1e-9)
    for size, p in zip(sizes.numpy(), chance, strict=True):  # p / |a| is one number where p < 1, and less elsewhere
        if (p[size > 0] < 1).any():
            with np.errstate(over="ignore"):
                share = size / size[p < 1].max()
            np.testing.assert_allclose(p, np.minimum(1, share * p[p < 1].max()), rtol=1e-9)


def test_inclusion_is_the_closed_form_of_two_and_four():
    pairs = torch.rand(100, 2, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(masks._inclusion(pairs, 1), pairs / pairs.sum(1, keepdim=True))
    fours = torch.rand(1000, 4, generator=torch.Generator().manual_seed(3)).double() ** 3
    largest = fours.max(1, keepdim=True).values
    rest = fours.sum(1, keepdim=True) - largest
    alone = fours == largest
    expected = torch.where(largest > rest, torch.where(alone, 1.0, fours / rest), 2 * fours / (largest + rest))
    assert 100 < (largest > rest).sum() < 900
    torch.testing.assert_close(masks._inclusion(fours, 2), expected)


@pytest.mark.parametrize(("pattern", "axis"), [("1:2", 0), ("2:4", 0), ("2:8", 0), ("2:4", 1), ("4:4", 0), ("1:4", 0)])
def test_minimum_variance_is_unbiased_and_n_of_m(pattern, axis):
    pattern = Pattern.parse(pattern)
    torch.manual_seed(4)
    gradient = torch.randn(18, 6, dtype=torch.float64) * torch.rand(18, 6) ** 2
    gradient[4:8] = 0
    draws = torch.stack([masks.minimum_variance(gradient, pattern, axis) for _ in range(4000)])
    for draw in draws[:50]:
        assert numpy_masks.conformity(draw.numpy(), pattern, axis) == 1
    groups = masks._groups(gradient.abs(), pattern.group, axis)
    chance = masks._ungroup(masks._inclusion(groups, pattern.kept), gradient.shape[axis], axis)
    variance = torch.where(chance > 0, gradient**2 * (1 / chance - 1), 0.0)
    assert ((draws.mean(0) - gradient).abs() <= 5 * (variance / len(draws)).sqrt() + 1e-12).all()
    torch.testing.assert_close(draws.var(0).sum(), variance.sum(), rtol=0.1, atol=1e-12)


def test_minimum_variance_keeps_no_more_where_chances_round_upwards(monkeypatch):
    monkeypatch.setattr(torch, "rand_like", torch.zeros_like)
    gradient = torch.rand(8, 5000, generator=torch.Generator().manual_seed(8))
    assert (masks._inclusion(gradient.t(), 3).cumsum(-1)[:, -1] > 3).any()
    kept = masks.minimum_variance(gradient, Pattern(kept=3, group=8), 0)
    assert ((kept != 0).sum(0) <= 3).all()


def test_minimum_variance_of_a_pair_keeps_the_sum():
    torch.manual_seed(5)
    drawn = {tuple(masks.minimum_variance(torch.tensor([3.0, -1.0]), P12, 0).tolist()) for _ in range(100)}
    assert drawn == {(4.0, 0.0), (0.0, -4.0)}


def test_minimum_variance_keeps_the_type_and_follows_the_seed():
    gradient = torch.randn(64, 3).half()
    torch.manual_seed(6)
    first = masks.minimum_variance(gradient, P24, 0)
    torch.manual_seed(6)
    assert first.dtype == torch.float16
    torch.testing.assert_close(masks.minimum_variance(gradient, P24, 0), first, rtol=0, atol=0)


def test_best_order_keeps_more_than_most_and_repeats_in_every_part():
    torch.manual_seed(7)
    kept = torch.randn(32, 16)
    kept *= masks.magnitude_mask(kept, P24, 1)
    order = masks.best_order(kept, P24, 0, candidates=200, repeats=2)
    assert sorted(order.tolist()) == list(range(32))
    assert (order[16:] == order[:16] + 16).all()
    ours = masks.backward_mask(kept, P24, 0, order).sum()
    others = [masks.backward_mask(kept, P24, 0, masks.best_order(kept, P24, 0, 1, 2)).sum() for _ in range(20)]
    assert ours >= max(others)


def test_backward_mask_drops_what_ff_pruned():
    kept = torch.tensor([[0.0], [5.0], [0.0], [0.0]])
    order = torch.tensor([1, 0, 3, 2])
    assert masks.backward_mask(kept, P24, 0, order).flatten().tolist() == [True, False, False, False]
