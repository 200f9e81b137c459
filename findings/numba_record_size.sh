#!/usr/bin/env bash
# numba: a record's field called `size` holds its value in compiled functions and is 1 in the same ones run interpreted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q 'numba==0.68.1' 'numpy==2.4.6'
cd "$folder"
cat >kernel.py <<'PYTHON'
import numba
import numpy as np

TILE = np.dtype((np.record, [("size", np.int64), ("trips", np.int64)]))


@numba.njit
def elements(tiles):
    total = 0
    for index in range(tiles.shape[0]):
        tiles[index].size = 10 * (index + 1)
        tiles[index].trips = 2
        total += tiles[index].size * tiles[index].trips
    return total


print(int(elements(np.zeros(3, TILE))))
PYTHON
venv/bin/python - <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version


def run(disabled):
    environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled}
    return int(subprocess.run([sys.executable, "kernel.py"], env=environment, capture_output=True, check=True).stdout)


compiled, interpreted = run("0"), run("1")
print("numba", version("numba"), "numpy", version("numpy"), "- tiles of 10, 20, 30 elements, 2 trips each, in an array of records")
print("guess: a kernel run with NUMBA_DISABLE_JIT=1, as one does to find a bug, gives what it gives compiled: 120")
print("seen: ", compiled, "compiled,", interpreted, "interpreted, and no warning: numpy's own attribute `size` is read, the field written")
sys.exit((compiled, interpreted) != (120, 6))
PYTHON
