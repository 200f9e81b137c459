"""The rules from an operation to its entry, worked by hand."""

from functools import partial

import pytest

from accelsim.base.errors import InputError
from accelsim.workload.rules import (
    TwoBatches,
    Work,
    convolution,
    fields_of,
    of_windows,
    several_images,
    what_is_read,
    with_weight,
)


def error(what: str) -> InputError:
    return InputError(f"here: {what}")


def grown(kind: str, small: tuple[int, ...], large: tuple[int, ...], batch: int = 2, **more: object) -> object:
    make = partial(Work, kind=kind, **more)
    return fields_of(TwoBatches(make(counts=small), make(counts=large), batch, error))


def test_a_weight_is_one_matrix_or_one_for_each_of_some_groups() -> None:
    # 6 products of (7, 4) by (4, 5)
    assert with_weight(20, 6, 5, 7, 4) == ("linear", (("in_features", 4), ("out_features", 5)), 42)
    grouped = (("in_channels", 12), ("out_channels", 15), ("kernel", (1,)), ("groups", 3))
    assert with_weight(60, 6, 5, 7, 4) == ("conv1d", grouped, 14)
    assert [with_weight(elements, 6, 5, 7, 4) for elements in (19, 80, 0)] == [None, None, None]


def test_what_grows_is_seen_at_two_batches() -> None:
    assert grown("linear", (10,), (15,), fixed=(("in_features", 3),)) == {
        "kind": "linear", "in_features": 3, "rows": 5, "scales_with_batch": True,
    }  # fmt: skip
    assert grown("linear", (10,), (10,))["rows"] == 10
    assert grown("matmul", (4, 3, 3, 8), (6, 3, 3, 8)) == {
        "kind": "matmul", "batch": 2, "m": 3, "n": 3, "k": 8, "scales_with_batch": True,
    }  # fmt: skip
    assert grown("matmul", (1, 6, 5, 8), (1, 9, 5, 8))["m"] == 3  # rows alone are counted as copies
    assert "grows" not in grown("matmul", (1, 6, 5, 8), (1, 9, 5, 8))
    assert grown("matmul", (1, 2, 2, 8), (1, 3, 3, 8))["grows"] == ["m", "n"]
    assert grown("matmul", (1, 4, 4, 2), (1, 4, 4, 3))["grows"] == ["k"]
    assert grown("add", (24, 20), (34, 30)) == {"kind": "add", "reads": 10, "writes": 10, "scales_with_batch": True}
    with pytest.raises(InputError) as caught:
        grown("linear", (16,), (36,))
    assert str(caught.value) == (
        "here: grows from 16 to 36 between batch 2 and 3, neither in proportion to the batch nor constant; a trace"
        " cannot express it"
    )


def test_sizes_of_a_convolution() -> None:
    geometry = {"stride": [2], "padding": (1, 0), "dilation": [1]}
    sizes = {"in_size": (9, 8), "kernel": (3, 5), "stride": (2, 2), "padding": (1, 0), "dilation": (1, 1)}
    kind, fixed = convolution((7, 4, 9, 8), (6, 2, 3, 5), 2, **geometry)
    assert (kind, dict(fixed)) == ("conv2d", {"in_channels": 4, "out_channels": 6, **sizes, "groups": 2})
    kind, fixed = convolution((7, 4, 9, 8), (4, 3, 3, 5), 2, transposed=True, **geometry, output_padding=[0])
    wanted = {"in_channels": 4, "out_channels": 6, **sizes, "output_padding": (0, 0), "groups": 2}
    assert (kind, dict(fixed)) == ("conv_transpose2d", wanted)


def test_several_images_are_one_more_dimension() -> None:
    kind, fixed = convolution((1, 4, 9), (6, 4, 3), 1, stride=[2], padding=[1], dilation=[1])
    assert several_images(kind, fixed, 1, error) == (kind, fixed)
    kind, wider = several_images(kind, fixed, 5, error)
    assert (kind, dict(wider)["in_size"], dict(wider)["kernel"]) == ("conv2d", (5, 9), (1, 3))
    assert [dict(wider)[name] for name in ("stride", "padding", "dilation")] == [(1, 2), (0, 1), (1, 1)]
    assert several_images("conv1d", (("groups", 3),), 14, error) == ("conv1d", (("groups", 3), ("in_size", (14,))))
    with pytest.raises(InputError) as caught:
        several_images("conv3d", (("in_size", (4, 4, 4)),), 2, error)
    assert str(caught.value) == "here: a 3-D convolution of 2 volumes per sample has no entry in a trace"


def test_what_vector_work_reads() -> None:
    operands, result = [(12, True), (3, False)], (6, True)

    def read(kind: str, word: str) -> list[tuple[int, bool]]:
        return what_is_read(kind, word, operands, result, lambda: 54)

    assert read("add", "add") == operands
    assert read("pooling", "max_pool2d") == [(54, True)]
    assert read("copy", "gather") == [(6, True)]
    assert read("copy", "copy") == [(3, False)]
    assert read("norm", "layer_norm") == [(12, True)]
    assert of_windows("max_pool2d", (2, 9, 9), (2, 3, 3), [3]) == 2 * 9 * 9
    assert of_windows("adaptive_avg_pool1d", (4, 5), (4, 2), [2]) == 4 * 6  # 0 to 2 and 2 to 4
