"""Measuring a training step, as a row of measured training throughputs.

The tracer's inputs and losses are not used: they would bring numba, which a machine that only measures may lack.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median, quantiles

import torch
import torch.nn.functional as F  # noqa: N812  the idiom of the field
from torch import Tensor, nn

from accelsim.base.errors import InputError
from accelsim.calibration.devices.host import cpu_name
from accelsim.calibration.devices.torch_device import allow_tf32, check_cuda

__all__ = ["COLUMNS", "NETWORKS", "WARM_UP", "Input", "Network", "TrainingSetting", "cross_entropy", "measure_training"]

COLUMNS = (
    "id", "platform", "n_devices", "model", "input", "batch_per_device", "precision", "framework_layout", "throughput",
    "unit", "source", "confidence", "notes",
)  # fmt: skip
"""Columns of ``training_throughput.csv``."""


Loss = Callable[[Tensor], Tensor]


def cross_entropy(out: Tensor) -> Tensor:
    """Return the loss against random classes, which lie along the last dimension of the output."""
    scores = out.flatten(0, -2)
    return F.cross_entropy(scores, torch.randint(scores.shape[-1], (len(scores),), device=scores.device))


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An input without the batch: random numbers, or random integers below a bound."""

    shape: tuple[int, ...]
    below: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network to train: `target` FILE.py:FUNCTION, what it is fed, and how rows name it.

    `optimizer` is sgd or adam.
    """

    target: str
    inputs: tuple[Input, ...]
    model: str
    input: str
    unit: str
    optimizer: str
    loss: Loss = cross_entropy


def _image(function: str, model: str) -> Network:
    return Network(
        target=f"resnet.py:{function}", inputs=(Input(shape=(3, 224, 224)),), model=model,
        input="synthetic ImageNet 224x224", unit="img/s", optimizer="sgd",
    )  # fmt: skip


def _text(function: str, model: str, length: int, words: int, task: str) -> Network:
    return Network(
        target=f"transformers.py:{function}", inputs=(Input(shape=(length,), below=words),), model=model,
        input=f"synthetic {task} seq {length}", unit="seq/s", optimizer="adam",
    )  # fmt: skip


def summed(out: Tensor) -> Tensor:
    """Return the sum of an output: a loss for a layer alone, which costs next to nothing."""
    return out.float().sum()


def _layer(function: str, model: str, length: int) -> Network:
    return Network(
        target=f"transformers.py:{function}", inputs=(Input(shape=(length, 1024)),), model=model,
        input=f"synthetic seq {length}", unit="seq/s", optimizer="adam", loss=summed,
    )  # fmt: skip


NETWORKS: Mapping[str, Network] = {
    "resnet18": _image("resnet18_imagenet", "ResNet-18"),
    "resnet50": _image("resnet50_imagenet", "ResNet-50 v1.5"),
    "bert_base": _text("bert_base", "BERT-Base", 128, 30522, "classification"),
    "gpt2": _text("gpt2", "GPT-2 small", 1024, 50257, "language modelling"),
    "bert_layer": _layer("bert_large_layer", "BERT-large layer", 128),
    "gpt2_layer": _layer("gpt2_medium_layer", "GPT-2 medium layer", 512),
}
"""Networks by short name; targets are relative to the shipped ``workloads/models``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetting:
    """How the step runs. `steps` are timed one by one, after three to warm up (and to compile)."""

    device: str
    batch: int
    amp: bool = False
    tf32: bool = False
    channels_last: bool = False
    compiled: bool = False
    steps: int = 20

    def __post_init__(self) -> None:
        if self.tf32 and self.device == "cpu":
            raise InputError("--tf32: rounds on CUDA GPUs alone, --device is cpu")
        if self.tf32 and self.amp:
            raise InputError("--tf32: with --amp products are in 16 bits")

    @property
    def half(self) -> torch.dtype:
        """The type of products under autocast: FP16 on a GPU, BF16 on a CPU."""
        return torch.float16 if self.device == "cuda" else torch.bfloat16

    @property
    def precision(self) -> str:
        """What the column says."""
        if self.amp:
            return "AMP" if self.device == "cuda" else "BF16"
        return "TF32" if self.tf32 else "FP32"


WARM_UP = 3
"""Steps before those that are timed: they compile, choose kernels and make the state of the optimizer."""


def measure_training(
    model: nn.Module, network: Network, setting: TrainingSetting, *, platform: str, date: str, done: Callable[[], None]
) -> dict[str, str]:
    """Train `model` on random data and return the row of `COLUMNS`; `done` is called after each step.

    Raises `InputError` where the step fails, as for a batch that does not fit the memory.
    """
    if setting.device == "cuda":
        check_cuda()
    try:
        seconds = _step_seconds(model, network, setting, done)
    except InputError:
        raise
    except Exception as error:  # of the user's network, of the compiler, or out of memory
        text = next(iter(str(error).strip().splitlines()), "")
        raise InputError(f"a step of {network.model} at batch {setting.batch} fails: {text or type(error)}") from error
    middle = median(seconds)
    first, _, last = quantiles(seconds, n=4)
    name = torch.cuda.get_device_name(0) if setting.device == "cuda" else cpu_name()
    layout = (" NHWC" if setting.channels_last else " NCHW") if len(network.inputs[0].shape) == 3 else ""
    notes = f"median of {len(seconds)} steps {middle * 1e3:.4g} ms, quartiles {first * 1e3:.4g} to {last * 1e3:.4g} ms"
    row = {
        "platform": platform,
        "n_devices": "1",
        "model": network.model,
        "input": network.input,
        "batch_per_device": str(setting.batch),
        "precision": setting.precision,
        "framework_layout": f"PyTorch {torch.__version__}{layout}{' +compile' if setting.compiled else ''}",
        "throughput": f"{setting.batch / middle:.5g}",
        "unit": network.unit,
        "source": f"measured by accelsim calibrate --train on {name}, torch {torch.__version__}, {date}",
        "confidence": "measured",
        "notes": f"random data on the device; fused {network.optimizer} optimizer; {notes}",
    }
    digest = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
    return {"id": f"tt-{digest[:8]}", **row}


def _step_seconds(
    model: nn.Module, network: Network, setting: TrainingSetting, done: Callable[[], None]
) -> list[float]:
    """Seconds of each timed step: forward pass, loss, backward pass and update."""
    if setting.device == "cuda":
        allow_tf32(setting.tf32)
        torch.backends.cudnn.benchmark = True
    model = model.to(setting.device).train()
    generator = torch.Generator().manual_seed(0)
    inputs = [_random(spec, setting.batch, generator).to(setting.device) for spec in network.inputs]
    if setting.channels_last:
        model = model.to(memory_format=torch.channels_last)
        inputs = [x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs]
    run = torch.compile(model) if setting.compiled else model
    make = {
        "sgd": lambda: torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True),
        "adam": lambda: torch.optim.Adam(model.parameters(), lr=1e-5, fused=True),
    }
    optimizer = make[network.optimizer]()
    scaler = torch.amp.GradScaler(setting.device, enabled=setting.amp and setting.device == "cuda")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        context = torch.autocast(setting.device, setting.half) if setting.amp else nullcontext()
        with context:
            loss = network.loss(run(*inputs))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return list(_timed(step, setting, done))


def _timed(step: Callable[[], None], setting: TrainingSetting, done: Callable[[], None]) -> list[float]:
    """Seconds of each step after the warm-up, to the end of its last kernel."""
    wait = torch.cuda.synchronize if setting.device == "cuda" else lambda: None
    seconds = []
    for _ in range(WARM_UP + setting.steps):
        wait()
        start = time.perf_counter()
        step()
        wait()
        seconds.append(time.perf_counter() - start)
        done()
    return seconds[WARM_UP:]


def _random(spec: Input, batch: int, generator: torch.Generator) -> Tensor:
    shape = (batch, *spec.shape)
    if spec.below is None:
        return torch.randn(shape, generator=generator)
    return torch.randint(spec.below, shape, generator=generator)
