"""Changes of a design: from Python, the command line and files that start from another; what they are called."""

from pathlib import Path

import pytest

import accelsim as acs
from accelsim.hardware.design import Design, check_same, design_names, design_text, differences, load_design
from accelsim.hardware.parameters import parameters_of
from accelsim.hardware.sourced import leaf_paths, override, value_at
from accelsim.hardware.stored import StoredModel, restored, stored


def written(folder: Path, text: str, name: str = "my.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def source_of(design: Design, path: str) -> str:
    return next(item.source for item in design.provenance if item.path == path)


def error_of(path: Path) -> str:
    with pytest.raises(acs.InputError) as caught:
        load_design(path)
    return str(caught.value)


def test_python_command_line_and_file_change_the_same(sat: Design, tmp_path: Path) -> None:
    path = written(tmp_path, "base: sat_vcu1525\narray: {rows: 64, cols: 16}\ndram.bandwidth_gb_per_s: 19.2\n")
    changes = {"array.rows": 64, "array.cols": 16, "dram.bandwidth_gb_per_s": 19.2}
    texts = {name: str(value) for name, value in changes.items()}
    ways = [load_design("sat_vcu1525", changes), sat.with_(changes), override(sat, texts), load_design(path)]
    for design in ways:
        assert differences(design, ways[0]) == ()
        assert design.label == "sat_vcu1525 + array 64x16x2, DRAM 19.2 GB/s"
        assert differences(sat, design) == (
            ("array.rows", "32", "64"), ("array.cols", "32", "16"), ("dram.bandwidth_gb_per_s", "76.8", "19.2"),
        )  # fmt: skip
    assert [source_of(design, "array.rows") for design in ways[1:]] == [
        "with_ array.rows=64 (was 32)", "--set array.rows=64 (was 32)", f"{path} (was 32)",
    ]  # fmt: skip
    assert all(source_of(design, "array.macs_per_pe") == source_of(sat, "array.macs_per_pe") for design in ways)


def test_a_value_that_stays_is_no_change_and_one_set_back_is_none(sat: Design) -> None:
    assert sat.with_({"array.rows": 32, "clock_hz": "200e6"}) == sat
    there = sat.with_({"array.rows": 64})
    assert there.with_({"array.rows": 48}).overrides[0].before == 32
    assert there.with_({"array.rows": 32}) == sat


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"array.macs_per_pe": 4}, " + array 32x32x4"),
        ({"clock_hz": 250e6}, " + 250 MHz"),
        ({"energy": "asic_28nm", "schedule.overlap": False}, " + energy asic_28nm, schedule.overlap false"),
        ({"array.dataflows": ["ws"], "clock_hz": 1e8}, " + 100 MHz, array.dataflows ws"),
    ],
)
def test_the_label_names_what_was_changed(sat: Design, changes: dict[str, object], words: str) -> None:
    assert sat.with_(changes).label == f"sat_vcu1525{words}"


@pytest.mark.parametrize("path", [path for path in leaf_paths(Design) if path != "energy"])
def test_every_parameter_has_a_range_a_meaning_and_its_value(sat: Design, path: str) -> None:
    item = next(item for item in parameters_of(sat) if item.path == path)
    assert item.meaning
    assert item.allowed
    assert override(sat, {path: item.value}) == sat


def test_what_goes_with_a_value_is_remarked_on(sat: Design) -> None:
    assert sat.with_({"array.macs_per_pe": 4, "dram.channels": 1}).remarks == (
        "array.row_port_elements_per_cycle stays 8, as for array.macs_per_pe 2; in proportion it would be 16",
        "array.col_port_elements_per_cycle stays 2, as for array.macs_per_pe 2; in proportion it would be 4",
        "dram.bandwidth_gb_per_s stays 76.8, as for dram.channels 4; in proportion it would be 19.2",
    )
    both = {"array.row_port_elements_per_cycle": 16, "array.col_port_elements_per_cycle": None}
    assert sat.with_({"array.macs_per_pe": 4, **both}).remarks == ()
    wide = sat.with_({"array.row_port_elements_per_cycle": None, "array.col_port_elements_per_cycle": 3})
    assert wide.with_({"array.macs_per_pe": 4}).remarks == ()


def test_a_file_may_start_from_a_file_beside_it_and_have_a_name_and_sources(tmp_path: Path) -> None:
    written(tmp_path, "base: sat_edge_zcu104\nname: mine\nsore.lanes: 8\n", "one.yaml")
    cols = '{value: 8, source: "measured by eye", confidence: measured, low: 4}'
    path = written(tmp_path, f"base: one.yaml\narray:\n  cols: {cols}\n", "two.yaml")
    one, two = load_design(tmp_path / "one.yaml"), load_design(path)
    assert (one.label, one.sore.lanes) == ("mine", 8)
    assert two.label == f"mine + array {two.array.rows}x8x{two.array.macs_per_pe}"
    assert source_of(two, "array.cols") == "measured by eye"
    assert source_of(two, "sore.lanes") == source_of(one, "sore.lanes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: sat_vcu152\n", "PATH:1: base: 'sat_vcu152': neither shipped nor a file beside this one; did you mean"
         " 'sat_vcu1525'?; shipped: " + ", ".join(design_names())),
        ("base: my.yaml\n", "PATH:1: base: 'my.yaml' starts from this file itself"),
        ("base: 3\n", "PATH:1: base: got 3; the name of a shipped file or of a file beside this one is needed"),
        ("base: sat_vcu1525\narray:\n  row: 4\n", "PATH:3: array.row: no such field; did you mean 'array.rows'?;"
         " allowed: " + ", ".join(path for path in leaf_paths(Design) if path.startswith("array."))),
        ("base: sat_vcu1525\narray:\n  rows: 0\nsore.lanes: many\n",
         "PATH:3: array.rows: got 0; should be greater than or equal to 1\n"
         'PATH:4: sore.lanes: got "many"; should be a valid integer'),
        ("base: sat_vcu1525\narray.rows: {value: 4}\n", "PATH:2: array.rows: source missing: say where the value comes"
         " from, or what the assumption rests on\nPATH:2: array.rows: confidence missing; allowed: paper, datasheet,"
         " measured, quoted, derived, fitted, recalled, assumption"),
        ("base: sat_vcu1525\nformat: accelsim-design/2\n", 'PATH:2: format: got "accelsim-design/2"; did you mean'
         " 'accelsim-design/1'?; allowed: accelsim-design/1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_that_starts_from_another(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    assert error_of(path) == message.replace("PATH", str(path))


def test_a_ring_of_files_is_refused(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        written(tmp_path, f"base: {other}.yaml\n", f"{name}.yaml")
    assert error_of(tmp_path / "a.yaml") == f"{tmp_path / 'c.yaml'}:1: base: 'a.yaml' starts from this file itself"


@pytest.mark.parametrize("name", design_names())
def test_a_saved_design_is_a_complete_file_of_its_own(name: str, tmp_path: Path) -> None:
    design = load_design(name, {"array.rows": 48, "schedule.interleave": False, "clock_hz": 123456789.5})
    path = written(tmp_path, design_text(design, "mine"), "mine.yaml")
    again = load_design(path)
    assert differences(design, again) == ()
    assert (again.label, again.description) == ("mine", f"{design.label}: {design.description}")
    assert source_of(again, "array.rows") == source_of(design, "array.rows")
    known = [item for item in design.provenance if not item.path.startswith("schedule.")]
    assert sorted(again.provenance, key=lambda item: item.path) == sorted(known, key=lambda item: item.path)


@pytest.mark.parametrize("name", design_names())
def test_a_stored_design_is_restored_with_sources_and_changes(name: str) -> None:
    design = load_design(name, {"array.rows": 48, "array.patterns": ["2:8"]})
    data = stored(design)
    assert data["overrides"]["array.rows"] == {"base": load_design(name).array.rows, "value": 48}
    again = restored(Design, StoredModel.model_validate(data), "file")
    assert again == design
    assert again.label == design.label
    assert [value_at(again, path) for path in leaf_paths(Design)] == [
        value_at(design, path) for path in leaf_paths(Design)
    ]


def test_the_design_that_is_named_beside_a_file_has_to_be_its_own(sat: Design) -> None:
    slow = sat.with_({"dram.bandwidth_gb_per_s": 9.6})
    for names, settings in (
        ((), {}),
        ((), {"dram.bandwidth_gb_per_s": "9.6"}),
        (("sat_vcu1525",), {"dram.bandwidth_gb_per_s": "9.6"}),
    ):
        check_same(slow, "bw.json", names, settings)
    for names, settings, start, apart in (
        ((), {"dram.bandwidth_gb_per_s": "76.8"}, "--set dram.bandwidth_gb_per_s", "dram.bandwidth_gb_per_s 76.8 (there 9.6)"),
        (("sat_vcu1525",), {}, "--hw sat_vcu1525", "dram.bandwidth_gb_per_s 76.8 (there 9.6)"),
        (("sat_vcu1525",), {"sore.lanes": "4"}, "--hw sat_vcu1525", "dram.bandwidth_gb_per_s 76.8 (there 9.6), sore.lanes 4 (there 32)"),
    ):  # fmt: skip
        with pytest.raises(acs.InputError) as caught:
            check_same(slow, "bw.json", names, settings)
        assert str(caught.value) == (
            f"{start}: bw.json was made on sat_vcu1525 + DRAM 9.6 GB/s, another design: {apart}; leave the option out, or"
            " simulate again"
        )


@pytest.mark.parametrize("text", ["010", "1_6", "0x10", "0b11", "00", "1:0"])
def test_numbers_are_decimal(text: str, sat: Design, tmp_path: Path) -> None:
    """010 is 8 and 1_6 is 16 in YAML 1.1: neither is guessed."""
    with pytest.raises(acs.InputError) as caught:
        override(sat, {"array.rows": text})
    assert str(caught.value) == f'--set: array.rows: got "{text}"; should be a valid integer'
    path = written(tmp_path, f"base: sat_vcu1525\narray:\n  rows: {text}\n")
    assert error_of(path) == f'{path}:3: array.rows: got "{text}"; should be a valid integer'


def test_a_range_holds_its_value(tmp_path: Path) -> None:
    entry = "{value: 2e8, source: me, confidence: assumption, low: 3e8, high: 1e8}".replace("e8", "00000000")
    path = written(tmp_path, f"base: sat_vcu1525\nclock_hz: {entry}\n")
    assert error_of(path) == (
        f"{path}:2: clock_hz: low: got 300000000, which is above the value 200000000\n"
        f"{path}:2: clock_hz: high: got 100000000, which is below the value 200000000"
    )
