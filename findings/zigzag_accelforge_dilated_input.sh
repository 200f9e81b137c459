#!/usr/bin/env bash
# The input of a dilated convolution: ZigZag and AccelForge, given the same loops, count other elements.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON312:-python3.12} # accelforge says 3.8 and needs 3.12
"$python" --version >/dev/null || exit 2
python3 -m venv "$folder/zigzag"
"$folder/zigzag/bin/python" -m pip install -q 'zigzag-dse==3.9.1' six
"$python" -m venv "$folder/accelforge"
"$folder/accelforge/bin/python" -m pip install -q 'accelforge==1.0.467'
cd "$folder"

cat >zigzag.yaml <<'YAML'
- id: 0
  name: dilated
  operator_type: Conv
  equation: O[k][ox]+=W[k][c][fx]*I[c][ix]
  dimension_relations: [ix=1*ox+3*fx]
  loop_dims: [K, C, OX, FX]
  loop_sizes: [8, 4, 2, 3]
  operand_precision: {W: 8, I: 8, O: 16, O_final: 8}
  operand_source: {W: 0}
YAML
cat >accelforge.yaml <<'YAML'
workload:
  bits_per_value: {All: 8}
  rank_sizes: {C: 4, K: 8, P: 2, R: 3, H: 8}
  einsums:
  - name: dilated
    tensor_accesses:
    - {name: I, projection: {C: c, H: p + 3 * r}}
    - {name: W, projection: {K: k, C: c, R: r}}
    - {name: O, projection: {K: k, P: p}, output: true}
    renames: {input: I, weight: W, output: O}
YAML
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
by_zigzag=$(zigzag/bin/python - <<'PYTHON'
import logging
import pathlib

import zigzag
from zigzag.stages.parser.workload_parser import WorkloadParserStage

logging.disable(logging.CRITICAL)
mapping = str(pathlib.Path(zigzag.__file__).parent / "inputs/mapping/default.yaml")
(layer,) = WorkloadParserStage([None], workload="zigzag.yaml", mapping=mapping).parse_workload().nodes
print(next(int(size) for name, size in layer.operand_size_elem.items() if str(name) == "I"))
PYTHON
)
by_accelforge=$(accelforge/bin/python - <<'PYTHON' | tail -n 1
from accelforge.frontend.spec import Spec
from accelforge.mapper.FFM.main import map_workload_to_arch

spec = Spec.from_yaml("machine.yaml", "accelforge.yaml")
found = map_workload_to_arch(spec, print_progress=False, print_number_of_pmappings=False, eval_in_detail=False)
print(found.per_tensor_size(return_n_elements=True)["I"])
PYTHON
)
echo "zigzag-dse 3.9.1, accelforge 1.0.467 - 2 outputs, 3 taps 3 inputs apart, 4 channels"
echo "guess: the inputs 0, 3, 6 and 1, 4, 7 are read, in 4 channels: 24 elements in both"
echo "seen:  ZigZag $by_zigzag (all from the first to the last), AccelForge $by_accelforge"
[ "$by_zigzag $by_accelforge" = "32 24" ]
