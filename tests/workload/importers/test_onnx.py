"""The ONNX importer: batch and sizes, whole networks, against the tracer."""

import time
import warnings
from pathlib import Path

import pytest
from operations import definitions

from accelsim.cli import main
from accelsim.sparsity.masks import magnitude_mask
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.importing import ImportOptions, import_trace
from accelsim.workload.trace import load_trace, save_trace

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx import helper  # noqa: E402
from onnx_models import IMAGE, INT64, Without, built, filled, ints, listed, node, pruned  # noqa: E402

# Dimensions and batch


def test_an_open_batch_is_one_sample_and_other_sizes_are_given_by_name(reading):
    nodes = [node("Gather", "e.weight t", "a", name="e"), node("MatMul", "a w", "b"), node("Transpose", "b", "c", perm=[0, 2, 1]),
             node("MatMul", "b c", name="scores")]  # fmt: skip
    stored = {"e.weight": filled(9, 4), "w": filled(4, 6)}
    trace = reading(nodes, {"t": (("N", "seq"), INT64)}, stored, sizes={"seq": 7})
    assert listed(trace) == [
        "e = embedding 28->28 +e.weight",
        "w = linear 4->6 rows 7 w",
        "scores = matmul 1 x 7,6,7",
    ]
    assert trace.input_shapes == ((7,),)
    assert trace.origin.assumptions[0] == "dimension 'N', the first one of the inputs, is taken as the batch"


def test_a_size_without_a_name_is_called_after_input_and_position(reading):
    relu = node("Relu", "x")
    assert listed(reading(relu, {"x": (None, None, 4)}, sizes={"x.1": 3})) == ["relu = activation 12->12 no gradient"]


def test_a_fixed_batch_is_divided_by(reading):
    nodes = [node("Gather", "p.weight i", "p", name="p"), node("Add", "x p", "a"), node("MatMul", "a w", "b"),
             node("Transpose", "b", "c", perm=[0, 2, 1]), node("MatMul", "b c", name="scores")]  # fmt: skip
    stored = {"p.weight": filled(9, 4), "i": ints(*range(5)), "w": filled(4, 6)}
    expected = [
        "p = embedding 20->20 once +p.weight",
        "add = add 20->20",
        "w = linear 4->6 rows 5 w",
        "scores = matmul 1 x 5,6,5",
    ]
    for shape, batch in (((8, 5, 4), 8), ((1, 5, 4), None), (("N", 5, 4), None)):
        trace = reading(nodes, {"x": shape}, stored, batch=batch)
        assert listed(trace) == expected
        assert trace.input_shapes == ((5, 4),)


def test_the_samples_are_in_the_factor_that_depends_on_the_inputs(reading):
    nodes = [node("MatMul", "a b", "d"), node("MatMul", "b c", "e"), node("MatMul", "x d", "p", name="right"),
             node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "e t", name="left")]  # fmt: skip
    stored = {"a": filled(4, 2), "b": filled(2, 3), "c": filled(3, 4)}
    for shape, batch in ((("N", 5, 4), None), ((6, 5, 4), 6)):
        trace = reading(nodes, {"x": shape}, stored, batch=batch)
        assert [text for text in listed(trace) if "matmul" in text.partition(" ")[2]] == [
            "right = matmul 1 x 5,4,3 no left gradient",
            "left.matmul = matmul 1 x 2,4,5 no right gradient",
        ]
        right = next(one for one in trace.operations if one.name == "right")
        assert (right.left_gradient, right.right_gradient) == (False, True)


def test_a_whole_input_may_be_one_sample(reading):
    trace = reading(node("Relu", "x"), {"x": (8, 5, 4)}, batch=1)
    assert (listed(trace), trace.input_shapes) == (["relu = activation 160->160 no gradient"], ((8, 5, 4),))


def test_an_open_batch_may_be_fixed(reading):
    trace = reading(
        [node("Reshape", "x sizes"), node("Relu", "y", "z")],
        {"x": ("N", 4, 5)},
        {"sizes": ints(2, 20)},
        sizes={"N": 2},
        batch=2,
    )
    assert listed(trace) == ["relu = activation 20->20 no gradient"]


def test_inputs_that_all_samples_share_keep_their_shape(reading):
    trace = reading(node("Add", "x bias"), {"x": ("N", 5, 4), "bias": (5, 4)})
    assert (listed(trace), trace.input_shapes) == (["add = add 20->20 no gradient"], ((5, 4), (5, 4)))


# The header


def test_what_the_header_says(reading):
    trace = reading(
        node("Conv", "x w"),
        IMAGE,
        {"w": filled(6, 4, 3, 3)},
        name="tiny",
        producer_name="by hand",
        producer_version="1",
    )
    origin = trace.origin
    assert (trace.model, trace.input_shapes, trace.parameters) == ("tiny", ((4, 9, 9),), 216)
    assert (origin.source, origin.exporter.startswith("accelsim import ")) == ("m.onnx, an ONNX model", True)
    assert origin.versions == ("by hand 1", "opset 20", f"onnx {onnx.__version__}")
    assert origin.assumptions == (
        "dimension 'N', the first one of the inputs, is taken as the batch",
        "an ONNX graph does not say what is trained: all floating-point weights, biases, scales and tables are",
        "no normalisation is in the file: one that its exporter folded into convolutions cannot be seen",
        "no dropout is in the file: one that its exporter removed cannot be seen",
    )
    assert reading(node("Relu", "x"), IMAGE).model == "m"


# Whole networks


ALEXNET = {
    "conv1": (96, 3, 11),
    "conv2": (256, 48, 5),
    "conv3": (384, 256, 3),
    "conv4": (384, 192, 3),
    "conv5": (256, 192, 3),
}
MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repeats and stride of the blocks of MobileNetV2."""


class Chain:
    """A graph that grows at its end, without numbers for its weights."""

    def __init__(self):
        self.nodes, self.stored, self.last = [], {}, "x"

    def add(self, operator, *more, **attributes):
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [self.last, *more], [out], **attributes))
        self.last = out
        return out

    def conv(self, name, outputs, inputs, kernel, stride=1, groups=1, pad=None):
        self.stored[name] = Without(outputs, inputs // groups, kernel, kernel)
        pads = [kernel // 2 if pad is None else pad] * 4
        return self.add("Conv", name, group=groups, strides=[stride] * 2, pads=pads)


def alexnet():
    """As in the Caffe model zoo (Krizhevsky et al., 2012): two groups in three layers, three fully connected ones."""
    net = Chain()
    for name, (outputs, inputs, kernel) in ALEXNET.items():
        groups = 2 if name in {"conv2", "conv4", "conv5"} else 1
        net.conv(
            name, outputs, inputs * groups, kernel, 4 if name == "conv1" else 1, groups, 0 if name == "conv1" else None
        )
        net.add("Relu")
        if name in {"conv1", "conv2", "conv5"}:
            net.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
    net.add("Flatten")
    for name, inputs, outputs in (("fc6", 9216, 4096), ("fc7", 4096, 4096), ("fc8", 4096, 1000)):
        net.stored[name] = Without(outputs, inputs)
        net.add("Gemm", name, transB=1)
    return built(net.nodes, {"x": ("N", 3, 227, 227)}, net.stored)


def mobilenet():
    """MobileNetV2 (Sandler et al., 2018) at 224."""
    net, inputs = Chain(), 32
    net.conv("stem", 32, 3, 3, 2)
    for expansion, outputs, repeats, stride in MOBILENET:
        for repeat in range(repeats):
            name, before, wide = f"{outputs}.{repeat}", net.last, inputs * expansion
            if expansion > 1:
                net.conv(f"{name}.expand", wide, inputs, 1)
            net.conv(f"{name}.depthwise", wide, wide, 3, 1 if repeat else stride, wide)
            net.conv(f"{name}.project", outputs, wide, 1)
            if repeat:
                net.add("Add", before)
            inputs = outputs
    net.conv("head", 1280, 320, 1)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.stored["fc"] = Without(1000, 1280)
    net.add("Gemm", "fc", transB=1)
    return built(net.nodes, {"x": (1, 3, 224, 224)}, net.stored)


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        (alexnet, 724_406_816),  # 0.655 G at 224, where conv1 has 54 x 54 places instead of 55 x 55
        (mobilenet, 300_774_272),
    ],
)
def test_published_multiplications(reading, model, macs):
    trace = reading(model())
    assert trace.macs == macs


def test_models_that_come_with_onnx():
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    expected = {
        "light_bvlc_alexnet": 654_560_384,
        "light_resnet50": 4_089_184_256,
        "light_vgg19": 19_632_062_464,
        "light_squeezenet": 349_151_936,
    }
    for name, macs in expected.items():
        if not (folder / f"{name}.onnx").exists():
            pytest.skip("this onnx comes without its test models")
        trace = import_trace(folder / f"{name}.onnx")
        assert (name, trace.macs) == (name, macs)
        assert all(
            operation.weight.frozen for operation in trace.operations if operation.macs
        )  # made by ConstantOfShape


# Against the tracer


@pytest.fixture
def exported(tmp_path):
    """Write a torch model to ONNX as it trains, with an open batch or a fixed one."""
    torch = pytest.importorskip("torch", reason="comparing with the tracer needs the torch extra")
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def export(model, spec, *, batch=None, train=True):
        kind = torch.int64 if spec.dtype == "int64" else torch.float32
        example = torch.zeros((batch or 2, *spec.shape), dtype=kind)
        file = tmp_path / "exported.onnx"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    model, (example,), file, dynamo=False, input_names=["x"], training=torch.onnx.TrainingMode.PRESERVE,
                    dynamic_axes=None if batch else {"x": {0: "N"}},
                )  # fmt: skip
        except (ImportError, TypeError, AttributeError) as error:
            pytest.skip(f"this torch has no exporter that needs onnx alone: {error}")
        return file

    yield export
    torch.set_num_threads(before)


NETWORKS = {
    "resnet18": ("resnet", lambda m: m.resnet18_imagenet(), "3x224x224"),
    "resnet9": ("resnet", lambda m: m.resnet9_cifar10(), "3x32x32"),
    "resnet50": ("resnet", lambda m: m.ResNet(m.Bottleneck, (1, 1, 1, 1), 10), "3x64x64"),
    "vgg19": ("vgg", lambda m: m.vgg19_cifar100(), "3x32x32"),
    "bert": ("transformers", lambda m: m.Bert(width=96, depth=2, heads=4), "32:int64:30522"),
    "gpt2": ("transformers", lambda m: m.Gpt2(width=64, depth=2, heads=4), "32:int64:50257"),
    "vit": ("vit", lambda m: m.VisionTransformer(image=16, patch=4, width=24, depth=2, heads=3, hidden=48, classes=5), "3x16x16"),
}  # fmt: skip


def plain(operation):
    return operation.model_dump(exclude={"observed"})


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_network_gives_the_same_trace(exported, name):
    from accelsim.workload.tracer import InputSpec, trace_model

    file, make, shape = NETWORKS[name]
    model, spec = make(definitions(file)), InputSpec.parse(shape)
    traced = trace_model(model, [spec])
    fixes_its_batch = name == "vit"  # the exporter writes len(x) as the batch of the example
    options = ImportOptions(sizes={"N": 2}, batch=2) if fixes_its_batch else ImportOptions()
    imported = import_trace(exported(model, spec), options=options)
    assert [plain(one) for one in imported.operations if one.macs] == [
        plain(one) for one in traced.operations if one.macs
    ]
    assert (imported.macs, imported.parameters, imported.tensors) == (traced.macs, traced.parameters, traced.tensors)

    def vectors(trace):
        return [plain(one) | {"name": ""} for one in trace.operations if not one.macs]

    if not fixes_its_batch:
        assert vectors(imported) == vectors(traced)
    assert len(imported.operations) == len(traced.operations)


def test_a_pruned_network_shows_its_pattern_wherever_it_is_exported(exported):
    torch = pytest.importorskip("torch", reason="comparing with the tracer needs the torch extra")
    from accelsim.workload.tracer import InputSpec

    model = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3), torch.nn.Flatten(), torch.nn.Linear(32 * 36, 24))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.mul_(torch.from_numpy(magnitude_mask(layer.weight.numpy(), Pattern.parse("2:8"), 1)))
    trace = import_trace(exported(model, InputSpec.parse("16x8x8")))
    assert [op.observed.FF.weight.pattern for op in trace.operations if op.macs] == ["2:8", "2:8"]


def test_a_network_of_the_size_of_resnet50_is_read_in_well_under_a_second(tmp_path):
    shipped = load_trace("resnet50_imagenet")
    net = Chain()
    for operation in shipped.operations:  # a chain of its layers, whatever their order
        if operation.kind == "conv2d":
            net.last = "x"
            net.stored[operation.name] = Without(operation.out_channels, 3, *operation.kernel)
            net.add("Conv", operation.name)
            net.add("Relu")
    file = tmp_path / "deep.onnx"
    file.write_bytes(built(net.nodes, {"x": ("N", 3, 64, 64)}, net.stored).SerializeToString())
    import_trace(file)
    start = time.perf_counter()
    trace = import_trace(file)
    assert len(trace.operations) == 2 * 53
    assert time.perf_counter() - start < 1


# The command line


def test_the_command_reads_and_simulate_runs_what_it_wrote(tmp_path, capsys):
    file = tmp_path / "net.onnx"
    nodes = [node("Conv", "x c.weight", "a"), node("Relu", "a", "b"), node("GlobalAveragePool", "b", "p"),
             node("Flatten", "p", "f"), node("Gemm", "f fc.weight", transB=1)]  # fmt: skip
    stored = {"c.weight": filled(16, 8, 3, 3), "fc.weight": filled(10, 16)}
    file.write_bytes(built(nodes, {"x": ("N", 8, 9, 9)}, stored).SerializeToString())
    assert main(["import", str(file), "-o", str(tmp_path / "t.json")]) == 0
    assert "is taken as the batch" in capsys.readouterr().err
    assert main(["simulate", str(tmp_path / "t.json"), "--batch", "4"]) == 0
    file.write_bytes(b"nothing")
    assert main(["import", str(file), "-o", str(tmp_path / "t.json")]) == 2
    assert "not an ONNX model" in capsys.readouterr().err


def test_a_trace_that_was_read_round_trips(reading, tmp_path):
    trace = reading(node("MatMul", "x w"), {"x": ("N", 5, 16)}, {"w": pruned((16, 24), "2:8", 0)})
    save_trace(trace, tmp_path / "t.json")
    assert load_trace(tmp_path / "t.json") == trace
