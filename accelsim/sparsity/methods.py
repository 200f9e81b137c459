"""Sparse-training methods as data: which operand of which stage is sparse, and along which axis its groups run.

FF ``Y = X W`` reduces input channels, BP ``dX = dY W^T`` output channels, WU ``dW = X^T dY`` batch x space. A method
prunes the weight W or the output gradient dY; the pruned operand always takes the weight port of the array.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.plugins import Registry, plugin_names
from accelsim.sparsity.pattern import Pattern

__all__ = ["METHODS", "RECIPE_NAMES", "Axis", "Method", "Operand", "SparseOperand", "case_name", "find_method"]


class Operand(StrEnum):
    """What enters a GEMM."""

    WEIGHT = "weight"
    GRADIENT = "gradient"
    ACTIVATION = "activation"


class Axis(StrEnum):
    """What the groups of a pattern run along."""

    INPUT = "input"
    OUTPUT = "output"
    BATCH = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseOperand:
    """The sparse operand of a stage and the axis of its groups."""

    operand: Operand
    axis: Axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A sparse-training method.

    `ff`, `bp`, `wu`: the sparse operand of each stage, None where it runs dense. `one_mask`: FF and BP share one mask,
    found in one pass over M x M blocks. `traced`: use what the trace observed instead.
    """

    name: str
    title: str
    source: str
    ff: SparseOperand | None = None
    bp: SparseOperand | None = None
    wu: SparseOperand | None = None
    one_mask: bool = False
    traced: bool = False

    @property
    def is_sparse(self) -> bool:
        """Whether any stage can be sparse."""
        return self.traced or any((self.ff, self.bp, self.wu))

    @property
    def takes_pattern(self) -> bool:
        """Whether it prunes by an N:M pattern."""
        return self.is_sparse and not self.traced


_W_IN = SparseOperand(operand=Operand.WEIGHT, axis=Axis.INPUT)
_W_OUT = SparseOperand(operand=Operand.WEIGHT, axis=Axis.OUTPUT)
_DY_OUT = SparseOperand(operand=Operand.GRADIENT, axis=Axis.OUTPUT)
_DY_BATCH = SparseOperand(operand=Operand.GRADIENT, axis=Axis.BATCH)

_SHIPPED = {
    method.name: method
    for method in (
        Method(name="dense", title="dense training", source="-"),
        Method(name="sr-ste", title="SR-STE: weights N:M in FF", source="Zhou et al., ICLR 2021", ff=_W_IN),
        Method(name="sdgp", title="SDGP: output gradients N:M in BP", source="McDanel et al., 2022", bp=_DY_OUT),
        Method(name="sdwp", title="SDWP: weights N:M in BP", source="Fang et al., TCAD 2023", bp=_W_OUT),
        Method(
            name="bdwp",
            title="BDWP: weights N:M in FF and BP, two masks",
            source="Fang et al., TCAD 2023",
            ff=_W_IN,
            bp=_W_OUT,
        ),
        Method(
            name="bi-mask",
            title="Bi-Mask: weights N:M in FF and, permuted, in BP",
            source="Zhang et al., ICML 2023",
            ff=_W_IN,
            bp=_W_OUT,
        ),
        Method(
            name="transposable",
            title="transposable mask: one N:M mask for FF and BP",
            source="Hubara et al., NeurIPS 2021",
            ff=_W_IN,
            bp=_W_OUT,
            one_mask=True,
        ),
        Method(
            name="mvue",
            title="transposable mask, and output gradients N:M in WU (MVUE)",
            source="Chmiel et al., ICLR 2023",
            ff=_W_IN,
            bp=_W_OUT,
            wu=_DY_BATCH,
            one_mask=True,
        ),
        Method(name="traced", title="the sparsity that the trace observed", source="the trace", traced=True),
    )
}


def _as_method(found: object, name: str) -> Method:
    if not isinstance(found, Method) or found.name != name or found.traced:
        raise ValueError(f"a Method called '{name}' is needed that does not take its sparsity from the trace")
    return found


METHODS: Mapping[str, Method] = Registry("methods", lambda: _SHIPPED, _as_method)
"""Methods by name, those of other packages, too."""

RECIPE_NAMES = ("constant", "stepwise-decay", "mask-decay", "dense-then-sparse", *plugin_names("recipes"))
"""Names of `accelsim.sparsity.recipes.RECIPES`, which stand where a method does, but for a whole run."""


def find_method(name: str) -> Method:
    """Return the method called `name`. Raises `InputError` with the nearest name otherwise."""
    if name.partition(":")[0] in RECIPE_NAMES:
        raise InputError(
            f"method '{name}' is a recipe for a training run, not for one step; say how long the run is: simulate with"
            " --epochs and --dataset-size, or with --steps (in Python simulate_training)"
        )
    if name not in METHODS:
        raise InputError(f"method '{name}' is not known{did_you_mean(name, METHODS)}; allowed: {', '.join(METHODS)}")
    return METHODS[name]


def case_name(method: str, pattern: str | Pattern | None) -> str:
    """Return a method with its pattern, if it has one, in words: ``bdwp 2:8``."""
    return method if pattern is None else f"{method} {pattern}"
