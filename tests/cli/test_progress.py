"""Progress on a terminal: on standard error alone, with what is done, the rate and the time left; nothing in files."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from accelsim.cli import axes
from accelsim.cli.calibrate import _progress
from accelsim.cli.progress import progress_bar

Run = Callable[..., tuple[int, str, str]]
Terminal = Callable[[], None]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Make standard error a terminal from the call on."""

    def call() -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    return call


def plain(text: str) -> str:
    """Return text without what moves the cursor and colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_bar_says_how_much_is_done_of_what(capsys: pytest.CaptureFixture[str], terminal: Terminal) -> None:
    terminal()
    with progress_bar("sweep") as show:
        show(3, 40)
        show(7, 40, "array[1]")
    out, err = capsys.readouterr()
    assert out == ""
    last = plain(err).replace("\r", "\n").strip().splitlines()[-1]
    assert re.fullmatch(r"sweep [━╸╺]+ +7/40 +([\d,.e+]+ points/s)? +[-\d]+:[-\d]+:[-\d]+ +array\[1\] *", last), last


def test_no_terminal_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("sweep") as show:
        show(3, 40, "x")
    with _progress(["a", "b"], "tasks") as done:
        done()
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_every_half_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("accelsim.cli.progress.time.monotonic", lambda: now[0])
    with progress_bar("sweep") as show:
        for seconds, done in ((0, 500), (29.9, 1_000), (0.2, 2_006), (10, 3_000), (20, 8_000), (30, 8_000)):
            now[0] += seconds
            show(done, 20_000)
    assert capsys.readouterr() == (
        "",
        "sweep: 2,006 of 20,000 points, 50 points/s, 360 s left\n"
        "sweep: 8,000 of 20,000 points, 125 points/s, 96 s left\n"
        "sweep: 8,000 of 20,000 points, 83 points/s, 144 s left\n",
    )


def test_calibrate_says_what_is_measured(capsys: pytest.CaptureFixture[str], terminal: Terminal) -> None:
    terminal()
    with _progress(["copy", "matmul", "conv"], "tasks") as done:
        done()
        done()
    out, err = capsys.readouterr()
    last = plain(err).replace("\r", "\n").strip().splitlines()[-1]
    assert (out, last.split()[0], last.split()[2], last.split()[-1]) == ("", "calibrate", "2/3", "conv")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["validate", "sore"], "validate 1/1"),
        (["sweep", "resnet9_cifar10", "--batch", "32", "--jobs", "1", "--vary", "array.rows=16,32", "-o", "r.csv"], "sweep 2/2"),
        (["report", "resnet9_cifar10", "--batch", "8", "-o", "page"], "report 7/7"),
        (["validate", "--platforms"], "validate 508/508"),
        (["validate", "--paper"], "validate 644/644"),
        (["report", "--all", "--only", "ablation", "-o", "reports"], "report 1/1"),
    ],
    ids=lambda item: item[0] if isinstance(item, list) else "",
)  # fmt: skip
def test_commands_show_progress_and_print_the_same(
    run: Run, terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], shown: str
) -> None:
    from accelsim.studies.reports import shipped

    monkeypatch.setitem(shipped.REPORTS, "ablation", lambda folder: folder.mkdir(parents=True))
    outputs = []
    for name, on_terminal in (("file", False), ("terminal", True)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if on_terminal:
            terminal()
        code, out, err = run(*arguments)
        outputs.append((code, out))
        last = re.sub(r"[━╸╺]+ +", "", plain(err).replace("\r", "\n").strip()).splitlines()[-1:]
        assert [line.startswith(shown) for line in last] == [True] * on_terminal, err
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == 0


def test_a_trace_over_steps_shows_them(
    run: Run, terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text("import torch\n\ndef make():\n    return torch.nn.Linear(4, 2)\n")
    traced = ["trace", "tiny.py:make", "--input", "4", "-o", "t.json"]
    terminal()
    assert run(*traced)[1:] == ("t.json: 1 operations, 8 MACs forward per sample, 10 parameters\n", "")
    code, out, err = run(*traced, "--steps", "3")
    assert (code, out) == (0, "t.json: 1 operations, 8 MACs forward per sample, 10 parameters\n")
    assert "2/3" in plain(err)


def test_a_flag_in_the_command_that_goes_on_has_no_value() -> None:
    given = {"hw": None, "fits": True, "where": ("batch > 1",), "x": "lut", "jobs": 2}
    assert axes.command_line("search", ["t"], "r.csv", given) == (
        "accelsim search t --fits --where 'batch > 1' -x lut --jobs 2 -o r.csv"
    )
    assert axes.command_line("sweep", ["t"], "r.csv", {"fits": False}) == "accelsim sweep t -o r.csv"
