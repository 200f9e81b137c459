"""The one way numba is used: compiled once, cached on disk where possible, never at import.

Compiled functions stand in folders called `compiled`, one per room. Numba compiles what a function calls into it, but
its cache notices a change of the function's own file alone. So all of them share one cache folder that is named after
the text of all files in such folders and the versions of accelsim, Python and numba: after any change they are compiled
anew, and what was compiled before is never read. Numba's own index tells processors apart.

The folder is handed to numba as its setting CACHE_DIR, which it reads when a function is decorated. That is public
(environment variable NUMBA_CACHE_DIR), as the classes with which one could look for files elsewhere are not.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import numba
import numpy as np

from accelsim.base.version import __version__

__all__ = ["borrowing", "compiled_before", "jit", "kernel_files", "plain"]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
Answer = TypeVar("Answer", bound=tuple[Any, ...])

_PACKAGE = Path(__file__).resolve().parents[1]
_SETTINGS_LOCK = RLock()


def jit(function: Kernel, **options: bool) -> Kernel:
    """Compile `function` on first use and keep the result on disk; in this process only where no folder can be written
    to, as in read-only containers. `options` are passed on to numba."""
    folder = _cache_folder()
    if folder is not None:
        try:
            with _caching_in(folder):
                kept: Kernel = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba finds no source file, as in a zip archive
            pass
        else:
            return kept
    kernel: Kernel = numba.njit(**options)(function)
    return kernel


def borrowing(function: Kernel, **options: bool) -> Kernel:
    """Compile `function` without reference counts, for one that makes no array and keeps none: counting each array that
    is handed in or looked at takes longer than much of what such functions do."""
    return jit(function, _nrt=False, **options)


def plain(answer: Answer) -> Answer:
    """Return a kernel's answer in Python's numbers: a compiled one gives these itself, an interpreted one numpy's."""
    return _plain(answer) if numba.config.DISABLE_JIT else answer


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return type(value)(*map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def compiled_before(function: Any) -> bool:
    """Say whether the disk cache holds `function` in its present form (true when compilation is switched off)."""
    stats = getattr(function, "stats", None)
    if stats is None:
        return True
    if not stats.cache_path:
        return False
    source = Path(function.py_func.__code__.co_filename)
    return any(Path(stats.cache_path).glob(f"{source.stem}.{function.py_func.__name__}-*.nbi"))


def kernel_files() -> list[Path]:
    """Return the files of the package that hold compiled functions."""
    return sorted(_PACKAGE.glob("*/compiled/*.py"))


@cache
def _cache_folder() -> Path | None:
    """Make and return the folder of the present kernels, beside which those of older ones are removed; none where no
    place can be written to: $NUMBA_CACHE_DIR where it is set, the package itself, the cache of the user."""
    name = f"{sys.implementation.cache_tag}-{numba.__version__}-"
    for place in _places():
        folder = place / f"{name}{_digest_of_kernels()}"
        is_new = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        for other in place.glob(f"{name}*") if is_new else ():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        return folder
    return None


def _places() -> Iterator[Path]:
    """Folders of this copy of the package alone, in which a cache may be made."""
    of_package = Path("accelsim", hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:12])
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / of_package
    yield _PACKAGE / "__pycache__" / "kernels"
    try:
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / of_package
    except RuntimeError:  # no home
        return


def _digest_of_kernels() -> str:
    digest = hashlib.sha256(__version__.encode())
    for file in kernel_files():
        digest.update(f"\n{file.relative_to(_PACKAGE).as_posix()}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _caching_in(folder: Path) -> Iterator[None]:
    """Let numba keep what is decorated here in `folder`, and nowhere else."""
    wanted = {"CACHE_DIR": str(folder), "CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    with _SETTINGS_LOCK:
        before = {name: getattr(numba.config, name) for name in wanted if hasattr(numba.config, name)}
        try:
            for name in before:
                setattr(numba.config, name, wanted[name])
            yield
        finally:
            for name, value in before.items():
                setattr(numba.config, name, value)
