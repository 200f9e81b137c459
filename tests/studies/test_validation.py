"""The validation checks: shipped rows exact, other files checked alike, differences and damage reported."""

import csv
import json
from importlib import resources
from pathlib import Path

import pytest

from accelsim.arrays.array import gemm_on_array
from accelsim.base.errors import InputError
from accelsim.cli import main
from accelsim.hardware.machine import load_machine
from accelsim.sparsity.pattern import Pattern
from accelsim.studies.validation import CHECKS, RANDOM_CHECKS, run_check

COMPARED = {
    "tiles": 3000,
    "register-tiles": 3000,
    "scalesim": 381,
    "scalesim-sparse": 121,
    "tensor-core": 48,
    "stonne": 33,
}


@pytest.mark.parametrize("name", CHECKS)
def test_every_shipped_row_is_exact(name: str) -> None:
    result = run_check(name)
    assert (result.cases, result.exact, result.worst_relative_error) == (COMPARED[name], COMPARED[name], 0)
    text = (resources.files("accelsim") / "data" / CHECKS[name].file).read_text()
    assert result.cases + sum(count for _, count in result.unsupported) == len(list(csv.reader(text.splitlines()))) - 1


@pytest.mark.parametrize("name", RANDOM_CHECKS)
def test_random_cases_agree(name: str) -> None:
    result = run_check(name)
    assert result.passed
    assert result.cases >= 300


def test_random_checks_read_no_file() -> None:
    for name in ("sore", "overlap"):
        with pytest.raises(InputError, match=rf"^check '{name}': makes its own cases and reads no file, got x\.csv$"):
            run_check(name, Path("x.csv"))


def test_both_engines_agree_without_overlap_on_every_workload(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "overlap", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["check"], got["cases"], got["exact"], got["worst_relative_error"]) == ("overlap", 20, 20, 0)
    assert len(got["comparisons"]) == 20
    assert all(each["rows"] == each["equal_rows"] > 50 for each in got["comparisons"])
    assert all(each["event_cycles"] >= each["bound_cycles"] for each in got["comparisons"])


def changed_file(tmp_path: Path, name: str, column: str, value: str) -> Path:
    rows = list(csv.DictReader((resources.files("accelsim") / "data" / CHECKS[name].file).read_text().splitlines()))[:4]
    rows[2][column] = value
    file = tmp_path / "rows.csv"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def test_a_difference_gives_exit_code_1_and_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = changed_file(tmp_path, "scalesim", "scalesim_compute_cycles", "668")
    assert main(["validate", "scalesim", str(file), "--json"]) == 1
    got = json.loads(capsys.readouterr().out)
    assert got == {"check": "scalesim", "cases": 4, "exact": 3, "worst_relative_error": 0.5,
                   "median_relative_error": 0.0, "unsupported": {}}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("M", "many", "rows.csv:4: column M: got 'many'; a whole number is needed"),
        ("M", "-3", "rows.csv:4: m: got -3; a whole number from 1 to 1099511627776 is needed"),
        ("dataflow", "oss", "rows.csv:4: dataflow: got 'oss'; did you mean 'os'?; allowed: os, ws, is"),
        ("K", "nan", "rows.csv:4: column K: got 'nan'; a whole number is needed"),
    ],
)
def test_bad_rows_are_named_by_line_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, value: str, message: str
) -> None:
    file = changed_file(tmp_path, "scalesim", column, value)
    assert main(["validate", "scalesim", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/{message}\n"


def test_missing_columns_rows_and_checks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("M,N\n1,2\n")
    assert main(["validate", "stonne", str(file)]) == 2
    assert capsys.readouterr().err == (
        f"error: {file}: column arch, pe, K, cycles missing; needed: arch, pe, M, N, K, cycles\n"
    )
    file.write_text("arch,pe,M,N,K,cycles\n")
    assert main(["validate", "stonne", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {file}: no rows to check\n"
    file.write_text("arch,pe,M,N,K,cycles\nTPU_OS_DENSE,4x4,16\n")
    assert main(["validate", "stonne", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {file}:2: 6 columns are needed (truncated?)\n"
    assert main(["validate", "stone"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: check 'stone': not known; did you mean 'stonne'?; allowed: tiles,"
    )


def test_the_table_is_written_and_is_the_committed_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "-o", str(tmp_path / "v")]) == 0
    out = capsys.readouterr().out
    assert "SCALE-Sim, dense" in out
    committed = Path(__file__).parents[2] / "reports" / "validation"
    for name in ("validation.csv", "validation.md", "overlap.csv"):
        assert (tmp_path / "v" / name).read_text() == (committed / name).read_text()


def test_a_long_register_run_says_so_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelsim.cli import validate
    from accelsim.studies import validation

    file = changed_file(tmp_path, "register-tiles", "Mdim", "1000000")
    assert validation.register_effort(file)[0] > validation.register_effort(None)[0]
    assert validation.register_effort(file)[1] == 4
    monkeypatch.setattr(validate, "_LONG_RUN_S", 1e-6)
    assert main(["validate", "register-tiles"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("note: stepping the registers of these tiles takes about 0.0 minutes\n")
    assert "3,000" in captured.out


def test_conventions_refuse_what_they_do_not_know() -> None:
    case = {"rows": 4, "cols": 4, "macs_per_pe": 1, "adder_latency": 1, "dataflow": "ws", "timing": "scalesim"}
    with pytest.raises(InputError, match=r"^overlapped: timing 'scalesim' knows no adder latency, .*$"):
        gemm_on_array(8, 8, 8, overlapped=True, **case)
    with pytest.raises(InputError, match=r"^dataflow: got 'ws'; did you mean 'os'\?; allowed: os$"):
        gemm_on_array(8, 8, 8, **{**case, "timing": "stonne"})
    with pytest.raises(
        InputError, match=r"^timing: got 'scale'; did you mean 'scalesim'\?; allowed: sat, scalesim, stonne$"
    ):
        gemm_on_array(8, 8, 8, **{**case, "timing": "scale"})


def test_a_machine_runs_a_mask_in_the_widest_mode_it_has() -> None:
    only = load_machine("sparse_tensor_core_2_4")
    assert only.mode_for(Pattern(2, 8)) == (Pattern(2, 4), 2)
    assert load_machine("sparse_tensor_core_flexible").mode_for(Pattern(2, 8)) == (Pattern(2, 8), 4)
    assert only.mode_for(Pattern(1, 4)) == only.mode_for(None) == (None, 0)
