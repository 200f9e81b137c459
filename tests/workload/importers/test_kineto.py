"""Profiles of real steps against the tracer, profiles as GPUs give them by hand, and errors word for word."""

import gzip
import json

import pytest

from accelsim.base.errors import InputError
from accelsim.cli import main
from accelsim.workload.importing import ImportOptions, import_trace, recognise
from accelsim.workload.trace import load_trace

BATCH = 7
ATTENTION = (
    "attention in one kernel is opened into its two products, softmax and dropout, computed in full: a causal mask saves"
    " no work"
)
INPUT = "the input is what the first operation reads, with the samples along the first dimension"
UNTRAINED = "parameters that are not trained count once for every use: a profile does not say which are the same"
NOTES = {
    "vision transformer": (ATTENTION, INPUT),
    "frozen start": (INPUT, UNTRAINED),
    "without gradient": (INPUT, UNTRAINED),
    "low-rank adapters": (INPUT, UNTRAINED),
    "checkpoint of a frozen layer": (INPUT, UNTRAINED),
    "checkpoint of a frozen layer, reentrant": (INPUT, UNTRAINED),
    "several steps": ("ProfilerStep#3, the last complete one of 3 recorded steps, is the step of the trace", INPUT),
}
OTHER_VECTOR_WORK = frozenset({"recurrent", "LSTM"})  # as for execution traces
NOT_TOLD = {
    "weights put together": (
        "aten::mm on 7x4 and 4x5: no gradient of the shape 5x4 is accumulated: its weight is computed from parameters of"
        " other shapes; record an execution trace (ExecutionTraceObserver)"
    ),
    "a constant matrix": (
        "aten::mm on 7x4 and 4x6: which factor is a weight, if one is, cannot be told from a profile; record an execution"
        " trace (ExecutionTraceObserver)"
    ),
}


def imported(path, batch=BATCH, **options):
    return import_trace(path, "kineto", ImportOptions(batch=batch, **options))


def error_of(path, batch=BATCH):
    with pytest.raises(InputError) as caught:
        imported(path, batch)
    return str(caught.value)


# Real steps


def test_a_real_step_has_the_products_of_the_tracer(network, recording, looks):
    if network in NOT_TOLD:
        assert error_of(recording.profile) == f"{recording.profile}: {NOT_TOLD[network]}"
        return
    trace = imported(recording.profile)
    assert looks.products(trace) == looks.products(recording.traced)
    assert looks.macs(trace) == looks.macs(recording.traced)
    assert looks.ties(trace) == looks.ties(recording.traced)
    assert trace.parameters == recording.traced.parameters
    assert trace.input_shapes == recording.traced.input_shapes[:1]
    assert trace.origin.assumptions == NOTES.get(network, (INPUT,))


def test_a_real_step_has_the_vector_work_of_the_tracer(network, recording, looks):
    if network in OTHER_VECTOR_WORK or network in NOT_TOLD:
        pytest.skip("differs, as listed above")
    *operations, loss = looks.operations(imported(recording.profile))
    assert operations == looks.operations(recording.traced)
    assert loss.startswith("reduce ")  # the sum of the outputs


@pytest.mark.parametrize(
    ("name", "counts"), [("ResNet-50", (54, 53, 54)), ("GPT-2 of twelve layers", (73, 97, 49))], ids=["161", "219"]
)
def test_products_of_known_networks(record, looks, name, counts):
    assert looks.counts(imported(record(name).profile)) == counts


def test_names_come_from_modules_where_they_are_recorded(record):
    trace = imported(record("convolutions").profile)
    assert [operation.name for operation in trace.operations] == [
        "Conv2d_0", "BatchNorm2d_0", "ReLU_0", "MaxPool2d_0", "Conv2d_1", "AvgPool2d_0", "Linear_0", "sum",
    ]  # fmt: skip
    assert trace.operations[0].weight.name == "Conv2d_0.weight"
    trace = imported(record("tied").profile)
    assert [operation.name for operation in trace.operations] == ["embedding", "linear", "sum"]
    assert trace.operations[1].weight.name == "embedding.weight"


def test_the_command(record, tmp_path, capsys):
    given = tmp_path / "step.json.gz"
    given.write_bytes(gzip.compress(record("frozen start").profile.read_bytes()))
    assert recognise(given) == "kineto"
    assert main(["import", str(given), "--batch", "7", "-o", str(tmp_path / "out.json")]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"note: {INPUT}\nnote: {UNTRAINED}\n"
    trace = load_trace(tmp_path / "out.json")
    assert captured.out == (
        f"{tmp_path / 'out.json'}: {len(trace.operations)} operations, {trace.macs:,} MACs forward per sample,"
        f" {trace.parameters:,} parameters\n"
    )
    assert (trace.model, trace.origin.source) == ("step", "step.json.gz")


# By hand, as on a GPU


class Shape(tuple):
    """The shape of a tensor among the arguments of a call."""


def T(*sizes):  # noqa: N802
    return Shape(sizes)


def argument(value):
    """Input Dims, Input type and Concrete Inputs of one argument."""
    if isinstance(value, Shape):
        return list(value), "c10::Half", ""
    if isinstance(value, list) and value and isinstance(value[0], Shape):
        return [list(each) for each in value], "TensorList", ""
    if value is None:
        return [], "", ""
    return [], "ScalarList" if isinstance(value, list) else "Scalar", str(value)


def call(name, *arguments, seq=None, back=None, inner=()):
    """A call of the host: arguments, the sequence number of its node or of the one whose backward it is."""
    return {"name": name, "arguments": arguments, "seq": seq, "back": back, "inner": inner}


def node(name, seq, *arguments, inner=(), after=()):
    """What the engine calls for the node of a forward call."""
    inside = call(name, *arguments, seq=seq, back=1, inner=inner)
    return call(f"autograd::engine::evaluate_function: {name}", seq=seq, back=1, inner=(inside, *after))


def accumulate(*shapes):
    """Gradients that are accumulated."""
    name = "torch::autograd::AccumulateGrad"
    return [call(f"autograd::engine::evaluate_function: {name}", inner=(call(name, T(*shape)),)) for shape in shapes]


def events_of(calls, tid, clock=1.0):
    """Events of calls one after another, those inside within the time of those around."""
    events = []
    for each in calls:
        inner, end = events_of(each["inner"], tid, clock + 1)
        dims, kinds, given = zip(*map(argument, each["arguments"]), strict=True) if each["arguments"] else ((), (), ())
        args = {"External id": 1, "Input Dims": list(dims), "Input type": list(kinds), "Concrete Inputs": list(given)}
        if each["seq"] is not None:
            args |= {"Sequence number": each["seq"], "Fwd thread id": each["back"] or 0}
        category = "cpu_op" if "::" in each["name"] or each["back"] else "user_annotation"
        events.append({"ph": "X", "cat": category, "name": each["name"], "pid": 9, "tid": tid, "ts": clock,
                       "dur": end - clock, "args": args})  # fmt: skip
        events += inner
        clock = end + 1
    return events, clock


KERNEL = {"ph": "X", "cat": "kernel", "name": "sm90_xmma", "pid": 0, "tid": 7, "ts": 2, "dur": 3, "args": {"stream": 7}}


def profile(tmp_path, forward, backward=(), **more):
    """A profile with the forward on one thread and the backward, later, on another."""
    first, end = events_of(forward, 100)
    second, _ = events_of(backward, 200, end)
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": [*first, KERNEL, *second], **more}))
    return path


def convolution(x, weight, seq, *, stride=1, padding=0, kernel="aten::cudnn_convolution"):
    two = lambda value: [value, value]  # noqa: E731
    given = (two(stride), two(padding), [1, 1], False, [0, 0], 1)
    leaf = call(kernel, x, weight, two(padding), two(stride), [1, 1], 1, True, False, True)
    return call("aten::conv2d", x, weight, None, *given[:3], 1, seq=seq, inner=(
        call("aten::convolution", x, weight, None, *given, seq=seq, inner=(
            call("aten::_convolution", x, weight, None, *given, True, False, True, True, inner=(leaf,)),
        )),
    ))  # fmt: skip


def linear(x, weight, seq):
    """A linear layer with bias on two dimensions."""
    (_, inputs), (outputs, _) = x, weight
    return call("aten::linear", x, weight, T(outputs), seq=seq, inner=(
        call("aten::t", weight, seq=seq, inner=(call("aten::transpose", weight, 0, 1),)),
        call("aten::addmm", T(outputs), x, T(inputs, outputs), 1, 1, seq=seq + 1),
    ))  # fmt: skip


def linear_backward(x, weight, seq, *, to_input=True):
    (rows, inputs), (outputs, _) = x, weight
    first = (call("aten::mm", T(rows, outputs), T(outputs, inputs)),) if to_input else ()
    inner = (*first, call("aten::mm", T(outputs, rows), T(rows, inputs)))
    return [
        node("AddmmBackward0", seq + 1, T(rows, outputs), inner=inner), *accumulate((outputs,)),
        node("TBackward0", seq, T(inputs, outputs)), *accumulate((outputs, inputs)),
    ]  # fmt: skip


def small_network():
    """Convolution, norm, activation, pooling, linear layer, loss, as cuDNN runs them; batch 8."""
    y = T(8, 16, 12, 12)
    norm = (y, T(16), T(16), T(16), T(16))
    forward = [
        convolution(T(8, 3, 24, 24), T(16, 3, 3, 3), 0, stride=2, padding=1),
        call("aten::batch_norm", *norm, True, 0.1, 1e-5, True, seq=1, inner=(
            call("aten::_batch_norm_impl_index", *norm, True, 0.1, 1e-5, True, seq=1, inner=(
                call("aten::cudnn_batch_norm", *norm, True, 0.1, 1e-5, seq=1),
            )),
        )),
        call("aten::relu", y, seq=2, inner=(call("aten::clamp_min", y, 0),)),
        call("aten::max_pool2d", y, [2, 2], [2, 2], [0, 0], [1, 1], False, seq=3, inner=(
            call("aten::max_pool2d_with_indices", y, [2, 2], [2, 2], [0, 0], [1, 1], False, seq=3),
        )),
        call("aten::flatten", T(8, 16, 6, 6), 1, -1, seq=4, inner=(
            call("aten::view", T(8, 16, 6, 6), [8, 576], seq=4),
        )),
        linear(T(8, 576), T(10, 576), 5),
        call("aten::cross_entropy_loss", T(8, 10), T(8), None, 1, -100, 0.0, seq=7, inner=(
            call("aten::log_softmax", T(8, 10), 1, None, seq=7, inner=(
                call("aten::_log_softmax", T(8, 10), 1, False, seq=7),
            )),
            call("aten::nll_loss_nd", T(8, 10), T(8), None, 1, -100, seq=8, inner=(
                call("aten::nll_loss_forward", T(8, 10), T(8), None, 1, -100, seq=8),
            )),
        )),
    ]  # fmt: skip
    backward = [
        node("NllLossBackward0", 8, T()),
        node("LogSoftmaxBackward0", 7, T(8, 10)),
        *linear_backward(T(8, 576), T(10, 576), 5),
        node("ViewBackward0", 4, T(8, 576)),
        node("MaxPool2DWithIndicesBackward0", 3, T(8, 16, 6, 6)),
        node("ReluBackward0", 2, y),
        node("CudnnBatchNormBackward0", 1, y, inner=(call("aten::cudnn_batch_norm_backward", y, y, T(16)),)),
        *accumulate((16,), (16,)),
        node("ConvolutionBackward0", 0, y, inner=(
            call("aten::convolution_backward", y, T(8, 3, 24, 24), T(16, 3, 3, 3), None, [2, 2], [1, 1], [1, 1], False,
                 [0, 0], 1, [False, True, False]),
        )),
        *accumulate((16, 3, 3, 3)),
        call("record_param_comms", T(448)),
    ]  # fmt: skip
    return forward, backward


def test_a_step_as_cudnn_runs_it(tmp_path, looks):
    trace = imported(profile(tmp_path, *small_network()), 8)
    assert looks.operations(trace) == [
        "conv2d 3->16 ((24, 24), (3, 3), (2, 2), (1, 1), (1, 1)) () groups 1, no input gradient",
        "norm 2304->2304",
        "activation 2304->2304",
        "pooling 2304->576",
        "linear 576->10 rows 1",
        "softmax 10->10",
        "loss 11->0",
    ]
    assert trace.parameters == 16 * 27 + 2 * 16 + 576 * 10 + 10
    assert sum(elements for elements, _ in trace.tensors.values()) == trace.parameters
    assert trace.input_shapes == ((3, 24, 24),)
    assert trace.origin.assumptions == (
        "collectives of a distributed run are left out: the trace is the work of one process", INPUT,
    )  # fmt: skip


def attention(kernel, q, k, v, *arguments):
    return call("aten::scaled_dot_product_attention", q, k, v, None, 0.0, False, seq=3, inner=(
        call(kernel, T(*q[:-1], 16), T(*k[:-1], 16), T(*v[:-1], 16), *arguments, seq=3),
    ))  # fmt: skip


KERNELS = {
    "flash": ("aten::_scaled_dot_product_flash_attention", (0.0, True, False, 1.0), False),
    "memory-efficient": ("aten::_scaled_dot_product_efficient_attention", (None, True, 0.1, False), True),
    "cuDNN": ("aten::_scaled_dot_product_cudnn_attention", (None, True, 0.0, False), False),
    "CPU": ("aten::_scaled_dot_product_flash_attention_for_cpu", (0.1, False, None), True),
}


@pytest.mark.parametrize("case", KERNELS)
def test_attention_in_one_kernel_is_opened(tmp_path, looks, case):
    """Heads of width 12 are padded to 16 for the kernel; 3 of 6 positions are queries."""
    kernel, arguments, dropout = KERNELS[case]
    q, k = T(8, 2, 3, 12), T(8, 2, 6, 12)
    forward = [linear(T(8, 24), T(24, 24), 1), attention(kernel, q, k, k, *arguments)]
    backward = [node("ScaledDotProductBackward0", 3, q), *linear_backward(T(8, 24), T(24, 24), 1, to_input=False)]
    trace = imported(profile(tmp_path, forward, backward), 8)
    assert looks.operations(trace) == [
        "linear 24->24 rows 1, no input gradient",
        "multiply 72->72",
        "multiply 144->144",
        "matmul 2 x 3,12,6",
        "softmax 36->36",
        *(["dropout 36->36"] if dropout else []),
        "matmul 2 x 3,6,12",
    ]
    assert ATTENTION in trace.origin.assumptions


def test_flash_attention_of_its_own_library_has_positions_before_heads(tmp_path, looks):
    q = T(8, 5, 2, 12)
    forward = [linear(T(8, 24), T(24, 24), 1), call("flash_attn::_flash_attn_forward", q, q, q, 0.0, 1.0, True, seq=3)]
    assert looks.products(imported(profile(tmp_path, forward), 8)) == [
        "linear 24->24 rows 1", "matmul 2 x 5,12,5", "matmul 2 x 5,5,12",
    ]  # fmt: skip


ONE, TWO = "activation 5->5", "multiply 10->5"
LSTM_GATES = ["add 40->20", ONE, ONE, ONE, ONE, TWO, TWO, "add 10->5", ONE, TWO]
GRU_GATES = [
    "add 10->5", ONE, "add 10->5", ONE, "copy 5->5", TWO, "add 10->5", ONE, "add 10->5", "copy 5->5", TWO, "add 10->5",
]  # fmt: skip


def test_a_recurrent_kernel_is_opened(tmp_path, looks):
    """Two LSTM layers of width 5 on 3 steps: sums of 4 x 5, weights of all layers in one list."""
    weights = [T(20, 6), T(20, 5), T(20), T(20), T(20, 5), T(20, 5), T(20), T(20)]
    state = T(2, 8, 5)
    kernel = call("aten::_cudnn_rnn", T(3, 8, 6), weights, 4, T(460), state, state, 2, 5, 0, 2, False, 0.0, True, False,
                  [], None, seq=1)  # fmt: skip
    forward = [
        call(
            "aten::lstm", T(3, 8, 6), [state, state], weights, True, 2, 0.0, True, False, False, seq=1, inner=(kernel,)
        )
    ]
    gradient = call("aten::_cudnn_rnn_backward", T(3, 8, 6), weights, 4, [False, False, False, True])
    backward = [node("CudnnRnnBackward0", 1, T(3, 8, 5), inner=(gradient,)), *accumulate(*weights)]
    trace = imported(profile(tmp_path, forward, backward), 8)
    first, later = ["linear 5->20 rows 1, no input gradient", *LSTM_GATES], ["linear 5->20 rows 1", *LSTM_GATES]
    assert looks.operations(trace) == [
        "linear 6->20 rows 3, no input gradient", *first, *later, *later, "copy 15->15",
        "linear 5->20 rows 3", *first, *later, *later, "copy 15->15",
    ]  # fmt: skip
    assert trace.parameters == sum(a * b for a, b in ((20, 6), (20, 5), (20, 5), (20, 5), (20, 4)))
    assert looks.ties(trace) == [0, 1, 1, 1, 4, 5, 5, 5]


def test_a_recurrent_kernel_of_both_directions(tmp_path, looks):
    """A GRU of width 5 forward and backward over 2 steps: gates of 3 x 5, both directions read the input."""
    weights = [T(15, 6), T(15, 5), T(15, 6), T(15, 5)]
    forward = [
        call("aten::_cudnn_rnn", T(8, 2, 6), weights, 2, None, T(2, 8, 5), None, 3, 5, 0, 1, True, 0.0, True, True, [],
             None, seq=1),
    ]  # fmt: skip
    gradient = call("aten::_cudnn_rnn_backward", T(8, 2, 6), weights, 2, [False, False, False, True])
    backward = [node("CudnnRnnBackward0", 1, T(8, 2, 10), inner=(gradient,)), *accumulate(*weights)]
    first, later = ["linear 5->15 rows 1, no input gradient", *GRU_GATES], ["linear 5->15 rows 1", *GRU_GATES]
    assert looks.operations(imported(profile(tmp_path, forward, backward), 8)) == [
        "linear 6->15 rows 2, no input gradient", *first, *later, "copy 10->10",
        "copy 12->12, no input gradient", "linear 6->15 rows 2, no input gradient", *first, *later, "copy 10->10",
        "copy 20->20",
    ]  # fmt: skip


BARE = {
    "cuDNN": ("aten::cudnn_convolution", ([1, 1], [2, 2], [1, 1], 1, True), "conv2d 3->16", "((24, 24), (3, 3), (2, 2), (1, 1)"),
    "MIOpen": (
        "aten::miopen_convolution", (None, [1, 1], [2, 2], [1, 1], 1, True), "conv2d 3->16", "((24, 24), (3, 3), (2, 2), (1, 1)",
    ),
    "oneDNN": (
        "aten::mkldnn_convolution", (None, [1, 1], [2, 2], [1, 1], 1), "conv2d 3->16", "((24, 24), (3, 3), (2, 2), (1, 1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BARE)
def test_convolutions_of_libraries_alone(tmp_path, looks, case):
    name, arguments, sizes, geometry = BARE[case]
    forward = [call(name, T(8, 3, 24, 24), T(16, 3, 3, 3), *arguments, seq=1)]
    (conv,) = looks.operations(imported(profile(tmp_path, forward), 8))
    assert conv.startswith(f"{sizes} {geometry}")


def test_a_transposed_convolution_of_cudnn(tmp_path, looks):
    arguments = ([1, 1], [1, 1], [2, 2], [1, 1], 1, True)
    forward = [call("aten::cudnn_convolution_transpose", T(8, 6, 5, 5), T(6, 4, 3, 3), *arguments, seq=1)]
    assert looks.operations(imported(profile(tmp_path, forward), 8)) == [
        "conv_transpose2d 6->4 ((5, 5), (3, 3), (2, 2), (1, 1), (1, 1)) (1, 1) groups 1"
    ]


def test_a_call_that_begins_when_another_ends_is_not_inside_it(tmp_path, looks):
    apart = profile(tmp_path, *small_network())
    known, data = imported(apart, 8), json.loads(apart.read_text())
    for event in data["traceEvents"]:
        event["dur"] += event["cat"] != "kernel"  # calls are a microsecond apart
    touching = tmp_path / "touching.json"
    touching.write_text(json.dumps(data))
    assert imported(touching, 8).operations == known.operations


def test_a_linear_layer_in_one_kernel(tmp_path, looks):
    x, weight = T(8, 5, 6), T(7, 6)
    forward = [call("aten::linear", x, weight, T(7), seq=1)]
    mask = call("aten::linear_backward", x, T(8, 5, 7), weight, [False, True, True])
    backward = [node("LinearBackward0", 1, T(8, 5, 7), inner=(mask,)), *accumulate((7, 6), (7,))]
    trace = imported(profile(tmp_path, forward, backward), 8)
    assert looks.operations(trace) == ["linear 6->7 rows 5, no input gradient"]
    assert trace.parameters == 49


def test_one_gradient_of_a_square_product_is_told_by_its_weight(tmp_path, looks):
    """8 rows to 8 features: both gradients multiply 8 x 8 with 8 x 6."""
    x, weight = T(8, 6), T(8, 6)
    product = call("aten::mm", T(8, 8), T(8, 6))
    first = [node("AddmmBackward0", 2, T(8, 8), inner=(product,))]
    trained = [*first, *accumulate((8,)), node("TBackward0", 1, T(6, 8)), *accumulate((8, 6))]
    forward = [linear(x, weight, 1)]
    assert looks.operations(imported(profile(tmp_path, forward, trained), 8)) == [
        "linear 6->8 rows 1, no input gradient"
    ]
    assert looks.operations(imported(profile(tmp_path, forward, first), 8)) == ["linear 6->8 rows 1, frozen"]


def test_arrows_tell_forward_threads_apart(tmp_path, looks):
    """A checkpoint runs forward work on the thread of the engine, with sequence numbers of its own."""
    x, weight = T(8, 6), T(5, 6)
    again = linear(x, weight, 1)
    forward, end = events_of([call("CheckpointFunction", True, x, seq=1, inner=(_without_numbers(again),))], 100)
    inner, _ = events_of([
        call("autograd::engine::evaluate_function: CheckpointFunctionBackward", seq=1, back=1, inner=(
            call("CheckpointFunctionBackward", T(8, 5), seq=1, back=1, inner=(
                again, *_of_thread(linear_backward(x, weight, 1, to_input=False), 2),
            )),
        )),
    ], 200, end)  # fmt: skip
    starts = {row["name"]: row["ts"] for row in (*forward, *inner)}
    arrows = [
        ("s", 100, starts["CheckpointFunction"], 1), ("f", 200, starts["CheckpointFunctionBackward"], 1),
        ("s", 200, next(row["ts"] for row in inner if row["name"] == "aten::addmm"), 2),
        ("f", 200, starts["AddmmBackward0"], 2),
    ]  # fmt: skip
    flows = [{"ph": ph, "cat": "fwdbwd", "name": "fwdbwd", "id": number, "pid": 9, "tid": tid, "ts": ts}
             for ph, tid, ts, number in arrows]  # fmt: skip
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"traceEvents": [*forward, *inner, *flows]}))
    assert looks.operations(imported(path, 8)) == ["linear 6->5 rows 1, recomputed, no input gradient"]
    path.write_text(json.dumps({"traceEvents": [*forward, *inner]}))
    assert error_of(path, 8) == (
        f"{path}: does not say which thread ran the forward of autograd::engine::evaluate_function:"
        " CheckpointFunctionBackward: the arrows from forward to backward operations (fwdbwd) are missing"
    )


def _without_numbers(each):
    return {**each, "seq": None, "inner": tuple(map(_without_numbers, each["inner"]))}


def _of_thread(calls, number):
    return [
        {**each, "back": each["back"] and number, "inner": tuple(_of_thread(each["inner"], number))} for each in calls
    ]


def test_the_last_complete_step_is_taken(tmp_path, looks):
    forward, backward = small_network()
    steps = [call(f"ProfilerStep#{number}", inner=(*forward, *backward)) for number in (4, 5)]
    cut = call("ProfilerStep#6", inner=tuple(forward))
    trace = imported(profile(tmp_path, [*steps, cut]), 8)
    assert len(looks.operations(trace)) == 7
    assert trace.origin.assumptions[0] == (
        "ProfilerStep#5, the last complete one of 3 recorded steps, is the step of the trace"
    )


def test_gradients_accumulated_over_passes_are_one_pass(tmp_path, looks):
    forward, backward = small_network()
    once = imported(profile(tmp_path, forward, backward), 8)
    trace = imported(
        profile(tmp_path, [*forward, *backward, call("aten::_foreach_norm", T(8)), *forward, *backward]), 8
    )
    assert trace.operations == once.operations
    assert trace.origin.assumptions[0] == (
        "the recording holds 2 forward and backward passes; the last one is the step of the trace"
    )


def test_weights_of_addmm_without_gradient_are_assumed(tmp_path, looks):
    forward = [call("aten::addmm", T(5), T(8, 6), T(6, 5), 1, 1)]
    trace = imported(profile(tmp_path, forward), 8)
    assert looks.operations(trace) == ["linear 6->5 rows 1"]
    assert "the second factor of addmm with a vector is taken as a weight: 8x6 and 6x5" in trace.origin.assumptions


def test_a_batch_of_one_is_said(tmp_path):
    trace = imported(profile(tmp_path, *small_network()), 1)
    assert trace.origin.assumptions[1] == (
        "at a batch of 1 the whole step is one sample: all but parameters is taken to grow with the batch, also what"
        " samples would share"
    )


# Errors

PLAIN = call("aten::relu", T(8, 6), seq=1)
LAYER = linear(T(8, 6), T(5, 6), 1)
TO_TRACE = "record an execution trace (ExecutionTraceObserver)"
REFUSED = {
    "nothing forward": ([PLAIN], [], "no forward operation is recorded; the recording must span a whole training step"),
    "no numbers": (
        [call("aten::convolution", T(8, 3, 9, 9), T(4, 3, 3, 3), None, None, None, None, None, None, None, seq=1)],
        [],
        (
            "aten::convolution on 8x3x9x9, 4x3x3x3: stride and padding are not recorded; PyTorch 2.1 and later record"
            " numbers with record_shapes=True"
        ),
    ),
    "an opaque operation": (
        [LAYER, call("aten::_cdist_forward", T(8, 6), T(8, 6), inner=(call("aten::mm", T(8, 8), T(8, 8)),))],
        [],
        (
            "aten::_cdist_forward on 8x6, 8x6: may hold matrix products that cannot be read from a recording; say what it is: --call"
            " 'aten::_cdist_forward=ignore' or 'aten::_cdist_forward=linear(X, W)' with the places of data and weight"
        ),
    ),
    "sparse tensor cores": (
        [LAYER, call("aten::_cslt_sparse_mm", T(8, 6), T(6, 5))],
        [],
        (
            "aten::_cslt_sparse_mm on 8x6, 6x5: may hold matrix products that cannot be read from a recording; say what it is: --call"
            " 'aten::_cslt_sparse_mm=ignore' or 'aten::_cslt_sparse_mm=linear(X, W)' with the places of data and weight"
        ),
    ),
    "a kernel of others in an autograd function": (
        [LAYER, call("FlashAttnFunc", T(8, 2, 6), seq=4, inner=(call("aten::empty_like", T(8, 2, 6)),))],
        [],
        (
            "FlashAttnFunc on 8x2x6: computes by means that are not recorded; say what it is: --call"
            " 'FlashAttnFunc=ignore' or 'FlashAttnFunc=linear(X, W)' with the places of data and weight"
        ),
    ),
    "a quantised operation": (
        [LAYER, call("quantized::linear", T(8, 6))],
        [],
        "quantized::linear on 8x6: is quantised; a trace describes training in floating point",
    ),
    "packed sequences": (
        [LAYER, call("aten::_flash_attention_forward", T(40, 2, 8), T(40, 2, 8), T(40, 2, 8), T(9), T(9), 9, 9, 0.0)],
        [],
        "aten::_flash_attention_forward on 40x2x8, 40x2x8, 40x2x8, 9: attention over packed sequences cannot be read",
    ),
    "products between samples": (
        [LAYER, call("aten::mm", T(8, 5), T(5, 8), seq=3)],
        [node("MmBackward0", 3, T(8, 8))],
        f"aten::mm on 8x5 and 5x8: which factor is a weight, if one is, cannot be told from a profile; {TO_TRACE}",
    ),
    "a square product": (
        [call("aten::mm", T(8, 8), T(8, 8), seq=3)],
        [node("MmBackward0", 3, T(8, 8)), *accumulate((8, 8))],
        (
            "aten::mm on 8x8 and 8x8: both factors have the shape of the parameter, and a profile does not say which it"
            f" is; {TO_TRACE}"
        ),
    ),
    "weights shared by some": (
        [linear(T(8, 6), T(6, 6), 1), linear(T(8, 6), T(6, 6), 3), linear(T(8, 6), T(6, 6), 5)],
        [
            node("AddmmBackward0", 6, T(8, 6), inner=(call("aten::mm", T(6, 8), T(8, 6)),)), node("TBackward0", 5, T(6, 6)),
            *linear_backward(T(8, 6), T(6, 6), 3), *linear_backward(T(8, 6), T(6, 6), 1),
        ],
        (
            "aten::addmm on 6 and 8x6 and 6x6: a profile does not say which of several weights of its shape it shares;"
            f" {TO_TRACE}"
        ),
    ),
    "passes that differ": (
        [LAYER, *linear_backward(T(8, 6), T(5, 6), 1), linear(T(8, 6), T(4, 6), 3), *linear_backward(T(8, 6), T(4, 6), 3)],
        [],
        (
            "the recording holds 2 forward and backward passes with different products; record one step, or call step()"
            " of the profiler after each"
        ),
    ),
    "a wrong batch": (
        [linear(T(12, 6), T(5, 6), 1)],
        [],
        "no operation works on 8 samples, as --batch says (the first product, aten::addmm, is of 12x6 and 6x5)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    forward, backward, message = REFUSED[case]
    path = profile(tmp_path, forward, backward)
    assert error_of(path, 8) == f"{path}: {message}"


@pytest.mark.parametrize("batch", [8, None])
def test_a_recording_without_products_is_refused_before_its_calls_are_read(tmp_path, monkeypatch, batch):
    read = []
    monkeypatch.setattr("accelsim.workload.importers.kineto._row", read.append)
    path = profile(tmp_path, [PLAIN] * 50)
    assert error_of(path, batch) == f"{path}: {REFUSED['nothing forward'][2]}"
    assert read == []


def test_the_batch_must_be_given(tmp_path):
    path = profile(tmp_path, [LAYER])
    assert error_of(path, None) == (
        f"{path}: say with --batch how many samples the step computes; its shapes hold all of them (the first product,"
        " aten::addmm, is of 8x6 and 6x5)"
    )


@pytest.mark.parametrize("batch", [11, None])
def test_a_batch_that_no_shape_has_is_told_before_the_rest_is_read(tmp_path, batch):
    path = profile(tmp_path, [LAYER] * 50)
    path.write_text(path.read_text()[:-20])
    told = error_of(path, batch)
    assert "(the first product, aten::addmm, is of 8x6 and 6x5)" in told
    assert error_of(path, 8).endswith("(the file ends there: truncated?)")


FILES = {
    "no events": ({}, "no profile of PyTorch: it has no list of traceEvents"),
    "kernels alone": (
        {"traceEvents": [KERNEL]},
        "holds no operation of the host; profile with ProfilerActivity.CPU among the activities",
    ),
    "no shapes": (
        {"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 1, "dur": 1}]},
        "holds no shapes; profile the step with record_shapes=True",
    ),
    "an event without a time": (
        {"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "args": {"Input Dims": [[2, 2], [2, 2]]}}]},
        "an event is not as profiles have it (KeyError: 'ts')",
    ),
    "truncated": (
        '{"traceEvents": [{"ph": "X", "na',
        "not valid JSON: Unterminated string starting at line 1, column 30 (the file ends there: truncated?)",
    ),
    "nested without end": ("[" * 100_000, "not valid JSON: nested too deeply"),
}


@pytest.mark.parametrize("case", FILES)
def test_refused_files(tmp_path, case):
    data, message = FILES[case]
    path = tmp_path / "t.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    assert error_of(path) == f"{path}: {message}"
