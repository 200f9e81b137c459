"""Which shipped trace is the network of a row of measured training throughput.

`accelsim.data`'s ``training_throughput.csv`` names a network (`model`), what it was fed (`input`) and what was counted
(`unit`), each spelled as its source spells it. A row is matched by rules, not by a list of rows, so that rows from
other files with other spellings are recognised too. A different network, image size, sequence length, data set
(number of classes) or task is no match: better no prediction than that of another network.
"""

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["measured_traces", "trace_for"]

Kind = Literal["image", "sequence"]


@dataclass(frozen=True, slots=True)
class _Network:
    """A shipped trace and the spellings of its network.

    `name` is a regular expression for the model in small letters and digits alone, without words that tell nothing.
    `size` is the side of the square image in pixels, or the length of the sequence in tokens. `context` is the data
    set or the task; the row must name it where it tells two traces apart (`named`), and may name no other.
    """

    trace: str
    name: str
    size: int
    kind: Kind = "image"
    context: str = "imagenet"
    named: bool = False


_BERT_BASE, _BERT_LARGE = r"bertb(ase)?(uncased)?", r"bertl(arge)?(uncased)?(wholewordmasking)?"

_NETWORKS = (
    *(_Network(f"resnet{n}_imagenet", rf"(resnet|rn){n}(v15|v1b)?", 224) for n in (18, 34, 50, 101, 152)),
    _Network("resnext50_32x4d_imagenet", r"resnext50(32x4d)?", 224),
    _Network("resnext101_32x4d_imagenet", r"resnext10132x4d", 224),
    _Network("resnext101_32x8d_imagenet", r"resnext10132x8d", 224),
    _Network("se_resnext101_32x4d_imagenet", r"(legacy)?seresnext10132x4d", 224),
    _Network("wide_resnet50_2_imagenet", r"wideresnet502|wrn502", 224),
    _Network("wide_resnet101_2_imagenet", r"wideresnet1012|wrn1012", 224),
    *(_Network(f"vgg{n}_imagenet", f"vgg{n}", 224) for n in (11, 13, 16, 19)),
    *(_Network(f"vgg{n}_bn_imagenet", f"vgg{n}bn", 224) for n in (16, 19)),
    *(_Network(f"densenet{n}_imagenet", f"densenet{n}", 224) for n in (121, 161, 169, 201)),
    _Network("efficientnet_b0_imagenet", r"efficientnet(v1)?b0", 224),
    _Network("efficientnet_b4_imagenet", r"efficientnet(v1)?b4", 380),
    _Network("mobilenet_v2_imagenet", r"mobilenetv2(100|10)?|mobilenetv210224", 224),
    _Network("vit_s16_imagenet", r"(vit|deit)s(mall)?(patch)?16(224)?", 224),
    _Network("vit_b16_imagenet", r"(vit|deit)b(ase)?(patch)?16(224)?", 224),
    _Network("vit_b32_imagenet", r"vitb(ase)?(patch)?32(224)?", 224),
    _Network("vit_l16_imagenet", r"vitl(arge)?(patch)?16(224)?", 224),
    _Network("convnext_tiny_imagenet", r"convnextt(iny)?", 224),
    _Network("convnext_small_imagenet", r"convnexts(mall)?", 224),
    _Network("convnext_base_imagenet", r"convnextb(ase)?", 224),
    _Network("sam_vit_l_1024", r"vitlsam((image)?encoder)?(size)?|sam(imageencoder)?vitl(arge)?", 1024, context="sa1b"),
    _Network("ssd300_resnet50_coco", r"ssd(300)?(v11)?(resnet50|rn50)|ssd300v11", 300, context="coco"),
    _Network("bert_base_128", _BERT_BASE, 128, "sequence", "classification"),
    _Network("bert_base_squad_384", _BERT_BASE, 384, "sequence", "squad"),
    _Network("bert_large_squad_384", _BERT_LARGE, 384, "sequence", "squad"),
    _Network("bert_large_pretraining_128", _BERT_LARGE, 128, "sequence", "pretraining"),
    _Network("bert_large_pretraining_512", _BERT_LARGE, 512, "sequence", "pretraining"),
    _Network("gpt2_1024", r"gpt2(s|small|124m|base)?", 1024, "sequence", "pretraining"),
    _Network("gpt2_medium_layer_512", r"gpt2(medium)?(transformer)?(layer|block)", 512, "sequence", "layer"),
    _Network("bert_large_layer_128", r"bert(large)?(transformer)?(layer|block)", 128, "sequence", "layer"),
    _Network("llama_1b_2048", r"llama(32)?1b", 2048, "sequence", "pretraining"),
    _Network("resnet9_cifar10", r"resnet9", 32, context="cifar10"),
    _Network("vgg19_cifar100", r"vgg19(bn)?", 32, context="cifar100", named=True),
    _Network("resnet18_tinyimagenet", r"resnet18", 64, context="tinyimagenet", named=True),
)  # fmt: skip

_CONTEXTS = {
    "tinyimagenet": r"(?<!next)(?<!next.)tiny[\s_-]*imagenet(?:[\s_-]*200)?",
    "imagenet": r"imagenet(?:[\s_-]*(?:1k|2012))?(?![\s_-]*\d\dk|[a-z0-9])|ilsvrc(?:[\s_-]*2012)?|(?<![a-z0-9])in1k",
    "another": r"imagenet[\s_-]*[a-z0-9]*|in2[12]k|mnist|svhn|food[\s_-]*101|flowers|celeba|lsun|openimages|pascal|voc",
    "cifar100": r"cifar[\s_-]*100",
    "cifar10": r"cifar[\s_-]*10(?!\d)",
    "coco": r"(?:ms[\s_-]*)?coco(?:[\s_-]*20\d\d)?",
    "sa1b": r"sa[\s_-]*1b",
    "squad": r"squad(?:[\s_-]*v?[12]\.\d)?|question[\s_-]*answering|(?<![a-z])qa(?![a-z])",
    "pretraining": r"pre[\s_-]*train(?:ing)?(?!ed)|phase[\s_-]*[12]|(?<![a-z])(?:mlm|nsp)(?![a-z])"
    r"|language[\s_-]*model(?:l?ing)?|wiki(?:pedia|corpus|text)?(?:[\s_-]*(?:2|103))?|book[\s_-]*s?corpus|books",
    "classification": r"(?:sequence[\s_-]*)?classification|glue|mnli|mrpc|cola|sst[\s_-]*2|qqp|qnli|imdb",
}  # fmt: skip
"""Data sets and tasks, each removed before the next is looked for."""

_SIZES = (
    r"(?<![a-z0-9.])(?:3\s*[x*\u00d7]\s*)?(\d{2,6})\s*[x*\u00d7]\s*(\d{2,6})(?:\s*[x*\u00d7]\s*3)?(?![a-z0-9])",
    r"(?<![a-z0-9.])(\d{2,6})[\s_-]*(?:px|pixels?)(?![a-z0-9])",
    r"(?<![a-z])(?:max[\s_-]*)?(?:seq(?:uence)?(?:[\s_-]*len(?:gth)?)?|sl|len(?:gth)?|context)[\s_=:-]*(\d{2,6})(?!\d)",
    r"(?<![a-z0-9.])(\d{2,6})[\s_-]*(?:tok(?:en)?s?|seq(?:uence)?)(?![a-z0-9])",
    r"@[\s_]*(\d{2,6})(?![a-z0-9])",
)
_BARE_SIZE = r"(?<![a-z0-9.])(\d{2,6})(?![a-z0-9.])"
_THOUSANDS = r"(?<![a-z0-9.])(\d{1,3})[\s_-]*k(?![a-z0-9])"
_NO_SIZE = r"(?:batch(?:[\s_-]*size)?|bs)[\s_=:-]*\d+|1000[\s_-]*classes|ssd[\s_-]*300|squad[\s_-]*v?[12]\.\d"

_SAYS_NOTHING = re.compile(
    r"torchvision|timm|pytorch|tensorflow|mxnet|jax|keras|huggingface|hf|nvidia|dle|google|facebook|openai|meta|mlperf"
    r"|train|training|fine|tune|tuning|finetune|finetuning|fwd|bwd|forward|backward|step|models?|network|dense|pre|pretrained"
    r"|synthetic|for|on|with|and|the|tv|a[123]|ra[23]?|fb|augreg|nhwc|nchw|amp|fp16|fp32|tf32|bf16|dataset|data"
)
_PART = re.compile(r"[a-z0-9]+")
_UNITS: dict[Kind, str] = {"image": r"im(?:a?g|age)s?\b|frames?\b|fps\b", "sequence": r"seq|sentence|tok"}


def measured_traces() -> list[str]:
    """Return the names of the traces that `trace_for` can return."""
    return [network.trace for network in _NETWORKS]


def trace_for(model: str, input: str, unit: str) -> str | None:  # noqa: A002 - the columns of the file
    """Return the name of the shipped trace of a row's network, or None where there is none.

    `model` and `input` are matched whatever the case and the punctuation. A size stands in either; without one the
    network's usual size is meant, if a single trace fits. `unit` must not count images of a text network or sequences
    of an image network.

    >>> trace_for("ResNet-50 v1.5", "ImageNet 224x224", "img/s"), trace_for("resnet50", "synthetic 160px", "img/s")
    ('resnet50_imagenet', None)
    """
    name, contexts_of_model = _without_contexts(model.lower())
    rest, contexts_of_input = _without_contexts(input.lower())
    name, sizes_of_model = _without_sizes(name)
    rest, sizes_of_input = _without_sizes(rest)
    bare = {int(size) for size in re.findall(_BARE_SIZE, re.sub(_NO_SIZE, " ", rest))}
    sizes = sizes_of_model | sizes_of_input | bare
    contexts = contexts_of_model | contexts_of_input
    compact = "".join(part for part in _PART.findall(name) if not _SAYS_NOTHING.fullmatch(part))
    found = [
        network.trace
        for network in _NETWORKS
        if (re.fullmatch(network.name, compact) or model.lower() == network.trace)
        and sizes <= {network.size}
        and contexts <= {network.context}
        and (contexts or not network.named)
        and not any(re.search(_UNITS[kind], unit.lower()) for kind in _UNITS if kind != network.kind)
    ]
    return found[0] if len(found) == 1 else None


def _without_contexts(text: str) -> tuple[str, set[str]]:
    """Return a text without the data sets and tasks in it, and those."""
    found = set()
    for context, pattern in _CONTEXTS.items():
        text, count = re.subn(pattern, " ", text)
        if count:
            found.add(context)
    return text, found


def _without_sizes(text: str) -> tuple[str, set[int]]:
    """Return a text without the sizes marked as such, and those; 2k is 2048."""
    found = {1024 * int(size) for size in re.findall(_THOUSANDS, text)}
    for pattern in _SIZES:
        found |= {int(size) for match in re.finditer(pattern, text) for size in match.groups() if size}
        text = re.sub(pattern, " ", text)
    return text, found
