"""Real training steps of small networks, recorded by the profiler and the execution trace observer at once."""

import importlib
import warnings
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from accelsim.hardware.design import Design, load_design
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.methods import find_method
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Matmul, Trace

BATCH = 7


NETWORKS = importlib.import_module("recorded_networks").NETWORKS if find_spec("torch") else {}
MODULES = frozenset({"several steps", "convolutions"})
"""Recorded with the calls of modules."""


def pytest_generate_tests(metafunc):
    if "network" in metafunc.fixturenames:
        metafunc.parametrize("network", NETWORKS)


def shown(operation):
    """One operation in short: kind, sizes and marks, without names."""
    if isinstance(operation, Linear):
        sizes = f"{operation.in_features}->{operation.out_features} rows {operation.rows}"
    elif isinstance(operation, Matmul):
        sizes = f"{operation.batch} x {operation.m},{operation.k},{operation.n}"
    elif isinstance(operation, Conv | ConvTranspose):
        geometry = operation.in_size, operation.kernel, operation.stride, operation.padding, operation.dilation
        extra = getattr(operation, "output_padding", ())
        sizes = f"{operation.in_channels}->{operation.out_channels} {geometry} {extra} groups {operation.groups}"
    else:
        sizes = f"{operation.reads}->{operation.writes}"
    marks = {
        "once": not operation.scales_with_batch,
        "recomputed": operation.recomputed,
        "backward only": operation.backward_only,
        "frozen": getattr(getattr(operation, "weight", None), "frozen", False),
        "no input gradient": operation.input_gradient is False,
        "no weight gradient": getattr(operation, "weight_gradient", None) is False,
    }
    return ", ".join([f"{operation.kind} {sizes}", *(mark for mark, holds in marks.items() if holds)])


@dataclass(frozen=True)
class Recorded:
    """The files of one recorded run, and what the tracer says of the network."""

    profile: Path
    execution_trace: Path
    traced: Trace


@dataclass(frozen=True)
class Looks:
    """What the tests of both importers compare."""

    design: Design

    def operations(self, trace):
        """All operations in short."""
        return [shown(operation) for operation in trace.operations]

    def products(self, trace):
        """The products in short."""
        return [shown(operation) for operation in trace.operations if operation.macs]

    def ties(self, trace):
        """For each weight the place of its first use."""
        names = [operation.weight.name for operation in trace.operations if hasattr(operation, "weight")]
        return [names.index(name) for name in names]

    def macs(self, trace):
        """Multiply-accumulates of FF, BP and WU of a dense step."""
        step = lower(trace, self.design, find_method("dense"), pattern=None, batch=BATCH)
        counts = Counter()
        for task in step.tasks:
            if isinstance(task, Gemm):
                counts[task.stage.value] += task.macs
        return dict(counts)

    def counts(self, trace):
        """Products of FF, BP and WU; a product of two activations has two in BP."""
        products = [operation for operation in trace.operations if operation.macs]
        weighted = [operation for operation in products if hasattr(operation, "weight")]
        back = sum(operation.input_gradient for operation in weighted) + 2 * (len(products) - len(weighted))
        return len(products), back, sum(operation.adds_to_gradient for operation in weighted)


@pytest.fixture(scope="session")
def looks():
    return Looks(load_design("sat_vcu1525"))


@pytest.fixture(scope="session")
def record(tmp_path_factory):
    """Record a network by name, once."""
    torch = pytest.importorskip("torch", reason="recording needs the torch extra")
    from torch.profiler import ExecutionTraceObserver, profile, schedule

    from accelsim.workload.tracer import InputSpec, trace_model

    folder = tmp_path_factory.mktemp("recorded")
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def batch_of(specs):
        shapes = [(spec.below, (BATCH, *spec.shape)) for spec in specs]
        return [torch.randn(shape) if below is None else torch.randint(below, shape) for below, shape in shapes]

    def train(model, specs, data, steps, step_of_profiler):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9)
        for _ in range(steps):
            inputs = batch_of(specs) if data is None else data
            model(*inputs).float().sum().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step_of_profiler()

    @cache
    def recorded(name):
        build, inputs = NETWORKS[name]
        specs = [InputSpec.parse(text) for text in inputs]
        torch.manual_seed(0)
        model = build()
        traced = trace_model(model, specs)
        stem = name.replace(" ", "_").replace(",", "")
        files = folder / f"{stem}.json", folder / f"{stem}.et.json"
        steps = 3 if name == "several steps" else 1
        data = None if steps > 1 else batch_of(specs)
        modules = name in MODULES
        options = {"schedule": schedule(wait=0, warmup=1, active=steps, repeat=1)} if steps > 1 else {}
        observer = ExecutionTraceObserver().register_callback(str(files[1]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with profile(
                record_shapes=True, with_stack=modules, with_modules=modules, execution_trace_observer=observer,
                on_trace_ready=lambda made: made.export_chrome_trace(str(files[0])), **options,
            ) as made:  # fmt: skip
                train(model, specs, data, steps + (steps > 1), made.step if steps > 1 else lambda: None)
        return Recorded(*files, traced)

    yield recorded
    torch.set_num_threads(before)


@pytest.fixture
def recording(network, record):
    return record(network)


@pytest.fixture
def reading(tmp_path):
    """Write an ONNX model and read it as a trace."""
    return importlib.import_module("onnx_models").reader(tmp_path)
