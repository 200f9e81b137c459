#!/usr/bin/env bash
# AccelForge: a rank smaller than its indices reach takes computations out of the count, not out of time and energy.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON312:-python3.12} # accelforge says 3.8 and needs 3.12
"$python" --version >/dev/null || exit 2
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q 'accelforge==1.0.467'
cd "$folder"
cat >machine.yaml <<'YAML'
arch:
  nodes:
  - !Memory
    name: MainMemory
    size: inf
    leak_power: 0
    area: 0
    tensors: {keep: All}
    actions: [{name: read, energy: 1, throughput: inf}, {name: write, energy: 1, throughput: inf}]
  - !Compute {name: MAC, leak_power: 0, area: 0, actions: [{name: compute, energy: 1, throughput: 1}]}
YAML
venv/bin/python - <<'PYTHON'
import pathlib
import sys
from importlib.metadata import version

from accelforge import Metrics
from accelforge.frontend.spec import Spec
from accelforge.mapper.FFM.main import map_workload_to_arch

WORKLOAD = """
workload:
  bits_per_value: {All: 8}
  rank_sizes: {C: 16, K: 8, P: 4, Q: 4, R: 3, S: 3, H: SIZE, W: SIZE}
  einsums:
  - name: conv
    tensor_accesses:
    - {name: I, projection: {C: c, H: p + r, W: q + s}}
    - {name: F, projection: {K: k, C: c, R: r, S: s}}
    - {name: O, projection: {K: k, P: p, Q: q}, output: true}
    renames: {input: I, weight: F, output: O}
"""


def run(size):
    pathlib.Path("conv.yaml").write_text(WORKLOAD.replace("SIZE", str(size)))
    spec = Spec.from_yaml("machine.yaml", "conv.yaml")
    spec.mapper.metrics = Metrics.LATENCY | Metrics.ENERGY
    found = map_workload_to_arch(spec, print_progress=False, print_number_of_pmappings=False, eval_in_detail=False)
    totals = found.data.iloc[0]
    return found.n_computes("conv"), int(totals["Total<SEP>latency"]), int(totals["Total<SEP>energy"])


padded, stored = run(6), run(4)
print("accelforge", version("accelforge"), "- conv 3 x 3, 4 x 4 outputs, one MAC per cycle; the input 6 x 6 (padded), then 4 x 4 (stored)")
print("guess: 'accesses outside of these bounds are skipped', so computations, cycles and energy fall together")
print("seen:  (computations, cycles, energy)", padded, "with the padded input,", stored, "with the stored one")
sys.exit((padded, stored) != ((18432, 18432, 607232), (10368, 18432, 607232)))
PYTHON
