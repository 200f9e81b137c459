"""``accelsim plot`` on every kind of file: which figure is drawn, the data beside it, and what is refused."""

import csv
import json
import re
from pathlib import Path

import pytest
from changed_results import of_version

from accelsim.results.result_file import load_results, write_results

TRACE = "resnet9_cifar10"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each command."""
    from accelsim.cli import main

    folder = tmp_path_factory.mktemp("files")
    for arguments in (
        ["simulate", TRACE, "--batch", "16", "-o", str(folder / "one.json")],
        ["simulate", TRACE, "--batch", "16", "--method", "dense", "-o", str(folder / "dense.json")],
        ["compare", TRACE, "resnet18_tinyimagenet", "--batch", "16", "-o", str(folder / "four.json")],
        [
            "simulate",
            TRACE,
            "--batch",
            "16",
            "--method",
            "stepwise-decay",
            "--steps",
            "30",
            "-o",
            str(folder / "run.json"),
        ],
        [
            "simulate",
            TRACE,
            "--batch",
            "16",
            "--method",
            "stepwise-decay",
            "--steps",
            "30",
            "-o",
            str(folder / "run.csv"),
        ],
    ):
        assert main(arguments) == 0
    (folder / "sweep.csv").write_text(
        "array.rows,pattern,version,status,reason,latency_s,energy_j\n"
        "8,2:4,0.1.0,ok,,0.02,2.0\n16,2:4,0.1.0,ok,,0.01,2.5\n8,2:8,0.1.0,ok,,0.015,1.5\n"
        "16,2:8,0.1.0,infeasible,does not fit,,\n"
    )
    (folder / "platforms.csv").write_text(
        "name,kind,throughput_gops,gops_per_w\nSAT,FPGA,1400,41\nA100,GPU,60000,150\n"
    )
    (folder / "measured.csv").write_text(
        "platform,unit,measured,predicted\na100,samples/s,100,110\na100,samples/s,50,40\n"
    )
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize(
    ("arguments", "kind", "also", "columns"),
    [
        (["one.json"], "stages", "energy, layer-speedup, utilisation, mapping, roofline", {"stage", "latency_s", "share"}),
        (["four.json"], "speedup", "stages, energy", {"case", "speedup"}),
        (["dense.json", "one.json"], "speedup", "stages, energy, layer-speedup", {"case", "speedup"}),
        (["run.json"], "training", "phases", {"phase", "latency_s", "share"}),
        (["run.csv"], "training", "", {"phase", "latency_s", "share"}),
        (["sweep.csv"], "sweep-map", "sweep, pareto, sensitivity", {"array.rows", "pattern", "latency_s"}),
        (["platforms.csv"], "platforms", "", {"name", "throughput_gops"}),
        (["measured.csv"], "predicted", "", {"measured", "predicted", "relative_error"}),
    ],
)  # fmt: skip
def test_the_kind_is_guessed_where_it_is_obvious(
    run, files: Path, tmp_path: Path, arguments: list[str], kind: str, also: str, columns: set[str]
) -> None:
    figure, data = tmp_path / "f.svg", tmp_path / "f.csv"
    code, out, err = run("plot", *(str(files / name) for name in arguments), "-o", str(figure))
    note = f"note: drawn as {kind}{f'; {also} can be drawn as well' if also else ''}\n"
    assert (code, out, err.splitlines(keepends=True)[0]) == (0, f"written: {figure}, {data}\n", note)
    assert columns <= set(rows_of(data)[0])
    again = tmp_path / "again.svg"
    assert run("plot", *(str(files / name) for name in arguments), "-o", str(again))[0] == 0
    assert again.read_bytes() == figure.read_bytes()
    assert again.with_suffix(".csv").read_bytes() == data.read_bytes()


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("speedup", "four.json", []),
        ("stages", "four.json", []),
        ("energy", "four.json", []),
        ("training", "run.json", []),
        ("phases", "run.json", []),
        ("utilisation", "one.json", []),
        ("mapping", "one.json", []),
        ("layer-speedup", "four.json", ["--where", f"workload={TRACE}"]),
        ("roofline", "one.json", []),
        ("sweep", "sweep.csv", ["-y", "energy_j"]),
        ("sweep-map", "sweep.csv", ["--value", "energy_j"]),
        ("pareto", "sweep.csv", []),
        ("sensitivity", "sweep.csv", []),
        ("platforms", "platforms.csv", []),
        ("predicted", "measured.csv", []),
    ],
)  # fmt: skip
def test_the_data_beside_a_figure_draws_it_again(
    run, files: Path, tmp_path: Path, kind: str, name: str, options: list[str]
) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    assert run("plot", kind, str(files / name), "-o", str(first), "--title", "T", "--width", "single", *options)[0] == 0
    again = [] if kind in {"layer-speedup", "sensitivity"} else options
    code, _, err = run(
        "plot", kind, str(first.with_suffix(".csv")), "-o", str(second), "--title", "T", "--width", "single", *again
    )
    assert (code, err) == (0, "")
    if kind not in {"roofline", "predicted", "sensitivity", "phases"}:  # shown by other columns, or rounded in the file
        drawn, again = (re.sub(r"\bp[0-9a-f]{10}\b", "", path.read_text()) for path in (first, second))  # hashed bits
        assert drawn == again
    assert ">T</text>" in first.read_text()


def test_where_chooses_rows(run, files: Path, tmp_path: Path) -> None:
    figure = tmp_path / "f.svg"
    chosen = ["--where", "workload=resnet18_tinyimagenet", "--where", "method=bdwp"]
    assert run("plot", "utilisation", str(files / "four.json"), "-o", str(figure), *chosen)[0] == 0
    assert ">resnet18_tinyimagenet on sat_vcu1525, bdwp 2:8, batch 16</text>" in figure.read_text()


FITTED = "design,array.rows,array.cols,status,latency_s,energy_j,fits\n" + "".join(
    f"a,{rows},4,ok,{1 / rows},{rows},{fits}\n" for rows, fits in ((8, "true"), (16, "true"), (32, "false"))
)


def test_a_front_over_expressions_of_designs_that_fit(run, tmp_path: Path) -> None:
    table, figure = tmp_path / "r.csv", tmp_path / "f.svg"
    table.write_text(FITTED)
    arguments = ["plot", "pareto", str(table), "-o", str(figure), "-x", "array.rows * array.cols"]
    assert run(*arguments, "-y", "2 * latency_s", "--where", "fits=true") == (
        0, f"written: {figure}, {tmp_path / 'f.csv'}\n", "",
    )  # fmt: skip
    rows = rows_of(tmp_path / "f.csv")
    assert [[float(row[name]) for name in ("array.rows", "array.rows * array.cols", "2 * latency_s")] for row in rows] == [
        [8, 32, 0.25], [16, 64, 0.125],
    ]  # fmt: skip
    assert [row["on_front"] for row in rows] == ["True", "True"]
    text = figure.read_text()
    assert all(
        f">{words}</text>" in text for words in ("PE rows 8", "PE rows 16", "array.rows * array.cols", "2 * latency_s")
    )


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["-x", "1 / latency_s", "-y", "energy_j", "--where", "fits=false"], 0, "note: the front is one point, as there is no other\n"),
        (["-x", "energy_j", "-y", "array.rows"], 0, "note: the front is one point, as it is the best in energy_j and in array.rows at once: these are no compromise here\n"),
        (["-x", "energy"], 2, "error: -x energy: there is no such column; did you mean 'energy_j'?\n"),
        (["-x", "2 * energy"], 2, "error: -x: '2 * energy': 'energy' is not known; did you mean 'energy_j'?\n"),
        (["-x", "energy_j / (array.cols - 4)"], 2, "error: FILE: row 1: 'energy_j / (array.cols - 4)': a division by zero where energy_j = 8, array.cols = 4\n"),
        (["-x", "energy_j"], 2, "error: -y energy_j: is given twice; the objectives must differ\n"),
        (["--where", "fits=yes"], 2, "error: --where fits=yes: no such row; there are: true, false\n"),
    ],
)  # fmt: skip
def test_what_a_front_says(run, tmp_path: Path, options: list[str], code: int, message: str) -> None:
    table = tmp_path / "r.csv"
    table.write_text(FITTED)
    found, _, err = run("plot", "pareto", str(table), "-o", str(tmp_path / "f.svg"), *options)
    assert (found, err) == (code, message.replace("FILE", str(table)))


def test_a_note_says_how_many_points_are_not_feasible(run, files: Path, tmp_path: Path) -> None:
    code, _, err = run("plot", "sweep", str(files / "sweep.csv"), "-o", str(tmp_path / "f.svg"))
    assert (code, err) == (0, "note: 1 of 4 points are not shown, as they were not feasible\n")


def test_the_data_say_what_is_drawn(run, files: Path, tmp_path: Path) -> None:
    assert run("plot", "speedup", str(files / "four.json"), "-o", str(tmp_path / "f.png"))[0] == 0
    results = json.loads((files / "four.json").read_text())
    want = {
        result["workload"]: result["step"]["speedup"] for result in results if result["options"]["method"] == "bdwp"
    }
    rows = {row["workload"]: float(row["speedup"]) for row in rows_of(tmp_path / "f.csv")}
    assert {name: rows[name] for name in want} == pytest.approx(want)
    assert set(rows) == {*want, "geometric mean"}


def text_file(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return name


SWEEP = "array.rows,status,latency_s\n"


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        (["speedups", "f.csv"], "", "no such figure 'speedups'; did you mean 'speedup'?; allowed: speedup, stages, energy,"
         " training, phases, layer-speedup, utilisation, mapping, roofline, timeline, sweep, sweep-map, pareto, sensitivity,"
         " platforms, predicted, claims, ablation"),
        (["speedup"], "", "speedup: the files to draw are missing"),
        (["no.csv"], "", "no.csv: no such file"),
        (["speedup", "f.csv"], "", "f.csv: empty; a line of column names is needed"),
        (["sweep", "f.csv"], SWEEP, "f.csv: no rows to draw"),
        (["sweep", "f.csv"], f"{SWEEP}8,ok\n", "f.csv:2: 3 columns are needed, got 2 (truncated?)"),
        (["sweep", "f.csv"], f"{SWEEP}8,ok,1\n16,ok,nan\n",
         "f.csv: row 2: column latency_s: is empty; a number is needed"),
        (["sweep", "f.csv"], f"{SWEEP}8,ok,1\n16,ok,fast\n",
         "f.csv: row 2: column latency_s: got 'fast'; a number is needed"),
        (["sweep", "f.csv"], f"{SWEEP}8,ok,1\n16,ok,inf\n",
         "f.csv: row 2: column latency_s: got 'inf'; a number is needed"),
        (["sweep", "f.csv"], f"{SWEEP}8,error,\n16,error,\n", "f.csv: no rows to draw"),
        (["sweep", "f.csv", "-y", "latency"], f"{SWEEP}8,ok,1\n16,ok,2\n",
         "f.csv: column latency missing; did you mean 'latency_s'?; sweep needs array.rows, latency"),
        (["sweep", "f.csv", "-x", "array.row"], f"{SWEEP}8,ok,1\n16,ok,2\n",
         "-x array.row: f.csv has no such column; did you mean 'array.rows'?"),
        (["sweep", "f.csv"], f"{SWEEP}8,ok,1\n8,ok,2\n", "f.csv: nothing varies; name the column to draw over with -x"),
        (["sweep-map", "f.csv"], f"{SWEEP}8,ok,1\n16,ok,2\n",
         "f.csv: fewer than two inputs vary; name the columns of the cells with -x and -y"),
        (["sweep", "f.csv", "--by", "pattern"], "array.rows,array.cols,pattern,latency_s\n8,1,2:4,1\n8,2,2:4,2\n16,1,2:8,3\n",
         "f.csv: several points at one array.rows; array.cols differs: choose with --where, as in --where array.cols=VALUE"),
        (["f.csv"], "array.rows,array.cols,batch,status,latency_s\n8,1,1,ok,1\n16,2,2,ok,2\n",
         "f.csv: say which figure to draw, one of speedup, stages, energy, training, phases, layer-speedup, utilisation, mapping,"
         " roofline, timeline, sweep, sweep-map, pareto, sensitivity, platforms, predicted, claims, ablation"),
        (["sweep", "f.csv"], "array.rows,version,latency_s\n8,0.1.0,1\n16,0.2.0,2\n",
         "f.csv: rows of versions 0.1.0, 0.2.0: make them again with one version"),
        (["sweep", "f.csv", "--where", "array.rows=9"], f"{SWEEP}8,ok,1\n16,ok,2\n",
         "--where array.rows=9: no such row; there are: 8, 16"),
        (["sweep", "f.csv", "--where", "rows=9"], f"{SWEEP}8,ok,1\n16,ok,2\n",
         "--where rows=9: f.csv has no such column; did you mean 'array.rows'?"),
        (["sweep", "f.csv", "--where", "rows"], f"{SWEEP}8,ok,1\n", "--where rows: there is no such column; did you mean 'array.rows'?"),
        (["platforms", "f.csv"], "name,kind,gops_per_w\nSAT,FPGA,41\n",
         "f.csv: column throughput_gops missing; platforms needs name, kind, throughput_gops, gops_per_w"),
        (["predicted", "f.csv"], "measured,predicted\n1,0\n",
         "f.csv: measured, predicted: numbers above 0 are needed, the axes are logarithmic"),
        (["utilisation", "f.csv"], "layer,stage\na,FF\n",
         "f.csv: column utilisation missing; utilisation needs layer, stage, utilisation"),
        (["sensitivity", "f.csv"], "assumption,value,speedup_closed\na,1,1.5\n",
         "f.csv: speedups.csv of the same report is needed as well: it holds what was varied from"),
        (["ablation", "f.csv"], "workload,design,method,variant,batch,cycles,dram_bytes,gain,speedup\nw,d,dense,wz,1,1,1,1,1\n",
         "f.csv: variant 'wz' is not known; did you mean 'ws'?; allowed: "),
        (["mapping", "f.csv"], "name,stage,loop_order,array_cycles\na,FF,mnk,1\n",
         "f.csv: results are read from .json; a .csv holds their layers alone"),
        (["sweep", "f.csv", "--layer", "a"], f"{SWEEP}8,ok,1\n", "--layer: sweep does not know it; it belongs to phases, timeline"),
        (["sweep", "f.csv", "--width", "singel"], SWEEP,
         "--width singel: not known; did you mean 'single'?; allowed: single, double"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error_and_writes_nothing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text_file(tmp_path, "f.csv", text)
    code, out, err = run("plot", *arguments, "-o", "fig.svg")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}") if message.endswith(": ") else err == f"error: {message}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["f.csv"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["one.json", "run.json"], "one.json: holds results, run.json a training run; one figure shows one of them"),
        (["run.json"], "run.json: holds a training run; speedup is not drawn from that, but training, phases"),
        (["dense.json"], "nothing to compare: only the baseline is there"),
        (["one.json", "one.json"], "resnet9_cifar10: bdwp 2:8 is there twice; files of different names tell results apart"),
        (["one.json", "old.json"], "results of versions 0.0.1, 0.1.0: simulate them again with one version"),
        (["empty.json"], "empty.json: no results to draw"),
        (["other.json"], "other.json: format: got \"accelsim-resul/1\"; did you mean 'accelsim-result/2'?;"
         " allowed: accelsim-result/2, accelsim-comparison/2"),
    ],
)  # fmt: skip
def test_files_that_do_not_go_together_are_refused(
    run, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], message: str
) -> None:
    one = json.loads((files / "one.json").read_text())
    write_results(files / "old.json", [of_version(load_results(files / "one.json")[0], "0.0.1")])
    (files / "empty.json").write_text("[]")
    (files / "other.json").write_text(json.dumps({**one, "format": "accelsim-resul/1"}))
    monkeypatch.chdir(files)
    assert run("plot", "speedup", *names, "-o", str(tmp_path / "f.svg")) == (2, "", f"error: {message}\n")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_read_is_not_written_over(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text_file(tmp_path, "f.csv", "measured,predicted\n1,2\n")
    message = "error: -o f.svg: its data would be written over f.csv, which is read\n"
    assert run("plot", "predicted", "f.csv", "-o", "f.svg") == (2, "", message)
