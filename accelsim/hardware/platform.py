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
from accelsim.base.units import TERA
from accelsim.hardware.sourced import SourcedModel, load_sourced

__all__ = [
    "PRECISIONS",
    "Behaviour",
    "Platform",
    "Products",
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


Nanoseconds = Annotated[float, Field(ge=0, le=1e6)]
Gain = Annotated[float, Field(gt=0, le=10)]


class Products(FileModel):
    """Products alone of one width of operands, by the best kernel that a library has, dense and with a 2:4 weight."""

    efficiency: Efficiency = Field(description="share of the peak that the best kernel of a large GEMM reaches")
    kernel_us: Microseconds = Field(description="time of the smallest such kernel")
    depth_ns: Nanoseconds = Field(description="what each element of k adds, however small the result")
    sparse_gain: Gain = Field(description="rate of large 2:4 GEMMs relative to dense ones")
    sparse_kernel_us: Annotated[float, Field(ge=-1e3, le=1e6)] = Field(
        description="what a 2:4 GEMM takes on top; below 0 where it starts faster"
    )
    sparse_depth_ns: Nanoseconds = Field(description="`depth_ns` of a 2:4 GEMM")


class Behaviour(SourcedModel):
    """How a family of platforms uses its peak rates; see `accelsim.platforms.kernel_time` for the equations.

    The values down to `tensorflow2_factor` describe kernels within a training step of a framework, those from
    `product_efficiency` products alone, run by the best kernel that a library has, in 16 bits or more; `fp8` and `int8`
    the same in 8 bits, where that is known. What has a default need not be stated: the default leaves its effect out.
    `throughput_error` and `gain_error` say how far estimates have to be expected to be off.
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
    pj_per_operation: Annotated[float, Field(gt=0, le=1e3)] = Field(
        description="dynamic energy of an operation on matrix units at FP16; with the power limit it caps their rate"
    )
    memory_efficiency: Share = Field(description="share of the bandwidth that kernels bound by memory reach")
    kernel_us: Microseconds = Field(description="time of the smallest kernel on the device")
    host_us: Microseconds = Field(description="time until the host has issued one more kernel, without graphs")
    winograd_gain: Annotated[float, Field(ge=1, le=4)] = Field(
        description="rate of 3 x 3 convolutions without matrix units relative to others: fewer multiplications"
    )
    direct_share: Share = Field(
        description="rate of grouped convolutions without matrix units, relative to a GEMM there"
    )
    depthwise_share: Share | None = Field(
        default=None, description="the same of convolutions with a group per channel; null: as `direct_share`"
    )
    channels_last_gain: Gain = Field(
        default=1.0, description="rate of convolutions on matrix units in the layout that they want, beside others"
    )
    tf32_conv_gain: Gain = Field(default=1.0, description="`conv_factor` in TF32 relative to 16 bits")
    fp32_conv_gain: Gain = Field(default=1.0, description="`conv_factor` without matrix units relative to 16 bits")
    tf32_layout_share: Gain = Field(
        default=1.0, description="bytes that a TF32 convolution moves to change the layout, relative to 16 bits"
    )
    activation_passes: Gain = Field(
        default=1.0, description="bytes of activations that nothing fuses, relative to one kernel each"
    )
    early_factor: Gain = Field(
        default=1.0, description="host time per kernel with frameworks of 2017, beside later ones"
    )
    tensorflow2_factor: Gain = Field(default=1.0, description="time of a step with TensorFlow 2, beside others")
    product_efficiency: Efficiency = Field(description="share of the peak that the best kernel of a large GEMM reaches")
    product_memory_efficiency: Share = Field(description="share of the bandwidth that it reaches where memory binds it")
    product_kernel_us: Microseconds = Field(description="time of the smallest such kernel")
    product_depth_ns: Nanoseconds = Field(default=0.0, description="what each element of k adds to it")
    cache_gain: Annotated[float, Field(ge=1, le=20)] = Field(
        description="bandwidth of the last-level cache relative to that of memory"
    )
    cache_share: Annotated[float, Field(gt=0, le=4)] = Field(
        default=0.5, description="what products move stays in the last-level cache up to this share of it"
    )
    sparse_gain: Gain = Field(
        description="rate of large 2:4 GEMMs relative to dense ones; 1 where the platform has none"
    )
    sparse_kernel_us: Annotated[float, Field(ge=-1e3, le=1e6)] = Field(
        description="what a 2:4 GEMM takes on top; below 0 where it starts faster"
    )
    sparse_depth_ns: Nanoseconds = Field(default=0.0, description="`product_depth_ns` of a 2:4 GEMM")
    sparse_reread: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="share of a 2:4 weight beyond the cache that is read again for each 128 rows of m"
    )
    fp8: Products | None = Field(default=None, description="products in FP8; null: as in 16 bits")
    int8: Products | None = Field(default=None, description="products in INT8; null: as in 16 bits")
    throughput_error: Annotated[float, Field(gt=0, le=100)] | None = Field(
        default=None, description="relative error of a training throughput that most rows stay within; null: not known"
    )
    gain_error: Annotated[float, Field(gt=0, le=100)] | None = Field(
        default=None, description="the same of the gain of a 2:4 product"
    )

    def products(self, arithmetic: str) -> Products:
        """Return the values of products of an arithmetic type."""
        own = {"fp8": self.fp8, "int8": self.int8}.get(arithmetic)
        return own or Products.model_construct(
            efficiency=self.product_efficiency,
            kernel_us=self.product_kernel_us,
            depth_ns=self.product_depth_ns,
            sparse_gain=self.sparse_gain,
            sparse_kernel_us=self.sparse_kernel_us,
            sparse_depth_ns=self.sparse_depth_ns,
        )


def platform_names() -> list[str]:
    """Return the names of the shipped platforms."""
    return list(packaged_names("hw_configs/platforms", (".yaml",)))


def load_platform(name_or_path: str | Path) -> Platform:
    """Return a shipped platform by name or alias, or one in a YAML file. Raises `InputError` listing every error."""
    shipped = packaged_names("hw_configs/platforms", (".yaml",))
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
    for name, path in packaged_names("hw_configs/platforms", (".yaml",)).items():
        platform = load_sourced(Platform, path)
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
