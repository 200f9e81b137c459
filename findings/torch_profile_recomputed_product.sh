#!/usr/bin/env bash
# A profile of a checkpointed step lists products whose kernels never ran; the execution trace of the same run does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy
cat > "$folder/finding.py" <<'END'
"""Products of one step with two checkpointed segments of two linear layers, in two recordings of the same run."""
import json
import sys

import torch
from torch import nn
from torch.profiler import ExecutionTraceObserver, profile
from torch.utils.checkpoint import checkpoint

folder = sys.argv[1]
segments = nn.ModuleList(nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8)) for _ in range(2))
x = torch.randn(6, 8)
observer = ExecutionTraceObserver().register_callback(f"{folder}/nodes.json")
with profile(record_shapes=True, execution_trace_observer=observer) as made:
    y = x
    for segment in segments:
        y = checkpoint(segment, y, use_reentrant=False)
    y.sum().backward()
made.export_chrome_trace(f"{folder}/profile.json")
with open(f"{folder}/profile.json") as file:
    in_profile = sum(event.get("name") == "aten::addmm" for event in json.load(file)["traceEvents"])
with open(f"{folder}/nodes.json") as file:
    in_trace = sum(node["name"] == "aten::addmm" for node in json.load(file)["nodes"])
print(f"torch {torch.__version__.partition('+')[0]}, two checkpointed segments of two linear layers, one step")
print("guess: both recordings of one run list the same forward products: 4, and 2 to 4 made again")
print(f"seen: {in_profile} in the profile, {in_trace} in the execution trace: torch breaks the last product of each")
print("segment off before its kernel runs, and the profile lists it with its shapes as if it had run")
sys.exit((in_profile, in_trace) != (8, 6))
END
"$folder/venv/bin/python" "$folder/finding.py" "$folder" 2> "$folder/errors" || { cat "$folder/errors" >&2; exit 1; }
