"""Lowering: shapes and MACs by hand, sparse operands, what stays dense, order and dependencies."""

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.base.files import validate
from accelsim.engines.layout import executed_macs
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm, Generation, Overrides, Stage, Update, VectorWork
from accelsim.sparsity.methods import METHODS, Operand, find_method
from accelsim.workload.trace import Conv, Trace

PATTERN = acs.Pattern(2, 8)


def conv(name, cin, cout, size, kernel=3, stride=1, padding=1, **more):
    return {
        "name": name,
        "kind": "conv2d",
        "in_channels": cin,
        "out_channels": cout,
        "in_size": [size, size],
        "kernel": [kernel, kernel],
        "stride": [stride, stride],
        "padding": [padding, padding],
        **more,
    }


def linear(name, inputs, outputs, rows=1, **more):
    return {"name": name, "kind": "linear", "in_features": inputs, "out_features": outputs, "rows": rows, **more}


def step_of(trace, sat, method="bdwp", batch=4, pattern=PATTERN, **more):
    return lower(trace, sat, find_method(method), pattern=pattern, batch=batch, **more)


def gemms(step, stage=None):
    return [task for task in step.tasks if isinstance(task, Gemm) and stage in (None, task.stage)]


def macs(step, stage):
    return sum(gemm.macs for gemm in gemms(step, stage))


def test_a_convolution_in_all_three_stages(make_trace, sat):
    trace = make_trace(conv("stem", 3, 16, 8), conv("body", 16, 32, 8), linear("head", 32, 10))
    ff, bp, wu = (
        next(g for g in gemms(step_of(trace, sat), stage) if g.operation == "body")
        for stage in (Stage.FF, Stage.BP, Stage.WU)
    )
    assert (ff.m, ff.n, ff.k, ff.pattern) == (4 * 64, 32, 16 * 9, PATTERN)
    assert (bp.m, bp.n, bp.k, bp.pattern) == (4 * 64, 16, 32 * 9, PATTERN)
    assert (wu.m, wu.n, wu.k, wu.pattern) == (16 * 9, 32, 4 * 64, None)
    assert (ff.x_elements, bp.x_elements, wu.x_elements) == (4 * 64 * 16, 4 * 64 * 32, 4 * 64 * 16)
    assert (ff.w_elements, wu.w_elements) == (16 * 9 * 32, 4 * 64 * 32)


def test_training_macs_of_cifar_resnet18_at_batch_4(make_trace, sat):
    """Training MACs of the convolutions of ResNet-18 with a 3x3 stem on 32x32 inputs, batch 4, as counted by peers."""
    blocks, operations, channels, size = [(64, 1), (128, 2), (256, 2), (512, 2)], [conv("stem", 3, 64, 32)], 64, 32
    for index, (width, stride) in enumerate(blocks):
        operations.append(conv(f"l{index}.0a", channels, width, size, stride=stride))
        if channels != width:
            operations.append(conv(f"l{index}.0s", channels, width, size, kernel=1, stride=stride, padding=0))
        size //= stride
        operations += [conv(f"l{index}.{part}", width, width, size) for part in ("0b", "1a", "1b")]
        channels = width
    step = step_of(make_trace(*operations), sat, "dense")
    assert [macs(step, stage) for stage in (Stage.FF, Stage.BP, Stage.WU)] == [
        2_221_670_400,
        2_214_592_512,
        2_221_670_400,
    ]


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
@settings(max_examples=300, deadline=None)
def test_strided_bp_pairs_each_position_with_the_taps_that_reach_it(size, kernel, stride, padding, dilation):
    """The phases, counted by brute force: for every input position the taps whose residue matches."""
    operation = {
        "name": "c",
        "kind": "conv2d",
        "in_channels": 4,
        "out_channels": 8,
        "in_size": size,
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "weight": {"name": "w"},
        "input_gradient": True,
    }
    data = {
        "format": "accelsim-trace/1",
        "model": "t",
        "input_shapes": [[4, *size]],
        "parameters": 10**6,
        "origin": {"exporter": "t", "source": "t"},
        "operations": [operation],
    }
    try:
        trace = validate(Trace, data, "t")
    except acs.InputError as error:
        assert "the kernel does not fit" in str(error)  # noqa: PT017  only this refusal is expected
        return
    reached = [
        [sum((i + p - tap * d) % s == 0 for tap in range(k)) for i in range(n)]
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    want = 8 * 4 * sum(a * b for a in reached[0] for b in reached[1])
    step = lower(trace, acs.load_design("sat_vcu1525"), METHODS["dense"], pattern=None, batch=1)
    done = [executed_macs(task) for task in step.tasks if isinstance(task, Gemm) and task.stage is Stage.BP]
    assert sum(done) == want
    assert all(gemm.k % 8 == 0 and gemm.k for gemm in gemms(step, Stage.BP))


def test_strided_bp_gives_the_gradient_of_the_convolution():
    """Summing phase by phase gives the gradient that differentiating the convolution gives."""
    rng = np.random.default_rng(0)
    size, kernel, stride, padding = 7, 3, 2, 1
    out = (size + 2 * padding - kernel) // stride + 1
    weight, gradient = rng.integers(-4, 5, kernel), rng.integers(-4, 5, out)
    full = np.zeros(size + 2 * padding)
    for o in range(out):
        full[o * stride : o * stride + kernel] += gradient[o] * weight
    by_phase = np.zeros(size)
    for i in range(size):
        for tap in range(kernel):
            if (i + padding - tap) % stride == 0 and 0 <= (i + padding - tap) // stride < out:
                by_phase[i] += gradient[(i + padding - tap) // stride] * weight[tap]
    np.testing.assert_array_equal(by_phase, full[padding : padding + size])


def test_empty_phases_are_skipped_and_the_others_are_rows(make_trace, sat):
    trace = make_trace(
        conv("stem", 3, 8, 8),
        conv("down", 8, 16, 8, kernel=1, stride=2, padding=0),
        conv("wide", 16, 16, 4, stride=2),
        linear("head", 16, 10),
    )
    names = [gemm.name for gemm in gemms(step_of(trace, sat), Stage.BP)]
    assert names == [
        "head",
        "wide[phase 0,0]",
        "wide[phase 0,1]",
        "wide[phase 1,0]",
        "wide[phase 1,1]",
        "down[phase 0,0]",
    ]


def test_transposed_convolution_mirrors_the_convolution_it_transposes(make_trace, sat):
    straight = {"in_channels": 8, "out_channels": 16, "kernel": [4, 4], "stride": [2, 2], "padding": [1, 1]}
    transposed = {**straight, "in_channels": 16, "out_channels": 8}
    down = step_of(
        make_trace({"name": "c", "kind": "conv2d", "in_size": [8, 8], "input_gradient": True, **straight}), sat
    )
    up = step_of(
        make_trace({"name": "c", "kind": "conv_transpose2d", "in_size": [4, 4], "input_gradient": True, **transposed}),
        sat,
    )
    assert macs(up, Stage.FF) == macs(down, Stage.BP)
    assert macs(up, Stage.BP) == macs(down, Stage.FF)
    assert macs(up, Stage.WU) == macs(down, Stage.WU)
    wu = gemms(up, Stage.WU)[0]
    assert (wu.x_elements, wu.w_elements) == (4 * 16 * 4 * 4, 4 * 8 * 8 * 8)


def test_groups_run_as_copies_and_depthwise_stays_dense(make_trace, sat):
    trace = make_trace(
        conv("stem", 3, 32, 8), conv("dw", 32, 32, 8, groups=32), conv("g", 32, 32, 8, groups=2), linear("head", 32, 10)
    )
    step = step_of(trace, sat)
    depthwise, grouped = (next(g for g in gemms(step, Stage.FF) if g.operation == name) for name in ("dw", "g"))
    assert (depthwise.count, depthwise.n, depthwise.k, depthwise.pattern) == (32, 1, 9, None)
    assert (grouped.count, grouped.n, grouped.k, grouped.pattern) == (2, 16, 16 * 9, PATTERN)
    texts = {(note.operation, note.stage): note.text for note in step.notes}
    assert texts["dw", Stage.FF] == "kept dense, 1 input channels are no multiple of 8"


def test_attention_products_have_two_backward_gemms(make_trace, sat):
    trace = make_trace(
        linear("in", 8, 8, rows=10),
        {"name": "qk", "kind": "matmul", "batch": 3, "m": 10, "n": 12, "k": 16},
        linear("out", 8, 8),
    )
    step = step_of(trace, sat)
    shapes = {gemm.name: (gemm.m, gemm.n, gemm.k, gemm.count) for gemm in gemms(step) if gemm.operation == "qk"}
    assert shapes == {"qk": (10, 12, 16, 12), "qk[dA]": (10, 16, 12, 12), "qk[dB]": (16, 12, 10, 12)}


SPARSE_STAGES = {
    "dense": set(),
    "sr-ste": {"FF"},
    "sdgp": {"BP"},
    "sdwp": {"BP"},
    "bdwp": {"FF", "BP"},
    "bi-mask": {"FF", "BP"},
    "transposable": {"FF", "BP"},
    "mvue": {"FF", "BP", "WU"},
}


@pytest.mark.parametrize("method", SPARSE_STAGES)
def test_each_method_prunes_its_stages(make_trace, sat, method):
    trace = make_trace(conv("stem", 3, 16, 8), conv("body", 16, 32, 8), linear("head", 32, 10))
    step = step_of(trace, sat, method)
    body = {gemm.stage.value for gemm in gemms(step) if gemm.operation == "body" and gemm.pattern == PATTERN}
    others = {gemm.operation for gemm in gemms(step) if gemm.operation != "body" and gemm.pattern}
    assert (body, others) == (SPARSE_STAGES[method], set())


def test_a_pruned_gradient_takes_the_weight_port_so_the_product_is_transposed(make_trace, sat):
    trace = make_trace(conv("stem", 3, 16, 8), conv("body", 16, 32, 8), linear("head", 32, 10))
    bp = next(g for g in gemms(step_of(trace, sat, "sdgp"), Stage.BP) if g.operation == "body")
    assert (bp.m, bp.n, bp.k, bp.w_operand.value) == (16, 4 * 64, 32 * 9, "gradient")
    assert (bp.x_elements, bp.w_elements) == (16 * 32 * 9, 4 * 64 * 32)


def test_what_stays_dense_is_noted_and_can_be_overridden(make_trace, sat):
    trace = make_trace(conv("stem", 3, 16, 8), conv("body", 16, 12, 8), linear("head", 12, 10))
    step = step_of(trace, sat)
    assert [(n.operation, n.stage.value, n.text) for n in step.notes] == [
        ("stem", "FF", "kept dense, first layer"),
        ("head", "FF", "kept dense, last layer"),
        ("head", "BP", "kept dense, last layer"),
        ("body", "BP", "kept dense, 12 output channels are no multiple of 8"),
    ]
    forced = step_of(
        trace, sat, overrides=Overrides(dense=("body",), sparse=(("stem", None), ("head", acs.Pattern(1, 4))))
    )
    shapes = {(g.operation, g.stage.value): (g.k, str(g.pattern)) for g in gemms(forced)}
    assert shapes["stem", "FF"] == (8 * 9, "2:8")
    assert shapes["head", "FF"] == (12, "1:4")
    assert shapes["body", "FF"] == (16 * 9, "None")
    assert forced.macs_dense == step.macs_dense
    assert "3 channels padded to whole groups of 8" in {note.text for note in forced.notes}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (Overrides(dense=("bdy",)), "--dense bdy: matches no operation with a weight; did you mean 'body'?"),
        (
            Overrides(dense=("b*",), sparse=(("body", None),)),
            "--dense and --sparse: both match 'body'; an operation can have only one of them",
        ),
        (
            Overrides(sparse=(("body", acs.Pattern(3, 7)),)),
            "pattern 3:7: design 'sat_vcu1525' has no such mode; allowed: 1:2, 1:4, 2:4, 1:8, 2:8, 4:8, 1:16, 2:16, 4:16,"
            " 8:16 (array.patterns)",
        ),
    ],
)
def test_bad_overrides_are_named(make_trace, sat, overrides, message):
    trace = make_trace(conv("stem", 3, 16, 8), conv("body", 16, 32, 8), linear("head", 32, 10))
    with pytest.raises(acs.InputError) as caught:
        step_of(trace, sat, overrides=overrides)
    assert str(caught.value) == message


def test_a_dense_design_runs_everything_dense_and_says_so(make_trace):
    trace = make_trace(conv("stem", 3, 16, 8), conv("body", 16, 32, 8), linear("head", 32, 10))
    step = step_of(trace, acs.load_design("sat_vcu1525_dense"))
    assert not any(gemm.pattern for gemm in gemms(step))
    assert ("body", "kept dense, the design has no 2:8 mode") in {(n.operation, n.text) for n in step.notes}


def test_traced_sparsity_is_used_where_the_design_has_the_pattern_and_the_axis_fits(make_trace, sat):
    def seen(ff=None, bp=None):
        return {stage: {"weight": entry} for stage, entry in (("FF", ff), ("BP", bp)) if entry}

    fits, wrong_axis = {"pattern": "2:8", "axis": "input"}, {"pattern": "2:8", "axis": "input"}
    trace = make_trace(
        conv("a", 16, 16, 8, observed=seen(ff=fits, bp={"pattern": "1:4", "axis": "output"})),
        conv("b", 16, 16, 8, observed=seen(ff={"density": 0.5}, bp=wrong_axis)),
        conv("c", 16, 16, 8, observed=seen(ff={"pattern": "3:7", "axis": "input"}, bp={"density": 1.0})),
        linear("head", 16, 10),
    )
    step = step_of(trace, sat, "traced", overrides=None)
    patterns = {(g.operation, g.stage.value): str(g.pattern) for g in gemms(step) if g.pattern}
    assert patterns == {("a", "FF"): "2:8"}  # the first layer has no BP
    assert [note.text for note in step.notes] == [
        "kept dense, unstructured (density 0.50): the design skips N:M only",
        "kept dense, the design has no 3:7 mode",
        "kept dense, 2:8 along the input, and BP reduces the output",
    ]


@pytest.mark.parametrize(
    ("entry", "mode"),
    [
        ({"pattern": "1:32", "axis": "input"}, "1:16"),  # a part of a group holds no more than the group
        ({"pattern": "2:4", "axis": "input"}, "2:4"),  # 4:8 and 8:16 are as dense, in longer groups
        ({"pattern": "3:4", "axis": "input"}, "3:4"),  # no mode fits
        ({"pattern": "5:32", "axis": "input", "groups": [[5, 3, 0, 0, 0], [1, 2, 1, *[0] * 6]]}, "1:4"),
        ({"pattern": "5:32", "axis": "input", "groups": [[5, 2, 1, 0, 0], [0, 3, 1, *[0] * 6]]}, "2:8"),
    ],
)
def test_traced_sparsity_takes_the_sparsest_mode_that_every_group_fits(make_trace, sat, entry, mode):
    trace = make_trace(linear("a", 64, 64, observed={"FF": {"weight": entry}}), linear("head", 64, 10))
    step = step_of(trace, sat, "traced", overrides=None)
    (gemm,) = (g for g in gemms(step) if (g.operation, g.stage) == ("a", "FF"))
    if mode == "3:4":
        assert gemm.pattern is None
        assert [note.text for note in step.notes] == ["kept dense, the design has no 3:4 mode"]
    else:
        assert str(gemm.pattern) == mode


def test_traced_gradients_are_sparse_on_the_weight_port(make_trace, sat):
    seen = {
        "BP": {"weight": {"density": 1.0}, "gradient": {"pattern": "2:8", "axis": "output", "density": 0.25}},
        "WU": {"gradient": {"pattern": "1:4", "axis": "batch", "density": 0.25}, "activation": {"density": 0.5}},
    }
    trace = make_trace(linear("in", 16, 16), linear("a", 16, 32, rows=4, observed=seen), linear("head", 32, 10))
    found = {g.stage.value: g for g in gemms(step_of(trace, sat, "traced", overrides=None)) if g.operation == "a"}
    assert {stage: str(g.pattern) for stage, g in found.items()} == {"FF": "None", "BP": "2:8", "WU": "1:4"}
    assert (found["BP"].w_operand, found["WU"].w_operand) == (Operand.GRADIENT, Operand.GRADIENT)
    assert (found["BP"].m, found["BP"].k) == (16, 32)  # transposed: dX^T = W dY^T


def test_a_use_without_weight_gradient_has_no_wu(make_trace, sat):
    shared = {"name": "shared"}
    trace = make_trace(
        linear("in", 16, 16),
        linear("a", 16, 16, weight=shared),
        linear("target", 16, 16, weight=shared, weight_gradient=False, input_gradient=False),
        linear("out", 16, 16),
    )
    step = step_of(trace, sat)
    stages = {
        name: [task.stage.value for task in step.tasks if task.operation == name and isinstance(task, Gemm)]
        for name in ("a", "target")
    }
    assert stages == {"a": ["FF", "BP", "WU"], "target": ["FF"]}


def test_work_of_the_backward_pass_alone_runs_there_once(make_trace, sat):
    trace = make_trace(linear("in", 16, 16), linear("a", 16, 16, backward_only=True), linear("out", 16, 16))
    tasks = step_of(trace, sat, "dense").tasks
    assert [(task.name, task.stage.value) for task in tasks if isinstance(task, Gemm)] == [
        ("in", "FF"), ("out", "FF"), ("out", "BP"), ("out", "WU"), ("a[backward]", "BP"), ("in", "WU"),
    ]  # fmt: skip


def test_tied_weights_are_updated_once_after_both_gradients(make_trace, sat):
    shared = {"name": "shared"}
    trace = make_trace(
        linear("in", 16, 16),
        linear("a", 16, 16, weight=shared),
        linear("b", 16, 16, weight=shared),
        linear("out", 16, 16),
    )
    step = step_of(trace, sat)
    updates = [(i, task) for i, task in enumerate(step.tasks) if isinstance(task, Update) and task.tensor == "shared"]
    assert len(updates) == 1
    waited = {step.tasks[i].name for i in step.after[updates[0][0]] if step.tasks[i].stage is Stage.WU}
    assert waited == {"a", "b"}
    assert sum(isinstance(task, Generation) and task.tensor == "shared" for task in step.tasks) == 2


def test_frozen_weights_have_no_wu_and_no_update_but_pass_gradients_on(make_trace, sat):
    trace = make_trace(
        linear("in", 16, 16), linear("a", 16, 16, weight={"name": "a.w", "frozen": True}), linear("out", 16, 16)
    )
    step = step_of(trace, sat)
    assert [task.stage.value for task in step.tasks if task.operation == "a"] == ["FF", "BP"]


def test_recomputed_operations_run_their_forward_again_before_their_backward(make_trace, sat):
    trace = make_trace(linear("in", 16, 16), linear("a", 16, 16, recomputed=True), linear("out", 16, 16))
    names = [(task.name, task.stage.value) for task in step_of(trace, sat).tasks if task.operation == "a"][:3]
    assert names == [("a", "FF"), ("a[recomputed]", "BP"), ("a", "BP")]


def test_inference_is_ff_and_its_vector_work_alone(make_trace, sat):
    trace = make_trace(
        linear("in", 16, 16), {"name": "n", "kind": "norm", "reads": 16, "writes": 16}, linear("out", 16, 4)
    )
    step = step_of(trace, sat, mode="infer")
    assert [task.stage.value for task in step.tasks] == ["FF", "VECTOR", "FF"]


@pytest.mark.parametrize(("kind", "bytes_per_output"), [("norm", 14), ("add", 12)])
def test_vector_bytes_over_ff_and_bp(make_trace, sat, kind, bytes_per_output):
    """A norm with its activation moves 14 bytes per output in FP16, a residual addition 6, its activation 6 in BP."""
    reads = 200 if kind == "add" else 100
    trace = make_trace(
        linear("in", 16, 16),
        {"name": "v", "kind": kind, "reads": reads, "writes": 100},
        {"name": "relu", "kind": "activation", "reads": 100, "writes": 100},
        linear("out", 16, 4),
    )
    work = [task for task in step_of(trace, sat, batch=1).tasks if isinstance(task, VectorWork)]
    assert sum(2 * (task.reads + task.writes) for task in work) == 100 * bytes_per_output


def test_vector_work_in_front_of_all_weights_has_no_backward(make_trace, sat):
    front, behind = ({"name": name, "kind": "norm", "reads": 100, "writes": 100} for name in ("front", "behind"))
    step = step_of(make_trace(front, linear("a", 16, 16), behind, linear("b", 16, 4)), sat)
    work = [(task.operation, task.direction) for task in step.tasks if isinstance(task, VectorWork)]
    assert work == [("front", "FF"), ("behind", "FF"), ("behind", "BP")]


@pytest.mark.parametrize(("method", "passes"), [("bdwp", (1, 1)), ("transposable", (1, 0)), ("sr-ste", (1,))])
def test_one_mask_for_both_directions_takes_one_pass(make_trace, sat, method, passes):
    step = step_of(make_trace(linear("a", 16, 16), linear("b", 16, 16), linear("c", 16, 16)), sat, method)
    copies = [task for task in step.tasks if isinstance(task, Generation)]
    assert [(copy.operation, copy.reader, copy.passes) for copy in copies] == [
        ("b", stage, times) for stage, times in zip((Stage.FF, Stage.BP), passes, strict=False)
    ]


@pytest.mark.parametrize(
    ("names", "dense"),
    [("a", {"a": "first"}), ("ab", {"a": "first", "b": "last"}), ("abc", {"a": "first", "c": "last"})],
)
def test_the_first_and_the_last_layer_stay_dense(make_trace, sat, names, dense):
    step = step_of(make_trace(*(linear(name, 16, 16) for name in names)), sat)
    notes = {note.operation: note.text for note in step.notes}
    assert notes == {name: f"kept dense, {which} layer" for name, which in dense.items()}
    assert {gemm.operation for gemm in gemms(step) if gemm.pattern is None and gemm.stage is Stage.FF} == set(dense)


def test_operations_that_do_not_scale_are_done_once_per_step(make_trace, sat):
    trace = make_trace(linear("in", 16, 16), linear("a", 16, 16, scales_with_batch=False), linear("out", 16, 4))
    assert next(g for g in gemms(step_of(trace, sat)) if g.operation == "a").m == 1


def test_dependencies_point_backwards_and_updates_follow_their_gradient(make_trace, sat):
    trace = make_trace(conv("stem", 3, 16, 8), conv("body", 16, 32, 8), linear("head", 32, 10))
    step = step_of(trace, sat)
    assert all(earlier < index for index, waits in enumerate(step.after) for earlier in waits)
    for index, task in enumerate(step.tasks):
        if isinstance(task, Update):
            assert any(
                step.tasks[i].stage is Stage.WU and step.tasks[i].operation == task.operation for i in step.after[index]
            )


@pytest.mark.parametrize("batch", [0, -1, 2**21])
def test_batch_is_bounded(make_trace, sat, batch):
    with pytest.raises(acs.InputError, match=f"^batch: got {batch}; allowed: 1 to 1048576$"):
        step_of(make_trace(linear("a", 8, 8)), sat, batch=batch)


def test_products_too_large_to_count_are_refused(make_trace, sat):
    huge = {"name": "h", "kind": "matmul", "batch": 2**20, "m": 2**20, "n": 2**20, "k": 2**10}
    with pytest.raises(acs.InputError) as caught:
        step_of(make_trace(huge), sat)
    assert str(caught.value) == (
        "operation 'h': its FF product 1048576 x 1048576 x 1024 x 4194304 is too large to be counted; lower the batch or"
        " check the sizes"
    )


def test_forward_macs_of_a_trace_equal_the_sum_of_its_gemms(sat):
    trace = acs.load_trace("resnet50_imagenet")
    assert macs(step_of(trace, sat, "dense", batch=1), Stage.FF) == trace.macs
    assert all(isinstance(op, Conv) is (prod(getattr(op, "kernel", (0,))) > 0) for op in trace.operations)


@pytest.mark.parametrize(
    ("sizes", "macs"),
    [
        ({"in_channels": 4, "out_channels": 8, "kernel": [5, 5], "in_size": [5, 5]}, 800),
        ({"in_channels": 3, "out_channels": 2, "kernel": [3, 3], "in_size": [9, 7], "stride": [2, 1]}, 4 * 5 * 54),
        ({"in_channels": 1, "out_channels": 1, "kernel": [3, 3], "in_size": [1, 1], "padding": [1, 1], "stride": [2, 2]}, 9),
        ({"in_channels": 6, "out_channels": 4, "groups": 2, "kernel": [2, 4], "in_size": [8, 8], "dilation": [3, 2], "padding": [1, 0]}, 7 * 2 * 96),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
def test_every_stage_counts_the_pairs_of_the_forward_pass(make_trace, sat, kind, sizes, macs):
    """By hand: output positions x taps x channels of a convolution; input positions of a transposed one."""
    if kind == "conv_transpose2d":
        macs = (
            prod(sizes["in_size"])
            * sizes["in_channels"]
            * sizes["out_channels"]
            * prod(sizes["kernel"])
            // sizes.get("groups", 1)
        )
        if sizes["in_size"] == [1, 1]:
            sizes = {**sizes, "in_size": [2, 2]}
            macs *= 4
    trace = make_trace({"name": "c", "kind": kind, "input_gradient": True, **sizes})
    step = lower(trace, sat, find_method("dense"), pattern=None, batch=3)
    by_stage = dict.fromkeys(("FF", "BP", "WU"), 0)
    for task in step.tasks:
        if isinstance(task, Gemm):
            by_stage[task.stage] += task.macs
            assert executed_macs(task) == task.count * task.m * task.n * task.k
    assert by_stage == {"FF": 3 * macs, "BP": 3 * macs, "WU": 3 * macs}
    assert trace.macs == macs


def test_what_the_array_multiplies_at_borders_is_executed_work_not_needed_work(make_trace, sat):
    """Conv2d(4, 8, 5) on 5x5: BP reaches each of 25 inputs by up to 25 taps, of which one output has a product with each."""
    trace = make_trace({"name": "c", "kind": "conv2d", "in_channels": 4, "out_channels": 8, "kernel": [5, 5], "in_size": [5, 5], "input_gradient": True})  # fmt: skip
    step = lower(trace, sat, METHODS["dense"], pattern=None, batch=1)
    assert [(task.stage, task.macs, executed_macs(task)) for task in step.tasks if isinstance(task, Gemm)] == [
        ("FF", 800, 800), ("BP", 800, 25 * 25 * 32), ("WU", 800, 800)
    ]  # fmt: skip


@pytest.mark.parametrize(("stride", "padding", "dilation"), [((1, 1), (0, 0), (1, 1)), ((2, 1), (1, 0), (1, 2)), ((3, 2), (2, 1), (2, 1))])  # fmt: skip
@pytest.mark.parametrize("groups", [1, 2])
def test_columns_and_their_sums_are_the_gradient(make_trace, sat, stride, padding, dilation, groups):
    """The product of sizes m, n, k that is lowered, and the sums behind it, give what differentiating gives."""
    torch = pytest.importorskip("torch")
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64, requires_grad=True)
    w = torch.randn(6, 4 // groups, 3, 2, dtype=torch.float64)
    y = torch.nn.functional.conv2d(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
    dy = torch.randn_like(y)
    y.backward(dy)
    sizes = {
        "in_channels": 4,
        "out_channels": 6,
        "in_size": [9, 8],
        "kernel": [3, 2],
        "groups": groups,
        "input_gradient": True,
    }
    trace = make_trace(
        {"name": "c", "kind": "conv2d", "stride": stride, "padding": padding, "dilation": dilation, **sizes}
    )
    step = lower(trace, sat, METHODS["dense"], pattern=None, batch=2, columns={("c", Stage.BP)})
    (gemm,) = [task for task in step.tasks if isinstance(task, Gemm) and task.stage is Stage.BP]
    (sums,) = [task for task in step.tasks if isinstance(task, VectorWork)]
    by_group = dy.reshape(2, groups, 6 // groups, -1).permute(1, 0, 3, 2).reshape(groups, -1, 6 // groups)
    columns = by_group @ w.reshape(groups, 6 // groups, -1)
    assert (gemm.count, gemm.m, gemm.k, gemm.n) == (groups, *by_group.shape[1:], columns.shape[2])
    assert gemm.macs == executed_macs(gemm) == 2 * trace.macs
    blocks = (
        columns.reshape(groups, 2, -1, columns.shape[2]).permute(1, 0, 3, 2).reshape(2, columns.shape[2] * groups, -1)
    )
    folded = torch.nn.functional.fold(blocks, (9, 8), (3, 2), dilation=dilation, padding=padding, stride=stride)
    torch.testing.assert_close(folded, x.grad)
    assert (sums.reads, sums.writes, sums.direction) == (columns.numel(), x.numel(), "BP")
