#!/usr/bin/env bash
# The tools that exports are written for, each in an environment of its own below FOLDER:
#   tests/peers/install.sh FOLDER && ACCELSIM_PEERS=FOLDER python -m pytest tests/peers
# AccelForge needs Python 3.12: name one in PYTHON312 where `python3.12` is none; without one its test is skipped.
set -euo pipefail
folder=${1:?which folder}
python312=${PYTHON312:-python3.12}

install() { # environment, interpreter, packages
  "$2" -m venv "$folder/$1"
  "$folder/$1/bin/python" -m pip install -q "${@:3}"
}

mkdir -p "$folder"
install scalesim python3 'scalesim==3.0.0' 'numpy<2.4' # it stops with numpy 2.4
install zigzag python3 'zigzag-dse==3.9.1' six         # imported, not declared
if "$python312" --version >/dev/null 2>&1; then
  install accelforge "$python312" 'accelforge==1.0.467'
fi
