#!/usr/bin/env bash
# The libraries whose networks are traced, in an environment of their own: tests/networks/install.sh FOLDER
# torchvision's operators need a CUDA build of torch; timm needs only its Python part (tests/networks/libraries.py).
set -euo pipefail
folder=${1:?which folder}
python3 -m venv "$folder"
"$folder/bin/pip" install -q 'torch==2.13.0'
"$folder/bin/pip" install -q 'torch==2.13.0' -e "$(dirname "$0")/../.." 'transformers==5.24.0' 'peft==0.21.2' \
  'diffusers==0.42.1' 'torch_geometric==2.8.1' 'opacus==1.6.0' pillow
"$folder/bin/pip" install -q --no-deps 'torchvision==0.28.0' 'timm==1.0.31'
