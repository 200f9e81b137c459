"""Attention of ONNX Runtime (``com.microsoft``) as projections and the attention of the standard."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from accelsim.workload.importers._onnx_body import Body, Expansion
from accelsim.workload.importers._onnx_quantised import real

__all__ = ["HEADS"]


def _attention(body: Body) -> None:
    """One product for queries, keys and values; the past is (2, samples, heads, positions, width)."""
    product = body.add("MatMul", [body.needed(0), body.needed(1)])
    _projected(body, product, masks=(3,), bias=5, past=4)


def _quantised_attention(body: Body) -> None:
    x, weight = (real(body, body.needed(place), body.given(zero)) for place, zero in ((0, 6), (1, 7)))
    _projected(body, body.add("MatMul", [x, weight]), masks=(5,), bias=None, past=8)


def _projected(body: Body, product: str, *, masks: Sequence[int], bias: int | None, past: int) -> None:
    heads = int(body.attribute("num_heads"))
    whole = body.shape(body.needed(1))[-1]
    widths = [int(size) for size in body.node.attributes.get("qkv_hidden_sizes", [whole // 3] * 3)]
    if body.given(2):
        product = body.add("Add", [product, body.given(2)])
    factors = body.split(product, widths)
    samples, rows, _ = body.shape(body.needed(0))
    size = (widths[0] // heads, widths[2] // heads)
    before, pasts = 0, ["", ""]
    if body.given(past):
        before = body.shape(body.given(past))[3]
        pasts = [body.add("Gather", [body.given(past), body.constant(np.array(place))]) for place in (0, 1)]
    presents = [f"{body.result(0)}/present {part}" if body.result(1) else "" for part in ("key", "value")]
    _attend(
        body, factors, heads=(heads, heads), lengths=(samples, rows, before + rows), size=size, past=pasts,
        present=presents, bias="" if bias is None else body.given(bias),
        masked=bool(body.attribute("unidirectional", 0)) or any(body.given(place) for place in masks),
    )  # fmt: skip
    if body.result(1):
        kept = [body.add("Unsqueeze", [name, body.integers([0])]) for name in presents]
        body.add("Concat", kept, to=body.result(1), axis=0)


def _multi_head(body: Body) -> None:
    """Queries, keys and values apart, or packed as (samples, positions, heads, 2 or 3, width)."""
    heads = int(body.attribute("num_heads"))
    query = body.shape(body.needed(0))
    samples, rows = query[:2]
    factors, forms = _apart(body, heads)
    width = query[-1] if len(query) == 5 else query[-1] // heads
    depth = forms[2][-1] if len(forms[2]) > 3 else forms[2][-1] // heads
    positions = forms[1][2] if len(forms[1]) == 4 else forms[1][1]
    apart = any(len(form) == 4 for form in forms)
    if body.given(3):
        if apart:
            raise body.error("adds a bias to packed keys; what this computes is not known here")
        parts = body.split(body.given(3), [heads * width, heads * width, heads * depth])
        factors = [body.add("Add", pair) for pair in zip(factors, parts, strict=True)]
    if apart:
        factors = [_by_heads(body, name, form, heads) for name, form in zip(factors, forms, strict=True)]
    past = [body.given(6), body.given(7)]
    before = body.shape(past[0])[2] if past[0] else 0
    _attend(
        body, factors, heads=(heads, heads), lengths=(samples, rows, before + positions), size=(width, depth),
        past=past, present=[body.result(1), body.result(2)], bias=body.given(5), apart=apart,
        masked=bool(body.given(4)) or bool(body.attribute("unidirectional", 0)),
    )  # fmt: skip


def _apart(body: Body, heads: int) -> tuple[list[str], list[tuple[int, ...]]]:
    """Return queries, keys and values with their shapes; packed ones are views with their heads apart."""
    names = [body.needed(0), body.given(1), body.given(2)]
    for first, name in enumerate(names):
        if name and len(body.shape(name)) == 5:
            packed = body.shape(name)
            places = [body.constant(np.array(place)) for place in range(packed[3])]
            parts = [body.add("Gather", [name, place], axis=3) for place in places]
            names[first:] = [body.add("Transpose", [part], perm=[0, 2, 1, 3]) for part in parts]
            kept = (packed[0], packed[2], packed[1], packed[4])
            return names, [*(body.shape(earlier) for earlier in names[:first]), *[kept] * packed[3]]
    if not names[1] or not names[2]:
        raise body.error("its keys and values are missing")
    return names, [body.shape(name) for name in names]


def _by_heads(body: Body, name: str, form: Sequence[int], heads: int) -> str:
    """Return a factor as (samples, heads, positions, width)."""
    if len(form) == 4:
        return name
    samples, positions, whole = form
    apart = body.add("Reshape", [name], shape=(samples, positions, heads, whole // heads))
    return body.add("Transpose", [apart], perm=[0, 2, 1, 3])


def _grouped(body: Body) -> None:
    """Groups of queries share keys and values; positions may be turned (rotary) before their product."""
    heads = int(body.attribute("num_heads")), int(body.attribute("kv_num_heads"))
    samples, rows, whole = body.shape(body.needed(0))
    factors = [body.needed(0), body.given(1), body.given(2)]
    if not factors[1]:
        width = whole // (heads[0] + 2 * heads[1])
        factors = body.split(body.needed(0), [heads[0] * width, *[heads[1] * width] * 2])
    else:
        width = whole // heads[0]
    if body.attribute("do_rotary", 0):
        caches = [body.needed(7), body.needed(8)]
        factors[:2] = [body.add("RotaryEmbedding", [name, *caches], same=True) for name in factors[:2]]
    past = [body.given(3), body.given(4)]
    before = body.shape(past[0])[2] if past[0] else 0
    _attend(
        body, factors, heads=heads, lengths=(samples, rows, before + rows), size=(width, width), past=past,
        present=[body.result(1), body.result(2)], bias=body.given(10), masked=True,
    )  # fmt: skip


def _attend(
    body: Body, factors: Sequence[str], *, heads: tuple[int, int], lengths: tuple[int, int, int], size: tuple[int, int],
    past: Sequence[str], present: Sequence[str], bias: str, masked: bool, apart: bool = False,
) -> None:  # fmt: skip
    """Add attention.

    `lengths`: samples, rows and positions, `size`: widths of a head of keys and of values, `bias` is added to the
    scores, and a mask of any other form is one more sum with them. `apart`: the factors have their heads apart.
    """
    samples, rows, positions = lengths
    packed = (samples, rows, heads[0] * size[1])
    inputs = [*factors, bias, *past]
    while not inputs[-1]:
        inputs.pop()
    result = f"{body.result(0)}/by head" if apart else body.result(0)
    shape = (samples, heads[0], rows, size[1]) if apart else packed
    kept = tuple((samples, heads[1], positions, width) for width in size)
    body.several(
        "Attention", inputs, [result, *present] if any(present) else [result],
        shapes=(shape, *kept) if any(present) else (shape,), q_num_heads=heads[0], kv_num_heads=heads[1],
        is_causal=int(masked), softcap=body.attribute("softcap", 0.0),
    )  # fmt: skip
    if apart:
        body.add("Reshape", [body.add("Transpose", [result], perm=[0, 2, 1, 3])], to=body.result(0), shape=packed)


HEADS: Mapping[str, Expansion] = MappingProxyType(
    {
        "Attention": _attention,
        "QAttention": _quantised_attention,
        "MultiHeadAttention": _multi_head,
        "GroupQueryAttention": _grouped,
    }
)
"""Expansions by operator."""
