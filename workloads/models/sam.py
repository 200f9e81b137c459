"""The image encoder of Segment Anything (Kirillov et al., 2023): a vision transformer, mostly in windows."""

import torch
import torch.nn.functional as F
from convnext import ChannelNorm
from torch import Tensor, nn

WINDOW = 14


class Attention(nn.Module):
    """Self-attention over a square of tokens, biased by relative row and column (decomposed, as in MViTv2)."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rows = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
        self.columns = nn.Parameter(torch.zeros(2 * size - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        size = self.size
        q, k, v = self.qkv(x.flatten(1, 2)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        place = torch.arange(size, device=x.device)
        between = place[:, None] - place + size - 1
        square = q.unflatten(2, (size, size))
        rows = torch.einsum("bnhwc,hkc->bnhwk", square, self.rows[between])
        columns = torch.einsum("bnhwc,wkc->bnhwk", square, self.columns[between])
        bias = (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(y.transpose(1, 2).flatten(2)).unflatten(1, (size, size))


class Block(nn.Module):
    """Attention, in windows or over the whole image, and MLP, each after a normalisation and around a shortcut."""

    def __init__(self, width: int, heads: int, size: int, *, windowed: bool) -> None:
        super().__init__()
        self.windowed = windowed
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, heads, WINDOW if windowed else size)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + (self._in_windows(y) if self.windowed else self.attn(y))
        return x + self.mlp(self.norm2(x))

    def _in_windows(self, x: Tensor) -> Tensor:
        size = x.shape[1]
        x = F.pad(x, (0, 0, 0, -size % WINDOW, 0, -size % WINDOW))
        count = x.shape[1] // WINDOW
        x = x.unflatten(2, (count, WINDOW)).unflatten(1, (count, WINDOW)).transpose(2, 3).flatten(0, 2)
        x = self.attn(x).unflatten(0, (-1, count, count))
        return x.transpose(2, 3).flatten(1, 2).flatten(2, 3)[:, :size, :size]


class ImageEncoder(nn.Module):
    """Patches of 16x16 through a stack of blocks, four of them global, and a neck of two convolutions."""

    def __init__(self, *, image: int, width: int, depth: int, heads: int, neck: int = 256) -> None:
        super().__init__()
        size, quarter = image // 16, depth // 4
        self.patch_embed = nn.Conv2d(3, width, 16, 16)
        self.position = nn.Parameter(torch.zeros(1, size, size, width))
        self.blocks = nn.Sequential(
            *(Block(width, heads, size, windowed=bool((position + 1) % quarter)) for position in range(depth))
        )
        self.neck = nn.Sequential(
            *(nn.Conv2d(width, neck, 1, bias=False), ChannelNorm(neck)),
            *(nn.Conv2d(neck, neck, 3, padding=1, bias=False), ChannelNorm(neck)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patch_embed(x).permute(0, 2, 3, 1) + self.position)
        return self.neck(x.permute(0, 3, 1, 2))


def sam_vit_l() -> nn.Module:
    """Return the encoder of the size of ViT-L for images of 1024x1024."""
    return ImageEncoder(image=1024, width=1024, depth=24, heads=16)
