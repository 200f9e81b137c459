"""A platform and a behaviour of round numbers, and operations in short, for tests of platform estimates."""

from accelsim.hardware.platform import Behaviour, Platform, load_behaviour, load_platform
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Step
from accelsim.platforms.kernels import Kernels, Software, kernels_of
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern

ROUND_COMPUTE = {
    "multiprocessors": 1,
    "fp32_tflops": 1.0,
    "tf32_tflops": 4.0,
    "fp16_tflops": 8.0,
    "bf16_tflops": 8.0,
    "fp8_tflops": 16.0,
    "int8_tops": 16.0,
    "matrix_units": True,
    "sparse_2_4": True,
}
ROUND_MEMORY = {"bandwidth_gb_per_s": 100.0, "capacity_gb": 10.0, "cache_mb": 1e-6}
ROUND_POWER = {"idle_w": 20.0, "peak_w": 120.0}
ROUND_BEHAVIOUR = {
    "matrix_efficiency": 1.0,
    "tf32_efficiency": 1.0,
    "fp32_efficiency": 1.0,
    "conv_factor": 1.0,
    "winograd_gain": 1.0,
    "direct_share": 1e-3,
    "pj_per_operation": 1e-3,
    "memory_efficiency": 1.0,
    "kernel_us": 0.0,
    "host_us": 0.0,
    "product_efficiency": 1.0,
    "product_memory_efficiency": 1.0,
    "product_kernel_us": 0.0,
    "cache_gain": 1.0,
    "sparse_gain": 2.0,
    "sparse_kernel_us": 0.0,
    "depthwise_share": None,
    "channels_last_gain": 1.0,
    "tf32_conv_gain": 1.0,
    "fp32_conv_gain": 1.0,
    "tf32_layout_share": 1.0,
    "activation_passes": 1.0,
    "early_factor": 1.0,
    "tensorflow2_factor": 1.0,
    "product_depth_ns": 0.0,
    "cache_share": 0.5,
    "sparse_depth_ns": 0.0,
    "sparse_reread": 0.0,
    "fp8": None,
    "int8": None,
}


def round_platform(**changes: object) -> Platform:
    """A GPU whose every limit is a round number: one multiprocessor, no cache to speak of."""
    base = load_platform("a100_sxm_80gb")
    parts = {"compute": ROUND_COMPUTE, "memory": ROUND_MEMORY, "power": ROUND_POWER}
    update: dict[str, object] = {"name": "round"}
    for name, values in parts.items():
        own = {key: changes.pop(key) for key in list(changes) if key in values}
        update[name] = getattr(base, name).model_copy(update={**values, **own})
    return base.model_copy(update={**update, **changes})


def round_behaviour(**changes: object) -> Behaviour:
    """A behaviour that reaches every peak and adds nothing."""
    return load_behaviour("ampere_server").model_copy(update={**ROUND_BEHAVIOUR, **changes})


class Gpu:
    """What lowering is told of a platform that has some N:M patterns."""

    name = "gpu"
    fuses_activations = False

    def __init__(self, *patterns: str) -> None:
        self.patterns = frozenset(map(Pattern.parse, patterns))


def lowered(trace, *, batch: int = 4, method: str = "dense", pattern: str | None = None) -> Step:
    """The step of a trace on a GPU with the pattern that is asked for."""
    parsed = None if pattern is None else Pattern.parse(pattern)
    return lower(trace, Gpu(*([] if pattern is None else [pattern])), find_method(method), pattern=parsed, batch=batch)


def kernels(trace, software: Software, *, matrix_units: bool = True, **how) -> Kernels:
    """The kernels of that step."""
    return kernels_of(trace, lowered(trace, **how), software, matrix_units=matrix_units)


def rows(found: Kernels) -> list[tuple[object, ...]]:
    """Each kernel in short: operation, stage, m, n, k, copies, bytes, launches."""
    numbers = zip(found.m, found.n, found.k, found.copies, found.bytes, found.launches, strict=True)
    return [
        (operation, str(stage), *(float(value) for value in row))
        for operation, stage, row in zip(found.operations, found.stages, numbers, strict=True)
    ]


def conv(name: str = "conv", **changes: object) -> dict[str, object]:
    """A 3 x 3 convolution from 16 to 32 channels on 8 x 8."""
    shape = {"in_channels": 16, "out_channels": 32, "in_size": [8, 8], "kernel": [3, 3], "padding": [1, 1]}
    return {"name": name, "kind": "conv2d", **shape, "input_gradient": True, **changes}


def linear(name: str = "fc", **changes: object) -> dict[str, object]:
    """A linear layer from 64 to 32 features."""
    shape = {"in_features": 64, "out_features": 32}
    return {"name": name, "kind": "linear", **shape, "input_gradient": True, **changes}


def vector(kind: str, reads: int = 1000, writes: int = 1000, **changes: object) -> dict[str, object]:
    """Vector work of a kind."""
    return {"name": kind, "kind": kind, "reads": reads, "writes": writes, "input_gradient": True, **changes}
