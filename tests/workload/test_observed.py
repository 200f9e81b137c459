"""Observed sparsity that contradicts itself is refused; zeros that are no pattern are not taken for one."""

import numpy as np
import pytest

import accelsim as acs
from accelsim.base.errors import InputError
from accelsim.base.files import validate
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.masks import magnitude_mask
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.observed import OperandSparsity
from accelsim.workload.trace import Trace

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

from torch import nn  # noqa: E402
from tracing_cases import Apply  # noqa: E402

from accelsim.workload.tracer import trace  # noqa: E402

DESIGN = acs.load_design("sat_vcu1525")


def of(*operations):
    data = {"format": "accelsim-trace/1", "model": "t", "input_shapes": [[4]], "parameters": 10**6, "operations": list(operations),
            "origin": {"exporter": "a test", "source": "a test"}}  # fmt: skip
    return validate(Trace, data, "t.json")


def fc(observed, **fields):
    return {"name": "fc", "kind": "linear", "in_features": 10, "out_features": 16, "weight": {"name": "w"}, **fields,
            "observed": observed}  # fmt: skip


@pytest.mark.parametrize(
    ("observed", "message"),
    [
        ({"FF": {"weight": {"pattern": "1:4", "density": 0.9, "axis": "input"}}},
         " (in 'fc'): observed.FF.weight: density: 0.9, but 1:4 along 10 leaves 0.3 at most"),
        ({"BP": {"weight": {"pattern": "1:4", "density": 0.3, "axis": "output"}}},
         " (in 'fc'): observed.BP.weight: density: 0.3, but 1:4 along 16 leaves 0.25 at most"),
        ({"FF": {"weight": {"density": 0.5, "axis": "input", "groups": [[0, 48, 0, 0, 0]]}}},
         " (in 'fc'): observed.FF.weight: density: 0.5, but the groups of 4 along 10 hold 0.3"),
        ({"FF": {"weight": {"pattern": "1:4", "axis": "batch"}}},
         ".observed.FF (in 'fc'): weight: axis 'batch'; of a weight input or output is allowed"),
        ({"WU": {"gradient": {"pattern": "1:4", "axis": "input"}}},
         ".observed.WU (in 'fc'): gradient: axis 'input'; of a gradient output or batch is allowed"),
        ({"FF": {"activation": {"pattern": "1:4", "axis": "output"}}},
         ".observed.FF (in 'fc'): activation: axis 'output'; of an activation input or batch is allowed"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(observed, message):
    with pytest.raises(InputError) as caught:
        of(fc(observed))
    assert str(caught.value) == f"t.json: operations[0]{message}"


def test_a_short_last_group_leaves_more_than_its_pattern():
    of(fc({"FF": {"weight": {"pattern": "1:4", "density": 0.3, "axis": "input", "groups": [[0, 48, 0, 0, 0]]}}}))


def test_a_trace_without_observed_sparsity_says_so_where_it_is_asked_for():
    plain = {"name": "fc", "kind": "linear", "in_features": 8, "out_features": 8, "weight": {"name": "w"}}
    result = acs.simulate(of(plain), DESIGN, method="traced", batch=4)
    assert [(note.operation, str(note.stage), note.text) for note in result.notes] == [
        ("fc", "FF", "the trace holds no observed sparsity, so all runs dense; trace steps on real values (accelsim trace"
                     " --steps)")
    ]  # fmt: skip
    assert result.step.speedup == 1


def patterns(seen):
    """Patterns that the trace holds, by operation, stage and operand."""
    return {
        (op.name, stage, name): entry.pattern
        for op in seen.operations
        if getattr(op, "observed", None)
        for stage in ("FF", "BP", "WU")
        for name, entry in (getattr(getattr(op.observed, stage, None), "operands", None) or {}).items()
        if entry.pattern
    }


def test_weights_that_are_all_zero_are_no_pattern():
    model = Apply(
        lambda m, x: m.a(x) + m.up(m.down(x)), a=nn.Linear(16, 16), down=nn.Linear(16, 8), up=nn.Linear(8, 16)
    )
    nn.init.zeros_(model.up.weight)  # as LoRA begins
    x = torch.randn(4, 16)
    seen = trace(lambda: model(x).square().sum(), model)
    assert patterns(seen) == {}
    result = acs.simulate(seen, DESIGN, method="traced", batch=4)
    assert result.step.speedup == 1
    assert "kept dense, its weight was all zero, which is no pattern" in {note.text for note in result.notes}


def test_an_old_trace_of_zeros_with_a_pattern_runs_dense():
    zeros = OperandSparsity(density=0.0, pattern="1:8", axis="input").model_dump(exclude_none=True)
    step = lower(of(fc({"FF": {"weight": zeros}})), DESIGN, find_method("traced"), pattern=None, batch=4)
    assert [task.pattern for task in step.tasks if isinstance(task, Gemm)] == [None, None]


@pytest.mark.parametrize("seed", range(12))
def test_rows_of_zeros_are_no_pattern_by_chance(seed):
    torch.manual_seed(seed)
    model = Apply(lambda m, x: m.b(m.a(x))[torch.randperm(64)[:20]], a=nn.Linear(16, 64), b=nn.Linear(64, 64))
    x = torch.randn(64, 16)
    assert patterns(trace(lambda: model(x).square().sum(), model)) == {}


def test_a_class_token_is_no_pattern():
    model = Apply(lambda m, x: m.b(m.a(x))[:, 0], a=nn.Linear(32, 32), b=nn.Linear(32, 32))
    x = torch.randn(16, 17, 32)
    assert patterns(trace(lambda: model(x).square().sum(), model)) == {}


def test_pruned_gradients_still_are_one():
    class Pruned(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.clone()

        @staticmethod
        def backward(ctx, dy):
            return dy * torch.from_numpy(magnitude_mask(dy.numpy(), Pattern(kept=2, group=8), 1))

    model = Apply(lambda m, x: Pruned.apply(m.b(m.a(x))), a=nn.Linear(16, 64), b=nn.Linear(64, 64))
    x = torch.randn(64, 16)
    found = patterns(trace(lambda: model(x).square().sum(), model))
    assert found["b", "BP", "gradient"] == "2:8"


def test_a_pattern_along_flattened_taps_is_told_apart():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3))
    with torch.no_grad():
        weight = model[1].weight
        mask = magnitude_mask(weight.flatten(1).numpy(), Pattern(kept=2, group=4), 1)
        weight *= torch.from_numpy(mask).view_as(weight)
    x = torch.randn(2, 3, 9, 9)
    seen = trace(lambda: model(x).square().sum(), model)
    assert seen.origin.assumptions == (
        "1: 2:4 along the flattened inputs and taps (Cin kh kw) of the kernel; groups run along the input channels here,"
        " and the pattern does not",
    )
    with torch.no_grad():  # along the channels it is no hint
        weight.normal_()
        weight *= torch.from_numpy(magnitude_mask(weight.detach().numpy(), Pattern(kept=2, group=4), 1))
    plain = trace(lambda: model(x).square().sum(), model)
    assert plain.origin.assumptions == ()
    assert patterns(plain)["1", "FF", "weight"] == "2:4"


def test_densities_of_eight_bit_numbers_are_counted():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(16, 32, bias=False)

        def forward(self, x):
            one = torch.tensor(1.0)
            left, right = (value.to(torch.float8_e4m3fn) for value in (x, self.fc.weight))
            return torch._scaled_mm(left, right.t(), one, one, out_dtype=torch.bfloat16)

    model, x = Scaled(), torch.randn(16, 16)
    with torch.no_grad():
        model.fc.weight[:, ::2] = 0
        seen = trace(lambda: model(x), model)
    (product,) = [op for op in seen.operations if op.macs]
    assert (product.kind, product.weight.name, product.macs * 16) == ("linear", "fc.weight", 16 * 16 * 32)
    assert product.observed.FF.weight.density == pytest.approx(np.mean(model.fc.weight.detach().numpy() != 0), abs=0.02)
