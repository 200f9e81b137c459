"""Kernels through PyTorch: on the CPU in earnest, on CUDA as far as a machine without a GPU can tell."""

import subprocess
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from accelsim.base.errors import InputError  # noqa: E402
from accelsim.calibration.devices import host  # noqa: E402
from accelsim.calibration.devices.device import UnsupportedKernel  # noqa: E402
from accelsim.calibration.devices.selection import open_device  # noqa: E402
from accelsim.calibration.devices.suite import QUICK, LeftOut, measure, tasks_for  # noqa: E402
from accelsim.calibration.devices.torch_device import TorchDevice  # noqa: E402
from accelsim.calibration.profile_files import Identity, check_facts  # noqa: E402


@pytest.fixture
def cpu() -> TorchDevice:
    return TorchDevice("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_products_have_their_shape_and_type(cpu: TorchDevice, precision: str) -> None:
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    for run, shape in (
        (cpu.gemm(3, 5, 7, precision), (3, 5)),
        (cpu.conv(2 * 6 * 6, 8, 9 * 4, 2, precision, 1), (2, 8, 6, 6)),
        (cpu.conv(2 * 6 * 6, 8, 9 * 2, 2, precision, 4), (2, 8, 6, 6)),
    ):
        with torch.no_grad():
            assert (run().shape, run().dtype) == (shape, dtype)
        assert cpu.time(run, 2) > 0


@pytest.mark.parametrize(("kind", "passes"), [("copy", 2), ("add", 3), ("norm", 2)])
def test_memory_bound_kernels_move_as_many_bytes_as_asked(cpu: TorchDevice, kind: str, passes: int) -> None:
    size = 3 * 2 * 4 * 1024 * 8
    assert cpu.stream(kind, size)().numel() * 4 * passes == size


def test_a_cpu_has_no_sparse_products_and_issues_nothing_ahead(cpu: TorchDevice) -> None:
    with pytest.raises(UnsupportedKernel, match=r"^no 2:4 GEMMs before compute capability 8\.0$"):
        cpu.sparse_gemm(8, 8, 8, "fp32")
    with pytest.raises(UnsupportedKernel, match=r"^the host runs the kernels itself$"):
        cpu.issue()


def test_without_a_gpu_cuda_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError) as error:
        open_device("cuda", None)
    assert str(error.value) == f"--device cuda: torch {torch.__version__} finds no CUDA GPU; allowed here: cpu"


class Event:
    """Events that are 3 ms apart."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, _other: "Event") -> float:
        return 3.0


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[TorchDevice]:
    """What the CUDA device does where its kernels run on the CPU and its events are made up."""
    properties = SimpleNamespace(
        name="NVIDIA H200", multi_processor_count=132, major=9, minor=0, total_memory=150_110_011_392,
        L2_cache_size=62_914_560, uuid="1234",
    )  # fmt: skip
    for name, value in {
        "is_available": lambda: True, "get_device_properties": lambda _: properties, "synchronize": lambda: None,
        "get_device_capability": lambda _: (9, 0), "Event": Event, "_sleep": lambda ticks: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    switches = ((torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32"),
                (torch.backends.cudnn, "benchmark"))  # fmt: skip
    before = [getattr(backend, name) for backend, name in switches]
    asked = []

    def smi(command: list[str], **_options: object) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(stdout="76.41, 700.00\n")

    monkeypatch.setattr(subprocess, "run", smi)
    device = TorchDevice("cuda")
    assert asked == [
        ["nvidia-smi", "--id=GPU-1234", "--query-gpu=power.draw,power.limit", "--format=csv,noheader,nounits"]
    ]
    device._device = torch.device("cpu")
    yield device
    for (backend, name), value in zip(switches, before, strict=True):
        setattr(backend, name, value)


def test_a_gpu_says_what_it_is(gpu: TorchDevice) -> None:
    assert (gpu.name, gpu.kind, gpu.precisions) == ("NVIDIA H200", "gpu", ("fp32", "tf32", "fp16", "bf16"))
    facts = gpu.facts()
    assert {path: item.value for path, item in facts.items()} == {
        "compute.multiprocessors": 132, "compute.matrix_units": True, "memory.capacity_gb": 150.1,
        "memory.cache_mb": 62.91, "power.idle_w": 76.41, "power.peak_w": 700.0,
    }  # fmt: skip
    assert facts["power.peak_w"].source == "NVIDIA H200: nvidia-smi: power limit"
    check_facts(Identity(name="h200", kind="gpu", device=gpu.name), facts)


def test_kernels_of_a_gpu_are_timed_by_its_events(gpu: TorchDevice) -> None:
    assert gpu.time(gpu.gemm(4, 4, 4, "fp32"), 3) == pytest.approx(1e-3)
    assert gpu.issue() > 0


def test_tf32_is_allowed_for_its_own_products_alone(gpu: TorchDevice) -> None:
    for precision, allowed in (("tf32", True), ("fp32", False), ("tf32", True), ("fp16", False)):
        gpu.gemm(4, 4, 4, precision)
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (allowed, allowed)


def test_what_pytorch_refuses_is_left_out_with_its_words(gpu: TorchDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_sizes: object, **_options: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 GiB")

    monkeypatch.setattr(torch, "randn", full)
    tasks = [task for task in tasks_for(gpu, gpu.facts(), quick=True) if task.what in {"gemm", "conv", "sparse_gemm"}]
    outcomes = list(measure(gpu, tasks, [], QUICK, "2026-01-02"))
    assert outcomes == [LeftOut(task, "CUDA out of memory.") for task in tasks]


def test_without_nvidia_smi_nothing_is_said_of_power(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_arguments: object, **_options: object) -> None:
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", missing)
    assert host.gpu_power("0") == {}
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="[N/A], 60.00\n"))
    assert host.gpu_power("0") == {}
