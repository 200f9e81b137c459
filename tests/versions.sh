#!/usr/bin/env bash
# The tests under another Python, or with the lowest versions of dependencies that pyproject.toml allows:
#
#   tests/versions.sh 3.13                      the newest versions on Python 3.13
#   tests/versions.sh 3.11 lowest               the lowest ones on Python 3.11
#   tests/versions.sh 3.12 newest tests/base    these tests alone
#
# uv makes the environment and finds the Python, or downloads it where it may; not part of CI, which has one Python.
set -euo pipefail
python=${1:?which Python, as in 3.13}
resolution=$([ "${2:-newest}" = lowest ] && echo lowest-direct || echo highest)
tests=("${@:3}")
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/uv"
"$scratch/uv/bin/pip" install -q uv
"$scratch/uv/bin/uv" venv -q --python "$python" "$scratch/venv"
"$scratch/uv/bin/uv" pip install -q --python "$scratch/venv/bin/python" --resolution "$resolution" '.[test]'
"$scratch/uv/bin/uv" pip list -q --python "$scratch/venv/bin/python"
"$scratch/venv/bin/python" -m pytest -q -n auto "${tests[@]}"
