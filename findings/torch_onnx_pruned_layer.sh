#!/usr/bin/env bash
# Whether an exported ONNX file holds a pruned weight or a dense weight and its mask depends on the size of the layer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6
cat > "$folder/finding.py" <<'END'
"""The tensors of two linear layers, pruned alike, in the files that torch.onnx.export writes."""
import logging

import numpy as np
import onnx
import onnxscript
import torch
from torch.nn.utils import prune

logging.disable(logging.CRITICAL)


def tensors(features):
    """Shares of zeros in the matrices of the exported file."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(features, features)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    example = (torch.zeros(2, features),)
    torch.onnx.export(torch.nn.Sequential(layer), example, "layer.onnx", dynamo=True, verbose=False)
    graph = onnx.load("layer.onnx").graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {name: float(np.mean(array == 0)) for name, array in arrays.items() if array.ndim == 2}


small, large = tensors(64), tensors(256)
print(f"torch {torch.__version__}, onnxscript {onnxscript.__version__}: torch.onnx.export of a half pruned Linear")
print("guess: the file of either holds one matrix, half of it zeros")
print(f"seen:  64 x 64: {small}")
print(f"       256 x 256: {large}")
raise SystemExit(not (list(small.values()) == [0.5] and sorted(large.values()) == [0.0, 0.5]))
END
cd "$folder"
"$folder/venv/bin/python" -W ignore finding.py 2>/dev/null
