#!/usr/bin/env bash
# A node of an execution trace can have more values than strides: keyword arguments of kernels come without.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
cat > "$folder/finding.py" <<'END'
"""Lists of one node that a compiled kernel leaves in an execution trace, recorded as the compiler records it."""
import json
import sys

import torch
from torch.profiler import ExecutionTraceObserver, profile

folder = sys.argv[1]
x, out = torch.randn(6, 8), torch.empty(6, 8)
observer = ExecutionTraceObserver().register_callback(f"{folder}/nodes.json")
with profile(record_shapes=True, execution_trace_observer=observer):
    # what torch._inductor.runtime.triton_heuristics does around each launch
    with torch._C._profiler._RecordFunctionFast(
        "triton_poi_fused_relu_0", (x, out, 48), {"kernel_backend": "triton", "kernel_file": "kernels.py", "stream": 0}
    ):
        pass
with open(f"{folder}/nodes.json") as file:
    node = next(node for node in json.load(file)["nodes"] if node["name"].startswith("triton"))
sizes = {field: len(node["inputs"][field]) for field in ("values", "shapes", "types", "strides")}
print(f"torch {torch.__version__.partition('+')[0]}, one kernel of the compiler with 3 arguments and a stream")
print("guess: values, shapes, types and strides of a node have the same length")
print(f"seen: {sizes}")
sys.exit(sizes != {"values": 4, "shapes": 4, "types": 4, "strides": 3})
END
"$folder/venv/bin/python" "$folder/finding.py" "$folder" 2> "$folder/errors" || { cat "$folder/errors" >&2; exit 1; }
