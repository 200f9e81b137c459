"""What measurements say: a known behaviour is recovered, contradictions and unusable files are refused."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simulated_device as known
from simulated_device import SimulatedDevice

from accelsim.base.errors import InputError
from accelsim.calibration.behaviour import calibrate
from accelsim.calibration.devices.selection import open_device
from accelsim.calibration.devices.suite import DEFAULT, QUICK, LeftOut, Task, measure, tasks_for
from accelsim.calibration.measured_rows import Measurement, measurements_text, read_measurements
from accelsim.calibration.profile_files import Identity, calibrated_files, check_facts, facts_of, stated_facts
from accelsim.calibration.residuals import residuals, residuals_text
from accelsim.hardware.platform import Behaviour, load_behaviour, load_platform
from accelsim.hardware.sourced import leaf_paths
from accelsim.hardware.sourced_text import SourcedValue
from accelsim.platforms.kernel_time import pair_seconds

DATE = "2026-01-02"
PEAKS = [f"{precision}={rate:g}" for precision, rate in known.PEAK_TFLOPS.items()]
BANDWIDTH = f"memory.bandwidth_gb_per_s={known.BANDWIDTH / 1e9:g}"
EXPECTED = {
    "matrix_efficiency": known.EFFICIENCY["fp16"],
    "tf32_efficiency": known.EFFICIENCY["tf32"],
    "fp32_efficiency": known.EFFICIENCY["fp32"],
    "conv_factor": known.CONV_FACTOR,
    "winograd_gain": known.WINOGRAD_GAIN,
    "memory_efficiency": known.MEMORY_EFFICIENCY,
    "product_memory_efficiency": known.MEMORY_EFFICIENCY,
    "product_efficiency": known.EFFICIENCY["fp32"],
    "cache_gain": known.CACHE_GAIN,
    "kernel_us": known.KERNEL_S * 1e6,
    "product_kernel_us": known.KERNEL_S * 1e6,
    "host_us": known.HOST_S * 1e6,
    "direct_share": known.DIRECT_SHARE,
    "sparse_gain": known.SPARSE_GAIN,
    "sparse_kernel_us": known.SPARSE_KERNEL_S * 1e6,
    "pj_per_operation": 625 / 900,  # 625 W between idle and limit at 900 TFLOP/s
}


def measured(device=None, *, quick: bool = False) -> list[Measurement]:
    device = device or SimulatedDevice()
    tasks = tasks_for(device, device.facts(), quick=quick)
    return [
        item for item in measure(device, tasks, [], QUICK if quick else DEFAULT, DATE) if not isinstance(item, LeftOut)
    ]


@pytest.mark.parametrize("quick", [False, True])
def test_a_known_behaviour_is_recovered(quick: bool) -> None:
    facts = {**SimulatedDevice().facts(), **stated_facts(PEAKS, [BANDWIDTH])}
    found = calibrate(measured(quick=quick), facts)
    assert set(found.behaviour) == set(EXPECTED) == set(leaf_paths(Behaviour))
    for name, value in EXPECTED.items():
        assert found.behaviour[name].value == pytest.approx(value, rel=0.03), name
    assert found.platform["compute.fp16_tflops"] == SourcedValue(900.0, "stated as --peak fp16=900", "quoted")
    assert found.platform["compute.sparse_2_4"].value is True


def test_noise_of_a_tenth_moves_them_little() -> None:
    noise = np.random.default_rng(1)
    noisy = [replace(item, median_s=item.median_s * noise.uniform(0.9, 1.1)) for item in measured()]
    found = calibrate(noisy, {**SimulatedDevice().facts(), **stated_facts(PEAKS, [BANDWIDTH])})
    for name in ("matrix_efficiency", "tf32_efficiency", "fp32_efficiency", "conv_factor", "memory_efficiency"):
        assert found.behaviour[name].value == pytest.approx(EXPECTED[name], rel=0.08), name
    assert found.behaviour["sparse_gain"].value == pytest.approx(known.SPARSE_GAIN, rel=0.15)


def test_without_stated_peaks_the_best_rate_is_the_peak() -> None:
    found = calibrate(measured(), SimulatedDevice().facts())
    origin = f"measured by accelsim calibrate on NVIDIA Simulated, simulator 1.0, {DATE}: "
    for precision, rate in known.PEAK_TFLOPS.items():
        peak = found.platform[f"compute.{precision}_tflops"]
        assert peak.value == pytest.approx(rate * known.EFFICIENCY[precision], rel=1e-3)
        assert (peak.source.startswith(origin), peak.confidence) == (True, "measured")
    bandwidth = found.platform["memory.bandwidth_gb_per_s"]
    assert bandwidth.value == pytest.approx(known.BANDWIDTH * known.MEMORY_EFFICIENCY / 1e9, rel=1e-3)
    assert bandwidth.source == origin + "best of 6 large kernels bound by memory"
    for name in ("matrix_efficiency", "fp32_efficiency", "memory_efficiency", "product_efficiency"):
        assert found.behaviour[name].value == pytest.approx(1.0, abs=1e-3)


def test_dates_and_software_of_all_runs_are_named() -> None:
    some = [
        replace(item, date="2026-01-05", software="simulator 2.0") if at else item for at, item in enumerate(measured())
    ]
    source = calibrate(some, SimulatedDevice().facts()).behaviour["kernel_us"].source
    assert source == (
        "measured by accelsim calibrate on NVIDIA Simulated, simulator 1.0, simulator 2.0, 2026-01-02 to 2026-01-05:"
        " median time of the smallest kernel"
    )


def test_what_was_not_measured_is_marked_as_assumed() -> None:
    plain = [
        item
        for item in measured()
        if item.what in {"kernel", "stream"} or (item.what, item.precision) == ("gemm", "fp32")
    ]
    facts = SimulatedDevice().facts()
    found = calibrate(plain, facts)
    assumed = {name for name, item in found.behaviour.items() if item.confidence == "assumption"}
    assert assumed == {
        "matrix_efficiency", "tf32_efficiency", "conv_factor", "winograd_gain", "direct_share", "sparse_gain", "sparse_kernel_us"
    }  # fmt: skip
    assert found.behaviour["matrix_efficiency"].value == found.behaviour["fp32_efficiency"].value
    assert found.behaviour["host_us"] == SourcedValue(
        0.0, "the host runs the kernels itself: kernel_us holds what a kernel costs it", "derived"
    )
    assert found.platform["compute.sparse_2_4"].value is False
    assert "compute.fp16_tflops" not in found.platform


@pytest.mark.parametrize(
    ("gain", "extra_us", "expected"),
    [(1.3, 0.0, (1.3, 0.0)), (2.0, 12.0, (2.0, 12.0)), (1.0, 4.0, (1.0, 4.0)), (2.5, 0.0, (2.0, 0.0)), (0.5, 0.0, None)],
)  # fmt: skip
def test_gain_and_overhead_of_sparse_products(gain: float, extra_us: float, expected) -> None:
    dense = {item.shape: item.median_s for item in measured() if item.what == "gemm" and item.precision == "fp16"}
    changed = [
        replace(item, median_s=known.KERNEL_S + (dense[item.shape] - known.KERNEL_S) / gain + extra_us * 1e-6)
        if item.what == "sparse_gemm"
        else item
        for item in measured()
    ]
    found = calibrate(changed, SimulatedDevice().facts()).behaviour
    values = found["sparse_gain"].value, found["sparse_kernel_us"].value
    if expected is None:  # always slower than dense: no gain, and something on top
        assert values[0] == 1.0
        assert values[1] > 0
    else:
        assert values == pytest.approx(expected, rel=0.01, abs=1e-3)


def test_contradictions_are_refused() -> None:
    facts = SimulatedDevice().facts()
    with pytest.raises(InputError) as error:
        calibrate(measured(), {**facts, **stated_facts(["fp16=98.9"], [])})
    assert str(error.value) == (
        "compute.fp16_tflops: got 98.9 (stated as --peak fp16=98.9), but 675 was measured; leave it out to take the best"
        " measured rate as the peak, or state the right one"
    )
    slow = [replace(item, median_s=1.0) if item.what == "kernel" else item for item in measured()]
    with pytest.raises(
        InputError,
        match=r"^a gemm takes .* s, no longer than the smallest kernel with 1 s: the measurements contradict each other$",
    ):
        calibrate(slow, facts)
    for dropped, message in [
        ("kernel", "no measurement of kind 'kernel'"),
        ("stream", "no kernel bound by memory was measured"),
        ("gemm", "no FP32 GEMM was measured"),
    ]:
        with pytest.raises(InputError, match=f"^{message}$"):
            calibrate([item for item in measured() if item.what != dropped], facts)
    with pytest.raises(InputError, match=r"^no measurements to calibrate from$"):
        calibrate([], facts)


def test_products_too_small_for_a_rate_are_refused() -> None:
    gemm = next(item for item in measured() if item.what == "gemm" and item.precision == "fp32")
    small = replace(gemm, m=64, n=64, k=64)
    others = [item for item in measured() if item.what != "gemm"]
    with pytest.raises(InputError) as error:
        calibrate([*others, small], SimulatedDevice().facts())
    assert str(error.value).startswith("the largest FP32 GEMM that was measured has ")
    assert str(error.value).endswith(
        " operations, too few for a rate (3.36e+07 are needed): larger ones took too long. Leave out --quick, or wait"
        " until the machine is quiet"
    )


def test_measurements_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(measurements_text(measured()))
    back = read_measurements(path)
    assert [Task.of(item) for item in back] == [Task.of(item) for item in measured()]
    np.testing.assert_allclose([item.median_s for item in back], [item.median_s for item in measured()], rtol=1e-5)
    assert path.read_text() == measurements_text(back)


HEADER = "device,software,date,effort,what,kind,precision,m,n,k,batch,bytes,repeats,median_s,q1_s,q3_s\n"
GOOD = "box,numpy 2,2026-01-02,quick,kernel,,,,,,,,5,1e-6,1e-6,1e-6\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + GOOD + GOOD.replace("1e-6", "0") * 3, ":3: median_s: got '0'; a time above 0 is needed (and 2 more rows that cannot be used)"),
        (HEADER + GOOD.replace(",1e-6\n", ",nan\n"), ":2: q3_s: got 'nan'; a time above 0 is needed"),
        (HEADER + GOOD.replace("1e-6,1e-6,1e-6", "inf,1e-6,1e-6"), ":2: median_s: got 'inf'; a time above 0 is needed"),
        (HEADER + GOOD.replace("1e-6,1e-6,1e-6", ",,"), ":2: median_s: got ''; a time above 0 is needed"),
        (HEADER + GOOD.replace("1e-6,1e-6,1e-6", "fast,1e-6,1e-6"), ":2: median_s: got 'fast'; a number is needed"),
        (HEADER + GOOD.replace("kernel", "gem"), ":2: what: got 'gem'; allowed: kernel, issue, stream, gemm, conv, sparse_gemm"),
        (HEADER + GOOD[:30] + "\n", ":2: 16 columns are needed (truncated?)"),
        (HEADER, ": holds no measurements"),
        ("", f": no file of measurements; the columns {HEADER.strip()} are needed"),
        ("a,b\n1,2\n", f": no file of measurements; the columns {HEADER.strip()} are needed"),
    ],
    ids=["zeros", "nan", "infinite", "empty cells", "text", "unknown", "truncated", "no rows", "empty", "other columns"],
)  # fmt: skip
def test_unusable_files_give_one_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_measurements(path)
    assert str(error.value) == f"{path}{message}"


def test_tasks_are_distinct_and_cover_what_is_derived() -> None:
    device = SimulatedDevice()
    for quick in (False, True):
        tasks = tasks_for(device, device.facts(), quick=quick)
        assert len(set(tasks)) == len(tasks)
        dense = {(task.precision, task.m, task.n, task.k) for task in tasks if task.what == "gemm"}
        paired = [task for task in tasks if task.what in {"conv", "sparse_gemm"} and task.kind != "grouped"]
        assert paired
        assert all((task.precision, task.m, task.n, task.k) in dense for task in paired)
        sizes = {task.bytes for task in tasks if task.what == "stream"}
        assert max(sizes) >= 16 * known.CACHE_MB * 1e6 > 2 * min(sizes)
    assert len(tasks_for(device, device.facts(), quick=True)) < len(tasks_for(device, device.facts(), quick=False)) / 3
    small = {**device.facts(), "memory.capacity_gb": SourcedValue(1.0, "a test", "assumption")}
    assert max(task.bytes for task in tasks_for(device, small, quick=False)) <= 1e9 / 8


def test_kernels_that_would_take_too_long_are_left_out() -> None:
    class Slow(SimulatedDevice):
        def gemm(self, m, n, k, precision):
            return super().gemm(m, n, k, precision) * (1e4 if precision == "bf16" else 1)

    device = Slow()
    tasks = [task for task in tasks_for(device, device.facts(), quick=False) if task.what == "gemm"]
    outcomes = list(measure(device, tasks, [], DEFAULT, DATE))
    left_out = [item for item in outcomes if isinstance(item, LeftOut)]
    assert {(item.task.precision, item.reason) for item in left_out} == {("bf16", "would take longer than 1 s")}
    done = [item for item in outcomes if isinstance(item, Measurement)]
    again = list(measure(device, [item.task for item in left_out], done, DEFAULT, DATE))
    assert again == left_out


def test_kernels_that_a_device_refuses_are_left_out_with_its_reason() -> None:
    device = SimulatedDevice()
    outcomes = list(measure(device, tasks_for(device, device.facts(), quick=False), [], DEFAULT, DATE))
    left_out = [item for item in outcomes if isinstance(item, LeftOut)]
    assert {(item.task.what, item.task.n, item.reason) for item in left_out} == {
        ("sparse_gemm", 11008, "no memory is left")
    }


IDENTITY = Identity(name="sim", kind="gpu", device="NVIDIA Simulated")


@pytest.mark.parametrize(
    ("peaks", "settings", "message"),
    [
        (["fp61=9"], [], "--peak fp61: no such precision; did you mean 'fp16'?; allowed: fp32, tf32, fp16, bf16, fp8, int8"),
        (["fp16"], [], "--peak fp16: expected fp16=VALUE, as in fp16=989"),
        ([], ["power.peak_w="], "--set power.peak_w=: expected power.peak_w=VALUE, as in power.peak_w=700"),
        (["fp16=9"], ["compute.fp16_tflops=8"], "--set compute.fp16_tflops=8: compute.fp16_tflops is stated twice"),
        ([], ["power.peek_w=9"], "--set power.peek_w: no such fact; did you mean 'power.peak_w'?; allowed: "
         "compute.multiprocessors, compute.fp32_tflops, compute.tf32_tflops, compute.fp16_tflops, compute.bf16_tflops, "
         "compute.fp8_tflops, compute.int8_tops, compute.matrix_units, compute.sparse_2_4, memory.bandwidth_gb_per_s, "
         "memory.capacity_gb, memory.cache_mb, power.idle_w, power.peak_w"),
    ],
)  # fmt: skip
def test_stated_facts_are_checked(peaks: list[str], settings: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        stated_facts(peaks, settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["power.peak_w=-3"], "facts: power.peak_w: got -3.0; should be greater than 0"),
        (["compute.matrix_units=2"], "facts: compute.matrix_units: got 2.0; should be a valid boolean"),
        (["power.idle_w=800"], "facts: top level: power.idle_w: got 800, above power.peak_w 700"),
    ],
)
def test_facts_out_of_range_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        check_facts(IDENTITY, {**SimulatedDevice().facts(), **stated_facts([], settings)})
    assert str(error.value) == message


def test_facts_that_nobody_knows_are_asked_for() -> None:
    with pytest.raises(InputError) as error:
        check_facts(IDENTITY, SimulatedDevice(power=False).facts())
    assert str(error.value) == (
        "power.idle_w, power.peak_w: not known of NVIDIA Simulated; state with --set power.idle_w=... --set power.peak_w=..."
    )


def test_facts_of_a_shipped_platform_keep_their_sources() -> None:
    h200 = load_platform("h200")
    facts = facts_of(h200)
    check_facts(IDENTITY, facts)
    for origin in h200.provenance:
        assert (facts[origin.path].source, facts[origin.path].confidence) == (origin.source, origin.confidence)
    assert facts["compute.fp16_tflops"].value == h200.compute.fp16_tflops


def test_files_load_as_what_was_calibrated(tmp_path: Path) -> None:
    calibration = calibrate(measured(), {**SimulatedDevice().facts(), **stated_facts(PEAKS, [BANDWIDTH])})
    for file, text in calibrated_files(IDENTITY, calibration).items():
        (tmp_path / file).write_text(text)
    platform = load_platform(tmp_path / "sim.yaml")
    assert (platform.kind, platform.aliases, platform.behaviour) == (
        "gpu", ("NVIDIA Simulated",), str(tmp_path / "sim.behaviour.yaml")
    )  # fmt: skip
    assert platform.peak_flops("bf16") == 9e14
    assert facts_of(platform) == calibration.platform


def test_products_that_take_what_is_estimated_leave_no_residual() -> None:
    h200, hopper = load_platform("h200"), load_behaviour("hopper")
    items = [item for item in measured() if item.precision == "fp16" and item.what in {"gemm", "sparse_gemm"}]
    m, n, k = np.array([item.shape for item in items], dtype=float).T
    dense, sparse = pair_seconds(m, n, k, h200, hopper, "fp16")
    exact = [
        replace(item, median_s=float((dense if item.what == "gemm" else sparse)[at])) for at, item in enumerate(items)
    ]
    assert {item.measured.what for item in residuals(exact, h200, hopper)} == {"gemm", "sparse_gemm"}
    assert all(item.relative_error == 0 for item in residuals(exact, h200, hopper))
    twice = [replace(item, median_s=2 * item.median_s) for item in exact]
    assert all(item.relative_error == pytest.approx(-0.5) for item in residuals(twice, h200, hopper))
    lines = residuals_text(residuals(twice[:1], h200, hopper)).splitlines()
    assert lines[0] == "what,precision,m,n,k,measured_us,estimated_us,relative_error"
    assert lines[1].split(",")[:5] == ["gemm", "fp16", "64", "64", "64"]
    assert lines[1].endswith(",-0.5000")


def test_the_cpu_is_measured_by_numpy() -> None:
    device = open_device("cpu", "numpy")
    x = device.gemm(3, 5, 7, "fp32")
    assert x().shape == (3, 5)
    assert device.time(x, 2) > 0
    facts = device.facts()
    assert facts["compute.multiprocessors"].value >= 1
    with pytest.raises(InputError, match=r"^--framework numpy: measures CPUs; --device cuda needs torch$"):
        open_device("cuda", "numpy")


def test_measuring_needs_no_heavy_packages() -> None:
    code = (
        "import sys, accelsim.cli.calibrate, accelsim.calibration.profile_files, accelsim.calibration.devices.suite,"
        " accelsim.calibration.devices.numpy_device\n"
        "try: import accelsim.calibration.devices.training_steps\n"
        "except ModuleNotFoundError: pass\n"
        "print([name for name in ('numba', 'pandas', 'simpy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
