#!/usr/bin/env bash
# A LoHa adapter makes whole weights in every forward pass, multiplies by them, and makes them again in the backward pass.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 peft==0.21.0 transformers==5.24.0
cat > "$folder/finding.py" <<'END'
"""Multiply-accumulates of a linear layer with a LoHa adapter of rank 4 on a batch of 8."""
import peft
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class Count(TorchDispatchMode):
    macs = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        at = {"mm": 0, "addmm": 1}.get(func.overloadpacket.__name__)
        if at is not None:
            self.macs += args[at].numel() * args[at + 1].shape[-1]
        return out


features, rank, batch = 64, 4, 8
net = peft.get_peft_model(
    nn.Sequential(nn.Linear(features, features)), peft.LoHaConfig(r=rank, target_modules=["0"])
)
x = torch.randn(batch, features)
with Count() as forward:
    out = net(x)
with Count() as backward:
    out.sum().backward()
layer, weight = batch * features * features, features * features * rank
cheap = 2 * 2 * batch * rank * features  # if the factors met the activations, as in LoRA, once for each pair
print(f"peft {peft.__version__}, torch {torch.__version__}: linear layer {features} x {features}, batch {batch}, LoHa rank {rank}")
print(f"guess: forward {layer + cheap:,} (the layer {layer:,}, and low-rank factors on the activations {cheap:,})")
print(f"seen:  forward {forward.macs:,} = {layer:,} layer + {2 * weight:,} two whole weights + {layer:,} a second layer")
print(f"guess: backward {layer + 4 * weight:,} (gradient of the second layer's weight and of the four factors)")
print(f"seen:  backward {backward.macs:,}, with {2 * weight:,} to make both weights again")
seen = forward.macs == 2 * layer + 2 * weight and backward.macs == layer + 6 * weight
raise SystemExit(not seen)
END
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" -W ignore finding.py
