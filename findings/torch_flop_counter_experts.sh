#!/usr/bin/env bash
# torch 2.13.0: FlopCounterMode counts nothing for the grouped products of experts, and of distances the backward alone.
set -u
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" && "$folder/venv/bin/pip" install -q torch==2.13.0 numpy || exit 2
cat > "$folder/run.py" <<'PY'
import sys

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode


def flops(step):
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


print("package: torch", torch.__version__)
ends = torch.tensor([3, 3, 8, 12], dtype=torch.int32)
x, w = torch.randn(12, 16, requires_grad=True), torch.randn(4, 16, 32, requires_grad=True)
a, b = torch.randn(30, 8, requires_grad=True), torch.randn(32, 8)
found = {
    "grouped product of experts, forward": flops(lambda: F.grouped_mm(x, w, offs=ends)),
    "and with backward": flops(lambda: F.grouped_mm(x, w, offs=ends).square().sum().backward()),
    "cdist, forward": flops(lambda: torch.cdist(a, b)),
    "cdist, with the gradient of one side (both are computed)": flops(lambda: torch.cdist(a, b).sum().backward()),
}
print(f"guess: {2 * 12 * 16 * 32} and {6 * 12 * 16 * 32} for the experts; for cdist (30 x 8 by 32 x 8, which torch computes")
print(f"guess: by a product) at least {2 * 30 * 32 * 8} forward, and as much backward")
for what, number in found.items():
    print(f"seen: {what}: {number}")
sys.exit(0 if list(found.values()) == [0, 0, 0, 4 * 30 * 32 * 8] else 1)
PY
"$folder/venv/bin/python" "$folder/run.py"
