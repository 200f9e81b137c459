"""What recordings of both kinds hold beside plain steps: compiled regions, checkpoints, distribution, calls of others.

Right values are counts of the tracer on the same network, or of the network by hand.
"""

import gzip
import importlib
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from accelsim.base.errors import InputError
from accelsim.cli import main
from accelsim.workload.importing import ImportOptions, import_trace

FORMATS = ("kineto", "execution-trace")
SUFFIX = {"kineto": ".json", "execution-trace": ".et.json"}
BATCH = 6
HAS_TORCH = find_spec("torch") is not None
COMPILED = ("transformer", "convolutions", "square", "autocast")
FOLDER = Path(__file__).parent / "compiled"
INPUT = "the input is what the first operation reads, with the samples along the first dimension"
FUSED = (
    "of regions that torch.compile compiled the products are read; what the compiler fused into kernels of its own"
    " (norms, activations, softmax, sums) is not counted"
)


@pytest.fixture
def one_thread():
    torch = pytest.importorskip("torch", reason="recording needs the torch extra")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


def recorded(step, folder):
    """Record a step in both ways; return the files by format."""
    from torch.profiler import ExecutionTraceObserver, profile

    files = {form: folder / f"step{suffix}" for form, suffix in SUFFIX.items()}
    observer = ExecutionTraceObserver().register_callback(str(files["execution-trace"]))
    with profile(record_shapes=True, execution_trace_observer=observer) as made:
        step()
    made.export_chrome_trace(str(files["kineto"]))
    return files


def imported(path, form, **options):
    return import_trace(path, form, ImportOptions(batch=BATCH, **options))


def error_of(path, form, **options):
    with pytest.raises(InputError) as caught:
        imported(path, form, **options)
    return str(caught.value)


def size(trace):
    return trace.macs, trace.macs_once, trace.parameters


def mlp(torch, *, bias=True):
    """8 -> 16 -> 4: 192 MACs and, with biases, 212 parameters."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(8, 16, bias=bias), nn.ReLU(), nn.Linear(16, 4, bias=bias))


# Compiled regions


@pytest.mark.skipif(not HAS_TORCH, reason="the tracer needs the torch extra")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_step_has_the_products_of_the_tracer(looks, name, form):
    from accelsim.workload.tracer import InputSpec, trace_model

    build, spec = importlib.import_module("compiled_networks").NETWORKS[name]
    traced = trace_model(build(), [InputSpec.parse(spec)])
    trace = imported(FOLDER / f"{name}{SUFFIX[form]}.gz", form)
    assert looks.products(trace) == looks.products(traced)
    assert looks.macs(trace) == looks.macs(traced)
    assert (trace.parameters, trace.input_shapes) == (traced.parameters, traced.input_shapes)


@pytest.mark.parametrize("form", FORMATS)
def test_what_a_compiled_region_hides_is_said(form):
    trace = imported(FOLDER / f"transformer{SUFFIX[form]}.gz", form)
    assert trace.origin.assumptions[:2] == (
        FUSED,
        "trained matrices of compiled regions without a product in the file are tables that are looked up, or factors"
        " of products in kernels of the compiler, which are not counted: 32x16",
    )
    assert size(trace) == (24640, 0, 5504)


def test_products_that_a_compiled_backward_makes_again_are_recomputed(tmp_path, looks):
    """The projection to queries, keys and values of one of two blocks is multiplied again before its gradients."""
    data = json.loads(gzip.decompress((FOLDER / "transformer.json.gz").read_bytes()))
    events = data["traceEvents"]
    first = next(event for event in events if event["name"] == "aten::addmm")
    backward = next(event for event in events if event["name"] == "CompiledFunctionBackward")
    again = first | {"ts": backward["ts"] + backward["dur"] - 0.002, "dur": 0.001}
    path = tmp_path / "t.json"
    path.write_text(json.dumps(data | {"traceEvents": [*events, again]}))
    products = looks.products(imported(path, "kineto"))
    assert [text for text in products if ", recomputed" in text] == ["linear 16->48 rows 5, recomputed"]
    other = again | {"args": again["args"] | {"Input Dims": [[7], [6, 9], [9, 7], [], []]}}
    path.write_text(json.dumps(data | {"traceEvents": [*events, other]}))
    assert (
        "products in the backward of compiled regions that are no gradient of a product of theirs are not counted (1):"
        " 6x9 and 9x7"
    ) in imported(path, "kineto").origin.assumptions


# Inputs that ask for a gradient


NETWORKS = {
    "linear": ((8,), (192, 0, 212), mlp),
    "linear without bias": ((8,), (192, 0, 192), lambda torch: mlp(torch, bias=False)),
    "a sequence": ((5, 8), (960, 0, 212), mlp),
    "a norm first": ((8,), (192, 0, 228), lambda torch: torch.nn.Sequential(torch.nn.LayerNorm(8), mlp(torch))),
    "as many rows as outputs": ((8,), (48 + 24, 0, 6 * 8 + 4 * 6), lambda torch: torch.nn.Sequential(
        torch.nn.Linear(8, 6, bias=False), torch.nn.Linear(6, 4, bias=False),
    )),
    "a convolution": ((3, 8, 8), (36 * 108 + 144 * 5, 0, 112 + 725), lambda torch: torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5),
    )),
}  # fmt: skip


@pytest.mark.parametrize("optimizer", [None, "SGD", "Adam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_input_with_a_gradient_is_no_parameter(one_thread, tmp_path, name, optimizer):
    torch = one_thread
    shape, expected, build = NETWORKS[name]
    model, x = build(torch), torch.randn(BATCH, *shape, requires_grad=True)
    update = getattr(torch.optim, optimizer)(model.parameters(), lr=0.1) if optimizer else None

    def step():
        model(x).sum().backward()
        if update is not None:
            update.step()

    for form, path in recorded(step, tmp_path).items():
        trace = imported(path, form)
        assert size(trace) == expected
        assert trace.input_shapes == (shape,)
        assert all(operation.input_gradient for operation in trace.operations if operation.macs)
        said = any(text.startswith("a tensor with a gradient") for text in trace.origin.assumptions)
        assert said is (optimizer is None)


@pytest.mark.parametrize("form", FORMATS)
def test_learned_rows_as_many_as_samples_stay_a_parameter_where_the_optimizer_steps_them(one_thread, tmp_path, form):
    torch = one_thread
    rows, layer, x = torch.nn.Parameter(torch.randn(BATCH, 8)), torch.nn.Linear(8, 4), torch.randn(BATCH, 8)
    update = torch.optim.SGD([rows, *layer.parameters()], lr=0.1)

    def step():
        (layer(rows).sum() + layer(x).sum()).backward()
        update.step()

    trace = imported(recorded(step, tmp_path)[form], form)
    assert trace.parameters == BATCH * 8 + 8 * 4 + 4


# Checkpoints


def segments(torch, bias, *, early):
    from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

    nn = torch.nn
    blocks = nn.ModuleList(
        nn.Sequential(nn.Linear(8, 12, bias=bias), nn.ReLU(), nn.Linear(12, 8, bias=bias)) for _ in range(2)
    )
    head, x = nn.Linear(8, 4), torch.randn(BATCH, 8)

    def step():
        y = x
        with set_checkpoint_early_stop(early):
            for block in blocks:
                y = checkpoint(block, y, use_reentrant=False)
        head(y).sum().backward()

    return step


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_the_last_product_of_a_checkpoint_runs_again_only_where_its_kernel_did(one_thread, tmp_path, form, bias, early):
    trace = imported(recorded(segments(one_thread, bias, early=early), tmp_path)[form], form)
    products = [operation for operation in trace.operations if operation.macs]
    assert [operation.recomputed for operation in products] == [True, not early, True, not early, False]
    assert trace.macs == 2 * 2 * 8 * 12 + 8 * 4


@pytest.mark.parametrize(("launches", "again"), [((1, 1), True), ((1, 0), False), ((0, 0), False)])
def test_launches_of_kernels_tell_what_ran_on_a_device(tmp_path, launches, again):
    """One layer, then run again inside the node of the layer after it; calls of the device show nothing else."""
    tensor = {"Input Dims": [[6, 8], [8, 4]], "Input type": ["float"] * 2, "Concrete Inputs": ["", ""]}
    wide = {"Input Dims": [[6, 4], [4, 2]], "Input type": ["float"] * 2, "Concrete Inputs": ["", ""]}

    def event(name, start, end, tid=1, category="cpu_op", **arguments):
        return {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": tid, "ts": start, "dur": end - start,
                "args": arguments}  # fmt: skip

    def forward(number):
        return {"Sequence number": number, "Fwd thread id": 0}

    def backward(number):
        return {"Sequence number": number, "Fwd thread id": 1}

    linear = {"Input Dims": [[6, 8], [4, 8]], "Input type": ["float"] * 2, "Concrete Inputs": ["", ""]}
    other = {"Input Dims": [[6, 4], [2, 4]], "Input type": ["float"] * 2, "Concrete Inputs": ["", ""]}
    events = [
        event("aten::linear", 1, 9, **linear, **forward(1)), event("aten::mm", 3, 8, **tensor, **forward(2)),
        event("aten::linear", 10, 19, **other, **forward(3)), event("aten::mm", 12, 18, **wide, **forward(4)),
        event("cudaLaunchKernel", 13, 14, category="cuda_runtime"),
        event("autograd::engine::evaluate_function: MmBackward0", 20, 40, **backward(4)),
        event("MmBackward0", 21, 39, **backward(4)),
        event("aten::linear", 22, 29, **linear, **forward(5)), event("aten::mm", 24, 28, **tensor, **forward(6)),
        event("aten::mm", 30, 31, **{"Input Dims": [[4, 6], [6, 2]], "Input type": ["float"] * 2}),
    ]  # fmt: skip
    events += [
        event("cudaLaunchKernel", start, start + 1, category="cuda_runtime")
        for start, launched in zip((5, 26), launches, strict=True)
        if launched
    ]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"traceEvents": events}))
    assert imported(path, "kineto").operations[0].recomputed is again


# Distribution, graphs of kernels, functions without work


@pytest.mark.parametrize("form", FORMATS)
def test_a_rank_of_a_distributed_run(one_thread, tmp_path, form):
    torch = one_thread
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        model = torch.nn.parallel.DistributedDataParallel(mlp(torch))
        x = torch.randn(BATCH, 8)
        path = recorded(lambda: model(x).sum().backward(), tmp_path)[form]
    finally:
        torch.distributed.destroy_process_group()
    trace = imported(path, form)
    assert size(trace) == (192, 0, 212)
    assert trace.origin.assumptions[0] == (
        "collectives of a distributed run are left out: the trace is the work of one process"
    )


def annotated(torch, model, x):
    """Annotations as fully sharded training writes them: names like those of operations."""

    def step():
        with torch.profiler.record_function("FSDP::pre_forward (0)"):
            torch.zeros(4 * BATCH).view(2 * BATCH, 2)
        with torch.profiler.record_function("mine::forward"):
            y = model(x)
        y.sum().backward()

    return step


@pytest.mark.parametrize("form", FORMATS)
def test_annotations_are_no_operations_whatever_their_names(one_thread, tmp_path, form):
    trace = imported(recorded(annotated(one_thread, mlp(one_thread), one_thread.randn(BATCH, 8)), tmp_path)[form], form)
    assert size(trace) == (192, 0, 212)
    assert trace.input_shapes == ((8,),)


def test_replayed_graphs_of_kernels_are_said(one_thread, tmp_path):
    torch = one_thread
    model, x = mlp(torch), torch.randn(BATCH, 8)
    path = recorded(lambda: model(x).sum().backward(), tmp_path)["kineto"]
    data = json.loads(path.read_text())
    first = next(event for event in data["traceEvents"] if event["name"] == "aten::relu")
    launch = {**first, "name": "cudaGraphLaunch", "cat": "cuda_runtime", "args": {}}
    data["traceEvents"] += [launch, launch | {"ts": launch["ts"] + 0.01}]
    path.write_text(json.dumps(data))
    note = (
        "graphs of kernels are replayed (cudaGraphLaunch, 2 times), and what they compute is not recorded: it is missing"
        " from the trace"
    )
    assert imported(path, "kineto").origin.assumptions == (note, INPUT)
    data["traceEvents"] = [
        event for event in data["traceEvents"] if not str(event["name"]).startswith(("aten::linear", "aten::addmm"))
    ]
    path.write_text(json.dumps(data))
    assert error_of(path, "kineto") == (
        f"{path}: no forward operation is recorded; {note}; the recording must span a whole training step"
    )


@pytest.mark.parametrize("form", FORMATS)
def test_a_function_that_only_keeps_tensors_is_no_work(one_thread, tmp_path, form):
    torch = one_thread

    class Keep(torch.autograd.Function):
        @staticmethod
        def forward(context, nothing, *tensors):
            context.save_for_backward(*tensors)
            return torch.empty((0,))

        @staticmethod
        def backward(context, gradient):
            raise AssertionError

    model, x = mlp(torch), torch.randn(BATCH, 8)

    def step():
        Keep.apply(torch.empty((0,), requires_grad=True), x)
        model(x).sum().backward()

    trace = imported(recorded(step, tmp_path)[form], form)
    assert (size(trace), trace.input_shapes) == ((192, 0, 212), ((8,),))


def test_vector_work_of_unknown_size_is_said(one_thread, tmp_path):
    torch = one_thread
    layer, x = torch.nn.Linear(8, 4), torch.randn(BATCH, 5, 8)
    mask = torch.zeros(BATCH, 5, dtype=torch.bool)
    mask[:, 1] = True

    def step():
        (layer(x[:, torch.tensor([0, 2, 4])]).sum() + layer(x[mask]).sum()).backward()

    files = recorded(step, tmp_path)
    for form, path in files.items():
        assert size(imported(path, form)) == (4 * 8 * 4, 0, 36)
    assert imported(files["kineto"], "kineto").origin.assumptions[0] == (
        "vector work whose result has a size that a profile does not hold is not counted: aten::index on 6x5x8"
    )


# Calls of others


def foreign(torch, path_of_weight):
    """A step whose first product is made by a kernel that torch does not know: its call is all that is recorded."""
    first, second, x = torch.nn.Linear(8, 16, bias=False), torch.nn.Linear(16, 4), torch.randn(BATCH, 8)
    fast = torch._C._profiler._RecordFunctionFast

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(context, x, weight):
            context.save_for_backward(x)
            given = weight if path_of_weight == "rows" else weight.t()
            out = torch.empty(BATCH, 16)
            with fast("fbgemm::f8f8bf16", (x, 3, given)):
                out.copy_(torch.as_tensor(x.detach().numpy() @ weight.detach().numpy().T))
            return out

        @staticmethod
        def backward(context, gradient):
            return None, gradient.t() @ context.saved_tensors[0]

    update = torch.optim.SGD([first.weight, *second.parameters()], lr=0.1)

    def step():
        second(Product.apply(x, first.weight)).sum().backward()
        update.step()

    return step


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("weight", ["rows", "columns"])
def test_a_call_of_others_is_what_the_user_says(one_thread, tmp_path, capsys, form, weight):
    path = recorded(foreign(one_thread, weight), tmp_path)[form]
    said = "--call 'fbgemm::f8f8bf16=ignore' or 'fbgemm::f8f8bf16=linear(X, W)' with the places of data and weight"
    assert error_of(path, form).endswith(
        f": may hold matrix products that cannot be read from a recording; say what it is: {said}"
    )
    trace = imported(path, form, calls={"fbgemm::*": "linear(0, 2)"})
    assert "fbgemm::* (1 call) is read as a linear layer of arguments 0 and 2, as --call says" in (
        trace.origin.assumptions
    )
    first = next(operation for operation in trace.operations if operation.macs)
    assert (first.in_features, first.out_features, first.rows, first.input_gradient) == (8, 16, 1, False)
    assert (first.adds_to_gradient, trace.macs, trace.parameters) == (True, 192, 8 * 16 + 68)
    out = tmp_path / "out.json"
    assert main(["import", str(path), "--batch", "6", "--call", "fbgemm::f8f8bf16=ignore", "-o", str(out)]) == 0
    captured = capsys.readouterr()
    assert "note: fbgemm::f8f8bf16 (1 call) is left out, as --call says\n" in captured.err
    assert captured.out.startswith(f"{out}: ")
    assert "64 MACs forward per sample" in captured.out


WRONG_CALLS = {
    "a typing error": ({"fbgemm::f8f8bf61": "ignore"}, "{path} holds no such call; did you mean 'fbgemm::f8f8bf16'?"),
    "no meaning": ({"fbgemm::f8f8bf16": "conv"}, "expected ignore, or linear(X, W) with the places of two arguments"),
    "no tensor": (
        {"fbgemm::f8f8bf16": "linear(0, 1)"}, "argument 1 of fbgemm::f8f8bf16 is no tensor; tensors are: 0, 2",
    ),
    "no weight": (
        {"fbgemm::f8f8bf16": "linear(0, 0)"},
        "fbgemm::f8f8bf16 on 6x8 and 6x8: no data of a linear layer and its weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_what_is_said_of_calls_is_checked(one_thread, tmp_path, case):
    calls, message = WRONG_CALLS[case]
    path = recorded(foreign(one_thread, "rows"), tmp_path)["kineto"]
    name, what = next(iter(calls.items()))
    assert error_of(path, "kineto", calls=calls) == f"--call {name}={what}: {message.format(path=path)}"


def test_options_of_calls(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("Layer,M,N,K,\na,1,2,3,\n")
    assert main(["import", str(path), "--call", "a::b=ignore", "-o", str(tmp_path / "o.json")]) == 2
    assert "--call says what calls of a recording of PyTorch are; format scalesim holds none" in capsys.readouterr().err
    for given, message in (
        (["a::b"], "--call a::b: expected NAME=ignore or NAME=linear(X, W)"),
        (["a::b=ignore", "--call", "a::b=ignore"], "--call a::b=ignore: a::b is said twice"),
    ):
        assert main(["import", str(path), "--call", *given, "-o", str(tmp_path / "o.json")]) == 2
        assert message in capsys.readouterr().err


def test_kernels_of_a_compiler_are_no_operations_unless_they_are_templates(one_thread, tmp_path):
    torch = one_thread
    model, x, out = mlp(torch), torch.randn(BATCH, 8), torch.empty(BATCH, 8)
    fast = torch._C._profiler._RecordFunctionFast
    options = {"kernel_backend": "triton", "kernel_file": "kernels.py", "stream": 0}
    names = ["triton_poi_fused_relu_0"]

    def step():
        for name in names:
            with fast(name, (x, out, BATCH * 8), options):
                pass
        model(x).sum().backward()

    for form, path in recorded(step, tmp_path).items():
        assert size(imported(path, form)) == (192, 0, 212)
    names.append("triton_tem_fused_addmm_1")
    for form, path in recorded(step, tmp_path).items():
        assert re.fullmatch(
            rf"{path}: triton_tem_fused_addmm_1 on 6x8, 6x8: may hold matrix products .*", error_of(path, form)
        )
        assert size(imported(path, form, calls={"triton_tem_*": "ignore"})) == (192, 0, 212)


# One step, one answer


def scaled_attention(torch, **options):
    """Attention by torch's function, heads side by side in the projections."""
    nn = torch.nn

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            heads = 1 if "enable_gqa" in options else 2
            self.q, self.k, self.o, self.heads = nn.Linear(16, 16), nn.Linear(16, 8 * heads), nn.Linear(16, 4), heads

        def forward(self, x):
            given = dict(options)
            if "attn_mask" in given:
                given["attn_mask"] = torch.zeros(x.shape[1], x.shape[1])
            q = self.q(x).view(*x.shape[:2], 2, 8).transpose(1, 2)
            k = self.k(x).view(*x.shape[:2], self.heads, 8).transpose(1, 2)
            y = nn.functional.scaled_dot_product_attention(q, k, k, **given)
            return self.o(y.transpose(1, 2).reshape(x.shape))

    return Attention()


def first_of(torch, layer):
    class First(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x)[0]

    return First()


SAME = {
    "encoder layer": ("5x16", lambda torch: torch.nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)),
    "encoder layer with dropout": ("5x16", lambda torch: torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)),
    "attention": ("5x16", scaled_attention),
    "causal attention": ("5x16", lambda torch: scaled_attention(torch, is_causal=True)),
    "masked attention": ("5x16", lambda torch: scaled_attention(torch, attn_mask=None)),
    "attention of shared heads": ("5x16", lambda torch: scaled_attention(torch, enable_gqa=True)),
    "LSTM": ("3x8", lambda torch: first_of(torch, torch.nn.LSTM(8, 16, 2, batch_first=True))),
    "LSTM of both directions": (
        "3x8", lambda torch: first_of(torch, torch.nn.LSTM(8, 16, bidirectional=True, batch_first=True)),
    ),
    "GRU": ("3x8", lambda torch: first_of(torch, torch.nn.GRU(8, 16, batch_first=True))),
    "plain recurrence": ("3x8", lambda torch: first_of(torch, torch.nn.RNN(8, 16, batch_first=True))),
    "LSTM after a layer": (
        "3x8",
        lambda torch: torch.nn.Sequential(torch.nn.Linear(8, 6), first_of(torch, torch.nn.LSTM(6, 5, batch_first=True))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_one_step_is_the_same_work_by_whichever_way_it_comes(one_thread, tmp_path, looks, name):
    """All operations with their gradients, as none reaches the last states of an LSTM that nothing uses; so all time.

    Recordings do not say what an operation reads, so that sums of gradients where branches part are not timed.
    """
    import accelsim as acs

    torch = one_thread
    shape, build = SAME[name]
    model, x = build(torch), torch.randn(BATCH, *map(int, shape.split("x")))

    def step():
        model(x).sum().backward()

    def time_of(trace):
        return acs.simulate(trace, acs.load_design("sat_vcu1525"), method="dense", batch=BATCH).step.cycles

    traced = acs.trace(step, model)
    apart = tuple(operation.model_copy(update={"inputs": None}) for operation in traced.operations)
    without_edges = traced.model_copy(update={"operations": apart})
    for form, path in recorded(step, tmp_path).items():
        trace = imported(path, form)
        assert looks.operations(trace) == looks.operations(traced), form
        assert time_of(trace) == time_of(without_edges) <= time_of(traced)
