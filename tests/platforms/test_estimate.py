"""Steps on platforms: what sparsity gains, several devices, parts, energy, and what is refused."""

import dataclasses
import re
from pathlib import Path

import pytest
from platform_cases import conv, linear, round_platform, vector

import accelsim as acs
from accelsim.base.errors import InputError
from accelsim.base.files import packaged_path
from accelsim.hardware.platform import Platform, load_platform, platform_names
from accelsim.platforms import estimate as estimates
from accelsim.platforms.estimate import PLATFORM_PRECISIONS, estimate

A100 = load_platform("a100_sxm_80gb")
RESNET, BERT = acs.load_trace("resnet18_tinyimagenet"), acs.load_trace("bert_base_128")


def on(trace=BERT, platform: Platform = A100, **options):
    return estimate(trace, platform, **{"batch": 64, **options})


def test_2_8_gains_exactly_what_2_4_gains() -> None:
    half, quarter = (on(method="bdwp", pattern=pattern) for pattern in ("2:4", "2:8"))
    assert quarter.latency_s == half.latency_s
    assert quarter.speedup == half.speedup > 1
    assert (half.notes, quarter.notes) == ((), ("2:8 gains what 2:4 gains",))
    assert (quarter.method, quarter.pattern) == ("bdwp", "2:8")
    for pattern in ("1:2", "1:4", "1:8", "2:16"):
        assert on(method="bdwp", pattern=pattern).speedup > 1, pattern


@pytest.mark.parametrize("pattern", ["4:8", "2:6", "3:4", "4:16", "1:1"])
def test_patterns_with_more_than_two_in_four_run_dense(pattern: str) -> None:
    dense, found = on(), on(method="bdwp", pattern=pattern)
    assert (found.latency_s, found.speedup) == (dense.latency_s, 1)
    assert found.notes == (f"{pattern} runs dense: not every group of four keeps at most two",)


def test_convolutions_run_dense() -> None:
    dense, found = on(RESNET), on(RESNET, method="bdwp", pattern="2:8")
    assert (found.latency_s, found.speedup) == (dense.latency_s, 1)
    assert found.notes == ("2:8 of convolutions runs dense: no library has 2:4 ones for training",)


def test_platforms_and_precisions_without_2_4_run_dense() -> None:
    older = on(platform=load_platform("v100_sxm2_32gb"), method="bdwp", pattern="2:4")
    assert (older.speedup, older.notes) == (1, ("2:4 runs dense: the platform has no 2:4 products",))
    full = on(method="bdwp", pattern="2:4", precision="fp32")
    assert (full.speedup, full.notes) == (1, ("2:4 runs dense: there are no 2:4 products in FP32",))
    assert on(method="bdwp", pattern="2:4", precision="tf32").speedup > 1


@pytest.mark.parametrize("method", ["sr-ste", "sdwp", "sdgp", "transposable", "mvue"])
def test_other_methods(method: str) -> None:
    # the gradient has to be packed, which can cost more than its product gains
    assert 0.9 < on(method=method, pattern="2:4").speedup < 1.7


def test_traced_sparsity_of_convolutions() -> None:
    found = on(acs.load_trace("resnet9_digits_2of4"), method="traced")
    assert (found.pattern, found.speedup) == (None, 1)
    assert "the traced sparsity of convolutions runs dense: no library has 2:4 ones for training" in found.notes


@pytest.mark.parametrize(("pattern", "gains"), [("2:4", True), ("2:8", True), ("4:8", False)])
def test_traced_sparsity_of_linear_layers(make_trace, pattern: str, gains: bool) -> None:
    density = acs.Pattern.parse(pattern).kept / acs.Pattern.parse(pattern).group
    layers = [linear(name, in_features=4096, out_features=4096, rows=64) for name in "abc"]
    layers[1]["observed"] = {"FF": {"weight": {"density": density, "pattern": pattern, "axis": "input"}}}
    found = on(make_trace(*layers, parameters=10**8), method="traced")
    assert (found.speedup > 1) == gains
    dense = ("the traced sparsity of 1 product runs dense: not every group of four keeps at most two",)
    assert found.notes == (() if gains else dense)


def test_unstructured_sparsity_gains_nothing_and_says_so() -> None:
    found = on(acs.load_trace("resnet9_digits_pruned"), method="traced")
    assert found.speedup == 1
    assert len(found.notes) == 1
    assert found.notes[0].startswith("the traced sparsity of ")
    assert found.notes[0].endswith(" products runs dense: not every group of four keeps at most two")


def test_traced_sparsity_on_a_platform_without_2_4() -> None:
    found = on(acs.load_trace("resnet9_digits_2of4"), load_platform("rtx2080ti"), method="traced")
    assert found.notes == ("the traced sparsity runs dense: the platform has no 2:4 products",)


def test_precision_is_the_fastest_unless_given() -> None:
    assert on(RESNET).precision == "amp"
    assert on(RESNET, load_platform("i9_9900x")).precision == "fp32"
    times = [on(RESNET, batch=512, precision=name).latency_s for name in ("fp32", "tf32", "amp")]
    assert times == sorted(times, reverse=True)


def test_the_numbers_of_an_estimate_agree() -> None:
    found = on(RESNET)
    assert found.samples_per_s == pytest.approx(64 / found.latency_s)
    dense = acs.simulate(RESNET, acs.load_design("sat_vcu1525"), method="dense", batch=64)
    assert found.macs_dense == dense.step.macs_dense
    assert found.effective_gops == pytest.approx(2 * found.macs_dense / found.latency_s / 1e9)
    assert found.gops_per_w == pytest.approx(2 * found.macs_dense / found.energy_j / 1e9)
    assert sum(seconds for _, seconds in found.stage_items) <= found.latency_s * (1 + 1e-12)
    assert [name for name, _ in found.stage_items] == ["FF", "BP", "WU", "GENERATE", "UPDATE", "VECTOR"]
    assert found.recalled == A100.recalled


def test_channels_first_and_eager_are_no_faster() -> None:
    base = on(RESNET, batch=256)
    assert on(RESNET, batch=256, channels_last=False).latency_s > base.latency_s
    assert on(RESNET, batch=256, compiled=True).latency_s < base.latency_s
    small = on(RESNET, batch=1)
    assert small.bound == "host"
    assert on(RESNET, batch=1, compiled=True).bound != "host"


def test_parts_update_once(make_trace) -> None:
    trace = make_trace(conv(), vector("norm", 2048, 2048), linear(in_features=2048), parameters=1_000_000)
    large, small = round_platform(), round_platform(capacity_gb=(14e6 + 40 * 4128 * 2) / 1e9)
    whole, parts = (estimate(trace, one, batch=160, accumulate=True) for one in (large, small))
    once = estimate(trace, large, batch=40)
    assert (whole.parts, parts.parts) == (1, 4)
    stages, one_part = dict(parts.stage_items), dict(once.stage_items)
    for stage in ("FF", "BP", "WU", "VECTOR"):
        assert stages[stage] == pytest.approx(4 * one_part[stage])
    assert stages["UPDATE"] == pytest.approx(one_part["UPDATE"])
    assert parts.macs_dense == whole.macs_dense == 4 * once.macs_dense


def test_devices_worked_by_hand(make_trace) -> None:
    # 4 devices: 1.5 x 4 bytes of each of 10^8 parameters at 60 GB/s take 10 ms, far longer than the backward pass
    trace = make_trace(linear(), parameters=10**8)
    one, four = (estimate(trace, round_platform(), batch=64, devices=n, link_gb_per_s=60.0) for n in (1, 4))
    backward = dict(one.stage_items)["BP"] + dict(one.stage_items)["WU"]
    assert four.latency_s == pytest.approx(one.latency_s + 10e-3 - backward)
    assert four.bound == "link"
    assert (one.devices, four.devices, four.batch) == (1, 4, 64)
    assert four.macs_dense == 4 * one.macs_dense
    assert four.samples_per_s == pytest.approx(4 * 64 / four.latency_s)
    assert four.energy_j == pytest.approx(4 * (one.energy_j + 20.0 * (four.latency_s - one.latency_s)))
    assert four.notes == (f"4 devices, links of 60 GB/s, {(10e-3 - backward) * 1e3:.2f} ms of the exchange exposed",)


def test_the_last_bucket_is_never_hidden() -> None:
    one, two = (on(RESNET, batch=512, devices=n, link_gb_per_s=100.0) for n in (1, 2))
    whole = RESNET.parameters * 4 / 100e9
    assert two.latency_s == pytest.approx(one.latency_s + whole / 25)


def test_only_the_last_part_hides_the_exchange(make_trace) -> None:
    trace = make_trace(linear(in_features=2048, out_features=2048, rows=64), parameters=5 * 10**6)
    small = round_platform(capacity_gb=(14 * 5e6 + 16 * 64 * 2048 * 2) / 1e9)
    parts = [estimate(trace, small, batch=64, accumulate=True, devices=n, link_gb_per_s=0.1) for n in (1, 2)]
    stages = dict(parts[0].stage_items)
    assert parts[0].parts == 4
    assert parts[1].latency_s - parts[0].latency_s == pytest.approx(5e6 * 4 / 1e8 - (stages["BP"] + stages["WU"]) / 4)


def test_speedup_is_over_dense_training_with_its_own_exchange() -> None:
    dense, sparse = (
        on(method=method, pattern=pattern, devices=8, link_gb_per_s=5.0)
        for method, pattern in (("dense", None), ("bdwp", "2:4"))
    )
    assert sparse.speedup == pytest.approx(dense.latency_s / sparse.latency_s)


@pytest.mark.parametrize("name", [name for name in platform_names() if load_platform(name).compute is not None])
def test_energy_is_between_idle_and_peak(name: str) -> None:
    platform = load_platform(name)
    found = on(RESNET, platform, batch=16, method="bdwp", pattern="2:8")
    assert found.energy_low_j < found.energy_j < found.energy_high_j
    assert platform.power.idle_w * found.latency_s <= found.energy_low_j
    assert found.energy_high_j <= platform.power.peak_w * found.latency_s * (1 + 1e-12)


def test_energy_worked_by_hand(make_trace) -> None:
    # bound by memory: 20 W idle, and 70 of the 100 W above it (50, 100); 1024 x 5000 x 3 elements at 100 GB/s and more
    found = estimate(
        make_trace(vector("norm"), parameters=1000), round_platform(), batch=1024, precision="fp32", compiled=True
    )
    assert found.bound == "memory"
    busy = sum(seconds for _, seconds in found.stage_items)
    assert found.latency_s == pytest.approx(busy)
    assert found.energy_j == pytest.approx(90 * busy)
    assert (found.energy_low_j, found.energy_high_j) == (pytest.approx(70 * busy), pytest.approx(120 * busy))


@pytest.mark.parametrize(("elements", "bound"), [(4 * 10**8, "compute"), (7 * 10**8, "memory")])
def test_a_step_is_bound_by_what_half_of_it_waits_for(make_trace, elements: int, bound: str) -> None:
    layer = linear(in_features=4096, out_features=4096, rows=4096)
    trace = make_trace(layer, vector("norm", elements, elements), parameters=2 * 10**7)
    found = estimate(trace, round_platform(capacity_gb=100.0), batch=1, compiled=True)
    stages = dict(found.stage_items)
    products, moved = stages["FF"] + stages["BP"] + stages["WU"], stages["UPDATE"] + stages["VECTOR"]
    assert found.bound == bound
    assert (products > moved) == (bound == "compute")
    assert 0.4 < products / found.latency_s < 0.6
    # 20 W idle; of the 100 W above it all while products run, and 70 while elements move
    assert found.energy_j == pytest.approx(20 * found.latency_s + 100 * products + 70 * moved)


def test_a_published_accelerator_runs_at_its_rate() -> None:
    platform = load_platform("ef_train")
    found = on(RESNET, platform, method="bdwp", pattern="2:8", devices=4)
    rate, efficiency = platform.published.throughput_gops, platform.published.gops_per_w
    assert found.latency_s == pytest.approx(2 * found.macs_dense / (rate * 1e9))
    assert found.effective_gops == pytest.approx(rate)
    assert found.gops_per_w == pytest.approx(efficiency)
    assert (found.energy_low_j, found.energy_high_j) == (found.energy_j, found.energy_j)
    assert (found.precision, found.bound, found.devices, found.speedup) == ("as published", "published rate", 1, 1)
    assert found.notes == (
        "at the rate that its paper states for its own network and number format",
        "2:8 runs dense: the accelerator has no N:M products",
        "one device: how several share a step is not published",
    )


def test_lowered_steps_at_hand_are_those_asked_for() -> None:
    """What is cached depends on everything that it was made from."""

    def fresh(trace, **options):
        estimates._lowered.cache_clear()
        estimates._macs.cache_clear()
        return on(trace, **options)

    cases = [
        {"batch": batch, "method": method, "pattern": pattern, "precision": precision, "optimizer": optimizer}
        for batch, precision, optimizer in ((8, "amp", "sgd"), (16, "tf32", "adam"), (8, "fp32", "sgd"))
        for method, pattern in (("dense", None), ("bdwp", "2:4"), ("bdwp", "2:8"), ("sr-ste", "2:4"))
    ]
    alone = [fresh(BERT, **case) for case in cases]
    assert [on(BERT, **case) for case in (*cases, *cases)] == [*alone, *alone]


def test_a_changed_behaviour_file_is_read_again(tmp_path: Path) -> None:
    configs = packaged_path("hw_configs")
    text = (configs / "platforms" / "rtx2080ti.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("behaviour: turing", "behaviour: own.yaml"))
    own = (configs / "behaviours" / "turing.yaml").read_text()
    (tmp_path / "own.yaml").write_text(own)
    mine = load_platform(tmp_path / "mine.yaml")
    before = on(RESNET, mine, batch=256)
    assert before.latency_s == on(RESNET, load_platform("rtx2080ti"), batch=256).latency_s
    (tmp_path / "own.yaml").write_text(
        re.sub(r"(?m)^memory_efficiency: \{value: [0-9.]+", "memory_efficiency: {value: 0.1", own)
    )
    assert on(RESNET, mine, batch=256).latency_s > 2 * before.latency_s


REFUSED = {
    "method": ({"method": "bdpw"}, None),
    "pattern needed": ({"method": "bdwp"}, "method 'bdwp' needs a pattern, as in 2:8"),
    "pattern": ({"method": "bdwp", "pattern": "2-8"}, "pattern '2-8': expected N:M with two whole numbers, as in 2:8"),
    "batch": ({"batch": 0}, "batch: got 0; allowed: 1 to 1048576"),
    "precision": (
        {"precision": "fp17"},
        "precision 'fp17': not known; did you mean 'fp16'?; allowed: auto, fp32, tf32, fp16, amp, bf16",
    ),
    "devices": ({"devices": 0}, "devices: got 0 with links of 12 GB/s; 1 or more and above 0 are needed"),
    "no link": (
        {"devices": 2, "link_gb_per_s": 0.0},
        "devices: got 2 with links of 0 GB/s; 1 or more and above 0 are needed",
    ),
    "no number": (
        {"devices": 2, "link_gb_per_s": float("nan")},
        "devices: got 2 with links of nan GB/s; 1 or more and above 0 are needed",
    ),
    "optimizer": ({"optimizer": "sdg"}, "optimizer 'sdg' is not known; did you mean 'sgd'?; allowed: sgd, adam"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("platform", ["a100_sxm_80gb", "ef_train"])
def test_bad_input(name: str, platform: str) -> None:
    options, message = REFUSED[name]
    with pytest.raises(InputError) as error:
        on(RESNET, load_platform(platform), **options)
    assert message is None or str(error.value) == message


def test_precisions_and_devices_that_platforms_lack() -> None:
    with pytest.raises(InputError) as error:
        on(RESNET, load_platform("v100_sxm2_16gb"), precision="tf32")
    assert str(error.value) == (
        "precision 'tf32': platform 'v100_sxm2_16gb' has none; did you mean 'fp32'?; allowed: fp32, fp16, int8"
    )
    with pytest.raises(InputError) as error:
        on(RESNET, load_platform("vcu1525"))
    assert str(error.value) == (
        "platform 'vcu1525': is a device without compute rates; simulate a design on it with --hw instead"
    )
    assert set(PLATFORM_PRECISIONS) == {"auto", "fp32", "tf32", "fp16", "amp", "bf16"}


def test_an_unknown_platform_names_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        load_platform("rtx2080")
    assert str(error.value) == (
        "platform 'rtx2080': neither a file nor a shipped platform; did you mean 'rtx2080ti'?; shipped:"
        f" {', '.join(platform_names())}"
    )


def test_matrix_units_without_fp16_are_refused(tmp_path: Path) -> None:
    text = (packaged_path("hw_configs") / "platforms" / "rtx2080ti.yaml").read_text()
    lines = [line for line in text.splitlines() if not line.strip().startswith("fp16_tflops")]
    path = tmp_path / "odd.yaml"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as error:
        load_platform(path)
    assert str(error.value) == f"{path}: top level: compute.fp16_tflops: missing; matrix units run FP16"


def test_estimates_are_values() -> None:
    found = on(RESNET)
    assert found == on(RESNET)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.batch = 1  # type: ignore[misc]
