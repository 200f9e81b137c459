"""accelsim: how long one N:M sparse training step takes on SAT, where the cycles go, and what it costs in energy.

>>> import accelsim as acs
>>> result = acs.simulate(acs.load_trace("resnet18_tinyimagenet"), acs.load_design("sat_vcu1525"), batch=128)
>>> result.method, result.pattern, result.step.speedup > 1.5
('bdwp', '2:8', True)
"""

import importlib
from typing import TYPE_CHECKING, Any

from accelsim.base.version import __version__ as __version__

if TYPE_CHECKING:
    from accelsim.arrays.array import gemm_on_array
    from accelsim.base.errors import AccelsimError, InfeasibleError, InputError
    from accelsim.hardware.design import Design, load_design
    from accelsim.plots.plot import plot
    from accelsim.report.writing import write_report
    from accelsim.results.result_file import load_results
    from accelsim.results.step import Result, Results
    from accelsim.results.training import TrainingResult
    from accelsim.simulation import compare, simulate
    from accelsim.sparsity.pattern import Pattern
    from accelsim.sweep.run import run_sweep
    from accelsim.sweep.spec import load_sweep, make_sweep
    from accelsim.training import simulate_phases, simulate_training
    from accelsim.workload.sampled_run import SampledRun, TracePhase, load_run, save_run
    from accelsim.workload.trace import Trace, load_trace, save_trace
    from accelsim.workload.tracer import InputSpec, trace, trace_model, tracing
    from accelsim.zeros.zeros_file import load_zeros

_HOMES = {
    "AccelsimError": "accelsim.base.errors",
    "Design": "accelsim.hardware.design",
    "InfeasibleError": "accelsim.base.errors",
    "InputError": "accelsim.base.errors",
    "InputSpec": "accelsim.workload.tracer",
    "Pattern": "accelsim.sparsity.pattern",
    "Result": "accelsim.results.step",
    "Results": "accelsim.results.step",
    "SampledRun": "accelsim.workload.sampled_run",
    "Trace": "accelsim.workload.trace",
    "TracePhase": "accelsim.workload.sampled_run",
    "TrainingResult": "accelsim.results.training",
    "compare": "accelsim.simulation",
    "gemm_on_array": "accelsim.arrays.array",
    "load_design": "accelsim.hardware.design",
    "load_results": "accelsim.results.result_file",
    "load_run": "accelsim.workload.sampled_run",
    "load_sweep": "accelsim.sweep.spec",
    "load_trace": "accelsim.workload.trace",
    "load_zeros": "accelsim.zeros.zeros_file",
    "make_sweep": "accelsim.sweep.spec",
    "plot": "accelsim.plots.plot",
    "run_sweep": "accelsim.sweep.run",
    "save_run": "accelsim.workload.sampled_run",
    "save_trace": "accelsim.workload.trace",
    "simulate": "accelsim.simulation",
    "simulate_phases": "accelsim.training",
    "simulate_training": "accelsim.training",
    "trace": "accelsim.workload.tracer",
    "trace_model": "accelsim.workload.tracer",
    "tracing": "accelsim.workload.tracer",
    "write_report": "accelsim.report.writing",
}

__all__ = [
    "AccelsimError",
    "Design",
    "InfeasibleError",
    "InputError",
    "InputSpec",
    "Pattern",
    "Result",
    "Results",
    "SampledRun",
    "Trace",
    "TracePhase",
    "TrainingResult",
    "compare",
    "gemm_on_array",
    "load_design",
    "load_results",
    "load_run",
    "load_sweep",
    "load_trace",
    "load_zeros",
    "make_sweep",
    "plot",
    "run_sweep",
    "save_run",
    "save_trace",
    "simulate",
    "simulate_phases",
    "simulate_training",
    "trace",
    "trace_model",
    "tracing",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that the command line starts without numpy and numba."""
    if name == "torch":
        return importlib.import_module("accelsim.torch")
    if name not in _HOMES:
        raise AttributeError(f"module 'accelsim' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, "torch"])
