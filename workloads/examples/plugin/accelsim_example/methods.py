"""A sparse-training method, and a recipe that starts dense and tightens in two frames."""

from accelsim.sparsity.methods import METHODS, Axis, Method, Operand, SparseOperand
from accelsim.sparsity.pattern import Pattern
from accelsim.sparsity.recipes import Frame, Recipe, Share

WU_ONLY = Method(
    name="wu-only",
    title="output gradients N:M in WU alone",
    source="an example",
    wu=SparseOperand(operand=Operand.GRADIENT, axis=Axis.BATCH),
)


def _frames(method: Method, pattern: Pattern | None) -> list[Frame]:
    assert pattern is not None, "its methods prune by a pattern"
    twice = Pattern(kept=min(2 * pattern.kept, pattern.group), group=pattern.group)
    return [("half as sparse", method, twice), ("sparse", method, pattern)]


WARM_UP = Recipe(
    name="warm-up",
    title="a tenth of the run dense, then twice the weights, then those that stay",
    source="an example",
    method=METHODS["bdwp"],
    methods=("sr-ste", "bdwp"),
    frames=_frames,
    dense=Share(value=0.1, source="an example"),
)
