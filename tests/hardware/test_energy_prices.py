"""What events cost: prices by hand, ratios of the published points, what never falls, and sums of whole steps."""

from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.base.files import packaged_names
from accelsim.cost.charges import WordBits, slot_bits
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.energy_prices import Prices, prices_of
from accelsim.hardware.energy_table import EnergyTable, load_energy_table
from accelsim.hardware.resources import estimate_resources
from accelsim.hardware.sourced import override

VU9P, ASIC = load_energy_table("fpga_vu9p"), load_energy_table("asic_28nm")
BOARD, CHIP = load_design("sat_vcu1525"), load_design("sat_asic_28nm")
WIDTHS = (1, 4, 8, 9, 16, 17, 24, 32)


def prices(design: Design, **changes: object) -> Prices:
    """Prices on a changed design, ``array__rows=4`` for ``--set array.rows=4``."""
    changed = override(design, {key.replace("__", "."): str(value) for key, value in changes.items()})
    return prices_of(changed, load_energy_table(changed.energy))


# By hand


def test_prices_on_a_fabric_by_hand() -> None:
    """Each event takes its share of the unit in the estimate, at 7 pJ per DSP and 0.116 pJ per LUT."""
    use = estimate_resources(BOARD)
    units = {unit.unit: unit for unit in use.units}
    found = prices_of(BOARD, VU9P)

    def working(*names: str) -> float:
        return sum(units[name].dsp * 7.0 + units[name].lut * 0.116 for name in names)

    array = working("PE products", "PE sums", "edge sums", "partial sums", "control")
    assert found.pj_per_mac == pytest.approx(array / 2048)
    assert found.pj_per_selection == pytest.approx(4 * 16 * 0.116)  # a multiplexer of 16 inputs for each of 16 bits
    assert found.pj_per_sore_element == pytest.approx(working("SORE") / 32)
    assert found.pj_per_wuve_weight == pytest.approx(working("WUVE") / 20)
    assert found.pj_per_vector_element == pytest.approx(working("vector unit") / 192)
    idle = use.dsp * 0.7 + use.lut * 0.028 + use.bram36 * 2.0 + use.uram288 * 5.0
    assert found.idle_pj_per_cycle == pytest.approx(idle)
    assert found.static_w(200e6) == pytest.approx(25.0 + idle * 200e6 * 1e-12)


def test_prices_of_operators_by_hand() -> None:
    """64 x 64 PEs of two FP16 products, one FP16 and one FP32 sum; 64 FP32 sums at the edge."""
    found = prices_of(CHIP, ASIC)
    assert found.pj_per_mac == pytest.approx((4096 * (2 * 0.564 + 0.205 + 0.462) + 64 * 0.462) / 8192)
    assert found.pj_per_selection == pytest.approx(16 * 16 * 0.0016)
    assert found.pj_per_sore_element == pytest.approx(8 * (16 + 16 + 4) * 0.0016)
    assert found.pj_per_wuve_weight == pytest.approx(3 * 1.9 + 3 * 0.462)
    assert found.pj_per_vector_element == pytest.approx(0.564 + 0.462)
    working = 8192 * (found.pj_per_mac + found.pj_per_selection) + 64 * found.pj_per_sore_element
    working += 64 * found.pj_per_wuve_weight + 512 * found.pj_per_vector_element
    assert found.idle_pj_per_cycle == pytest.approx(0.12 * working)
    assert found.base_w == pytest.approx(0.5 + 16 * 0.03)


# Widths


def test_operators_stand_in_the_ratios_of_the_published_points() -> None:
    """Horowitz, ISSCC 2014: products of 0.2, 1.1 and 3.7 pJ, sums of 0.03, 0.4 and 0.9 pJ at 8, 16 and 32 bits."""
    own = ASIC.operators
    multiply = own.pj_per_multiply_8, own.pj_per_multiply_16, own.pj_per_multiply_32
    add = own.pj_per_add_8, own.pj_per_add_16, own.pj_per_add_32
    assert [value / multiply[0] for value in multiply] == pytest.approx([1, 1.1 / 0.2, 3.7 / 0.2], rel=0.01)
    assert [value / add[0] for value in add] == pytest.approx([1, 0.4 / 0.03, 0.9 / 0.03], rel=0.01)
    one = {"array__macs_per_pe": 1, "array__rows": 1000, "array__cols": 1}
    macs = [prices(CHIP, **one, precision__operand_bits=bits).pj_per_mac for bits in (8, 16, 32)]
    # one product, one FP32 sum, and a thousandth of one at the edge of the column
    assert macs == pytest.approx([each + 1.001 * 0.462 for each in (0.103, 0.564, 1.9)])


@pytest.mark.parametrize("design", [BOARD, CHIP], ids=["fpga", "asic"])
@pytest.mark.parametrize("path", ["precision.operand_bits", "precision.accumulator_bits", "precision.master_bits"])
def test_prices_never_fall_with_wider_words_and_rise_with_wider_operators(design: Design, path: str) -> None:
    found = [prices_of(override(design, {path: str(bits)}), load_energy_table(design.energy)) for bits in WIDTHS]
    for narrow, wide in pairwise(found):
        # as multipliers take more DSPs, adders of other units move into LUTs, which take a little less
        assert all(after >= before * (1 - 0.02) for before, after in zip(narrow, wide, strict=True))
    own = {"precision.operand_bits": "pj_per_mac", "precision.accumulator_bits": "pj_per_mac",
           "precision.master_bits": "pj_per_wuve_weight"}[path]  # fmt: skip
    assert [getattr(each, own) for each in found] == sorted(getattr(each, own) for each in found)
    at = {bits: getattr(each, own) for bits, each in zip(WIDTHS, found, strict=True)}
    assert at[8] < at[16] < at[32]
    assert at[9] == pytest.approx(at[16], rel=0.05)  # the same operators; an FPGA's partial sums take a LUT per bit


@pytest.mark.parametrize("bits", [0, 33, 64])
@pytest.mark.parametrize("word", ["operand", "accumulator", "master"])
def test_widths_that_no_operator_has_are_refused(word: str, bits: int) -> None:
    wrong = "greater than or equal to 1" if bits < 1 else "less than or equal to 32"
    with pytest.raises(acs.InputError) as caught:
        override(BOARD, {f"precision.{word}_bits": str(bits)})
    assert str(caught.value) == f"--set: precision.{word}_bits: got {bits}; should be {wrong}"


@pytest.mark.parametrize(("hw", "batch"), [("sat_vcu1525", 512), ("sat_asic_28nm", 64)])
def test_a_step_takes_well_over_a_tenth_more_with_operands_twice_as_wide(hw: str, batch: int) -> None:
    trace = acs.load_trace("resnet18_tinyimagenet")
    joules = [
        acs.simulate(
            trace, load_design(hw, {"precision.operand_bits": bits}), method="dense", batch=batch
        ).step.energy_j
        for bits in (8, 16, 32)
    ]
    assert joules[1] > 1.12 * joules[0]
    assert joules[2] > 1.12 * joules[1]


# Products with N:M weights


def slots_by_hand(kept: int, group: int, lanes: int) -> tuple[float, int]:
    """Activations that pass in an op, counted on the ops of `lanes` groups side by side or one group in turn."""
    groups = max(1, lanes // kept)
    ops = -(-groups * kept // lanes)
    return groups * group / ops, ops


@given(
    kept=st.integers(1, 16), more=st.integers(0, 16), lanes=st.integers(1, 32),
    operand=st.integers(1, 32), accumulator=st.integers(1, 32), index=st.integers(-1, 32),
)  # fmt: skip
def test_bits_of_an_op(kept: int, more: int, lanes: int, operand: int, accumulator: int, index: int) -> None:
    group, widths = kept + more, WordBits(operand, accumulator, index)
    dense = slot_bits(0, 0, lanes, widths)
    assert dense == lanes * operand + lanes * operand + (lanes - 1) * operand + accumulator
    activations, ops = slots_by_hand(kept, group, lanes)
    own = max(0, (group - 1).bit_length()) if index < 0 else index
    sparse = slot_bits(kept, group, lanes, widths)
    assert sparse == pytest.approx(dense + (activations - lanes) * operand + lanes * own)
    used = max(1, lanes // kept) * kept
    if used == lanes * ops:  # no lane is empty: what a product of as many multiplications moves, and more
        assert sparse >= dense
        assert activations == pytest.approx(lanes * group / kept)


@settings(max_examples=40, deadline=None)
@given(
    pattern=st.sampled_from(["1:2", "2:4", "1:4", "2:8", "4:8", "1:8", "2:16", "4:16", "8:16"]),
    lanes=st.sampled_from([1, 2, 4, 8]), bits=st.sampled_from([8, 16, 32]), hw=st.sampled_from([BOARD, CHIP]),
)  # fmt: skip
def test_an_nm_product_of_equal_macs_is_never_cheaper(pattern: str, lanes: int, bits: int, hw: Design) -> None:
    """Joules of the array for each multiplication of a kept weight, and for each of a dense product."""
    design = override(hw, {"array.macs_per_pe": str(lanes), "precision.operand_bits": str(bits)})
    found, own = prices_of(design, load_energy_table(design.energy)), acs.Pattern.parse(pattern)
    widths = WordBits(bits, design.precision.accumulator_bits, -1)
    executed = min(lanes, max(1, lanes // own.kept) * own.kept / -(-own.kept // lanes))  # kept weights of an op
    sparse = lanes * (found.pj_per_mac + found.pj_per_selection)
    sparse += slot_bits(own.kept, own.group, lanes, widths) * found.pj_per_register_bit
    dense = lanes * found.pj_per_mac + slot_bits(0, 0, lanes, widths) * found.pj_per_register_bit
    assert sparse / executed > dense / lanes


def test_selection_is_paid_by_nm_products_alone() -> None:
    trace = acs.load_trace("resnet9_cifar10")
    sparse = acs.simulate(trace, BOARD, batch=64)
    assert sparse.dense is not None
    assert sparse.dense.energy.select_j == 0 < sparse.energy.select_j
    assert sparse.energy.select_j < sparse.energy.mac_j * prices_of(BOARD, VU9P).pj_per_selection


# Static power


@settings(max_examples=60, deadline=None)
@given(
    hw=st.sampled_from([BOARD, CHIP]),
    path=st.sampled_from(["array.rows", "array.cols", "array.macs_per_pe", "vector.lanes", "wuve.lanes", "sore.lanes"]),
    size=st.integers(1, 64), more=st.integers(1, 64), dsp=st.sampled_from(["null", "960", "4000"]),
)  # fmt: skip
def test_static_power_grows_with_the_design(hw: Design, path: str, size: int, more: int, dsp: str) -> None:
    without_limit = {} if hw is CHIP else {"resources.dsp": dsp}
    table = load_energy_table(hw.energy)
    fewer, larger = (
        prices_of(override(hw, {path: str(count), **without_limit}), table) for count in (size, size + more)
    )
    # an adder that moves from DSPs into LUTs saves clock power; a unit that grows takes more than that
    assert larger.static_w(1e9) > fewer.static_w(1e9) - 0.02 * (fewer.static_w(1e9) - fewer.base_w)
    if dsp == "null" or hw is CHIP:
        assert larger.static_w(1e9) > fewer.static_w(1e9)


@pytest.mark.parametrize("hw", [BOARD, CHIP], ids=["fpga", "asic"])
def test_static_power_grows_with_buffers_and_clock(hw: Design) -> None:
    larger = override(hw, {"buffers.x_bytes": str(2 * hw.buffers.x_bytes)})
    table = load_energy_table(hw.energy)
    assert prices_of(larger, table).static_w(hw.clock_hz) > prices_of(hw, table).static_w(hw.clock_hz)
    assert prices_of(hw, table).static_w(2 * hw.clock_hz) > prices_of(hw, table).static_w(hw.clock_hz)


def test_the_largest_array_is_not_the_most_frugal() -> None:
    """Beyond what DRAM and layers keep busy, a larger array costs more in each cycle than it saves in cycles."""
    trace = acs.load_trace("resnet18_tinyimagenet")
    steps = [
        acs.simulate(trace, load_design("sat_vcu1525", {"array.rows": size, "array.cols": size})).step
        for size in (32, 64, 128)
    ]
    assert [step.latency_s for step in steps] == sorted((step.latency_s for step in steps), reverse=True)
    assert min(steps, key=lambda step: step.energy_j) is not steps[-1]


# Whole steps


@settings(max_examples=15, deadline=None)
@given(
    hw=st.sampled_from(["sat_vcu1525", "sat_edge_zcu104", "sat_asic_28nm"]),
    rows=st.integers(1, 40), cols=st.integers(1, 40), lanes=st.sampled_from([1, 2, 4]),
    bits=st.sampled_from([8, 16, 32]), method=st.sampled_from(["dense", "bdwp", "sdgp"]),
)  # fmt: skip
def test_parts_add_up_on_random_designs(hw: str, rows: int, cols: int, lanes: int, bits: int, method: str) -> None:
    design = load_design(
        hw, {"array.rows": rows, "array.cols": cols, "array.macs_per_pe": lanes, "precision.operand_bits": bits}
    )
    result = acs.simulate(acs.load_trace("resnet9_cifar10"), design, method=method, pattern="2:8", batch=16)
    parts = asdict(result.energy)
    assert all(joules >= 0 for joules in parts.values())
    assert sum(parts.values()) == pytest.approx(result.step.energy_j, rel=1e-12)
    assert sum(layer.energy_j for layer in result.layers) == pytest.approx(result.step.energy_j, rel=1e-9)
    static = prices_of(design, load_energy_table(design.energy)).static_w(design.clock_hz)
    assert parts["static_j"] == pytest.approx(static * result.step.latency_s, rel=1e-12)


@pytest.mark.parametrize("engine", ["closed", "event"])
@pytest.mark.parametrize("hw", ["sat_vcu1525", "sat_asic_28nm"])
def test_energy_never_falls_with_wider_operands(hw: str, engine: str) -> None:
    found = [
        acs.simulate(
            acs.load_trace("resnet9_cifar10"),
            load_design(hw, {"precision.operand_bits": bits}),
            batch=32,
            engine=engine,
        ).energy
        for bits in WIDTHS
    ]
    for narrow, wide in pairwise(found):
        for name in ("mac_j", "select_j", "register_j", "buffer_j", "vector_j", "dram_j"):
            assert getattr(wide, name) >= getattr(narrow, name) * (1 - 0.02), name  # a mapping may be another
        assert wide.total_j > narrow.total_j


# Tables


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["fabric"]["pj_per_lut"].update(value=None),
         "fabric.pj_per_lut: got null; a number is needed, as the table is one of an FPGA (fabric.pj_per_dsp has a value)"),
        (lambda data: data["operators"]["pj_per_add_8"].update(value=1.0),
         "operators.pj_per_add_8: got 1.0; null is needed, as the table is one of an FPGA (fabric.pj_per_dsp has a value)"),
        (lambda data: data["fabric"]["pj_per_dsp"].update(value=None),
         "operators.pj_per_multiply_8: got null; a number is needed, as the table is one of an ASIC (fabric.pj_per_dsp is"
         " null)"),
    ],
)  # fmt: skip
def test_a_table_gives_one_technology_whole(change: Callable[[Any], None], message: str, tmp_path: Any) -> None:
    data = yaml.safe_load(packaged_names("hw_configs/energy", (".yaml",))["fpga_vu9p"].read_text())
    change(data)
    for entry in (*data["fabric"].values(), *data["operators"].values()):
        if entry["value"] is None:
            entry.pop("low", None)
            entry.pop("high", None)
    file = tmp_path / "table.yaml"
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(acs.InputError) as caught:
        load_energy_table(file)
    assert str(caught.value) == f"{file}: top level: {message}"


def test_a_table_of_the_old_format_is_refused(tmp_path: Any) -> None:
    text = packaged_names("hw_configs/energy", (".yaml",))["asic_28nm"].read_text()
    file = tmp_path / "table.yaml"
    file.write_text(text.replace("accelsim-energy/2", "accelsim-energy/1"))
    with pytest.raises(acs.InputError, match='format: got "accelsim-energy/1"'):
        load_energy_table(file)


def test_tables_say_which_technology_they_are_of() -> None:
    assert [table.is_fpga for table in (VU9P, load_energy_table("fpga_zu7ev"), ASIC)] == [True, True, False]
    assert isinstance(ASIC, EnergyTable)
