"""The script that makes the shipped traces, as a module."""

from types import ModuleType

from operations import definitions


def export_all() -> ModuleType:
    """Return ``workloads/models/export_all.py``."""
    return definitions("export_all")
