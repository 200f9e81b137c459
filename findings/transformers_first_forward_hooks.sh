#!/usr/bin/env bash
# The first forward pass of a model leaves hooks on its modules.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0
cat > "$folder/finding.py" <<'END'
"""Forward hooks on a Segformer before and after one forward pass in evaluation mode."""
import torch
import transformers

config = transformers.SegformerConfig(
    hidden_sizes=[16, 32, 32, 64], num_attention_heads=[1, 2, 2, 4], depths=[1, 1, 1, 1], decoder_hidden_size=32
)
net = transformers.SegformerForSemanticSegmentation(config).eval()


def hooks():
    return sum(len(module._forward_hooks) for module in net.modules())


before = hooks()
with torch.no_grad():
    net(pixel_values=torch.randn(2, 3, 32, 32))
after = hooks()
with torch.no_grad():
    net(pixel_values=torch.randn(2, 3, 32, 32))
print(f"transformers {transformers.__version__}, torch {torch.__version__}: SegformerForSemanticSegmentation")
print("guess: a forward pass without gradients leaves the modules as they were: 0 hooks before and after")
print(f"seen:  {before} hooks before, {after} after the first pass, {hooks()} after the second")
raise SystemExit(not (before == 0 and after == hooks() == 8))
END
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" -W ignore finding.py
