import dataclasses
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from accelsim.arrays import functional
from accelsim.arrays.compiled import sorter
from accelsim.arrays.functional import (
    AdamRule,
    AdamState,
    SgdRule,
    SgdState,
    sore_reduce,
    wuve_adam_step,
    wuve_sgd_step,
)
from accelsim.base.errors import InputError
from accelsim.sparsity.masks import magnitude_mask, pack, unpack
from accelsim.sparsity.pattern import Pattern

CROWDED_VALUES = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 1e-7, -6e-8, np.inf, -np.inf, 65504.0]


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    shape = draw(hnp.array_shapes(max_dims=3, max_side=13))
    smallest = float(np.finfo(dtype).smallest_subnormal)
    crowded = st.sampled_from([*CROWDED_VALUES, smallest, -2 * smallest])
    wide = st.floats(width=np.dtype(dtype).itemsize * 8, allow_nan=False)
    elements = draw(st.sampled_from([crowded, wide]))
    return draw(hnp.arrays(dtype, shape, elements=elements)), draw(st.integers(-len(shape), len(shape) - 1))


@st.composite
def patterns(draw):
    group = draw(st.integers(1, 16))
    return Pattern(kept=draw(st.integers(1, group)), group=group)


def mask_of(packed):
    """Return the mask a compact form stands for, kept zeros included: ones in place of its values unpack to it."""
    return unpack(dataclasses.replace(packed, values=np.ones_like(packed.values))) == 1


@settings(deadline=None, max_examples=300)
@given(tensors(), patterns(), st.integers(1, 40))
def test_sore_gives_the_magnitude_mask_and_the_cycles_the_closed_form_charges(tensor, pattern, lanes):
    array, axis = tensor
    reduction = sore_reduce(array, pattern, lanes, axis)
    np.testing.assert_array_equal(mask_of(reduction.packed), magnitude_mask(array, pattern, axis))
    expected = unpack(pack(array, pattern, axis))
    np.testing.assert_array_equal(unpack(reduction.packed).view(np.uint8), expected.view(np.uint8))
    length = array.shape[axis]
    groups = array.size // length * math.ceil(length / pattern.group)
    assert reduction.cycles == math.ceil(groups / lanes) * pattern.group


def test_sore_by_hand():
    values = np.array([[1.0, -3.0, 3.0, 2.0, 0.0, -0.0, 0.0, 0.0], [5.0, 4.0, 6.0, 4.0, 1.0, 9.0, np.inf, -np.inf]])
    reduction = sore_reduce(values.astype(np.float16), Pattern(kept=2, group=4), lanes=3)
    np.testing.assert_array_equal(reduction.packed.values, [[-3, 3, 0, 0], [6, 5, np.inf, -np.inf]])
    np.testing.assert_array_equal(reduction.packed.indices, [[1, 2, 0, 1], [2, 0, 2, 3]])
    assert np.signbit(reduction.packed.values[0, 3])
    assert reduction.packed.values.dtype == np.float16
    assert reduction.cycles == 8


@pytest.mark.parametrize(
    ("groups", "lanes", "cycles"), [(1, 32, 8), (32, 32, 8), (33, 32, 16), (64, 32, 16), (5, 1, 40), (0, 32, 0)]
)
def test_sore_cycles(groups, lanes, cycles):
    assert sore_reduce(np.ones(8 * groups, np.float32), Pattern(kept=2, group=8), lanes).cycles == cycles


def test_a_short_group_is_padded_and_takes_as_many_cycles():
    reduction = sore_reduce(np.array([4.0, 5.0, 6.0, 7.0, -0.0]), Pattern(kept=3, group=4), lanes=1)
    np.testing.assert_array_equal(reduction.packed.values, [7, 6, 5, 0, 0, 0])
    np.testing.assert_array_equal(reduction.packed.indices, [3, 2, 1, 0, 1, 2])
    np.testing.assert_array_equal(reduction.packed.filled, [3, 1])
    assert reduction.cycles == 8


def test_sore_registers_are_sorted_after_every_element():
    registers, positions = np.zeros(3), np.zeros(3, np.int64)
    held = 0
    seen = []
    for position, magnitude in enumerate([2.0, 5.0, 5.0, 1.0, 7.0]):
        held = sorter.enter(magnitude, position, registers, positions, held)
        seen.append((registers[:held].tolist(), positions[:held].tolist()))
    assert seen == [
        ([2], [0]),
        ([5, 2], [1, 0]),
        ([5, 5, 2], [1, 2, 0]),
        ([5, 5, 2], [1, 2, 0]),
        ([7, 5, 5], [4, 1, 2]),
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sore_reduce(np.arange(8), Pattern(kept=2, group=8), 1),
            "values: element type int64; float16, float32 or float64 is allowed",
        ),
        (
            lambda: sore_reduce(np.ones((2, 8)), Pattern(kept=2, group=8), 1, axis=2),
            "axis 2: an axis of values is needed, whose shape is (2, 8)",
        ),
        (lambda: sore_reduce(np.ones(8), Pattern(kept=2, group=8), 0), "lanes 0: at least 1 is needed"),
        (
            lambda: sore_reduce(np.array([[1, np.nan]]), Pattern(kept=1, group=2), 1),
            "values: NaN at position (0, 1); numbers and infinities can be sorted, NaN cannot",
        ),
        (
            lambda: SgdRule(learning_rate=0.1, momentum=-0.5, weight_decay=0),
            "momentum: -0.5; a finite number, 0 or more, is needed",
        ),
        (
            lambda: AdamRule(learning_rate=0.1, beta1=0.9, beta2=1.0, epsilon=1e-8, weight_decay=0),
            "beta2: 1.0; a number from 0 to below 1 is needed",
        ),
        (
            lambda: AdamRule(learning_rate=math.nan, beta1=0.9, beta2=0.99, epsilon=1e-8, weight_decay=0),
            "learning_rate: nan; a finite number, 0 or more, is needed",
        ),
        (
            lambda: SgdState.initial(np.ones(3)),
            (
                "weights: float64 of shape (3,); float32 of the shape of the weights, (3,), and at least one axis are"
                " needed"
            ),
        ),
        (
            lambda: SgdState(weights=np.ones(3, np.float32), momentum=np.ones(2, np.float32), steps=0),
            (
                "momentum: float32 of shape (2,); float32 of the shape of the weights, (3,), and at least one axis are"
                " needed"
            ),
        ),
        (
            lambda: SgdState(weights=np.ones(3, np.float32), momentum=np.ones(3, np.float32), steps=-1),
            "steps: -1; 0 or more updates made so far are needed",
        ),
        (
            lambda: sgd_step(np.ones(2, np.float32), 1.0),
            "gradient: float32 of shape (2,); float16 or float32 of the shape of the weights, (3,), is needed",
        ),
        (lambda: sgd_step(np.ones(3, np.float16), 0.0), "loss_scale: 0.0; a positive finite number is needed"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        call()


def sgd_step(gradient, loss_scale):
    rule = SgdRule(learning_rate=0.5, momentum=0.0, weight_decay=0.0)
    return wuve_sgd_step(SgdState.initial(np.ones(3, np.float32)), gradient, rule, loss_scale)


def correctly_rounded(a, b, c):
    """Return a b + c rounded once to float32, by exact rational arithmetic over the two float32 neighbours."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = np.float32(float(exact))
    candidates = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    finite = [candidate for candidate in candidates if np.isfinite(candidate)]
    # of two equally near ones the one with an even last bit
    return min(finite, key=lambda f: (abs(Fraction(float(f)) - exact), int(f.view(np.int32)) & 1))


small_floats = st.floats(width=32, min_value=-(2.0**60), max_value=2.0**60)
# products of 24-bit numbers, near a power of two apart from the addend, are where rounding twice goes wrong
whole = st.integers(1, 2**24 - 1).map(float)
scaled = st.builds(math.ldexp, whole, st.integers(-60, 30))


@settings(deadline=None, max_examples=500)
@given(st.lists(st.tuples(small_floats | whole, small_floats | whole, small_floats | scaled), min_size=1, max_size=8))
def test_multiply_add_rounds_once(triples):
    a, b, c = (np.array(column, np.float32) for column in zip(*triples, strict=True))
    expected = np.array([correctly_rounded(*triple) for triple in zip(a, b, c, strict=True)], np.float32)
    np.testing.assert_array_equal(functional._multiply_add(a, b, c), expected)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        # 8392705 8384513 = 2**46 + 1: the sum lies 2**-70 above the middle of two float32, which double precision loses
        (8392705 * 2.0**-35, 8384513 * 2.0**-35, 1.0, 1 + 2.0**-23),
        # (1 + x)(1 - x) = 1 - 2**-46: the sum lies 2**-70 below the middle
        ((1 + 2.0**-23) * 2.0**-24, 1 - 2.0**-23, 1 + 2.0**-23, 1 + 2.0**-23),
        (2.0**-24, 1.0, 1.0, 1.0),
        (2.0**-24, 1.0, 1 + 2.0**-23, 1 + 2.0**-22),
        (2.0**127, 2.0, 1.0, np.inf),
        (2.0**-149, 0.5, 2.0**-149, 2.0**-148),
        (1.0, -1.0, 1.0, 0.0),
    ],
    ids=["above-tie", "below-tie", "tie-down", "tie-up", "overflow", "denormal", "cancelled"],
)
def test_multiply_add_where_rounding_twice_would_be_wrong(a, b, c, expected, sign):
    a, c, expected = (np.array([sign * x], np.float32) for x in (a, c, expected))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(functional._multiply_add(a, np.float32(b), c), expected)


def test_half_precision_copy_rounds_to_nearest_even():
    ulp = 2.0**-10
    weights = np.array([1 + ulp / 2, 1 + 3 * ulp / 2, -1 - ulp / 2, 65519, 65520, 2.0**-25, 3 * 2.0**-25], np.float32)
    rule = SgdRule(learning_rate=0.0, momentum=0.0, weight_decay=0.0)
    half = wuve_sgd_step(SgdState.initial(weights), np.zeros(7, np.float16), rule, 1.0).weights_fp16
    np.testing.assert_array_equal(half, np.array([1, 1 + 2 * ulp, -1, 65504, np.inf, 0, 2.0**-23], np.float16))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_an_update_with_a_gradient_that_is_not_finite_is_skipped(bad):
    gradient = np.array([1.0, bad], np.float16)
    weights = np.array([0.1, 0.2], np.float32)
    sgd = wuve_sgd_step(
        SgdState.initial(weights), gradient, SgdRule(learning_rate=0.1, momentum=0.9, weight_decay=0), 1.0
    )
    adam_rule = AdamRule(learning_rate=0.1, beta1=0.9, beta2=0.99, epsilon=1e-8, weight_decay=0)
    adam = wuve_adam_step(AdamState.initial(weights), gradient, adam_rule, 1.0)
    for step in (sgd, adam):
        assert step.skipped
        assert step.state.steps == 0
        np.testing.assert_array_equal(step.state.weights, weights)
        np.testing.assert_array_equal(step.weights_fp16, weights.astype(np.float16))


def test_sgd_by_hand():
    rule = SgdRule(learning_rate=0.5, momentum=0.5, weight_decay=0.25)
    first = wuve_sgd_step(SgdState.initial(np.array([4.0], np.float32)), np.array([16.0], np.float16), rule, 8.0)
    # direction 16 / 8 + 0.25 4 = 3, weight 4 - 0.5 3
    assert (first.state.momentum[0], first.state.weights[0], first.state.steps) == (3, 2.5, 1)
    second = wuve_sgd_step(first.state, np.array([8.0], np.float16), rule, 8.0)
    # direction 0.5 3 + 1 + 0.25 2.5 = 3.125
    assert (second.state.momentum[0], second.state.weights[0], second.state.steps) == (3.125, 0.9375, 2)


def test_adam_first_step_is_the_learning_rate_against_the_sign_of_the_gradient():
    rule = AdamRule(learning_rate=0.25, beta1=0.5, beta2=0.75, epsilon=0.0, weight_decay=0.0)
    step = wuve_adam_step(AdamState.initial(np.ones(2, np.float32)), np.array([4.0, -0.5], np.float32), rule, 1.0)
    np.testing.assert_array_equal(step.state.weights, np.array([0.75, 1.25], np.float32))
    np.testing.assert_array_equal(step.state.first_moment, np.array([2.0, -0.25], np.float32))
    np.testing.assert_array_equal(step.state.second_moment, np.array([4.0, 0.0625], np.float32))


# --- against PyTorch, on the same numbers

WEIGHTS = 4099  # not a multiple of any vector width, so that the tails of the loops are compared too
STEPS = 6

# PyTorch's vectorised square root is off the nearest number by at most one unit in the last place (about one number in
# six with AVX2). That is at most 2 units of the denominator after its division and sum, another of the
# quotient's own rounding, in all 4 units of the update; adding it to the weight may then turn one rounding.
UPDATE_ULPS = 4
WEIGHT_ULPS = 1


def gradients(dtype, scale):
    """Return gradients over many magnitudes, some zero, times the loss scale."""
    rng = np.random.default_rng(11)
    values = rng.standard_normal((STEPS, WEIGHTS)) * 10.0 ** rng.uniform(-4, 1, (STEPS, WEIGHTS))
    values[rng.random(values.shape) < 0.05] = 0
    return (values * scale).astype(dtype)


def initial_weights():
    return np.random.default_rng(12).standard_normal(WEIGHTS).astype(np.float32)


@pytest.fixture(scope="module")
def fused_torch():
    """PyTorch, if its kernels round a multiply-add once, as all vectorised ones do (x86 from AVX2, Arm)."""
    torch = pytest.importorskip("torch")
    root, square = 1 + 2.0**-12, 1 + 2.0**-11
    if torch.full((64,), -square).add(torch.full((64,), root), alpha=root).eq(0).any():
        pytest.skip("PyTorch runs its kernels without fused multiply-add here and rounds twice, WUVE rounds once")
    return torch


def torch_parameter(torch, weights):
    return torch.nn.Parameter(torch.from_numpy(weights.copy()))


def step_with_scaler(torch, optimizer, parameter, gradient, scale):
    """Let PyTorch's gradient scaler divide out the loss scale and take the step, as an AMP training loop does."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    scaler.scale(torch.zeros(()))
    parameter.grad = torch.from_numpy(gradient.astype(np.float32))
    scaler.step(optimizer)


def same_bits(actual, expected):
    np.testing.assert_array_equal(actual.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1.0), (np.float16, 1024.0), (np.float32, 3.0)])
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 1e-2), (0.9, 5e-4)])
def test_sgd_equals_pytorch_bit_for_bit(fused_torch, dtype, scale, momentum, weight_decay):
    torch = fused_torch
    parameter = torch_parameter(torch, initial_weights())
    optimizer = torch.optim.SGD([parameter], lr=0.0137, momentum=momentum, weight_decay=weight_decay, foreach=False)
    rule = SgdRule(learning_rate=0.0137, momentum=momentum, weight_decay=weight_decay)
    state = SgdState.initial(initial_weights())
    for gradient in gradients(dtype, scale):
        step_with_scaler(torch, optimizer, parameter, gradient, scale)
        step = wuve_sgd_step(state, gradient, rule, scale)
        state = step.state
        same_bits(state.weights, parameter.detach().numpy())
        same_bits(step.weights_fp16, parameter.detach().half().numpy())
        if momentum:
            same_bits(state.momentum, optimizer.state[parameter]["momentum_buffer"].numpy())


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1.0), (np.float16, 1024.0)])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.3, 0.95)], ids=["usual", "short-memory"])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_adam_equals_pytorch_but_for_its_square_root(fused_torch, dtype, scale, betas, weight_decay):
    torch = fused_torch
    parameter = torch_parameter(torch, initial_weights())
    settings_ = {"lr": 3e-3, "betas": betas, "eps": 1e-8, "weight_decay": weight_decay}
    optimizer = torch.optim.Adam([parameter], foreach=False, **settings_)
    rule = AdamRule(learning_rate=3e-3, beta1=betas[0], beta2=betas[1], epsilon=1e-8, weight_decay=weight_decay)
    state = AdamState.initial(initial_weights())
    for gradient in gradients(dtype, scale):
        step_with_scaler(torch, optimizer, parameter, gradient, scale)
        step = wuve_adam_step(state, gradient, rule, scale)
        theirs = AdamState(
            weights=parameter.detach().numpy().copy(),
            first_moment=optimizer.state[parameter]["exp_avg"].numpy().copy(),
            second_moment=optimizer.state[parameter]["exp_avg_sq"].numpy().copy(),
            steps=int(optimizer.state[parameter]["step"]),
        )
        assert step.state.steps == theirs.steps
        same_bits(step.state.first_moment, theirs.first_moment)
        same_bits(step.state.second_moment, theirs.second_moment)
        update = np.abs(theirs.weights - state.weights)
        largest_weight = np.maximum(np.abs(theirs.weights), np.abs(state.weights))
        allowed = UPDATE_ULPS * np.spacing(update) + WEIGHT_ULPS * np.spacing(largest_weight)
        difference = np.abs(step.state.weights.astype(np.float64) - theirs.weights)
        np.testing.assert_array_less(difference, np.nextafter(allowed, np.float32(np.inf)))
        # the next step starts from the same numbers, so that differences do not add up to a looser bound
        state = theirs


def test_adam_with_the_square_root_of_pytorch_equals_it_bit_for_bit(fused_torch, monkeypatch):
    torch = fused_torch
    parameter = torch_parameter(torch, initial_weights())
    optimizer = torch.optim.Adam([parameter], lr=3e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, foreach=False)
    rule = AdamRule(learning_rate=3e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=1e-2)
    monkeypatch.setattr(functional.np, "sqrt", lambda x: torch.from_numpy(x).sqrt().numpy())
    state = AdamState.initial(initial_weights())
    for gradient in gradients(np.float32, 1.0):
        step_with_scaler(torch, optimizer, parameter, gradient, 1.0)
        state = wuve_adam_step(state, gradient, rule, 1.0).state
        same_bits(state.weights, parameter.detach().numpy())


def test_half_precision_copy_equals_pytorch_for_all_magnitudes():
    torch = pytest.importorskip("torch")
    patterns_ = np.random.default_rng(13).integers(0, 2**32, 200_000, dtype=np.uint32)
    weights = patterns_.view(np.float32)
    weights = np.concatenate([weights[np.isfinite(weights)], np.arange(65536, dtype=np.uint16).view(np.float16)])
    weights = weights[np.isfinite(weights)].astype(np.float32)
    rule = SgdRule(learning_rate=0.0, momentum=0.0, weight_decay=0.0)
    half = wuve_sgd_step(SgdState.initial(weights), np.zeros_like(weights), rule, 1.0).weights_fp16
    np.testing.assert_array_equal(half, torch.from_numpy(weights).half().numpy())


def test_a_skipped_step_is_skipped_by_pytorch_too():
    torch = pytest.importorskip("torch")
    parameter = torch_parameter(torch, initial_weights())
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    gradient = np.full(WEIGHTS, np.inf, np.float16)
    step_with_scaler(torch, optimizer, parameter, gradient, 64.0)
    rule = SgdRule(learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    step = wuve_sgd_step(SgdState.initial(initial_weights()), gradient, rule, 64.0)
    assert step.skipped
    same_bits(step.state.weights, parameter.detach().numpy())
