"""Engines execute a plan and return a `Timing`; all have the same signature. They hold no policy and do not search."""

from accelsim.engines.array import ArrayCounts, gemm_on_array
from accelsim.engines.closed_form import run as closed_form
from accelsim.engines.event import run as event
from accelsim.lowering.case import ENGINE_NAMES

__all__ = ["ENGINES", "ArrayCounts", "gemm_on_array"]

ENGINES = dict(zip(ENGINE_NAMES, (closed_form, event), strict=True))
