"""Reading measured rows: the rules that say what was measured, what cannot be compared and why, and malformed files."""

import csv
import hashlib
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.base.errors import InputError
from accelsim.hardware.platform import find_platform, load_behaviour
from accelsim.platforms.predictions import predict_pairs
from accelsim.platforms.published_rows import (
    SPARSE_COLUMNS,
    THROUGHPUT_COLUMNS,
    SparseCase,
    ThroughputCase,
    Unsupported,
    held_out,
    read_sparse,
    read_throughput,
)

DATA = Path(acs.__file__).parent / "data"
ROW = {
    "platform": "A100-SXM4-80GB",
    "n_devices": "1",
    "model": "ResNet-50",
    "input": "ImageNet 224x224",
    "batch_per_device": "128",
    "precision": "AMP",
    "framework_layout": "PyTorch 2.0 NHWC",
    "throughput": "1000",
    "unit": "img/s",
    "notes": "",
}
PAIR = {
    "platform": "A100-PCIe-80GB",
    "dtype": "FP16",
    "sparsity": "2:4",
    "M": "64",
    "N": "2560",
    "K": "6912",
    "dense_us": "37.3",
    "sparse_us": "23.8",
    "speedup": "1.567",
    "scope": "GEMM kernel only",
}


def write(path: Path, *rows: dict[str, str]) -> Path:
    """A CSV file of these rows."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def throughput(tmp_path: Path, **changes: str) -> ThroughputCase | Unsupported:
    (case,) = read_throughput(write(tmp_path / "rows.csv", {**ROW, **changes}))
    return case


def pair(tmp_path: Path, **changes: str) -> SparseCase | Unsupported:
    (case,) = read_sparse(write(tmp_path / "rows.csv", {**PAIR, **changes}))
    return case


def message(tmp_path: Path, text: str, read=read_throughput) -> str:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read(path)
    return str(error.value).replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("name", "read", "rows"),
    [("training_throughput.csv", read_throughput, 278), ("sparse_speedups.csv", read_sparse, 508)],
)
def test_shipped_files_are_read_completely(name: str, read, rows: int) -> None:
    found = read()
    with (DATA / name).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(found) == len(lines) == rows
    # no quoted line breaks: rows and lines correspond
    assert [case.line for case in found] == list(range(2, rows + 2))
    for case, row in zip(found, lines, strict=True):
        if isinstance(case, Unsupported):
            assert case.platform == row["platform"]
            assert case.reason
        else:
            assert case.platform == find_platform(row["platform"])


def test_shipped_rows_of_one_device_with_a_profile_are_all_compared() -> None:
    reasons = {case.reason for case in read_throughput() if isinstance(case, Unsupported)}
    assert reasons == {"several devices: their links are not stated", "no profile of this platform"}
    reasons = {case.reason for case in read_sparse() if isinstance(case, Unsupported)}
    assert reasons == {
        "no profile of this platform",
        "scope 'MLP block fwd+bwd': more than one product",
        "scope 'nn.Linear fwd+bwd training incl. runtime prune+compress': more than one product",
        "sparse kernels of an earlier architecture (sm80)",
        "sparsity 2:4 activations, not of a weight at 2:4",
    }


def test_a_library_that_plans_each_call_takes_longer(tmp_path: Path) -> None:
    plain, planned = pair(tmp_path), pair(tmp_path, sparse_lib="torch._cslt_sparse_mm")
    assert isinstance(plain, SparseCase)
    assert isinstance(planned, SparseCase)
    assert (plain.planning_us, planned.planning_us) == (0, 75)
    behaviour = load_behaviour(str(plain.platform.behaviour))
    (fast,), (dense_us,) = predict_pairs([plain], behaviour)
    (slow,), _ = predict_pairs([planned], behaviour)
    assert dense_us / slow == pytest.approx(dense_us / fast + 75)


def test_kernels_of_an_earlier_architecture_are_not_compared(tmp_path: Path) -> None:
    library = "CUTLASS sparse (sm80 kernels)"
    assert isinstance(pair(tmp_path, platform="A100-PCIe-80GB", sparse_lib=library), SparseCase)
    newer = pair(tmp_path, platform="H100", sparse_lib=library)
    assert isinstance(newer, Unsupported)
    assert newer.reason == "sparse kernels of an earlier architecture (sm80)"


def test_a_row_becomes_a_case(tmp_path: Path) -> None:
    case = throughput(tmp_path)
    assert isinstance(case, ThroughputCase)
    assert (case.line, case.platform.name, case.trace, case.batch) == (2, "a100_sxm_80gb", "resnet50_imagenet", 128)
    assert (case.measured, case.unit) == (1000.0, "samples/s")
    assert case.label == "resnet50_imagenet batch 128 amp on a100_sxm_80gb"
    assert case.key == "resnet50_imagenet|128"
    other = pair(tmp_path)
    assert isinstance(other, SparseCase)
    assert (other.m, other.n, other.k, other.dense_us, other.sparse_us, other.speedup) == (
        64, 2560, 6912, 37.3, 23.8, 1.567
    )  # fmt: skip
    assert (other.label, other.key) == ("64 x 2560 x 6912 fp16 on a100_pcie_80gb", "64x2560x6912")


# precision and framework of a row on an A100, and what is compared
PRECISIONS = [
    ("TF32", "PyTorch", "tf32"),
    ("FP32", "PyTorch", "fp32"),
    ("fp32 (TF32 allowed)", "PyTorch", "tf32"),
    ("FP32, no TF32", "PyTorch", "fp32"),
    ("FP32 (TF32 disabled)", "PyTorch", "fp32"),
    ("AMP", "PyTorch", "amp"),
    ("Mixed", "TF2", "amp"),
    ("FP16/AMP", "PyTorch", "amp"),
    ("FP16", "MXNet", "amp"),
    ("FP16", "PyTorch torchvision", "fp16"),
    ("half", "pytorch 0.3", "fp16"),
    ("bf16", "PyTorch", "bf16"),
    ("bfloat16 mixed", "PyTorch", "amp"),
]


@pytest.mark.parametrize(("precision", "framework", "wanted"), PRECISIONS)
def test_rules_of_precision(tmp_path: Path, precision: str, framework: str, wanted: str) -> None:
    case = throughput(tmp_path, precision=precision, framework_layout=framework)
    assert isinstance(case, ThroughputCase)
    assert case.software.precision == wanted


def test_tf32_that_a_platform_lacks_is_fp32_where_it_was_only_allowed(tmp_path: Path) -> None:
    allowed = throughput(tmp_path, platform="V100", precision="FP32(TF32 allowed, NGC default)")
    assert isinstance(allowed, ThroughputCase)
    assert allowed.software.precision == "fp32"
    stated = throughput(tmp_path, platform="V100", precision="TF32")
    assert isinstance(stated, ThroughputCase)
    assert stated.software.precision == "tf32"


# framework, precision, model: channels last, compiled, one kernel updates
SOFTWARE = [
    ("PyTorch NCHW", "AMP", "ResNet-50", (False, False, True)),
    ("PyTorch NHWC", "AMP", "ResNet-50", (True, False, True)),
    ("torch 2.1 channels_last", "AMP", "ResNet-50", (True, False, True)),
    ("MXNet 1.6", "AMP", "ResNet-50", (True, False, True)),
    ("MXNet 1.6", "FP32", "ResNet-50", (False, False, True)),
    ("TF2 NGC", "AMP", "ResNet-50", (True, False, True)),
    ("TF1 XLA", "FP32", "ResNet-50", (False, True, True)),
    ("torch.compile", "AMP", "ResNet-50", (False, True, True)),
    ("PyTorch torchvision", "FP16", "ResNet-50", (False, False, False)),
]


@pytest.mark.parametrize(("framework", "precision", "model", "wanted"), SOFTWARE)
def test_rules_of_software(tmp_path: Path, framework: str, precision: str, model: str, wanted) -> None:
    case = throughput(tmp_path, framework_layout=framework, precision=precision, model=model)
    assert isinstance(case, ThroughputCase)
    assert (case.software.channels_last, case.software.compiled, case.software.fused_update) == wanted
    assert case.software.optimizer is not None
    assert case.software.optimizer.name == "sgd"


def test_rules_of_transformers_and_optimizers(tmp_path: Path) -> None:
    bert = {"model": "BERT-Large", "input": "SQuAD seq 384", "unit": "seq/s", "framework_layout": "TF2 NGC"}
    case = throughput(tmp_path, **bert)
    assert isinstance(case, ThroughputCase)
    assert case.trace == "bert_large_squad_384"
    assert case.software.compiled
    assert case.software.optimizer is not None
    assert case.software.optimizer.name == "adam"
    timed = throughput(tmp_path, notes="forward and backward, no optimizer step")
    assert isinstance(timed, ThroughputCase)
    assert timed.software.optimizer is None
    rows = write(tmp_path / "no_notes.csv", {name: value for name, value in ROW.items() if name != "notes"})
    assert isinstance(read_throughput(rows)[0], ThroughputCase)


@pytest.mark.parametrize(
    ("text", "batch"), [("", None), ("(grad-accum 4096 total)", None), ("256.0", 256), (" 64 ", 64)]
)
def test_batches(tmp_path: Path, text: str, batch: int | None) -> None:
    case = throughput(tmp_path, batch_per_device=text)
    assert isinstance(case, ThroughputCase)
    assert case.batch == batch


@pytest.mark.parametrize(
    ("unit", "measured"),
    [("img/s", ("samples/s", 1000.0)), ("images per second", ("samples/s", 1000.0)), ("TFLOP/s", ("operations/s", 1e15)),
     ("GFLOPS", ("operations/s", 1e12))],
)  # fmt: skip
def test_units(tmp_path: Path, unit: str, measured: tuple[str, float]) -> None:
    case = throughput(tmp_path, unit=unit)
    assert isinstance(case, ThroughputCase)
    assert (case.unit, case.measured) == measured


UNSUPPORTED = [
    ({"platform": "TPU v4"}, "no profile of this platform"),
    ({"platform": "VCU1525"}, "the profile has no compute rates"),
    ({"n_devices": "8"}, "several devices: their links are not stated"),
    ({"model": "AlexNet"}, "no trace of AlexNet, ImageNet 224x224"),
    ({"input": "synthetic 160x160"}, "no trace of ResNet-50, synthetic 160x160"),
    ({"precision": "INT4"}, "precision INT4: not known"),
    ({"unit": "steps/s"}, "unit steps/s: not known"),
]


@pytest.mark.parametrize(("changes", "reason"), UNSUPPORTED)
def test_rows_that_cannot_be_compared_say_why(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    case = throughput(tmp_path, **changes)
    assert case == Unsupported(line=2, platform={**ROW, **changes}["platform"], reason=reason)


UNSUPPORTED_PAIRS = [
    ({"platform": "MI300X"}, "no profile of this platform"),
    ({"platform": "V100"}, "the platform has no 2:4 products"),
    ({"platform": "VCU1525"}, "the platform has no 2:4 products"),
    ({"sparsity": "1:4"}, "sparsity 1:4, not of a weight at 2:4"),
    ({"scope": "MLP block fwd+bwd"}, "scope 'MLP block fwd+bwd': more than one product"),
    ({"dtype": "FP16/BF16?"}, "dtype FP16/BF16?: not stated"),
]


@pytest.mark.parametrize(("changes", "reason"), UNSUPPORTED_PAIRS)
def test_pairs_that_cannot_be_compared_say_why(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    assert pair(tmp_path, **changes) == Unsupported(line=2, platform={**PAIR, **changes}["platform"], reason=reason)


def test_pairs_without_times(tmp_path: Path) -> None:
    case = pair(tmp_path, dense_us="", sparse_us=" ", sparsity="2:4 weights", scope="linear fwd")
    assert isinstance(case, SparseCase)
    assert (case.dense_us, case.sparse_us) == (None, None)


SPELLINGS = {
    "a100_sxm_80gb": ("NVIDIA A100-SXM4-80GB", "nvidia_a100_sxm4_80gb", "A100 SXM4 (80GB)", "a100"),
    "h100_sxm": ("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"),
    "rtx2080ti": ("NVIDIA GeForce RTX 2080 Ti", "RTX2080Ti", "GeForce® RTX™ 2080 Ti"),
    "v100_sxm2_16gb": ("Tesla V100-SXM2-16GB", "tesla_v100_sxm2_16gb"),
    "i9_9900x": ("Intel(R) Core(TM) i9-9900X",),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_platforms_are_found_however_they_are_spelled(tmp_path: Path, name: str) -> None:
    for spelled in SPELLINGS[name]:
        case = throughput(tmp_path, platform=spelled)
        assert not isinstance(case, Unsupported), spelled
        assert case.platform.name == name


HEADER = ",".join(THROUGHPUT_COLUMNS)
GOOD = "A100,1,ResNet-50,ImageNet,128,AMP,NHWC,1000,img/s"
BAD_NUMBERS = [
    ("throughput", "0", "a number above 0"),
    ("throughput", "-5", "a number above 0"),
    ("throughput", "nan", "a number above 0"),
    ("throughput", "inf", "a number above 0"),
    ("throughput", "fast", "a number above 0"),
    ("throughput", "", "a number above 0"),
    ("n_devices", "0", "a whole number above 0"),
    ("n_devices", "1.5", "a whole number above 0"),
    ("n_devices", "\u00b2", "a whole number above 0"),
    ("batch_per_device", "-64", "a whole number above 0"),
    ("batch_per_device", "0", "a whole number above 0"),
    ("batch_per_device", "large", "a whole number above 0"),
    ("batch_per_device", "9" * 30, "a whole number above 0"),
]


@pytest.mark.parametrize(("column", "value", "needed"), BAD_NUMBERS)
def test_bad_numbers(tmp_path: Path, column: str, value: str, needed: str) -> None:
    path = write(tmp_path / "bad.csv", ROW, {**ROW, column: value})
    with pytest.raises(InputError) as error:
        read_throughput(path)
    assert str(error.value) == f"{path}:3: {column}: got '{value}'; {needed} is needed"


@pytest.mark.parametrize(
    ("column", "value", "needed"),
    [("M", "0", "a whole number above 0"), ("K", "x", "a whole number above 0"), ("dense_us", "0", "a number above 0"),
     ("sparse_us", "-1", "a number above 0"), ("speedup", "0", "a number above 0"), ("speedup", "nan", "a number above 0")],
)  # fmt: skip
def test_bad_numbers_of_pairs(tmp_path: Path, column: str, value: str, needed: str) -> None:
    path = write(tmp_path / "bad.csv", PAIR, {**PAIR, column: value})
    with pytest.raises(InputError) as error:
        read_sparse(path)
    assert str(error.value) == f"{path}:3: {column}: got '{value}'; {needed} is needed"


def test_a_file_of_zeros(tmp_path: Path) -> None:
    columns = ("throughput", "n_devices", "batch_per_device")
    path = write(tmp_path / "zeros.csv", *[{**ROW, **dict.fromkeys(columns, "0")}] * 3)
    with pytest.raises(InputError) as error:
        read_throughput(path)
    assert str(error.value) == f"{path}:2: throughput: got '0'; a number above 0 is needed"


def test_malformed_files(tmp_path: Path) -> None:
    lacking = HEADER.replace("precision,", "")
    assert message(tmp_path, f"{lacking}\n{GOOD}\n") == (
        f"FILE: column 'precision' is missing; needed: {', '.join(THROUGHPUT_COLUMNS)}"
    )
    assert message(tmp_path, "") == f"FILE: column 'platform' is missing; needed: {', '.join(THROUGHPUT_COLUMNS)}"
    assert message(tmp_path, "", read_sparse) == (
        f"FILE: column 'platform' is missing; needed: {', '.join(SPARSE_COLUMNS)}"
    )
    assert message(tmp_path, f"{HEADER}\n") == "FILE: no rows to check"
    assert message(tmp_path, f"{HEADER}\n{GOOD}\nA100,1,ResNet-50") == "FILE:3: 9 columns are needed (truncated?)"
    assert message(tmp_path, f"{HEADER}\n{GOOD},more\n") == "FILE:2: 9 columns are needed (truncated?)"
    assert message(tmp_path, f"{HEADER}\n{'x' * 200_000}\n") == "FILE:2: field larger than field limit (131072)"
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError) as error:
        read_throughput(path)
    assert str(error.value) == f"{path}: not a text file (UTF-8 expected)"
    with pytest.raises(InputError) as error:
        read_sparse(tmp_path / "absent.csv")
    assert str(error.value) == f"{tmp_path / 'absent.csv'}: no such file"


@pytest.mark.parametrize("read", [read_throughput, read_sparse])
def test_the_split_is_by_network_and_shape_alone(read) -> None:
    cases = [case for case in read() if not isinstance(case, Unsupported)]
    sides: dict[str, set[bool]] = {}
    for case in cases:
        sides.setdefault(case.key, set()).add(held_out(case))
        assert held_out(case) == (int(hashlib.sha256(case.key.encode()).hexdigest(), 16) % 3 == 0)
    assert all(len(found) == 1 for found in sides.values())
    assert 0.2 < sum(True in found for found in sides.values()) / len(sides) < 0.45
    assert 0.2 < sum(map(held_out, cases)) / len(cases) < 0.45
