"""Models that the tracer is tested with: every way to write a product, with the products that are expected."""

import torch
import torch.nn.functional as F  # noqa: N812
from operations import shown
from torch import nn

from accelsim.workload.tracer import InputSpec, trace_model


class Apply(nn.Module):
    """A function of inputs and of the modules and parameters it names."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(torch.zeros(part)) if isinstance(part, tuple) else part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def traced(model, *inputs, **options):
    return trace_model(model, [InputSpec.parse(text) for text in inputs], **options)


def products(trace):
    return [shown(operation) for operation in trace.operations if operation.macs]


def autocast(m, x):
    with torch.autocast("cpu", torch.bfloat16):
        return m.b(F.relu(m.a(x)))


PRODUCTS = {
    "grouped, depthwise, dilated": (
        lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 8, 3, groups=8, dilation=2, padding=2)),
        ["4x9x9"],
        ["0 = conv2d 4->8 on 9x9 kernel 3x3 groups 2 no gradient", "1 = conv2d 8->8 on 7x7 kernel 3x3 groups 8"],
    ),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(8, 4, 4, 2, 1, 1), nn.Flatten(2), nn.ConvTranspose1d(4, 2, 3)),
        ["8x7x7"],
        [
            "0 = conv_transpose2d 8->4 on 7x7 kernel 4x4 groups 1 no gradient",
            "2 = conv_transpose1d 4->2 on 225 kernel 3 groups 1",
        ],
    ),
    "3-D": (
        lambda: nn.Conv3d(2, 4, 3),
        ["2x5x6x7"],
        ["conv3d = conv3d 2->4 on 5x6x7 kernel 3x3x3 groups 1 no gradient"],
    ),
    "five images per sample": (
        lambda: Apply(lambda m, x: m.c(x.flatten(0, 1)).unflatten(0, (-1, 5)), c=nn.Conv2d(3, 8, 3)),
        ["5x3x8x8"],
        ["c = conv3d 3->8 on 5x8x8 kernel 1x3x3 groups 1 no gradient"],
    ),
    "functional": (
        lambda: Apply(lambda m, x: F.linear(F.relu(F.linear(x, m.w, m.b)), m.v), w=(5, 4), b=(5,), v=(3, 5)),
        ["7x4"],
        ["linear = linear 4->5 rows 7 w no gradient", "linear_2 = linear 5->3 rows 7 v"],
    ),
    "weight on the left": (
        lambda: Apply(lambda m, x: m.w @ x, w=(7, 5)),
        ["3x5x4"],
        ["linear = linear 5->7 rows 12 w no gradient"],
    ),
    "einsum with a weight": (
        lambda: Apply(lambda m, x: torch.einsum("btd,de->bte", x, m.w), w=(4, 6)),
        ["5x4"],
        ["linear = linear 4->6 rows 5 w no gradient"],
    ),
    "einsum of activations": (
        lambda: Apply(lambda m, x: torch.einsum("btd,bsd->bts", m.a(x), x), a=nn.Linear(4, 4)),
        ["5x4"],
        ["a = linear 4->4 rows 5 a.weight no gradient", "matmul = matmul 1 x 5,4,5 no right gradient"],
    ),
    "one weight matrix per expert": (
        lambda: Apply(lambda m, x: torch.einsum("becd,edf->becf", x, m.w), w=(3, 4, 5)),
        ["3x6x4"],
        ["conv1d = conv1d 12->15 on 6 kernel 1 groups 3 no gradient"],
    ),
    "tied": (
        lambda: Apply(lambda m, x: F.linear(m.e(x), m.e.weight), e=nn.Embedding(50, 8)),
        ["6:int64:50"],
        ["linear = linear 8->50 rows 6 e.weight"],
    ),
    "called twice": (
        lambda: Apply(lambda m, x: m.a(m.a(x)), a=nn.Linear(4, 4)),
        ["4"],
        ["a = linear 4->4 rows 1 a.weight no gradient", "a_2 = linear 4->4 rows 1 a.weight"],
    ),
    "frozen backbone": (
        lambda: nn.Sequential(nn.Linear(4, 5).requires_grad_(False), nn.ReLU(), nn.Linear(5, 6)),
        ["4"],
        ["0 = linear 4->5 rows 1 0.weight frozen no gradient", "2 = linear 5->6 rows 1 2.weight no gradient"],
    ),
    "without gradient": (
        lambda: Apply(torch.no_grad()(lambda m, x: m.a(x)), a=nn.Linear(4, 5)),
        ["4"],
        ["a = linear 4->5 rows 1 a.weight frozen no gradient"],
    ),
    "inference mode": (
        lambda: Apply(torch.inference_mode()(lambda m, x: F.relu(m.a(x)) @ m.w), a=nn.Linear(4, 5), w=(5, 3)),
        ["4"],
        ["a = linear 4->5 rows 1 a.weight frozen no gradient", "linear = linear 5->3 rows 1 w frozen no gradient"],
    ),
    "masked weight": (
        lambda: Apply(lambda m, x: F.linear(x, m.w * torch.ones(5, 4)), w=(5, 4)),
        ["4"],
        ["linear = linear 4->5 rows 1 w no gradient"],
    ),
    "weight norm": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)),
        ["4"],
        ["linear = linear 4->5 rows 1 parametrizations.weight.original1 no gradient"],
    ),
    "joined weights": (
        lambda: Apply(lambda m, x: F.linear(x, torch.cat([m.a, m.b])), a=(2, 4), b=(3, 4)),
        ["4"],
        ["linear = linear 4->5 rows 1 a+b no gradient"],
    ),
    "learned queries": (
        lambda: Apply(lambda m, x: m.a(m.q) + m.b(x)[:, None], q=(3, 4), a=nn.Linear(4, 5), b=nn.Linear(4, 5)),
        ["4"],
        ["a = linear 4->5 rows 3 a.weight once", "b = linear 4->5 rows 1 b.weight no gradient"],
    ),
    "low-rank update of a weight": (
        lambda: Apply(lambda m, x: F.linear(x, m.w + m.b @ m.a), w=(5, 4), b=(5, 2), a=(2, 4)),
        ["4"],
        ["linear = linear 2->4 rows 5 a once", "linear_2 = linear 4->5 rows 1 w no gradient"],
    ),
    "constant filter": (
        lambda: Apply(lambda m, x: m.b(x @ torch.ones(4, 6)), b=nn.Linear(6, 2)),
        ["4"],
        ["linear = linear 4->6 rows 1 constant_1 frozen no gradient", "b = linear 6->2 rows 1 b.weight no gradient"],
    ),
    "autocast": (
        lambda: Apply(autocast, a=nn.Linear(4, 5), b=nn.Linear(5, 3)),
        ["4"],
        ["a = linear 4->5 rows 1 a.weight no gradient", "b = linear 5->3 rows 1 b.weight"],
    ),
    "multi-head attention": (
        lambda: Apply(
            lambda m, x: m.a(x, x, x, need_weights=False)[0], a=nn.MultiheadAttention(8, 2, batch_first=True)
        ),
        ["5x8"],
        [
            "a.linear = linear 8->24 rows 5 a.in_proj_weight no gradient",
            "a.matmul = matmul 2 x 5,4,5",
            "a.matmul_2 = matmul 2 x 5,5,4",
            "a.linear_2 = linear 8->8 rows 5 a.out_proj.weight",
        ],
    ),
    "cross attention with a shared projection": (
        lambda: Apply(lambda m, x, y: m.a(x, y, y)[0], a=nn.MultiheadAttention(8, 2, batch_first=True)),
        ["5x8", "6x8"],
        [
            "a.linear = linear 8->8 rows 5 a.in_proj_weight[0:8] no gradient",
            "a.linear_2 = linear 8->16 rows 6 a.in_proj_weight[8:24] no gradient",
            "a.matmul = matmul 2 x 5,4,6",
            "a.matmul_2 = matmul 2 x 5,6,4",
            "a.linear_3 = linear 8->8 rows 5 a.out_proj.weight",
        ],
    ),
    "LSTM": (
        lambda: nn.LSTM(4, 8, batch_first=True),
        ["3x4"],
        [
            "linear = linear 4->32 rows 3 weight_ih_l0 no gradient",
            "linear_2 = linear 8->32 rows 1 weight_hh_l0 no gradient",
            "linear_3 = linear 8->32 rows 1 weight_hh_l0",
            "linear_4 = linear 8->32 rows 1 weight_hh_l0",
        ],
    ),
    "compiled": (
        lambda: torch.compile(nn.Sequential(nn.Linear(4, 5), nn.ReLU()), backend="eager"),
        ["4"],
        ["0 = linear 4->5 rows 1 0.weight no gradient"],
    ),
}
