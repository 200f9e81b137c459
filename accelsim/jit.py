"""The one way numba is used: compiled once, cached on disk where possible, never at import."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

__all__ = ["compiled_before", "jit"]


def jit(function: Callable[..., Any]) -> Any:
    """Compile `function` on first use and keep the result on disk; without a writable cache, in this process only."""
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # numba found no directory to write its cache to
        return njit(function)


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
