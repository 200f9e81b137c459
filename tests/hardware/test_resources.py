"""What designs take on an FPGA: numbers by hand, what never falls when a design grows, what is said where it is too much."""

from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import accelsim as acs
from accelsim.hardware.design import Design, design_names, load_design
from accelsim.hardware.resources import (
    FpgaCosts,
    Shortfall,
    UnitUse,
    check_fits,
    estimate_resources,
    load_fpga_costs,
)
from accelsim.hardware.sourced import CONFIDENCES, leaf_paths, override, value_at

EDGE = load_design("sat_edge_zcu104")


def changed(**values: object) -> Design:
    """The edge design, ``array__rows=4`` for ``--set array.rows=4``."""
    return override(EDGE, {key.replace("__", "."): str(value) for key, value in values.items()})


def units_of(design: Design) -> dict[str, UnitUse]:
    return {unit.unit: unit for unit in estimate_resources(design).units}


def test_every_cost_states_its_origin() -> None:
    costs = load_fpga_costs()
    assert {item.path for item in costs.provenance} == set(leaf_paths(FpgaCosts))
    assert all(item.source and item.confidence in CONFIDENCES for item in costs.provenance)
    for item in costs.provenance:
        if item.low is not None and item.high is not None:
            assert item.low <= value_at(costs, item.path) <= item.high, item.path


def test_array_by_hand() -> None:
    """2 x 3 PEs of 4 MACs for 2:8 and 4:16, without DSP limit."""
    design = changed(
        array__rows=2, array__cols=3, array__macs_per_pe=4, array__patterns="['2:8', '4:16']",
        array__accumulators_per_pe=20, sore__lanes=5, wuve__lanes=1, vector__lanes=10, resources__dsp="null",
        dram__channels=4, dram__dma_channels=3,
    )  # fmt: skip
    units = units_of(design)
    # 24 multipliers of 2 DSP and 34 LUT; 6 x 3 FP16 adders of 2 DSP and 113 LUT
    assert units["PE products"] == UnitUse(unit="PE products", dsp=24 * 2 + 18 * 2, lut=24 * 34 + 18 * 113)
    # an FP32 adder per PE
    assert units["PE sums"] == UnitUse(unit="PE sums", dsp=12, lut=6 * 226)
    # and one at the edge of each column
    assert units["edge sums"] == UnitUse(unit="edge sums", dsp=6, lut=3 * 226)
    # a lane has three FP32 multipliers and adders
    assert units["WUVE"] == UnitUse(unit="WUVE", dsp=3 * 3 + 3 * 2, lut=3 * 77 + 3 * 226)
    # a lane has an FP16 multiplier and an FP32 adder
    assert units["vector unit"] == UnitUse(unit="vector unit", dsp=10 * 2 + 10 * 2, lut=10 * 34 + 10 * 226)
    # 24 multiplexers of 16 inputs: four LUTs for each of 16 bits
    assert units["N:M selection"] == UnitUse(unit="N:M selection", lut=24 * 4 * 16)
    # two banks of 20 sums are 40 words: two LUTs for each of 32 bits, and a conversion of 30
    assert units["partial sums"] == UnitUse(unit="partial sums", lut=6 * (2 * 32 + 30))
    # a multiplier holds a kept weight of 16 bits and 4 index bits, twice: 2 of 32 words that a LUT per bit has
    assert units["stationary operands"] == UnitUse(unit="stationary operands", lut=24 * (16 + 4))
    # four entries a lane: 8 LUTs compare 16 bits, 16 + 4 hold value and index
    assert units["SORE"] == UnitUse(unit="SORE", lut=5 * 4 * (8 + 16 + 4))
    # a twentieth of the logic so far
    inside = sum(
        unit.lut for unit in units.values() if unit.unit not in {"control", "memory controllers", "DMA engines"}
    )
    assert units["control"] == UnitUse(unit="control", lut=ceil(inside / 20))
    # three controllers beside the hard one
    assert units["memory controllers"] == UnitUse(unit="memory controllers", dsp=9, lut=3 * 18000, bram36=3 * 26)
    assert units["DMA engines"] == UnitUse(unit="DMA engines", lut=3 * 1200, bram36=3 * 8)
    use = estimate_resources(design)
    assert (use.dsp, use.lut) == (84 + 12 + 6 + 15 + 40 + 9, sum(unit.lut for unit in units.values()))


def test_adders_take_the_dsps_that_multipliers_leave() -> None:
    """2 x 2 PEs of 2 MACs and one lane each: 16 + 9 + 2 DSPs of multipliers; 10 FP32 and 4 FP16 adders."""
    small = {"array__rows": 2, "array__cols": 2, "wuve__lanes": 1, "vector__lanes": 1}

    def control(lut: int, dsp: int) -> int:
        """LUTs of all with those of control for `lut` more than with every adder in DSPs."""
        units = units_of(changed(**small, resources__dsp=dsp))
        rest = units["DMA engines"].lut
        inside = sum(unit.lut for unit in units_of(changed(**small, resources__dsp=55)).values()) - rest
        inside -= units_of(changed(**small, resources__dsp=55))["control"].lut
        return rest + inside + lut + ceil((inside + lut) / 20)

    every = estimate_resources(changed(**small, resources__dsp=55))
    assert every.dsp == 27 + 28
    # three DSPs less are two adders less, the FP16 ones first: they save 169 - 113 LUTs, FP32 ones 338 - 226
    fewer = estimate_resources(changed(**small, resources__dsp=52))
    assert fewer.dsp == 51
    assert fewer.lut == control(2 * (169 - 113), 52)
    # no DSP beyond the multipliers'
    none = estimate_resources(changed(**small, resources__dsp=27))
    assert (none.dsp, none.lut) == (27, control(4 * (169 - 113) + 10 * (338 - 226), 27))
    assert check_fits(changed(**small, resources__dsp=27)) == ()
    assert check_fits(changed(**small, resources__dsp=26)) == (Shortfall(resource="DSP", needed=27, available=26),)


@pytest.mark.parametrize("resource", ["dsp", "lut", "bram36", "uram288"])
def test_what_fits_fits_beside_the_shell(resource: str) -> None:
    """With a shell that leaves as much as is needed the design fits, with one that takes one more it does not."""
    board = load_design("sat_vcu1525")
    needed, total = getattr(estimate_resources(board), resource), getattr(board.resources, resource)
    if resource == "dsp":  # adders take what is left; multipliers and memory controllers need theirs
        needed = sum(unit.dsp for unit in estimate_resources(override(board, {"resources.dsp": "960"})).units)
    if resource == "uram288":  # what finds no UltraRAM goes to block RAM
        assert estimate_resources(override(board, {"resources.shell_uram288": "960"})).uram288 == 0
        return
    largest = total - needed
    fits = override(board, {f"resources.shell_{resource}": str(largest)})
    assert check_fits(override(fits, {"resources.lut": "10000000"} if resource == "dsp" else {})) == ()
    less = override(board, {f"resources.shell_{resource}": str(largest + 1), "resources.lut": str(10**7)}
                    if resource == "dsp" else {f"resources.shell_{resource}": str(largest + 1)})  # fmt: skip
    (shortfall,) = check_fits(less)
    assert str(shortfall) == (
        f"{resource.upper()}: needs {needed:,}, the device has {needed - 1:,} beside its shell of {largest + 1:,}"
    )


def test_a_shell_larger_than_the_device_is_refused() -> None:
    with pytest.raises(acs.InputError) as caught:
        override(load_design("sat_vcu1525"), {"resources.dsp": "900"})
    assert str(caught.value) == "--set: resources: shell_dsp: got 960; the device has 900 (dsp)"


def test_controllers_that_are_given_take_nothing() -> None:
    for channels, there, counted in ((1, 1, 0), (4, 1, 3), (4, 0, 4), (2, 4, 0)):
        units = units_of(changed(dram__channels=channels, resources__given_controllers=there))
        assert units["memory controllers"].lut == counted * 18000


@pytest.mark.parametrize(
    ("dataflows", "variants", "overlap", "words"),
    [("[os]", "[split]", "true", 0), ("[ws]", "[split]", "false", 1), ("[os, ws]", "[flat]", "true", 1),
     ("[os, is]", "[split]", "false", 1), ("[os, ws, is]", "[split]", "true", 2)],
)  # fmt: skip
def test_stationary_operands_by_hand(dataflows: str, variants: str, overlap: str, words: int) -> None:
    """One MAC per PE and 8:16: eight weights of a group (WS) or its 16 activations (IS), doubled where tiles overlap."""
    design = changed(
        array__macs_per_pe=1, array__patterns="['8:16']", array__dataflows=dataflows, array__overlap_tiles=overlap,
        array__stationary_variants=variants, array__accumulators_per_pe=1,
    )  # fmt: skip
    costs = load_fpga_costs()
    shallow = costs.model_copy(update={"logic": costs.logic.model_copy(update={"register_file_depth": 16})})
    found = {unit.unit: unit for unit in estimate_resources(design, shallow).units}["stationary operands"].lut
    assert found == 256 * words * (20 if "ws" in dataflows else 16)


def test_wider_operands_take_single_precision_operators() -> None:
    units = units_of(changed(array__rows=1, array__cols=1, precision__operand_bits=32, resources__dsp="null"))
    assert units["PE products"] == UnitUse(unit="PE products", dsp=2 * 3 + 2, lut=2 * 77 + 226)
    assert units["partial sums"].lut == 32  # 16 words in a LUT per bit, nothing to convert


def test_narrow_operands_take_operators_of_eight_bits() -> None:
    units = units_of(changed(array__rows=1, array__cols=1, precision__operand_bits=8, resources__dsp="null"))
    assert units["PE products"] == UnitUse(unit="PE products", dsp=2 * 1 + 1, lut=2 * 17 + 57)
    between = units_of(changed(array__rows=1, array__cols=1, precision__operand_bits=9, resources__dsp="null"))
    assert between["PE products"] == UnitUse(unit="PE products", dsp=2 * 2 + 2, lut=2 * 34 + 113)


def test_buffers_by_hand() -> None:
    """16 rows x 8 elements x 16 bits are 2048 bits: 29 columns of 72 bits; 1 MiB is 4096 words of it, one UltraRAM."""
    units = units_of(EDGE)
    assert units["X buffer"] == UnitUse(unit="X buffer", uram288=29)
    assert units["resident tensors"] == UnitUse(unit="resident tensors", uram288=29)
    # 16 columns x 2 values x (16 + 4 index bits) are 640 bits: 9 columns, 6554 deep
    assert units["W buffer"] == UnitUse(unit="W buffer", uram288=18)
    # 16 sums x 32 bits are 512: 8 columns, 8192 deep
    assert units["Y buffer"] == UnitUse(unit="Y buffer", uram288=16)
    # 30 UltraRAMs: 29 for X, one for a column of the resident tensors; the other 28 in 8 block RAMs each
    units = units_of(changed(resources__uram288=30))
    assert units["resident tensors"] == UnitUse(unit="resident tensors", uram288=1, bram36=28 * 8)
    assert units["W buffer"] == UnitUse(unit="W buffer", bram36=9 * 13)


def test_an_unlimited_port_is_as_wide_as_the_sparsest_pattern_reads() -> None:
    design = changed(array__patterns="['2:4', '1:8']", array__row_port_elements_per_cycle="null")
    # 16 rows x 2 MACs x 8 of a group x 16 bits are 4096 bits: 57 columns of 2048 words
    assert units_of(design)["X buffer"] == UnitUse(unit="X buffer", uram288=57)


def test_a_dense_design_selects_and_sorts_nothing() -> None:
    units = units_of(load_design("sat_vcu1525_dense"))
    assert units["N:M selection"].lut == units["SORE"].lut == 0


@pytest.mark.parametrize("name", design_names())
def test_shipped_designs_fit_their_devices(name: str) -> None:
    assert check_fits(load_design(name)) == ()


def test_a_device_that_states_nothing_holds_everything() -> None:
    assert check_fits(override(load_design("sat_asic_28nm"), {"array.rows": "1024"})) == ()


GROWING = ("array.rows", "array.cols", "array.macs_per_pe", "array.accumulators_per_pe", "sore.lanes", "wuve.lanes",
           "vector.lanes")  # fmt: skip


@given(
    sizes=st.tuples(*(st.integers(1, 40) for _ in GROWING)),
    path=st.sampled_from(GROWING),
    more=st.integers(1, 40),
    dsp=st.sampled_from(("null", "1", "1728", "6840")),
)
def test_logic_and_dsps_never_fall_when_a_design_grows(sizes: Any, path: str, more: int, dsp: str) -> None:
    settings = {"resources.dsp": dsp, **{name: str(size) for name, size in zip(GROWING, sizes, strict=True)}}
    before = estimate_resources(override(EDGE, settings))
    after = estimate_resources(override(EDGE, settings | {path: str(int(settings[path]) + more)}))
    assert after.lut >= before.lut
    if dsp == "null":
        assert after.dsp >= before.dsp


@given(
    path=st.sampled_from(("buffers.x_bytes", "buffers.w_bytes", "buffers.y_bytes", "buffers.resident_bytes")),
    size=st.integers(1, 2**24),
    more=st.integers(1, 2**22),
)
def test_block_rams_hold_the_buffers_and_grow_with_them(path: str, size: int, more: int) -> None:
    without = {"resources.uram288": "null", path: str(size)}
    design = override(EDGE, without)
    use = estimate_resources(design)
    assert use.bram36 <= estimate_resources(override(EDGE, without | {path: str(size + more)})).bram36
    buffers, engines = design.buffers, units_of(design)["DMA engines"].bram36
    held = buffers.x_bytes + buffers.w_bytes + buffers.y_bytes + buffers.resident_bytes
    assert (use.bram36 - engines) * 36 * 1024 >= held * 8


@given(st.integers(1, 64), st.integers(1, 64))
def test_what_fits_fits_a_larger_device(rows: int, dsp: int) -> None:
    settings = {"array.rows": str(rows), "resources.dsp": str(100 * dsp)}
    fewer, more = (
        estimate_resources(override(EDGE, settings | {"resources.dsp": str(count)})) for count in (100 * dsp, 101 * dsp)
    )
    assert more.lut <= fewer.lut


def test_unknown_costs() -> None:
    with pytest.raises(
        acs.InputError,
        match=r"^table of FPGA costs 'vitis': neither a file nor a shipped table of FPGA costs; did you mean 'vitis_hls'\?; shipped: vitis_hls$",
    ):
        load_fpga_costs("vitis")
