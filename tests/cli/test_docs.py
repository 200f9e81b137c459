"""The pages of documentation are true: every command and snippet runs, on a cluster of this machine where it needs one."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.cli.docs import _PAGES, FOLDER, reference

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(acs.__file__).parents[1]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what stands behind it, and its text."""

    language: str
    about: str
    text: str


def blocks(page: str) -> list[Block]:
    found = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```$", (FOLDER / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE)
    return [Block(language, about.strip(), text) for language, about, text in found]


# A cluster of this machine in the place of SLURM's: what the page calls, and nothing else.
JOBQUEUE = """
from distributed import LocalCluster

class SLURMCluster(LocalCluster):
    def __init__(self, *, cores, processes, memory, walltime):
        assert cores == processes
        super().__init__(n_workers=0, threads_per_worker=1, dashboard_address=":0")

    def scale(self, *, jobs):
        super().scale(2)
"""
SBATCH = """#!/bin/sh
for task in 1 2 3 4; do SLURM_ARRAY_TASK_ID=$task sh "$1" || exit 1; done
"""
KUBECTL = """#!/bin/sh
case "$1 $2" in
  "apply -f") exec {python} -c "import yaml, sys; print(len(list(yaml.safe_load_all(open(sys.argv[1])))), 'objects')" "$3" ;;
  "port-forward service/accelsim-scheduler") exec {python} cluster.py "${{3%%:*}}" ;;
esac
exit 1
"""
CLUSTER = """
import sys, time
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, scheduler_port=int(sys.argv[1]), dashboard_address=":0"):
        time.sleep(600)
"""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[[Block], None]]:
    """Run blocks one after another in one folder, with the commands of this environment and of clusters."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    commands = {
        "accelsim": f'#!/bin/sh\nexec {sys.executable} -m accelsim "$@"\n',
        "dask": f'#!/bin/sh\nexec {sys.executable} -m dask "$@"\n',
        "sbatch": SBATCH,
        "kubectl": KUBECTL.format(python=sys.executable),
    }
    for name, text in commands.items():
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    (tmp_path / "dask_jobqueue.py").write_text(JOBQUEUE)
    (tmp_path / "cluster.py").write_text(CLUSTER)
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": paths}
    started: list[subprocess.Popen[bytes]] = []

    def run(block: Block) -> None:
        name = re.search(r"file=(\S+)", block.about)
        if name:
            (tmp_path / name[1]).write_text(block.text)
            if "background" not in block.about:
                return
        program = [sys.executable, name[1]] if name else ["sh", "-ec", block.text]
        if block.language == "python" and not name:
            program = [sys.executable, "-c", block.text]
        if "background" in block.about:
            silent = subprocess.DEVNULL
            started.append(
                subprocess.Popen(
                    program, cwd=tmp_path, env=environment, stdout=silent, stderr=silent, start_new_session=True
                )
            )
            time.sleep(3)
            return
        done = subprocess.run(program, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (block.text, done.stderr)
        assert done.stdout, block.text

    yield run
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_tutorial_runs(shell: Callable[[Block], None], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    found = blocks("tutorial")
    assert [block.language for block in found] == ["python", "sh", "sh", "sh", "sh", "python"]
    for block in found:
        shell(block)
    for name in ("mynet.json", "speedup.pdf", "speedup.csv", "front.pdf", "stages.pdf"):
        assert (tmp_path / name).stat().st_size > 0


def test_the_how_tos_run(shell: Callable[[Block], None], tmp_path: Path) -> None:
    shutil.copy(ROOT / "workloads" / "examples" / "alexnet_topology.csv", tmp_path / "topology.csv")
    found = blocks("howto")
    text = (FOLDER / "howto.md").read_text()
    assert len(re.findall(r"^## \.\.\. .*\?$", text, re.MULTILINE)) == len(found) == 10
    for block in found:
        shell(block)


def test_the_page_of_clusters_runs(shell: Callable[[Block], None], run: Run, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    found = blocks("cluster")
    assert sum(block.text.count("accelsim ") for block in found if block.language == "sh") == 6
    for block in found:
        shell(block)
    axes = ("--vary", "array.rows=16,32", "--vary", "dram.bandwidth_gb_per_s=10:80:10", "--batch", "64")
    assert run("sweep", "resnet9_cifar10", *axes, "--jobs", "1", "-o", str(tmp_path / "serial.csv"))[0] == 0
    for name in ("two", "file", "slurm", "joined", "kubernetes"):
        assert (tmp_path / f"{name}.csv").read_bytes() == (tmp_path / "serial.csv").read_bytes(), name


def test_pages_are_listed_and_shown(run: Run) -> None:
    code, out, err = run("docs")
    assert (code, err) == (0, "")
    assert [line.split()[2] for line in out.splitlines()] == list(_PAGES)
    assert sorted(_PAGES) == sorted(path.stem for path in FOLDER.glob("*.md"))
    for page in _PAGES:
        assert run("docs", page) == (0, (FOLDER / f"{page}.md").read_text(), "")
    message = (
        "error: docs tutorail: not known; did you mean 'tutorial'?; allowed: tutorial, howto, cluster, reference\n"
    )
    assert run("docs", "tutorail") == (2, "", message)


@pytest.mark.skipif(find_spec("torch") is None, reason="calls of the tracer are part of it")
def test_the_reference_is_that_of_this_code() -> None:
    assert (FOLDER / "reference.md").read_text() == reference(), "make it again: python -m accelsim.cli.docs"
