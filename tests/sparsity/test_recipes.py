"""Recipes: phases by hand, and step by step what the schedules of accelsim.torch put in force."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.base.errors import InputError
from accelsim.sparsity.methods import METHODS, RECIPE_NAMES, Operand, find_method
from accelsim.sparsity.pattern import Pattern
from accelsim.sparsity.recipes import RECIPES, Phase, find_recipe, phases_of, stepwise_patterns

P28 = Pattern(kept=2, group=8)


def phases(text: str, steps: int, pattern: Pattern | None = P28, **shares: float) -> list[tuple[str, int, str, str]]:
    found = phases_of(find_recipe(text, **shares), pattern, steps)
    return [(phase.name, phase.steps, phase.method.name, str(phase.pattern)) for phase in found]


def every_step(found: tuple[Phase, ...]) -> Iterator[Phase]:
    for phase in found:
        yield from [phase] * phase.steps


def test_names_of_recipes_are_those_that_a_step_refuses() -> None:
    assert tuple(RECIPES) == RECIPE_NAMES
    assert not set(RECIPES) & set(METHODS)
    for name in (*RECIPES, "mask-decay:bdwp"):
        with pytest.raises(InputError) as caught:
            find_method(name)
        assert str(caught.value) == (
            f"method '{name}' is a recipe for a training run, not for one step; say how long the run is: simulate with"
            " --epochs and --dataset-size, or with --steps (in Python simulate_training)"
        )


@pytest.mark.parametrize("method", METHODS)
def test_a_method_alone_stays_in_force(method: str) -> None:
    pattern = str(P28) if METHODS[method].takes_pattern else "None"
    assert phases(method, 7) == phases(f"constant:{method}", 7) == [("training", 7, method, pattern)]


@pytest.mark.parametrize(
    ("text", "steps", "shares", "expected"),
    [
        ("stepwise-decay", 9, {},
         [("decay 1 of 3", 3, "sr-ste", "7:8"), ("decay 2 of 3", 3, "sr-ste", "4:8"), ("decay 3 of 3", 3, "sr-ste", "2:8")]),
        ("stepwise-decay:bdwp", 10, {"dense_share": 0.1, "fine_tune_share": 0.2},
         [("dense", 1, "dense", "None"), ("decay 1 of 3", 3, "bdwp", "7:8"), ("decay 2 of 3", 2, "bdwp", "4:8"),
          ("decay 3 of 3", 2, "bdwp", "2:8"), ("fine-tuning", 2, "bdwp", "2:8")]),
        ("stepwise-decay", 2, {}, [("decay 1 of 3", 1, "sr-ste", "7:8"), ("decay 2 of 3", 1, "sr-ste", "4:8")]),
        ("mask-decay", 10, {}, [("mask decay", 5, "dense", "None"), ("fine-tuning", 5, "sr-ste", "2:8")]),
        ("mask-decay:bdwp", 10, {"dense_share": 0.3, "fine_tune_share": 0.1},
         [("dense", 3, "dense", "None"), ("mask decay", 6, "dense", "None"), ("fine-tuning", 1, "bdwp", "2:8")]),
        ("dense-then-sparse", 10, {}, [("dense", 5, "dense", "None"), ("sparse", 5, "bdwp", "2:8")]),
        ("dense-then-sparse:traced", 10, {"dense_share": 0.2}, [("dense", 2, "dense", "None"), ("sparse", 8, "traced", "None")]),
        ("dense-then-sparse:mvue", 3, {"dense_share": 0}, [("sparse", 3, "mvue", "2:8")]),
    ],
)  # fmt: skip
def test_phases_by_hand(
    text: str, steps: int, shares: dict[str, float], expected: list[tuple[str, int, str, str]]
) -> None:
    assert phases(text, steps, **shares) == expected


shares = st.floats(0, 1, exclude_max=True)


@given(st.sampled_from(["stepwise-decay", "mask-decay"]), st.integers(1, 10**6), shares, shares)
def test_no_step_is_lost_and_shares_are_kept(text: str, steps: int, dense: float, fine_tuning: float) -> None:
    if dense + fine_tuning >= 1:
        return
    found = phases(text, steps, dense_share=dense, fine_tune_share=fine_tuning)
    assert sum(count for _, count, *_ in found) == steps
    assert all(count >= 1 for _, count, *_ in found)
    counts = {name: count for name, count, *_ in found}
    assert abs(counts.get("dense", 0) - dense * steps) <= 0.5
    assert abs(counts.get("fine-tuning", 0) - fine_tuning * steps) <= 0.5
    frames = [count for name, count, *_ in found if name.startswith("decay")]
    assert not frames or max(frames) - min(frames) <= 1


@given(st.integers(1, 64), st.integers(1, 64))
def test_stepwise_patterns_fall_to_the_last(kept: int, group: int) -> None:
    last = Pattern(kept=min(kept, group), group=group)
    found = stepwise_patterns(last)
    assert found[-1] == last
    assert all(before.kept > after.kept for before, after in pairwise(found))
    assert len(found) == 1 or found[0].kept == group - 1


@pytest.mark.parametrize(
    "text", ["stepwise-decay", "stepwise-decay:bdwp", "stepwise-decay:sdgp", "stepwise-decay:mvue"]
)
@pytest.mark.parametrize("pattern", ["2:8", "1:16", "3:8", "1:2", "4:4"])
@pytest.mark.parametrize(
    ("steps", "shares"), [(30, {}), (17, {}), (2, {}), (23, {"dense_share": 0.2, "fine_tune_share": 0.3})]
)
def test_stepwise_decay_is_the_schedule_of_torch(text: str, pattern: str, steps: int, shares: dict[str, float]) -> None:
    torch = pytest.importorskip("torch")
    import accelsim.torch as methods

    recipe = find_recipe(text, **shares)
    found = list(every_step(phases_of(recipe, Pattern.parse(pattern), steps)))
    dense, fine_tuning = (round(shares.get(name, 0) * steps) for name in ("dense_share", "fine_tune_share"))
    assert [phase.method.name for phase in found[:dense]] == ["dense"] * dense
    put_on = getattr(methods, recipe.method.name.replace("-", "_"))
    model = torch.nn.Sequential(put_on(torch.nn.Linear(16, 16), pattern, exclude=()))
    schedule = methods.stepwise_decay(model, steps - dense - fine_tuning)
    for phase in found[dense:]:
        assert phase.pattern == model[0]._accelsim.pattern
        assert phase.method is model[0]._accelsim.method
        schedule.step()
    assert schedule.done == steps - dense


@pytest.mark.parametrize("steps", [1, 2, 11])
def test_mask_decay_is_the_schedule_of_torch(steps: int) -> None:
    torch = pytest.importorskip("torch")
    import accelsim.torch as methods

    found = list(every_step(phases_of(find_recipe("mask-decay", fine_tune_share=0.4), P28, steps)))
    decay = sum(phase.name == "mask decay" for phase in found)
    model = torch.nn.Sequential(methods.sr_ste(torch.nn.Linear(16, 16, bias=False), "2:8", exclude=(), decay=0))
    schedule = methods.mask_decay(model, decay)
    for phase in found:
        zeros = int((model(torch.eye(16)) == 0).sum())
        assert zeros == (192 if phase.method.name == "sr-ste" else 0)
        schedule.step()


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.takes_pattern])
def test_mask_decay_is_defined_where_torch_runs_dense_until_its_end(name: str) -> None:
    """A method is left out where one of its operands stays N:M during the decay, in torch as in its definition."""
    torch = pytest.importorskip("torch")
    import accelsim.torch as methods

    method = METHODS[name]
    layer = torch.nn.Linear(16, 16, bias=False)
    methods.mask_decay(
        getattr(methods, name.replace("-", "_"))(torch.nn.Sequential(layer), "2:8", exclude=()), 10, done=5
    )
    x = torch.eye(16, requires_grad=True)
    y = layer(x)
    y.backward(torch.eye(16))  # for each position one channel: pruning the gradient takes nothing from it
    weights_are_dense = bool((y != 0).all() and (x.grad != 0).all())
    prunes_gradients = any(
        item is not None and item.operand is Operand.GRADIENT for item in (method.ff, method.bp, method.wu)
    )
    assert (name in RECIPES["mask-decay"].methods) is (weights_are_dense and not prunes_gradients)


@pytest.mark.parametrize(
    ("text", "shares", "message"),
    [
        ("stepwse-decay", {}, "method 'stepwse-decay' is neither a method nor a recipe; did you mean 'stepwise-decay'?; methods"
         " dense, sr-ste, sdgp, sdwp, bdwp, bi-mask, transposable, mvue, traced; recipes constant, stepwise-decay, mask-decay,"
         " dense-then-sparse, as in stepwise-decay or stepwise-decay:bdwp"),
        ("stepwise-decay:bdpw", {}, "method 'bdpw' is not known; did you mean 'bdwp'?; allowed: dense, sr-ste, sdgp, sdwp, bdwp,"
         " bi-mask, transposable, mvue, traced"),
        ("stepwise-decay:traced", {}, "method 'stepwise-decay:traced': 'stepwise-decay' is not defined on 'traced'; allowed:"
         " sr-ste, sdgp, sdwp, bdwp, bi-mask, transposable, mvue"),
        ("mask-decay:sdgp", {}, "method 'mask-decay:sdgp': 'mask-decay' is not defined on 'sdgp'; allowed: sr-ste, sdwp, bdwp,"
         " transposable"),
        ("dense-then-sparse:dense", {}, "method 'dense-then-sparse:dense': 'dense-then-sparse' is not defined on 'dense'; allowed:"
         " sr-ste, sdgp, sdwp, bdwp, bi-mask, transposable, mvue, traced"),
        ("bdwp", {"dense_share": 0.1}, "dense_share: 'constant' has no such part; recipes that have one: stepwise-decay,"
         " mask-decay, dense-then-sparse"),
        ("dense-then-sparse", {"fine_tune_share": 0.1}, "fine_tune_share: 'dense-then-sparse' has no such part; recipes that have"
         " one: stepwise-decay, mask-decay"),
        ("mask-decay", {"dense_share": 1.0}, "dense_share: got 1; a share of the steps from 0 to below 1 is needed"),
        ("mask-decay", {"dense_share": -0.1}, "dense_share: got -0.1; a share of the steps from 0 to below 1 is needed"),
        ("mask-decay", {"fine_tune_share": float("nan")},
         "fine_tune_share: got nan; a share of the steps from 0 to below 1 is needed"),
        ("mask-decay", {"dense_share": 0.5}, "dense_share 0.5 and fine_tune_share 0.5: leave no step for 'mask-decay'; their sum"
         " must be below 1"),
    ],
)  # fmt: skip
def test_recipes_that_cannot_be(text: str, shares: dict[str, float], message: str) -> None:
    with pytest.raises(InputError) as caught:
        find_recipe(text, **shares)
    assert str(caught.value) == message


def test_a_method_that_prunes_by_a_pattern_needs_one() -> None:
    for text, method in (("bdwp", "bdwp"), ("stepwise-decay", "sr-ste"), ("mask-decay", "sr-ste")):
        with pytest.raises(InputError) as caught:
            phases(text, 10, None)
        assert str(caught.value) == f"method '{method}' needs a pattern, as in 2:8"
    assert phases("dense", 10, None) == [("training", 10, "dense", "None")]
