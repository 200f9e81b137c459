"""Timeloop problems: the loops and data spaces of the layers of a trace."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from export_cases import as_trace, conv, convolutions, linear, seen
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.exporters.timeloop import layer_problems, product_problems
from accelsim.workload.exporting import Product

Make = Callable[..., acs.Trace]


def extent(projection: list[list[list[str]]], instance: dict[str, int]) -> int:
    """Elements of a data space: per dimension the range of a sum of dimensions times coefficients."""
    ranges = [
        1 + sum((instance[t[0]] - 1) * instance.get(t[1] if len(t) > 1 else "", 1) for t in d) for d in projection
    ]
    return math.prod(ranges)


@settings(deadline=None)
@given(operation=convolutions(regular=False), batch=st.integers(1, 3))
def test_any_convolution_is_a_timeloop_problem_of_the_same_size(operation: dict[str, Any], batch: int) -> None:
    trace = as_trace(operation)
    (layer,) = trace.operations
    ((_, text),) = layer_problems(trace, batch).texts
    problem = yaml.safe_load(text)["problem"]
    instance, spaces = problem["instance"], {s["name"]: s["projection"] for s in problem["shape"]["data_spaces"]}
    assert math.prod(instance[dimension] for dimension in problem["shape"]["dimensions"]) == batch * layer.macs
    assert extent(spaces["Weights"], instance) == layer.weight_elements
    assert extent(spaces["Outputs"], instance) == batch * layer.out_channels * math.prod(layer.out_size)
    used = [
        (size - 1) * step + (taps - 1) * gap + 1
        for size, step, taps, gap in zip(layer.out_size, layer.stride, layer.kernel, layer.dilation, strict=True)
    ]
    assert extent(spaces["Inputs"], instance) == batch * layer.in_channels * math.prod(used)
    padded = [size + 2 * pad for size, pad in zip(layer.in_size, layer.padding, strict=True)]
    assert all(part <= whole for part, whole in zip(used, padded, strict=True))


def test_a_timeloop_problem_reads_as_timeloop_writes_it(make_trace: Make) -> None:
    trace = make_trace(
        conv("conv:1", in_size=[14, 9], kernel=[3, 5], stride=[1, 2], padding=[1, 0], dilation=[2, 1],
             observed={"FF": {"weight": {"pattern": "2:8", "axis": "input"}, "activation": {"density": 0.5}}}),
    )  # fmt: skip
    export = layer_problems(trace, batch=4)
    ((name, text),) = export.texts
    assert (name, export.summary) == ("0_conv_1.yaml", "1 problem")
    assert export.notes == ("padding is written as part of Inputs: conv:1",)
    assert text == (
        '# "conv:1 of tiny: conv2d, forward"\n'
        "problem:\n"
        "  version: '0.4'\n"
        "  shape:\n"
        "    name: cnn_layer\n"
        "    dimensions: [R, S, P, Q, C, K, N]\n"
        "    coefficients:\n"
        "      - {name: Wstride, default: 1}\n"
        "      - {name: Hstride, default: 1}\n"
        "      - {name: Wdilation, default: 1}\n"
        "      - {name: Hdilation, default: 1}\n"
        "    data_spaces:\n"
        "      - name: Weights\n"
        "        projection:\n"
        "          - [[C]]\n"
        "          - [[K]]\n"
        "          - [[R]]\n"
        "          - [[S]]\n"
        "      - name: Inputs\n"
        "        projection:\n"
        "          - [[N]]\n"
        "          - [[C]]\n"
        "          - [[R, Wdilation], [P, Wstride]]\n"
        "          - [[S, Hdilation], [Q, Hstride]]\n"
        "      - name: Outputs\n"
        "        projection:\n"
        "          - [[N]]\n"
        "          - [[K]]\n"
        "          - [[Q]]\n"
        "          - [[P]]\n"
        "        read_write: true\n"
        "  instance:\n"
        "    R: 5\n"
        "    S: 3\n"
        "    P: 3\n"
        "    Q: 12\n"
        "    C: 16\n"
        "    K: 32\n"
        "    N: 4\n"
        "    Wstride: 2\n"
        "    Hstride: 1\n"
        "    Wdilation: 1\n"
        "    Hdilation: 2\n"
        "    densities:\n"
        "      Weights: {distribution: fixed_structured, density: 0.25}\n"
        "      Inputs: {distribution: hypergeometric, density: 0.5}\n"
    )


def test_linear_layers_and_matmuls_are_timeloop_gemms(make_trace: Make) -> None:
    trace = make_trace(
        linear(rows=7, observed=seen("1:4")),
        {"name": "qk", "kind": "matmul", "batch": 3, "m": 7, "n": 5, "k": 8,
         "observed": {"FF": {"right": {"density": 0.5}}}},
        linear("once", rows=2, scales_with_batch=False),
    )  # fmt: skip
    problems = [yaml.safe_load(text)["problem"] for _, text in layer_problems(trace, batch=2).texts]
    assert [problem["shape"]["name"] for problem in problems] == ["gemm_ABZ", "batched_gemm_ABZ", "gemm_ABZ"]
    assert [problem["instance"] for problem in problems] == [
        {"M": 14, "N": 10, "K": 32, "densities": {"B": {"distribution": "fixed_structured", "density": 0.25}}},
        {"M": 7, "N": 5, "K": 8, "G": 6, "densities": {"B": {"distribution": "hypergeometric", "density": 0.5}}},
        {"M": 2, "N": 10, "K": 32},
    ]
    assert [space["projection"] for space in problems[1]["shape"]["data_spaces"]] == [
        [[["G"]], [["M"]], [["K"]]], [[["G"]], [["N"]], [["K"]]], [[["G"]], [["M"]], [["N"]]],
    ]  # fmt: skip


def test_products_are_timeloop_gemms_with_their_ratio() -> None:
    several = [
        Product(
            name=f"layer.{i}[dA]", m=2, n=3, k=8, count=1 + i % 2, pattern=Pattern.parse("2:8") if i == 10 else None
        )
        for i in range(11)
    ]
    texts = product_problems(several).texts
    assert [name for name, _ in texts][::5] == ["00_layer.0_dA_.yaml", "05_layer.5_dA_.yaml", "10_layer.10_dA_.yaml"]
    assert yaml.safe_load(texts[5][1])["problem"]["instance"] == {"M": 2, "N": 3, "K": 8, "G": 2}
    assert yaml.safe_load(texts[10][1])["problem"]["instance"]["densities"] == {
        "B": {"distribution": "fixed_structured", "density": 0.25}
    }
    with pytest.raises(acs.InputError, match=r"^there is no product to write$"):
        product_problems([])
