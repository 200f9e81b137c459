"""Networks whose training throughput was measured: their sizes against published counts, and rows against networks."""

import csv
from collections import Counter
from pathlib import Path

import pytest

import accelsim
from accelsim.cli import main
from accelsim.workload.measured import measured_traces, trace_for
from accelsim.workload.trace import load_trace, workload_names

DATA = Path(accelsim.__file__).parent / "data"

# Published counts

TORCHVISION = {
    "resnet18_imagenet": (11_689_512, 1.814),
    "resnet34_imagenet": (21_797_672, 3.664),
    "resnet50_imagenet": (25_557_032, 4.089),
    "resnet101_imagenet": (44_549_160, 7.801),
    "resnet152_imagenet": (60_192_808, 11.514),
    "resnext50_32x4d_imagenet": (25_028_904, 4.230),
    "resnext101_32x8d_imagenet": (88_791_336, 16.414),
    "wide_resnet50_2_imagenet": (68_883_240, 11.398),
    "wide_resnet101_2_imagenet": (126_886_696, 22.753),
    "vgg11_imagenet": (132_863_336, 7.609),
    "vgg13_imagenet": (133_047_848, 11.308),
    "vgg16_imagenet": (138_357_544, 15.470),
    "vgg16_bn_imagenet": (138_365_992, 15.470),
    "vgg19_imagenet": (143_667_240, 19.632),
    "vgg19_bn_imagenet": (143_678_248, 19.632),
    "densenet121_imagenet": (7_978_856, 2.834),
    "densenet161_imagenet": (28_681_000, 7.728),
    "densenet169_imagenet": (14_149_480, 3.360),
    "densenet201_imagenet": (20_013_928, 4.291),
    "efficientnet_b0_imagenet": (5_288_548, 0.386),
    "efficientnet_b4_imagenet": (19_341_616, 4.394),
    "convnext_tiny_imagenet": (28_589_128, 4.456),
    "convnext_small_imagenet": (50_223_688, 8.684),
    "convnext_base_imagenet": (88_591_464, 15.355),
    "mobilenet_v2_imagenet": (3_504_872, 0.301),
    "vit_b16_imagenet": (86_567_656, 17.564),
    "vit_b32_imagenet": (88_224_232, 4.409),
    "vit_l16_imagenet": (304_326_632, 61.555),
}
"""Parameters, and multiply-accumulates in 10^9 ("GFLOPS" there), from the weights' `meta` of torchvision 0.29."""

TIMM = {
    "resnext101_32x4d_imagenet": 44_177_704,
    "se_resnext101_32x4d_imagenet": 48_955_416,  # legacy_seresnext101_32x4d
    "vit_s16_imagenet": 22_050_664,  # vit_small_patch16_224
    "sam_vit_l_1024": 308_278_272,  # samvit_large_patch16
}
"""Parameters of the models of pytorch-image-models 1.0."""

BERT = {"base": (109_482_240, 768, 12), "large": (335_141_888, 1024, 24)}
"""Parameters of bert-base-uncased and bert-large-uncased with pooler (Hugging Face); width and layers (Devlin et al.)."""
WORDS, FILLED = 30522, 30528


@pytest.mark.parametrize("name", TORCHVISION)
def test_counts_of_torchvision(name):
    trace = load_trace(name)
    parameters, gmacs = TORCHVISION[name]
    assert trace.parameters == parameters
    assert trace.macs / 1e9 == pytest.approx(gmacs, abs=0.00051)


@pytest.mark.parametrize("name", TIMM)
def test_parameters_of_pytorch_image_models(name):
    assert load_trace(name).parameters == TIMM[name]


@pytest.mark.parametrize(("name", "squeezed"), [("resnext101_32x4d_imagenet", 0), ("se_resnext101_32x4d_imagenet", 16)])
def test_resnext101_by_hand(name, squeezed):
    macs, inputs = 3 * 64 * 7**2 * 112**2 + 2048 * 1000, 64
    for stage, depth in enumerate((3, 4, 23, 3)):
        inner, outputs, size = 128 << stage, 256 << stage, 56 >> stage
        before = size if stage == 0 else 2 * size  # the first 1x1 still sees the larger image
        for position in range(depth):
            macs += inputs * inner * (before if position == 0 else size) ** 2  # 1x1
            macs += 9 * inner * inner // 32 * size**2 + inner * outputs * size**2  # 32 groups of 3x3; 1x1
            macs += inputs * outputs * size**2 if position == 0 else 0  # the shortcut
            macs += 2 * outputs * (outputs // squeezed) if squeezed else 0
            inputs = outputs
    assert load_trace(name).macs == macs


def test_ssd300_by_hand():
    """8732 boxes (Liu et al.); NVIDIA's ResNet-50 keeps 38x38 in its third stage."""
    macs, inputs = 3 * 64 * 7**2 * 150**2, 64
    for width, depth, before, size in ((64, 3, 75, 75), (128, 4, 75, 38), (256, 6, 38, 38)):
        macs += inputs * width * before**2 + (9 * width**2 + 4 * width**2 + 4 * width * inputs) * size**2
        macs += (depth - 1) * (2 * 4 * width**2 + 9 * width**2) * size**2
        inputs = 4 * width
    maps = ((1024, 4, 38), (512, 6, 19), (512, 6, 10), (256, 6, 5), (256, 4, 3), (256, 4, 1))
    macs += sum(9 * channels * boxes * (4 + 81) * size**2 for channels, boxes, size in maps)
    for (channels, _, before), (outputs, _, size), hidden in zip(
        maps, maps[1:], (256, 256, 128, 128, 128), strict=False
    ):
        macs += channels * hidden * before**2 + 9 * hidden * outputs * size**2
    trace = load_trace("ssd300_resnet50_coco")
    assert trace.macs == macs
    assert sum(boxes * size**2 for _, boxes, size in maps) == 8732
    scores = next(op for op in trace.operations if op.kind == "softmax")
    assert scores.writes == 81 * 8732


def encoder_macs(size, tokens):
    _, width, depth = BERT[size]
    return depth * (12 * width * width * tokens + 2 * tokens * tokens * width)


@pytest.mark.parametrize("size", BERT)
def test_bert_for_squad(size):
    published, width, _ = BERT[size]
    trace = load_trace(f"bert_{size}_squad_384")
    pooler, head = width * width + width, 2 * width + 2
    assert trace.parameters == published + (FILLED - WORDS) * width - pooler + head
    assert trace.macs == encoder_macs(size, 384) + 384 * 2 * width


@pytest.mark.parametrize(("tokens", "masked"), [(128, 20), (512, 80)])
def test_bert_for_pretraining(tokens, masked):
    """336,226,108 parameters has BertForPreTraining of bert-large-uncased (Hugging Face)."""
    width = 1024
    trace = load_trace(f"bert_large_pretraining_{tokens}")
    assert trace.parameters == 336_226_108 + (FILLED - WORDS) * (width + 1)
    heads = masked * width * (width + FILLED) + width * width + 2 * width
    assert trace.macs == encoder_macs("large", tokens) + heads
    assert trace.input_shapes == ((tokens,), (masked,))


@pytest.mark.parametrize(("name", "tokens"), [("gpt2_medium_layer_512", 512), ("bert_large_layer_128", 128)])
def test_one_layer_does_what_its_benchmark_counts(name, tokens):
    """mli/transformers-benchmarks counts 24 s h^2 + 4 h s^2 operations forward, and three times that in a step."""
    trace, width = load_trace(name), 1024
    assert 2 * trace.macs == 24 * tokens * width**2 + 4 * width * tokens**2
    assert trace.parameters == 12 * width**2 + 13 * width


def test_sam_encoder_by_hand():
    """20 blocks see 25 windows of 14x14, on 64x64 patches filled up to 70x70; 4 blocks see all patches."""
    width, patches, filled, window = 1024, 64**2, 70**2, 14**2
    mlp = 8 * width**2 * patches
    windowed = 4 * width**2 * filled + 2 * 25 * window**2 * width + 2 * filled * 14 * width  # the last: relative places
    everywhere = 4 * width**2 * patches + 2 * patches**2 * width + 2 * patches * 64 * width
    neck = patches * (width * 256 + 9 * 256 * 256)
    assert (
        load_trace("sam_vit_l_1024").macs
        == patches * 3 * 256 * width + 20 * windowed + 4 * everywhere + 24 * mlp + neck
    )


def test_relative_places_of_sam_are_weights_that_all_samples_share():
    """torch multiplies the rows of all samples by one stack of matrices, computed from a parameter; twice per block."""
    torch = pytest.importorskip("torch", reason="tracing needs the torch extra")
    from macs_counter import Stacks
    from operations import definitions

    with torch.device("meta"), Stacks() as stacks:
        definitions("sam").sam_vit_l()(torch.empty(3, 3, 1024, 1024)).sum().backward()
    assert stacks.seen[14, 3 * 5600, 64, 14] == stacks.seen[14, 64, 3 * 5600, 14] == 40  # FF and WU of 20 blocks
    assert stacks.seen[64, 64, 3 * 1024, 64] == 8  # WU of 4 blocks
    weights = [operation for operation in load_trace("sam_vit_l_1024").operations if operation.kind == "conv1d"]
    assert all(operation.weight.derived and operation.scales_with_batch for operation in weights)
    assert Counter((op.groups, op.in_channels, op.out_channels, op.in_size) for op in weights) == {
        (14, 14 * 64, 14 * 14, (5600,)): 40,
        (64, 64 * 64, 64 * 64, (1024,)): 8,
    }


@pytest.mark.parametrize("name", workload_names(measured=True))
def test_traces_are_whole(name):
    trace = load_trace(name)
    assert trace.model == name
    assert sum(elements for elements, _ in trace.tensors.values()) == trace.parameters
    assert trace.origin.assumptions
    assert trace.origin.command.endswith(f" -o workloads/measured/{name}.json.gz")
    kinds = Counter(operation.kind for operation in trace.operations)
    assert kinds["norm"] or name.startswith("vgg")
    assert kinds["activation"]
    assert kinds["add"] or name.startswith(("vgg", "densenet"))
    assert kinds["loss"] or name.endswith(("layer_128", "layer_512", "1024"))


def test_only_products_on_data_need_no_input_gradient():
    for name in workload_names(measured=True):
        products = [operation.input_gradient for operation in load_trace(name).operations if operation.macs]
        starts_inside = name == "gpt2_medium_layer_512" or ("bert" in name and "layer" not in name)  # norm or embedding
        assert products == [starts_inside, *[True] * (len(products) - 1)], name


OF_EACH_FILE = (
    *("resnet18_imagenet", "vgg11_imagenet", "densenet121_imagenet", "efficientnet_b0_imagenet", "vit_b32_imagenet"),
    *("convnext_tiny_imagenet", "ssd300_resnet50_coco", "bert_large_pretraining_128", "sam_vit_l_1024"),
)


@pytest.mark.parametrize("name", OF_EACH_FILE)
def test_exported_again_it_is_the_same(name, tmp_path, capsys):
    pytest.importorskip("torch", reason="tracing needs the torch extra")
    from shipped_exporter import export_all

    again, shipped = load_trace(export_all().export(name, tmp_path)), load_trace(name)
    capsys.readouterr()
    assert again.model_copy(update={"origin": shipped.origin}) == shipped
    same = {"versions", "command", "exporter"}  # torch, the path of the output, accelsim
    assert again.origin.model_dump(exclude=same) == shipped.origin.model_dump(exclude=same)


def test_the_exporter_knows_every_measured_network():
    pytest.importorskip("torch", reason="tracing needs the torch extra")
    from shipped_exporter import export_all

    assert sorted(export_all().MEASURED) == workload_names(measured=True)


def test_they_are_listed_apart(capsys):
    assert main(["list", "workloads"]) == 0
    assert "resnet152_imagenet" not in capsys.readouterr().out
    assert main(["list", "measured"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[1:]] == workload_names(measured=True)
    assert main(["info", "resnet15_imagenet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: trace 'resnet15_imagenet': neither a file nor a shipped trace; did you mean 'resnet152_imagenet'?;"
        " shipped: bert_base_128, "
    )
    assert error.endswith(", and what accelsim list measured shows\n")


# Rows


def rows(name):
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


EXPECTED = {
    ("ResNet-50 v1.5", "ImageNet 224x224"): "resnet50_imagenet",
    ("ResNet-50 v1.5", "ImageNet"): "resnet50_imagenet",
    ("resnext101-32x4d", "ImageNet 224x224"): "resnext101_32x4d_imagenet",
    ("se-resnext101-32x4d", "ImageNet 224x224"): "se_resnext101_32x4d_imagenet",
    ("efficientnet-b0", "ImageNet"): "efficientnet_b0_imagenet",
    ("efficientnet-b4", "ImageNet"): "efficientnet_b4_imagenet",
    ("SSD300-ResNet50", "COCO 300x300 (SSD300 RN50)"): "ssd300_resnet50_coco",
    ("ViT-L (SAM encoder size, dense)", "1024px"): "sam_vit_l_1024",
    ("BERT-Base SQuAD finetune", "seq 384"): "bert_base_squad_384",
    ("BERT-Large SQuAD finetune", "seq 384"): "bert_large_squad_384",
    ("BERT-Large pretrain", "seq 128"): "bert_large_pretraining_128",
    ("BERT-Large pretrain", "seq 512"): "bert_large_pretraining_512",
    ("GPT-2 layer fwd+bwd", "transformer layer"): "gpt2_medium_layer_512",
    ("mobilenetv2_100", "synthetic 224px"): "mobilenet_v2_imagenet",
    ("vit_base_patch16_224", "synthetic 224px"): "vit_b16_imagenet",
    ("vit_base_patch32_224", "synthetic 224px"): "vit_b32_imagenet",
    ("vit_large_patch16_224", "synthetic 224px"): "vit_l16_imagenet",
    **{
        (model, "synthetic 224px"): f"{model}_imagenet"
        for model in (
            *("convnext_tiny", "densenet121", "efficientnet_b0", "resnet101", "resnet34", "resnext50_32x4d"),
            *("vgg11", "vgg16", "wide_resnet50_2"),
        )
    },
    **{
        (model, "synthetic 224x224"): f"{model}_imagenet"
        for model in (
            *("densenet121", "densenet161", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
            *("vgg16", "vgg19"),
        )
    },
}
"""The network of each row of the file by (model, input); there is none without one."""


def test_every_row_has_a_network():
    measured = rows("training_throughput.csv")
    assert len({row["id"] for row in measured}) == len(measured) == 278
    assert {(row["model"], row["input"]) for row in measured} == set(EXPECTED)
    for row in measured:
        assert trace_for(row["model"], row["input"], row["unit"]) == EXPECTED[row["model"], row["input"]], row["id"]


def test_sparse_speedups_are_complete():
    pairs = rows("sparse_speedups.csv")
    assert len({row["id"] for row in pairs}) == len(pairs) == 508


def test_every_named_trace_is_shipped_and_every_measured_one_is_named():
    assert set(measured_traces()) <= {*workload_names(), *workload_names(measured=True)}
    assert set(workload_names(measured=True)) <= set(measured_traces())
    assert len(set(measured_traces())) == len(measured_traces())


@pytest.mark.parametrize(
    ("model", "input_", "unit", "expected"),
    [
        ("resnet50", "224", "img/s", "resnet50_imagenet"),
        ("ResNet50", "3x224x224", "images/sec", "resnet50_imagenet"),
        ("RESNET-50", "ImageNet-1k, 224 x 224", "samples/s", "resnet50_imagenet"),
        ("ResNet-50 v1.5 (ImageNet)", "", "img/s", "resnet50_imagenet"),
        ("torchvision.models.resnet50", "synthetic 224x224x3, bs 64", "img/s", "resnet50_imagenet"),
        ("resnet50.a1_in1k", "synthetic 224px", "img/s", "resnet50_imagenet"),
        ("resnet50 (pretrained)", "224\u00d7224", "img/s", "resnet50_imagenet"),
        ("RN50", "ILSVRC2012", "ips", "resnet50_imagenet"),
        ("resnet-152", "224px", "img/s", "resnet152_imagenet"),
        ("Wide ResNet-50-2", "ImageNet", "img/s", "wide_resnet50_2_imagenet"),
        ("ResNeXt-50 (32x4d)", "ImageNet", "img/s", "resnext50_32x4d_imagenet"),
        ("SE-ResNeXt101-32x4d", "ImageNet", "img/s", "se_resnext101_32x4d_imagenet"),
        ("VGG-16", "ImageNet", "img/s", "vgg16_imagenet"),
        ("densenet-121", "ImageNet", "img/s", "densenet121_imagenet"),
        ("mobilenet_v2", "ImageNet", "img/s", "mobilenet_v2_imagenet"),
        ("MobileNetV2 1.0", "224", "img/s", "mobilenet_v2_imagenet"),
        ("EfficientNet B0", "", "img/s", "efficientnet_b0_imagenet"),
        ("efficientnet-b4", "380x380", "img/s", "efficientnet_b4_imagenet"),
        ("ConvNeXt Tiny ImageNet", "", "img/s", "convnext_tiny_imagenet"),
        ("ConvNeXt-T", "224", "img/s", "convnext_tiny_imagenet"),
        ("vit_b_16", "ImageNet", "img/s", "vit_b16_imagenet"),
        ("ViT-B/16", "224", "img/s", "vit_b16_imagenet"),
        ("google/vit-base-patch16-224", "", "img/s", "vit_b16_imagenet"),
        ("deit_small_patch16_224", "224px", "img/s", "vit_s16_imagenet"),  # the same network
        ("vgg16_bn", "224", "img/s", "vgg16_bn_imagenet"),
        ("ViT-B/32", "224", "img/s", "vit_b32_imagenet"),
        ("vit_l_16", "224", "img/s", "vit_l16_imagenet"),
        ("SSD300 v1.1", "COCO 2017", "img/s", "ssd300_resnet50_coco"),
        ("bert-base-uncased", "seq 128", "seq/s", "bert_base_128"),
        ("bert-base-uncased", "seq_len=384", "sequences/s", "bert_base_squad_384"),
        ("BERT-Base SQuAD v1.1", "", "seq/s", "bert_base_squad_384"),
        ("BERT_base", "GLUE MRPC, 128 tokens", "seq/s", "bert_base_128"),
        ("BERT-Large finetuning", "SQuAD, max_seq_length 384", "seq/s", "bert_large_squad_384"),
        ("bert-large-uncased", "sequence length 512", "seq/s", "bert_large_pretraining_512"),
        ("BERT-Large Pretraining Phase 1", "seq128", "seq/s", "bert_large_pretraining_128"),
        ("BERT layer fwd+bwd", "transformer layer", "TFLOP/s", "bert_large_layer_128"),
        ("GPT-2 small", "seq 1024", "tokens/s", "gpt2_1024"),
        ("gpt2", "", "seq/s", "gpt2_1024"),
        ("GPT2", "WikiText-103, context 1024", "seq/s", "gpt2_1024"),
        ("gpt2", "1k context", "seq/s", "gpt2_1024"),
        ("Llama 3.2 1B", "seq 2048", "tok/s", "llama_1b_2048"),
        ("VGG-19", "CIFAR-100", "img/s", "vgg19_cifar100"),
        ("ResNet-18", "Tiny-ImageNet 64x64", "img/s", "resnet18_tinyimagenet"),
        ("ResNet-9", "CIFAR-10", "img/s", "resnet9_cifar10"),
    ],
)
def test_spellings(model, input_, unit, expected):
    assert trace_for(model, input_, unit) == expected
    assert trace_for(model.upper(), input_.upper(), unit.upper()) == expected


@pytest.mark.parametrize("name", measured_traces())
def test_the_name_of_a_trace_is_a_spelling(name):
    assert trace_for(name, "", "") == name


@pytest.mark.parametrize(
    ("model", "input_", "unit"),
    [
        ("ResNet-50 v1", "ImageNet", "img/s"),  # the stride on the first 1x1
        ("resnet50d", "224px", "img/s"),
        ("resnet50_gn", "224px", "img/s"),
        ("seresnet50", "224px", "img/s"),
        ("resnet5", "224px", "img/s"),
        ("wide_resnet101", "224px", "img/s"),
        ("resnext101_64x4d", "224px", "img/s"),
        ("resnext101", "224px", "img/s"),  # 32x4d or 32x8d
        ("vgg11_bn", "224px", "img/s"),
        ("densenet264", "224px", "img/s"),
        ("efficientnetv2_b0", "224px", "img/s"),
        ("efficientnet_lite0", "224px", "img/s"),
        ("mobilenetv2_050", "224px", "img/s"),
        ("mobilenet_v3_large", "224px", "img/s"),
        ("convnextv2_tiny", "224px", "img/s"),
        ("vit_base_patch16_384", "384px", "img/s"),
        ("vit_base_patch8_224", "224px", "img/s"),
        ("deit_base_distilled_patch16_224", "224px", "img/s"),
        ("deit3_base_patch16_224", "224px", "img/s"),
        ("vit_large_patch14_224", "224px", "img/s"),
        ("ViT-L (SAM encoder size, dense)", "512px", "img/s"),
        ("SSD300", "COCO 300x300", "img/s"),  # VGG-16 in the paper
        ("SSD300-ResNet34", "COCO 300x300", "img/s"),
        ("SSD512-ResNet50", "COCO 512x512", "img/s"),
        ("bert-base-cased", "seq 128", "seq/s"),  # another vocabulary
        ("distilbert-base-uncased", "seq 128", "seq/s"),
        ("roberta-base", "seq 128", "seq/s"),
        ("BERT", "seq 128", "seq/s"),  # base or large
        ("gpt2-medium", "seq 1024", "seq/s"),
        ("T5 layer fwd+bwd", "transformer layer", "TFLOP/s"),
        ("transformer-xl base", "seq 192", "tok/s"),
        ("tacotron2", "LJSpeech", "mel/s"),
        ("", "", ""),
    ],
)
def test_another_network_is_none(model, input_, unit):
    assert trace_for(model, input_, unit) is None


@pytest.mark.parametrize(
    ("model", "input_", "unit"),
    [
        ("resnet50", "synthetic 160px", "img/s"),
        ("resnet50", "256x256", "img/s"),
        ("resnet50", "224x256", "img/s"),
        ("resnet50 @ 320", "ImageNet", "img/s"),
        ("resnet50", "128", "img/s"),
        ("efficientnet_b4", "synthetic 320px", "img/s"),
        ("ResNet-50", "CIFAR-10", "img/s"),
        ("ResNet-50", "ImageNet-21k", "img/s"),
        ("ResNet-18", "CIFAR-100 32x32", "img/s"),
        ("ResNet-50", "Tiny ImageNet", "img/s"),
        ("vgg19", "32x32", "img/s"),  # ten or a hundred classes
        ("BERT-Base SQuAD finetune", "seq 128", "seq/s"),
        ("BERT-Base pretrain", "seq 128", "seq/s"),
        ("BERT-Large SQuAD finetune", "seq 512", "seq/s"),
        ("BERT-Large pretrain", "", "seq/s"),  # 128 or 512
        ("bert-base-uncased", "", "seq/s"),
        ("bert-base-uncased", "seq 256", "seq/s"),
        ("gpt2", "seq 512", "seq/s"),
        ("Llama 3.2 1B", "4k", "seq/s"),
        ("Llama 3.2 1B", "131072 tokens", "seq/s"),
        ("GPT-2 layer fwd+bwd", "seq 1024", "TFLOP/s"),
        ("resnet50", "ImageNet", "seq/s"),
        ("bert-base-uncased", "seq 128", "img/s"),
    ],
)
def test_another_size_data_set_task_or_unit_is_none(model, input_, unit):
    assert trace_for(model, input_, unit) is None
