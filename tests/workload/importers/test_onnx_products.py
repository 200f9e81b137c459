"""ONNX products of other forms: equations of several factors, computed and deformed kernels, linear attention."""

import itertools
import math

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx import helper  # noqa: E402
from onnx_models import FLOAT, IMAGE, ROWS, built, filled, ints, listed, node, pruned  # noqa: E402

NEWEST = onnx.defs.onnx_opset_version()


def lines(trace):
    return [text.replace(" no gradient", "") for text in listed(trace)]


# Einsum


def from_the_left(equation, shapes):
    """Multiply-accumulates of an equation whose factors are taken one after the other, letter by letter.

    Sums over what no other factor has are no products; neither is what sums nothing.
    """
    terms, result = equation.replace(" ", "").split("->")
    terms = terms.split(",")
    size = {
        letter: length
        for term, shape in zip(terms, shapes, strict=True)
        for letter, length in zip(term, shape, strict=True)
    }

    def without_own(place):
        others = "".join(terms[:place] + terms[place + 1 :]) + result
        return [letter for letter in terms[place] if letter in others]

    kept, count = without_own(0), 0
    for place in range(1, len(terms)):
        both = set(kept) | set(without_own(place))
        later = set("".join(terms[place + 1 :]) + result)
        if both - later:
            count += sum(1 for _ in itertools.product(*(range(size[letter]) for letter in both)))
        kept = sorted(both & later)
    return count


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,jk,kl->bil", [(5, 8), (8, 6), (6, 4)]),
        ("bij,jk,kl,lm->bim", [(5, 8), (8, 6), (6, 4), (4, 3)]),
        ("bij,ijk,kl,im->blm", [(5, 4), (5, 4, 3), (3, 2), (5, 6)]),
        ("bij,bkj,bkl->bil", [(5, 4), (6, 4), (6, 3)]),
        ("bij,ij,jk->bik", [(5, 4), (5, 4), (4, 3)]),
        ("bij,bkj,jl->bil", [(5, 4), (6, 4), (4, 3)]),
        ("bij,jk->bi", [(5, 4), (4, 3)]),
        ("bij,bik->bjk", [(5, 4), (5, 3)]),
        ("bi,bj,bk->bijk", [(5,), (4,), (3,)]),
        ("bij,jk,b->bik", [(5, 4), (4, 3), ()]),
    ],
)
def test_factors_are_taken_from_the_left(reading, equation, shapes):
    letters = equation.partition("->")[0].split(",")
    inputs = {
        f"x{place}": ("N", *shape)
        for place, (term, shape) in enumerate(zip(letters, shapes, strict=True))
        if "b" in term
    }
    stored = {f"x{place}": filled(*shape) for place, shape in enumerate(shapes) if f"x{place}" not in inputs}
    names = " ".join(f"x{place}" for place in range(len(shapes)))
    trace = reading(node("Einsum", names, equation=equation, name="e"), inputs, stored)
    whole = [((1, *shape) if f"x{place}" in inputs else shape) for place, shape in enumerate(shapes)]
    assert trace.macs == from_the_left(equation, whole)
    note = "an Einsum of several factors is taken from the left, as PyTorch does: e"
    assert (note in trace.origin.assumptions) == (len(shapes) > 2)


def test_each_factor_keeps_its_weight(reading):
    stored = {"a": pruned((8, 16), "2:8", 0), "b": pruned((16, 4), "1:4", 0)}
    trace = reading(node("Einsum", "x a b", equation="bij,jk,kl->bil", name="e"), {"x": ("N", 5, 8)}, stored)
    assert lines(trace) == ["a = linear 8->16 rows 5 a", "b = linear 16->4 rows 5 b"]
    assert [one.observed.FF.weight.pattern for one in trace.operations] == ["2:8", "1:4"]
    assert [one.input_gradient for one in trace.operations] == [False, True]


def test_a_factor_is_summed_before_its_product(reading):
    trace = reading(node("Einsum", "x w", equation="btd,de->bt", name="e"), ROWS, {"w": filled(4, 6)})
    assert lines(trace) == ["e.sum = reduce 24->4 once +w", "e.matmul = matmul 1 x 5,4,1 no left gradient"]


# Kernels that the step computes


def test_each_sample_may_have_its_own_kernel(reading):
    """As trackers write it: 3 samples are 3 groups of one image, with 4 channels each and 7 x 7 places of 3 x 3 taps."""
    nodes = [node("Reshape", "x to", "r"), node("Conv", "r k", group=3, name="c")]
    trace = reading(nodes, {"x": (3, 4, 9, 9), "k": (3, 4, 3, 3)}, {"to": ints(1, 12, 9, 9)}, batch=3)
    assert lines(trace) == ["c.im2col = copy 1764->1764", "c.matmul = matmul 1 x 49,36,1"]
    assert (trace.macs, trace.parameters) == (49 * 36, 0)


def test_a_kernel_that_all_samples_share(reading):
    """A low-rank kernel: the product of two parameters has a gradient into both, and is no parameter itself."""
    nodes = [
        node("MatMul", "a b", "ab", name="rank"),
        node("Reshape", "ab to", "k"),
        node("Conv", "x k bias", name="c", strides=[2, 2]),
    ]
    stored = {"a": filled(6, 2), "b": filled(2, 36), "to": ints(6, 4, 3, 3), "bias": filled(6)}
    trace = reading(nodes, IMAGE, stored)
    assert lines(trace) == [
        "b = linear 2->36 rows 6 b once",
        "c.im2col = copy 576->576",
        "c.matmul = matmul 1 x 16,36,6 no left gradient +bias",
    ]
    product = trace.operations[-1]
    assert (product.macs, product.right_gradient, trace.parameters) == (16 * 36 * 6, True, 72 + 6)


def test_a_transposed_kernel_from_an_input(reading):
    trace = reading(
        node("ConvTranspose", "x k", name="c", strides=[2, 2]),
        {"x": ("N", 4, 9, 9), "k": (4, 3, 3, 3)},
        sizes={"N": 1},
        batch=1,
    )
    assert [text.partition(" no")[0] for text in listed(trace)] == [
        "c.matmul = matmul 1 x 81,4,27",
        "c.col2im = add 2187->1083",
    ]
    assert trace.macs == 81 * 4 * 27  # each place, each tap, each pair of channels


def test_a_computed_filter_without_parameters_stays_frozen(reading):
    nodes = [
        node("Range", "zero n one", "r"),
        node("Cast", "r", "c", to=FLOAT),
        node("Reshape", "c to", "k"),
        node("Conv", "x k", name="conv"),
    ]
    trace = reading(nodes, IMAGE, {"zero": np.int64(0), "n": np.int64(36), "one": np.int64(1), "to": ints(1, 4, 3, 3)})
    assert lines(trace) == ["conv = conv2d 4->1 on 9x9 kernel 3x3 groups 1 frozen"]


def deformed(reading, stored=None, **attributes):
    inputs = {"x": ("N", 4, 9, 9), "o": ("N", 18, 7, 7), "m": ("N", 9, 7, 7)}
    names = "x w o b m" if "b" in (stored or {}) else "x w o"
    inputs = inputs if "m" in names.split() else {key: shape for key, shape in inputs.items() if key != "m"}
    return reading(
        node("DeformConv", names, name="d", **attributes), inputs, {"w": filled(6, 4, 3, 3), **(stored or {})}, opset=19
    )


def test_a_deformed_convolution_reads_between_places(reading):
    trace = deformed(reading, {"b": filled(6)})
    columns = 4 * 9 * 49
    assert lines(trace) == [
        f"d.gather = elementwise {4 * columns + 18 * 49 + 9 * 49}->{columns}",
        "w = conv2d 4->6 on 21x21 kernel 3x3 groups 1 +b",
    ]
    assert (trace.macs, trace.operations[1].out_size, trace.operations[1].stride) == (6 * columns, (7, 7), (3, 3))
    assert trace.origin.assumptions[-1] == (
        "what a deformed convolution reads between places is counted as work of four reads each: d"
    )


def test_a_deformed_convolution_in_groups_shows_its_zeros(reading):
    weight = pruned((8, 8, 3, 3), "2:8", 1)
    nodes = node("DeformConv", "x w o", name="d", group=2)
    trace = reading(nodes, {"x": ("N", 16, 9, 9), "o": ("N", 18, 7, 7)}, {"w": weight}, opset=19)
    product = trace.operations[1]
    assert (product.macs, product.groups, product.observed.FF.weight.pattern) == (8 * 8 * 9 * 49, 2, "2:8")


# Attention of new operator sets


needs_27 = pytest.mark.skipif(NEWEST < 27, reason="this onnx has no LinearAttention")


def stepwise(rule, samples, steps, heads, shared, width, depth):
    """Multiply-accumulates of the definition, one loop for each of its sums."""
    count = 0
    for _ in range(samples * steps):
        for _ in range(shared):
            count += width * depth  # the outer product that is added
            count += width * depth if "delta" in rule else 0  # what the state holds under the key
        for _ in range(heads):
            count += width * depth  # what the query reads
    return count


@needs_27
@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize(("heads", "shared"), [(2, 2), (4, 2)])
def test_linear_attention_is_counted_by_its_definition(reading, rule, heads, shared):
    inputs = {"q": ("N", 5, heads * 4), "k": ("N", 5, shared * 4), "v": ("N", 5, shared * 3)}
    inputs |= {"g": ("N", 5, shared * 4)} if "gated" in rule else {}
    inputs |= {"r": ("N", 5, shared)} if "delta" in rule else {}
    layer = node("LinearAttention", "", "y s", name="a", q_num_heads=heads, kv_num_heads=shared, update_rule=rule)
    layer.input[:] = ["q", "k", "v", "", "g" if "gated" in rule else "", "r" if "delta" in rule else ""]
    trace = reading(layer, inputs, opset=27)
    assert trace.macs == stepwise(rule, 1, 5, heads, shared, 4, 3)
    assert trace.origin.assumptions[-1] == ("linear attention is counted step by step, as its definition is written: a")


@needs_27
def test_what_a_step_of_linear_attention_does(reading):
    layer = node("LinearAttention", "q k v", "y s", name="a", q_num_heads=2, kv_num_heads=1)
    layer.input[:] = ["q", "k", "v", "past", "g", "r"]
    inputs = {
        "q": ("N", 1, 8),
        "k": ("N", 1, 4),
        "v": ("N", 1, 3),
        "past": ("N", 1, 4, 3),
        "g": ("N", 1, 1),
        "r": ("N", 1, 1),
    }
    assert [text.partition(" no ")[0] for text in listed(reading(layer, inputs, opset=27))] == [
        "a.decay = multiply 13->12",
        "a.matmul = matmul 1 x 1,4,3",
        "a.sub = add 6->3",
        "a.mul = multiply 4->3",
        "a.matmul_2 = matmul 1 x 4,1,3",
        "a.add = add 24->12",
        "a.matmul_3 = matmul 2 x 1,4,3",
        "a.scale = multiply 6->6",
    ]


@needs_27
@pytest.mark.parametrize("kept", ["", "s"])
@pytest.mark.parametrize("state", [False, True])
def test_a_causal_convolution_is_depthwise(reading, kept, state):
    """4 taps over 10 places of 6 channels, with or without what was before."""
    domain = "" if kept else "com.microsoft"  # where it is no result, as the standard asks for
    layer = node("CausalConvWithState", "x w b", f"y {kept}", name="c", activation="silu", domain=domain)
    inputs = {"x": ("N", 6, 10)}
    if state:
        layer.input.append("p")
        inputs["p"] = ("N", 6, 3)
    trace = reading(layer, inputs, {"w": filled(6, 1, 4), "b": filled(6)}, opset=27, domains={"com.microsoft": 1})
    got = lines(trace)
    assert got[-2:] == ["w = conv1d 6->6 on 13 kernel 4 groups 6 +b", "c.swish = activation 60->60"]
    assert got[:-2] == (["c.concat = copy 78->78"] if state else ["c.pad = copy 60->78"] if kept else [])
    assert (trace.macs, trace.parameters) == (10 * 4 * 6, 24 + 6)


@pytest.mark.skipif(NEWEST < 28, reason="this onnx has no SwiGLU")
def test_a_gate_is_an_activation_and_a_product(reading):
    assert lines(reading(node("SwiGLU", "x x", name="g"), ROWS, opset=28)) == [
        "g.swish = activation 20->20",
        "g.mul = multiply 40->20",
    ]


def flexible(shared, **graphs):
    layer = node("FlexAttention", "q k v", name="a", domain="ai.onnx.preview", **graphs)
    return layer, {"q": ("N", 4, 5, 8), "k": ("N", shared, 6, 8), "v": ("N", shared, 6, 3)}


def changed(operator, stored):
    """A graph that changes scores by one node."""
    kind = helper.make_tensor_value_info
    return helper.make_graph([node(operator, "s m", "t", name="inside")], "mod", [kind("s", FLOAT, None)], [kind("t", FLOAT, None)],
                             [onnx.numpy_helper.from_array(stored, "m")])  # fmt: skip


has_flex = pytest.mark.skipif(
    not onnx.defs.has("FlexAttention", 1, "ai.onnx.preview"), reason="this onnx has no FlexAttention"
)


@has_flex
@pytest.mark.parametrize("shared", [4, 2])
def test_flex_attention_is_two_products_and_its_changes(reading, shared):
    mask = np.where(np.tri(5, 6), 0, -np.inf).astype(np.float32)
    graphs = {"score_mod": changed("Add", mask), "prob_mod": changed("Mul", np.float32(0.5))}
    trace = reading(*flexible(shared, **graphs), domains={"ai.onnx.preview": 1})
    assert trace.macs == 4 * 5 * 6 * 8 + 4 * 5 * 6 * 3
    kinds = [one.kind for one in trace.operations if one.kind != "copy"]
    assert kinds == ["matmul", "multiply", "add", "softmax", "multiply", "matmul"]
    plain = reading(*flexible(shared), domains={"ai.onnx.preview": 1})
    assert [one.kind for one in plain.operations if one.kind != "copy"] == ["matmul", "multiply", "softmax", "matmul"]
    assert plain.macs == trace.macs


@has_flex
def test_a_change_of_scores_may_use_the_graph(reading):
    layer, inputs = flexible(4, score_mod=changed("Add", np.zeros(1, np.float32)))
    del layer.attribute[0].g.initializer[:]
    trace = reading(built(layer, {**inputs, "m": (5, 6)}, domains={"ai.onnx.preview": 1}))
    (added,) = (one for one in trace.operations if one.kind == "add")
    assert (added.reads, added.writes) == (math.prod((4, 5, 6)), math.prod((4, 5, 6)))


def test_products_between_samples_grow_with_both(reading):
    """x (N, 4) times its transpose: N x N products of 4."""
    trace = reading([node("Transpose", "x", "t"), node("MatMul", "x t", name="m")], {"x": ("N", 4)})
    (product,) = trace.operations
    assert (product.m, product.n, product.k, product.grows) == (1, 1, 4, ("m", "n"))
    assert [product.macs_at(batch) for batch in (1, 2, 8)] == [4, 16, 256]
