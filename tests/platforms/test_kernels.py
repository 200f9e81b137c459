"""The kernels of a step, worked by hand; the operations of all are those of the step."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from platform_cases import conv, kernels, linear, lowered, round_behaviour, round_platform, rows, vector

import accelsim as acs
from accelsim.lowering.optimizers import find_optimizer
from accelsim.lowering.tasks import Gemm
from accelsim.platforms.kernel_time import step_seconds
from accelsim.platforms.kernels import Software, compact_share

AMP = Software(precision="amp")
SGD, ADAM = find_optimizer("sgd"), find_optimizer("adam")


def test_a_convolution(make_trace) -> None:
    # batch 4: X 4 x 16 x 64 = 4096 elements, W 9 x 16 x 32 = 4608, Y 4 x 32 x 64 = 8192, two bytes each
    found = kernels(make_trace(conv()), AMP)
    assert rows(found) == [
        ("conv", "FF", 256, 32, 144, 1, 33792, 1),
        ("conv", "BP", 256, 16, 288, 1, 33792, 1),
        ("conv", "WU", 144, 32, 256, 1, 33792, 1),
    ]
    assert list(found.flops) == [2 * 256 * 32 * 144] * 3
    assert found.spatial.all()
    assert found.winograd.all()
    assert not found.pruned.any()


def test_the_phases_of_a_strided_convolution_are_one_kernel(make_trace) -> None:
    # dX has 4 x 64 positions, each reached by 1, 2 or 4 of 9 taps: 9 / 4 x 32 = 72 on average
    found = kernels(make_trace(conv(stride=[2, 2])), AMP)
    assert rows(found) == [
        ("conv", "FF", 64, 32, 144, 1, 2 * (4096 + 4608 + 2048), 1),
        ("conv", "BP", 256, 16, 72, 1, 2 * (2048 + 4608 + 4096), 1),
        ("conv", "WU", 144, 32, 64, 1, 2 * (4096 + 2048 + 4608), 1),
    ]
    assert not found.winograd.any()


def test_what_no_tap_reaches_is_written_too(make_trace) -> None:
    # one of four positions has a product, all 4096 elements of dX are written
    found = kernels(make_trace(conv(kernel=[1, 1], padding=[0, 0], stride=[2, 2])), AMP)
    assert rows(found)[1] == ("conv", "BP", 64, 16, 32, 1, 2 * (2048 + 512 + 4096), 1)


def test_a_transposed_convolution_scatters_in_the_forward(make_trace) -> None:
    shape = {"kind": "conv_transpose2d", "kernel": [2, 2], "padding": [0, 0], "stride": [2, 2]}
    found = kernels(make_trace(conv(**shape)), AMP)
    # 16 x 16 positions, each reached by one of 4 taps
    assert rows(found)[0] == ("conv", "FF", 1024, 32, 16, 1, 2 * (4096 + 2048 + 32768), 1)
    assert rows(found)[1][:3] == ("conv", "BP", 256)


def test_groups_are_copies(make_trace) -> None:
    found = kernels(make_trace(conv(groups=16)), AMP)
    assert rows(found)[0] == ("conv", "FF", 256, 2, 9, 16, 2 * (4096 + 9 * 32 + 8192), 1)
    assert not found.winograd.any()


def test_a_stack_of_matrices_is_one_product_and_no_convolution(make_trace) -> None:
    # 2 matrices of 8 x 16 on 64 rows each per sample, as of experts: X 4 x 16 x 64, W 2 x 8 x 16, Y 4 x 32 x 64
    stack = conv(kind="conv1d", groups=2, in_size=[64], kernel=[1], stride=[1], padding=[0])
    found = kernels(make_trace(stack), Software(precision="amp", channels_last=False))
    moved = 2 * (4096 + 256 + 8192)
    assert rows(found) == [
        ("conv", "FF", 256, 16, 8, 2, moved, 1),
        ("conv", "BP", 256, 8, 16, 2, moved, 1),
        ("conv", "WU", 8, 16, 256, 2, moved, 1),
    ]
    assert not found.spatial.any()


@pytest.mark.parametrize(
    ("software", "matrix_units", "moved", "launches"),
    [
        (Software(precision="amp", channels_last=False), True, 33792 + 2 * 2 * (4096 + 8192), 3),
        (Software(precision="tf32", channels_last=False), True, 2 * 33792 + 4 * 2 * (4096 + 8192), 3),
        (Software(precision="fp32", channels_last=False), True, 2 * 33792, 1),
        (Software(precision="amp", channels_last=False), False, 33792, 1),
    ],
    ids=["amp", "tf32", "fp32", "no matrix units"],
)
def test_nchw_transposes_both_activations(make_trace, software, matrix_units, moved, launches) -> None:
    found = kernels(make_trace(conv()), software, matrix_units=matrix_units)
    assert list(found.bytes) == [moved] * 3
    assert list(found.launches) == [launches] * 3


def test_nchw_transposes_activations_also_where_weights_are_larger(make_trace) -> None:
    wide = conv(in_channels=512, out_channels=512, in_size=[2, 2])
    channels_last, nchw = (
        kernels(make_trace(wide), Software(precision="amp", channels_last=last), batch=1) for last in (True, False)
    )
    assert list(nchw.bytes - channels_last.bytes) == [2 * 2 * (2048 + 2048)] * 3


def test_a_linear_layer(make_trace) -> None:
    # X 40 x 64 = 2560 elements, W 2048, Y 40 x 32 = 1280
    found = kernels(make_trace(linear(rows=10)), AMP)
    moved = 2 * (2560 + 2048 + 1280)
    assert rows(found) == [
        ("fc", "FF", 40, 32, 64, 1, moved, 1),
        ("fc", "BP", 40, 64, 32, 1, moved, 1),
        ("fc", "WU", 64, 32, 40, 1, moved, 1),
    ]
    assert not found.spatial.any()


def test_a_product_of_activations(make_trace) -> None:
    product = {"name": "qk", "kind": "matmul", "batch": 2, "m": 8, "k": 16, "n": 4, "input_gradient": True}
    moved = 2 * 8 * (128 + 64 + 32)
    assert rows(kernels(make_trace(product), AMP)) == [
        ("qk", "FF", 8, 4, 16, 8, moved, 1),
        ("qk", "BP", 8, 16, 4, 8, moved, 1),
        ("qk", "BP", 16, 4, 8, 8, moved, 1),
    ]


# elements per sample of the forward and of the backward, of 1000 read and 500 written
PASSES = {
    "norm": (2 * 1000 + 500, 4 * 500 + 1000),
    "activation": (1500, 2 * 500 + 1000),
    "pooling": (1500, 500 + 1000),
    "add": (1500, 2 * 500 + 500),
    "multiply": (1500, 1000 + 500 + 1000),
    "softmax": (1500, 2 * 500 + 1000),
    "dropout": (1500, 500 + 1000),
    "reduce": (1500, 500 + 1000),
    "loss": (1500, 1000 + 1000),
    "copy": (1500, 500 + 1000),
    "elementwise": (1500, 1000 + 500 + 1000),
}


@pytest.mark.parametrize("kind", PASSES)
def test_vector_work(make_trace, kind: str) -> None:
    forward, backward = PASSES[kind]
    found = kernels(make_trace(vector(kind, 1000, 500)), AMP)
    assert rows(found) == [
        (kind, "VECTOR", 0, 0, 0, 0, 4 * 2 * forward, 1),
        (kind, "VECTOR", 0, 0, 0, 0, 4 * 2 * backward, 1),
    ]


def test_an_addition_without_a_gradient_sums_none(make_trace) -> None:
    assert len(kernels(make_trace(vector("add", input_gradient=False)), AMP)) == 1


def test_an_embedding_clears_its_table_of_gradients(make_trace) -> None:
    table = [{"name": "table", "elements": 5000}]
    found = kernels(make_trace(vector("embedding", 1000, 500, other_parameters=table)), AMP)
    assert [row[6] for row in rows(found)] == [4 * 2 * 1500, 2 * (4 * 2 * 500 + 5000)]


def test_work_that_does_not_scale_with_the_batch(make_trace) -> None:
    found = kernels(make_trace(vector("norm", scales_with_batch=False)), AMP)
    assert [row[6] for row in rows(found)] == [2 * 3000, 2 * 5000]


def test_compiled_steps_fuse_elementwise_work(make_trace) -> None:
    trace = make_trace(vector("norm"), vector("activation"), vector("pooling"))
    eager, compiled = kernels(trace, AMP), kernels(trace, Software(precision="amp", compiled=True))
    halved = {name: eager.bytes[i] / compiled.bytes[i] for i, name in enumerate(eager.operations)}
    assert halved == {"norm": 1, "activation": 2, "pooling": 1}
    assert {name: compiled.launches[i] for i, name in enumerate(eager.operations)} == {
        "norm": 1,
        "activation": 0,
        "pooling": 1,
    }


# bytes per weight and launches of the update of a weight and a bias, 2080 elements
UPDATES = {
    "fused SGD": (Software(precision="fp32", optimizer=SGD), 5 * 4, 0),
    "fused Adam": (Software(precision="tf32", optimizer=ADAM), 7 * 4, 0),
    "SGD, each step a kernel": (Software(precision="fp32", optimizer=SGD, fused_update=False), 11 * 4, 2 * 4),
    "Adam, each step a kernel": (Software(precision="fp32", optimizer=ADAM, fused_update=False), 17 * 4, 2 * 8),
    "everything in 16 bits": (Software(precision="fp16", optimizer=SGD), 5 * 2, 0),
    "casts to and fro, unscaling": (Software(precision="amp", optimizer=SGD), 5 * 4 + 6 + 6 + 8, 2 * 2),
    "the same for BF16": (Software(precision="bf16", optimizer=SGD), 5 * 4 + 6 + 6 + 8, 2 * 2),
    "compiled": (Software(precision="amp", optimizer=SGD, fused_update=False, compiled=True), 40, 0),
}


@pytest.mark.parametrize("name", UPDATES)
def test_updates(make_trace, name: str) -> None:
    software, moved, launches = UPDATES[name]
    trace = make_trace(linear(other_parameters=[{"name": "bias", "elements": 32}]))
    assert rows(kernels(trace, software))[-1] == ("fc", "UPDATE", 0, 0, 0, 0, 2080 * moved, launches)


def test_no_optimizer_no_update(make_trace) -> None:
    assert [row[1] for row in rows(kernels(make_trace(linear()), Software(optimizer=None)))] == ["FF", "BP", "WU"]


def test_a_pruned_weight_is_made_compact_once_and_read_compact(make_trace) -> None:
    trace = make_trace(linear("a", input_gradient=False), linear("b", in_features=32), linear("c"))
    dense, sparse = kernels(trace, AMP), kernels(trace, AMP, method="bdwp", pattern="2:4")
    of_b = {row[1]: row for row in rows(sparse) if row[0] == "b"}
    # half of 16 bits and two bits for each kept value
    assert compact_share(2) == 0.5625
    assert of_b["FF"] == ("b", "FF", 4, 32, 32, 1, 2 * (128 + 0.5625 * 1024 + 128), 1)
    assert of_b["BP"][6] == of_b["FF"][6]
    assert of_b["WU"][6] == 2 * (128 + 1024 + 128)
    generated = [row for row in rows(sparse) if row[1] == "GENERATE"]
    assert generated == [("b", "GENERATE", 0, 0, 0, 0, 1024 * (4 + 0.5625 * 2), 1)] * 2
    assert len(sparse) == len(dense) + 2
    assert [name for name, flag in zip(sparse.operations, sparse.sparse, strict=True) if flag] == ["b", "b"]


def test_a_pruned_gradient_is_packed_before_its_product(make_trace) -> None:
    trace = make_trace(linear("a", input_gradient=False), linear("b", in_features=32, rows=8), linear("c"))
    found = kernels(trace, AMP, method="sdgp", pattern="2:4")
    (row,) = [row for row in rows(found) if row[:2] == ("b", "BP")]
    # dX^T = W dY^T: W 1024 elements, dY 32 x 32 compact, dX 32 x 32; dY read and written compact before
    assert row == ("b", "BP", 32, 32, 32, 1, 2 * (1024 + 0.5625 * 1024 + 1024 + 1.5625 * 1024), 2)


@pytest.mark.parametrize("method", ["bdwp", "sdgp", "mvue"])
def test_pruned_convolutions_are_the_dense_kernels(make_trace, method: str) -> None:
    layers = [conv("a", out_channels=16), conv("b", out_channels=16, stride=[2, 2]), conv("c", in_size=[4, 4])]
    dense = kernels(make_trace(*layers), AMP)
    pruned = kernels(make_trace(*layers), AMP, method=method, pattern="2:4")
    assert rows(pruned) == rows(dense)
    assert pruned.pruned.any()
    assert not pruned.sparse.any()


@pytest.mark.parametrize("workload", ["resnet50_imagenet", "mobilenet_v2_imagenet", "bert_base_128", "vit_cifar100"])
@pytest.mark.parametrize(("method", "pattern"), [("dense", None), ("bdwp", "2:8"), ("sdgp", "2:8")])
def test_operations_of_shipped_networks(workload: str, method: str, pattern: str | None) -> None:
    trace = acs.load_trace(workload)
    found = kernels(trace, AMP, method=method, pattern=pattern)
    assert found.flops.sum() == 2 * lowered(trace, method=method, pattern=pattern).macs_dense
    assert (found.bytes > 0).all()


SIZES = st.integers(1, 12)
CONVS = st.builds(
    lambda groups, per_in, per_out, size, kernel, stride, padding: conv(
        in_channels=groups * per_in,
        out_channels=groups * per_out,
        groups=groups,
        in_size=[size + kernel, size],
        kernel=[kernel, 1],
        stride=[stride, stride],
        padding=[padding, 0],
    ),
    st.integers(1, 3), SIZES, SIZES, SIZES, st.integers(1, 4), st.integers(1, 3), st.integers(0, 1),
)  # fmt: skip
LINEARS = st.builds(lambda i, o, r: linear(in_features=i, out_features=o, rows=r), SIZES, SIZES, SIZES)
NETWORKS = st.lists(
    CONVS | LINEARS | st.sampled_from(["norm", "activation", "add"]).map(vector), min_size=1, max_size=5
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NETWORKS, st.sampled_from(["dense", "bdwp", "sdgp"]), st.integers(1, 5), st.booleans())
def test_properties(make_trace, layers, method, batch, channels_last) -> None:
    named = [{**layer, "name": f"{index}"} for index, layer in enumerate(layers)]
    for layer in named:
        layer.pop("weight", None)
    trace = make_trace(*named)
    how = {"batch": batch, "method": method, "pattern": None if method == "dense" else "2:4"}
    options = {"channels_last": channels_last, "optimizer": SGD}
    eager = kernels(trace, Software(**options), **how)
    executed = sum(
        task.count * task.m * task.n * task.k for task in lowered(trace, **how).tasks if isinstance(task, Gemm)
    )
    assert eager.flops.sum() == 2 * executed
    assert (eager.bytes > 0).all()
    products = eager.copies > 0
    assert eager.flops[products] == pytest.approx((2 * eager.m * eager.n * eager.k * eager.copies)[products])
    compiled = kernels(trace, Software(compiled=True, **options), **how)
    platform, behaviour = round_platform(), round_behaviour(kernel_us=2.0, host_us=10.0)
    slow, fast = (
        step_seconds(found, platform, behaviour, Software(compiled=graph, **options)).step_s
        for found, graph in ((eager, False), (compiled, True))
    )
    assert fast <= slow
