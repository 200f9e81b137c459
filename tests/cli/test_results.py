"""accelsim results, pareto and diff on files of sweeps: what is printed and written, and bad input, whole messages."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.results.result_file import write_results
from accelsim.sweep.run import run_sweep
from accelsim.sweep.spec import make_sweep

Run = Callable[..., tuple[int, str, str]]

HEADER = "workload,array.rows,array.cols,status,reason,latency_s,energy_j,samples_per_s,identity,sweep,version\n"
ENDS = "1e9,s,0.1.0\n"
ROWS = (
    "a,16,16,ok,,0.4,5.0,100.0,", "a,16,32,ok,,0.2,8.0,200.0,", "a,32,16,ok,,0.2,8.0,200.0,", "a,32,32,infeasible,too large,,,,",
    "b,16,16,ok,,0.3,4.0,130.0,", "b,16,32,ok,,0.5,4.5,80.0,", "b,32,16,ok,,0.5,3.0,80.0,", "b,32,32,error,bad,,,,",
)  # fmt: skip


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("r.csv")
    path.write_text(HEADER + "".join(row + ENDS for row in ROWS))
    return path


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "r.csv"
    sweep = make_sweep(
        ["resnet9_cifar10"],
        vary={"batch": 32, "method": "dense,bdwp", "array.overlap_tiles": "true,false", "buffers.x_bytes": [1, 65536]},
    )
    run_sweep(sweep, path)
    return path


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


PARETO = """\
least latency_s  least energy_j  workload  rows  cols  equal
            0.2               8  a           16    32     +1
            0.3               4  b           16    16
            0.5               3  b           32    16
front: 3 of 6 points
hypervolume: 0.8 to the reference latency_s 0.5, energy_j 8, 53.33% of the box from there to the best of each

6 points; 1 infeasible left out; 1 error left out
"""


def test_a_front(run: Run, table: Path) -> None:
    code, out, err = run("pareto", "r.csv", "-x", "latency_s", "-y", "energy_j")
    assert (code, err) == (0, "")
    assert lines(out) == PARETO.splitlines()


def test_fronts_by_group_with_a_file(run: Run, table: Path) -> None:
    code, out, err = run(
        "pareto", "r.csv", "-x", "energy_j", "-y", "samples_per_s", "--group", "workload", "--reference", "10,0", "-o",
        "front.csv",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert lines(out) == [
        "workload a",
        "least energy_j  most samples_per_s  rows  cols  equal",
        "             5                 100    16    16",
        "             8                 200    16    32     +1",
        "front: 2 of 3 points",
        "hypervolume: 700 to the reference energy_j 10, samples_per_s 0, 70.00% of the box from there to the best of each",
        "",
        "workload b",
        "least energy_j  most samples_per_s  rows  cols",
        "             3                  80    32    16",
        "             4                 130    16    16",
        "front: 2 of 3 points",
        "hypervolume: 860 to the reference energy_j 10, samples_per_s 0, 94.51% of the box from there to the best of each",
        "",
        "6 points; 1 infeasible left out; 1 error left out",
        "written: front.csv",
    ]
    written = Path("front.csv").read_text()
    assert written == HEADER + "".join(ROWS[place] + ENDS for place in (0, 1, 6, 4))
    assert run("pareto", "front.csv", "-x", "energy_j", "-y", "samples_per_s")[0] == 0


def test_a_front_of_three_as_an_object(run: Run, table: Path) -> None:
    code, out, _ = run(
        "pareto", "r.csv", "-x", "latency_s", "-y", "energy_j", "-z", "array.rows * array.cols", "--maximise",
        "array.rows * array.cols", "--where", "workload == 'b'", "--json",
    )  # fmt: skip
    assert code == 0
    found = json.loads(out)
    (front,) = found.pop("fronts")
    assert found == {
        "format": "accelsim-pareto/1",
        "results": "r.csv",
        "objectives": [
            {"objective": "latency_s", "wanted": "least"},
            {"objective": "energy_j", "wanted": "least"},
            {"objective": "array.rows * array.cols", "wanted": "most"},
        ],
        "left_out": {"infeasible": 1, "error": 1},
    }
    assert [tuple(point["values"].values()) for point in front["front"]] == [(0.3, 4, 256), (0.5, 3, 512)]
    assert front["reference"] == {"latency_s": 0.5, "energy_j": 4.5, "array.rows * array.cols": 256}
    assert (front["points"], front["hypervolume"], front["group"]) == (3, 0, {})
    assert front["front"][0]["row"]["identity"] == "1e9"


def test_the_best_rows(run: Run, table: Path) -> None:
    code, out, err = run("results", "r.csv", "--by", "samples_per_s", "--top", "2")
    assert (code, err) == (0, "")
    assert lines(out) == [
        "workload  rows  cols  samples_per_s  latency_s  energy_j",
        "a           16    32            200        0.2         8",
        "a           32    16            200        0.2         8",
        "2 of 6 rows; 1 infeasible left out; 1 error left out",
    ]
    code, out, _ = run(
        "results", "r.csv", "--by", "energy_j / samples_per_s", "-r", "--where", "workload != 'a' and latency_s > 0.4",
        "--columns", "array.rows,energy_j / samples_per_s,array.rows in [16, 8]",
    )  # fmt: skip
    assert lines(out) == [
        "rows  energy_j / samples_per_s  array.rows in [16, 8]",
        "  16                   0.05625                   true",
        "  32                    0.0375                  false",
        "2 of 2 rows that meet --where; 1 infeasible left out; 1 error left out",
    ]


FIT = "design,array.rows,status,latency_s,energy_j,fits,dsp\n" + "".join(
    f"{design},{rows},ok,{1 / rows},{rows},{fits},{dsp}\n"
    for design, rows, fits, dsp in (("a", 8, "true", 80), ("a", 16, "false", 160), ("a", 32, "false", 320), ("c", 4, "", ""))
)  # fmt: skip
LEFT = "(estimate; --where fits leaves out what does not)"


def test_designs_that_do_not_fit_are_counted(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.csv").write_text(FIT)
    best = ["results", "r.csv", "--by", "latency_s"]
    assert lines(run(*best)[1])[-2:] == [f"2 of the best 4 do not fit the device of a {LEFT}", "4 of 4 rows"]
    assert lines(run(*best, "--top", "1")[1])[-2:] == [
        f"1 of the best 1 does not fit the device of a {LEFT}",
        "1 of 4 rows",
    ]
    assert lines(run(*best, "-r", "--top", "3")[1])[-2] == f"1 of the first 3 does not fit the device of a {LEFT}"
    known = ["--where", "design == 'a' and fits"]
    assert lines(run(*best, *known)[1])[-2:] == [
        "a          8      0.125  true         8",
        "1 of 1 rows that meet --where",
    ]
    assert lines(run("results", "r.csv")[1])[-2:] == ["c          4       0.25         4", "4 of 4 rows"]
    front = ["pareto", "r.csv", "-x", "latency_s", "-y", "energy_j"]
    assert f"2 of the 4 on the front do not fit the device of a {LEFT}" in lines(run(*front)[1])
    Path("r.csv").write_text(FIT.replace("a,16", "b,16"))
    assert f"2 of the 4 on the front do not fit their devices {LEFT}" in lines(run(*front)[1])


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (["0.1,5"], "one point, as there is no other"),
        (["0.1,5", "0.1,5"], "one point, as all have the same latency_s and energy_j"),
        (
            ["0.2,5", "0.1,4", "0.1,4", "0.3,6"],
            "one point, as it is the best in latency_s and in energy_j at once: these are no compromise here",
        ),
        (["0.1,5", "0.2,4"], None),
    ],
)
def test_a_front_of_one_point_says_why(run: Run, tmp_path: Path, rows: list[str], why: str | None) -> None:
    path = tmp_path / "r.csv"
    path.write_text("latency_s,energy_j\n" + "\n".join(rows) + "\n")
    code, out, _ = run("pareto", str(path), "-x", "latency_s", "-y", "energy_j")
    assert code == 0
    assert [line for line in lines(out) if line.startswith("one point")] == ([why] if why else [])


def test_what_follows_from_another_column_is_not_shown(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    sizes = ((rows, cols) for rows in (1, 2, 3) for cols in (4, 5))
    lines_of_rows = (f"a,{rows},{cols},{4 * rows},ok,{rows * cols}" for rows, cols in sizes)
    path.write_text("workload,array.rows,array.cols,sore.lanes,status,cycles\n" + "\n".join(lines_of_rows))
    code, out, _ = run("results", str(path), "--by", "cycles", "--top", "1")
    assert (code, lines(out)) == (0, ["rows  cols  cycles", "   1     4       4", "1 of 6 rows"])
    path.write_text("workload,array.rows,array.cols,status,cycles\na,1,7,ok,3\na,2,8,ok,4\n")
    code, out, _ = run("results", str(path), "--where", "array.cols == 8")
    assert lines(out) == ["rows  cols", "   2     8", "1 of 1 rows that meet --where"]


def test_points_that_failed_are_shown_when_asked_for(run: Run, table: Path) -> None:
    code, out, _ = run("results", "r.csv", "--where", "status != 'ok'", "--columns", "workload,reason", "-o", "why.csv")
    assert code == 0
    assert lines(out)[-2:] == ["2 of 2 rows that meet --where", "written: why.csv"]
    assert Path("why.csv").read_text() == "workload,reason\na,too large\nb,bad\n"


def test_a_sweep_cut_off_is_read_up_to_there(run: Run, table: Path) -> None:
    text = table.read_text()
    table.write_text(text[: text.index("b,32,16") + 12])
    code, out, _ = run("results", "r.csv", "--json")
    assert (code, len(json.loads(out))) == (0, 5)
    code, out, _ = run("results", "r.csv")
    assert lines(out)[-1] == (
        "5 of 5 rows; 1 infeasible left out; the file ends in the middle of a row: its sweep is not complete"
    )


def test_every_column_of_a_sweep_comes_back(run: Run, swept: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    assert run("results", str(swept), "--where", "status in ['ok', 'infeasible']", "-o", str(copy))[0] == 0
    assert copy.read_bytes() == swept.read_bytes()
    _, out, _ = run("results", str(swept), "--json", "--top", "1")
    with swept.open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["status"] == "ok")
    (found,) = json.loads(out)
    assert (found["pattern"], found["array.overlap_tiles"], found["batch"]) == (None, True, 32)
    assert (repr(found["latency_s"]), str(found["cycles"]), found["identity"]) == (
        row["latency_s"], row["cycles"], row["identity"]
    )  # fmt: skip


def test_parquet_is_read_like_its_csv(run: Run, swept: Path) -> None:
    pytest.importorskip("pyarrow")
    run_sweep(
        make_sweep(
            ["resnet9_cifar10"],
            vary={
                "batch": 32, "method": "dense,bdwp", "array.overlap_tiles": "true,false", "buffers.x_bytes": [1, 65536]
            },
        ),
        swept.with_suffix(".parquet"),
    )  # fmt: skip
    for arguments in (["results", "--json"], ["pareto", "-x", "latency_s", "-y", "energy_j"]):
        command, *rest = arguments
        assert run(command, str(swept.with_suffix(".parquet")), *rest) == run(command, str(swept), *rest)
    assert run("diff", str(swept), str(swept.with_suffix(".parquet")))[0] == 0


def test_results_of_simulate_are_rows(run: Run, tmp_path: Path) -> None:
    trace, design = acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525")
    both = [acs.simulate(trace, design, method=method, batch=32) for method in ("dense", "bdwp")]
    write_results(tmp_path / "r.json", both)
    code, out, _ = run("results", str(tmp_path / "r.json"), "--by", "latency_s", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [(row["method"], row["latency_s"], row["wu_cycles"], row["dram_j"]) for row in rows] == [
        (result.method, result.step.latency_s, result.stages["WU"].cycles, result.energy.dram_j)
        for result in both[::-1]
    ]
    code, out, _ = run("results", str(tmp_path / "r.json"), "--by", "latency_s", "--top", "1")
    assert lines(out)[0].split()[:2] == ["method", "pattern"]


def test_two_sweeps_compared(run: Run, table: Path) -> None:
    text = table.read_text()
    rows = text.splitlines(keepends=True)
    rows[1] = rows[1].replace("0.4,5.0", "0.4,5.5")
    rows[4] = rows[4].replace("infeasible,too large,,,", "ok,,0.1,9.0,400.0")
    rows[7] = rows[7].replace("b,32,16", "b,64,16")
    Path("new.csv").write_text("".join(rows).replace(",0.1.0\n", ",0.2.0\n"))
    code, out, err = run("diff", "r.csv", "new.csv")
    assert (code, err) == (1, "")
    assert [" ".join(line.split()) for line in lines(out)[9:]] == [
        "a 16 16 energy_j 5 5.5 +10.00%", "a 32 32 status infeasible ok", "reason too large -", "latency_s - 0.1",
        "energy_j - 9", "samples_per_s - 400", "only in A: b 32 16", "only in B: b 64 16", "",
        "7 of 44 values differ, 1 row only in A, 1 row only in B",
    ]  # fmt: skip
    assert lines(out)[:9] == [
        "A: r.csv", "B: new.csv", "", "inputs", "field        A      B  change", "version  0.1.0  0.2.0", "", "points",
        "workload  array.rows  array.cols  field                   A    B   change",
    ]  # fmt: skip
    code, out, _ = run("diff", "r.csv", "new.csv", "--json", "--rtol", "0.2")
    found = json.loads(out)
    assert (code, found["kind"], found["sections"][1]["changes"][0]["field"]) == (1, "sweep", "status")
    assert run("diff", "r.csv", "r.csv") == (0, "equal: 50 values\n", "")


def test_many_changes_are_summed_up(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, factor in (("a.csv", 1.0), ("b.csv", 1.5)):
        rows = (f"a,{place},16,ok,,{place * factor},1.0,2.0,{ENDS}" for place in range(1, 301))
        Path(name).write_text(HEADER + "".join(rows))
    _, out, _ = run("diff", "a.csv", "b.csv")
    assert lines(out)[-5:] == [
        "... and 100 more: --json has all; by field",
        "field      differs in  largest change",
        "latency_s         300         +50.00%",
        "",
        "300 of 1,804 values differ",
    ]


XY = ("-x", "latency_s", "-y", "energy_j")
ALLOWED = "numbers, texts, names, + - * / // % **, comparisons, in [...], and, or, not"
BAD = [
    (("pareto", "r.csv", "-x", "latncy_s", "-y", "energy_j"), "-x latncy_s: there is no such column; did you mean 'latency_s'?"),
    (("pareto", "r.csv", "-x", "latency_s", "-y", "workload"), "r.csv: row 1: 'workload' is 'a'; a number is needed"),
    (("pareto", "r.csv", "-x", "latency_s", "-y", "latency_s"), "-y latency_s: is given twice; the objectives must differ"),
    (("pareto", "r.csv", "-x", "latency_s", "-y", "min(energy_j, 1)"), f"-y: 'min(energy_j, 1)': a call (min) is not allowed; allowed: {ALLOWED}"),
    (("pareto", "r.csv", *XY, "--maximise", "cycles"), "--maximise cycles: is none of the objectives; they are latency_s, energy_j"),
    (("pareto", "r.csv", *XY, "--group", "worklod"), "--group worklod: there is no such column; did you mean 'workload'?"),
    (("pareto", "r.csv", *XY, "--reference", "1"), "--reference 1: 2 numbers are needed, of latency_s,energy_j"),
    (("pareto", "r.csv", *XY, "--reference", "1,nan"), "--reference 1,nan: 2 numbers are needed, of latency_s,energy_j"),
    (("pareto", "r.csv", *XY, "--where", "latency_s > 9"), "r.csv: --where latency_s > 9: holds for none of 6 rows (1 infeasible, 1 error left out)"),
    (("pareto", "r.csv", *XY, "--where", "latency_s"), "r.csv: row 1: --where 'latency_s': is 0.4, not true or false; write a comparison"),
    (("pareto", "r.csv", *XY, "-o", "front.json"), "-o front.json: got suffix '.json'; allowed: .csv"),
    (("pareto", "r.csv", "-x", "latency_s / (array.rows - 16)", "-y", "energy_j"), "r.csv: row 1: 'latency_s / (array.rows - 16)': a division by zero where latency_s = 0.4, array.rows = 16"),
    (("results", "r.csv", "--by", "latncy_s"), "--by latncy_s: there is no such column; did you mean 'latency_s'?"),
    (("results", "r.csv", "--by", "workload"), "r.csv: row 1: 'workload' is 'a'; a number is needed"),
    (("results", "r.csv", "--by", "reason"), "r.csv: 'reason' has no value in any of 6 rows"),
    (("results", "r.csv", "--where", "open('x')"), f"--where: 'open('x')': a call (open) is not allowed; allowed: {ALLOWED}"),
    (("results", "r.csv", "--columns", "latency_s,latency_s"), "--columns latency_s,latency_s: latency_s is given twice"),
    (("results", "r.csv", "--columns", "latency_s,"), "--columns: the expression is empty"),
    (("results", "r.csv", "--columns", "workload * 2"), "r.csv: --columns 'workload * 2': * needs numbers, got 'a' where workload = 'a'"),
    (("results", "r.csv", "--top", "0"), "--top 0: a whole number from 1 is needed"),
    (("results", "r.csv", "-r"), "--reverse: nothing is sorted without --by"),
    (("results", "none.csv"), "none.csv: no such file"),
    (("results", "none.parquet"), "none.parquet: no such file"),
    (("results", "r.txt"), "r.txt: got suffix '.txt'; results are read from .csv, .parquet or .json"),
    (("results", "empty.csv"), "empty.csv: is empty; a line of column names is needed"),
    (("results", "header.csv"), "header.csv: holds no rows"),
    (("pareto", "failed.csv", *XY), "failed.csv: none of its 2 points could be simulated: 1 infeasible, 1 error"),
    (("results", "failed.csv"), "failed.csv: none of its 2 points could be simulated: 1 infeasible, 1 error"),
    (("results", "ragged.csv"), "ragged.csv: line 3: 2 columns are needed, got 3"),
    (("results", "twice.csv"), "twice.csv: line 1: two columns are named 'a'"),
    (("results", "unnamed.csv"), "unnamed.csv: line 1: a column has no name"),
    (("results", "binary.csv"), "binary.csv: is no table; a .csv with a line of column names is needed"),
    (("results", "binary.parquet"), "binary.parquet: is no Parquet file, or is damaged"),
    (("results", "trace.json"), "trace.json: format: got \"accelsim-trace/1\"; did you mean 'accelsim-result/2'?; allowed: accelsim-result/2, accelsim-comparison/2"),
    (("results", "list.json"), "list.json: holds no rows"),
    (("diff", "r.csv", "ragged.csv"), "ragged.csv: is no sweep; a .csv or .parquet that is compared must be one, and results a .json"),
    (("diff", "r.csv", "trace.json"), "r.csv holds a sweep, trace.json a trace: two of a kind can be compared"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_bad_input(
    run: Run, table: Path, documented: dict[str, object], arguments: tuple[str, ...], message: str
) -> None:
    if any(word.endswith(".parquet") for word in arguments):
        pytest.importorskip("pyarrow")
    Path("empty.csv").write_text("")
    Path("header.csv").write_text(HEADER)
    Path("failed.csv").write_text(HEADER + ROWS[3] + ENDS + ROWS[7] + ENDS)
    Path("ragged.csv").write_text("a,b\n1,2\n1,2,3\n")
    Path("twice.csv").write_text("a,a\n1,2\n")
    Path("unnamed.csv").write_text("a,\n1,2\n")
    Path("binary.csv").write_bytes(b"\xff\xfe\x00\n")
    Path("binary.parquet").write_bytes(b"\xff\xfe\x00\n")
    Path("trace.json").write_text(json.dumps(documented))
    Path("list.json").write_text("[]")
    before = sorted(path.name for path in Path().iterdir())
    assert run(*arguments) == (2, "", f"error: {message}\n")
    assert sorted(path.name for path in Path().iterdir()) == before


def test_parquet_without_pyarrow(run: Run, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.sweep.parquet.find_spec", lambda _: None)
    message = "error: results as .parquet need pyarrow: pip install -e '.[parquet]' in the folder of accelsim; .csv needs nothing\n"
    assert run("results", "r.parquet") == (2, "", message)
