"""Platforms and FPGA resources at the command line."""

import csv
import json
from pathlib import Path

import pytest

from accelsim.base.files import packaged_path
from accelsim.hardware.platform import platform_names

PLATFORMS = packaged_path("hw_configs") / "platforms"


def test_list_and_schemas(run) -> None:
    code, out, err = run("list", "platforms")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:]] == platform_names()
    for kind in ("platform", "behaviour"):
        assert json.loads(run("schema", kind)[1])["type"] == "object"


def test_check_of_platforms(run, tmp_path: Path) -> None:
    good, bad = PLATFORMS / "vcu1525.yaml", tmp_path / "bad.yaml"
    bad.write_text(good.read_text().replace("kind: fpga", "kind: gpu", 1))
    code, out, err = run("check", str(good), str(bad))
    assert code == 2
    assert out == f"ok: {good}: platform vcu1525 (fpga), 10 values: 6 quoted, 3 recalled, 1 derived\n"
    assert err == f"error: {bad}: top level: compute: missing; a platform of kind gpu needs it\n"


def test_check_says_what_a_design_takes_and_what_it_lacks(run, tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    text = (packaged_path("hw_configs") / "sat_edge_zcu104.yaml").read_text()
    # 1024 + 24 + 48 multipliers of 2, 3 and 2 DSPs; all 512 + 512 + 16 + 24 + 48 adders are logic; 39 of the 57 columns
    # of the resident tensors are in UltraRAM, 18 in 4 block RAMs each, with 9 x 13 of W and 8 x 16 of Y
    large.write_text(text.replace("rows: {value: 16,", "rows: {value: 32,", 1))
    code, out, err = run("check", str(large))
    assert code == 0
    assert out == (
        f"ok: {large}: design sat_edge_zcu104, 38 values: 21 assumption, 7 quoted, 7 derived, 2 recalled, 1 datasheet;"
        " takes 8.21 W whatever it does, 54.1 pJ per MAC; about 2,216 of 1,728 DSP, 476,217 of 230,400 LUT, 349 of 312"
        " BRAM36, 96 of 96 URAM288\n"
        "  PE products: 2,048 DSP, 121,344 LUT\n"  # 1024 x 34 + 512 x 169
        "  PE sums: 173,056 LUT\n"
        "  edge sums: 5,408 LUT\n"
        "  WUVE: 72 DSP, 9,960 LUT\n"
        "  vector unit: 96 DSP, 17,856 LUT\n"
        "  N:M selection: 65,536 LUT\n"
        "  partial sums: 31,744 LUT\n"
        "  stationary operands: 20,480 LUT\n"
        "  SORE: 3,584 LUT\n"
        "  control: 22,449 LUT\n"
        "  X buffer: 57 URAM288\n"
        "  resident tensors: 72 BRAM36, 39 URAM288\n"
        "  W buffer: 117 BRAM36\n"
        "  Y buffer: 128 BRAM36\n"
        "  DMA engines: 4,800 LUT, 32 BRAM36\n"
    )
    assert err == (
        f"warning: {large}: DSP: needs 2,216, the device has 1,728 (estimate)\n"
        f"warning: {large}: LUT: needs 476,217, the device has 230,400 (estimate)\n"
        f"warning: {large}: BRAM36: needs 349, the device has 312 (estimate)\n"
    )


def test_simulate_warns_and_goes_on(run) -> None:
    code, _, err = run("simulate", "resnet18_tinyimagenet", "--hw", "sat_edge_zcu104", "--set", "sore.lanes=512")
    assert code == 0
    assert err == (
        "warning: design sat_edge_zcu104 + sore.lanes 512 does not fit its device: LUT: needs 344,975, the device has 230,400 (estimate)\n"
    )


COMPARE = ("compare", "resnet18_tinyimagenet", "--batch", "64")


def test_compare_prints_estimates_with_their_errors(run) -> None:
    code, out, err = run(*COMPARE, "--platform", "rtx2080ti", "--platform", "ef_train", "--method", "bdwp")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "resnet18_tinyimagenet"
    rows = {line.split()[0]: line for line in lines[2:5]}
    assert list(rows) == ["sat_vcu1525", "rtx2080ti", "ef_train"]
    assert "±" in rows["rtx2080ti"]
    assert "±" not in rows["sat_vcu1525"] + rows["ef_train"]
    assert lines[5:8] == [
        "",
        "batch 64; relative: speed over the first row of sat_vcu1525; error: of the held-out measurements named below",
        "*: recalled facts enter (accelsim list platforms; energy table of the design)",
    ]
    assert "  rtx2080ti: 2:8 runs dense: the platform has no 2:4 products" in lines
    assert "  ef_train: as published; the rate of its own paper" in lines


def test_compare_as_json_and_csv(run, tmp_path: Path) -> None:
    platforms = ("--platform", "rtx2080ti", "--platform", "a100_sxm_80gb", "--baseline", "rtx2080ti")
    code, out, _ = run(*COMPARE, *platforms, "--json", "-o", str(tmp_path / "out.csv"))
    found = json.loads(out)
    assert code == 0
    assert (found["format"], found["baseline"]) == ("accelsim-contenders/1", "rtx2080ti")
    names = [row["name"] for row in found["contenders"]]
    assert names == ["sat_vcu1525"] * 2 + ["rtx2080ti"] * 2 + ["a100_sxm_80gb"] * 2
    base = found["contenders"][2]
    assert base["relative_speedup"] == 1
    for row in found["contenders"]:
        assert row["relative_speedup"] == pytest.approx(base["latency_s"] / row["latency_s"])
        assert row["energy_low_j"] < row["energy_j"] < row["energy_high_j"]
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == names
    assert list(rows[0]) == list(base)
    assert [float(row["latency_s"]) for row in rows] == [row["latency_s"] for row in found["contenders"]]
    assert rows[3]["notes"] == "2:8 runs dense: the platform has no 2:4 products"
    assert run(*COMPARE, *platforms, "-o", str(tmp_path / "out.json"))[0] == 0
    assert json.loads((tmp_path / "out.json").read_text()) == found


def test_compare_in_parts_and_on_several_devices(run) -> None:
    large = ("compare", "resnet18_tinyimagenet", "--batch", "65536", "--method", "dense", "--platform", "rtx2080ti")
    # 14 bytes of each of 11,279,112 parameters, 2 of each of 484,240 elements kept per sample
    assert run(*large) == (
        2,
        "",
        "error: platform 'rtx2080ti': a step of 65536 samples of resnet18_tinyimagenet (amp) needs about 63.6 GB; it has"
        " 11.8 GB, enough for 12031 samples. Lower the batch, or let gradients accumulate over parts of it"
        " (--accumulate)\n",
    )
    code, out, _ = run(*large, "--accumulate", "--devices", "4", "--link-gb-per-s", "16")
    assert code == 0
    assert "  rtx2080ti: 65536 samples run in 6 parts, as they do not fit the memory\n" in out
    assert "  rtx2080ti: 4 devices, links of 16 GB/s, " in out


def test_designs_of_one_name_keep_their_own_energy(run, tmp_path: Path) -> None:
    text = (packaged_path("hw_configs") / "sat_vcu1525.yaml").read_text()
    energy = next(line for line in text.splitlines() if line.startswith("energy:"))
    other = tmp_path / "other.yaml"
    other.write_text(text.replace(energy, "energy: asic_28nm"))
    designs = ("--hw", "sat_vcu1525", "--hw", str(other), "--method", "dense", "--platform", "ef_train", "--json")
    first, second, _ = json.loads(run(*COMPARE, *designs)[1])["contenders"]
    assert first["name"] == second["name"]
    assert first["energy_low_j"] <= first["energy_j"]
    assert second["energy_low_j"] <= second["energy_j"] <= second["energy_high_j"]
    assert second["energy_high_j"] < first["energy_low_j"]


REFUSED = {
    "unknown platform": (
        ("--platform", "rtx2080"),
        "error: platform 'rtx2080': neither a file nor a shipped platform; did you mean 'rtx2080ti'?; shipped:"
        f" {', '.join(platform_names())}\n",
    ),
    "device": (
        ("--platform", "vcu1525"),
        "error: platform 'vcu1525': is a device without compute rates; simulate a design on it with --hw instead\n",
    ),
    "precision": (
        ("--platform", "v100_sxm2_16gb", "--precision", "bf16"),
        "error: precision 'bf16': platform 'v100_sxm2_16gb' has none; did you mean 'fp16'?; allowed: fp32, fp16, int8\n",
    ),
    "baseline": (
        ("--platform", "rtx2080ti", "--baseline", "rtx2080"),
        "error: --baseline rtx2080: not compared; did you mean 'rtx2080ti'?; allowed: sat_vcu1525, rtx2080ti\n",
    ),
    "twice": (("--platform", "a100", "--platform", "a100"), "error: --platform a100: is given twice\n"),
    "forward alone": (
        ("--platform", "rtx2080ti", "--mode", "infer"),
        "error: --mode infer: estimates of platforms are of training steps; leave out --platform\n",
    ),
    "kept dense": (
        ("--platform", "rtx2080ti", "--dense", "layer1*"),
        "error: --dense: platforms run by the rules of the method alone; leave out --platform\n",
    ),
    "devices of nothing": (("--devices", "4"), "error: --devices: is of platforms; name one with --platform\n"),
    "link of nothing": (
        ("--link-gb-per-s", "4"),
        "error: --link-gb-per-s: is of platforms; name one with --platform\n",
    ),
    "link": (
        ("--platform", "rtx2080ti", "--devices", "2", "--link-gb-per-s", "nan"),
        "error: devices: got 2 with links of nan GB/s; 1 or more and above 0 are needed\n",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_compare_refuses(run, tmp_path: Path, name: str) -> None:
    options, message = REFUSED[name]
    target = tmp_path / "out.csv"
    assert run(*COMPARE, *options, "-o", str(target)) == (2, "", message)
    assert not target.exists()


COLUMNS = "platform,n_devices,model,input,batch_per_device,precision,framework_layout,throughput,unit"
PAIR_COLUMNS = "platform,dtype,sparsity,M,N,K,dense_us,sparse_us,speedup,scope"


def test_validate_throughput_of_a_file(run, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    rows = [
        "NVIDIA GeForce RTX 3090,1,ResNet-50,ImageNet,128,AMP,NHWC,800,img/s",
        "TPU v4 [/x],1,ResNet-50,ImageNet,128,AMP,NHWC,800,img/s",
        "RTX 3090,2,ResNet-50,ImageNet,128,AMP,NHWC,800,img/s",
    ]
    path.write_text("\n".join([COLUMNS, *rows]) + "\n")
    code, out, err = run("validate", "throughput", str(path), "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert list(found) == [
        "check",
        "cases",
        "exact",
        "worst_relative_error",
        "median_relative_error",
        "p90_relative_error",
        "signs",
        "unsupported",
        "platforms",
    ]
    assert (found["check"], found["cases"], found["exact"]) == ("throughput", 1, None)
    assert found["median_relative_error"] == found["worst_relative_error"] == found["p90_relative_error"]
    assert found["unsupported"] == {
        "TPU v4 [/x]: no profile of this platform": 1,
        "RTX 3090: several devices: their links are not stated": 1,
    }
    code, out, _ = run("validate", "throughput", str(path), "-o", str(tmp_path / "report"))
    assert code == 0
    assert "  unsupported: 1 row of TPU v4 [/x]: no profile of this platform\n" in out
    report = (tmp_path / "report" / "accuracy.md").read_text()
    assert report.startswith("Made by `accelsim validate throughput FILE.csv -o DIR`. ")
    assert "training throughput on one device; all rows of the file." in report
    assert len((tmp_path / "report" / "throughput.csv").read_text().splitlines()) == 2
    assert (tmp_path / "report" / "throughput.png").stat().st_size > 0


def test_validate_sparse_gemm_of_a_file(run, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"{PAIR_COLUMNS}\nA100,FP16,2:4,4096,4096,4096,,,1.5,GEMM\n")
    code, out, _ = run("validate", "sparse-gemm", str(path))
    assert code == 0
    assert "a100_sxm_80gb" in out
    assert "4096 x 4096 x 4096 fp16 on a100_sxm_80gb" in out


def test_validate_fails_where_nothing_can_be_compared(run, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"{COLUMNS}\nTPU v4,1,ResNet-50,ImageNet,128,AMP,NHWC,800,img/s\n")
    code, out, _ = run("validate", "throughput", str(path), "--json")
    assert code == 1
    assert json.loads(out)["median_relative_error"] is None
    assert run("validate", "throughput", str(path), "-o", str(tmp_path / "report"))[0] == 1


def test_validate_refuses_malformed_files(run, tmp_path: Path) -> None:
    path, folder = tmp_path / "zeros.csv", tmp_path / "report"
    path.write_text(f"{COLUMNS}\nA100,0,ResNet-50,ImageNet,0,AMP,NHWC,0,img/s\n")
    assert run("validate", "throughput", str(path), "-o", str(folder)) == (
        2,
        "",
        f"error: {path}:2: throughput: got '0'; a number above 0 is needed\n",
    )
    assert not folder.exists()
    missing = ", ".join(PAIR_COLUMNS.split(","))
    assert run("validate", "sparse-gemm", str(path)) == (
        2,
        "",
        f"error: {path}: column 'dtype' is missing; needed: {missing}\n",
    )
    assert run("validate", "--platforms", "throughput") == (
        2,
        "",
        "error: --platforms: runs no single check, got 'throughput'\n",
    )


def test_validate_platforms(run) -> None:
    code, out, err = run("validate", "--platforms")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("throughput: training throughput on one device; the held-out third of the shipped rows")
    assert sum(line.startswith("all ") for line in lines) == 2
    assert any(line.startswith("rtx3090 ") for line in lines)
    assert "  unsupported: 2 rows of Ascend 910: no profile of this platform" in lines
    code, out, _ = run("validate", "--platforms", "--json")
    assert code == 0
    assert [entry["check"] for entry in json.loads(out)] == ["throughput", "sparse-gemm"]
