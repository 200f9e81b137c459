"""Packages that add something: the example in an environment of its own, and broken ones, which take nothing along."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import accelsim as acs

EXAMPLE = Path(acs.__file__).parents[1] / "workloads" / "examples" / "plugin"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed into a folder."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, folder / "source")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "site")]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(folder / "source")], check=False, capture_output=True, text=True
    )  # fmt: skip
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("the example is built with hatchling, which is not installed")
    assert done.returncode == 0, done.stderr
    return folder / "site"


def command(site: Path | None, folder: Path) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        paths = [*([str(site)] if site else []), str(Path(acs.__file__).parents[1])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-m", "accelsim", *arguments],
            check=False, capture_output=True, text=True, cwd=folder, env=environment,
        )  # fmt: skip
        errors = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith("compiling")]
        return done.returncode, done.stdout, "".join(errors)

    return call


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Call:
    return command(installed, tmp_path)


def test_the_example_adds_one_of_each(run: Call, tmp_path: Path) -> None:
    assert "wu-only" in run("list", "methods")[1]
    assert "warm-up" in run("list", "recipes")[1]
    assert "example_board" in run("list", "platforms")[1]
    code, out, err = run("simulate", "resnet9_cifar10", "--batch", "8", "--method", "wu-only", "-o", "r.json")
    assert (code, err) == (0, "")
    assert "wu-only" in out
    code, out, err = run("plot", "cycles", "r.json", "-o", "cycles.svg")
    assert (code, err) == (0, "")
    assert (tmp_path / "cycles.csv").read_text().startswith("layer,cycles\n")
    assert "cycles  " in run("plot", "--help")[1]
    run_of_training = ("--batch", "8", "--epochs", "1", "--dataset-size", "8000")
    code, out, err = run("simulate", "resnet9_cifar10", "--method", "warm-up", *run_of_training)
    assert (code, err) == (0, "")
    assert "half as sparse" in out
    code, out, err = run("compare", "resnet9_cifar10", "--batch", "8", "--platform", "example_board")
    assert (code, err) == (0, "")
    assert "example_board" in out
    code, _, err = run("sweep", "resnet9_cifar10", "--batch", "8", "--method", "dense,wu-only", "-o", "s.csv")
    assert (code, err) == (0, "")
    assert ",wu-only," in (tmp_path / "s.csv").read_text()


def test_code_of_another_package_is_part_of_the_digest(installed: Path, tmp_path: Path) -> None:
    def digest(site: Path) -> str:
        code = "from accelsim.base.code import code_digest; print(code_digest())"
        paths = os.pathsep.join([str(site), str(Path(acs.__file__).parents[1])])
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": paths}
        )  # fmt: skip
        return done.stdout

    shutil.copytree(installed, tmp_path / "changed")
    changed = tmp_path / "changed" / "accelsim_example" / "methods.py"
    changed.write_text(changed.read_text() + "\n")
    assert len({digest(tmp_path), digest(installed), digest(tmp_path / "changed")}) == 3


def broken(site: Path, group: str, name: str, text: str) -> Path:
    """A package whose entry point is `text`, without a build."""
    (site / "bad-1.0.dist-info").mkdir(parents=True)
    (site / "bad-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (site / "bad-1.0.dist-info" / "entry_points.txt").write_text(f"[accelsim.{group}]\n{name} = bad:THING\n")
    (site / "bad.py").write_text(text)
    return site


METHOD = "from accelsim.sparsity.methods import Method\nTHING = Method(name='other', title='', source='')\n"


@pytest.mark.parametrize(
    ("group", "name", "text", "why"),
    [
        ("methods", "mine", "import none_such", "ModuleNotFoundError: No module named 'none_such'"),
        ("methods", "mine", "", "AttributeError: module 'bad' has no attribute 'THING'"),
        ("methods", "mine", METHOD, "a Method called 'mine' is needed that does not take its sparsity from the trace"),
        ("methods", "bdwp", METHOD, "another one is called so"),
        ("recipes", "mine", METHOD, "a Recipe called 'mine' is needed"),
        ("platforms", "mine", "THING = 'none.yaml'", "none.yaml: no such file"),
        ("platforms", "mine", "THING = 3", "the path of a .yaml file is needed"),
    ],
)
def test_a_broken_package_is_one_message(tmp_path: Path, group: str, name: str, text: str, why: str) -> None:
    run = command(broken(tmp_path / "site", group, name, text), tmp_path)
    code, out, err = run("list", "platforms" if group == "platforms" else "recipes")
    assert code == 0
    assert "rtx2080ti" in out or "stepwise-decay" in out
    assert err == f"warning: accelsim.{group} '{name}' of the package bad is left out: {why}\n"


def test_a_broken_figure_is_one_message(tmp_path: Path) -> None:
    run = command(broken(tmp_path / "site", "figures", "mine", "THING = 3"), tmp_path)
    (tmp_path / "t.csv").write_text("workload,case,speedup,over\na,b,2,dense\n")
    assert run("plot", "speedup", "t.csv", "-o", "out.svg")[::2] == (0, "")  # which needs nothing of it
    code, _, err = run("plot", "mine", "t.csv", "-o", "out.svg")
    warning, error = err.splitlines()
    assert (code, warning) == (
        2,
        "warning: accelsim.figures 'mine' of the package bad is left out: a Kind is needed, got int",
    )
    assert error.startswith("error: no such figure 'mine'")
