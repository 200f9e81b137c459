"""`accelsim report` from the command line: what it writes, the command it states, and whole messages for bad input."""

import html
import json
import re
import shlex
from pathlib import Path

import pytest
from changed_results import as_if, of_version

import accelsim as acs
from accelsim.studies.reports.shipped import REPORTS

TRACE = "resnet9_cifar10"


def command_in(page: Path) -> list[str]:
    found = re.search(r"<pre><code>(.*?)</code></pre>", page.read_text())
    assert found is not None
    return shlex.split(html.unescape(found[1]))


SMALLER = "sat_vcu1525 + array 16x32x2"


def test_a_trace_becomes_a_report_that_states_its_command(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["report", TRACE, "--method", "sr-ste", "--pattern", "2:4", "--batch", "16", "--set", "array.rows=16",
                 "--dense", "layer1.*", "-o", "my report"]  # fmt: skip
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    page = Path("my report") / "index.html"
    assert out == f"written: {page}\n"
    steps = (page.parent / "steps.csv").read_text().splitlines()
    assert [line.split(",")[:5] for line in steps[1:]] == [
        [TRACE, SMALLER, "dense", "", "16"],
        [TRACE, SMALLER, "sr-ste", "2:4", "16"],
    ]
    assert "kept dense, --dense" in page.read_text()
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    command = command_in(page)
    assert command[:2] == ["accelsim", "report"]
    assert sorted(command[2:]) == sorted(arguments[1:])
    assert run(*command[1:])[0] == 0
    assert {path.name: path.read_bytes() for path in page.parent.iterdir()} == before


def test_results_of_files_become_a_report(run, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    assert run("compare", TRACE, "--batch", "16", "-o", str(results))[0] == 0
    code, out, err = run("report", str(results), "-o", str(tmp_path / "r"))
    assert (code, out, err) == (0, f"written: {tmp_path / 'r' / 'index.html'}\n", "")
    text = (tmp_path / "r" / "index.html").read_text()
    assert "The results were read from files, which do not hold the trace that was simulated" in text
    assert run("report", str(results), "--hw", "sat_vcu1525", "-o", str(tmp_path / "r"))[0] == 0


@pytest.fixture
def files(tmp_path: Path, sat: acs.Design, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that are not to be reported on, in the working directory."""
    monkeypatch.chdir(tmp_path)
    good = acs.simulate(acs.load_trace(TRACE), sat, batch=16)
    result = good.to_dict()
    lacking = {key: value for key, value in result.items() if key != "energy"}
    contents = {
        "good.json": result,
        "empty.json": [],
        "none.json": {"format": "accelsim-comparison/2", "results": []},
        "lacking.json": lacking,
        "versions.json": [result, of_version(as_if(good, method="sdgp"), "0.0.9").to_dict()],
        "timeline.json": {"traceEvents": []},
    }
    for name, data in contents.items():
        Path(name).write_text(json.dumps(data))
    Path("broken.json").write_text('{"format": ')
    Path("layers.csv").write_text("name,stage\nconv1,FF\n")
    Path("notes.txt").write_text("hello")
    Path("taken").mkdir()
    (Path("taken") / "thesis.txt").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "report: name a trace or result files, or make the shipped reports again with --all"),
        (["empty.json"], "empty.json: no results to report on"),
        (["none.json"], "none.json: no results to report on"),
        (["lacking.json"], "lacking.json: energy: missing"),
        (["versions.json"], "results of versions 0.0.9, 0.1.0: simulate them again with one version"),
        (["good.json", "good.json"], "resnet9_cifar10: bdwp 2:8 is there twice; files of different names tell results apart"),
        (["good.json", "--hw", "sat_vcu1525_dense"],
         "--hw sat_vcu1525_dense: good.json was made on sat_vcu1525, another design: array.patterns "),
        (["good.json", "--set", "array.rows=16"],
         "--set array.rows: good.json was made on sat_vcu1525, another design: array.rows 16 (there 32); leave the option"
         " out, or simulate again"),
        (["good.json", "--batch", "16"], "--batch: good.json holds results, which say so already"),
        ([TRACE, "good.json"], "resnet9_cifar10: a trace is to be simulated, good.json holds results; report on either"),
        (["layers.csv"], "layers.csv: results are read from .json; a .csv holds their layers alone"),
        (["timeline.json"],
         "timeline.json: format: got null; allowed: accelsim-result/2, accelsim-comparison/2"),
        (["absent.json"], "absent.json: no such file"),
        (["broken.json"], "broken.json: not valid JSON: Expecting value at line 1, column 12 (the file ends there: truncated?)"),
        (["notes.txt"], "notes.txt: got suffix '.txt'; traces and results are .json or .json.gz"),
        (["resnet9"], "trace 'resnet9': neither a file nor a shipped trace; did you mean 'resnet9_cifar10'?"),
        ([TRACE, "--method", "bdpw"], "method 'bdpw' is not known; did you mean 'bdwp'?; allowed: dense,"),
        ([TRACE, "-o", "taken"], "taken: holds thesis.txt, which no report wrote; name a folder that is new or empty"),
        ([TRACE, "-o", "good.json"], "-o good.json: good.json is no directory"),
        (["--only", "paper"], "--only paper: belongs to --all, which makes the shipped reports again"),
        (["--all", "--only", "papers"],
         f"report 'papers': not known; did you mean 'paper'?; allowed: {', '.join(REPORTS)}"),
        (["--all", TRACE], "resnet9_cifar10: --all makes the shipped reports again, which know no such choice"),
        (["--all", "--batch", "1"], "--batch: --all makes the shipped reports again, which know no such choice"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error_and_leaves_nothing(run, files: Path, arguments: list[str], message: str) -> None:
    before = sorted(files.rglob("*"))
    code, out, err = run("report", *([] if "-o" in arguments else ["-o", "out"]), *arguments)
    assert (code, out) == (2, "")
    whole = message.endswith((",", "'?", " "))  # lists of what is shipped or allowed follow
    assert err.startswith(f"error: {message}") if whole else err == f"error: {message}\n"
    assert sorted(files.rglob("*")) == before


def test_the_folder_must_be_named(run) -> None:
    assert run("report", TRACE)[2] == "error: Missing option '-o' / '--output'. (try: accelsim report --help)\n"


def test_one_shipped_report_is_made_alone(run, tmp_path: Path) -> None:
    code, out, err = run("report", "--all", "--only", "array_bandwidth", "-o", str(tmp_path))
    assert (code, out, err) == (0, f"written: {tmp_path / 'array_bandwidth'}\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["array_bandwidth"]
