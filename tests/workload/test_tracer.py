"""The tracer against hand arithmetic, operation by operation, and its errors word for word."""

import random
import sys

import pytest

from accelsim.base.errors import InputError
from accelsim.cli import main
from accelsim.workload.trace import load_trace

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

import torch.nn.functional as F  # noqa: E402, N812
from operations import definitions, shown  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from tracing_cases import PRODUCTS, Apply, products, traced  # noqa: E402

from accelsim.workload.tracer import InputSpec, trace_model  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Networks against hand arithmetic


def test_resnet18_at_224():
    trace = traced(definitions("resnet").resnet18_imagenet(), "3x224x224")
    stem = 3 * 64 * 7**2 * 112**2
    first = 4 * 64 * 64 * 3**2 * 56**2
    later = sum(
        (c // 2 * c * 3**2 + 3 * c * c * 3**2 + c // 2 * c) * size**2 for c, size in ((128, 28), (256, 14), (512, 7))
    )
    assert trace.macs == stem + first + later + 512 * 1000 == 1_814_073_344
    assert trace.parameters == 11_689_512


def test_resnet18_for_cifar10():
    trace = traced(definitions("resnet").resnet18_cifar10(), "3x32x32")
    assert sum(operation.macs for operation in trace.operations if operation.kind == "conv2d") == 555_417_600
    assert trace.macs == 555_417_600 + 512 * 10


# Operations


def test_a_residual_block_operation_by_operation():
    block = definitions("resnet").BasicBlock(4, 8, 2)
    assert [shown(operation) for operation in traced(block, "4x6x6").operations] == [
        "conv1 = conv2d 4->8 on 6x6 kernel 3x3 groups 1 no gradient",
        "bn1 = norm 72->72",
        "relu = activation 72->72",
        "conv2 = conv2d 8->8 on 3x3 kernel 3x3 groups 1",
        "bn2 = norm 72->72",
        "shortcut.0 = conv2d 4->8 on 6x6 kernel 1x1 groups 1 no gradient",
        "shortcut.1 = norm 72->72",
        "add = add 144->72",
        "relu_2 = activation 72->72",
    ]


def test_attention_is_opened():
    block = definitions("transformers").Attention(8, 2, causal=True)
    assert [shown(operation) for operation in traced(block, "5x8").operations] == [
        "qkv = linear 8->24 rows 5 qkv.weight no gradient",
        "mul = multiply 40->40",
        "mul_2 = multiply 40->40",
        "copy = copy 40->40",
        "copy_2 = copy 40->40",
        "matmul = matmul 2 x 5,4,5",
        "add = add 50->50",
        "softmax = softmax 50->50",
        "dropout = dropout 50->50",
        "copy_3 = copy 40->40",
        "matmul_2 = matmul 2 x 5,5,4",
        "copy_4 = copy 40->40",
        "proj = linear 8->8 rows 5 proj.weight",
    ]
    kinds = [operation.kind for operation in traced(block, "5x8", train=False).operations]
    assert "dropout" not in kinds


def test_vector_work_is_counted_by_elements():
    model = nn.Sequential(
        nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(3), nn.GroupNorm(2, 2), nn.Dropout(),
        nn.Softmax(-1), nn.AdaptiveAvgPool2d(1),
    )  # fmt: skip
    assert [shown(operation).removesuffix(" no gradient") for operation in traced(model, "2x16x16").operations] == [
        "0 = pooling 1152->128",  # 3 x 3 windows, 2 x 8 x 8 outputs
        "1 = pooling 128->32",
        "2 = pooling 72->18",  # windows of 2, overlapping: 4 to 3
        "3 = norm 18->18",
        "4 = dropout 18->18",
        "5 = softmax 18->18",
        "6 = reduce 18->2",
    ]


def test_rms_norm_is_one_norm_on_every_device():
    model = nn.Sequential(nn.Linear(8, 8), nn.RMSNorm(8), nn.Linear(8, 2))
    seen = traced(model, "5x8")
    assert [shown(operation) for operation in seen.operations] == [
        "0 = linear 8->8 rows 5 0.weight no gradient",
        "1 = norm 40->40",
        "2 = linear 8->2 rows 5 2.weight",
    ]
    assert [parameter.name for parameter in seen.operations[1].other_parameters] == ["1.weight"]


def test_embedding_reads_what_it_writes_and_positions_are_once_per_step():
    model = Apply(
        lambda m, x: m.token(x) + m.place(torch.arange(x.shape[1])), token=nn.Embedding(9, 4), place=nn.Embedding(6, 4)
    )
    assert [shown(operation) for operation in traced(model, "6:int64:9").operations] == [
        "token = embedding 24->24",
        "place = embedding 24->24 once",
        "add = add 24->24",
    ]


def test_work_in_place_and_into_slices():
    def fill(m, x):
        out = x.new_zeros(x.shape[0], 6)
        out[:, :4] = m.a(x).relu_()
        return out.mul(2).add_(1)

    assert [shown(operation) for operation in traced(Apply(fill, a=nn.Linear(4, 4)), "4").operations] == [
        "a = linear 4->4 rows 1 a.weight no gradient",
        "relu = activation 4->4",
        "copy = copy 4->4",
        "mul = multiply 6->6",
        "add = add 6->6",
    ]


def test_work_on_constants_is_left_out():
    model = Apply(lambda m, x: m.a(x) + torch.arange(4.0).exp().softmax(0), a=nn.Linear(4, 4))
    assert [shown(operation) for operation in traced(model, "4").operations] == [
        "a = linear 4->4 rows 1 a.weight no gradient",
        "add = add 4->4",
    ]


@pytest.mark.parametrize("case", PRODUCTS)
def test_products(case):
    model, inputs, expected = PRODUCTS[case]
    assert products(traced(model(), *inputs)) == expected


def test_geometry_of_convolutions_is_kept():
    (conv,) = traced(nn.Conv2d(4, 6, (3, 5), (2, 1), (1, 2), (1, 2), groups=2), "4x9x11").operations
    assert (conv.stride, conv.padding, conv.dilation, conv.out_size) == ((2, 1), (1, 2), (1, 2), (5, 7))
    (up,) = traced(nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1), "4x5x5").operations
    assert (up.stride, up.padding, up.output_padding, up.out_size) == ((2, 2), (1, 1), (1, 1), (10, 10))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_work_is_marked(reentrant):
    model = Apply(
        lambda m, x: m.c(checkpoint(m.b, m.a(x), use_reentrant=reentrant)),
        a=nn.Linear(4, 4),
        b=nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.ReLU()),
        c=nn.Linear(5, 2),
    )
    again = [operation.name for operation in traced(model, "4").operations if operation.recomputed]
    assert again == ["b.0", "b.1", "b.2", "b.3"]
    assert [shown(operation) for operation in traced(model, "4").operations if operation.name in {"a", "b.0"}] == [
        "a = linear 4->4 rows 1 a.weight no gradient",
        "b.0 = linear 4->5 rows 1 b.0.weight recomputed",
    ]


def test_numbers_per_sample_do_not_depend_on_the_batch():
    model = definitions("vit").VisionTransformer(image=8, patch=4, width=8, depth=1, heads=2, hidden=16, classes=3)
    two, seven = traced(model, "3x8x8"), traced(model, "3x8x8", batch=7)
    assert two.operations == seven.operations
    assert (two.origin.batch, seven.origin.batch) == (2, 7)


def test_what_the_header_says():
    trace = traced(nn.Linear(4, 5), "7x4", name="tiny", source="tiny.py:model", assumptions=["none"], command="by hand")
    origin = trace.origin
    assert (trace.model, trace.input_shapes, trace.parameters) == ("tiny", ((7, 4),), 25)
    assert (origin.source, origin.assumptions, origin.command) == ("tiny.py:model", ("none",), "by hand")
    assert origin.exporter.startswith("accelsim trace ")
    assert [text.split()[0] for text in origin.versions] == ["torch", "python"]


# The model afterwards


def test_the_model_is_left_as_it_was():
    class Counting(nn.Sequential):
        def forward(self, x):
            self.seen = x  # a tensor kept for later, as caches do
            return super().forward(x)

    model = Counting(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    model[1].eval()
    parameter, buffers = model[0].weight, {name: buffer.clone() for name, buffer in model.named_buffers()}
    parameter.grad = torch.full_like(parameter, 2.0)
    states = torch.get_rng_state(), random.getstate()
    traced(model, "3x8x8")
    assert [module.training for module in model] == [True, False, True]
    assert not hasattr(model, "seen")
    assert model[0].weight is parameter
    assert torch.equal(parameter.grad, torch.full_like(parameter, 2.0))
    assert model[1].weight.grad is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, buffers[name])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 4, 6, 6)


def test_the_model_is_left_as_it_was_after_an_error():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(5, 2)).eval()
    with pytest.raises(InputError):
        traced(model, "4")
    assert not model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model[0].running_mean, torch.zeros(4))


# Errors


REFUSED = {
    "an error of the model": (
        lambda: Apply(lambda m, x: {}["width"]),
        "4",
        "the forward pass fails on 2x4: KeyError: 'width'",
    ),
    "values of a tensor": (
        lambda: Apply(lambda m, x: x * x.sum().item()),
        "4",
        (
            "the forward pass needs the values of a tensor (aten._local_scalar_dense.default), and tracing knows shapes"
            " only; shapes and branches must not depend on data"
        ),
    ),
    "a loop over the batch": (
        lambda: Apply(lambda m, x: torch.stack([m.a(row) for row in x]), a=nn.Linear(4, 4)),
        "4",
        "the model executes 3 operations at batch 2 and 4 at batch 3; a trace needs the same ones every time",
    ),
    "weights that follow the batch": (
        lambda: Apply(lambda m, x: F.linear(x.T, m.w[:, : len(x)]), w=(5, 9)),
        "4",
        "linear: differs at batch 2 and at batch 3 in more than its rows; a trace needs a model that treats samples alike",
    ),
    "work between samples": (
        lambda: Apply(lambda m, x: x[:, None] - x[None]),
        "4",
        (
            "sub: grows from 16 to 36 between batch 2 and 3, neither in proportion to the batch nor constant;"
            " a trace cannot express it"
        ),
    ),
    "an opaque product": (
        lambda: nn.Sequential(nn.Identity(), Apply(lambda m, x: torch.linalg.inv(x))),
        "4x4",
        (
            "1: operation aten.linalg_inv_ex may hold matrix products that the tracer cannot read; write it with"
            " torch.nn or torch.nn.functional operations"
        ),
    ),
    "several volumes per sample": (
        lambda: Apply(lambda m, x: m.c(x.flatten(0, 1)), c=nn.Conv3d(2, 2, 3)),
        "4x2x5x5x5",
        "c.conv3d: a 3-D convolution of 4 volumes per sample has no entry in a trace",
    ),
    "nothing executed": (
        nn.Identity,
        "4",
        "the model executes no operation on its inputs (2x4); there is nothing to trace",
    ),
    "a lazy module": (
        lambda: nn.LazyLinear(3),
        "4",
        "weight: has no shape yet (a lazy module); run the model once before it is traced",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    model, text, message = REFUSED[case]
    with pytest.raises(InputError) as caught:
        traced(model(), text)
    assert str(caught.value) == message


def test_inputs_that_do_not_fit():
    with pytest.raises(
        InputError, match=r"\Athe forward pass fails on 2x4: RuntimeError: [^\n]+\Z"
    ):  # as torch says it
        traced(nn.Linear(5, 2), "4")


def test_refused_arguments():
    with pytest.raises(InputError, match=r"^model: a torch\.nn\.Module is needed, got int$"):
        trace_model(3, [])
    with pytest.raises(InputError, match=r"^batch: got 0, at least 1 is needed$"):
        traced(nn.Linear(4, 5), "4", batch=0)
    with pytest.raises(InputError, match=r"^input '4': int64 needs a bound of at least 1, as tokens lie below it$"):
        InputSpec((4,), "int64")
    with pytest.raises(InputError, match=r"^input '4:float32:9': only int64 has a bound$"):
        InputSpec((4,), below=9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            text,
            (
                f"input '{text}': SIZExSIZE as in 3x64x64 (float32, without the batch) or SIZE:int64:BOUND as in"
                " 128:int64:30522 (128 tokens below 30522, the size of the vocabulary) is needed"
            ),
        )
        for text in ("", "3x", "3x64x-1", "3*64", "128:int64", "128:int32:5", "4:float32:5", "1e3")
    ]
    + [
        ("3x0", "input '3x0': sizes from 1 to 16777216 are allowed"),
        ("16777217", "input '16777217': sizes from 1 to 16777216 are allowed"),
        ("4:int64:0", "input '4:int64:0': int64 needs a bound of at least 1, as tokens lie below it"),
    ],
)
def test_refused_inputs(text, message):
    with pytest.raises(InputError) as caught:
        InputSpec.parse(text)
    assert str(caught.value) == message


# The command

MODULE = """
from torch import nn

WIDTH = 4

def tiny():
    return nn.Linear(WIDTH, 5)

def broken():
    raise ValueError("no weights here\\nsecond line")

def number():
    return 3

def pruned():
    model = nn.Sequential(nn.Linear(WIDTH, 16), nn.ReLU(), nn.Linear(16, 8))
    model[2].weight.data[:, 2:8] = 0
    return model

def masked():
    model = nn.Linear(WIDTH, 4)
    return nn.utils.parametrize.register_parametrization(model, "weight", Mask())

class Mask(nn.Module):
    def forward(self, weight):
        return weight * (weight.abs() > 0.1)

def first(out):
    return out[0]

def mean(out):
    return out.mean()

def half(out):
    return 0.5
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODULE)
    (tmp_path / "neighbour.py").write_text("from models import tiny\n")
    (tmp_path / "faulty.py").write_text("import no_such_library\n")
    (tmp_path / "syntax.py").write_text("def (:\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("models", None)


@pytest.mark.parametrize("target", ["models.py:tiny", "neighbour.py:tiny", "models:tiny"])
def test_command(folder, capsys, target):
    words = [
        "trace",
        target,
        "--input",
        "7x4",
        "--assume",
        "width 4",
        "--assume",
        "bias",
        "--infer",
        "-o",
        "out.json.gz",
    ]
    assert main(words) == 0
    assert capsys.readouterr().out == "out.json.gz: 1 operations, 140 MACs forward per sample, 25 parameters\n"
    trace = load_trace(folder / "out.json.gz")
    assert (trace.model, trace.origin.source, trace.origin.assumptions) == ("tiny", target, ("width 4", "bias"))
    assert trace.origin.command == f"accelsim trace {target} --input=7x4 --infer -o out.json.gz"


def test_the_path_in_a_trace_is_relative_to_its_project(folder, capsys):
    (folder / "pyproject.toml").touch()
    (folder / "inner").mkdir()
    (folder / "inner" / "net.py").write_text(MODULE)
    words = ["trace", str(folder / "inner" / "net.py") + ":tiny", "--input", "4", "--batch", "3", "--name", "small"]
    assert main([*words, "-o", str(folder / "inner" / "net.json")]) == 0
    capsys.readouterr()
    trace = load_trace(folder / "inner" / "net.json")
    assert trace.origin.source == "inner/net.py:tiny"
    assert trace.origin.command == (
        "accelsim trace inner/net.py:tiny --input=4 --batch=3 --name=small -o inner/net.json"
    )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("models.py", "'models.py': MODULE:FACTORY is needed, as in workloads/models/resnet.py:resnet18_tinyimagenet"),
        ("absent.py:tiny", "absent.py: no such file"),
        ("absent:tiny", "module 'absent' cannot be imported: ModuleNotFoundError: No module named 'absent'"),
        (
            "faulty.py:tiny",
            "module 'faulty.py' cannot be imported: ModuleNotFoundError: No module named 'no_such_library'",
        ),
        ("syntax.py:tiny", "module 'syntax.py' cannot be imported: SyntaxError: invalid syntax (syntax.py, line 1)"),
        ("models.py:tinny", "module 'models.py' has no factory 'tinny'; did you mean 'tiny'?"),
        ("models.py:WIDTH", "module 'models.py' has no factory 'WIDTH'"),
        ("models.py:broken", "factory 'broken' of 'models.py' fails: ValueError: no weights here"),
        ("models.py:number", "factory 'number' of 'models.py' returns int; a torch.nn.Module is needed"),
    ],
)
def test_command_refuses_targets(folder, capsys, target, message):
    assert main(["trace", target, "--input", "4", "-o", "out.json"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"error: {message}\n")
    assert not (folder / "out.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "4", "-o", "out.csv"], "-o out.csv: the name of a trace ends in .json or .json.gz"),
        (["--input", "4", "-o", "no/out.json"], "-o no/out.json: no directory no"),
    ],
)
def test_command_refuses_options(folder, capsys, options, message):
    assert main(["trace", "models.py:tiny", *options]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert sorted(path.suffix for path in folder.iterdir() if path.is_file()) == [".py"] * 4


def test_command_reads_sparsity_and_writes_masks(folder, capsys):
    words = ["trace", "models.py:pruned", "--input", "4", "--batch", "3", "--masks", "-o", "out.json"]
    assert main(words) == 0
    assert capsys.readouterr().out == (
        "out.json: 3 operations, 192 MACs forward per sample, 216 parameters\nout.masks.npz: masks\n"
    )
    trace = load_trace(folder / "out.json")
    assert (trace.origin.batch, trace.origin.steps) == (3, 1)
    assert trace.origin.command == "accelsim trace models.py:pruned --input=4 --batch=3 --steps=1 --masks -o out.json"
    weight = trace.operations[2].observed.FF.weight
    assert (weight.density, weight.mask) == (10 / 16, "out.masks.npz#2.weight")
    assert main(["check", "out.json"]) == 0
    assert main(["simulate", "out.json", "--method", "traced", "--batch", "8"]) == 0


@pytest.mark.parametrize(
    ("loss", "operations"),
    [
        ("cross-entropy", ["softmax", "loss"]),
        ("mse", ["loss"]),
        ("models.py:mean", ["reduce"]),
    ],
)
def test_command_takes_a_loss(folder, capsys, loss, operations):
    assert main(["trace", "models.py:tiny", "--input", "7x4", "--loss", loss, "-o", "out.json"]) == 0
    capsys.readouterr()
    trace = load_trace(folder / "out.json")
    assert [operation.kind for operation in trace.operations] == ["linear", *operations]
    assert f"--loss={loss}" in trace.origin.command


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("cross-entropi", "--loss cross-entropi: not known; did you mean 'cross-entropy'?; allowed: cross-entropy, mse,"
         " or MODULE:FUNCTION"),
        ("models.py:nothing", "module 'models.py' has no function 'nothing'"),
        ("models.py:first", "the loss has shape (7, 5); a scalar is needed, such as its mean"),
        ("models.py:half", "the loss is a float; a tensor with one element is needed"),
    ],
)  # fmt: skip
def test_command_refuses_losses(folder, capsys, loss, message):
    assert main(["trace", "models.py:tiny", "--input", "7x4", "--loss", loss, "-o", "out.json"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not (folder / "out.json").exists()


@pytest.mark.parametrize(
    ("factory", "what"),
    [("pruned", "weights that are zero in part: 2.weight"), ("masked", "masked weights")],
)
def test_sparse_weights_are_pointed_out_where_shapes_alone_are_traced(folder, capsys, factory, what):
    assert main(["trace", f"models.py:{factory}", "--input", "4", "-o", "out.json"]) == 0
    note = f"the model has {what}; shapes alone were traced, how sparse they are is read with steps on real tensors"
    assert capsys.readouterr().err == f"note: {note}\n"
    assert load_trace(folder / "out.json").origin.assumptions == (note,)
