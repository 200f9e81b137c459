"""Points evaluated together are what they are one by one, value for value and type for type."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.hardware.design import Design, load_design
from accelsim.hardware.sourced import leaf_paths, override
from accelsim.lowering.case import case_of
from accelsim.sparsity.methods import METHODS
from accelsim.sweep import batched
from accelsim.sweep.batched import BatchEvaluator, evaluate_points
from accelsim.sweep.families import BESIDE_SEARCH, BESIDE_STEP, values_besides
from accelsim.sweep.point import METRICS, Point, evaluate_one

POINT = Point(
    workload="resnet9_cifar10",
    design="sat_vcu1525",
    changes=(),
    case=case_of(method="bdwp", pattern="2:8", batch=64, optimizer="sgd", engine="closed"),
)

CHANGES = {
    "clock_hz": ("1e+8", "3.3e+8"),
    "energy": ("asic_28nm", "fpga_vu9p"),
    "array.rows": ("8", "13", "32"),
    "array.cols": ("4", "32", "50"),
    "array.macs_per_pe": ("1", "2", "4"),
    "array.adder_latency_cycles": ("1", "5", "12"),
    "array.accumulators_per_pe": ("1", "4", "16"),
    "array.overlap_tiles": ("true", "false"),
    "array.dataflows": ("[os, ws, is]", "[ws]", "[os]"),
    "array.stationary_variants": ("[flat]", "[split, chain, flat]"),
    "array.metadata_bits_per_value": ("0", "log2", "16"),
    "array.row_port_elements_per_cycle": ("null", "4", "8"),
    "array.col_port_elements_per_cycle": ("null", "1", "2"),
    "array.patterns": ("[]", "['2:8', '1:4', '2:4']"),
    "buffers.x_bytes": ("65536", "1048576", "64"),
    "buffers.w_bytes": ("65536", "1048576"),
    "buffers.y_bytes": ("65536", "1048576"),
    "buffers.resident_bytes": ("0", "8388608"),
    "dram.bandwidth_gb_per_s": ("3.3", "19.2", "21", "23", "24.4", "76.8", "500"),
    "dram.efficiency": ("0.7", "1"),
    "dram.channels": ("1", "2"),
    "dram.capacity_gb": ("0.02", "0.148", "0.16", "68.72"),
    "dram.dma_channels": ("2",),
    "precision.operand_bits": ("8", "16", "32"),
    "precision.accumulator_bits": ("16", "32"),
    "precision.master_bits": ("16", "32"),
    "sore.lanes": ("1", "32", "100"),
    "wuve.lanes": ("1", "32", "1000"),
    "vector.lanes": ("1", "64", "4096"),
    "vector.fuse_activations": ("true", "false"),
    "resources.dsp": ("null", "1000"),
    "resources.lut": ("null", "300000"),
    "resources.bram36": ("null", "400"),
    "resources.uram288": ("null", "200"),
    "resources.shell_dsp": ("0", "100"),
    "resources.shell_lut": ("0", "100"),
    "resources.shell_bram36": ("0", "100"),
    "resources.shell_uram288": ("0", "50"),
    "resources.given_controllers": ("0", "4"),
    "schedule.dataflow": ("auto", "os", "ws", "is"),
    "schedule.interleave": ("true", "false"),
    "schedule.pregenerate": ("true", "false"),
    "schedule.overlap": ("true", "false"),
    "schedule.scheduler": ("greedy", "optimal"),
}


def assert_same(points: list[Point]) -> list[dict[str, object]]:
    """Compare with the points one by one: keys in their order, values and their types."""
    rows = evaluate_points(points)
    for point, row in zip(points, rows, strict=True):
        alone = evaluate_one(point)
        assert list(row) == list(alone)
        assert {name: (type(value), value) for name, value in row.items()} == {
            name: (type(value), value) for name, value in alone.items()
        }
    return rows


@st.composite
def points(draw: st.DrawFn) -> list[Point]:
    """A handful of points that share some of their changes, so that families of several members come about."""
    paths = draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=4, unique=True))
    common = {path: draw(st.sampled_from(CHANGES[path])) for path in paths}
    varied = draw(st.sampled_from(sorted(CHANGES)))
    base = replace(
        POINT,
        workload=draw(
            st.sampled_from(["resnet9_cifar10", "resnet9_digits_bdwp_2of8", "vit_cifar100", "resnet18_tinyimagenet"])
        ),
        design=draw(st.sampled_from(["sat_vcu1525", "sat_edge_zcu104", "sat_asic_28nm", "sat_vcu1525_dense"])),
        case=case_of(
            method=draw(st.sampled_from(sorted(METHODS))),
            pattern=draw(st.sampled_from(["2:8", "1:4", "2:4", "4:8", "3:9", None])),
            batch=draw(st.sampled_from([1, 7, 64, 512])),
            optimizer=draw(st.sampled_from(["sgd", "adam"])),
        ),
    )
    bandwidths = draw(st.lists(st.sampled_from(CHANGES["dram.bandwidth_gb_per_s"]), min_size=1, max_size=6))
    value = draw(st.sampled_from(CHANGES[varied]))
    return [
        replace(base, changes=tuple({"dram.bandwidth_gb_per_s": bandwidth, **common, **more}.items()))
        for bandwidth in bandwidths
        for more in ({}, {varied: value})
    ]


@given(points())
@settings(max_examples=30, deadline=None)
def test_points_together_are_what_they_are_one_by_one(together: list[Point]) -> None:
    assert_same(together)


@pytest.mark.parametrize("path", sorted(CHANGES))
def test_every_path_of_the_design_at_each_of_its_values(path: str) -> None:
    """Each value for BDWP and for a method with SORE in front of GEMMs, at two bandwidths."""
    changes = [((path, value),) for value in CHANGES[path]]
    if path != "dram.bandwidth_gb_per_s":
        changes += [(*change, ("dram.bandwidth_gb_per_s", "9.6")) for change in changes]
    rows = assert_same(
        [
            replace(POINT, changes=change, case=case_of(method=method, batch=64))
            for change in changes
            for method in ("bdwp", "sdgp")
        ]
    )
    assert any(row["status"] == "ok" for row in rows)


def test_every_value_of_a_design_is_changed_here() -> None:
    """A new one parts families until it is listed, and is not listed before it is compared here."""
    assert set(CHANGES) == set(leaf_paths(Design))
    assert BESIDE_SEARCH < BESIDE_STEP < set(CHANGES)


@pytest.mark.parametrize("beside", [BESIDE_SEARCH, BESIDE_STEP])
def test_designs_are_taken_together_where_they_differ_in_listed_values_alone(beside: frozenset[str]) -> None:
    base = override(load_design("sat_vcu1525"), {"array.dataflows": "[os, ws, is]"})
    apart = set()
    for path, values in CHANGES.items():
        changed = [override(base, {path: value}) for value in values]
        if any(values_besides(design, beside) != values_besides(base, beside) for design in changed):
            apart.add(path)
    assert apart == set(CHANGES) - beside


def test_a_larger_network_over_many_bandwidths() -> None:
    """As many bandwidths as it takes for kept candidates to be shared, some of them twice."""
    values = [f"{9.6 + 0.7 * step:.4g}" for step in range(24)] + ["9.6", "19.2", "19.2"]
    base = replace(POINT, workload="resnet18_tinyimagenet", case=case_of())
    rows = assert_same([replace(base, changes=(("dram.bandwidth_gb_per_s", value),)) for value in values])
    assert tuple(rows[0]) == ("status", *METRICS)
    assert len({row["cycles"] for row in rows}) > 20


def test_points_come_back_in_their_order_whatever_family_they_are_of() -> None:
    """Two methods, an engine that is not the closed form, a design that fits nothing, input that cannot be used."""
    small = replace(POINT, case=case_of(batch=8))
    mixed = [
        small,
        replace(small, case=case_of(method="dense", batch=8)),
        replace(small, case=case_of(batch=8, engine="event")),
        replace(small, changes=(("buffers.x_bytes", "1"),)),
        replace(small, case=case_of(batch=8, pattern="2:9")),
        replace(small, changes=(("dram.bandwidth_gb_per_s", "10"),)),
        replace(small, workload="resnet"),
        replace(small, changes=(("array.row", "1"),)),
        replace(small, case=case_of(batch=8, pattern=None)),
        replace(small, changes=(("energy", "none"),)),
        replace(small, design="sat"),
        small,
    ]
    rows = assert_same(mixed)
    assert [row["status"] for row in rows] == [
        "ok", "ok", "ok", "infeasible", "error", "ok", *["error"] * 5, "ok",
    ]  # fmt: skip
    assert rows[0] == rows[-1]


def test_the_gemm_that_does_not_fit_is_the_one_that_simulate_names() -> None:
    changes = (("buffers.w_bytes", "16384"), ("buffers.y_bytes", "2048"))
    rows = assert_same(
        [replace(POINT, changes=changes, case=case_of(method=method, batch=64)) for method in ("dense", "bdwp", "sdgp")]
    )
    assert {row["status"] for row in rows} == {"infeasible"}


def test_counts_that_may_not_fit_64_bits_are_left_to_simulate(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[Point] = []
    monkeypatch.setattr(batched, "_LARGEST_COUNT", 1.0)
    monkeypatch.setattr(batched, "evaluate_one", lambda point: alone.append(point) or {"status": "alone"})
    assert evaluate_points([POINT]) == [{"status": "alone"}]
    assert alone == [POINT]


def test_batches_of_one_evaluator_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the batches: the same rows, each file read and each step lowered once."""
    lowered: list[str] = []
    lower = batched.lower_case
    monkeypatch.setattr(
        batched,
        "lower_case",
        lambda trace, *args, **options: lowered.append(trace.model) or lower(trace, *args, **options),
    )
    values = [f"{10 + step}" for step in range(9)]
    many = [replace(POINT, changes=(("dram.bandwidth_gb_per_s", value),)) for value in values]
    evaluator = BatchEvaluator()
    rows = [row for start in (0, 1, 5) for row in evaluator.evaluate(many[start : {0: 1, 1: 5, 5: 9}[start]])]
    assert len(lowered) == 2  # the step and the dense one
    assert rows == evaluate_points(many)


def test_what_is_remembered_is_bounded_and_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number of SORE lanes is a family of its own."""
    many = [replace(POINT, case=case_of(batch=8), changes=(("sore.lanes", str(lanes)),)) for lanes in range(1, 13)]
    whole = evaluate_points(many)
    monkeypatch.setattr(batched, "_AT_ONCE", 3)
    monkeypatch.setattr(batched, "_MOST_KNOWN", 6)
    evaluator = BatchEvaluator()
    assert evaluator.evaluate(many) == whole
    assert len(evaluator._known) <= 6 + 3 * 5 + 5  # of a slice: families, steps, their memory and prices; files
    assert len({row["generate_cycles"] for row in whole}) > 1


def test_what_was_searched_is_counted() -> None:
    """Bandwidths that share kept candidates look at fewer than each alone would."""
    one, many = BatchEvaluator(), BatchEvaluator()
    one.evaluate([POINT])
    values = [f"{60 + step}" for step in range(8)]
    many.evaluate([replace(POINT, changes=(("dram.bandwidth_gb_per_s", value),)) for value in values])
    assert 0 < one.evaluated < one.pruned
    assert one.evaluated < many.evaluated < many.pruned < 8 * one.pruned
    none = BatchEvaluator()
    none.evaluate(
        [replace(POINT, changes=(("buffers.x_bytes", "1"), ("dram.bandwidth_gb_per_s", value))) for value in values]
    )
    assert (none.evaluated, none.pruned) == (0, 0)


def test_conservation_laws_are_checked_on_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = batched._costs
    monkeypatch.setattr(batched, "_costs", lambda *args: (costs(*args)[0] - 10**6, costs(*args)[1]))
    with pytest.raises(AssertionError, match=r"^prep\.0: fewer cycles than the array works$"):
        evaluate_points([replace(POINT, case=case_of(method="dense", batch=64))])
