"""The shell completes traces, designs, methods and fields of a design."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]


def completed(words: str) -> list[str]:
    """What bash would be told behind these words, the last of which is begun."""
    environment = {
        **os.environ, "_ACCELSIM_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "accelsim"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("accelsim sim", ["simulate"]),
        ("accelsim simulate resnet9_c", ["resnet9_cifar10"]),
        ("accelsim simulate x --hw sat_ed", ["sat_edge_zcu104"]),
        ("accelsim simulate x --method bd", ["bdwp"]),
        ("accelsim sweep x --method dense,bd", ["dense,bdwp"]),
        ("accelsim simulate x --set array.r", ["array.rows=", "array.row_port_elements_per_cycle="]),
        ("accelsim sweep edge_b", ["edge_budget"]),
        ("accelsim compare x --platform rtx2080", ["rtx2080ti"]),
    ],
)
def test_values_are_completed(words: str, wanted: list[str]) -> None:
    assert set(wanted) <= set(completed(words))
    assert all(item.startswith(words.rsplit(maxsplit=1)[-1]) for item in completed(words))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(run: Run, shell: str) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("no bash")
    code, out, err = run("completion", shell)
    assert (code, err) == (0, "")
    assert f"_ACCELSIM_COMPLETE={shell}_complete" in out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=out, text=True, check=True)


def test_another_shell(run: Run) -> None:
    message = "error: completion bahs: not known; did you mean 'bash'?; allowed: bash, zsh, fish\n"
    assert run("completion", "bahs") == (2, "", message)
