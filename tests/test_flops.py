"""The FLOP table: published counts of RigL, and what machines execute."""

import json
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.base.errors import InputError
from accelsim.engines.layout import executed_macs
from accelsim.flops import HYPOTHETICAL, Executor, count_flops, masks_of_method, of_design
from accelsim.lowering.builder import lower_case
from accelsim.lowering.case import case_of
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.trace import Trace, shipped_traces
from accelsim.zeros.resolve import masks_of
from accelsim.zeros.zeros_file import load_zeros

RIGL = """\
format: accelsim-zeros/1
zeros:
  - {{tensor: weight, of: [conv, linear], form: unstructured, sparsity: {sparsity}, across: {rule}{dense}}}
  - {{tensor: weight-gradient, same-as: weight}}
"""


@pytest.fixture(scope="module")
def resnet50():
    return acs.load_trace("resnet50_imagenet")


@pytest.fixture
def rigl(tmp_path):
    def make(sparsity, rule):
        path = tmp_path / "z.yaml"
        path.write_text(
            RIGL.format(sparsity=sparsity, rule=rule, dense=", dense: [conv1]" if rule == "uniform" else "")
        )
        return path

    return make


def machines(*names):
    return [
        Executor(name, HYPOTHETICAL[name]) if name in HYPOTHETICAL else of_design(acs.load_design(name))
        for name in names
    ]


# Published: README of google-research/rigl, ResNet-50, inference and training (5x steps) FLOPs over dense, size in MB.
PUBLISHED = [
    ("erk", 0.8, 0.42, 2.09, 23.683, 1e-3),
    ("uniform", 0.8, 0.23, 1.14, 23.685, 0.05),  # 23.729 is not explained
    ("erk", 0.9, 0.24, 1.23, 13.499, 1e-3),
    ("uniform", 0.9, 0.13, 0.66, 13.532, 1e-3),
]


@pytest.mark.parametrize(("rule", "sparsity", "inference", "training", "size", "within"), PUBLISHED)
def test_rows_of_the_rigl_table(resnet50, rigl, rule, sparsity, inference, training, size, within):
    masks = masks_of(resnet50, load_zeros(rigl(sparsity, rule)))
    table = count_flops(resnet50, masks, count="rigl", update_every=100)
    assert round(table.inference_flops_ratio, 2) == inference
    assert round(5 * table.training_flops_ratio, 2) == training
    assert table.size_mb["bitmap"] == pytest.approx(size, abs=within)


def test_a_dense_network_has_the_published_size(resnet50):
    table = count_flops(resnet50, {})
    assert list(table.size_mb.values()) == pytest.approx([102.122] * 3, abs=1e-3)
    assert (table.inference_flops_ratio, table.training_flops_ratio) == (1, 1)
    assert table.macs_needed == table.macs_dense
    assert table.weights_kept == table.weights == 25_502_912


@pytest.mark.parametrize(("sparsity", "share"), [(0.8, 0.627), (0.9, 0.516)])
def test_a_machine_that_skips_one_operand(resnet50, rigl, sparsity, share):
    masks = masks_of(resnet50, load_zeros(rigl(sparsity, "erk")))
    table = count_flops(resnet50, masks, machines("one_sided_32", "ideal", "sat_vcu1525"))
    executed = {name: macs / table.macs_dense for name, macs in table.macs_executed.items()}
    assert executed["one_sided_32"] == pytest.approx(share, abs=5e-3)
    assert executed["ideal"] == pytest.approx(table.macs_needed / table.macs_dense)
    assert executed["sat_vcu1525"] == 1


def test_lifted_steps_enter_the_training_ratio(resnet50, rigl):
    masks = masks_of(resnet50, load_zeros(rigl(0.9, "erk")))
    always, sometimes = (count_flops(resnet50, masks, update_every=every).training_flops_ratio for every in (None, 100))
    without = {place: own for place, own in masks.items() if place[1] != "weight-gradient"}
    lifted = count_flops(resnet50, without).training_flops_ratio
    assert sometimes == pytest.approx((100 * always + lifted) / 101)


@pytest.mark.parametrize("method", ["sr-ste", "sdgp", "bdwp", "mvue"])
def test_methods_are_zeros_and_give_what_lowering_executes(method):
    trace, design = acs.load_trace("resnet18_tinyimagenet"), acs.load_design("sat_vcu1525")
    step = lower_case(trace, design, case_of(method=method, pattern="2:8", batch=4))
    array = sum(
        round(task.macs * executed_macs(task) / (task.count * task.m * task.n * task.k))
        for task in step.tasks
        if isinstance(task, Gemm)
    )
    masks = masks_of_method(trace, method, Pattern.parse("2:8"))
    table = count_flops(trace, masks, machines("sat_vcu1525"), batch=4)
    assert table.macs_executed["sat_vcu1525"] == pytest.approx(array, rel=1e-6)
    assert table.macs_dense == step.macs_dense


def test_tied_weights_are_kept_once():
    data = json.loads(Path(shipped_traces()["resnet9_cifar10"]).read_text())
    first, second = (entry for entry in data["operations"] if entry["name"] in {"residual1.0.0", "residual1.1.0"})
    before = count_flops(Trace.model_validate(data, strict=False), {})
    second["weight"] = first["weight"]
    tied = count_flops(Trace.model_validate(data, strict=False), {})
    size = first["in_channels"] * first["out_channels"] * 9
    assert before.weights_kept - tied.weights_kept == size
    assert tied.weights_kept == tied.weights
    assert tied.macs_dense == before.macs_dense


def test_a_step_without_products_is_refused():
    work = {"name": "r", "kind": "activation", "reads": 4, "writes": 4}
    trace = Trace.model_validate(
        {
            "format": "accelsim-trace/1",
            "model": "v",
            "input_shapes": [[4]],
            "parameters": 0,
            "origin": {"exporter": "x", "source": "y"},
            "operations": [work],
        },
        strict=False,
    )
    with pytest.raises(InputError) as error:
        count_flops(trace, {})
    assert str(error.value) == "v: multiplies nothing in FF; there is nothing to count"
