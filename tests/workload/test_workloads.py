"""The shipped traces: complete, plausible, and what the exporter makes today."""

import importlib.util
import sys

import pytest

from accelsim.cli import main
from accelsim.files import packaged_path
from accelsim.workload.trace import load_trace, workload_names

PARAMETERS_AND_MACS = {
    "bert_base_128": (109_483_778, 11_174_217_216),
    "gpt2_1024": (124_439_808, 145_824_153_600),
    "resnet18_tinyimagenet": (11_279_112, 148_148_224),
    "resnet18_tinyimagenet_3x3": (11_271_432, 2_221_772_800),
    "resnet50_imagenet": (25_557_032, 4_089_184_256),
    "resnet9_cifar10": (6_573_120, 379_261_952),
    "vgg19_cifar100": (20_086_692, 398_182_400),
    "vit_cifar100": (12_504_676, 829_041_408),
}


def test_shipped_names():
    assert set(PARAMETERS_AND_MACS) <= set(workload_names())


@pytest.mark.parametrize("name", PARAMETERS_AND_MACS)
def test_sizes(name):
    trace = load_trace(name)
    assert (trace.parameters, trace.macs) == PARAMETERS_AND_MACS[name]
    assert sum(elements for elements, _ in trace.tensors.values()) == trace.parameters


@pytest.mark.parametrize("name", PARAMETERS_AND_MACS)
def test_origin_is_portable(name):
    trace = load_trace(name)
    origin = trace.origin
    assert trace.model == name
    assert origin.source.startswith("workloads/models/")
    assert origin.command is not None
    assert origin.command.endswith(f"-o workloads/{name}.json")
    assert origin.assumptions


@pytest.mark.parametrize("name", PARAMETERS_AND_MACS)
def test_only_the_first_product_needs_no_input_gradient(name):
    products = [operation for operation in load_trace(name).operations if operation.macs]
    first_gets_one = name in {"bert_base_128", "gpt2_1024"}  # an embedding stands before it
    assert [operation.input_gradient for operation in products] == [first_gets_one, *[True] * (len(products) - 1)]


def test_resnet50_by_hand():
    macs, inputs = 3 * 64 * 7**2 * 112**2 + 2048 * 1000, 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        width, size = 64 << stage, 56 >> stage
        before = size if stage == 0 else 2 * size  # the first 1x1 still sees the larger image
        macs += inputs * width * before**2 + (9 * width * width + 4 * width * width + 4 * width * inputs) * size**2
        macs += (depth - 1) * (2 * 4 * width * width + 9 * width * width) * size**2
        inputs = 4 * width
    assert load_trace("resnet50_imagenet").macs == macs


def test_gpt2_by_hand():
    trace, tokens, width, vocabulary = load_trace("gpt2_1024"), 1024, 768, 50257
    attention = 4 * width * width * tokens + 2 * tokens * tokens * width  # qkv and output; scores and weighted sum
    mlp = 2 * 4 * width * width * tokens
    assert trace.macs == 12 * (attention + mlp) + tokens * width * vocabulary
    assert trace.operations[-1].weight.name == trace.operations[0].other_parameters[0].name == "wte.weight"


def test_bert_by_hand():
    tokens, width, classes = 128, 768, 2
    layer = 12 * width * width * tokens + 2 * tokens * tokens * width
    trace = load_trace("bert_base_128")
    assert trace.macs == 12 * layer + width * width + classes * width
    assert trace.parameters == 109_482_240 + classes * (width + 1)


def test_vgg19_by_hand():
    sizes = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 3, (256, 512), *[(512, 512)] * 7]
    images = [32] * 2 + [16] * 2 + [8] * 4 + [4] * 4 + [2] * 4
    by_hand = sum(9 * c * k * image**2 for (c, k), image in zip(sizes, images, strict=True)) + 512 * 100
    assert load_trace("vgg19_cifar100").macs == by_hand


def test_resnet9_by_hand():
    sizes = [(3, 64, 32), (64, 128, 32), *[(128, 128, 16)] * 2, (128, 256, 16), (256, 512, 8), *[(512, 512, 4)] * 2]
    assert load_trace("resnet9_cifar10").macs == sum(9 * c * k * image**2 for c, k, image in sizes) + 512 * 10


def test_vit_by_hand():
    width, tokens, hidden = 384, 65, 1536
    layer = tokens * (4 * width * width + 2 * width * hidden) + 2 * tokens * tokens * width
    assert load_trace("vit_cifar100").macs == 64 * 48 * width + 7 * layer + width * 100


@pytest.mark.parametrize("name", PARAMETERS_AND_MACS)
def test_exported_again_it_is_the_same(name, tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="tracing needs the torch extra")
    path = packaged_path("workloads") / "models" / "export_all.py"
    spec = importlib.util.spec_from_file_location("export_all", path)
    export_all = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(export_all)
    assert set(export_all.WORKLOADS) == set(PARAMETERS_AND_MACS)
    with torch.device("meta"):  # nothing to initialise
        again = load_trace(export_all.export(name, tmp_path))
    capsys.readouterr()
    shipped = load_trace(name)
    assert again.operations == shipped.operations
    anew = again.model_copy(update={"origin": shipped.origin})
    assert anew == shipped
    same = {"versions", "command", "exporter"}  # torch, the path of the output, accelsim
    assert again.origin.model_dump(exclude=same) == shipped.origin.model_dump(exclude=same)


def test_without_torch_the_command_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "accelsim.workload.tracer", raising=False)
    output = tmp_path / "out.json"
    assert main(["trace", "models.py:tiny", "--input", "4", "-o", str(output)]) == 2
    assert capsys.readouterr().err == "error: tracing needs PyTorch: pip install 'accelsim[torch]'\n"
    assert not output.exists()
