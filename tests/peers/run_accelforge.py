"""Run AccelForge 1.0 on an exported workload: ``run_accelforge.py WORKLOAD.yaml``.

The machine is one memory without limits and one MAC that does a computation per cycle. Prints, as JSON, computations,
elements per tensor, bits per tensor and cycles of each Einsum.
"""

import json
import sys
import tempfile
from pathlib import Path

from accelforge import Metrics
from accelforge.frontend.spec import Spec
from accelforge.mapper.FFM._make_pmappings.make_pmappings import get_per_tensor_n_elements
from accelforge.mapper.FFM.main import map_workload_to_arch

_MACHINE = """\
arch:
  nodes:
  - !Memory
    name: MainMemory
    size: inf
    leak_power: 0
    area: 0
    tensors: {keep: All}
    actions:
    - {name: read, energy: 1, throughput: inf}
    - {name: write, energy: 1, throughput: inf}
  - !Compute
    name: MAC
    leak_power: 0
    area: 0
    actions:
    - {name: compute, energy: 1, throughput: 1}
"""


def _run(workload: Path) -> object:
    with tempfile.TemporaryDirectory() as folder:
        machine = Path(folder, "machine.yaml")
        machine.write_text(_MACHINE)
        spec = Spec.from_yaml(str(machine), str(workload))
        spec.mapper.metrics = Metrics.LATENCY
        found = map_workload_to_arch(spec, print_progress=False, print_number_of_pmappings=False, eval_in_detail=False)
    elements, bits = {}, {}
    for evaluated in found.evaluated_specs.values():  # one per Einsum, each with a workload of that Einsum alone
        sizes = get_per_tensor_n_elements(evaluated.workload)
        accesses = [access for einsum in evaluated.workload.einsums for access in einsum.tensor_accesses]
        elements |= {str(access.name): sizes[access.name] for access in accesses}
        bits |= {str(access.name): sizes[access.name] * access.bits_per_value for access in accesses}
    return {
        "computes": {einsum.name: found.n_computes(einsum.name) for einsum in spec.workload.einsums},
        "elements": elements,
        "bits": bits,
        "cycles": float(found.data["Total<SEP>latency"].iloc[0]),
    }


if __name__ == "__main__":
    print(json.dumps(_run(Path(sys.argv[1]))))  # noqa: T201
