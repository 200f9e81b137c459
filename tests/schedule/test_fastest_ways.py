"""The way in which each product runs: what ways there are, that the fastest is taken, and what follows for a step."""

import json
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.base.files import validate
from accelsim.cost.gemm import gemm_numbers
from accelsim.engines.closed_form import run as closed_form
from accelsim.engines.event import run as event
from accelsim.hardware.sourced import override
from accelsim.lowering.builder import lower_case
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.lowering.tasks import Gemm, Generation, Overrides, Stage, Way
from accelsim.lowering.ways import as_lowered, in_way, in_ways, ways_of
from accelsim.schedule.fastest_ways import alternatives
from accelsim.schedule.offline import make_plan
from accelsim.schedule.plan_checks import problems_of
from accelsim.schedule.plan_file import load_plan, save_plan
from accelsim.simulation import plan_step, simulate_case
from accelsim.sparsity.pattern import Pattern

SGD = find_optimizer("sgd")
SPARSE = ("sr-ste", "sdgp", "sdwp", "bdwp", "transposable", "mvue")


def conv(name, cin, cout, size=8, kernel=3, **more):
    return {"name": name, "kind": "conv2d", "in_channels": cin, "out_channels": cout, "in_size": [size, size],
            "kernel": [kernel, kernel], "padding": [kernel // 2] * 2, "weight": {"name": f"{name}.weight"},
            **more}  # fmt: skip


def trace_of(*operations):
    data = {"format": "accelsim-trace/1", "model": "small", "input_shapes": [[3, 8, 8]], "parameters": 10**6,
            "origin": {"exporter": "t", "source": "t"}, "operations": list(operations)}  # fmt: skip
    return validate(acs.Trace, data, "t")


DEPTHWISE = trace_of(
    conv("stem", 3, 32, 16), conv("depthwise", 32, 32, 16, groups=32, stride=[2, 2]), conv("last", 32, 16)
)


# What ways there are


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [[1, 1], [2, 2]])
@pytest.mark.parametrize("channels", [(16, 48), (20, 24)])
@pytest.mark.parametrize("method", SPARSE)
def test_a_product_in_another_way_is_the_one_that_is_lowered_so(sat, method, channels, stride, kernel):
    """Dense as of dense training, and in a mode as of training in that pattern, padded channels included."""
    trace = trace_of(conv("a", *channels, 8, kernel, stride=stride, input_gradient=True), conv("b", channels[1], 8))

    def gemms(method, pattern):
        overrides = Overrides(sparse=(("*", None),))
        case = case_of(method=method, pattern=pattern, batch=4, overrides=overrides)
        return [task for task in lower_case(trace, sat, case).tasks if isinstance(task, Gemm)]

    own = gemms(method, "2:8")
    assert any(gemm.mask for gemm in own)
    for way in (Way(None), *map(Way, map(Pattern.parse, ("4:8", "8:16", "2:4")))):
        others = gemms(method, str(way.pattern)) if way.pattern else gemms("dense", None)
        for gemm, other in zip(own, others, strict=True):
            if gemm.mask is None:
                continue
            made = in_way(gemm, way)
            # masks and padded zeros aside, which are no elements of DRAM
            assert (made.m, made.n, made.k, made.count, made.pattern) == (
                other.m, other.n, other.k, other.count, other.pattern,
            )  # fmt: skip
            if not channels[0] % 16 and not channels[1] % 16:
                assert gemm_numbers(made, sat, online=False) == gemm_numbers(other, sat, online=False)


def test_ways_are_its_own_first_then_modes_that_cover_it_then_dense(sat):
    gemm = next(
        task
        for task in lower_case(acs.load_trace("resnet9_cifar10"), sat, case_of(batch=2)).tasks
        if isinstance(task, Gemm) and task.mask
    )
    assert list(map(str, ways_of(gemm, sat.patterns, vector=True))) == ["2:8", "4:8", "dense"]
    two = frozenset(map(Pattern.parse, ("2:8", "2:4", "8:16")))
    assert list(map(str, ways_of(gemm, two, vector=False))) == ["2:8", "2:4", "8:16", "dense"]
    assert list(map(str, ways_of(gemm, frozenset(), vector=False))) == ["2:8", "dense"]


def test_products_of_one_column_in_several_copies_suit_the_vector_unit(sat):
    step = lower_case(DEPTHWISE, sat, case_of(batch=2))
    found = {gemm for item in alternatives(step, sat) if item.ways[-1].on_vector for gemm in item.gemms}
    of_depthwise = {
        index for index, task in enumerate(step.tasks) if isinstance(task, Gemm) and task.operation == "depthwise"
    }
    assert found == of_depthwise
    assert {step.tasks[index].stage for index in found} == {Stage.FF, Stage.BP, Stage.WU}


def test_masks_are_kept_where_weights_are_pruned_and_gradients_are_whole_where_they_run_dense(sat):
    trace = acs.load_trace("resnet9_cifar10")
    for method, kept in (("bdwp", True), ("mvue", False)):
        step = lower_case(trace, sat, case_of(method=method, pattern="2:8", batch=2))
        stages = {Stage.FF, Stage.BP} if kept else {Stage.WU}
        places = [
            index
            for index, task in enumerate(step.tasks)
            if isinstance(task, Gemm) and task.mask and task.stage in stages
        ]
        dense = in_ways(step, dict.fromkeys(places, Way(None)))
        assert as_lowered(dense) == step
        assert all((dense.tasks[index].mask is not None) is kept for index in places)
        assert all(dense.tasks[index].pattern is None for index in places)
        stored = {task.mode for task in dense.tasks if isinstance(task, Generation)}
        assert stored == ({None} if kept else {Pattern(2, 8)})


# The fastest is taken


@given(
    channels=st.tuples(st.sampled_from([16, 32, 64]), st.sampled_from([16, 32, 128])),
    kernel=st.sampled_from([1, 3]),
    method=st.sampled_from(SPARSE),
    pattern=st.sampled_from(["1:4", "2:8", "4:8", "1:16"]),
    batch=st.sampled_from([1, 8, 64]),
    changes=st.fixed_dictionaries({
        "dram.bandwidth_gb_per_s": st.sampled_from(["2", "20", "500"]),
        "array.dataflows": st.sampled_from(["[os]", "[ws]", "[os, ws, is]"]),
        "array.row_port_elements_per_cycle": st.sampled_from(["2", "8", "null"]),
        "sore.lanes": st.sampled_from(["1", "32"]),
        "schedule.pregenerate": st.sampled_from(["true", "false"]),
    }),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_no_combination_of_ways_is_faster(channels, kernel, method, pattern, batch, changes):
    """Every combination of those that do not make a product itself slower, which would only save bytes of a copy."""
    trace = trace_of(conv("first", 3, channels[0]), conv("a", *channels, 8, kernel), conv("last", channels[1], 8))
    design = override(acs.load_design("sat_vcu1525"), changes)
    case = case_of(method=method, pattern=pattern, batch=batch)
    step, cache = lower_case(trace, design, case), {}
    items = alternatives(step, design)
    assert items

    def cycles(ways):
        taken = in_ways(step, {gemm: way for item, way in zip(items, ways, strict=True) for gemm in item.gemms})
        return closed_form(make_plan(taken, design, SGD, cache), design, SGD).cycles

    chosen = closed_form(plan_step(trace, design, case), design, SGD).cycles
    assert chosen == min(cycles(ways) for ways in product(*(item.ways for item in items)))


PATTERNS = ("1:2", "1:4", "2:4", "1:8", "2:8", "4:8", "1:16", "2:16", "4:16", "8:16")
NESTED = [
    (sparser, denser)
    for sparser in map(Pattern.parse, PATTERNS)
    for denser in map(Pattern.parse, PATTERNS)
    if sparser.group == denser.group and sparser.kept < denser.kept
]


@st.composite
def situations(draw):
    """A layer or two, a design and a method, whatever they limit each other by."""
    sizes = st.sampled_from([16, 32, 48, 64, 128])
    size, kernel, stride = draw(st.sampled_from([4, 7, 14])), draw(st.sampled_from([1, 3])), draw(st.integers(1, 2))
    middle = draw(sizes)
    trace = trace_of(
        conv("first", 3, middle, size),
        conv("a", middle, (after := draw(sizes)), size, kernel, stride=[stride, stride]),
        conv("last", after, 16, size),
    )
    changes = {
        "array.rows": draw(st.sampled_from(["4", "13", "32"])),
        "array.cols": draw(st.sampled_from(["8", "32", "50"])),
        "array.macs_per_pe": draw(st.sampled_from(["1", "2", "4"])),
        "array.adder_latency_cycles": draw(st.sampled_from(["1", "4", "9"])),
        "array.accumulators_per_pe": draw(st.sampled_from(["1", "4", "8"])),
        "array.overlap_tiles": draw(st.sampled_from(["true", "false"])),
        "array.dataflows": draw(st.sampled_from(["[os]", "[ws]", "[is]", "[os, ws, is]"])),
        "array.stationary_variants": draw(st.sampled_from(["[flat, split]", "[split]", "[flat, split, chain]"])),
        "array.row_port_elements_per_cycle": draw(st.sampled_from(["1", "4", "8", "null"])),
        "array.metadata_bits_per_value": draw(st.sampled_from(["log2", "0"])),
        "buffers.x_bytes": draw(st.sampled_from(["16384", "2097152"])),
        "buffers.w_bytes": draw(st.sampled_from(["16384", "2097152"])),
        "dram.bandwidth_gb_per_s": draw(st.sampled_from(["1", "10", "77", "1000"])),
        "sore.lanes": draw(st.sampled_from(["1", "32"])),
        "schedule.pregenerate": draw(st.sampled_from(["true", "false"])),
    }
    design = override(acs.load_design("sat_vcu1525"), changes)
    return trace, design, draw(st.sampled_from(SPARSE)), draw(st.sampled_from([1, 5, 64]))


@given(situations(), st.sampled_from(NESTED))
@settings(max_examples=150, deadline=None)
def test_a_sparser_pattern_is_never_slower_and_none_is_slower_than_dense_but_for_what_it_generates(situation, nested):
    trace, design, method, batch = situation
    cases, cache = [case_of(method=method, pattern=pattern, batch=batch) for pattern in nested], {}
    try:
        sparser, denser = (simulate_case(trace, design, case, cache=cache) for case in cases)
    except acs.InfeasibleError:  # what stays dense in any case
        assume(False)
    assert sparser.step.cycles <= denser.step.cycles
    if design.schedule.pregenerate:  # else SORE in front of a product makes fewer fetches worth a slower mapping
        step = lower_case(trace, design, cases[0])
        dense = in_ways(step, {gemm: Way(None) for item in alternatives(step, design) for gemm in item.gemms})
        rows = closed_form(make_plan(dense, design, SGD, cache), design, SGD).rows
        generated = sum(row.cycles for row in rows if row.stage is Stage.GENERATE)
        assert sparser.step.cycles <= sparser.dense.step.cycles + generated


def test_one_mode_that_covers_another_with_other_groups_costs_next_to_nothing_more(sat):
    """Beside that of the same groups no other mode of one density is tried: what that can cost."""
    trace, cache = acs.load_trace("resnet18_tinyimagenet"), {}
    for method in ("bdwp", "sdgp"):
        cycles = {
            text: simulate_case(trace, sat, case_of(method=method, pattern=text, batch=32), cache=cache).step.cycles
            for text in PATTERNS
        }
        for sparser, denser in product(map(Pattern.parse, PATTERNS), repeat=2):
            if denser.covers(sparser) and denser.density > sparser.density:
                assert cycles[str(sparser)] <= cycles[str(denser)] * 1.001


# What follows for a step


def test_the_step_of_the_issue():
    """ResNet-50 under SDGP on the ASIC: 16 products run dense."""
    trace, design = acs.load_trace("resnet50_imagenet"), acs.load_design("sat_asic_28nm")
    result = acs.simulate(trace, design, method="sdgp", batch=64)
    dense = [note for note in result.notes if note.text.startswith("kept dense, faster here than in the 2:8 mode")]
    assert len(dense) == 16
    own_modes = acs.simulate(trace, design.with_({"schedule.cover": False}), method="sdgp", batch=64)
    assert own_modes.step.speedup < 1.08
    assert result.step.speedup > 1.11
    gains = {(gain.layer, gain.stage): gain for gain in result.layer_gains()}
    whole = [gain for note in dense if (gain := gains[note.operation, note.stage]).runs is None]
    assert len(whole) == 15  # of one more a phase runs dense
    for gain in whole:
        assert gain.gain == pytest.approx(1)
        assert gain.why.startswith("faster here than in the 2:8 mode; its gradients are not pruned")


def test_depthwise_layers_do_not_slow_a_network_down(sat):
    steps = {
        name: acs.simulate(acs.load_trace(name), sat, batch=64).step
        for name in ("mobilenet_v2_imagenet", "resnet50_imagenet")
    }
    assert steps["mobilenet_v2_imagenet"].cycles < 0.6 * steps["resnet50_imagenet"].cycles
    without = sat.with_({"vector.macs_per_lane": 0})
    alone = acs.simulate(acs.load_trace("mobilenet_v2_imagenet"), without, batch=64).step
    assert alone.cycles > 5 * steps["mobilenet_v2_imagenet"].cycles


def test_a_product_on_the_vector_unit_in_results_and_in_time(sat):
    result = acs.simulate(DEPTHWISE, sat, batch=64)
    rows = {row.name + row.stage: row for row in result.layers if row.operation == "depthwise" and row.m is not None}
    assert {row.unit for row in rows.values()} == {"vector"}
    assert {row.unit for row in result.layers if row.operation == "last" and row.m is not None} == {"array"}
    forward = rows["depthwiseFF"]
    macs = 64 * 64 * 9 * 32
    assert forward.macs_dense == forward.macs_executed == macs
    read = 64 * 32 * 16 * 16 + 9 * 32
    moved = 2 * (read + 64 * 32 * 64)
    assert forward.dram_bytes == moved
    assert forward.cycles == max(-(-macs // sat.vector.lanes), -(-moved // sat.dram_bytes_per_cycle))
    assert (forward.dataflow, forward.tile, forward.utilisation, forward.array_cycles) == (None, None, None, 0)
    energy = result.basis.energy_table
    joules = 2 * macs * energy.pj_per_vector_element + moved * energy.pj_per_dram_byte
    assert forward.energy_j == pytest.approx(1e-12 * joules + energy.static_w * forward.latency_s)
    plan = plan_step(DEPTHWISE, sat, case_of(batch=64, engine="event"))
    timing = event(plan, sat, SGD)
    units = {timing.rows[span.row].operation: span.unit for span in timing.spans if timing.rows[span.row].stage == "FF"}
    assert units["depthwise"] == "VECTOR"
    assert event(replace(plan, overlap=False), sat, SGD).rows == closed_form(plan, sat, SGD).rows


def test_a_plan_with_ways_comes_back_from_its_file_and_runs_the_same(tmp_path, sat):
    for trace, design, method in (
        (DEPTHWISE, sat, "bdwp"),
        (acs.load_trace("resnet50_imagenet"), acs.load_design("sat_asic_28nm"), "sdgp"),
    ):
        plan = plan_step(trace, design, case_of(method=method, batch=64))
        assert plan.step.ways
        save_plan(tmp_path / "plan.json", plan, design, SGD)
        assert load_plan(tmp_path / "plan.json", as_lowered(plan.step), design) == plan
        own = acs.simulate(trace, design, method=method, batch=64)
        assert acs.simulate(trace, design, method=method, batch=64, plan=tmp_path / "plan.json").step == own.step
        assert acs.simulate(trace, design, method=method, batch=64, plan=plan).layers == own.layers


@pytest.mark.parametrize(
    ("ways", "changes", "texts"),
    [
        ({"depthwise": "vector"}, {"vector.macs_per_lane": 0},
         ["way: the vector unit does not multiply here (vector.macs_per_lane)"]),
        ({"last": "vector"}, {},
         ["way: the vector unit runs several products of one column alone, as of depthwise convolutions",
          "mapping: the vector unit needs none"]),
        ({"a": "dense"}, {"schedule.cover": False},
         ["way: dense: the design runs each product in the mode of its pattern alone (schedule.cover)"]),
        ({"a": "3:8"}, {},
         ["way: 3:8: the design has no such mode; allowed: 1:2, 1:4, 2:4, 1:8, 2:8, 4:8, 1:16, 2:16, 4:16, 8:16"
          " (array.patterns)"]),
        ({"depthwise": "dense"}, {}, ["way: dense: it is not pruned; allowed: vector"]),
        ({"a": "1:8"}, {}, ["way: 1:8: pruned to 2:8; allowed: dense, or a mode that covers it"]),
    ],
)  # fmt: skip
def test_what_a_plan_says_against_a_way(tmp_path, sat, ways, changes, texts):
    trace = trace_of(
        conv("stem", 3, 32, 16), conv("depthwise", 32, 32, 16, groups=32), conv("a", 32, 32), conv("last", 32, 16)
    )
    design = sat.with_(changes) if changes else sat
    plan = plan_step(trace, design, case_of(batch=4))
    path = tmp_path / "plan.json"
    save_plan(path, plan, design, SGD)
    data = json.loads(path.read_text())
    for task in data["tasks"]:
        if task["stage"] == "FF" and task["name"] in ways:
            task["way"] = ways[task["name"]]
            if changes.get("vector.macs_per_lane") == 0:
                del task["mapping"]
    path.write_text(json.dumps(data))
    with pytest.raises(acs.AccelsimError) as error:
        load_plan(path, as_lowered(plan.step), design)
    (name,) = ways
    for text in texts:
        assert f"'{name}' (FF): {text}" in str(error.value)


def test_readers_of_one_copy_run_in_one_mode(sat):
    trace = trace_of(conv("first", 3, 32), conv("a", 32, 32, stride=[2, 2]), conv("last", 32, 16, 4))
    plan = plan_step(trace, sat.with_({"schedule.cover": False}), case_of(batch=4))
    phase = next(i for i, task in enumerate(plan.step.tasks) if task.name.startswith("a[phase") and task.stage == "BP")
    apart = replace(plan, step=in_ways(plan.step, {phase: Way(None)}))
    texts = [problem.text for problem in problems_of(apart, sat) if problem.task == phase]
    assert "way: dense: another product reads the same copy as 2:8" in texts
