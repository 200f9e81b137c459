"""Kernels compile with and without a cache on disk; what is cached belongs to the text of all kernels."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import accelsim
from accelsim.base.jit import compiled_before, jit, kernel_files
from accelsim.cost.compiled.values import records, whole

PACKAGE = Path(accelsim.__file__).parent

# Prints a value of a kernel that calls another file's function, and what the disk cache did.
CALLER = """
from accelsim.base.jit import compiled_before
from accelsim.cost.compiled.unit_pace import sore_cycles

known = compiled_before(sore_cycles)
print(sore_cycles(10, 4, 2), known, sum(sore_cycles.stats.cache_hits.values()), sore_cycles.stats.cache_path)
"""

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, without anything compiled."""
    copy = tmp_path / "accelsim"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def call(package: Path, **environment: str) -> tuple[int, bool, int, Path | None]:
    """Run `CALLER` on a copy: the value, whether it was said to be compiled, loads from the cache, where that is."""
    cleared = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", CALLER],
        cwd=package.parent,
        env={**cleared, "PYTHONPATH": str(package.parent), **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    value, known, hits, path = done.stdout.split(maxsplit=3)
    return int(value), known == "True", int(hits), None if path.strip() == "None" else Path(path.strip())


@compiled_only
def test_a_compiled_caller_follows_a_helper_in_another_file(package: Path) -> None:
    value, known, hits, path = call(package)
    assert (value, known, hits) == (8, False, 0)
    assert call(package) == (8, True, 1, path)
    assert path is not None
    assert path.is_relative_to(package / "__pycache__" / "kernels")

    helper = package / "cost" / "compiled" / "array_timing.py"
    text = helper.read_text()
    assert text.count("    return -(-a // b)\n") == 1
    helper.write_text(text.replace("    return -(-a // b)\n", "    return a // b\n"))
    value, known, hits, changed = call(package)
    assert (value, known, hits) == (4, False, 0)
    assert changed is not None
    assert changed != path
    assert not path.exists(), "what belongs to the text before is still there"


@compiled_only
def test_a_new_version_of_the_package_compiles_anew(package: Path) -> None:
    call(package)
    version = package / "base" / "version.py"
    version.write_text(version.read_text().replace(accelsim.__version__, "99.0"))
    assert call(package)[:3] == (8, False, 0)


@compiled_only
def test_the_cache_of_the_user_is_taken_where_the_package_cannot_be_written(package: Path, tmp_path: Path) -> None:
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "kernels").write_text("in the way of a folder")
    cache = tmp_path / "cache"
    value, known, hits, path = call(package, XDG_CACHE_HOME=str(cache))
    assert (value, known, hits) == (8, False, 0)
    assert path is not None
    assert path.is_relative_to(cache / "accelsim")
    assert call(package, XDG_CACHE_HOME=str(cache)) == (8, True, 1, path)
    # and no cache where that is impossible, too
    assert call(package, XDG_CACHE_HOME=str(package / "__init__.py")) == (8, False, 0, None)


@compiled_only
def test_settings_of_numba_choose_the_place_but_not_the_rule(package: Path, tmp_path: Path) -> None:
    chosen = {"NUMBA_CACHE_DIR": str(tmp_path / "chosen"), "NUMBA_CACHE_LOCATOR_CLASSES": "InTreeCacheLocator"}
    _, _, _, path = call(package, **chosen)
    assert path is not None
    assert path.is_relative_to(tmp_path / "chosen" / "accelsim")
    assert call(package, **chosen) == (8, True, 1, path)
    assert not list(package.rglob("*.nbi"))


def test_kernels_compile_where_numba_has_no_place_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*, cache: bool = False):
        def wrap(function):
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return function

        return wrap

    monkeypatch.setattr(numba, "njit", refusing)
    before = numba.config.CACHE_DIR
    assert jit(len)([1, 2]) == 2
    assert before == numba.config.CACHE_DIR


def test_a_fresh_function_was_not_compiled_before() -> None:
    def double(value):
        return 2 * value

    kernel = jit(double)
    assert getattr(kernel, "stats", None) is None or not compiled_before(kernel)


def imports(file: Path) -> set[str]:
    """Modules of the package that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.partition(".")[0] == "accelsim"}


def test_all_that_is_compiled_stands_in_kernel_files() -> None:
    kernels = set(kernel_files())
    assert len(kernels) > 10
    decorated = re.compile(r"^@(jit|borrowing)$", re.MULTILINE)
    assert {file for file in PACKAGE.rglob("*.py") if decorated.search(file.read_text(encoding="utf-8"))} <= kernels
    for file in kernels:
        others = {name for name in imports(file) if name != "accelsim.base.jit" and ".compiled." not in name}
        assert others == set(), f"{file}: a change of {others} would not be noticed"


@pytest.mark.parametrize("engine", ["closed", "event"])
def test_a_step_without_compilation_is_the_same(engine: str, tmp_path: Path) -> None:
    command = ["simulate", "resnet9_cifar10", "--batch", "64", "--method", "bdwp", "--engine", engine, "-o"]
    for name, value in [("compiled.json", "0"), ("interpreted.json", "1")]:
        subprocess.run(
            [sys.executable, "-m", "accelsim", *command, str(tmp_path / name)],
            env={**os.environ, "NUMBA_DISABLE_JIT": value}, check=True, capture_output=True,
        )  # fmt: skip
    assert (tmp_path / "interpreted.json").read_bytes() == (tmp_path / "compiled.json").read_bytes()


def test_fields_of_records_do_not_hide_behind_those_of_numpy() -> None:
    with pytest.raises(AssertionError, match=r"^names of numpy's own: \{'size'\}"):
        records(whole(("size", "trips")))
