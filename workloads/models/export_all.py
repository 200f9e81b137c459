"""Regenerate the shipped traces, all or the named ones: ``python workloads/models/export_all.py [NAME...]``.

Those of sparse models train them first, in seconds, on the handwritten digits of scikit-learn.
"""

import importlib
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from accelsim.base.errors import AccelsimError
from accelsim.cli.trace import trace_command
from accelsim.workload.masks_file import beside
from accelsim.workload.trace import save_trace
from accelsim.workload.tracer import trace

MODELS = Path(__file__).resolve().parent
PAPER = "Fang et al. (TCAD 2023)"

WORKLOADS = {
    "resnet9_cifar10": ("resnet.py:resnet9_cifar10", "3x32x32", (
        f"{PAPER} name ResNet-9 without a definition: the DAWNBench network for CIFAR-10",
    )),
    "vgg19_cifar100": ("vgg.py:vgg19_cifar100", "3x32x32", (
        f"{PAPER} leave the classifier open: one linear layer 512 to 100, usual on CIFAR, not three of 4096",
        "batch normalisation after every convolution",
    )),
    "vit_cifar100": ("vit.py:vit_cifar100", "3x32x32", (
        f"{PAPER} leave patch, width, depth and heads open: patch 4 (64 patches and a class token)",
        "width 384, depth 7, 12 heads, MLP 1536 (four times the width), no dropout",
    )),
    "resnet18_tinyimagenet": ("resnet.py:resnet18_tinyimagenet", "3x64x64", (
        f"{PAPER} leave the stem open: the ImageNet stem, 7x7 with stride 2 and a 3x3 pool",
    )),
    "resnet18_tinyimagenet_3x3": ("resnet.py:resnet18_tinyimagenet_3x3", "3x64x64", (
        f"{PAPER} leave the stem open: the CIFAR stem, 3x3 with stride 1 and no pool",
    )),
    "resnet50_imagenet": ("resnet.py:resnet50_imagenet", "3x224x224", (
        "the stride of a bottleneck stands on its 3x3 convolution (v1.5)",
    )),
    "bert_base_128": ("transformers.py:bert_base", "128:int64:30522", (
        "sequence 128 without padding; pooler and a classifier of 2 classes; dropout 0.1",
    )),
    "gpt2_1024": ("transformers.py:gpt2", "1024:int64:50257", (
        "GPT-2 small, sequence 1024; output layer tied to the token embedding; dropout 0.1",
        "attention is computed in full: the causal mask saves no work",
    )),
    "vit_b16_imagenet": ("vit.py:vit_b16_imagenet", "3x224x224", ("no dropout; the class token is classified",)),
    "llama_1b_2048": ("llama.py:llama_1b", "2048:int64:128256", (
        "the sizes of Llama 3.2 1B (16 layers of 2048, 32 heads that share 8 keys and values, MLP 8192), sequence 2048",
        "attention is computed in full: the causal mask saves no work; rotary angles are constants",
    )),
    "mobilenet_v2_imagenet": ("mobilenet.py:mobilenet_v2", "3x224x224", ("width 1.0, dropout 0.2",)),
}  # fmt: skip
"""Shipped name: definition, input, and what the definition decides that its source leaves open. The loss of each is the
cross-entropy over its classes or its vocabulary."""

_CLASSES, _IMAGE = "cross-entropy", "3x224x224"
_STRIDE = "the stride of a block stands on its 3x3 convolution (v1.5)"
_NO_DROP_PATH = "no stochastic depth"
_VIT = ("no dropout; the class token is classified",)
_WORDS = "the vocabulary filled up to 30528, as in NVIDIA's scripts"
_DATA = "scikit-learn's handwritten digits (1x8x8); operands of four training steps of 64 images, masks of the last"
SPARSE = {
    "resnet9_digits_bdwp_2of8": ("resnet9_digits_bdwp", (_DATA, "a narrow ResNet-9, trained 6 epochs with BDWP 2:8")),
    "resnet9_digits_2of4": ("resnet9_digits_2of4", (_DATA, "a narrow ResNet-9, trained 6 epochs with SR-STE 2:4")),
    "resnet9_digits_pruned": ("resnet9_digits_pruned", (
        _DATA, "a narrow ResNet-9, half of its weights pruned by magnitude without a pattern, trained 2 epochs more",
    )),
}  # fmt: skip
"""Traces of sparse models by name: factory in digits.py, what was done."""

MEASURED = {
    **{f"resnet{depth}_imagenet": (f"resnet.py:resnet{depth}_imagenet", _IMAGE, _CLASSES, (_STRIDE,))
       for depth in (18, 34, 101, 152)},
    **{f"{name}_imagenet": (f"resnet.py:{name}_imagenet", _IMAGE, _CLASSES, (_STRIDE,))
       for name in ("wide_resnet50_2", "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d")},
    "se_resnext101_32x4d_imagenet": ("resnet.py:se_resnext101_32x4d_imagenet", _IMAGE, _CLASSES, (
        _STRIDE, "squeeze to a 16th of the channels, with biases, as in NVIDIA's DeepLearningExamples",
    )),
    **{f"vgg{depth}_imagenet": (f"vgg.py:vgg{depth}_imagenet", _IMAGE, _CLASSES, (
        "no batch normalisation; three linear layers, dropout 0.5",
    )) for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}_bn_imagenet": (f"vgg.py:vgg{depth}_bn_imagenet", _IMAGE, _CLASSES, (
        "batch normalisation after every convolution; three linear layers, dropout 0.5",
    )) for depth in (16, 19)},
    **{f"densenet{depth}_imagenet": (f"densenet.py:densenet{depth}_imagenet", _IMAGE, _CLASSES, (
        "each layer concatenates its inputs anew, as in torchvision without checkpointing",
    )) for depth in (121, 161, 169, 201)},
    "efficientnet_b0_imagenet": ("efficientnet.py:efficientnet_b0_imagenet", _IMAGE, _CLASSES, (_NO_DROP_PATH,)),
    "efficientnet_b4_imagenet": ("efficientnet.py:efficientnet_b4_imagenet", "3x380x380", _CLASSES, (_NO_DROP_PATH,)),
    **{f"convnext_{size}_imagenet": (f"convnext.py:convnext_{size}_imagenet", _IMAGE, _CLASSES, (_NO_DROP_PATH,))
       for size in ("tiny", "small", "base")},
    **{f"vit_{size}_imagenet": (f"vit.py:vit_{size}_imagenet", _IMAGE, _CLASSES, _VIT)
       for size in ("s16", "b32", "l16")},
    "sam_vit_l_1024": ("sam.py:sam_vit_l", "3x1024x1024", None, (
        "windows of 14x14 on the 64x64 patches filled up to 70x70; four global blocks",
        "what follows the encoder is left out",
    )),
    "ssd300_resnet50_coco": ("ssd.py:ssd300_resnet50", "3x300x300", "ssd.py:loss", (
        "the sizes of NVIDIA's DeepLearningExamples: ResNet-50 to its third stage, which keeps 38x38",
        "8732 boxes of 81 classes; random boxes as targets, the hardest negatives by sorting",
    )),
    **{f"bert_{size}_squad_384": (f"transformers.py:bert_{size}_squad", "384:int64:30528", _CLASSES, (
        _WORDS, "sequence 384 without padding; no pooler; start and end of the answer are scored; dropout 0.1",
    )) for size in ("base", "large")},
    **{f"bert_large_pretraining_{length}": (
        "transformers.py:bert_large_pretraining", (f"{length}:int64:30528", f"{masked}:int64:{length}"),
        "transformers.py:pretraining_loss",
        (_WORDS, f"sequence {length} without padding, {masked} masked positions; dropout 0.1"),
    ) for length, masked in ((128, 20), (512, 80))},
    "bert_large_layer_128": ("transformers.py:bert_large_layer", "128x1024", None, (
        "one layer with the sizes of BERT-large, sequence 128, as in mli/transformers-benchmarks; dropout 0.1",
    )),
    "gpt2_medium_layer_512": ("transformers.py:gpt2_medium_layer", "512x1024", None, (
        "one layer with the sizes of GPT-2 medium, sequence 512, as in mli/transformers-benchmarks; dropout 0.1",
        "attention is computed in full: the causal mask saves no work",
    )),
}  # fmt: skip
"""Networks whose training throughput was measured (`accelsim.workload.measured`), and their larger and smaller
relatives: with a loss, shipped packed.
"""


def export(name: str, folder: Path) -> Path:
    """Trace one shipped workload into `folder` and return the file."""
    if name in SPARSE:
        return _export_sparse(name, folder)
    if name in MEASURED:
        target, specs, loss, assumptions = MEASURED[name]
        loss = str(MODELS / loss) if loss and ":" in loss else loss
        output = folder / "measured" / f"{name}.json.gz"
        output.parent.mkdir(exist_ok=True)
    else:
        (target, specs, assumptions), loss = WORKLOADS[name], _CLASSES
        output = folder / f"{name}.json"
    inputs = [f"--input={spec}" for spec in ([specs] if isinstance(specs, str) else specs)]
    options = [f"--loss={loss}"] * bool(loss) + [word for text in assumptions for word in ("--assume", text)]
    words = [str(MODELS / target), *inputs, "--name", name, *options, "-o", str(output)]
    with torch.device("meta"):  # nothing to initialise
        trace_command.main(words, prog_name="accelsim trace", standalone_mode=False)
    return output


def _export_sparse(name: str, folder: Path) -> Path:
    sys.path.insert(0, str(MODELS))
    try:
        digits = importlib.import_module("digits")
    finally:
        sys.path.remove(str(MODELS))
    factory, assumptions = SPARSE[name]
    torch.set_num_threads(1)  # sums in one order
    model, data, output = getattr(digits, factory)(), digits.Digits.load(), folder / f"{name}.json"
    batches = iter(zip(data.images.split(digits.BATCH), data.classes.split(digits.BATCH), strict=True))

    def step() -> torch.Tensor:
        images, classes = next(batches)
        return F.cross_entropy(model(images), classes)

    made = trace(
        step, model, steps=4, name=name, masks=beside(output), assumptions=assumptions,
        source=f"workloads/models/digits.py:{factory}", command=f"python workloads/models/export_all.py {name}",
    )  # fmt: skip
    save_trace(made, output)
    return output


if __name__ == "__main__":
    try:
        shipped = [*WORKLOADS, *MEASURED, *SPARSE]
        for chosen in sys.argv[1:] or shipped:
            if chosen not in shipped:
                sys.exit(f"'{chosen}' is not shipped; shipped: {', '.join(shipped)}")
            export(chosen, MODELS.parent)
    except AccelsimError as error:
        sys.exit(str(error))
