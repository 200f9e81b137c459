#!/usr/bin/env bash
# SCALE-Sim: of a layout file with a row per layer, the first row is that of every layer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q 'scalesim==3.0.0' 'numpy<2.4'
cd "$folder"
cat >run.cfg <<'CONFIG'
[general]
run_name = run
[architecture_presets]
ArrayHeight: 4
ArrayWidth: 4
IfmapSramSzkB: 64
FilterSramSzkB: 64
OfmapSramSzkB: 64
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 10
Dataflow: os
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: True
IfmapSRAMBankBandwidth: 8
IfmapSRAMBankNum: 1
IfmapSRAMBankPort: 1
FilterCustomLayout: False
FilterSRAMBankBandwidth: 8
FilterSRAMBankNum: 1
FilterSRAMBankPort: 1
[sparsity]
SparsitySupport: false
[run_presets]
InterfaceBandwidth: USER
UseRamulatorTrace: False
CONFIG
venv/bin/python - <<'PYTHON'
import contextlib
import csv
import io
import pathlib
import sys
from importlib.metadata import version

from scalesim.scale_sim import scalesim

CHANNELS, ROWS = "1,1,1,1,8,1", "8,1,1,1,1,1"  # which 8 words share a line of the SRAM: 8 channels, or 8 image rows
ORDER = "3,4,5,0,1,2,4,5,6,7,0,1,2,3,"
pathlib.Path("topology.csv").write_text(
    "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,\n"
    "a,8,8,3,3,8,8,1,\nb,8,8,3,3,8,8,1,\n"
)


def run(first, second):
    header = ",".join(["Layer name", *(f"column {index}" for index in range(20))])
    pathlib.Path("layout.csv").write_text(f"{header},\na,{first},{ORDER}\nb,{second},{ORDER}\n")
    with contextlib.redirect_stdout(io.StringIO()):
        peer = scalesim(save_disk_space=True, verbose=False, config="run.cfg", topology="topology.csv", layout="layout.csv")
        peer.run_scale(top_path=".")
    with open("run/COMPUTE_REPORT.csv") as report:
        return [int(float(row[2])) for row in list(csv.reader(report))[1:]]


both, second, first = run(CHANNELS, CHANNELS), run(CHANNELS, ROWS), run(ROWS, CHANNELS)
print("scalesim", version("scalesim"), "- two equal layers; words of a line: 8 channels, or 8 rows, as a row of the layout file says")
print("guess: with another layout for the second layer alone, that layer alone takes other cycles")
print("seen:  cycles", both, "with one layout;", second, "with another for the second;", first, "for the first")
sys.exit((both, second, first) != ([4949, 4949], [4949, 4949], [5237, 5237]))
PYTHON
