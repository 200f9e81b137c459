#!/usr/bin/env bash
# XLNet projects the same position table once for every sample of the batch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0
cat > "$folder/finding.py" <<'END'
"""Rows of the position projection of XLNet, at three batches."""
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

LENGTH, WIDTH, HEADS = 12, 32, 4


class Rows(TorchDispatchMode):
    """Forward products by the number of rows that meet a WIDTH x WIDTH weight."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in {"mm", "bmm"} and tuple(args[1].shape[-2:]) == (WIDTH, WIDTH):
            self.found.append(args[0].numel() // WIDTH)
        return out


config = transformers.XLNetConfig(vocab_size=64, d_model=WIDTH, n_layer=1, n_head=HEADS, d_inner=48)
net = transformers.XLNetModel(config).eval()
positions = []
for batch in (1, 2, 8):
    with torch.no_grad(), Rows() as rows:
        net(input_ids=torch.randint(64, (batch, LENGTH)))
    of_tokens = batch * LENGTH
    positions.append(sorted(set(rows.found) - {of_tokens}))
print(f"transformers {transformers.__version__}, torch {torch.__version__}: one XLNet layer, {LENGTH} tokens")
print(f"guess: {2 * LENGTH} positions are projected once per step, whatever the batch: they are the same for all samples")
print(f"seen:  rows of the position projection at batch 1, 2 and 8: {positions}")
raise SystemExit(positions != [[2 * LENGTH], [4 * LENGTH], [16 * LENGTH]])
END
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" -W ignore finding.py
