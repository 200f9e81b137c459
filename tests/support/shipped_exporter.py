"""The script that makes the shipped traces, as a module."""

import importlib.util
import sys
from types import ModuleType

from accelsim.base.files import packaged_path


def export_all() -> ModuleType:
    """Return ``workloads/models/export_all.py``."""
    return definitions("export_all")


def definitions(file: str) -> ModuleType:
    """Return ``workloads/models/FILE.py``, which may import its neighbours."""
    path = packaged_path("workloads") / "models" / f"{file}.py"
    spec = importlib.util.spec_from_file_location(file, path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
