"""Recipes as data: which method and which pattern are in force over a training run, phase by phase.

A run of n steps is d steps of dense training, then n - d - f steps that a recipe divides into equal frames, then f
steps of fine-tuning at the pattern asked for (n, d and f as in Kao et al., 2022). The frames of the decays are those of
`accelsim.torch.stepwise_decay` and `accelsim.torch.mask_decay`, step by step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.plugins import Registry
from accelsim.sparsity.methods import METHODS, Method, find_method
from accelsim.sparsity.pattern import Pattern

__all__ = ["RECIPES", "Frame", "Phase", "Recipe", "Share", "find_recipe", "phases_of", "stepwise_patterns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of the steps of a run, from 0 to below 1, and where the number comes from."""

    value: float
    source: str


Frame = tuple[str, Method, Pattern | None]
"""A part of a run: its name, and the method and pattern in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is in force over a run.

    `method` prunes, one of `methods`. `frames` of the method and the pattern at the end, of equal length. `dense`,
    `fine_tuning`: the shares d/n and f/n of the run, None where the recipe has no such part.
    """

    name: str
    title: str
    source: str
    method: Method
    methods: tuple[str, ...]
    frames: Callable[[Method, Pattern | None], Sequence[Frame]]
    dense: Share | None = None
    fine_tuning: Share | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Steps under one method and pattern; `pattern` is None where the method takes none."""

    name: str
    steps: int
    method: Method
    pattern: Pattern | None


_FROM_SCRATCH = Share(value=0.0, source="published configuration of Bambhaniya et al., 2024")


def _constant(method: Method, pattern: Pattern | None) -> list[Frame]:
    return [("training", method, pattern)]


def _stepwise_decay(method: Method, pattern: Pattern | None) -> list[Frame]:
    assert pattern is not None, "the methods of stepwise decay prune by a pattern"
    patterns = stepwise_patterns(pattern)
    return [(f"decay {number} of {len(patterns)}", method, item) for number, item in enumerate(patterns, start=1)]


def _mask_decay(_method: Method, _pattern: Pattern | None) -> list[Frame]:
    return [("mask decay", METHODS["dense"], None)]


def _dense_then_sparse(method: Method, pattern: Pattern | None) -> list[Frame]:
    return [("sparse", method, pattern)]


def _shipped() -> dict[str, Recipe]:
    by_pattern = tuple(name for name, method in METHODS.items() if method.takes_pattern)
    return {
        recipe.name: recipe
        for recipe in (
            Recipe(
                name="constant",
                title="one method and pattern from the first step to the last",
                source="-",
                method=METHODS["bdwp"],
                methods=tuple(METHODS),
                frames=_constant,
            ),
            Recipe(
                name="stepwise-decay",
                title="SdGf: M-1, M/2, M/4, ... and at last N of every M are kept, in equal frames",
                source="Kao et al., 2022",
                method=METHODS["sr-ste"],
                methods=by_pattern,
                frames=_stepwise_decay,
                dense=_FROM_SCRATCH,
                fine_tuning=_FROM_SCRATCH,
            ),
            Recipe(
                name="mask-decay",
                title="MdGf: pruned weights are scaled down before they are zero; products are dense until then",
                source="Kao et al., 2022",
                method=METHODS["sr-ste"],
                methods=("sr-ste", "sdwp", "bdwp", "transposable"),  # what the others prune is zero from the start
                frames=_mask_decay,
                dense=_FROM_SCRATCH,
                fine_tuning=Share(
                    value=0.5, source="assumption: half of the run; without any, no step would be sparse"
                ),
            ),
            Recipe(
                name="dense-then-sparse",
                title="dense training first, then a method",
                source="common practice",
                method=METHODS["bdwp"],
                methods=(*by_pattern, "traced"),
                frames=_dense_then_sparse,
                dense=Share(value=0.5, source="assumption: half of the run"),
            ),
        )
    }


def _as_recipe(found: object, name: str) -> Recipe:
    if not isinstance(found, Recipe) or found.name != name:
        raise ValueError(f"a Recipe called '{name}' is needed")
    if name in METHODS:
        raise ValueError("a method is called so")
    return found


RECIPES: Mapping[str, Recipe] = Registry("recipes", _shipped, _as_recipe)
"""Recipes by name, those of other packages, too."""


def find_recipe(text: str, *, dense_share: float | None = None, fine_tune_share: float | None = None) -> Recipe:
    """Return the recipe that `text` names: a method, which is constant then, a recipe, or ``RECIPE:METHOD``.

    `dense_share` and `fine_tune_share` replace the recipe's own. Raises `InputError` for names that are not known, a
    method that the recipe cannot be built on, and shares that it does not have or that leave nothing for its frames.

    >>> find_recipe("stepwise-decay").method.name, find_recipe("stepwise-decay:bdwp").method.name
    ('sr-ste', 'bdwp')
    """
    name, colon, method = text.partition(":")
    if name not in RECIPES:
        if colon or name not in METHODS:
            hint = did_you_mean(name, (*METHODS, *RECIPES))
            kinds = f"methods {', '.join(METHODS)}; recipes {', '.join(RECIPES)}"
            raise InputError(f"method '{text}' is neither a method nor a recipe{hint}; {kinds}, as in {_example()}")
        recipe = replace(RECIPES["constant"], method=METHODS[name])
    else:
        recipe = RECIPES[name]
        recipe = replace(recipe, method=find_method(method)) if colon else recipe
    if recipe.method.name not in recipe.methods:
        raise InputError(
            f"method '{text}': '{recipe.name}' is not defined on '{recipe.method.name}'; allowed:"
            f" {', '.join(recipe.methods)}"
        )
    return _with_shares(recipe, dense_share, fine_tune_share)


def _example() -> str:
    return f"stepwise-decay or stepwise-decay:{RECIPES['constant'].method.name}"


def _with_shares(recipe: Recipe, dense: float | None, fine_tuning: float | None) -> Recipe:
    recipe = replace(
        recipe,
        dense=_share(recipe, "dense", "dense_share", dense),
        fine_tuning=_share(recipe, "fine_tuning", "fine_tune_share", fine_tuning),
    )
    shares = [share.value for share in (recipe.dense, recipe.fine_tuning) if share is not None]
    if sum(shares) >= 1:
        raise InputError(
            f"dense_share {shares[0]:g} and fine_tune_share {shares[1]:g}: leave no step for '{recipe.name}'; their sum"
            " must be below 1"
        )
    return recipe


def _share(recipe: Recipe, part: str, name: str, given: float | None) -> Share | None:
    own: Share | None = getattr(recipe, part)
    if given is None:
        return own
    if own is None:
        having = ", ".join(other for other, item in RECIPES.items() if getattr(item, part) is not None)
        raise InputError(f"{name}: '{recipe.name}' has no such part; recipes that have one: {having}")
    if not 0 <= given < 1:
        raise InputError(f"{name}: got {given:g}; a share of the steps from 0 to below 1 is needed")
    return Share(value=given, source="given")


def phases_of(recipe: Recipe, pattern: Pattern | None, steps: int) -> tuple[Phase, ...]:
    """Return the phases of a run of `steps`, those without a step left out; their steps sum to `steps`.

    Raises `InputError` where the method needs a `pattern` and there is none.

    >>> [(phase.name, str(phase.pattern), phase.steps) for phase in
    ...  phases_of(RECIPES["stepwise-decay"], Pattern.parse("2:8"), 100)]
    [('decay 1 of 3', '7:8', 34), ('decay 2 of 3', '4:8', 33), ('decay 3 of 3', '2:8', 33)]
    """
    if not recipe.method.takes_pattern:
        pattern = None
    elif pattern is None:
        raise InputError(f"method '{recipe.method.name}' needs a pattern, as in 2:8")
    dense, fine_tuning = _steps_in(recipe.dense, steps), _steps_in(recipe.fine_tuning, steps)
    frames = recipe.frames(recipe.method, pattern)
    # frame i of F holds the steps s with i <= s F / (n - d - f) < i + 1
    starts = [-(-index * (steps - dense - fine_tuning) // len(frames)) for index in range(len(frames) + 1)]
    parts = (
        (dense, ("dense", METHODS["dense"], None)),
        *zip((end - start for start, end in pairwise(starts)), frames, strict=True),
        (fine_tuning, ("fine-tuning", recipe.method, pattern)),
    )
    return tuple(
        Phase(name=name, steps=count, method=method, pattern=item) for count, (name, method, item) in parts if count
    )


def _steps_in(share: Share | None, steps: int) -> int:
    return 0 if share is None else round(share.value * steps)


def stepwise_patterns(last: Pattern) -> tuple[Pattern, ...]:
    """Return the patterns of stepwise decay to `last`: M-1, M/2, M/4, ... of M as long as they keep more, then `last`.

    >>> [str(pattern) for pattern in stepwise_patterns(Pattern.parse("1:16"))]
    ['15:16', '8:16', '4:16', '2:16', '1:16']
    """
    halves = [last.group >> shift for shift in range(1, last.group.bit_length())]
    kept = [number for number in dict.fromkeys([last.group - 1, *halves]) if number > last.kept]
    return (*(Pattern(kept=number, group=last.group) for number in kept), last)
