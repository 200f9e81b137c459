#!/usr/bin/env bash
# AccelForge: the sizes of 'each tensor in the spec' are those of the first Einsum alone.
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
cat >two.yaml <<'YAML'
workload:
  bits_per_value: {All: 8}
  rank_sizes: {M: 4, N0: 8, N1: 16, N2: 2}
  einsums:
  - {einsum: "A[m, n1] = X[m, n0] * V[n0, n1]", renames: {input: X, weight: V, output: A}}
  - {einsum: "B[m, n2] = A[m, n1] * W[n1, n2]", renames: {input: A, weight: W, output: B}}
YAML
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

from accelforge.frontend.spec import Spec
from accelforge.mapper.FFM.main import map_workload_to_arch

spec = Spec.from_yaml("machine.yaml", "two.yaml")
found = map_workload_to_arch(spec, print_progress=False, print_number_of_pmappings=False, eval_in_detail=False)
seen = {str(name): int(size) for name, size in found.per_tensor_size(return_n_elements=True).items()}
guess = {"X": 32, "V": 128, "A": 64, "W": 32, "B": 8}
print("accelforge", version("accelforge"), "- two products, X V = A and A W = B; Mappings.per_tensor_size")
print("guess: 'for each tensor in the spec':", guess)
print("seen: ", seen, "while n_computes() counts both products:", found.n_computes())
sys.exit((seen, found.n_computes()) != ({"X": 32, "V": 128, "A": 64}, 640))
PYTHON
