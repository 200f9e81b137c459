"""Networks whose compiled steps are recorded in ``tests/workload/importers/compiled`` (needs the torch extra).

``python tests/support/compiled_networks.py NAME`` records one again: the second step of `torch.compile` on the CPU, a
batch of 6, SGD; compilation takes up to a minute.
"""

import gzip
import json
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

FOLDER = Path(__file__).parents[1] / "workload" / "importers" / "compiled"
BATCH = 6


class Block(nn.Module):
    """Attention and two linear layers, both after a norm and beside a sum."""

    def __init__(self):
        super().__init__()
        self.n, self.q, self.o = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.m, self.a, self.b = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        q, k, v = (t.view(*t.shape[:2], 2, 8).transpose(1, 2) for t in self.q(self.n(x)).chunk(3, -1))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.b(F.gelu(self.a(self.m(x))))


class Convolutions(nn.Module):
    """Three convolutions, two of the same sizes, and a norm."""

    def __init__(self):
        super().__init__()
        self.a, self.n, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.c, self.h = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 10)

    def forward(self, x):
        x = F.relu(self.b(F.relu(self.n(self.a(x)))))
        return self.h(F.relu(self.c(x)).mean((2, 3)))


def square():
    return nn.Sequential(*(part for _ in range(4) for part in (nn.Linear(16, 16), nn.Tanh())), nn.Linear(16, 3))


class Autocast(nn.Module):
    """Four equal linear layers in bfloat16: the weights are converted in a kernel of the compiler."""

    def __init__(self):
        super().__init__()
        self.d = square()

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.d(x).float()


NETWORKS = {
    "transformer": (lambda: nn.Sequential(nn.Embedding(32, 16), Block(), Block(), nn.Linear(16, 32)), "5:int64:32"),
    "convolutions": (Convolutions, "3x8x8"),
    "square": (square, "16"),
    "autocast": (Autocast, "16"),
}
_EVENT = ("ph", "cat", "name", "pid", "tid", "ts", "dur", "id")
_ARGUMENTS = ("Input Dims", "Input type", "Concrete Inputs", "Input Strides", "Sequence number", "Fwd thread id")
_ATTRIBUTES = ("seq_id", "scope", "tid", "fw_tid")


def _keep(event):
    given = {key: value for key, value in event.get("args", {}).items() if key in _ARGUMENTS}
    return {key: value for key, value in event.items() if key in _EVENT} | ({"args": given} if given else {})


def record(name):
    """Write both recordings of a network, without what the importers do not read."""
    from torch.profiler import ExecutionTraceObserver, profile

    torch.manual_seed(0)
    build, spec = NETWORKS[name]
    model = build()
    shape = [int(size) for size in spec.partition(":")[0].split("x")]
    x = torch.randint(32, (BATCH, *shape)) if ":" in spec else torch.randn(BATCH, *shape)
    optimizer, compiled = torch.optim.SGD(model.parameters(), lr=0.1), torch.compile(model)

    def step():
        compiled(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "profile.json", Path(folder) / "nodes.json"
        observer = ExecutionTraceObserver().register_callback(str(files[1]))
        with profile(record_shapes=True, execution_trace_observer=observer) as made:
            step()
        made.export_chrome_trace(str(files[0]))
        events, nodes = (json.loads(file.read_text()) for file in files)
    calls = [
        _keep(event) for event in events["traceEvents"] if event.get("cat") in {"cpu_op", "user_annotation", "fwdbwd"}
    ]
    for node in nodes["nodes"]:
        node["attrs"] = [entry for entry in node["attrs"] if entry["name"] in _ATTRIBUTES]
    found = {
        "json": {"schemaVersion": 1, "traceEvents": calls},
        "et.json": {"schema": nodes["schema"], "nodes": nodes["nodes"]},
    }
    for suffix, data in found.items():
        (FOLDER / f"{name}.{suffix}.gz").write_bytes(gzip.compress(json.dumps(data).encode(), mtime=0))


if __name__ == "__main__":
    record(sys.argv[1])
