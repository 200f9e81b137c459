"""What the operating system and the driver say about a machine."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from accelsim.base.units import GIGA, KIBI, MEGA
from accelsim.hardware.sourced_text import SourcedValue

__all__ = ["cpu_facts", "cpu_name", "gpu_power", "with_name"]

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_SIZE = re.compile(r"(\d+)([KMG]?)")


def cpu_name() -> str:
    """Return the name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def cpu_facts(threads: int) -> dict[str, SourcedValue]:
    """Return what Linux says of the processor; what it does not say is missing."""
    found = {
        "compute.multiprocessors": SourcedValue(threads, "threads that were measured with", "measured"),
        "compute.matrix_units": SourcedValue(False, "vector units of a CPU", "assumption"),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        capacity = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory.capacity_gb"] = _reported(capacity / GIGA, "the operating system")
    caches = {int((path / "level").read_text()): path for path in sorted(_CACHES.glob("index*"))}
    if caches:
        size = _SIZE.match((caches[max(caches)] / "size").read_text())
        if size:
            number = int(size[1]) * KIBI ** " KMG".index(size[2] or " ")
            found["memory.cache_mb"] = _reported(number / MEGA, f"the operating system, level {max(caches)}")
    return found


def gpu_power(uuid: str) -> dict[str, SourcedValue]:
    """Return the power limit and the present draw of a GPU from nvidia-smi; empty where it does not say.

    The draw is that of an idle card if nothing runs yet.
    """
    command = ["nvidia-smi", f"--id={uuid}", "--query-gpu=power.draw,power.limit", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        draw, limit = (float(part) for part in done.stdout.strip().split(","))
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {
        "power.idle_w": SourcedValue(min(draw, limit), "nvidia-smi: power draw before the first kernel", "measured"),
        "power.peak_w": SourcedValue(limit, "nvidia-smi: power limit", "measured"),
    }


def _reported(value: float, by: str) -> SourcedValue:
    return SourcedValue(float(f"{value:.4g}"), f"reported by {by}", "measured")


def with_name(facts: Mapping[str, SourcedValue], name: str) -> dict[str, SourcedValue]:
    """Return facts whose sources say which machine they are of."""
    return {path: SourcedValue(item.value, f"{name}: {item.source}", item.confidence) for path, item in facts.items()}
