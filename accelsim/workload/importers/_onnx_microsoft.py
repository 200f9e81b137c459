"""Operators of ONNX Runtime (``com.microsoft``) that join several of the standard, as its optimiser writes them."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from accelsim.workload.importers._onnx_body import Body, Expansion
from accelsim.workload.importers._onnx_heads import HEADS

__all__ = ["MICROSOFT"]

_CONVOLUTION = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")

# Products with something after them


def _activated(body: Body, name: str) -> None:
    """Give the first result: a tensor after the activation that the node names, if any."""
    operator = body.attribute("activation", "")
    if operator:
        body.add(operator, [name], to=body.result(0))
    else:
        body.add("Identity", [name], to=body.result(0))


def _fused_conv(body: Body) -> None:
    given = {name: body.node.attributes[name] for name in _CONVOLUTION if name in body.node.attributes}
    bias = [body.given(2)] if body.given(2) else []
    result = body.add("Conv", [body.needed(0), body.needed(1), *bias], **given)
    _activated(body, body.add("Add", [result, body.given(3)]) if body.given(3) else result)


def _fused_gemm(body: Body) -> None:
    given = {name: body.node.attributes[name] for name in ("alpha", "beta", "transA", "transB")
             if name in body.node.attributes}  # fmt: skip
    _activated(body, body.add("Gemm", [name for name in body.node.inputs if name], **given))


def _fused_matmul(body: Body) -> None:
    left, right = (_turned(body, body.needed(place), side) for place, side in ((0, "A"), (1, "B")))
    result = body.add("MatMul", [left, right])
    alpha = body.attribute("alpha", 1.0)
    _activated(body, result if alpha == 1 else body.add("Mul", [result, body.number(alpha)]))


def _turned(body: Body, name: str, side: str) -> str:
    """Add the transposition of a factor that the attributes of its side ask for."""
    order = list(range(len(body.shape(name))))
    if body.attribute(f"transBatch{side}", 0):
        order = [*order[1:-1], 0, order[-1]]
    if body.attribute(f"trans{side}", 0) and len(order) > 1:
        order[-2:] = order[:-3:-1]
    return name if order == sorted(order) else body.add("Transpose", [name], perm=order)


# Sums with something after them


def _summed(body: Body, *names: str, to: str = "") -> str:
    first, *others = [name for name in names if name]
    for position, name in enumerate(others, start=1):
        first = body.add("Add", [first, name], to=to if position == len(others) else "")
    return first


def _after_sum(operator: str, *places: int) -> Expansion:
    """An operator of the sum of the inputs at these places, of which the first is needed."""

    def expand(body: Body) -> None:
        total = _summed(body, body.needed(0), *(body.given(place) for place in places))
        body.add(operator, [total], to=body.result(0), same=True)

    return expand


def _bias_add(body: Body) -> None:
    _summed(body, *body.node.inputs, to=body.result(0))


def _bias_dropout(body: Body) -> None:
    residual = body.given(2)
    total = _summed(body, body.needed(0), body.given(1))
    dropped = f"{body.result(0)}/dropped" if residual else body.result(0)
    body.several("Dropout", [total, body.given(3), body.given(4)], [dropped, body.result(1)], same=True)
    if residual:
        body.add("Add", [dropped, residual], to=body.result(0))


def _bias_split_gelu(body: Body) -> None:
    total = _summed(body, body.needed(0), body.given(1))
    half = body.shape(body.needed(0))[-1] // 2
    value, gate = body.split(total, [half, half])
    body.add("Mul", [value, body.add("Gelu", [gate], same=True)], to=body.result(0))


# Normalisations


def _norm(operator: str) -> Expansion:
    def expand(body: Body) -> None:
        body.add(operator, [name for name in body.node.inputs if name], to=body.result(0), same=True)

    return expand


def _skip_norm(operator: str, *parameters: int, bias: int) -> Expansion:
    """A normalisation of the sum of two tensors and perhaps a bias, which may be a result too."""

    def expand(body: Body) -> None:
        total = _summed(body, body.needed(0), body.needed(1), body.given(bias), to=body.result(3))
        scales = [body.given(place) for place in parameters if body.given(place)]
        body.add(operator, [total, *scales], to=body.result(0), same=True)

    return expand


def _group_norm(body: Body) -> None:
    _activated_norm(body, body.needed(0))


def _skip_group_norm(body: Body) -> None:
    _activated_norm(body, _summed(body, body.needed(0), body.needed(3), body.given(4), to=body.result(1)))


def _activated_norm(body: Body, name: str) -> None:
    inputs, silu = [name, body.needed(1), body.needed(2)], body.attribute("activation", 0)
    result = body.add("GroupNormalization", inputs, to="" if silu else body.result(0), same=True)
    if silu:
        body.add("Swish", [result], to=body.result(0), same=True)


def _embedding(body: Body) -> None:
    """Rows of tables of words, positions and perhaps segments, their sum and its normalisation."""
    words, segments, positions = body.needed(0), body.given(1), body.given(8)
    samples, length = body.shape(words)
    if not positions:
        positions = body.constant(np.arange(length)[None])
    rows = [body.add("Gather", [body.needed(2), words]), body.add("Gather", [body.needed(3), positions])]
    if segments:
        rows.append(body.add("Gather", [body.needed(4), segments]))
    total = _summed(body, *rows, to=body.result(2))
    body.add("LayerNormalization", [total, body.needed(5), body.needed(6)], to=body.result(0), same=True)
    if body.result(1):
        body.add("ConstantOfShape", [body.integers([samples])], to=body.result(1), shape=(samples,))


def _rotary(body: Body) -> None:
    x, positions, *caches = (body.needed(place) for place in range(4))
    body.add("RotaryEmbedding", [x, *caches, positions], to=body.result(0), same=True)


MICROSOFT: Mapping[tuple[str, str], Expansion] = MappingProxyType(
    {
        ("", "SimplifiedLayerNormalization"): _norm("RMSNormalization"),
        **{
            ("com.microsoft", operator): expansion
            for operator, expansion in {
                **HEADS,
                "FusedConv": _fused_conv,
                "FusedGemm": _fused_gemm,
                "FusedMatMul": _fused_matmul,
                "TransposeMatMul": _fused_matmul,
                "FusedMatMulActivation": _fused_matmul,
                "BiasAdd": _bias_add,
                "BiasDropout": _bias_dropout,
                "BiasGelu": _after_sum("Gelu", 1),
                "BiasSoftmax": _after_sum("Softmax", 1),
                "BiasSplitGelu": _bias_split_gelu,
                "FastGelu": _after_sum("Gelu", 1),
                "Gelu": _after_sum("Gelu"),
                "QuickGelu": _after_sum("Swish"),
                "GroupNorm": _group_norm,
                "SkipGroupNorm": _skip_group_norm,
                "SkipLayerNormalization": _skip_norm("LayerNormalization", 2, 3, bias=4),
                "SkipSimplifiedLayerNormalization": _skip_norm("RMSNormalization", 2, bias=3),
                "SimplifiedLayerNormalization": _norm("RMSNormalization"),
                "LayerNormalization": _norm("LayerNormalization"),
                "EmbedLayerNormalization": _embedding,
                "RotaryEmbedding": _rotary,
            }.items()
        },
    }
)
"""Expansions by domain and operator."""
