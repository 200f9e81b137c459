"""Every shipped platform: sourced, found by the names that measurements use, consistent; what is said of bad files."""

import csv
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.base.files import packaged_path
from accelsim.hardware.platform import PRECISIONS, Platform, find_platform, load_platform, platform_names
from accelsim.hardware.sourced import CONFIDENCES

DATA = Path(acs.__file__).parent / "data"
MEBI = 2**20
WITHOUT = {
    "Ascend 910": "facts of its matrix units were not found in a source at hand",
    "MI300X": "an AMD GPU: none of the behaviours describes its software",
    "A100?": "the source does not say which card was measured",
}
"""Platforms of the measurements that have no profile, and why."""

# rows of the reference data's platforms.csv: platform, field, value
REFERENCE = """
RTX 2080 Ti,fp32_tflops,13.448
RTX 2080 Ti,fp16_tflops,56.9
RTX 2080 Ti,bandwidth_gb_per_s,616
RTX 2080 Ti,peak_w,260
V100-SXM2,fp32_tflops,15.7
V100-SXM2,fp16_tflops,125
V100-SXM2,bandwidth_gb_per_s,900
V100-SXM2,peak_w,300
A100-SXM4-40GB,tf32_tflops,156
A100-SXM4-40GB,int8_tops,624
A100-SXM4-40GB,multiprocessors,108
A100-SXM4-40GB,bandwidth_gb_per_s,1555
A100-SXM4-80GB,bandwidth_gb_per_s,2039
A100-PCIe-80GB,bandwidth_gb_per_s,1940
A100-PCIe-80GB,peak_w,300
A100-PCIe-40GB,peak_w,250
RTX 3090,fp32_tflops,35.6
RTX 3090,fp16_tflops,71
RTX 4090,fp16_tflops,165.2
H100-SXM5-80GB,fp8_tflops,1979
H100-PCIe-80GB,fp16_tflops,756
H200-SXM-141GB,bandwidth_gb_per_s,4800
Jetson Nano,fp16_tflops,0.472
Jetson TX2,bandwidth_gb_per_s,59.7
Jetson Xavier NX,fp16_tflops,6.76
Jetson Orin Nano 8GB,fp16_tflops,10.24
Jetson AGX Orin 64GB,fp16_tflops,42.5
Intel Core i9-9900X,fp32_tflops,2.24
AMD EPYC 7742,fp32_tflops,4.61
"""


def compute_platforms() -> list[Platform]:
    return [platform for platform in map(load_platform, platform_names()) if platform.compute is not None]


@pytest.mark.parametrize("name", platform_names())
def test_platforms_load_with_an_origin_for_every_value(name: str) -> None:
    platform = load_platform(name)
    assert platform.name == name
    assert platform.description
    dumped = platform.model_dump(exclude_none=True, exclude=set(Platform.plain))
    assert {item.path for item in platform.provenance} == {
        f"{section}.{key}" for section, values in dumped.items() for key in values
    }
    for item in platform.provenance:
        section, key = item.path.split(".")
        value = getattr(getattr(platform, section), key)
        assert item.source
        assert item.confidence in CONFIDENCES
        if item.low is not None and item.high is not None:
            assert item.low <= value <= item.high, item.path


def test_a_platform_is_found_by_its_name_and_every_alias() -> None:
    for name in platform_names():
        platform = load_platform(name)
        for alias in (name, *platform.aliases):
            assert find_platform(alias) == platform
            assert find_platform(f" NVIDIA {alias.upper()} ") == platform


@pytest.mark.parametrize("table", ["training_throughput.csv", "sparse_speedups.csv"])
def test_measured_platforms_have_a_profile_or_a_reason(table: str) -> None:
    with (DATA / table).open(newline="") as file:
        names = {row["platform"] for row in csv.DictReader(file)}
    assert names
    for name in names:
        assert (find_platform(name) is None) == (name in WITHOUT), name


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100_sxm_80gb"),
        ("A100", "a100_sxm_80gb"),
        ("NVIDIA A100 80GB PCIe", "a100_pcie_80gb"),
        ("NVIDIA GeForce RTX 3090", "rtx3090"),
        ("GeForce RTX 2080 Ti", "rtx2080ti"),
        ("Tesla V100-SXM2-16GB", "v100_sxm2_16gb"),
        ("Tesla V100", "v100_sxm2_16gb"),
        ("H100 PCIe", "h100_pcie"),
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx6000ada"),
        ("Quadro RTX 8000", "quadro_rtx8000"),
        ("DGX Spark", "gb10"),
        ("Xilinx VCU1525 (VU9P)", "vcu1525"),
        ("Intel(R) Core(TM) i9-9900X CPU @ 3.50GHz", "i9_9900x"),
    ],
)
def test_usual_spellings(spelling: str, name: str) -> None:
    assert load_platform(spelling) == load_platform(name)


def test_rates_are_in_order() -> None:
    """Narrower types are no slower on matrix units; 2:4 came with Ampere, which has TF32 and BF16 as well."""
    for platform in compute_platforms():
        compute = platform.compute
        assert compute is not None
        rates = [getattr(compute, f"{name}_tops" if name == "int8" else f"{name}_tflops") for name in PRECISIONS]
        fp32, tf32, fp16, bf16, fp8, int8 = rates
        if compute.matrix_units:
            assert fp16 > fp32
            assert (tf32 or fp32) <= fp16
            assert fp8 is None or 2 * fp16 == pytest.approx(fp8, rel=2e-3)
            assert fp8 is None or fp8 <= int8
        ampere_or_later = platform.behaviour is not None and platform.behaviour.startswith(
            ("ampere", "ada", "hopper", "blackwell")
        )
        assert compute.sparse_2_4 == ampere_or_later
        assert (tf32 is not None) == (bf16 is not None) == ampere_or_later
        assert bf16 in {None, fp16}
        assert fp8 is None or not platform.behaviour.startswith("ampere")


@pytest.mark.parametrize("row", REFERENCE.split("\n")[1:-1])
def test_values_are_those_of_the_reference_data(row: str) -> None:
    alias, field, value = row.split(",")
    platform = find_platform(alias)
    assert platform is not None
    sections = (platform.compute, platform.memory, platform.power)
    assert [getattr(section, field) for section in sections if hasattr(section, field)] == [float(value)]


def test_capacities_are_in_powers_of_ten() -> None:
    memory = load_platform("a100_sxm_80gb").memory
    assert memory is not None
    assert memory.capacity_gb == pytest.approx(80 * 2**30 / 1e9, rel=1e-3)
    assert memory.cache_mb == pytest.approx(40 * MEBI / 1e6, rel=1e-3)


FILE = (packaged_path("hw_configs") / "platforms" / "rtx3090.yaml").read_text()
PEAK = next(line for line in FILE.splitlines() if line.startswith("  peak_w:"))
LINE = FILE.splitlines().index(PEAK) + 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (f"{PEAK}\n", "", f"{{file}}:{LINE - 1}: power.peak_w: missing"),
        (PEAK, "  peak_w: {value: 350.0, confidence: quoted}",
         f"{{file}}:{LINE}: power.peak_w: source missing: say where the value comes from, or what the assumption rests on"),
        (PEAK, '  peak_w: {value: 350.0, source: "a sheet", confidence: sure}',
         f"{{file}}:{LINE}: power.peak_w: confidence: got 'sure'; did you mean 'measured'?; allowed: {', '.join(CONFIDENCES)}"),
        (PEAK, '  peak_w: {value: 5.0, source: "a sheet", confidence: quoted}',
         "{file}: top level: power.idle_w: got 20, above power.peak_w 5"),
        ("behaviour: ampere_client\n", "", "{file}: top level: behaviour: missing; a platform of kind gpu needs it"),
        ("kind: gpu", "kind: gpus", "{file}:4: kind: got \"gpus\"; did you mean 'gpu'?; allowed: gpu, edge, cpu, fpga"),
        ("  multiprocessors:", "  multiprocessor:",
         "{file}:9: compute.multiprocessors: missing\n{file}:9: compute.multiprocessor: unknown key; did you mean"
         " 'multiprocessors'?; allowed: multiprocessors, fp32_tflops, tf32_tflops, fp16_tflops, bf16_tflops, fp8_tflops,"
         " int8_tops, matrix_units, sparse_2_4"),
    ],
    ids=["missing", "no source", "confidence", "idle above peak", "no behaviour", "kind", "key"],
)  # fmt: skip
def test_bad_files(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in FILE
    file = tmp_path / "changed.yaml"
    file.write_text(FILE.replace(old, new, 1))
    with pytest.raises(acs.InputError) as caught:
        load_platform(file)
    assert str(caught.value) == message.format(file=file)


def test_unknown_platform_names_the_nearest() -> None:
    with pytest.raises(acs.InputError) as caught:
        load_platform("rtx309")
    assert str(caught.value) == (
        "platform 'rtx309': neither a file nor a shipped platform; did you mean 'rtx3090'?; shipped: "
        + ", ".join(platform_names())
    )


@pytest.mark.parametrize(
    ("platform", "precision", "message"),
    [
        ("rtx2080ti", "bf16",
         "precision 'bf16': platform 'rtx2080ti' has none; did you mean 'fp16'?; allowed: fp32, fp16, int8"),
        ("a100_sxm_80gb", "fp8",
         "precision 'fp8': platform 'a100_sxm_80gb' has none; did you mean 'fp32'?; allowed: fp32, tf32, fp16, bf16, int8"),
        ("vcu1525", "fp32", "precision 'fp32': platform 'vcu1525' has none, nor any other"),
    ],
)  # fmt: skip
def test_precision_that_a_platform_lacks(platform: str, precision: str, message: str) -> None:
    with pytest.raises(acs.InputError) as caught:
        load_platform(platform).peak_flops(precision)
    assert str(caught.value) == message


def test_peaks_are_operations_per_second() -> None:
    assert load_platform("a100_sxm_80gb").peak_flops("fp16") == 312e12
    assert load_platform("rtx4090").peak_flops("int8") == 660.6e12
