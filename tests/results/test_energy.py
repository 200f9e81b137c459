"""Energy of a task: each count of events with the picojoules of its own entry, added up by hand."""

from dataclasses import asdict

import pytest

from accelsim.engines.timing import Events, TaskTiming
from accelsim.hardware.energy_table import load_energy_table
from accelsim.lowering.tasks import Stage
from accelsim.results.energy import energy_at, energy_of, total_energy

TABLE = load_energy_table("fpga_vu9p").model_copy(
    update={
        "pj_per_mac": 2.0,
        "pj_per_register_word": 3.0,
        "pj_per_buffer_byte": 5.0,
        "pj_per_sore_element": 7.0,
        "pj_per_wuve_weight": 11.0,
        "pj_per_vector_element": 13.0,
        "pj_per_dram_byte": 17.0,
        "static_w": 19.0,
    }
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
        register_words=10**2,
        buffer_bytes=1e3,
        sore_elements=10**4,
        wuve_weights=10**5,
        vector_elements=10**6,
        dram_bytes=1e7,
    ),
)


def test_energy_of_a_task_worked_by_hand() -> None:
    found = energy_of(TASK, TABLE, 200e6)
    assert {name: joules * 1e12 for name, joules in asdict(found).items()} == {
        "mac_j": pytest.approx(2e1),
        "register_j": pytest.approx(3e2),
        "buffer_j": pytest.approx(5e3),
        "sore_j": pytest.approx(7e4),
        "wuve_j": pytest.approx(11e5),
        "vector_j": pytest.approx(13e6),
        "dram_j": pytest.approx(17e7),
        "static_j": pytest.approx(19 * 2e-6 * 1e12),  # 400 cycles at 200 MHz are 2 us
    }
    assert found.total_j == pytest.approx(38e-6 + 184_175_320e-12)
    assert total_energy([found, found]).total_j == pytest.approx(2 * found.total_j)


def test_ends_of_the_ranges_move_each_component_by_its_own_entry() -> None:
    shipped = load_energy_table("fpga_vu9p")
    found = energy_of(TASK, shipped, 200e6)
    for end in ("low", "high"):
        values = {origin.path: getattr(origin, end) for origin in shipped.provenance}
        moved = shipped.model_copy(update={name: value for name, value in values.items() if value is not None})
        assert energy_at(found, shipped, end) == pytest.approx(energy_of(TASK, moved, 200e6).total_j)
    assert energy_at(found, shipped, "low") < found.total_j < energy_at(found, shipped, "high")
