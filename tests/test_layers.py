"""Imports point one way, no module stands in a circle, each heavy library has one home, and a name means one thing."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import pytest

import accelsim

PACKAGE = Path(accelsim.__file__).parent
# The plan of accelsim/ARCHITECTURE.md: each line imports only from lines below it.
PLAN = (
    ("cli",),
    ("studies",),
    ("report",),
    ("plots",),
    ("diff",),
    ("sweep", "calibration", "training"),
    ("platforms", "simulation", "flops"),
    ("results",),
    ("engines", "arrays"),
    ("schedule",),
    ("cost",),
    ("lowering",),
    ("zeros",),
    ("workload", "hardware", "torch"),
    ("sparsity",),
    ("base",),
)
LINE = {room: len(PLAN) - line for line, rooms in enumerate(PLAN) for room in rooms}
HOMES = {
    "numba": {"base/jit.py"},
    "torch": {"workload/tracer", "cli/trace.py", "torch", "calibration/devices"},
    "onnx": {"workload/importers"},  # imported in onnx.py, its types named in the others
    "yaml": {"hardware/sourced.py", "workload/exporting.py"},
    "rich": {"cli"},
    "pyarrow": {"sweep/parquet.py"},
    "distributed": {"sweep/cluster.py"},
    "optuna": {"sweep/search.py"},
    "click": {"cli"},
    "pandas": {"results", "plots", "studies/reports", "studies/region.py"},
    "matplotlib": {"plots"},
    "PIL": {"studies/reports/gallery.py"},
}
# Modules that share a name because they are the same thing at another level.
SAME_THING = {
    "ablation", "accuracy", "axes", "compiled", "contenders", "course", "diff", "exporting", "flops", "gains", "importing", "masks", "methods", "overlap",
    "paper", "pareto", "platforms", "plot", "progress", "region", "report", "results", "rules", "scalesim", "schedule", "search", "sweep",
    "timeline", "trace", "training", "validation",
}  # fmt: skip
# Classes that share a name: public ones, and the same thing read by different doors.
SAME_CLASS = {
    "Call", "Part", "Roles", "Schedule", "Seen", "Step", "Weight", "Work", "_Use",
}  # fmt: skip
LONGEST = 700


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module of the package by dotted name, packages by their own."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = ["accelsim", *path.relative_to(package).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def import_nodes(text: str) -> tuple[tuple[ast.Import | ast.ImportFrom, bool], ...]:
    """The import statements of a source, and whether they run with it (not in a function, not for types alone)."""
    found = []

    def walk(node: ast.AST, at_once: bool) -> None:
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                found.append((inner, at_once))
            elif isinstance(inner, ast.FunctionDef) or (
                isinstance(inner, ast.If) and "TYPE_CHECKING" in ast.dump(inner.test)
            ):
                walk(inner, at_once=False)
            elif isinstance(inner, ast.stmt | ast.ExceptHandler):
                walk(inner, at_once)

    walk(ast.parse(text), at_once=True)
    return tuple(found)


def imports(name: str, path: Path, more: str = "") -> Iterator[tuple[str, bool]]:
    """What a module imports, with lines added to it, and whether when it is imported itself."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node, at_once in (*import_nodes(path.read_text()), *import_nodes(more)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        else:
            base = [*package[: len(package) + 1 - node.level], *([node.module] if node.module else [])]
            module = ".".join(base) if node.level else str(node.module)
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield (full if full in MODULES else module), at_once


def faults(planted: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Imports that run upward or sideways, or that take names from the face of the package, and circles.

    `planted`: lines added to modules.
    """
    wrong, graph = [], defaultdict(set)
    for name, path in MODULES.items():
        room = name.split(".")[1] if "." in name else ""
        for wanted, at_once in imports(name, path, planted.get(name, "")):
            parts = wanted.split(".")
            if parts[0] != "accelsim":
                continue
            if at_once and wanted != name:
                graph[name].add(wanted)
            if room in {"", "__main__"}:
                continue
            if len(parts) == 1:
                wrong.append(f"{name} imports from accelsim, not from a room")
            elif (parts[1] != room and LINE[parts[1]] >= LINE[room]) or (
                room == "studies" and parts[2:3] == ["reports"] and "reports" not in name
            ):
                wrong.append(f"{name} imports {wanted}, which is not below it")
    return wrong + [f"circle: {' -> '.join(circle)}" for circle in circles(graph)]


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """A way through each circle of modules that import each other."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> Iterator[list[str]]:
        if name in way:
            yield [*way[way.index(name) :], name]
        elif name not in done:
            for wanted in sorted(graph.get(name, ())):
                yield from walk(wanted, [*way, name])
            done.add(name)

    for name in sorted(graph):
        yield from walk(name, [])


def test_imports_point_downward_and_never_in_a_circle() -> None:
    assert faults() == []


@pytest.mark.parametrize(
    ("module", "line", "want"),
    [
        ("accelsim.sparsity.pattern", "import accelsim.workload.trace", "accelsim.sparsity.pattern imports accelsim.workload.trace, which is not below it"),
        ("accelsim.hardware.design", "from accelsim.workload import trace", "accelsim.hardware.design imports accelsim.workload.trace, which is not below it"),
        ("accelsim.results.step", "def late():\n    from accelsim.cli import main", "accelsim.results.step imports accelsim.cli, which is not below it"),
        ("accelsim.cost.gemm", "from accelsim import Design", "accelsim.cost.gemm imports from accelsim, not from a room"),
        ("accelsim.base.units", "from ..sparsity import pattern", "accelsim.base.units imports accelsim.sparsity.pattern, which is not below it"),
        ("accelsim.studies.paper", "from accelsim.studies.reports import paper", "accelsim.studies.paper imports accelsim.studies.reports.paper, which is not below it"),
        ("accelsim.base.errors", "import accelsim.base.files", "circle: accelsim.base.errors -> accelsim.base.files -> accelsim.base.errors"),
    ],
    ids=["up", "sideways", "in a function", "face", "relative", "study to report", "circle"],
)  # fmt: skip
def test_planted_imports_are_found(module: str, line: str, want: str) -> None:
    assert want in faults({module: line})


def test_the_plan_is_that_of_the_architecture() -> None:
    page = (PACKAGE / "ARCHITECTURE.md").read_text()
    plan = page.split("```")[1].splitlines()[1:]
    rooms = [tuple(word.strip("/") for word in line[:34].replace(".py", "").split()) for line in plan if line.strip()]
    assert tuple(rooms) == PLAN
    found = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
    }
    assert found - {"__init__", "__main__"} == set(LINE)


def test_modules_share_a_name_only_where_they_are_the_same_thing() -> None:
    where = defaultdict(list)
    for name in MODULES:
        where[name.rpartition(".")[2]].append(name)
    assert {word for word, names in where.items() if len(names) > 1} <= SAME_THING


def test_classes_share_a_name_only_where_they_are_the_same_thing() -> None:
    trees = [ast.parse(path.read_text()) for path in MODULES.values()]
    names = [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert {name for name in names if names.count(name) > 1} <= SAME_CLASS


def hidden_modules(package: Path = PACKAGE) -> list[str]:
    """Modules that a name in the ``__init__`` of their package hides: ``import a.b as b`` would give something else."""
    known, found = modules(package), []
    for name, path in known.items():
        for node in ast.parse(path.read_text()).body if path.name == "__init__.py" else ():
            if isinstance(node, ast.ImportFrom):
                bound = {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                bound = {node.name: f"a definition in {name}"}
            else:
                continue
            found += [f"{name}.{word}" for word, what in bound.items() if f"{name}.{word}" in known.keys() - {what}]
    return found


def test_no_name_hides_a_module(tmp_path: Path) -> None:
    assert hidden_modules() == []
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "event.py").write_text("def run(): ...")
    (tmp_path / "engines" / "closed.py").write_text("def run(): ...")
    (tmp_path / "engines" / "__init__.py").write_text(
        "from accelsim.engines import closed\nfrom accelsim.engines.event import run as event"
    )
    assert hidden_modules(tmp_path) == ["accelsim.engines.event"]


def test_no_file_is_longer_than_can_be_read() -> None:
    assert [path.name for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > LONGEST] == []


def test_heavy_libraries_have_one_home() -> None:
    for name, path in MODULES.items():
        relative = path.relative_to(PACKAGE)
        for wanted, _ in imports(name, path):
            homes = HOMES.get(wanted.split(".")[0])
            assert homes is None or any(relative.is_relative_to(home) for home in homes), f"{relative} imports {wanted}"


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
    with pytest.raises(
        ModuleNotFoundError, match=r"^tracing needs PyTorch: pip install -e '\.\[torch\]' in the folder of accelsim$"
    ):
        _ = accelsim.tracing
