"""Vision transformers (Dosovitskiy et al., 2021)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and MLP, each after a normalisation and around a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches and a class token through a stack of blocks; the class token is classified."""

    def __init__(
        self, *, image: int, patch: int, width: int, depth: int, heads: int, hidden: int, classes: int
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), patches], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def vit_cifar100() -> nn.Module:
    """Return a small vision transformer for CIFAR-100."""
    return VisionTransformer(image=32, patch=4, width=384, depth=7, heads=12, hidden=1536, classes=100)


def vit_b16_imagenet() -> nn.Module:
    """Return ViT-B/16 for ImageNet at 224x224."""
    return VisionTransformer(image=224, patch=16, width=768, depth=12, heads=12, hidden=3072, classes=1000)


def vit_b32_imagenet() -> nn.Module:
    """Return ViT-B/32 for ImageNet at 224x224."""
    return VisionTransformer(image=224, patch=32, width=768, depth=12, heads=12, hidden=3072, classes=1000)


def vit_l16_imagenet() -> nn.Module:
    """Return ViT-L/16 for ImageNet at 224x224."""
    return VisionTransformer(image=224, patch=16, width=1024, depth=24, heads=16, hidden=4096, classes=1000)


def vit_s16_imagenet() -> nn.Module:
    """Return ViT-S/16 for ImageNet at 224x224."""
    return VisionTransformer(image=224, patch=16, width=384, depth=12, heads=6, hidden=1536, classes=1000)
