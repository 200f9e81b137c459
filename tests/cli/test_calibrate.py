"""``accelsim calibrate``: files, resuming, training rows and errors, on a simulated device and small networks."""

import csv
from pathlib import Path
from statistics import median

import pytest
from simulated_device import SimulatedDevice

from accelsim.base.files import packaged_names
from accelsim.hardware.platform import load_behaviour, load_platform
from accelsim.workload.measured import trace_for

FILES = ["sim.behaviour.yaml", "sim.measurements.csv", "sim.residuals.csv", "sim.yaml"]


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> SimulatedDevice:
    found = SimulatedDevice()
    monkeypatch.setattr("accelsim.calibration.devices.selection.open_device", lambda where, framework: found)
    return found


@pytest.mark.usefixtures("device")
def test_writes_a_platform_its_behaviour_and_the_measurements(run, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    code, out, err = run("calibrate", "--device", "cuda", "-o", str(folder), "--name", "sim", "--quick")
    assert (code, err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    lines = out.splitlines()
    assert lines[0] == "NVIDIA Simulated, simulator 1.0: 35 kernels measured"
    assert "  host_us                      7.0        measured" in lines
    assert lines[-1] == "written: " + ", ".join(str(folder / name) for name in (FILES[3], *FILES[:3]))
    residuals = rows_of(folder / "sim.residuals.csv")
    errors = [abs(float(row["relative_error"])) for row in residuals if row["what"] == "sparse_gemm"]
    summary = (
        f"  estimates of {len(errors)} x sparse gemm fp16: median error {median(errors):.1%}, largest {max(errors):.1%}"
    )
    assert summary in lines
    platform = load_platform(folder / "sim.yaml")
    assert load_behaviour(platform.behaviour).host_us == 7.0
    assert (platform.name, platform.kind, platform.behaviour) == ("sim", "gpu", str(folder / FILES[0]))


@pytest.mark.usefixtures("device")
def test_a_second_run_measures_nothing_and_changes_nothing(run, device: SimulatedDevice, tmp_path: Path) -> None:
    arguments = ("calibrate", "-o", str(tmp_path), "--name", "sim", "--quick")
    assert run(*arguments)[0] == 0
    before, made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}, len(device.made)
    code, _, err = run(*arguments)
    journal = tmp_path / "sim.measurements.csv"
    assert (code, err) == (0, f"{journal}: goes on after 35 measurements (--again discards them)\n")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(device.made) == made
    assert run(*arguments, "--again")[0] == 0
    assert len(device.made) == 2 * made


def test_an_interrupted_run_keeps_what_it_has_and_goes_on(run, device: SimulatedDevice, tmp_path: Path) -> None:
    device.interrupt_after = 10
    options = ("-o", str(tmp_path), "--device", "cuda", "--name", "sim", "--quick", "--peak", "fp16=900")
    code, out, err = run("calibrate", *options, "--set", "power.peak_w=650")
    command = (
        f"accelsim calibrate -o {tmp_path} --device cuda --name sim --quick --peak fp16=900 --set power.peak_w=650"
    )
    assert (code, out) == (130, "")
    assert err == f"11 of 35 measurements kept; to go on: {command}\n\ninterrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["sim.measurements.csv"]
    device.interrupt_after, made = None, list(device.made)
    code, _, err = run(*command.split()[1:])
    assert (code, err) == (
        0,
        f"{tmp_path / 'sim.measurements.csv'}: goes on after 11 measurements (--again discards them)\n",
    )
    assert len(device.made) == len(set(device.made)) == 34  # and the host's time, which is no kernel
    assert device.made[:10] == made
    platform = load_platform(tmp_path / "sim.yaml")
    assert (platform.power.peak_w, platform.compute.fp16_tflops) == (650.0, 900.0)


@pytest.mark.usefixtures("device")
def test_facts_of_a_shipped_platform_are_kept(run, tmp_path: Path) -> None:
    code, out, err = run(
        "calibrate", "-o", str(tmp_path), "--name", "mine", "--facts", "h200", "--set", "power.idle_w=80"
    )
    assert code == 0
    assert err == "note: left out: sparse gemm fp16 64 x 11008 x 4096 and 4 more: no memory is left\n"
    mine, shipped = load_platform(tmp_path / "mine.yaml"), load_platform("h200")
    assert (mine.compute, mine.memory, mine.kind) == (shipped.compute, shipped.memory, shipped.kind)
    assert set(mine.aliases) == {*shipped.aliases, "NVIDIA Simulated"}
    assert (mine.power.idle_w, mine.power.peak_w) == (80.0, shipped.power.peak_w)
    assert "  sparse_gain                  1.6        measured" in out.splitlines()


def test_a_restless_machine_is_said_to_be_one(run, device: SimulatedDevice, tmp_path: Path, monkeypatch) -> None:
    calls = iter(range(10**9))
    monkeypatch.setattr(device, "time", lambda run, calls_: run * (1 + next(calls) % 2))
    code, _, err = run("calibrate", "-o", str(tmp_path), "--name", "sim", "--quick")
    assert code == 0
    assert err == "note: 34 of 35 measurements vary by more than 20% of their median; was the machine busy?\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a/b"], "--name a/b: letters, digits, '.', '_' and '-' are allowed"),
        (["--batch", "4"], "--batch: needs --train"),
        (["--compile"], "--compile: needs --train"),
        (["--input", "3x8x8"], "--input: needs --train"),
        (["--train", "resnet18"], "--train: needs --batch, the samples per step"),
        (["--train", "resnet18", "--batch", "2", "--quick"], "--quick: not with --train"),
        (["--train", "resnet18", "--batch", "2", "--framework", "numpy"], "--framework numpy: a training step needs torch"),
        (["--facts", "h20"], None),
        (["--facts", "vcu1525"], "--facts vcu1525: is of kind fpga; gpu, edge and cpu can be measured"),
        (["--peak", "fp32=1000", "--set", "power.idle_w=701"],
         "facts: top level: power.idle_w: got 701, above power.peak_w 700"),
        (["--quick", "--peak", "fp32=1"],
         "compute.fp32_tflops: got 1 (stated as --peak fp32=1), but 54 was measured; leave it out to take the best"
         " measured rate as the peak, or state the right one"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("device")
def test_bad_input_is_one_error_and_writes_no_platform(
    run, tmp_path: Path, arguments: list[str], message: str | None
) -> None:
    code, out, err = run("calibrate", "-o", str(tmp_path), "--name", "sim", *arguments)
    assert (code, out) == (2, "")
    if message is None:
        assert err.startswith(
            "error: platform 'h20': neither a file nor a shipped platform; did you mean 'h200'?; shipped: "
        )
    else:
        assert err == f"error: {message}\n"
    assert not list(tmp_path.glob("*.yaml"))


@pytest.mark.usefixtures("device")
def test_measurements_of_another_kind_are_not_mixed(run, tmp_path: Path) -> None:
    journal = tmp_path / "sim.measurements.csv"
    assert run("calibrate", "-o", str(tmp_path), "--name", "sim", "--quick")[0] == 0
    code, _, err = run("calibrate", "-o", str(tmp_path), "--name", "sim")
    assert (code, err) == (2, (
        f"error: {journal}: measured as NVIDIA Simulated, simulator 1.0, quick; this is NVIDIA Simulated, simulator 1.0,"
        " default; give another --name, or --again to discard it\n"
    ))  # fmt: skip
    journal.write_text(journal.read_text().replace("2e-06", "0"))
    code, _, err = run("calibrate", "-o", str(tmp_path), "--name", "sim", "--quick")
    assert (code, err) == (2, f"error: {journal}:2: median_s: got '0'; a time above 0 is needed\n")


def test_without_power_readings_it_is_asked_for(run, device: SimulatedDevice, tmp_path: Path) -> None:
    device.power = False
    code, _, err = run("calibrate", "-o", str(tmp_path), "--quick")
    assert (code, err) == (2, (
        "error: power.idle_w, power.peak_w: not known of NVIDIA Simulated; state with --set power.idle_w=..."
        " --set power.peak_w=...\n"
    ))  # fmt: skip
    assert not list(tmp_path.iterdir())
    options = ("--set", "power.idle_w=25", "--set", "power.peak_w=165")
    assert run("calibrate", "-o", str(tmp_path), "--quick", *options)[0] == 0
    assert load_platform(tmp_path / "nvidia_simulated.yaml").power.peak_w == 165.0


def test_the_cpu_is_measured_in_earnest(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.calibration.devices.suite._QUICK_GEMMS", {"cpu": (64, 256)})
    monkeypatch.setattr("accelsim.calibration.devices.suite._CACHES_OF_STREAM", 1)
    options = [
        f"--set={fact}"
        for fact in ("power.idle_w=25", "power.peak_w=165", "memory.cache_mb=64", "memory.capacity_gb=4")
    ]
    code, out, err = run("calibrate", "-o", str(tmp_path), "--name", "cpu", "--quick", "--framework", "numpy", *options)
    assert code == 0, err
    platform = load_platform(tmp_path / "cpu.yaml")
    assert platform.kind == "cpu"
    assert platform.compute.fp32_tflops > 0
    assert out.splitlines()[0].endswith(": 7 kernels measured")
    rows = rows_of(tmp_path / "cpu.measurements.csv")
    assert [(row["what"], row["kind"], row["m"]) for row in rows] == [
        ("kernel", "", ""), ("stream", "copy", ""), ("stream", "add", ""), ("stream", "copy", ""), ("stream", "add", ""),
        ("gemm", "", "64"), ("gemm", "", "256"),
    ]  # fmt: skip


NETWORK = """
from torch import nn

def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))

def mean(out):
    return out.mean()
"""
TRAIN = ("--name", "box", "--batch", "2", "--steps", "3")


def test_a_training_step_becomes_a_row(run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = tmp_path / "net.py"
    model.write_text(NETWORK)
    target = ("-o", str(tmp_path), *TRAIN, "--train", f"{model}:tiny", "--input", "3x8x8")
    path = tmp_path / "box.training.csv"
    for number, options in enumerate((("--amp", "--channels-last"), ("--loss", f"{model}:mean")), start=1):
        code, out, err = run("calibrate", *target, *options)
        assert (code, err) == (0, "")
        plural = f"({number} row{'s' * (number > 1)})"
        assert out.splitlines()[1:] == [f"written: {path} {plural}"]
    first, second = rows_of(path)
    header = (Path(__file__).parents[2] / "accelsim/data/training_throughput.csv").read_text().splitlines()[0]
    assert ",".join(first) == header
    for row, precision, layout in ((first, "BF16", " NHWC"), (second, "FP32", " NCHW")):
        assert (row["platform"], row["n_devices"], row["model"], row["input"]) == ("box", "1", "tiny", "3x8x8")
        assert (row["batch_per_device"], row["precision"], row["unit"]) == ("2", precision, "img/s")
        assert row["framework_layout"].startswith("PyTorch ")
        assert row["framework_layout"].endswith(layout)
        assert float(row["throughput"]) > 0
    assert first["id"] != second["id"]


def test_a_calibrated_machine_shows_the_estimate_beside_the_measurement(run, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("torch")
    from accelsim.calibration.devices.training_steps import Input, Network
    from accelsim.platforms.estimate import estimate
    from accelsim.workload.trace import load_trace

    network = Network(
        target="resnet.py:resnet9_cifar10", inputs=(Input(shape=(3, 32, 32)),), model="ResNet-9", input="CIFAR-10 32x32",
        unit="img/s", optimizer="sgd",
    )  # fmt: skip
    monkeypatch.setattr("accelsim.calibration.devices.training_steps.NETWORKS", {"resnet9": network})
    (tmp_path / "box.yaml").write_text(packaged_names("hw_configs/platforms", (".yaml",))["i9_9900x"].read_text())
    code, out, _ = run("calibrate", "-o", str(tmp_path), *TRAIN, "--train", "resnet9")
    assert code == 0
    (row,) = rows_of(tmp_path / "box.training.csv")
    expected = estimate(
        load_trace("resnet9_cifar10"), load_platform("i9_9900x"), batch=2, precision="fp32", channels_last=False
    ).samples_per_s
    error = expected / float(row["throughput"]) - 1
    assert out.splitlines()[1] == (
        f"estimate with {tmp_path / 'box.yaml'}: {expected:.5g} img/s, {error:+.1%} off the measurement"
    )


def test_errors_of_training_steps(run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = tmp_path / "net.py"
    model.write_text(NETWORK)
    own = f"{model}:tiny"
    cases = [
        (["--train", "rsnet50"],
         "--train rsnet50: not known; did you mean 'resnet50'?; allowed: resnet18, resnet50, bert_base, gpt2, or FILE.py:FUNCTION"),
        (["--train", own], f"--train {own}: needs --input, as in --input 3x64x64"),
        (["--train", "gpt2", "--input", "3x8x8"], "--input: not with --train gpt2, whose input is known"),
        (["--train", own, "--input", "3x8x8", "--tf32"], "--tf32: rounds on CUDA GPUs alone, --device is cpu"),
        (["--train", own, "--input", "3x9x9"], "a step of tiny at batch 2 fails: mat1 and mat2 shapes cannot be multiplied (2x196 and 144x5)"),
        (["--train", f"{model}:tyni", "--input", "3x8x8"], f"module '{model}' has no factory 'tyni'; did you mean 'tiny'?"),
    ]  # fmt: skip
    for arguments, message in cases:
        code, out, err = run("calibrate", "-o", str(tmp_path), *TRAIN, *arguments)
        assert (code, out, err) == (2, "", f"error: {message}\n")
    (tmp_path / "box.training.csv").write_text("a,b\n1,2\n")
    code, _, err = run("calibrate", "-o", str(tmp_path), *TRAIN, "--train", own, "--input", "3x8x8")
    assert code == 2
    assert err.startswith(f"error: {tmp_path / 'box.training.csv'}: cannot be appended to; the columns id,platform,")
    assert (tmp_path / "box.training.csv").read_text() == "a,b\n1,2\n"


def test_rows_of_known_networks_name_their_shipped_traces() -> None:
    pytest.importorskip("torch")
    from accelsim.calibration.devices.training_steps import NETWORKS

    traces = {name: trace_for(network.model, network.input, network.unit) for name, network in NETWORKS.items()}
    assert traces == {
        "resnet18": "resnet18_imagenet",
        "resnet50": "resnet50_imagenet",
        "bert_base": "bert_base_128",
        "gpt2": "gpt2_1024",
    }
