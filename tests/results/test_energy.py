"""Energy of a task: each count of events with the picojoules of its own entry, added up by hand."""

from dataclasses import asdict

import pytest

from accelsim.engines.timing import Events, TaskTiming
from accelsim.hardware.design import design_names, load_design
from accelsim.hardware.energy_prices import Prices, prices_of
from accelsim.hardware.energy_table import EnergyTable, load_energy_table
from accelsim.lowering.tasks import Stage
from accelsim.results.energy import energy_at, energy_of, total_energy

PRICES = Prices(
    pj_per_mac=2.0,
    pj_per_selection=23.0,
    pj_per_register_bit=3.0,
    pj_per_buffer_byte=5.0,
    pj_per_sore_element=7.0,
    pj_per_wuve_weight=11.0,
    pj_per_vector_element=13.0,
    pj_per_dram_byte=17.0,
    idle_pj_per_cycle=5000.0,
    base_w=19.0,
)
TASK = TaskTiming(
    name="a",
    operation="a",
    stage=Stage.FF,
    count=1,
    cycles=400,
    bound="dram",
    events=Events(
        macs=10**1,
        selections=10**8,
        register_bits=1e2,
        buffer_bytes=1e3,
        sore_elements=10**4,
        wuve_weights=10**5,
        vector_elements=10**6,
        dram_bytes=1e7,
    ),
)


def test_energy_of_a_task_worked_by_hand() -> None:
    found = energy_of(TASK, PRICES, 200e6)
    assert {name: joules * 1e12 for name, joules in asdict(found).items()} == {
        "mac_j": pytest.approx(2e1),
        "select_j": pytest.approx(23e8),
        "register_j": pytest.approx(3e2),
        "buffer_j": pytest.approx(5e3),
        "sore_j": pytest.approx(7e4),
        "wuve_j": pytest.approx(11e5),
        "vector_j": pytest.approx(13e6),
        "dram_j": pytest.approx(17e7),
        # 400 cycles at 200 MHz are 2 us, and each takes 5 nJ
        "static_j": pytest.approx(19 * 2e-6 * 1e12 + 400 * 5000),
    }
    assert found.total_j == pytest.approx(sum(asdict(found).values()))
    assert total_energy([found, found]).total_j == pytest.approx(2 * found.total_j)
    assert PRICES.static_w(200e6) == pytest.approx(19 + 1)


@pytest.mark.parametrize("name", design_names())
def test_ends_of_the_ranges_move_what_rests_on_their_entries(name: str) -> None:
    """The energy with prices by a table that holds one end of every entry."""
    design = load_design(name)
    shipped = load_energy_table(design.energy)
    found = energy_of(TASK, prices_of(design, shipped), design.clock_hz)
    for end in ("low", "high"):
        data = shipped.model_dump()
        for origin in shipped.provenance:
            *sections, key = origin.path.split(".")
            if getattr(origin, end) is not None:
                (data[sections[0]] if sections else data)[key] = getattr(origin, end)
        moved = energy_of(TASK, prices_of(design, EnergyTable(**data)), design.clock_hz)
        assert energy_at(found, design, shipped, end) == pytest.approx(moved.total_j, rel=1e-12)
    assert energy_at(found, design, shipped, "low") < found.total_j < energy_at(found, design, shipped, "high")
