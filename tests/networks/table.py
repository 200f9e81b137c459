"""Networks of the libraries of the field, traced and counted: ``reports/tracing``.

Not collected by pytest and not run by CI, as it needs libraries that nothing else does::

    tests/networks/install.sh FOLDER && FOLDER/bin/python tests/networks/table.py reports/tracing

Each network is made from its configuration at a tiny size, without weights from anywhere, and one training step of two
samples is traced. The count beside it is independent: the shapes of what torch dispatches, and no more. A trace that
grows with the batch is also held against the count of a step of three samples.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from libraries import NETWORKS, Network
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

import accelsim as acs
from accelsim.base.files import write_atomically
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.methods import find_method

SAMPLES = 2
FACTORS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addbmm": 1, "addmv": 1, "_grouped_mm": 0}


class Count(TorchDispatchMode):
    """Sums the multiply-accumulates of what is dispatched, by shapes alone."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__.rstrip("_")
        if name in FACTORS:
            left, right = args[FACTORS[name] : FACTORS[name] + 2]
            self.macs += left.numel() * (right.shape[-1] if right.dim() > 1 else 1)
        elif name == "convolution":
            self.macs += (args[0] if args[6] else out).numel() * args[1][0].numel()
        elif name == "convolution_backward":
            self.macs += sum(args[10][:2]) * (args[1] if args[7] else args[0]).numel() * args[2][0].numel()
        return out


def loss_of(output: Any) -> Tensor:
    """The mean of everything that a network returns and that has a gradient."""
    found: list[Tensor] = []

    def walk(item: Any) -> None:
        if isinstance(item, Tensor):
            if item.is_floating_point() and item.requires_grad:
                found.append(item)
        elif isinstance(item, dict):
            for value in item.values():
                walk(value)
        elif isinstance(item, list | tuple):
            for value in item:
                walk(value)
        elif hasattr(item, "sample"):
            walk(item.sample)

    walk(output)
    return sum((item.float().mean() for item in found), torch.zeros(()))


def step_of(network: Network, model: torch.nn.Module, samples: int) -> Callable[[], Tensor]:
    torch.manual_seed(samples)
    inputs = network.inputs(samples)
    return lambda: loss_of(model(**inputs) if isinstance(inputs, dict) else model(*inputs))


def counted(network: Network, model: torch.nn.Module, samples: int) -> int:
    step = step_of(network, model, samples)
    torch.manual_seed(0)
    with sdpa_kernel(SDPBackend.MATH), Count() as count:
        step().backward()
    model.zero_grad(set_to_none=True)
    return count.macs


def traced(trace: acs.Trace, samples: int) -> int:
    step = lower(trace, acs.load_design("sat_vcu1525"), find_method("dense"), pattern=None, batch=samples)
    return sum(task.macs for task in step.tasks if isinstance(task, Gemm))


def row_of(network: Network) -> dict[str, Any]:
    torch.manual_seed(0)
    row: dict[str, Any] = {"network": network.name, "library": f"{network.library} {version(network.library)}"}
    try:
        model = network.make().train()
        for module in model.modules():  # what is dropped at random, and with it the routing, is the same every time
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trace = acs.trace(step_of(network, model, SAMPLES), model, name=network.name, batch=network.batch)
        pairs = [(traced(trace, SAMPLES if network.batch is None else network.batch), counted(network, model, SAMPLES))]
        if network.grows:
            pairs.append((traced(trace, SAMPLES + 1), counted(network, model, SAMPLES + 1)))
    except Exception as error:  # a row that says so
        return {**row, "equal": "no", "remark": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    return {
        **row, "parameters": trace.parameters, "MACs ours": pairs[0][0], "independent count": pairs[0][1],
        "equal": "yes" if pairs[0][0] == pairs[0][1] else "no",
        "equal at 3 samples": ("yes" if pairs[1][0] == pairs[1][1] else f"no: {pairs[1][0]:,} against {pairs[1][1]:,}")
        if network.grows else "does not grow", "remark": network.remark,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Trace networks of public libraries and count their products.")
    parser.add_argument("folder", type=Path, help="where table.csv and README.md go")
    parser.add_argument("--only", default="", help="networks whose name holds this; nothing is written then")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for network in NETWORKS:
        if chosen.only in network.name:
            rows.append(row_of(network))
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    table = pd.DataFrame(rows)
    equal = int(((table["equal"] == "yes") & table["equal at 3 samples"].isin(["yes", "does not grow"])).sum())
    if chosen.only:
        return 0 if equal == len(table) else 1
    for column in ("parameters", "MACs ours", "independent count"):
        table[column] = table[column].astype("Int64")
    table = table.fillna({"equal at 3 samples": "", "remark": ""})
    chosen.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(chosen.folder / "table.csv", table.to_csv(index=False, lineterminator="\n"))
    lines = [
        "# Networks of public libraries, traced and counted", "",
        "Made by `tests/networks/install.sh FOLDER && FOLDER/bin/python tests/networks/table.py reports/tracing`"
        f" with torch {version('torch').partition('+')[0]}.", "",
        f"{equal} of {len(table)} networks, each made from its configuration at a tiny size: multiply-accumulates of a"
        " training step of two samples", "(FF, BP and WU) in the trace, and by a count of the shapes that torch"
        " dispatches; and those of three samples from the same trace.", "",
        "| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns),
        *("| " + " | ".join("" if pd.isna(cell) else str(cell) for cell in row) + " |" for row in table.itertuples(index=False)),
    ]  # fmt: skip
    write_atomically(chosen.folder / "README.md", "\n".join(lines) + "\n")
    return 0 if equal == len(table) else 1


if __name__ == "__main__":
    sys.exit(main())
