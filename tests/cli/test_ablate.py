"""``accelsim ablate``: what it prints and writes, and whole messages of its errors."""

import json
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.results.ablation import BASE, GROUPS, LADDER
from accelsim.studies.ablation import ablate

TRACE = "resnet9_cifar10"
QUICK = ["--batch", "16"]


def test_json_has_the_rows_of_the_api(run) -> None:
    code, out, err = run("ablate", TRACE, "--method", "sr-ste", "--pattern", "1:4", "--json", *QUICK)
    assert (code, err) == (0, "")
    want = ablate(
        acs.load_trace(TRACE), acs.load_design("sat_vcu1525"), methods=("sr-ste",), patterns=("1:4",), batch=16
    )
    data = json.loads(out)
    assert (data["format"], data["rows"]) == ("accelsim-ablation/1", [row.to_dict() for row in want])
    assert (data["design"]["name"], data["energy_table"]["name"]) == ("sat_vcu1525", "fpga_vu9p")
    assert list(want[0].to_dict()) == [
        "workload", "design", "method", "pattern", "batch", "variant", "dataflow", "interleave", "pregenerate", "overlap",
        "optimal", "engine", "cycles", "dram_bytes", "gain", "speedup",
    ]  # fmt: skip


def test_the_screen_has_a_table_per_method_and_pattern(run) -> None:
    code, out, err = run("ablate", TRACE, *QUICK)
    assert (code, err) == (0, "")
    heads = [line for line in out.splitlines() if "batch 16" in line]
    assert heads == [
        "dense on sat_vcu1525, batch 16: speed relative to the base",
        "bdwp 2:8 on sat_vcu1525, batch 16: speed relative to the base",
    ]
    rows = ablate(acs.load_trace(TRACE), acs.load_design("sat_vcu1525"), batch=16)
    by_variant = {row.variant: row for row in rows if row.method == "bdwp"}
    shown = out[out.index("bdwp 2:8") :].splitlines()[1:]
    assert shown[0].split() == ["which", TRACE, "over", "dense"]
    lines = [line for line in shown[1:] if line.strip()][: sum(map(len, GROUPS.values()))]
    for line, variant in zip(lines, (variant for group in GROUPS.values() for variant in group), strict=True):
        row = by_variant[variant]
        assert line.split()[-3:] == [variant.name, f"{row.gain:.3f}x", f"{row.speedup:.3f}x"]
    assert [line.split(" " * 2)[0] for line in lines if not line.startswith(" ")] == list(GROUPS)
    assert out.splitlines()[-1].startswith(f"step on the base: {TRACE} ")
    assert by_variant[LADDER[-1]].gain > by_variant[BASE].gain


def test_several_workloads_are_shown_by_their_mean(run) -> None:
    code, out, _ = run("ablate", TRACE, "resnet9_digits_2of4", "resnet9_digits_pruned", "--method", "dense", *QUICK)
    assert code == 0
    assert out.splitlines()[2].split() == ["which", "smallest", "largest", "geometric", "mean", "over", "dense"]


def test_a_folder_gets_the_report_and_the_command(run, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    code, out, err = run("ablate", TRACE, "--method", "bdwp", "--set", "array.rows=16", "-o", str(folder), *QUICK)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"written: {folder}"
    assert sorted(path.name for path in folder.iterdir()) == [
        "ablation.csv",
        "ablation.png",
        "ablation.svg",
        "table.md",
    ]
    assert (folder / "table.md").read_text().splitlines()[0] == (
        "Made by `accelsim ablate resnet9_cifar10 --hw sat_vcu1525 --method bdwp --pattern 2:8 --batch 16"
        " --set array.rows=16 -o DIR`."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([TRACE, TRACE], f"error: TRACE {TRACE}: is given twice\n"),
        ([TRACE, "--method", "bdwp", "--method", "bdwp"], "error: --method bdwp: is given twice\n"),
        ([TRACE, "--pattern", "2:8", "--pattern", "2:8"], "error: --pattern 2:8: is given twice\n"),
        ([TRACE, "--set", "schedule.overlap=false"],
         "error: --set schedule.overlap=false: an ablation sets the schedule itself\n"),
        ([TRACE, "--set", "array.dataflows=[os]"],
         "error: array.dataflows: design 'sat_vcu1525' has no ws; an ablation compares os and ws\n"),
        ([TRACE, "--pattern", "3:x"], "error: pattern '3:x': expected N:M with two whole numbers, as in 2:8\n"),
        ([TRACE, "--batch", "0"], "error: batch: got 0; allowed: 1 to 1048576\n"),
        ([TRACE, "-o", "file/report"], "error: -o file/report: {here}/file is no directory\n"),
        ([], "error: Missing argument 'TRACE...'. (try: accelsim ablate --help)\n"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    code, out, err = run("ablate", *arguments)
    assert (code, out, err) == (2, "", message.format(here=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_buffer_too_small_is_exit_code_3(run, tmp_path: Path) -> None:
    code, out, err = run("ablate", TRACE, "--set", "buffers.w_bytes=100", "-o", str(tmp_path / "r"), *QUICK)
    assert (code, out) == (3, "")
    assert "buffers.w_bytes, which has 100" in err
    assert not (tmp_path / "r").exists()
