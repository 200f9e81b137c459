"""Networks that the tests of the importers record: how to build each, and its inputs (needs the torch extra)."""

import torch
import torch.nn.functional as F  # noqa: N812
from operations import definitions
from torch import nn
from torch.utils.checkpoint import checkpoint

resnet, transformers, vit = (definitions(file) for file in ("resnet", "transformers", "vit"))


class Apply(nn.Module):
    """A function of inputs and of the modules, parameters and buffers it names."""

    def __init__(self, function, buffers=(), **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if name in buffers:
                self.register_buffer(name, torch.ones(part))
            else:
                setattr(self, name, nn.Parameter(torch.randn(part) * 0.1) if isinstance(part, tuple) else part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


class Masked(torch.autograd.Function):
    @staticmethod
    def forward(context, x, weight, mask):
        context.save_for_backward(x, weight, mask)
        return F.linear(x, weight * mask)

    @staticmethod
    def backward(context, gradient):
        x, weight, mask = context.saved_tensors
        return gradient @ (weight * mask), gradient.flatten(0, -2).t() @ x.flatten(0, -2), None


class Convolve(torch.autograd.Function):
    @staticmethod
    def forward(context, x, weight):
        context.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=1)

    @staticmethod
    def backward(context, gradient):
        x, weight = context.saved_tensors
        return (
            nn.grad.conv2d_input(x.shape, weight, gradient, padding=1),
            nn.grad.conv2d_weight(x, weight.shape, gradient, padding=1),
        )


class TransposedLinear(nn.Module):
    """The linear layer of Hugging Face's GPT-2, its weight stored as inputs by outputs."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)


def autocast(module, x):
    with torch.autocast("cpu", torch.bfloat16):
        return module(x).float()


def without_gradient(module, x):
    with torch.no_grad():
        return F.relu(module(x))


def eager_attention(m, x):
    q, k, v = (t.view(*t.shape[:2], 3, 4).transpose(1, 2) for t in m.c(m.ln(x)).split(12, 2))
    scores = torch.matmul(q, k.transpose(-1, -2)) / 2.0
    mask = torch.tril(torch.ones(8, 8, dtype=torch.bool)).view(1, 1, 8, 8)
    weights = m.d(F.softmax(torch.where(mask, scores, torch.full([], -1e9)), -1))
    return x + m.d(m.p(torch.matmul(weights, v).transpose(1, 2).reshape(x.shape)))


def attention():
    return Apply(eager_attention, c=TransposedLinear(36, 12), p=TransposedLinear(12, 12), ln=nn.LayerNorm(12),
                 d=nn.Dropout(0.1))  # fmt: skip


def convnext(m, x):
    y = m.ln(m.dw(x).permute(0, 2, 3, 1))
    return x + (m.b(F.gelu(m.a(y))) * m.scale).permute(0, 3, 1, 2)


def unet(m, x):
    a = F.relu(m.norm(m.c1(x)))
    b = m.c2(F.max_pool2d(a, 2))
    up = F.interpolate(b, scale_factor=2, mode="bilinear")
    return m.c3(torch.cat([a, up, m.up(b)], 1)).sigmoid()


def frozen_start():
    block = resnet.BasicBlock(4, 8, 2)
    for part in (block.conv1, block.bn1):
        part.requires_grad_(False)
    return nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def low_rank(m, x):
    return m.head(m.base(x) + m.b(m.a(x)) * 2.0)


def checkpointed(reentrant, block, width):
    return lambda: Apply(
        lambda m, x: m.c(checkpoint(m.b, m.a(x), use_reentrant=reentrant)),
        a=nn.Linear(width, width), b=block(), c=nn.Linear(width, 2),
    )  # fmt: skip


def mlp():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 6), nn.ReLU())


def partly_frozen():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4).requires_grad_(False), nn.Linear(4, 6), nn.ReLU())


def encoder():
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)


def tied(m, x):
    return F.linear(m.e(x), m.e.weight)


NETWORKS = {
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 10),
        ), ["3x8x8"],
    ),
    "residual block": (lambda: resnet.BasicBlock(4, 8, 2), ["4x6x6"]),
    "grouped, dilated, transposed": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 8, 3, groups=8, dilation=2, padding=2),
            nn.ConvTranspose2d(8, 4, 4, 2, 1, 1), nn.Conv2d(4, 2, (3, 5), (2, 1), (1, 2)),
        ), ["4x9x9"],
    ),
    "1-D and 3-D": (
        lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.Flatten(2), nn.ConvTranspose1d(4, 2, 3), nn.Conv1d(2, 2, 3)),
        ["2x5x6x7"],
    ),
    "U-Net": (
        lambda: Apply(
            unet, c1=nn.Conv2d(3, 6, 3, padding=1), norm=nn.GroupNorm(2, 6), c2=nn.Conv2d(6, 6, 3, padding="same"),
            up=nn.ConvTranspose2d(6, 5, 2, 2), c3=nn.Conv2d(17, 2, 1),
        ), ["3x8x8"],
    ),
    "ConvNeXt block": (
        lambda: Apply(
            convnext, dw=nn.Conv2d(6, 6, 7, padding=3, groups=6), ln=nn.LayerNorm(6), a=nn.Linear(6, 24),
            b=nn.Linear(24, 6), scale=(6,),
        ), ["6x9x9"],
    ),
    "vision transformer": (
        lambda: vit.VisionTransformer(image=8, patch=4, width=8, depth=2, heads=2, hidden=16, classes=3), ["3x8x8"],
    ),
    "GPT-2": (lambda: transformers.Gpt2(width=8, depth=2, heads=2, context=6), ["6:int64:50257"]),
    "BERT": (lambda: transformers.Bert(width=8, depth=2, heads=2), ["6:int64:30522"]),
    "attention of Hugging Face": (attention, ["8x12"]),
    "the same under autocast": (lambda: Apply(lambda m, x: autocast(m.b, x), b=attention()), ["8x12"]),
    "encoder layer": (encoder, ["5x8"]),
    "encoder layer under autocast": (lambda: Apply(lambda m, x: autocast(m.b, x), b=encoder()), ["5x8"]),
    "decoder layer, weights in parts": (lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), ["5x8", "6x8"]),
    "frozen start": (frozen_start, ["4x6x6"]),
    "without gradient": (
        lambda: Apply(lambda m, x: m.b(without_gradient(m.a, x)), a=nn.Linear(4, 5), b=nn.Linear(5, 3)), ["4"],
    ),
    "low-rank adapters": (
        lambda: Apply(low_rank, base=nn.Linear(6, 8).requires_grad_(False), a=nn.Linear(6, 2, bias=False),
                      b=nn.Linear(2, 8, bias=False), head=nn.Linear(8, 3)), ["6"],
    ),
    "low-rank update of a weight": (
        lambda: Apply(lambda m, x: F.linear(x, m.w + m.b @ m.a), w=(5, 4), b=(5, 2), a=(2, 4)), ["4"],
    ),
    "tied": (lambda: Apply(tied, e=nn.Embedding(50, 8)), ["6:int64:50"]),
    "used twice": (lambda: Apply(lambda m, x: m.a(m.a(x)), a=nn.Linear(4, 4)), ["4"]),
    "weight on the right": (lambda: Apply(lambda m, x: m.a(x) @ m.w, a=nn.Linear(4, 6), w=(6, 5)), ["3x4"]),
    "weight on the left": (lambda: Apply(lambda m, x: m.w @ m.a(x), a=nn.Linear(4, 6), w=(5, 3)), ["3x4"]),
    "weights transposed before": (
        lambda: Apply(
            lambda m, x: torch.mm(F.relu(m.e(x) @ m.v.T).mean(1), m.w.t()) @ m.e.weight.t(),
            e=nn.Embedding(50, 8),
            v=(6, 8),
            w=(8, 6),
        ),
        ["6:int64:50"],
    ),
    "einsum": (
        lambda: Apply(lambda m, x: torch.einsum("btd,de->bte", m.a(x), m.w), a=nn.Linear(4, 6), w=(6, 5)), ["3x4"],
    ),
    "experts": (lambda: Apply(lambda m, x: torch.einsum("becd,edf->becf", x, m.w), w=(3, 4, 5)), ["3x6x4"]),
    "learned queries": (
        lambda: Apply(lambda m, x: m.a(m.q) + m.b(x)[:, None], q=(3, 4), a=nn.Linear(4, 5), b=nn.Linear(4, 5)), ["4"],
    ),
    "five images per sample": (
        lambda: Apply(lambda m, x: m.c(x.flatten(0, 1)).unflatten(0, (-1, 5)), c=nn.Conv2d(3, 8, 3)), ["5x3x8x8"],
    ),
    "weights with a mask": (
        lambda: Apply(lambda m, x: F.linear(F.relu(F.linear(x, m.w * torch.ones(5, 4))), m.v * torch.ones(5, 5)),
                      w=(5, 4), v=(5, 5)), ["4"],
    ),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), ["4"]),
    "autograd functions": (
        lambda: Apply(
            lambda m, x: m.b(Masked.apply(m.a(x), m.w, m.mask)), buffers=("mask",), a=nn.Linear(6, 8), w=(5, 8),
            mask=(5, 8), b=nn.Linear(5, 3),
        ), ["9x6"],
    ),
    "a convolution in an autograd function": (
        lambda: Apply(lambda m, x: Convolve.apply(m.c(x), m.w), c=nn.Conv2d(3, 6, 3), w=(5, 6, 3, 3)), ["3x9x9"],
    ),
    "checkpoint": (checkpointed(False, mlp, 6), ["6"]),
    "checkpoint, reentrant": (checkpointed(True, mlp, 6), ["6"]),
    "checkpoint of a frozen layer": (checkpointed(False, partly_frozen, 6), ["6"]),
    "checkpoint of a frozen layer, reentrant": (checkpointed(True, partly_frozen, 6), ["6"]),
    "encoder layer, reentrant checkpoint": (checkpointed(True, encoder, 8), ["5x8"]),
    "mixing of positions": (
        lambda: Apply(lambda m, x: m.c(F.gelu(m.t(x.transpose(1, 2)).transpose(1, 2))).mean(1), t=nn.Linear(9, 11),
                      c=nn.Linear(6, 3)), ["9x6"],
    ),
    "LSTM": (lambda: Apply(lambda m, x: m.l(x)[0], l=nn.LSTM(6, 8, 2, batch_first=True)), ["3x6"]),
    "recurrent": (lambda: Apply(lambda m, x: m.l(x)[0], l=nn.GRU(6, 8, batch_first=True)), ["3x6"]),
    "weights put together": (lambda: Apply(lambda m, x: F.linear(x, torch.cat([m.a, m.b])), a=(2, 4), b=(3, 4)), ["4"]),
    "a constant matrix": (lambda: Apply(lambda m, x: m.b(x @ torch.ones(4, 6)), b=nn.Linear(6, 2)), ["4"]),
    "several steps": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)),
        ["3x8x8"],
    ),
    "ResNet-50": (resnet.resnet50_imagenet, ["3x32x32"]),
    "GPT-2 of twelve layers": (lambda: transformers.Gpt2(width=24, depth=12, heads=12, context=16), ["16:int64:50257"]),
}  # fmt: skip
