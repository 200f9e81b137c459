"""The PyTorch tracer (needs the torch extra); `accelsim.workload.tracer.api` describes it."""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ModuleNotFoundError("tracing needs PyTorch: pip install 'accelsim[torch]'", name="torch")

from accelsim.workload.tracer.api import Tracing, trace, trace_model
from accelsim.workload.tracer.sampling import Sampler, tracing
from accelsim.workload.tracer.specs import InputSpec

__all__ = ["InputSpec", "Sampler", "Tracing", "trace", "trace_model", "tracing"]
