"""Fixtures of sparse training: one thread, a recorder of operands, and networks trained once for all tests."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import accelsim

try:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
except ModuleNotFoundError:  # the tests are skipped then, and nothing here runs
    TorchDispatchMode = object


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Operands(TorchDispatchMode):
    """Keeps the operands of every product, as the multiplication receives them: weight and gradient, by stage."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name == "convolution":
            self.seen.append({"stage": "FF", "weight": args[1].clone()})
        elif name == "convolution_backward":
            for stage, wanted in zip(("BP", "WU"), args[-1], strict=False):
                if wanted:
                    self.seen.append({"stage": stage, "gradient": args[0].clone(), "weight": args[2].clone()})
        elif name in {"mm", "addmm"}:
            left, right = args[-2:]
            self.seen.append({"stage": name, "left": left.clone(), "right": right.clone()})
        return func(*args, **(kwargs or {}))


@pytest.fixture
def operands() -> Callable[..., list[dict[str, Any]]]:
    """Return the operands of the products of one forward and backward pass, in order."""

    def record(model: Any, x: Any) -> list[dict[str, Any]]:
        with Operands() as recorder:
            y = model(x)
            y.backward(torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape).sin())
        return recorder.seen

    return record


@pytest.fixture(scope="session")
def digits() -> ModuleType:
    """Return `workloads/models/digits.py`."""
    pytest.importorskip("sklearn")
    path = Path(accelsim.__file__).parents[1] / "workloads" / "models" / "digits.py"
    if not path.exists():
        pytest.skip("an installed wheel has its workloads elsewhere")
    spec = importlib.util.spec_from_file_location("digits", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["digits"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def trained(digits: ModuleType) -> Callable[[str], Any]:
    """Return the digits network trained under a method with 2:8; each method is trained once. Not to be changed."""
    return cache(digits.train)
