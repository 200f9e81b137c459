"""Regenerate the shipped traces, all or the named ones: ``python workloads/models/export_all.py [NAME...]``."""

import sys
from pathlib import Path

from accelsim.cli.trace import trace_command
from accelsim.errors import AccelsimError

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
}  # fmt: skip
"""Shipped name: definition, input, and what the definition decides that its source leaves open."""


def export(name: str, folder: Path) -> Path:
    """Trace one shipped workload into `folder` as ``accelsim trace`` does, and return the file."""
    target, spec, assumptions = WORKLOADS[name]
    output = folder / f"{name}.json"
    options = [word for text in assumptions for word in ("--assume", text)]
    words = [str(MODELS / target), "--input", spec, "--name", name, *options, "-o", str(output)]
    trace_command.main(words, prog_name="accelsim trace", standalone_mode=False)
    return output


if __name__ == "__main__":
    try:
        for chosen in sys.argv[1:] or WORKLOADS:
            if chosen not in WORKLOADS:
                sys.exit(f"'{chosen}' is not shipped; shipped: {', '.join(WORKLOADS)}")
            export(chosen, MODELS.parent)
    except AccelsimError as error:
        sys.exit(str(error))
