#!/usr/bin/env bash
# ZigZag's ONNX reader: the kernel's height is taken along the width of the image.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q 'zigzag-dse==3.9.1' six
cd "$folder"
venv/bin/python - <<'PYTHON'
import logging
import pathlib
import sys
from importlib.metadata import version

import onnx
import zigzag
from onnx import TensorProto, helper
from zigzag.parser.onnx.onnx_model_parser import ONNXModelParser

logging.disable(logging.CRITICAL)
height, width, taps, channels, filters = 16, 4, 3, 4, 8
weight = helper.make_tensor("w", TensorProto.FLOAT, [filters, channels, taps, 1], [0.0] * filters * channels * taps)
node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", kernel_shape=[taps, 1], strides=[1, 1],
                        dilations=[1, 1], pads=[0, 0, 0, 0])
inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, height, width])]
outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
model = helper.make_model(helper.make_graph([node], "net", inputs, outputs, [weight]),
                          opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
model = onnx.shape_inference.infer_shapes(model)
mapping = str(pathlib.Path(zigzag.__file__).parent / "inputs/mapping/default.yaml")
(layer,) = ONNXModelParser(model, mapping).run().nodes
loops = {str(name): size for name, size in layer.layer_dim_sizes.data.items()}
elements = {str(name): int(size) for name, size in layer.operand_size_elem.items()}

guess = {"FX": 1, "FY": taps, "I": channels * height * width}
seen = {"FX": loops["FX"], "FY": loops["FY"], "I": elements["I"]}
expected = {"FX": 3, "FY": 1, "I": 224}
print("zigzag-dse", version("zigzag-dse"), "- ONNX Conv, kernel 3 x 1 (height x width), input 4 x 16 x 4, no padding")
print("guess: 3 taps along the height OY, 1 along the width OX, all inputs read:", guess)
print("seen:  3 taps along the width, 1 along the height; inputs are missing:  ", seen)
print("the same MACs either way:", layer.total_mac_count)
sys.exit(seen != expected)
PYTHON
