"""Operators that stand for several nodes of the standard, by domain and name."""

from collections.abc import Mapping
from types import MappingProxyType

from accelsim.workload.importers._onnx_body import Body, Expansion
from accelsim.workload.importers._onnx_microsoft import MICROSOFT
from accelsim.workload.importers._onnx_quantised import QUANTISED

__all__ = ["EXPANSIONS"]


def _causal_convolution(body: Body) -> None:
    """A convolution of each channel with what was before it: the state, or zeros."""
    x, kernel, bias, state = body.needed(0), body.needed(1), body.given(2), body.given(3)
    before = body.shape(kernel)[2] - 1
    channels, length = body.shape(x)[1:]
    if state:
        x = body.add("Concat", [state, x], axis=2)
    elif body.result(1):
        x = body.add("Pad", [x, body.integers([0, 0, before, 0, 0, 0])])
    pads = [0, 0] if state or body.result(1) else [before, 0]
    inputs = [x, kernel, *filter(None, [bias])]
    activated = body.attribute("activation", "none") != "none"
    result = body.add("Conv", inputs, to="" if activated else body.result(0), group=channels, pads=pads)
    if activated:
        body.add("Swish", [result], to=body.result(0), same=True)
    if body.result(1):
        ends = [body.integers([place]) for place in (length, length + before, 2)]
        body.add("Slice", [x, *ends], to=body.result(1))


def _gated(body: Body) -> None:
    gate = body.add("Swish", [body.needed(0)], same=True)
    body.add("Mul", [gate, body.needed(1)], to=body.result(0))


EXPANSIONS: Mapping[tuple[str, str], Expansion] = MappingProxyType(
    {
        **QUANTISED,
        **MICROSOFT,
        ("", "CausalConvWithState"): _causal_convolution,
        ("com.microsoft", "CausalConvWithState"): _causal_convolution,
        ("", "SwiGLU"): _gated,
    }
)
"""What makes the nodes that stand for an operator."""
