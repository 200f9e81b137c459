#!/usr/bin/env bash
# The opset that an exporter is asked for, the one that its file says, and what that makes of attention.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6
cat > "$folder/finding.py" <<'END'
"""One module with scaled_dot_product_attention, exported for several opsets."""
import logging

import onnx
import onnxscript
import torch

logging.disable(logging.CRITICAL)


class Attend(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.scaled_dot_product_attention(x, x, x)


def exported(opset):
    """The opset of the file and its operators that compute products."""
    example = (torch.zeros(2, 2, 5, 4),)
    torch.onnx.export(Attend(), example, "attend.onnx", dynamo=True, opset_version=opset, verbose=False)
    model = onnx.load("attend.onnx")
    kinds = [node.op_type for node in model.graph.node if node.op_type in {"MatMul", "Attention"}]
    return model.opset_import[0].version, kinds


seen = {asked: exported(asked) for asked in (13, 17, 22, 23)}
print(f"torch {torch.__version__}, onnxscript {onnxscript.__version__}: torch.onnx.export(opset_version=...)")
print("guess: the file has the opset that was asked for, or an error says that it cannot")
for asked, (got, kinds) in seen.items():
    print(f"seen:  asked {asked}: file {got}, {' and '.join(kinds)}")
products = ["MatMul", "MatMul"]
expected = {13: (18, products), 17: (17, products), 22: (22, products), 23: (23, ["Attention"])}
raise SystemExit(seen != expected)
END
cd "$folder"
"$folder/venv/bin/python" -W ignore finding.py 2>/dev/null
