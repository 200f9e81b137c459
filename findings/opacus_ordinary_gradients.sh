#!/usr/bin/env bash
# opacus 1.6.0: per-sample gradients come beside the ordinary ones, which are computed too and thrown away.
set -u
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" && "$folder/venv/bin/pip" install -q torch==2.13.0 opacus==1.6.0 || exit 2
cat > "$folder/run.py" <<'PY'
import sys
import warnings
from importlib.metadata import version

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

warnings.simplefilter("ignore")


class Products(TorchDispatchMode):
    """Results of products of matrices that the backward pass computes."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in {"mm", "bmm"} and torch._C._current_autograd_node() is not None:
            self.shapes.append(tuple(out.shape))
        return out


print("package: opacus", version("opacus"), "on torch", torch.__version__)
print("guess: DP-SGD needs the gradients of single samples, so the backward pass computes these in place of their sum")
layer = GradSampleModule(nn.Linear(32, 64), loss_reduction="sum")
optimizer = DPOptimizer(torch.optim.SGD(layer.parameters(), lr=0.1), noise_multiplier=0.0, max_grad_norm=1.0, loss_reduction="sum",
                        expected_batch_size=8)
with Products() as products:
    layer(torch.randn(8, 32)).square().sum().backward()
weight = layer._module.weight
summed = torch.allclose(weight.grad, weight.grad_sample.sum(0), atol=1e-4)
ordinary = weight.grad.clone()
optimizer.step()
print("seen: products of the backward pass:", products.shapes, "- the sum over the batch, as large as the weight")
print("seen: per-sample gradients beside it:", tuple(weight.grad_sample.shape), "- their sum is the ordinary one:", summed)
print("seen: the optimizer replaces it:", not torch.equal(ordinary, weight.grad))
sys.exit(0 if (64, 32) in products.shapes and summed and not torch.equal(ordinary, weight.grad) else 1)
PY
"$folder/venv/bin/python" "$folder/run.py"
