#!/usr/bin/env bash
# SCALE-Sim: -s N ('Save Trace: (Y/N)') writes the traces all the same.
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
IfmapCustomLayout: False
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
InterfaceBandwidth: CALC
UseRamulatorTrace: False
CONFIG
printf 'Layer,M,N,K,\nproduct,64,64,64,\n' >topology.csv
printf 'Layer name,\n' >layout.csv
for save in Y N; do
  mkdir "results_$save"
  venv/bin/python -m scalesim.scale -c run.cfg -t topology.csv -l layout.csv -p "results_$save" -i gemm -s "$save" >/dev/null 2>&1
done
with=$(find results_Y -name '*TRACE*.csv' | wc -l)
without=$(find results_N -name '*TRACE*.csv' | wc -l)
echo "scalesim 3.0.0 - python -m scalesim.scale -s Y and -s N, one product"
echo "guess: trace files with Y, none with N"
echo "seen:  $with with Y, $without with N ($(find results_N -name '*TRACE*.csv' -exec cat {} + | wc -c) bytes)"
[ "$with $without" = "6 6" ]
