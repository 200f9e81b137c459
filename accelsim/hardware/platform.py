"""Platforms that SAT is compared with: GPUs, edge modules, CPUs, FPGA boards and published FPGA accelerators.

A platform is one YAML file (``hw_configs/platforms/*.yaml``) of facts, each with source and confidence: what a data
sheet states. How much of it software reaches is a *behaviour*, a few numbers fitted for a whole family of platforms
(``hw_configs/behaviours/*.yaml``) by ``python -m accelsim.platforms.fit``, or measured by ``accelsim calibrate``.
"""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import FileModel, packaged_names, shipped_or_file
from accelsim.base.plugins import Registry
from accelsim.base.units import TERA
from accelsim.hardware.sourced import SourcedModel, load_sourced

__all__ = [
    "PRECISIONS",
    "Behaviour",
    "Platform",
    "behaviour_names",
    "find_platform",
    "load_behaviour",
    "load_platform",
    "platform_names",
    "rate_field",
]

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "fp8", "int8")
"""Arithmetic types of a GEMM's operands; FP16 and narrower accumulate in FP32."""


def rate_field(precision: str) -> str:
    """Return the name of the field of `Compute` with the peak rate of a precision."""
    return f"{precision}_tops" if precision == "int8" else f"{precision}_tflops"


_UNSAID = re.compile(
    r"(?<![a-z0-9])(nvidia|geforce|tesla|amd|intel|xilinx)(?![a-z0-9])|\((r|tm)\)|\u00ae|\u2122|[\s_()-]+"
)

Tflops = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(gt=0, le=1)]
Efficiency = Annotated[float, Field(gt=0, le=1.3)]  # clocks may exceed those that a data sheet counts with
Count = Annotated[int, Field(ge=1, le=2**30)]
Watts = Annotated[float, Field(gt=0, le=1e5)]
Microseconds = Annotated[float, Field(ge=0, le=1e6)]


class Compute(FileModel):
    """Peak rates of dense GEMMs, in 10^12 operations/s (a multiply-accumulate is two); null: the platform lacks it."""

    multiprocessors: Count = Field(description="SMs of a GPU, cores of a CPU: what tiles are spread over")
    fp32_tflops: Tflops
    tf32_tflops: Tflops | None = None
    fp16_tflops: Tflops | None = Field(
        default=None, description="with FP32 accumulation, on matrix units where it has any"
    )
    bf16_tflops: Tflops | None = None
    fp8_tflops: Tflops | None = None
    int8_tops: Tflops | None = None
    matrix_units: bool = Field(description="FP16 runs on tensor cores or the like")
    sparse_2_4: bool = Field(description="matrix units skip the zeros of 2:4 operands")


class Memory(FileModel):
    """Main memory and the last-level cache in front of it."""

    bandwidth_gb_per_s: Annotated[float, Field(gt=0, le=1e6, description="10^9 bytes/s")]
    capacity_gb: Annotated[float, Field(gt=0, le=1e6, description="10^9 bytes")]
    cache_mb: Annotated[float, Field(gt=0, le=1e5, description="last-level cache, 10^6 bytes")]


class Power(FileModel):
    """Power of the whole card or module."""

    idle_w: Watts
    peak_w: Watts = Field(description="sustained at full load: the power limit")


class DeviceResources(FileModel):
    """What an FPGA offers."""

    dsp: Count
    lut: Count
    ff: Count
    bram36: Count
    uram288: Annotated[int, Field(ge=0, le=2**30)]


class Published(FileModel):
    """What the paper of an accelerator states for its own networks."""

    throughput_gops: Annotated[float, Field(gt=0, le=1e9, description="10^9 operations/s, training")]
    gops_per_w: Annotated[float, Field(gt=0, le=1e6)] | None = None


class Platform(SourcedModel):
    """A platform; which sections it has depends on what it is."""

    plain: ClassVar[tuple[str, ...]] = ("format", "name", "description", "kind", "behaviour", "aliases")

    format: Literal["accelsim-platform/1"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str
    kind: Literal["gpu", "edge", "cpu", "fpga"]
    aliases: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="other names, as measurements have them"
    )
    behaviour: str | None = Field(default=None, description="a shipped behaviour or a file; what estimates rest on")
    compute: Compute | None = None
    memory: Memory | None = None
    power: Power | None = None
    resources: DeviceResources | None = None
    published: Published | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        missing = [name for name in ("compute", "memory", "power", "behaviour") if getattr(self, name) is None]
        if self.kind != "fpga" and missing:
            raise ValueError(f"{missing[0]}: missing; a platform of kind {self.kind} needs it")
        if self.kind == "fpga" and self.resources is None and self.published is None:
            raise ValueError("resources: missing; a platform of kind fpga needs resources (a device) or published")
        if self.compute is not None and self.compute.matrix_units and self.compute.fp16_tflops is None:
            raise ValueError("compute.fp16_tflops: missing; matrix units run FP16")
        if self.power is not None and self.power.idle_w > self.power.peak_w:
            raise ValueError(f"power.idle_w: got {self.power.idle_w:g}, above power.peak_w {self.power.peak_w:g}")
        return self

    def peak_flops(self, precision: str) -> float:
        """Operations per second of dense GEMMs. Raises `InputError` for a precision that the platform lacks."""
        rates = {name: getattr(self.compute, rate_field(name), None) for name in PRECISIONS}
        rate = rates.get(precision)
        if rate is None:
            known = [name for name in PRECISIONS if rates[name] is not None]
            allowed = f"; allowed: {', '.join(known)}" if known else ", nor any other"
            raise InputError(
                f"precision '{precision}': platform '{self.name}' has none{did_you_mean(precision, known)}{allowed}"
            )
        return float(rate) * TERA

    @property
    def recalled(self) -> tuple[str, ...]:
        """Paths of the values that nobody read anywhere; tables mark what they enter."""
        return tuple(item.path for item in self.provenance if item.confidence == "recalled")


class Behaviour(SourcedModel):
    """How a family of platforms uses its peak rates; see `accelsim.platforms.kernel_time` for the equations.

    The first ten values describe kernels within a training step of a framework, the next four products alone, run by
    the best kernel that a library has, the last two what 2:4 changes in either.
    """

    format: Literal["accelsim-behaviour/1"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str
    matrix_efficiency: Efficiency = Field(
        description="share of the peak that large GEMMs reach on matrix units, FP16 and less"
    )
    tf32_efficiency: Efficiency = Field(description="the same for TF32")
    fp32_efficiency: Efficiency = Field(description="the same without matrix units")
    conv_factor: Share = Field(description="rate of a convolution relative to a GEMM of its size")
    winograd_gain: Annotated[float, Field(ge=1, le=4)] = Field(
        description="rate of 3 x 3 convolutions without matrix units relative to others: fewer multiplications"
    )
    direct_share: Share = Field(
        description="rate of grouped convolutions without matrix units, relative to a GEMM there"
    )
    pj_per_operation: Annotated[float, Field(gt=0, le=1e3)] = Field(
        description="dynamic energy of an operation on matrix units at FP16; with the power limit it caps their rate"
    )
    memory_efficiency: Share = Field(description="share of the bandwidth that kernels bound by memory reach")
    kernel_us: Microseconds = Field(description="time of the smallest kernel on the device")
    host_us: Microseconds = Field(description="time until the host has issued one more kernel, without graphs")
    product_efficiency: Efficiency = Field(description="share of the peak that the best kernel of a large GEMM reaches")
    product_memory_efficiency: Share = Field(description="share of the bandwidth that it reaches where memory binds it")
    product_kernel_us: Microseconds = Field(description="time of the smallest such kernel")
    cache_gain: Annotated[float, Field(ge=1, le=20)] = Field(
        description="bandwidth of the last-level cache relative to that of memory"
    )
    sparse_gain: Annotated[float, Field(ge=1, le=2)] = Field(
        description="rate of large 2:4 GEMMs relative to dense ones, of at most 2; 1 where the platform has none"
    )
    sparse_kernel_us: Microseconds = Field(description="what a 2:4 GEMM takes on top")


def platform_names() -> list[str]:
    """Return the names of the shipped platforms."""
    return list(_files())


@cache
def _files() -> dict[str, Path]:
    """Files of platforms by name: shipped ones, and those that other packages add."""
    return dict(Registry("platforms", lambda: packaged_names("hw_configs/platforms", (".yaml",)), _as_file))


def _as_file(found: object, name: str) -> Path:
    if not isinstance(found, str | Path) or Path(found).suffix not in {".yaml", ".yml"}:
        raise ValueError("the path of a .yaml file is needed")
    try:
        platform = load_sourced(Platform, Path(found))
    except InputError as error:
        raise ValueError(str(error)) from None
    if platform.name != name:
        raise ValueError(f"{found} is of the platform '{platform.name}'")
    return Path(found)


def load_platform(name_or_path: str | Path) -> Platform:
    """Return a shipped platform by name or alias, or one in a YAML file. Raises `InputError` listing every error."""
    shipped = _files()
    known = find_platform(str(name_or_path))
    if known is not None:
        return known
    path = shipped_or_file(name_or_path, shipped, "platform", suffixes=(".yaml", ".yml"))
    return _with_behaviour_beside(load_sourced(Platform, path), path)


def _with_behaviour_beside(platform: Platform, path: Path) -> Platform:
    """A behaviour named as a file is found relative to the file of its platform."""
    if platform.behaviour is None or not platform.behaviour.endswith((".yaml", ".yml")):
        return platform
    return platform.model_copy(update={"behaviour": str(path.parent / platform.behaviour)})


def find_platform(alias: str) -> Platform | None:
    """Return the shipped platform that a measurement calls `alias`; None where none is.

    Case, spaces, hyphens, brackets and the maker's name do not matter: ``NVIDIA A100-SXM4-80GB`` is ``a100 sxm4 80gb``.
    """
    return _by_alias().get(_key(alias))


def _key(name: str) -> str:
    return _UNSAID.sub("", name.casefold())


@cache
def _by_alias() -> dict[str, Platform]:
    found: dict[str, Platform] = {}
    for name, path in _files().items():
        platform = _with_behaviour_beside(load_sourced(Platform, path), path)
        for alias in (name, platform.name, *platform.aliases):
            if found.setdefault(_key(alias), platform) is not platform:
                raise InputError(
                    f"platform '{platform.name}': alias '{alias}' is also one of '{found[_key(alias)].name}'"
                )
    return found


def behaviour_names() -> list[str]:
    """Return the names of the shipped behaviours."""
    return list(packaged_names("hw_configs/behaviours", (".yaml",)))


def load_behaviour(name_or_path: str | Path) -> Behaviour:
    """Return a shipped behaviour by name, or the one in a YAML file. Raises `InputError` listing every error."""
    shipped = packaged_names("hw_configs/behaviours", (".yaml",))
    return load_sourced(Behaviour, shipped_or_file(name_or_path, shipped, "behaviour"))
