"""A decoder as in Llama 3 (Grattafiori et al., 2024): grouped-query attention, SwiGLU, RMS norm, rotary positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn pairs of features by an angle that grows with the position."""
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([-second, first], -1) * sine


class Attention(nn.Module):
    """Causal attention whose key and value heads are each shared by several query heads."""

    def __init__(self, width: int, heads: int, shared: int) -> None:
        super().__init__()
        self.size, self.repeats = width // heads, heads // shared
        self.q_proj = nn.Linear(width, heads * self.size, bias=False)
        self.k_proj = nn.Linear(width, shared * self.size, bias=False)
        self.v_proj = nn.Linear(width, shared * self.size, bias=False)
        self.o_proj = nn.Linear(heads * self.size, width, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotated(q, cosine, sine), rotated(k, cosine, sine)
        k, v = (shared.repeat_interleave(self.repeats, dim=1) for shared in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """SwiGLU: one projection gates the other."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention and MLP, each after a normalisation and around a shortcut."""

    def __init__(self, width: int, heads: int, shared: int, hidden: int) -> None:
        super().__init__()
        self.input_norm, self.attention = nn.RMSNorm(width), Attention(width, heads, shared)
        self.post_norm, self.mlp = nn.RMSNorm(width), Mlp(width, hidden)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        x = x + self.attention(self.input_norm(x), cosine, sine)
        return x + self.mlp(self.post_norm(x))


class Llama(nn.Module):
    """Embedding, layers, and an output layer that shares the weights of the embedding."""

    def __init__(
        self, *, words: int, width: int, depth: int, heads: int, shared: int, hidden: int, base: float = 500_000.0
    ) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(words, width)
        self.layers = nn.ModuleList(Layer(width, heads, shared, hidden) for _ in range(depth))
        self.norm = nn.RMSNorm(width)
        self.base, self.size = base, width // heads

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)
        rates = self.base ** (-torch.arange(0, self.size, 2, device=tokens.device) / self.size)
        angles = (torch.arange(tokens.shape[1], device=tokens.device)[:, None] * rates).repeat(1, 2)
        cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for layer in self.layers:
            x = layer(x, cosine, sine)
        return F.linear(self.norm(x), self.embed_tokens.weight)


def llama_1b() -> nn.Module:
    """Return a decoder with the sizes of Llama 3.2 1B."""
    return Llama(words=128_256, width=2048, depth=16, heads=32, shared=8, hidden=8192)
