"""The one way numba is used: compiled once, cached on disk where possible, never at import."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

__all__ = ["compiled_before", "jit"]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def jit(function: Kernel, **options: bool) -> Kernel:
    """Compile `function` on first use and keep the result on disk; in this process only where numba finds no directory
    it can write to, as in read-only containers. `options` are passed on to numba."""
    try:
        kernel: Kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        kernel = numba.njit(**options)(function)
    return kernel


def compiled_before(function: Any) -> bool:
    """Say whether the disk cache holds `function` in its present form (true when compilation is switched off)."""
    stats = getattr(function, "stats", None)
    if stats is None:
        return True
    if not stats.cache_path:
        return False
    source = Path(function.py_func.__code__.co_filename)
    indices = Path(stats.cache_path).glob(f"{source.stem}.{function.py_func.__name__}-*.nbi")
    return any(index.stat().st_mtime >= source.stat().st_mtime for index in indices)
