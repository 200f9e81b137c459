"""Imports point one way, and each heavy library has one home."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import accelsim

PACKAGE = Path(accelsim.__file__).parent
ORDER = (
    "errors",
    "units",
    "markup",
    "jit",
    "files",
    "sparsity",
    "torch",
    "workload",
    "hardware",
    "measurements",
    "measuring",
    "calibration",
    "calibration_files",
    "update",
    "step",
    "summary",
    "cost",
    "schedule",
    "engines",
    "energy",
    "results",
    "training_results",
    "performance",
    "simulation",
    "training",
    "timeline_file",
    "timeline",
    "sweep",
    "comparison",
    "paper",
    "sensitivity",
    "ablation",
    "random_checks",
    "overlap_check",
    "platforms",
    "validation",
    "plots",
    "workloads_report",
    "ablation_report",
    "paper_report",
    "figures",
    "plotting",
    "report",
    "sweep_report",
    "validation_report",
    "platforms_report",
    "shipped_reports",
    "calibration_residuals",
    "cli",
    "gallery",
)
HOMES = {
    "numba": {"jit.py"},
    "torch": {"workload/tracer", "cli/trace.py", "torch", "measuring"},
    "onnx": {"workload/importers/onnx.py"},
    "yaml": {"hardware/sourced.py"},
    "rich": {"cli"},
    "pyarrow": {"sweep/parquet.py"},
    "distributed": {"sweep/cluster.py"},
    "optuna": {"sweep/search.py"},
    "click": {"cli"},
    "pandas": {
        "results.py",
        "training_results.py",
        "plots",
        "figures.py",
        "workloads_report.py",
        "ablation_report.py",
        "paper_report.py",
        "platforms_report.py",
        "plotting.py",
        "sweep_report.py",
    },
    "matplotlib": {"plots", "plotting.py"},
    "PIL": {"gallery.py"},
}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name not in {"__init__.py", "__main__.py"})


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    own = ORDER.index(relative.parts[0].removesuffix(".py"))
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "accelsim" and len(parts) > 1 and parts[1] in ORDER:
            assert ORDER.index(parts[1]) <= own, f"{relative} imports {name}"
        homes = HOMES.get(parts[0])
        assert homes is None or any(relative.is_relative_to(home) for home in homes), f"{relative} imports {name}"


def test_help_imports_nothing_heavy() -> None:
    heavy = ("numpy", "pandas", "numba", "matplotlib", "torch", "pydantic", "yaml", "rich", "simpy")
    code = (
        "import sys; from accelsim.cli import main; main(['--help']);"
        f" print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_public_names_are_importable() -> None:
    for name in accelsim.__all__:
        if "tracer" not in accelsim._HOMES[name] or find_spec("torch"):
            assert getattr(accelsim, name) is not None
    with pytest.raises(AttributeError, match=r"^module 'accelsim' has no attribute 'simulat'$"):
        _ = accelsim.simulat


def test_without_torch_the_tracer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("accelsim.workload.tracer", "accelsim.torch"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"^tracing needs PyTorch: pip install 'accelsim\[torch\]'$"):
        _ = accelsim.tracing
