"""``accelsim plot``: figures with their data beside them, and what is refused."""

import csv
from pathlib import Path

import pytest

from accelsim.cli.plot import _SHOWS
from accelsim.plots.kinds import KINDS
from accelsim.results.timeline_file import load_timeline

TRACE = "resnet18_tinyimagenet"


@pytest.fixture
def timeline(run, tmp_path: Path) -> Path:
    path = tmp_path / "t.json"
    arguments = ["--engine", "event", "--batch", "8", "--timeline", str(path), "--window", ":100000"]
    assert run("simulate", TRACE, *arguments)[0] == 0
    return path


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_plot_timeline_writes_figure_and_data(run, tmp_path: Path, timeline: Path, suffix: str) -> None:
    figure, data = tmp_path / f"fig{suffix}", tmp_path / "fig.csv"
    assert run("plot", "timeline", str(timeline), "-o", str(figure)) == (0, f"written: {figure}, {data}\n", "")
    first = figure.read_bytes(), data.read_bytes()
    assert run("plot", "timeline", str(timeline), "-o", str(figure))[0] == 0
    assert (figure.read_bytes(), data.read_bytes()) == first
    rows = list(csv.DictReader(data.read_text().splitlines()))
    slices = load_timeline(timeline).slices
    assert sum(row["kind"] in {"task", "transfer", "job"} for row in rows) == len(slices)
    assert sum(float(row["end_s"]) - float(row["start_s"]) for row in rows if row["kind"] == "task") == pytest.approx(
        sum(item.dur for item in slices if item.args.jobs is None and not item.track.startswith("DRAM")) / 1e6
    )


def test_plot_timeline_of_one_layer(run, tmp_path: Path, timeline: Path) -> None:
    figure = tmp_path / "fig.svg"
    assert run("plot", "timeline", str(timeline), "--layer", "conv1", "-o", str(figure))[0] == 0
    text = figure.read_text()
    assert ">resnet18_tinyimagenet on sat_vcu1525: bdwp 2:8, batch 8: conv1</text>" in text
    assert all(f">{stage}</text>" in text for stage in ("FF", "WU"))


def test_a_note_says_where_jobs_are_left_out(
    run, tmp_path: Path, timeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelsim.plots.timeline.MOST_JOBS", 2)
    monkeypatch.setattr("accelsim.plots.kinds.MOST_JOBS", 2)
    code, _, err = run("plot", "timeline", str(timeline), "-o", str(tmp_path / "fig.svg"))
    assert (code, err) == (0, "note: jobs are left out where a panel has more than 2\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["timelin", "t.json", "-o", "f.svg"],
         f"no such figure 'timelin'; did you mean 'timeline'?; allowed: {', '.join(_SHOWS)}"),
        ([], "Missing argument '[KIND] RESULTS...'. (try: accelsim plot --help)"),
        (["timeline", "t.json"], "Missing option '-o' / '--output'. (try: accelsim plot --help)"),
        (["timeline", "t.json", "-o", "f.jpg"], "-o f.jpg: got suffix '.jpg'; allowed: .png, .svg, .pdf"),
        (["timeline", "t.json", "-o", "no/f.svg"], "-o no/f.svg: no directory no"),
        (["timeline", "no.json", "-o", "f.svg"], "no.json: no such file"),
        (["timeline", "t.json", "-o", "f.svg", "--layer", "conv"],
         "layer 'conv': is not in this step; did you mean 'conv1'?"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    run, tmp_path: Path, timeline: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("plot", *arguments) == (2, "", f"error: {message}\n")
    assert list(tmp_path.iterdir()) == [timeline]


def test_help_names_the_kinds(run) -> None:
    assert list(_SHOWS) == list(KINDS)
    out = run("plot", "--help")[1]
    for kind, shows in _SHOWS.items():
        assert f"  {kind} " in out
        assert shows.split(",")[0][:40] in out
