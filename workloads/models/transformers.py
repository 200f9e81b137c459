"""BERT (Devlin et al., 2019) for classification, questions and pretraining; GPT-2 (Radford et al., 2019)."""

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


class BertEncoder(nn.Module):
    """Token, position and segment embeddings, and a stack of blocks; each task adds its head."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12, words: int = 30522) -> None:
        super().__init__()
        self.word = nn.Embedding(words, width)
        self.position, self.segment = nn.Embedding(512, width), nn.Embedding(2, width)
        self.ln, self.drop = nn.LayerNorm(width), nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(
            *(Block(width, heads, causal=False, norm_first=False, activation=nn.GELU()) for _ in range(depth))
        )

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the features of each token."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.word(tokens) + self.segment(torch.zeros_like(tokens)) + self.position(positions)
        return self.blocks(self.drop(self.ln(x)))


class Bert(BertEncoder):
    """Encoder with pooler and a linear classifier of the first token."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12, classes: int = 2) -> None:
        super().__init__(width, depth, heads)
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(width, classes))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.classifier(self.pooler(self.encode(tokens)[:, 0]))


class BertForQuestions(BertEncoder):
    """Encoder that scores each token as the start and as the end of the answer."""

    def __init__(self, width: int, depth: int, heads: int, words: int) -> None:
        super().__init__(width, depth, heads, words)
        self.ends = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.ends(self.encode(tokens)).transpose(1, 2)


class BertForPretraining(BertEncoder):
    """Encoder that scores the words at the masked positions, with tied weights, and whether two sentences follow."""

    def __init__(self, width: int, depth: int, heads: int, words: int) -> None:
        super().__init__(width, depth, heads, words)
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(words))
        self.pooler, self.follows = nn.Sequential(nn.Linear(width, width), nn.Tanh()), nn.Linear(width, 2)

    def forward(self, tokens: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        x = self.encode(tokens)
        chosen = x.gather(1, masked[:, :, None].expand(-1, -1, x.shape[2]))
        return F.linear(self.transform(chosen), self.word.weight, self.bias), self.follows(self.pooler(x[:, 0]))


def pretraining_loss(out: tuple[Tensor, Tensor]) -> Tensor:
    """Return the cross entropy of the masked words plus that of the next sentence, against random targets."""
    words, follows = out[0].flatten(0, 1), out[1]
    targets = torch.randint(words.shape[1], (len(words),), device=words.device)
    return F.cross_entropy(words, targets) + F.cross_entropy(follows, targets[: len(follows)] % 2)


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


NVIDIA_WORDS = 30528
"""The vocabulary of BERT filled up to a multiple of 8."""


def bert_base_squad() -> nn.Module:
    """Return BERT-base for SQuAD."""
    return BertForQuestions(768, 12, 12, NVIDIA_WORDS)


def bert_large_squad() -> nn.Module:
    """Return BERT-large for SQuAD."""
    return BertForQuestions(1024, 24, 16, NVIDIA_WORDS)


def bert_large_pretraining() -> nn.Module:
    """Return BERT-large for pretraining."""
    return BertForPretraining(1024, 24, 16, NVIDIA_WORDS)


def bert_large_layer() -> nn.Module:
    """Return one block of BERT-large."""
    return Block(1024, 16, causal=False, norm_first=False, activation=nn.GELU())


def gpt2_medium_layer() -> nn.Module:
    """Return one block of GPT-2 medium."""
    return Block(1024, 16, causal=True, norm_first=True, activation=nn.GELU("tanh"))
