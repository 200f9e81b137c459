"""What several tests of traces share: operations in short, and the networks of workloads/models."""

import importlib.util
import sys

from accelsim.base.files import packaged_path
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul


def definitions(file):
    """Return ``workloads/models/FILE.py``, which may import its neighbours."""
    path = packaged_path("workloads") / "models" / f"{file}.py"
    spec = importlib.util.spec_from_file_location(f"definitions_{file}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def shown(operation, *, parameters=False):
    """One operation in short: an equal sign, its kind, sizes, weight and marks, and its other parameters if asked for."""
    if isinstance(operation, Linear):
        sizes = f"{operation.in_features}->{operation.out_features} rows {operation.rows} {operation.weight.name}"
    elif isinstance(operation, Matmul):
        sizes = f"{operation.batch} x {operation.m},{operation.k},{operation.n}"
    elif isinstance(operation, Conv | ConvTranspose):
        size, kernel = ("x".join(map(str, value)) for value in (operation.in_size, operation.kernel))
        sizes = f"{operation.in_channels}->{operation.out_channels} on {size} kernel {kernel} groups {operation.groups}"
    else:
        sizes = f"{operation.reads}->{operation.writes}"
    marks = [
        "" if operation.scales_with_batch else " once",
        " recomputed" if operation.recomputed else "",
        " in backward" if operation.backward_only else "",
        " frozen" if getattr(getattr(operation, "weight", None), "frozen", False) else "",
        " no gradient" if operation.input_gradient is False else "",
        " no left gradient" if not getattr(operation, "left_gradient", True) else "",
        " no right gradient" if not getattr(operation, "right_gradient", True) else "",
        " no weight gradient" if getattr(operation, "weight_gradient", None) is False else "",
    ]
    if parameters:
        marks += [f" +{used.name}" for used in operation.other_parameters]
    return f"{operation.name} = {operation.kind} {sizes}{''.join(marks)}"
