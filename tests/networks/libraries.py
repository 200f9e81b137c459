"""The networks of ``table.py``, by library, each at a tiny size and without weights from anywhere."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

# torchvision registers operators that a CPU build of torch lacks; timm uses none of them.
_STUBS = torch.library.Library("torchvision", "DEF")
for _signature in ("nms(Tensor d, Tensor s, float t) -> Tensor", "qnms(Tensor d, Tensor s, float t) -> Tensor"):
    _STUBS.define(_signature)

Inputs = Callable[[int], Any]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network: how to make it and its inputs for a number of samples.

    `batch`: what the tracer is told, where the first dimension of the inputs is not the batch; `grows`: whether the
    trace is held against a larger batch, too.
    """

    name: str
    library: str
    make: Callable[[], nn.Module]
    inputs: Inputs
    batch: int | None = None
    grows: bool = True
    remark: str = ""


def images(side: int, channels: int = 3) -> Inputs:
    return lambda samples: (torch.randn(samples, channels, side, side),)


def tokens(length: int, words: int = 100, **more: Any) -> Inputs:
    return lambda samples: {"input_ids": torch.randint(words, (samples, length)), **more}


# -- timm ---------------------------------------------------------------------------------------------------------

_TIMM = {
    "resnet18": 64, "resnet26d": 64, "resnext50_32x4d": 64, "seresnet50": 64, "densenet121": 64, "vgg11": 32,
    "mobilenetv3_small_050": 64, "mobilenetv2_050": 64, "efficientnet_lite0": 64, "mnasnet_small": 64, "fbnetc_100": 64,
    "regnetx_002": 64, "regnety_002": 64, "ghostnet_050": 64, "mobileone_s0": 64, "repvgg_a0": 64, "rexnet_100": 64,
    "tinynet_e": 64, "lcnet_035": 64, "dla34": 64, "hrnet_w18_small": 64, "cspresnet50": 64, "convnext_atto": 64,
    "convnextv2_atto": 64, "edgenext_xx_small": 64, "mobilevit_xxs": 64, "poolformer_s12": 64, "inception_v3": 96,
    "vit_tiny_patch16_224": 64, "deit_tiny_patch16_224": 64, "mixer_s32_224": 224, "resmlp_12_224": 224,
    "xcit_nano_12_p16_224": 64, "pit_ti_224": 64, "swin_tiny_patch4_window7_224": 224, "levit_128s": 224,
    "nf_resnet26": 64, "res2net50_26w_4s": 64,
}  # fmt: skip
_SIZED = ("vit_", "deit_", "xcit_", "pit_")


def _timm(name: str, side: int) -> nn.Module:
    import timm

    sized = {"img_size": side} if name.startswith(_SIZED) else {}
    return timm.create_model(name, num_classes=10, **sized)


def timm_networks() -> Iterator[Network]:
    for name, side in _TIMM.items():
        yield Network(name=name, library="timm", make=partial(_timm, name, side), inputs=images(side))


# -- transformers ---------------------------------------------------------------------------------------------------

_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 100,
}
_CAUSAL = {**_SIZES, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0}
_OLD = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 100}
_SEQ = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 100}  # fmt: skip
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 100}
_EXPERTS = {**_CAUSAL, "num_local_experts": 4, "num_experts_per_tok": 2, "experts_implementation": "eager"}
_TEXT = {
    "Bert": ("BertForMaskedLM", _SIZES), "Roberta": ("RobertaForMaskedLM", _SIZES), "Electra": ("ElectraForMaskedLM", _SIZES),
    "Albert": ("AlbertForMaskedLM", {**_SIZES, "embedding_size": 16}), "DebertaV2": ("DebertaV2ForMaskedLM", _SIZES),
    "DistilBert": ("DistilBertForMaskedLM", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "vocab_size": 100}),
    "GPT2": ("GPT2LMHeadModel", _OLD), "GPTNeoX": ("GPTNeoXForCausalLM", _SIZES), "Bloom": ("BloomForCausalLM", _OLD),
    "OPT": ("OPTForCausalLM", {**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32}), "Llama": ("LlamaForCausalLM", _CAUSAL),
    "Mistral": ("MistralForCausalLM", _CAUSAL), "Qwen2": ("Qwen2ForCausalLM", _CAUSAL), "Phi": ("PhiForCausalLM", _CAUSAL),
    "Gemma": ("GemmaForCausalLM", {**_CAUSAL, "head_dim": 8}), "Falcon": ("FalconForCausalLM", _SIZES),
    "StableLm": ("StableLmForCausalLM", _CAUSAL), "Mixtral": ("MixtralForCausalLM", _EXPERTS),
    "XLNet": ("XLNetLMHeadModel", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "vocab_size": 100}),
}  # fmt: skip


def _transformers(config: str, model: str, sizes: dict[str, Any]) -> nn.Module:
    import transformers

    experts = sizes.get("experts_implementation")
    sizes = {key: value for key, value in sizes.items() if key != "experts_implementation"}
    made = getattr(transformers, f"{config}Config")(**sizes)
    if experts:
        made._experts_implementation = experts
    return getattr(transformers, model)(made)


def transformers_networks() -> Iterator[Network]:
    yes = {"library": "transformers"}
    for config, (model, sizes) in _TEXT.items():
        more = (
            {"remark": "which expert gets a token depends on the batch", "grows": False} if config == "Mixtral" else {}
        )
        yield Network(name=model, make=partial(_transformers, config, model, sizes), inputs=tokens(8), **yes, **more)

    def both(samples: int) -> dict[str, Tensor]:
        return {
            "input_ids": torch.randint(100, (samples, 8)),
            "decoder_input_ids": torch.randint(100, (samples, 6)),
        }

    for config, model, sizes in (
        ("T5", "T5ForConditionalGeneration", _T5),
        ("Bart", "BartForConditionalGeneration", _SEQ),
    ):
        yield Network(name=model, make=partial(_transformers, config, model, sizes), inputs=both, **yes)
    vision = {
        **{k: v for k, v in _SIZES.items() if k != "vocab_size"},
        "image_size": 32,
        "patch_size": 8,
        "num_labels": 10,
    }

    def pixels(samples: int) -> dict[str, Tensor]:
        return {"pixel_values": torch.randn(samples, 3, 32, 32)}

    for config in ("ViT", "DeiT", "Beit"):
        make = partial(_transformers, config, f"{config}ForImageClassification", vision)
        yield Network(name=f"{config}ForImageClassification", make=make, inputs=pixels, **yes)
    segformer = {"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16], "patch_sizes": [7, 3],
                 "strides": [4, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 16}  # fmt: skip
    make = partial(_transformers, "Segformer", "SegformerForSemanticSegmentation", segformer)
    yield Network(name="SegformerForSemanticSegmentation", make=make, inputs=pixels, **yes)


# -- the others -----------------------------------------------------------------------------------------------------


def _adapted(kind: str, **settings: Any) -> nn.Module:
    import peft

    model = _transformers("Llama", "LlamaForCausalLM", _CAUSAL)
    return peft.get_peft_model(model, getattr(peft, kind)(target_modules=["q_proj", "v_proj", "down_proj"], **settings))


def peft_networks() -> Iterator[Network]:
    kinds: dict[str, dict[str, Any]] = {
        "LoraConfig": {"r": 4}, "LoHaConfig": {"r": 4}, "LoKrConfig": {"r": 4},
        "IA3Config": {"feedforward_modules": ["down_proj"]}, "VeraConfig": {"r": 4},
    }  # fmt: skip
    for kind, settings in kinds.items():
        make = partial(_adapted, kind, **settings)
        yield Network(name=f"Llama with {kind.removesuffix('Config')}", library="peft", make=make, inputs=tokens(8))


def _graph(nodes: int = 12, edges: int = 40) -> Inputs:
    def inputs(samples: int) -> tuple[Tensor, Tensor]:
        return torch.randn(nodes, 8), torch.randint(nodes, (2, edges))

    return inputs


def _geometric(kind: str) -> nn.Module:
    from torch_geometric.nn import models

    return getattr(models, kind)(in_channels=8, hidden_channels=16, num_layers=2, out_channels=4)


def geometric_networks() -> Iterator[Network]:
    for kind in ("GCN", "GraphSAGE", "GIN", "GAT", "PNA", "EdgeCNN"):
        if kind != "PNA":
            yield Network(name=kind, library="torch_geometric", make=partial(_geometric, kind), inputs=_graph(), batch=1,
                          grows=False, remark="one graph")  # fmt: skip


def _private() -> nn.Module:
    from opacus import GradSampleModule

    return GradSampleModule(nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)
    ))  # fmt: skip


def opacus_networks() -> Iterator[Network]:
    yield Network(name="CNN with per-sample gradients", library="opacus", make=_private, inputs=images(8))


def _diffusers(kind: str, **settings: Any) -> nn.Module:
    import diffusers

    return getattr(diffusers, kind)(**settings)


def diffusers_networks() -> Iterator[Network]:
    def noisy(samples: int) -> dict[str, Tensor]:
        return {"sample": torch.randn(samples, 3, 16, 16), "timestep": torch.full((samples,), 7)}

    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    unet = partial(_diffusers, "UNet2DModel", sample_size=16, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4,
                   attention_head_dim=8, **blocks)  # fmt: skip
    yield Network(name="UNet2DModel", library="diffusers", make=unet, inputs=noisy)
    vae = partial(_diffusers, "AutoencoderKL", block_out_channels=(8, 16), norm_num_groups=4, latent_channels=2,
                  down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)  # fmt: skip
    yield Network(name="AutoencoderKL", library="diffusers", make=vae, inputs=images(16))
    dit = partial(_diffusers, "DiTTransformer2DModel", num_attention_heads=2, attention_head_dim=8, in_channels=4, num_layers=2,
                  sample_size=8, patch_size=2, num_embeds_ada_norm=10, norm_num_groups=4)  # fmt: skip

    def classes(samples: int) -> dict[str, Tensor]:
        times, labels = torch.full((samples,), 3), torch.randint(10, (samples,))
        return {"hidden_states": torch.randn(samples, 4, 8, 8), "timestep": times, "class_labels": labels}

    yield Network(name="DiTTransformer2DModel", library="diffusers", make=dit, inputs=classes)


NETWORKS = (
    *timm_networks(), *transformers_networks(), *peft_networks(), *geometric_networks(), *opacus_networks(),
    *diffusers_networks(),
)  # fmt: skip
