"""The shipped traces: complete, plausible, and what the exporter makes today."""

import sys

import pytest

from accelsim.base.files import packaged_path
from accelsim.cli import main
from accelsim.workload.trace import load_trace, workload_names

PARAMETERS_AND_MACS = {
    "bert_base_128": (109_483_778, 11_174_217_216),
    "gpt2_1024": (124_439_808, 145_824_153_600),
    "llama_1b_2048": (1_235_814_400, 2_805_687_386_112),
    "mobilenet_v2_imagenet": (3_504_872, 300_774_272),
    "resnet18_tinyimagenet": (11_279_112, 148_148_224),
    "resnet18_tinyimagenet_3x3": (11_271_432, 2_221_772_800),
    "resnet50_imagenet": (25_557_032, 4_089_184_256),
    "resnet9_cifar10": (6_573_120, 379_261_952),
    "vgg19_cifar100": (20_086_692, 398_182_400),
    "vit_b16_imagenet": (86_567_656, 17_563_828_224),
    "vit_cifar100": (12_504_676, 829_041_408),
}
SPARSE = {"resnet9_digits_bdwp_2of8": 14, "resnet9_digits_2of4": 7, "resnet9_digits_pruned": 7}
"""Traces of sparse models, with the number of masks beside each."""


def test_shipped_names():
    assert set(PARAMETERS_AND_MACS) | set(SPARSE) == set(workload_names())


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
    first_gets_one = name in {"bert_base_128", "gpt2_1024", "llama_1b_2048"}  # an embedding stands before it
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
    last = [operation for operation in trace.operations if operation.macs][-1]
    assert last.weight.name == trace.operations[0].other_parameters[0].name == "wte.weight"


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


def test_vit_b16_by_hand():
    width, tokens, hidden = 768, 197, 3072
    layer = tokens * (4 * width * width + 2 * width * hidden) + 2 * tokens * tokens * width
    assert load_trace("vit_b16_imagenet").macs == 196 * 3 * 256 * width + 12 * layer + width * 1000


def test_llama_by_hand():
    """Query heads share keys and values in groups of four, so those projections are a quarter as wide."""
    trace, tokens, width, hidden, words = load_trace("llama_1b_2048"), 2048, 2048, 8192, 128_256
    layer = tokens * (2.5 * width * width + 3 * width * hidden) + 2 * tokens * tokens * width
    assert trace.macs == 16 * layer + tokens * width * words
    assert trace.parameters == 16 * (2.5 * width**2 + 3 * width * hidden + 2 * width) + width + words * width


def test_mobilenet_by_hand():
    macs, inputs, size = 3 * 32 * 9 * 112**2, 32, 112
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, outputs, depth, stride in stages:
        for position in range(depth):
            hidden, before = expansion * inputs, size
            size //= 1 if position else stride
            macs += (inputs * hidden * before**2 if expansion > 1 else 0) + 9 * hidden * size**2
            macs += hidden * outputs * size**2
            inputs = outputs
    assert load_trace("mobilenet_v2_imagenet").macs == macs + 320 * 1280 * 49 + 1280 * 1000


@pytest.mark.parametrize("name", PARAMETERS_AND_MACS)
def test_exported_again_it_is_the_same(name, tmp_path, capsys):
    pytest.importorskip("torch", reason="tracing needs the torch extra")
    from shipped_exporter import export_all

    assert set(export_all().WORKLOADS) == set(PARAMETERS_AND_MACS)
    again = load_trace(export_all().export(name, tmp_path))
    capsys.readouterr()
    shipped = load_trace(name)
    assert again.operations == shipped.operations
    anew = again.model_copy(update={"origin": shipped.origin})
    assert anew == shipped
    same = {"versions", "command", "exporter"}  # torch, the path of the output, accelsim
    assert again.origin.model_dump(exclude=same) == shipped.origin.model_dump(exclude=same)


# Traces of sparse models


def weights_seen(trace, stage):
    seen = {op.name: getattr(op.observed, stage) for op in trace.operations if op.macs and op.observed}
    return {name: entry.weight for name, entry in seen.items() if entry is not None}


@pytest.mark.parametrize("name", SPARSE)
def test_masks_of_sparse_models_agree_with_their_traces(name, capsys):
    path = packaged_path("workloads") / f"{name}.json"
    assert main(["check", str(path)]) == 0
    assert f"{SPARSE[name]} masks in {name}.masks.npz" in capsys.readouterr().out
    origin = load_trace(name).origin
    assert (origin.batch, origin.steps) == (64, 4)
    assert origin.command == f"python workloads/models/export_all.py {name}"


def test_sparse_models_are_as_sparse_as_they_were_made():
    bdwp, of_four, pruned = (load_trace(name) for name in SPARSE)
    inner = list(weights_seen(bdwp, "FF"))[1:-1]  # first and last layer are dense
    for stage in ("FF", "BP"):
        assert {weights_seen(bdwp, stage)[name].pattern for name in inner} == {"2:8"}
    assert {weights_seen(of_four, "FF")[name].pattern for name in inner} == {"2:4"}
    assert {weights_seen(of_four, "BP")[name].density for name in inner} == {0.5}
    kept = [(weights_seen(pruned, "FF")[name].density, op.weight_elements) for name in inner
            for op in pruned.operations if op.name == name]  # fmt: skip
    total = sum(elements for _, elements in kept)
    assert sum(density * elements for density, elements in kept) / total == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("name", SPARSE)
def test_a_sparse_model_trained_again_gives_the_same_trace(name, tmp_path):
    """Sums may differ in their last bits from one processor to the next, so densities are compared loosely."""
    pytest.importorskip("torch", reason="tracing needs the torch extra")
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    from shipped_exporter import export_all

    again, shipped = load_trace(export_all().export(name, tmp_path)), load_trace(name)
    plain = [
        [op.model_copy(update={"observed": None}) if op.macs else op for op in trace.operations]
        for trace in (again, shipped)
    ]
    assert plain[0] == plain[1]
    for stage in ("FF", "BP"):
        for operation, weight in weights_seen(again, stage).items():
            assert weight.density == pytest.approx(weights_seen(shipped, stage)[operation].density, abs=0.05)
    assert (tmp_path / f"{name}.masks.npz").exists()


def test_without_torch_the_command_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "accelsim.workload.tracer", raising=False)
    output = tmp_path / "out.json"
    assert main(["trace", "models.py:tiny", "--input", "4", "-o", str(output)]) == 2
    assert (
        capsys.readouterr().err == "error: tracing needs PyTorch: pip install -e '.[torch]' in the folder of accelsim\n"
    )
    assert not output.exists()
