"""Which code this is: the version says what its authors called it, the digest of the sources what it is."""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from accelsim.base.files import packaged_path
from accelsim.base.plugins import plugin_sources
from accelsim.base.version import __version__

__all__ = ["code_digest", "code_version"]

_PACKAGE = Path(__file__).resolve().parents[1]
_DIGITS = 12


@cache
def code_digest() -> str:
    """Return twelve digits of the SHA-256 of all that computes: the sources, those of plugins, and tables of costs.

    Taken once per process, when it is first asked for. Designs, traces and energy tables are no part of it: what rests
    on them names them by their own digests.
    """
    digest = hashlib.sha256()
    for name, path in _sources():
        digest.update(f"\n{name}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def code_version() -> str:
    """Return the version with the digest of the sources, as in ``0.1.0+5f0c9d1e22ab``."""
    return f"{__version__}+{code_digest()}"


def _sources() -> Iterator[tuple[str, Path]]:
    tables = packaged_path("hw_configs") / "fpga"  # what a design takes on its device
    for root, kind in ((_PACKAGE, "*.py"), (tables, "*.yaml")):
        for path in sorted(root.rglob(kind)):
            yield path.relative_to(root).as_posix(), path
    yield from plugin_sources()
