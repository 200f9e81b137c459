"""Run ZigZag 3.9 on an exported workload: ``run_zigzag.py WORKLOAD.yaml``.

The machine is the ``tpu_like`` one that comes with ZigZag, 32 x 32 units, K along one side, C along the other, with
registers twice as wide: its own hold 8-bit operands and 16-bit sums. Prints, as JSON, MACs, elements and bits per
operand and cycles of each layer: those in which the array works, and all.
"""

import contextlib
import io
import json
import logging
import sys
import tempfile
from pathlib import Path

import yaml
import zigzag
from zigzag.api import get_hardware_performance_zigzag


def _machine(shipped: Path, folder: str) -> str:
    data = yaml.safe_load(shipped.read_text())
    for name in ("rf_128B", "rf_2B"):
        memory = data["memories"][name]
        memory["size"] *= 2
        for port in memory["ports"]:
            port["bandwidth_min"] *= 2
            port["bandwidth_max"] *= 2
    path = Path(folder, "machine.yaml")
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return str(path)


def _run(workload: Path) -> list[dict[str, object]]:
    logging.disable(logging.CRITICAL)
    inputs = Path(zigzag.__file__).parent / "inputs"
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        _, _, evaluations = get_hardware_performance_zigzag(
            str(workload),
            _machine(inputs / "hardware/tpu_like.yaml", folder),
            str(inputs / "mapping/default.yaml"),
            dump_folder=folder,
            lpf_limit=2,
            nb_spatial_mappings_generated=1,
            loma_show_progress_bar=False,
        )
    return [
        {
            "name": evaluation.layer.name,
            "macs": evaluation.layer.total_mac_count,
            "elements": {str(operand): size for operand, size in evaluation.layer.operand_size_elem.items()},
            "bits": {str(operand): size for operand, size in evaluation.layer.operand_size_bit.items()},
            "array_cycles": evaluation.ideal_temporal_cycle,
            "cycles": evaluation.latency_total2,
        }
        for evaluation, _ in evaluations[0][1]
    ]


if __name__ == "__main__":
    print(json.dumps(_run(Path(sys.argv[1]))))  # noqa: T201
