"""Run SCALE-Sim 3.0.0 on an exported topology: ``run_scalesim.py TOPOLOGY.csv gemm|conv DATAFLOW ROWS COLS [banks]``.

Prints, as JSON, the MACs and the cycles of each layer: without stalls, or with those of ``banks`` of one word per line
that hold the operands as the layout file says.
"""

import contextlib
import csv
import io
import json
import sys
import tempfile
from pathlib import Path

from scalesim.scale_sim import scalesim

_CONFIG = """\
[general]
run_name = run
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {cols}
IfmapSramSzkB: 4096
FilterSramSzkB: 4096
OfmapSramSzkB: 4096
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 10
Dataflow: {dataflow}
MemoryBanks: 1
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: {layout}
IfmapSRAMBankBandwidth: 1
IfmapSRAMBankNum: 1
IfmapSRAMBankPort: 2
FilterCustomLayout: {layout}
FilterSRAMBankBandwidth: 1
FilterSRAMBankNum: 1
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: {bandwidth}
UseRamulatorTrace: False
"""


def _run(topology: Path, kind: str, dataflow: str, rows: int, cols: int, banks: bool) -> list[dict[str, int]]:
    layout = topology.with_name(f"{topology.stem}_layout.csv")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = Path(folder, "run.cfg")
        machine = {"rows": rows, "cols": cols, "dataflow": dataflow}
        config.write_text(_CONFIG.format(**machine, layout=banks, bandwidth="USER" if banks else "CALC"))
        peer = scalesim(
            save_disk_space=True, verbose=False, config=str(config), topology=str(topology), layout=str(layout),
            input_type_gemm=kind == "gemm",
        )  # fmt: skip
        peer.run_scale(top_path=folder)
        with Path(folder, "run", "COMPUTE_REPORT.csv").open() as report:
            header, *lines = list(csv.reader(report, skipinitialspace=True))
        peer.topo.topo_calc_hyperparams()
        macs = [values[2] for values in peer.topo.layers_calculated_hyperparams]
    column = header.index("Total Cycles")
    return [{"macs": mac, "cycles": int(float(line[column]))} for mac, line in zip(macs, lines, strict=True)]


if __name__ == "__main__":
    _, path, kind, dataflow, rows, cols, *banks = sys.argv
    print(json.dumps(_run(Path(path), kind, dataflow, int(rows), int(cols), banks == ["banks"])))  # noqa: T201
