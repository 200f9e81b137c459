"""What the tracer sees of a model under a method is what the table of methods says."""

import copy

import pytest

import accelsim
from accelsim.sparsity.methods import METHODS

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402

SPARSE = {"residual1.0.0", "residual1.1.0", "layer1.0", "layer2.0", "layer3.0", "residual3.0.0", "residual3.1.0"}
FOLLOWED = [name for name, one in METHODS.items() if one.is_sparse and not one.traced]


def traced(digits, model, samples):
    data = digits.Digits.load()
    return accelsim.trace(
        lambda: functional.cross_entropy(model(data.images[:samples]), data.classes[:samples]), model, name="digits"
    )


def seen_in(trace):
    """Return the pattern and the axis of every observed operand that has one, by operation, stage and operand."""
    found = {}
    for operation in trace.operations:
        for stage in ("FF", "BP", "WU"):
            seen = getattr(getattr(operation, "observed", None), stage, None)
            for name, operand in ({} if seen is None else seen.operands).items():
                if operand.pattern is not None:
                    found[operation.name, stage, name] = (operand.pattern, operand.axis)
    return found


@pytest.mark.parametrize("samples", [48, 64])  # 64 are also the channels of some layers
@pytest.mark.parametrize("method", FOLLOWED)
def test_operands_are_sparse_as_the_table_says(method, samples, digits):
    torch.manual_seed(0)
    dense = digits.NarrowResNet9()
    model = getattr(accelsim.torch, method.replace("-", "_"))(copy.deepcopy(dense), "2:8")
    trace = traced(digits, model, samples)
    assert [one.name for one in trace.operations] == [one.name for one in traced(digits, dense, samples).operations]
    table = {"FF": METHODS[method].ff, "BP": METHODS[method].bp, "WU": METHODS[method].wu}
    expected = {
        (layer, stage, operand.operand.value): ("2:8", operand.axis.value)
        for layer in SPARSE
        for stage, operand in table.items()
        if operand is not None
    }
    assert {key: value for key, value in seen_in(trace).items() if value[0] == "2:8"} == expected


def test_a_trained_bdwp_network_is_simulated_as_the_method(digits, trained, sat):
    trace = traced(digits, copy.deepcopy(trained("bdwp")), 64)
    observed = accelsim.simulate(trace, sat, method="traced", batch=64)
    asked = accelsim.simulate(trace, sat, method="bdwp", pattern="2:8", batch=64)
    assert observed.step.cycles == asked.step.cycles
    assert observed.step.speedup > 1.3
