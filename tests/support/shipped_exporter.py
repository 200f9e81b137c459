"""The script that makes the shipped traces, as a module."""

import importlib.util
from types import ModuleType

from accelsim.base.files import packaged_path


def export_all() -> ModuleType:
    """Return ``workloads/models/export_all.py``."""
    path = packaged_path("workloads") / "models" / "export_all.py"
    spec = importlib.util.spec_from_file_location("export_all", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
