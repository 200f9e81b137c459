"""Every shipped YAML: complete, with the origin of each value; each key dropped, renamed or retyped is refused by path."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import accelsim as acs
from accelsim.base.files import packaged_names
from accelsim.hardware.design import Design, design_names, load_design
from accelsim.hardware.energy_table import EnergyTable, energy_table_names, load_energy_table
from accelsim.hardware.sourced import (
    CONFIDENCES,
    leaf_paths,
    override,
    parse_yaml,
    read_scalar,
    sourced_schema,
    value_at,
)

DESIGNS = packaged_names("hw_configs", (".yaml",))
TABLES = packaged_names("hw_configs/energy", (".yaml",))


def leaves(data: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in data.items():
        if isinstance(value, dict) and "value" not in value:
            found += leaves(value, (*prefix, key))
        else:
            found.append((*prefix, key))
    return found


def parent_of(data: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path[:-1]:
        data = data[key]
    return data


def error_of(load: Any, data: dict[str, Any], folder: Path) -> str:
    file = folder / "changed.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(acs.InputError) as caught:
        load(file)
    return str(caught.value)


@pytest.mark.parametrize("name", design_names())
def test_designs_load_with_an_origin_for_every_value(name: str) -> None:
    design = load_design(name)
    assert design.name == name
    stated = {item.path for item in design.provenance}
    plain = {path for path in leaf_paths(Design) if path.startswith("schedule.") or path == "energy"}
    assert stated == set(leaf_paths(Design)) - plain
    assert all(item.source and item.confidence in CONFIDENCES for item in design.provenance)
    load_energy_table(design.energy)


@pytest.mark.parametrize("name", energy_table_names())
def test_energy_values_lie_in_their_stated_ranges(name: str) -> None:
    table = load_energy_table(name)
    assert {item.path for item in table.provenance} == set(leaf_paths(EnergyTable))
    for item in table.provenance:
        value = value_at(table, item.path)
        assert value is None or item.low <= value <= item.high, item.path


@pytest.mark.parametrize(("load", "file"), [(load_design, DESIGNS["sat_vcu1525"]), (load_energy_table, TABLES["asic_28nm"])],
                         ids=["design", "energy"])  # fmt: skip
def test_every_key_dropped_renamed_or_retyped_is_refused_with_its_path(load: Any, file: Path, tmp_path: Path) -> None:
    original = yaml.safe_load(file.read_text())
    for path in leaves(original):
        dotted, key = ".".join(path), path[-1]
        dropped = copy.deepcopy(original)
        del parent_of(dropped, path)[key]
        assert f": {dotted}: missing" in error_of(load, dropped, tmp_path)

        renamed = copy.deepcopy(original)
        parent_of(renamed, path)[f"{key}x"] = parent_of(renamed, path).pop(key)
        message = error_of(load, renamed, tmp_path)
        assert f": {dotted}x: unknown key; did you mean '{key}'?" in message

        retyped = copy.deepcopy(original)
        entry = parent_of(retyped, path)[key]
        if isinstance(entry, dict):
            entry["value"] = {"nested": 1}
        else:
            parent_of(retyped, path)[key] = {"nested": 1}
        assert f": {dotted}" in error_of(load, retyped, tmp_path)


@pytest.mark.parametrize("drop", ["source", "confidence"])
def test_a_value_without_origin_is_refused(drop: str, tmp_path: Path) -> None:
    data = yaml.safe_load(DESIGNS["sat_vcu1525"].read_text())
    del data["dram"]["channels"][drop]
    assert f"dram.channels: {drop} missing" in error_of(load_design, data, tmp_path)


def test_a_bare_number_is_refused_with_what_to_write(tmp_path: Path) -> None:
    data = yaml.safe_load(DESIGNS["sat_vcu1525"].read_text())
    data["clock_hz"] = 200e6
    text = error_of(load_design, data, tmp_path)
    assert "clock_hz: got 200000000.0; write {value: ..., source: ..., confidence: ...}" in text


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("array.row", "64", "--set array.row: no such field; did you mean 'array.rows'?; allowed: array.rows, array.cols,"),
        ("bandwidth", "64", "--set bandwidth: no such field; did you mean"),
        ("array.rows", "0", "--set: array.rows: got 0; should be greater than or equal to 1"),
        ("array.rows", "-5", "--set: array.rows: got -5; should be greater than or equal to 1"),
        ("array.rows", "32.5", "--set: array.rows: got 32.5; should be a valid integer"),
        ("array.rows", "many", '--set: array.rows: got "many"; should be a valid integer'),
        ("array.rows", "9999999999", "--set: array.rows: got 9999999999; should be less than or equal to 1048576"),
        ("clock_hz", ".nan", "--set: clock_hz: got NaN; should be a finite number"),
        ("clock_hz", "1e400", "--set: clock_hz: got Infinity; should be"),
        ("dram.bandwidth_gb_per_s", "0", "--set: dram.bandwidth_gb_per_s: got 0; should be greater than or equal to 0.001"),
        ("schedule.dataflow", "oss", "--set: schedule.dataflow: got \"oss\"; did you mean 'os'?; allowed: auto, os, ws, is"),
        ("schedule.dataflow", "is",
         "--set: top level: schedule.dataflow: got 'is'; the array has os, ws (array.dataflows)"),
        ("schedule.pregenerate", "maybe", '--set: schedule.pregenerate: got "maybe"; should be a valid boolean'),
        ("array.patterns", "['2:x']", "--set: array: patterns: pattern '2:x': expected N:M with two whole numbers"),
    ],
)  # fmt: skip
def test_bad_overrides_name_the_path(path: str, text: str, message: str, sat: acs.Design) -> None:
    with pytest.raises(acs.InputError) as caught:
        override(sat, {path: text})
    assert str(caught.value).startswith(message)


def test_overrides_change_one_value_and_say_where_it_came_from(sat: acs.Design) -> None:
    changed = override(sat, {"array.rows": "64", "clock_hz": "250e6", "array.dataflows": "[os]"})
    assert (changed.array.rows, changed.clock_hz, changed.array.dataflows) == (64, 250e6, ("os",))
    assert changed.array.cols == sat.array.cols
    assert (
        next(item for item in changed.provenance if item.path == "array.rows").source == "--set array.rows=64 (was 32)"
    )


def test_schema_describes_the_file_form() -> None:
    schema = json.loads(json.dumps(sourced_schema(Design)))
    assert schema["properties"]["name"]["type"] == "string"
    assert set(schema["properties"]["clock_hz"]["required"]) == {"value", "source", "confidence"}
    assert "value" in schema["$defs"]["Array"]["properties"]["rows"]["properties"]
    assert "value" not in schema["$defs"]["Schedule"]["properties"]["dataflow"].get("properties", {})


def test_duplicate_keys_and_broken_yaml_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("name: a\nname: b\n")
    with pytest.raises(acs.InputError, match=r"^.*twice\.yaml:2: key 'name' stands twice$"):
        load_design(file)
    file.write_text("name: [a\n")
    with pytest.raises(acs.InputError, match=r"^.*twice\.yaml: not valid YAML: .*$"):
        load_design(file)


def test_numbers_with_colons_are_texts() -> None:
    data, _ = parse_yaml("a: [2:8, 10:50:10, 1:2.5, 3, 1.5]", "test")
    assert data == {"a": ["2:8", "10:50:10", "1:2.5", 3, 1.5]}
    assert read_scalar("[2:4, 1:8]") == ["2:4", "1:8"]


@pytest.mark.parametrize(
    "text", ["0", "64", "0.5", "19.20", "010", "1_000", "-3", "0x10", "true", "null", "os", "1.", "3:4"]
)
def test_a_text_is_what_a_file_would_read(text: str) -> None:
    read, filed = read_scalar(text), parse_yaml(f"a: {text}", "test")[0]["a"]
    assert (read, type(read)) == (filed, type(filed))
