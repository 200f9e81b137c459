#!/usr/bin/env bash
# torch 2.13.0: the sum of a grouped product cannot be differentiated, that of the same products one by one can.
set -u
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" && "$folder/venv/bin/pip" install -q torch==2.13.0 numpy || exit 2
cat > "$folder/run.py" <<'PY'
import sys

import torch
import torch.nn.functional as F

print("package: torch", torch.__version__)
print("guess: y = grouped_mm(x, w, offs) has the gradients of its products, whatever is done with y")
ends = [3, 3, 8, 12]
x, w = torch.randn(12, 16, requires_grad=True), torch.randn(4, 16, 32, requires_grad=True)
one_by_one = torch.cat([x[start:end] @ w[i] for i, (start, end) in enumerate(zip([0, *ends], ends))])
grouped = F.grouped_mm(x, w, offs=torch.tensor(ends, dtype=torch.int32))
same = torch.allclose(grouped, one_by_one, atol=1e-4)
expected = torch.autograd.grad(one_by_one.sum(), x, retain_graph=True)[0]
try:
    (got,) = torch.autograd.grad(grouped.sum(), x, retain_graph=True)
    seen = f"a gradient, equal: {torch.allclose(got, expected, atol=1e-4)}"
except RuntimeError as error:
    seen = f"RuntimeError: {str(error).splitlines()[0]}"
(dense,) = torch.autograd.grad(grouped, x, torch.ones_like(grouped))
print("seen: the products are equal:", same)
print("seen: gradient of y.sum(), whose gradient of y is expanded (strides 0, 0):", seen)
print("seen: the same gradient given as ones_like(y), equal:", torch.allclose(dense, expected, atol=1e-4))
sys.exit(0 if same and "strides" in seen and torch.allclose(dense, expected, atol=1e-4) else 1)
PY
"$folder/venv/bin/python" "$folder/run.py"
