"""The command line, in process: what it prints, its exit codes, its errors; what it leaves on disk."""

import csv
import json
from pathlib import Path

import pytest

import accelsim as acs

TRACE = "resnet18_tinyimagenet"
QUICK = ["--batch", "32"]
STEP_KEYS = {
    "cycles", "latency_s", "samples_per_s", "macs_dense", "macs_executed", "effective_gops", "speedup",
    "array_utilisation", "dram_bytes", "energy_j", "power_w", "gops_per_w",
}  # fmt: skip
LAYER_KEYS = {
    "name", "stage", "m", "n", "k", "count", "pattern", "dataflow", "interleave", "cycles", "utilisation", "dram_bytes",
    "energy_j", "bound",
}  # fmt: skip


def test_simulate_shows_dense_beside_sparse(run) -> None:
    code, out, err = run("simulate", TRACE, "--hw", "sat_vcu1525", "--method", "bdwp", "--pattern", "2:8", *QUICK)
    assert (code, err) == (0, "")
    want = acs.simulate(acs.load_trace(TRACE), acs.load_design("sat_vcu1525"), batch=32)
    assert f"{want.step.speedup:.2f}x faster" in out
    layers = len({layer.operation for layer in want.layers})
    slowest = f"\nthe 5 slowest of {layers} layers, and the longest stage of each\n"
    for expected in ("step time", "throughput", "energy", slowest, "warnings", "kept dense, first layer: conv1",
                     *want.stages):  # fmt: skip
        assert expected in out


def test_simulate_json_has_the_documented_keys_and_the_api_numbers(run) -> None:
    code, out, _ = run("simulate", TRACE, "--json", *QUICK)
    data = json.loads(out)
    assert code == 0
    assert data["format"] == "accelsim-result/2"
    assert (data["workload"], data["design"]["name"], data["design"]["overrides"]) == (TRACE, "sat_vcu1525", {})
    assert data["options"] == {
        "method": "bdwp", "pattern": "2:8", "batch": 32, "accumulate": 1, "engine": "closed", "mode": "train", "optimizer": "sgd", "dense": [],
        "sparse": [], "link_gb_per_s": None,
    }  # fmt: skip
    assert set(data["step"]) == STEP_KEYS
    assert list(data["stages"]) == ["FF", "BP", "WU", "GENERATE", "UPDATE", "VECTOR"]
    assert all(set(stage) == {"cycles", "latency_s", "dram_bytes", "energy_j"} for stage in data["stages"].values())
    assert all(set(layer) >= LAYER_KEYS for layer in data["layers"])
    assert {layer["bound"] for layer in data["layers"]} <= {"compute", "dram", "port", "drain"}
    api = acs.simulate(acs.load_trace(TRACE), acs.load_design("sat_vcu1525"), batch=32)
    assert data == json.loads(json.dumps(api.to_dict()))


def test_simulate_writes_json_and_csv(run, tmp_path: Path) -> None:
    for suffix in (".json", ".csv"):
        assert run("simulate", TRACE, *QUICK, "-o", str(tmp_path / f"r{suffix}"))[0] == 0
    data = json.loads((tmp_path / "r.json").read_text())
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert len(rows) == len(data["layers"])
    assert sum(int(row["cycles"]) for row in rows) == data["step"]["cycles"]
    assert {row["workload"] for row in rows} == {TRACE}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.json"]


def test_compare_takes_the_first_as_baseline(run) -> None:
    code, out, _ = run("compare", TRACE, "--hw", "sat_vcu1525", "--hw", "sat_edge_zcu104", "--method", "dense", "--method",
                       "bdwp", "--pattern", "2:4", "--pattern", "2:8", "--json", *QUICK)  # fmt: skip
    results = json.loads(out)["results"]
    assert code == 0
    assert [(r["design"]["name"], r["options"]["method"], r["options"]["pattern"]) for r in results] == [
        (design, method, pattern)
        for design in ("sat_vcu1525", "sat_edge_zcu104")
        for method, pattern in (("dense", None), ("bdwp", "2:4"), ("bdwp", "2:8"))
    ]
    assert results[0]["relative_speedup"] == 1
    assert results[2]["relative_speedup"] == pytest.approx(results[2]["step"]["speedup"])
    assert results[2]["relative_speedup"] > 1
    assert results[3]["relative_speedup"] < 0.5
    code, out, _ = run("compare", TRACE, "resnet9_cifar10", *QUICK)
    assert code == 0
    assert "geometric mean" in out


def test_schedule_shows_every_gemm_with_its_alternatives(run) -> None:
    code, out, _ = run("schedule", TRACE, *QUICK)
    result = acs.simulate(acs.load_trace(TRACE), acs.load_design("sat_vcu1525"), batch=32)
    shown = [line for line in out.splitlines() if line.startswith("layer1.0.conv1 ")]
    assert code == 0
    assert len(shown) == sum(layer.name == "layer1.0.conv1" and layer.m is not None for layer in result.layers) == 3
    assert all("1.000x" in line for line in shown)
    assert "mappings evaluated" in out


def test_lists_schemas_and_checks(run, tmp_path: Path) -> None:
    assert TRACE in run("list", "workloads")[1]
    assert "sat_vcu1525_dense" in run("list", "designs")[1]
    assert "transposable" in run("list", "methods")[1]
    for kind in ("trace", "design", "energy", "plan", "run"):
        assert json.loads(run("schema", kind)[1])["type"] == "object"
    bad = tmp_path / "bad.json"
    bad.write_text('{"format": "accelsim-trace/1"}')
    from accelsim.base.files import packaged_path

    good = packaged_path("hw_configs") / "sat_vcu1525.yaml"
    energy = packaged_path("hw_configs") / "energy" / "fpga_vu9p.yaml"
    code, out, err = run("check", str(good), str(bad), str(energy))
    assert code == 2
    assert out.startswith(f"ok: {good}: design sat_vcu1525, 38 values: ")
    assert f"ok: {energy}: energy table fpga_vu9p" in out
    assert f"error: {bad}: operations: missing\n" in err


def test_shipped_files_pass_the_check(run) -> None:
    from accelsim.base.files import packaged_path

    folders = {"hw_configs": "**/*.yaml", "workloads": "*.json", "workloads/sweeps": "*.yaml"}
    files = [path for folder, names in folders.items() for path in packaged_path(folder).glob(names)]
    code, out, err = run("check", *map(str, files))
    assert (code, err) == (0, "")
    assert len([line for line in out.splitlines() if line.startswith("ok: ")]) == len(files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "resnet18"], "error: trace 'resnet18': neither a file nor a shipped trace; did you mean"),
        (["simulate", "none.json"], "error: none.json: no such file\n"),
        (["simulate", TRACE, "--hw", "sat_vcu"],
         "error: design 'sat_vcu': neither a file nor a shipped design; did you mean 'sat_vcu1525'?; shipped:"),
        (["simulate", TRACE, "--hw", "none.yaml"], "error: none.yaml: no such file\n"),
        (["simulate", TRACE, "--method", "bdpw"], "error: method 'bdpw' is not known; did you mean 'bdwp'?; allowed: dense,"),
        (["simulate", TRACE, "--pattern", "8:2"], "error: pattern 8:2: N of every M elements are kept, so 1 <= N <= M <="),
        (["simulate", TRACE, "--pattern", "0:4"], "error: pattern 0:4: N of every M elements are kept, so 1 <= N <= M <="),
        (["simulate", TRACE, "--pattern", "2:x"], "error: pattern '2:x': expected N:M with two whole numbers, as in 2:8\n"),
        (["simulate", TRACE, "--pattern", "3:7"], "error: pattern 3:7: design 'sat_vcu1525' has no such mode; allowed: 1:2,"),
        (["simulate", TRACE, "--method", "dense", "--pattern", "9:8"],
         "error: --pattern 9:8: method 'dense' takes no pattern; leave it out, or choose a method that does (accelsim list"
         " methods)"),
        (["simulate", TRACE, "--pattern", "9:8"], "error: pattern 9:8: N of every M elements"),
        (["simulate", TRACE, "--batch", "0"], "error: batch: got 0; allowed: 1 to 1048576\n"),
        (["simulate", TRACE, "--batch", "x"], "error: Invalid value for '--batch': 'x' is not a valid integer."),
        (["simulate", TRACE, "--mode", "trian"], "error: mode: got 'trian'; did you mean 'train'?; allowed: train, infer\n"),
        (["simulate", TRACE, "--optimizer", "adm"], "error: optimizer 'adm' is not known; did you mean 'adam'?; allowed: sgd,"),
        (["simulate", TRACE, "--engine", "clsed"], "error: engine 'clsed' is not known; did you mean 'closed'?; allowed:"),
        (["simulate", TRACE, "--set", "array.row=64"], "error: --set array.row: no such field; did you mean 'array.rows'?"),
        (["simulate", TRACE, "--set", "array.rows"], "error: --set array.rows: expected PATH=VALUE, as in array.rows=64\n"),
        (["simulate", TRACE, "--set", "array.rows=8", "--set", "array.rows=9"],
         "error: --set array.rows=9: array.rows is set twice\n"),
        (["simulate", TRACE, "--set", "energy=fpga"], "error: energy table 'fpga': neither a file nor a shipped energy table"),
        (["simulate", TRACE, "--dense", "nothing*"], "error: --dense nothing*: matches no operation with a weight"),
        (["simulate", TRACE, "--sparse", "fc=8:2"], "error: --sparse fc=8:2: pattern 8:2: N of every M elements are kept"),
        (["simulate", TRACE, "-o", "result.xlsx"], "error: -o result.xlsx: got suffix '.xlsx'; allowed: .json, .csv\n"),
        (["simulate", TRACE, "-o", "no/where.csv"], "error: -o no/where.csv: no directory no\n"),
        (["simulate", TRACE, "--hww", "x"], "error: No such option"),
        (["simulate"], "error: Missing argument 'TRACE'. (try: accelsim simulate --help)\n"),
        (["simulte", TRACE], "error: no such command 'simulte'; did you mean 'simulate'?; allowed: simulate, compare,"),
        (["list", "workload"], "error: list workload: not known; did you mean 'workloads'?; allowed: workloads, designs,"),
        (["schema", "trase"], "error: schema trase: not known; did you mean 'trace'?; allowed: trace, design, energy, platform, behaviour, plan, sweep, run, zeros\n"),
        (["check", "notes.txt"], "error: notes.txt: got suffix '.txt'; allowed: .json, .json.gz, .yaml, .yml\n"),
        (["compare", TRACE, "--method", "bdwp", "--method", "bdwp"], "error: --method bdwp: is given twice\n"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_buffer_too_small_is_exit_code_3_and_writes_nothing(run, tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    code, out, err = run("simulate", TRACE, "--set", "buffers.y_bytes=4000", "-o", str(target), *QUICK)
    assert (code, out) == (3, "")
    assert err.startswith("error: operation 'conv1', FF 32768 x 64 x 147: no tile fits; the smallest, 32 x 32 x ")
    assert err.endswith("needs 8192 bytes of buffers.y_bytes, which has 4000: 4192 bytes are missing\n")
    assert not target.exists()


def test_an_existing_result_survives_a_failed_run(run, tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    target.write_text("precious")
    assert run("simulate", TRACE, "--pattern", "8:2", "-o", str(target))[0] == 2
    assert target.read_text() == "precious"


def test_fewer_channels_without_bandwidth_are_pointed_out(run) -> None:
    code, _, err = run("simulate", TRACE, "--set", "dram.channels=1", "--json", *QUICK)
    assert code == 0
    assert err == ("note: dram.bandwidth_gb_per_s stays 76.8, as for dram.channels 4; in proportion it would be 19.2\n")


def test_help_and_version(run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("simulate", "compare", "schedule", "trace", "check", "list", "schema"):
        assert command in out
        assert run(command, "--help")[0] == 0
    assert run("--version")[1] == f"accelsim, version {acs.__version__}\n"
