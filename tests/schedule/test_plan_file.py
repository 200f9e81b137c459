"""Plan files: what is saved comes back and runs the same; what a design cannot execute is refused, all at once."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.base.files import validate
from accelsim.cost.compiled import pipeline, values
from accelsim.cost.compiled.values import CHAIN, ArrayMapping, K, LoopOrder, M, MappingNumbers, Mnk, N
from accelsim.cost.gemm import gemm_numbers, machine_numbers
from accelsim.engines import ENGINES
from accelsim.engines.event import run_in_detail
from accelsim.hardware.sourced import leaf_paths, override
from accelsim.lowering.builder import lower
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.lowering.tasks import Gemm, Generation, Update
from accelsim.schedule.edges import edges_of
from accelsim.schedule.plan import copies_of
from accelsim.schedule.plan_checks import check_plan, problems_of, task_names
from accelsim.schedule.plan_file import PlanFile, decisions_of, load_plan, plan_text, read_plan, save_plan
from accelsim.simulation import plan_step
from accelsim.sparsity.methods import METHODS, find_method

SGD = find_optimizer("sgd")


def conv(name, cin, cout, size, **more):
    return {"name": name, "kind": "conv2d", "in_channels": cin, "out_channels": cout, "in_size": [size, size],
            "kernel": [3, 3], "padding": [1, 1], "weight": {"name": f"{name}.weight"}, **more}  # fmt: skip


def trace_of(*operations):
    data = {"format": "accelsim-trace/1", "model": "small", "input_shapes": [[3, 8, 8]], "parameters": 10**6,
            "origin": {"exporter": "t", "source": "t"}, "operations": list(operations)}  # fmt: skip
    return validate(acs.Trace, data, "t")


SMALL = trace_of(
    conv("stem", 3, 16, 8),
    {"name": "relu", "kind": "activation", "reads": 1024, "writes": 1024},
    conv("a", 16, 32, 8, stride=[2, 2]),
    {"name": "bn", "kind": "norm", "reads": 512, "writes": 512},
    conv("b", 32, 32, 4),
    {"name": "pool", "kind": "pooling", "reads": 512, "writes": 32},
    {"name": "fc", "kind": "linear", "in_features": 32, "out_features": 10, "weight": {"name": "fc.weight"}},
)
OPTIMAL = {"schedule.scheduler": "optimal"}


def planned(changes=None, method="bdwp", *, hw="sat_vcu1525", engine="closed", trace=SMALL, batch=4, **more):
    design = override(acs.load_design(hw), {**OPTIMAL, **(changes or {})})
    return plan_step(trace, design, case_of(method=method, batch=batch, engine=engine, **more)), design


def loaded(path: Path, plan, design):
    return load_plan(path, plan.step, design)


# What is saved comes back


@st.composite
def cases(draw):
    changes = {
        "schedule.scheduler": draw(st.sampled_from(["greedy", "optimal"])),
        "schedule.pregenerate": draw(st.sampled_from(["true", "false"])),
        "schedule.interleave": draw(st.sampled_from(["true", "false"])),
        "schedule.overlap": draw(st.sampled_from(["true", "false"])),
        "schedule.dataflow": draw(st.sampled_from(["auto", "os", "ws"])),
        "buffers.resident_bytes": draw(st.sampled_from(["0", "9000", "20000", "8388608"])),
        "dram.bandwidth_gb_per_s": draw(st.sampled_from(["1", "76.8"])),
        "array.stationary_variants": draw(st.sampled_from(["[split]", "[split, chain]", "[flat, chain]"])),
    }
    return {
        "changes": changes,
        "method": draw(st.sampled_from([name for name in METHODS if name != "traced"])),
        "pattern": draw(st.sampled_from(["2:4", "2:8", "1:4"])),
        "mode": draw(st.sampled_from(["train", "train", "infer"])),
        "hw": draw(st.sampled_from(["sat_vcu1525", "sat_edge_zcu104", "sat_asic_28nm"])),
        "batch": draw(st.integers(1, 9)),
    }


@given(case=cases(), engine=st.sampled_from(["closed", "event"]))
@settings(max_examples=60, deadline=None)
def test_a_plan_survives_its_file_and_runs_the_same(tmp_path_factory, case, engine):
    plan, design = planned(engine=engine, **case)
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    save_plan(path, plan, design, SGD)
    again = loaded(path, plan, design)
    assert again == plan
    assert plan_text(again, design, SGD) == path.read_text()
    for run in ENGINES.values():
        assert run(again, design, SGD) == run(plan, design, SGD)


@pytest.mark.parametrize("engine", ["closed", "event"])
@pytest.mark.parametrize("method", ["bdwp", "sdgp", "dense", "mvue"])
def test_simulate_with_the_scheduler_s_own_plan_is_simulate(tmp_path, engine, method):
    trace, design = acs.load_trace("resnet18_tinyimagenet"), override(acs.load_design("sat_vcu1525"), OPTIMAL)
    plan, _ = planned(method=method, engine=engine, trace=trace, batch=16)
    save_plan(tmp_path / "plan.json", plan, design, SGD)
    plain = acs.simulate(trace, design, method=method, batch=16, engine=engine)
    for given_plan in (tmp_path / "plan.json", str(tmp_path / "plan.json"), plan):
        assert acs.simulate(trace, design, method=method, batch=16, engine=engine, plan=given_plan) == plain


def test_a_plan_file_has_a_task_per_line_in_order_and_is_packed_where_asked(tmp_path):
    plan, design = planned()
    text = plan_text(plan, design, SGD)
    lines = text.splitlines()
    assert len(lines) == len(plan.step.tasks) + 8
    tasks = [json.loads(line.strip().rstrip(",")) for line in lines[5:-3]]
    assert [(task["name"], task["stage"]) for task in tasks] == list(task_names(plan.step))
    assert lines[1:4] == [
        ' "format": "accelsim-plan/2",',
        ' "made_for": {"model": "small", "design": "sat_vcu1525 + schedule.scheduler optimal", "method": "bdwp", "pattern": "2:8", "batch": 4,'
        ' "mode": "train", "optimizer": "sgd"},',
        ' "overlap": false,',
    ]
    assert json.loads(text)["tasks"] == decisions_of(plan)["tasks"]
    made_for = json.loads(text)["design"]
    assert made_for["overrides"] == {"schedule.scheduler": {"base": "greedy", "value": "optimal"}}
    assert made_for["values"]["array.rows"] == {"value": 32}
    assert set(made_for["values"]) == set(leaf_paths(acs.Design))
    save_plan(tmp_path / "plan.json.gz", plan, design, SGD)
    assert loaded(tmp_path / "plan.json.gz", plan, design) == plan


def test_the_example_of_the_documentation_is_a_plan_file():
    from accelsim.schedule import plan_file

    example = plan_file.__doc__.split("::\n")[1].split("\nEvery task")[0].replace("{...}", "null")
    read = validate(PlanFile, json.loads(example), "the example")
    assert [task.stage for task in read.tasks] == ["FF", "VECTOR", "FF", "GENERATE", "WU"]


def test_names_of_tasks_are_those_of_results_and_unique():
    plan, design = planned()
    rows = {(row.name, row.stage) for row in ENGINES["closed"](plan, design, SGD).rows}
    names = task_names(plan.step)
    assert len(set(names)) == len(names)
    assert rows <= set(names) | {(row[0], "GENERATE") for row in rows if row[0].endswith("online]")}
    task = next(task for task in plan.step.tasks if isinstance(task, Generation))
    twice = replace(plan.step, tasks=(task, task))
    assert task_names(twice) == ((task.name, "GENERATE"), (f"{task.name}_2", "GENERATE"))


# What a file says is done


@pytest.fixture
def data():
    """The plan of the small step as plain data."""
    plan, design = planned({"schedule.scheduler": "greedy"})
    return json.loads(plan_text(plan, design, SGD))


def entry(data, name, stage):
    return next(task for task in data["tasks"] if (task["name"], task["stage"]) == (name, stage))


def at(data, name, stage):
    return data["tasks"].index(entry(data, name, stage))


def written(tmp_path, data):
    path = tmp_path / "plan.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_a_mapping_by_hand_costs_what_the_kernel_says(tmp_path, data):
    plan, design = planned({"schedule.scheduler": "greedy"})
    entry(data, "b", "FF")["mapping"] = {"dataflow": "ws", "variant": "chain", "ia": 2, "ib": 1, "split": 1,
                                         "tile": [40, 32, 96], "order": "knm", "im2col": "channels"}  # fmt: skip
    path = written(tmp_path, data)
    index = task_names(plan.step).index(("b", "FF"))
    numbers, machine = gemm_numbers(plan.step.tasks[index], design, online=False), machine_numbers(design)
    mapping = MappingNumbers(ArrayMapping(values.WS, CHAIN, 2, 1, 1), Mnk(40, 32, 96), LoopOrder(K, N, M))
    costs = pipeline.evaluate(numbers, machine, mapping)
    result = acs.simulate(SMALL, design, batch=4, plan=path)
    plain = acs.simulate(SMALL, design, batch=4)
    own, before = (next(layer for layer in each.layers if (layer.name, layer.stage) == ("b", "FF"))
                   for each in (result, plain))  # fmt: skip
    assert own.cycles == costs.cycles != before.cycles
    assert (own.dataflow, own.variant, own.interleave, own.tile, own.loop_order) == (
        "ws",
        "chain",
        "2x1",
        (40, 32, 96),
        "knm",
    )
    assert result.step.cycles - plain.step.cycles == own.cycles - before.cycles
    assert result.identity != plain.identity
    dense = acs.simulate(SMALL, design, method="dense", batch=4)
    assert result.step.speedup == dense.step.cycles / result.step.cycles


def test_a_plan_of_the_dense_step_is_held_against_the_scheduler_s(tmp_path):
    plan, design = planned(method="dense")
    slow = replace(plan, mappings=tuple(
        mapping and replace(mapping, ia=1, ib=1, split_k=1) if mapping is None or mapping.dataflow == "os" else mapping
        for mapping in plan.mappings
    ))  # fmt: skip
    scheduled, executed = (acs.simulate(SMALL, design, method="dense", batch=4, plan=each) for each in (None, slow))
    assert executed.step.speedup == scheduled.step.cycles / executed.step.cycles < 1
    assert scheduled.step.speedup == 1


def test_what_comes_after_something_else_waits_for_it_and_the_closed_form_does_not_care(tmp_path):
    plan, design = planned(engine="event")
    assert plan.overlap
    names = task_names(plan.step)
    late, early = names.index(("fc", "UPDATE")), names.index(("a", "WU"))
    assert early > late
    order = tuple(index for index in plan.order if index != late)
    cut = order.index(early) + 1
    chained = replace(plan, order=(*order[:cut], late, *order[cut:]), also_after=frozenset({(late, early)}))
    save_plan(tmp_path / "plan.json", chained, design, SGD)
    again = loaded(tmp_path / "plan.json", plan, design)
    assert again == chained
    assert '"after": ["a (WU)"]' in (tmp_path / "plan.json").read_text()
    assert plan_text(again, design, SGD) == (tmp_path / "plan.json").read_text()

    def starts_and_ends(which):
        run = run_in_detail(which, design, SGD).timing
        row = {(row.name, row.stage): at for at, row in enumerate(run.rows)}
        spans = [[span for span in run.spans if span.row == row[key]] for key in (("fc", "UPDATE"), ("a", "WU"))]
        return min(span.start for span in spans[0]), max(span.end for span in spans[1])

    before, after = starts_and_ends(plan), starts_and_ends(again)
    assert before[0] < before[1]
    assert after[0] >= after[1]
    closed = ENGINES["closed"]
    assert closed(again, design, SGD).rows == closed(plan, design, SGD).rows


@st.composite
def orders(draw):
    """A plan with another order, other dependencies and other results that stay."""
    room = draw(st.sampled_from([0, 4096, 8192, 20000, 10**6]))
    plan, design = planned({"buffers.resident_bytes": str(room)}, engine="event")
    open_tasks, order = set(range(len(plan.step.tasks))), []
    extra = draw(st.sets(st.tuples(*[st.sampled_from(sorted(open_tasks))] * 2), max_size=3))
    while open_tasks:
        ready = sorted(i for i in open_tasks if open_tasks.isdisjoint(plan.step.after[i]))
        order.append(draw(st.sampled_from(ready)))
        open_tasks.remove(order[-1])
    edges = edges_of(plan.step, range(len(plan.step.tasks)), design)
    resident = draw(st.sets(st.sampled_from(sorted(edges))))
    changed = replace(plan, order=tuple(order), resident=frozenset(resident), also_after=frozenset(extra))
    return changed, replace(changed, overlap=False), design


@given(orders())
@settings(max_examples=150, deadline=None)
def test_what_the_checks_let_through_runs_to_its_end_in_any_order(case):
    *plans, design = case
    for plan in plans:
        if not list(problems_of(plan, design)):
            timing = ENGINES["event"](plan, design, SGD)
            closed = ENGINES["closed"](plan, design, SGD)
            assert timing.cycles <= closed.cycles
            assert plan.overlap or timing.cycles == closed.cycles


# What is wrong with a file


def drop(data, name, stage):
    data["tasks"].remove(entry(data, name, stage))


def set_in(task, stage, **values):
    def change(data):
        entry(data, task, stage).update(values)

    return change


def map_in(name, stage, **values):
    def change(data):
        entry(data, name, stage)["mapping"].update(values)

    return change


def move(name, stage, behind):
    def change(data):
        moved = data["tasks"].pop(at(data, name, stage))
        data["tasks"].insert(at(data, *behind) + 1, moved)

    return change


def both(*changes):
    def change(data):
        for each in changes:
            each(data)

    return change


WS = {"dataflow": "ws", "ia": 1, "ib": 1, "split": 1, "variant": "split"}
ERRORS = {
    "format": (lambda d: d.update(format="accelsim-plan/3"), "format: got \"accelsim-plan/3\"; did you mean 'accelsim-plan/2'?; allowed: accelsim-plan/2"),
    "earlier": (lambda d: d.update(format="accelsim-plan/1"), "accelsim-plan/1 is of an earlier version, which did not hold the design that it rests on; make it again with this one (accelsim schedule -o), which writes accelsim-plan/2"),
    "no format": (lambda d: d.pop("format"), "format: got null; allowed: accelsim-plan/2"),
    "unknown key": (set_in("b", "FF", resid=True), "tasks[4].resid (in 'b'): unknown key; did you mean 'resident'?; allowed: name, stage, mapping, online, ahead, resident, after"),
    "wrong type": (map_in("b", "FF", ia="2"), "tasks[4].mapping.ia (in 'b'): got \"2\"; should be a valid integer"),
    "loop order": (map_in("b", "FF", order="mnn"), "tasks[4].mapping.order (in 'b'): got \"mnn\"; did you mean 'mnk'?; allowed: mnk, mkn, nmk, nkm, kmn, knm"),
    "unknown dataflow": (map_in("b", "FF", dataflow="rs"), "tasks[4].mapping.dataflow (in 'b'): got \"rs\"; did you mean 'ws'?; allowed: os, ws, is"),
    "zero": (map_in("b", "FF", tile=[0, 32, 288]), "tasks[4].mapping.tile[0] (in 'b'): got 0; should be greater than or equal to 1"),
    "missing": (lambda d: drop(d, "b", "FF"), "missing: 'b' (FF)"),
    "many missing": (lambda d: d.update(tasks=d["tasks"][5:]), "missing: 'stem' (FF), 'relu[FF]' (VECTOR), 'a' (FF) and 2 more"),
    "unknown": (set_in("b", "FF", name="bb"), "'bb' (FF): the step has no such task; did you mean 'b (FF)'?\nplan.json: missing: 'b' (FF)"),
    "twice": (lambda d: d["tasks"].append(entry(d, "b", "FF")), "'b' (FF): stands twice in the file"),
    "no mapping": (lambda d: entry(d, "b", "FF").pop("mapping"), "'b' (FF): a GEMM needs a mapping"),
    "mapping": (lambda d: entry(d, "bn[FF]", "VECTOR").update(mapping=entry(d, "b", "FF")["mapping"]), "'bn[FF]' (VECTOR): mapping: only a GEMM has one"),
    "is": (map_in("b", "FF", **{**WS, "dataflow": "is"}), "'b' (FF): dataflow is: the array has os, ws (array.dataflows)"),
    "os variant": (map_in("b", "FF", variant="split"), "'b' (FF): variant split: os has no variants"),
    "no variant": (map_in("b", "FF", **{**WS, "variant": None}), "'b' (FF): variant missing: ws has split, chain here (array.stationary_variants)"),
    "flat": (map_in("b", "FF", **{**WS, "variant": "flat"}), "'b' (FF): variant flat: ws has split, chain here (array.stationary_variants)"),
    "dense chain": (map_in("fc", "FF", **{**WS, "variant": "chain"}), "'fc' (FF): variant chain: ws has split here (dense, the variants are one machine)"),
    "no im2col": (map_in("b", "FF", im2col=None), "'b' (FF): im2col missing: what stands outermost along k, channels or taps, is needed"),
    "im2col of none": (map_in("fc", "FF", im2col="taps"), "'fc' (FF): im2col taps: no operand has windows that share pixels"),
    "interleave": (map_in("b", "FF", ia=2, ib=8, split=1), "'b' (FF): interleave 2 x 8 x 1 = 16: a PE has 8 accumulators (array.accumulators_per_pe)"),
    "deep chain": (map_in("b", "FF", **{**WS, "variant": "chain", "ia": 9}), "'b' (FF): interleave 9: a PE has 8 accumulators (array.accumulators_per_pe)"),
    "chain ib": (map_in("b", "FF", **{**WS, "variant": "chain", "ib": 2}), "'b' (FF): ib = 2: ws chain does not use it, 1 is needed"),
    "split ia": (map_in("b", "FF", **{**WS, "ia": 4, "split": 2}), "'b' (FF): ia = 4: ws split does not use it, 1 is needed\nplan.json: 'b' (FF): split = 2: ws split does not use it, 1 is needed"),
    "tile": (map_in("b", "FF", tile=[65, 32, 288]), "'b' (FF): tile: m = 65; allowed: 1 to 64"),
    "groups": (map_in("b", "FF", tile=[64, 32, 100]), "'b' (FF): tile: k = 100 cuts groups of 8; allowed: multiples of 8, or all 288"),
    "online dense": (set_in("fc", "FF", online=True), "'fc' (FF): online: the GEMM is dense, there is nothing to generate"),
    "online vector": (set_in("bn[FF]", "VECTOR", online=True), "'bn[FF]' (VECTOR): online: only in front of a GEMM"),
    "online and ahead": (set_in("b", "FF", online=True), "'b' (FF): online: its copy, 'b[FF copy]' (GENERATE), is generated ahead already"),
    "neither": (set_in("b[FF copy]", "GENERATE", ahead=False), "'b' (FF): its copy, 'b[FF copy]' (GENERATE), is not generated ahead, so it must be online"),
    "no ahead": (lambda d: entry(d, "b[FF copy]", "GENERATE").pop("ahead"), "'b[FF copy]' (GENERATE): ahead: missing; true (in the stream of its update) or false is needed\nplan.json: 'b' (FF): its copy, 'b[FF copy]' (GENERATE), is not generated ahead, so it must be online"),
    "ahead": (set_in("b", "FF", ahead=False), "'b' (FF): ahead: only a generation runs ahead of its readers"),
    "resident": (set_in("b", "BP", resident=True), "'b' (BP): resident: it hands nothing to the next task, 'b' (WU)"),
    "resident last": (set_in("stem", "UPDATE", resident=True), "'stem' (UPDATE): resident: it hands nothing to a next task"),
    "after": (set_in("b", "FF", after=["stem (FFF)"]), "'b' (FF): after: no task 'stem (FFF)'; did you mean 'stem (FF)'?"),
    "after of a copy": (set_in("b[FF copy]", "GENERATE", after=["stem (FF)"]), "'b[FF copy]' (GENERATE): after: it runs in the stream of its update; say what that one waits for"),
    "itself": (set_in("b", "FF", after=["b (FF)"]), "tasks wait for each other: 'b' (FF) waits for 'b' (FF)"),
    "cycle": (set_in("a", "FF", after=["b (FF)"]), "tasks wait for each other: 'a' (FF) waits for 'b' (FF) waits for 'bn[FF]' (VECTOR) waits for 'a' (FF)"),
    "order": (move("stem", "FF", ("relu[FF]", "VECTOR")), "'relu[FF]' (VECTOR): it stands before 'stem' (FF), which it waits for"),
    "long cycle": (set_in("a", "FF", after=["fc (UPDATE)"]),
                   "tasks wait for each other: 'a' (FF) waits for 'fc' (UPDATE) waits for 'fc' (WU) waits for 'fc' (FF) waits for 2 others, the last of which waits for 'bn[FF]' (VECTOR) waits for 'a' (FF)"),
    "other model": (both(set_in("b", "FF", online=True), lambda d: d["made_for"].update(batch=8, model="big")),
                    "made for model big (here small), batch 8 (here 4)\nplan.json: 'b' (FF): online: its copy, 'b[FF copy]' (GENERATE), is generated ahead already"),
    "all at once": (both(map_in("stem", "FF", ia=9), lambda d: drop(d, "fc", "FF"), map_in("b", "FF", tile=[64, 32, 100]), set_in("b", "BP", resident=True)),
                    "missing: 'fc' (FF)\nplan.json: 'stem' (FF): interleave 9 x IB x SPLIT: a PE has 8 accumulators (array.accumulators_per_pe)\n"
                    "plan.json: 'b' (FF): tile: k = 100 cuts groups of 8; allowed: multiples of 8, or all 288\nplan.json: 'b' (BP): resident: it hands nothing to the next task, 'b' (WU)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_each_error_is_said_in_full(tmp_path, monkeypatch, data, name):
    change, message = ERRORS[name]
    plan, design = planned({"schedule.scheduler": "greedy"})
    change(data)
    own = entry(json.loads(plan_text(plan, design, SGD)), "stem", "FF")["mapping"]
    message = message.replace("IB x SPLIT", f"{own['ib']} x {own['split']} = {9 * own['ib'] * own['split']}")
    written(tmp_path, data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(acs.InputError) as caught:
        loaded(Path("plan.json"), plan, design)
    assert str(caught.value) == f"plan.json: {message}"


DESIGN_ERRORS = {
    "no interleave": ({"schedule.interleave": "false"}, {}, map_in("b", "FF", dataflow="os", variant=None, ia=1, ib=2, split=1),
                      "'b' (FF): interleave 1 x 2 x 1 = 2: the design does not interleave, 1 is needed (schedule.interleave)"),
    "ws alone": ({"schedule.dataflow": "ws"}, {}, map_in("b", "FF", dataflow="os", variant=None, ia=1, ib=1, split=1),
                 "'b' (FF): dataflow os: the design runs ws alone (schedule.dataflow)"),
    "no flat is": ({"array.dataflows": "[is, os]", "array.stationary_variants": "[flat]"}, {},
                   map_in("b", "FF", dataflow="is", variant="flat", ia=1, ib=1, split=1),
                   "'b' (FF): variant flat: is has none here (array.stationary_variants)"),
    "gradient": ({}, {"method": "sdgp"}, set_in("b", "BP", online=False),
                 "'b' (BP): its pruned operand is a gradient, so it must be online"),
    "not ahead": ({"schedule.pregenerate": "false"}, {}, set_in("b[FF copy]", "GENERATE", ahead=True),
                  "'b' (FF): online: its copy, 'b[FF copy]' (GENERATE), is generated ahead already\n"
                  "plan.json: 'b[FF copy]' (GENERATE): ahead: the design generates no copy ahead (schedule.pregenerate)"),
    "frozen": ({"schedule.pregenerate": "false"}, {"mode": "infer"}, set_in("b", "FF", online=False),
               "'b' (FF): the design generates no copy ahead (schedule.pregenerate), so it must be online"),
    "one mask": ({}, {"method": "transposable"}, both(set_in("b[FF copy]", "GENERATE", ahead=False), set_in("b", "FF", online=True)),
                 "'b[BP copy]' (GENERATE): ahead: it comes of the pass for 'b[FF copy]' (GENERATE), which is not ahead"),
    "overlap": ({"schedule.overlap": "false"}, {}, lambda d: d.update(overlap=True),
                "overlap: tasks run one after another on this design (schedule.overlap)"),
    "order where units overlap": ({}, {"engine": "event"}, move("fc", "BP", ("b", "BP")),
                                  "'pool[BP]' (VECTOR): it stands before 'fc' (BP), which it waits for"),
}  # fmt: skip


@pytest.mark.parametrize("name", DESIGN_ERRORS)
def test_each_thing_that_a_design_lacks_is_said_in_full(tmp_path, monkeypatch, name):
    changes, more, change, message = DESIGN_ERRORS[name]
    plan, design = planned({"schedule.scheduler": "greedy", **changes}, **more)
    data = json.loads(plan_text(plan, design, SGD))
    change(data)
    written(tmp_path, data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(acs.InputError) as caught:
        loaded(Path("plan.json"), plan, design)
    assert str(caught.value) == f"plan.json: {message}"


ROOM = {
    "x": ("buffers.x_bytes", "20000", "'b' (FF): tile 64 x 32 x 288 held twice needs 73728 bytes of buffers.x_bytes, which has 20000: 53728 bytes are missing"),
    "w": ("buffers.w_bytes", "10000", "'b' (FF): tile 64 x 32 x 288 held twice needs 10944 bytes of buffers.w_bytes, which has 10000: 944 bytes are missing"),
    "y": ("buffers.y_bytes", "16383", "'b' (FF): tile 64 x 32 x 288 held twice needs 16384 bytes of buffers.y_bytes, which has 16383: 1 bytes are missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROOM)
def test_a_tile_that_does_not_fit_is_infeasible_and_names_the_buffer(tmp_path, monkeypatch, name):
    field, size, message = ROOM[name]
    plan, design = planned({"schedule.scheduler": "greedy", field: size})
    data = json.loads(plan_text(plan, design, SGD))
    entry(data, "b", "FF")["mapping"]["tile"] = [64, 32, 288]
    written(tmp_path, data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(acs.InfeasibleError) as caught:
        loaded(Path("plan.json"), plan, design)
    assert str(caught.value) == f"plan.json: {message}"
    drop(data, "fc", "FF")
    written(tmp_path, data)
    with pytest.raises(acs.InputError) as caught:  # what is wrong comes before what is too small
        loaded(Path("plan.json"), plan, design)
    assert str(caught.value) == f"plan.json: missing: 'fc' (FF)\nplan.json: {message}"


def test_results_that_stay_share_the_room(tmp_path, monkeypatch):
    """stem hands 4 x 1024 elements to relu, and relu as many to a: 8192 bytes each, both there while relu runs."""
    monkeypatch.chdir(tmp_path)

    def refused(room):
        plan, design = planned({"schedule.scheduler": "greedy", "buffers.resident_bytes": str(room)})
        data = json.loads(plan_text(plan, design, SGD))
        both(set_in("stem", "FF", resident=True), set_in("relu[FF]", "VECTOR", resident=True))(data)
        written(tmp_path, data)
        with pytest.raises(acs.InfeasibleError) as caught:
            loaded(Path("plan.json"), plan, design)
        return str(caught.value)

    beside = (
        "plan.json: 'relu[FF]' (VECTOR): resident: its result needs 16384 bytes with the result of 'stem' (FF) of"
        " buffers.resident_bytes, which has {}: {} bytes are missing"
    )
    assert refused(16383) == beside.format(16383, 1)
    assert refused(8000) == (
        "plan.json: 'stem' (FF): resident: its result needs 8192 bytes of buffers.resident_bytes, which has 8000: 192"
        f" bytes are missing\n{beside.format(8000, 8384)}"
    )
    plan, design = planned({"schedule.scheduler": "greedy", "buffers.resident_bytes": "16384"})
    data = json.loads(plan_text(plan, design, SGD))
    both(set_in("stem", "FF", resident=True), set_in("relu[FF]", "VECTOR", resident=True))(data)
    kept = loaded(written(tmp_path, data), plan, design)
    assert len(kept.resident) == 2
    ENGINES["event"](kept, design, SGD)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": "accelsim-plan/2", "tasks": [\n  {"name": "b"', "plan.json: not valid JSON: Expecting ',' delimiter at line 2, column 15 (the file ends there: truncated?)"),
        ("", "plan.json: not valid JSON: Expecting value at line 1, column 1 (the file ends there: truncated?)"),
        ("[]", "plan.json: format: got null; allowed: accelsim-plan/2"),
        ('{"format": "accelsim-trace/1"}', 'plan.json: format: got "accelsim-trace/1"; did you mean \'accelsim-plan/2\'?; allowed: accelsim-plan/2'),
        ('{"format": "accelsim-plan/2"}', "plan.json: made_for: missing\nplan.json: overlap: missing\nplan.json: tasks: missing\nplan.json: design: missing"),
    ],
)  # fmt: skip
def test_what_is_no_plan_file_is_refused(tmp_path, monkeypatch, text, message):
    written(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(acs.InputError) as caught:
        read_plan(Path("plan.json"))
    assert str(caught.value) == message


def test_no_such_file():
    plan, design = planned()
    with pytest.raises(acs.InputError) as caught:
        loaded(Path("none.json"), plan, design)
    assert str(caught.value) == "none.json: no such file"


def test_many_errors_end_in_their_number(tmp_path):
    plan, design = planned(trace=acs.load_trace("resnet18_tinyimagenet"), batch=16)
    path = tmp_path / "plan.json"
    save_plan(path, plan, design, SGD)
    small, _ = planned()
    with pytest.raises(acs.InputError) as caught:
        load_plan(path, small.step, design)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[0] == f"{path}: made for model resnet18_tinyimagenet (here small), batch 16 (here 4)"
    assert lines[1] == f"{path}: 'conv1' (FF): the step has no such task; did you mean 'fc (FF)'?"
    assert lines[20].startswith(f"{path}: and ")
    assert lines[20].endswith(" more errors")


def test_a_plan_from_python_is_checked_as_well():
    plan, design = planned({"schedule.scheduler": "greedy"})
    step = plan.step
    update = next(i for i, task in enumerate(step.tasks) if isinstance(task, Update) and task.operation == "b")
    copy, gemm = copies_of(step, update)[0], next(i for i, task in enumerate(step.tasks) if isinstance(task, Gemm))
    wrong = replace(plan, ahead=plan.ahead | {gemm}, order=tuple(reversed(plan.order)))
    with pytest.raises(acs.InputError) as caught:
        check_plan(wrong, step, design)
    assert (
        str(caught.value).splitlines()[0] == "the plan: 'stem' (FF): ahead: only a generation runs ahead of its readers"
    )
    with pytest.raises(
        acs.InputError, match=r"^the plan: 'b' \(FF\): its copy, 'b\[FF copy\]' \(GENERATE\), is not generated"
    ):
        acs.simulate(SMALL, design, batch=4, plan=replace(plan, ahead=plan.ahead - {copy}))
    other = lower(SMALL, design, find_method("bdwp"), pattern=acs.Pattern(2, 8), batch=8)
    with pytest.raises(acs.InputError) as caught:
        check_plan(plan, other, design)
    assert str(caught.value) == (
        f"the plan: made for another step than this one (small, bdwp 2:8, batch 4, train, {len(step.tasks)} tasks;"
        f" small, bdwp 2:8, batch 8, train, {len(step.tasks)} tasks)"
    )
