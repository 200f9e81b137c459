"""BERT-base (Devlin et al., 2019) for classification and GPT-2 small (Radford et al., 2019) for language modelling."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DROPOUT = 0.1


class Attention(nn.Module):
    """Multi-head self-attention, causal or not, with dropout on the weights."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = DROPOUT if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, dropout_p=dropout)
        return self.proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and MLP around shortcuts, normalised before (GPT-2) or after the sum (BERT)."""

    def __init__(self, width: int, heads: int, *, causal: bool, norm_first: bool, activation: nn.Module) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attn = Attention(width, heads, causal=causal)
        self.ln_1, self.drop_1 = nn.LayerNorm(width), nn.Dropout(DROPOUT)
        self.ln_2, self.drop_2 = nn.LayerNorm(width), nn.Dropout(DROPOUT)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), activation, nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_first:
            x = x + self.drop_1(self.attn(self.ln_1(x)))
            return x + self.drop_2(self.mlp(self.ln_2(x)))
        x = self.ln_1(x + self.drop_1(self.attn(x)))
        return self.ln_2(x + self.drop_2(self.mlp(x)))


class Bert(nn.Module):
    """Encoder with token, position and segment embeddings, pooler and a linear classifier."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12, classes: int = 2) -> None:
        super().__init__()
        self.word = nn.Embedding(30522, width)
        self.position, self.segment = nn.Embedding(512, width), nn.Embedding(2, width)
        self.ln, self.drop = nn.LayerNorm(width), nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(
            *(Block(width, heads, causal=False, norm_first=False, activation=nn.GELU()) for _ in range(depth))
        )
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(width, classes))

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.word(tokens) + self.segment(torch.zeros_like(tokens)) + self.position(positions)
        x = self.blocks(self.drop(self.ln(x)))
        return self.classifier(self.pooler(x[:, 0]))


class Gpt2(nn.Module):
    """Decoder whose output layer shares the token embedding."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12, context: int = 1024) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(50257, width), nn.Embedding(context, width)
        self.drop = nn.Dropout(DROPOUT)
        self.h = nn.Sequential(
            *(Block(width, heads, causal=True, norm_first=True, activation=nn.GELU("tanh")) for _ in range(depth))
        )
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.h(self.drop(self.wte(tokens) + self.wpe(positions)))
        return F.linear(self.ln_f(x), self.wte.weight)


def bert_base() -> nn.Module:
    """Return BERT-base with a classifier of two classes."""
    return Bert()


def gpt2() -> nn.Module:
    """Return GPT-2 small, 124 million parameters."""
    return Gpt2()
