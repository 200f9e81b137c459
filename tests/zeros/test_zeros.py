"""Zeros as files and on the tensors of traces: every rule by hand on a small network, every error word for word."""

from pathlib import Path

import numpy as np
import pytest

import accelsim as acs
from accelsim.base.errors import InputError
from accelsim.sparsity.pattern import Pattern
from accelsim.zeros.masks import product_of
from accelsim.zeros.resolve import masks_of
from accelsim.zeros.zeros_file import load_zeros


@pytest.fixture(scope="module")
def trace():
    return acs.load_trace("resnet9_cifar10")


@pytest.fixture
def masks(tmp_path, trace):
    def make(*entries: str, of=trace):
        path = tmp_path / "z.yaml"
        path.write_text("format: accelsim-zeros/1\nzeros:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
        return masks_of(of, load_zeros(path))

    return make


def weighted(trace):
    return [operation.name for operation in trace.operations if hasattr(operation, "weight")]


def test_a_weight_is_an_operand_of_ff_and_bp(masks, trace):
    name = weighted(trace)[1]
    found = masks(f'tensor: weight, of: "{name}", form: unstructured, sparsity: 0.75')
    assert [product_of(found, name, form).needed for form in ("FF", "BP", "WU")] == [0.25, 0.25, 1]
    assert product_of(found, weighted(trace)[2], "FF").needed == 1


@pytest.mark.parametrize(
    ("tensor", "needed"),
    [
        ("input", [0.5, 1, 0.5]),
        ("output-gradient", [1, 0.5, 0.5]),
        ("output", [0.5, 1, 1]),
        ("input-gradient", [1, 0.5, 1]),
        ("weight-gradient", [1, 1, 0.5]),
    ],
)
def test_other_tensors(masks, trace, tensor, needed):
    name = weighted(trace)[1]
    found = masks(f'tensor: {tensor}, of: "{name}", form: unstructured, density: 0.5')
    assert [product_of(found, name, form).needed for form in ("FF", "BP", "WU")] == needed


def test_independent_masks_multiply_and_one_mask_counts_once(masks, trace):
    name = weighted(trace)[1]
    weight = f'tensor: weight, of: "{name}", form: unstructured, density: 0.5'
    both = masks(weight, f'tensor: input, of: "{name}", form: unstructured, density: 0.4')
    assert product_of(both, name, "FF").needed == pytest.approx(0.2)
    aligned = masks(f'tensor: input, of: "{name}", form: unstructured, density: 0.4, aligned: [output-gradient]')
    assert [product_of(aligned, name, form).needed for form in ("FF", "BP", "WU")] == [0.4, 0.4, 0.4]
    same = masks(weight, "tensor: weight-gradient, same-as: weight")
    assert [product_of(same, name, form).needed for form in ("FF", "BP", "WU")] == [0.5, 0.5, 0.5]


def test_stages_and_axes_of_patterns(masks, trace):
    name = weighted(trace)[1]
    found = masks(
        f'tensor: weight, of: "{name}", form: "2:8", in: FF',
        f'tensor: weight, of: "{name}", form: "2:4", along: output, in: [BP]',
    )
    forward, backward = (product_of(found, name, form).right for form in ("FF", "BP"))
    assert (forward.pattern, forward.along) == (Pattern.parse("2:8"), "input")
    assert (backward.pattern, backward.along) == (Pattern.parse("2:4"), "output")


def test_a_kind_wins_over_a_glob_and_dense_layers_stay_outside_the_budget(masks, trace):
    found = masks("tensor: weight, of: conv, form: unstructured, sparsity: 0.5, dense: [prep*]")
    convolutions = [item.name for item in trace.operations if item.kind.startswith("conv")]
    assert {name for name, _ in found} == {name for name in convolutions if not name.startswith("prep")}


def test_products_of_activations(masks):
    trace = acs.load_trace("vit_cifar100")
    scores = next(item.name for item in trace.operations if item.kind == "matmul")
    found = masks(f'tensor: output, of: "{scores}", form: block, block: [16, 16], density: 0.3', of=trace)
    assert [product_of(found, scores, form).needed for form in ("AB", "dA", "dB")] == pytest.approx([0.3] * 3)
    found = masks(f'tensor: left, of: "{scores}", form: unstructured, density: 0.3', of=trace)
    places = [product_of(found, scores, form) for form in ("AB", "dA", "dB")]
    assert [place.left is not None for place in places] == [True, False, True]
    assert places[1].output is not None


def test_densities_from_a_table_and_by_magnitude(masks, trace, tmp_path):
    first, second = weighted(trace)[:2]
    (tmp_path / "d.csv").write_text(f"layer,density\n{first},0.5\n{second},0.25\n")
    found = masks(f'tensor: weight, of: ["{first}", "{second}"], form: unstructured, across: {{file: d.csv}}')
    assert [found[name, "weight"][0].density for name in (first, second)] == [0.5, 0.25]
    sizes = {item.name: item.weight_elements for item in trace.operations if hasattr(item, "weight")}
    generator = np.random.default_rng(1)
    arrays = {first: generator.normal(size=sizes[first]), second: 2 * generator.normal(size=sizes[second])}
    np.savez(tmp_path / "w.npz", **arrays)
    found = masks(
        f'tensor: weight, of: ["{first}", "{second}"], form: unstructured, sparsity: 0.9, across: {{global: w.npz}}'
    )
    everything = np.abs(np.concatenate(list(arrays.values())))
    threshold = np.sort(everything)[int(0.9 * everything.size)]
    for name, values in arrays.items():
        assert found[name, "weight"][0].density == pytest.approx((np.abs(values) >= threshold).mean())


def test_densities_that_the_trace_observed(masks):
    trace = acs.load_trace("resnet9_digits_pruned")
    found = masks("tensor: weight, of: [conv, linear], form: unstructured, across: traced", of=trace)
    for item in trace.operations:
        seen = getattr(getattr(item, "observed", None), "FF", None)
        density = seen.weight.density if seen is not None and seen.weight is not None else None
        if density is not None and 0 < density < 1:
            assert found[item.name, "weight"][0].density == density


PLAIN = "tensor: weight, of: conv, form: unstructured, sparsity: 0.5"
WRONG = {
    "dense of nothing": ([PLAIN + ", dense: nope"], "zeros[0].dense: 'nope' matches no operation with a tensor 'weight'"),
    "aligned with nothing": (["tensor: input, of: conv, form: unstructured, density: 0.5, aligned: [output-gradient of nope]"], "zeros[0].aligned: 'nope' matches no operation with a tensor 'output-gradient'"),
    "nothing": (['tensor: weight, of: "layerx*", form: unstructured, density: 0.5'], "zeros[0].of: 'layerx*' matches no operation with a tensor 'weight'; did you mean 'layer3.0'?"),
    "twice": ([PLAIN, PLAIN], "zeros[1]: the weight of 'prep.0' has zeros of another entry in BP; a tensor has one mask in a stage (name stages with 'in', or say aligned or same-as where it is the same mask)"),
    "copy of nothing": (["tensor: weight-gradient, same-as: weight"], "zeros[0].same-as: 'weight': no entry before it has zeros there"),
    "no tensor": ([PLAIN, "tensor: weight-gradient, same-as: weigth"], "zeros[1].same-as: 'weigth' is no tensor; did you mean 'weight'?; allowed: weight, input, output, output-gradient, input-gradient, weight-gradient, left, right"),
    "all dense": ([PLAIN + ', dense: "*"'], "zeros[0]: changes nothing: every operation that it names stays dense"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_entries_that_cannot_be_put_on_a_trace(masks, tmp_path, case):
    entries, message = WRONG[case]
    with pytest.raises(InputError) as error:
        masks(*entries)
    assert str(error.value) == f"{tmp_path / 'z.yaml'}: {message}"


MALFORMED = {
    'tensor: weight, of: conv, form: "2:8", across: erk': "across: 2:8 keeps as much of every layer; other forms are spread",
    "tensor: weight, of: conv, form: graph, edges: 5": "tensor: got 'weight'; a graph is the left factor of a product",
    "tensor: weight, of: conv, form: unstructured, sparsity: 0.5, acros: erk": "zeros[0].acros: unknown key; did you mean 'across'?; allowed: tensor, of, form, density, sparsity, across, dense, same-as, aligned, in, along, block, edges",
    "tensor: weight, of: conv, form: unstructured, density: 0": "zeros[0].density: got 0; should be greater than 0",
    "tensor: weight, of: conv, form: unstructured, density: 1.5": "zeros[0].density: got 1.5; should be less than or equal to 1",
    "tensor: weight, of: conv, form: unstructered, density: 0.5": "got 'unstructered'; did you mean 'unstructured'?; allowed: N:M, unstructured, block, channel, graph",
    "tensor: weight, of: conv, form: unstructured": "density: missing; give density or sparsity",
    "tensor: weight, of: conv, form: unstructured, density: 0.5, sparsity: 0.5": "density and sparsity: give one of them",
    'tensor: weight, of: conv, form: "2:8", density: 0.25': "density: follows from form",
    "tensor: weight, on: conv, form: unstructured, density: 0.5": "the key 'on' is a truth value in YAML; a zero names its operations with 'of'",
    "tensor: input, of: conv, form: unstructured, density: 0.5, across: erk": "across: densities spread by layer for weights; other tensors take uniform or traced",
    "tensor: weight, of: conv, form: block, density: 0.5": "block: rows and columns of a block are needed for the form block, and for no other",
}  # fmt: skip


@pytest.mark.parametrize("entry", MALFORMED)
def test_entries_that_are_none(masks, tmp_path, entry):
    with pytest.raises(InputError) as error:
        masks(entry)
    assert str(error.value).startswith(f"{tmp_path / 'z.yaml'}")
    assert MALFORMED[entry] in str(error.value)


def test_tables_and_arrays_that_do_not_fit(masks, tmp_path):
    table = Path(tmp_path, "d.csv")
    entry = 'tensor: weight, of: "prep.0", form: unstructured, across: {file: d.csv}'
    for text, message in (
        ("layer,share\n", "got the columns layer, share; layer and density are needed"),
        ("layer,density\nprep.0,2\n", "line 2: density: got '2'; above 0 up to 1 is needed"),
        ("layer,density\nprep.0,nan\n", "line 2: density: got 'nan'; above 0 up to 1 is needed"),
        ("layer,density\nprep.1,0.5\n", "no row for layer 'prep.0'; did you mean 'prep.1'?"),
    ):
        table.write_text(text)
        with pytest.raises(InputError) as error:
            masks(entry)
        assert str(error.value) == f"{table}: {message}"
    weights = 'tensor: weight, of: "prep.0", form: unstructured, sparsity: 0.5, across: {global: w.npz}'
    array = tmp_path / "w.npz"
    with pytest.raises(InputError) as error:
        masks(weights)
    assert str(error.value) == f"{array}: no such file"
    array.write_text("no archive")
    with pytest.raises(InputError) as error:
        masks(weights)
    assert str(error.value) == f"{array}: not an .npz file, or a damaged one"
    np.savez(array, **{"prep.0": np.array(["a"])})
    with pytest.raises(InputError) as error:
        masks(weights)
    assert str(error.value) == f"{array}: entry 'prep.0': got <U1; real numbers are needed"
    np.savez(array, **{"prep.0": np.array([{}])})
    with pytest.raises(InputError) as error:
        masks(weights)
    assert str(error.value) == f"{array}: entry 'prep.0': no array of numbers, or a damaged one"
    np.savez(tmp_path / "w.npz", other=np.ones(3))
    with pytest.raises(InputError, match=r"w.npz: no array for 'prep.0'"):
        masks('tensor: weight, of: "prep.0", form: unstructured, sparsity: 0.5, across: {global: w.npz}')
