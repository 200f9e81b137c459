"""What can be measured: a device that makes kernels and times them.

On a GPU kernels are timed by events on the device while the host runs ahead; on a CPU by the monotonic clock.
"""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from accelsim.hardware.sourced_text import SourcedValue

__all__ = ["Device", "Run", "UnsupportedKernel"]

Run = Callable[[], object]
"""Issues a kernel once."""


class UnsupportedKernel(Exception):  # noqa: N818  not an error of the program: the kernel is left out, with this reason
    """The device or its software does not run this kernel."""


class Device(Protocol):
    """A device under measurement.

    `name` and `software` go into every file. `precisions` of GEMMs and `streams`, the kinds of memory-bound kernels,
    are what it offers; it may have no convolutions. A device that is `asynchronous` works while the host issues on,
    and `sparse` says that it may skip the zeros of 2:4 weights. Making a kernel raises `UnsupportedKernel` where there
    is none of that kind or it does not fit the memory.
    """

    name: str
    software: str
    kind: Literal["cpu", "gpu"]
    precisions: tuple[str, ...]
    streams: tuple[str, ...]
    convolutions: bool
    asynchronous: bool
    sparse: bool

    def facts(self) -> Mapping[str, SourcedValue]:
        """Return what the device says about itself, by dotted path of a platform."""
        ...

    def empty(self) -> Run:
        """Return the smallest kernel."""
        ...

    def stream(self, kind: str, size: int) -> Run:
        """Return a kernel that reads and writes `size` bytes in all."""
        ...

    def gemm(self, m: int, n: int, k: int, precision: str) -> Run:
        """Return X W for X of m x k and W of k x n, stored as the weight of a linear layer, n x k."""
        ...

    def conv(self, m: int, n: int, k: int, batch: int, precision: str, groups: int) -> Run:
        """Return a padded 3x3 convolution of `batch` square images: m pixels, n channels from k / 9 of each group."""
        ...

    def sparse_gemm(self, m: int, n: int, k: int, precision: str) -> Run:
        """Return the GEMM with a weight that is 2:4 and compressed beforehand."""
        ...

    def time(self, run: Run, calls: int) -> float:
        """Return the seconds of one of `calls` kernels, one right after the other."""
        ...

    def issue(self) -> float:
        """Return the seconds that the host needs per kernel of a forward and backward pass of small operations."""
        ...
