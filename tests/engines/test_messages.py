"""Messages between ranks on a link: bytes of ring algorithms over its speed, in cycles of the design."""

from math import ceil

import pytest

import accelsim as acs
from accelsim.base.errors import InputError
from accelsim.cli import main

FC = {"name": "fc", "kind": "linear", "in_features": 64, "out_features": 64, "weight": {"name": "w"}}


def message(operation, group, **fields):
    return {"name": operation, "kind": "collective", "operation": operation, "bytes": 4_000_000, "group": group,
            "scales_with_batch": False, **fields}  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "group", "share"),
    [("all_reduce", 8, 1.75), ("all_gather", 8, 0.875), ("reduce_scatter", 4, 0.75), ("all_to_all", 2, 0.5),
     ("broadcast", 8, 1.0), ("all_reduce", 1, 0.0), ("broadcast", 1, 0.0)],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["closed", "event"])
def test_a_message_costs_what_passes_the_link(make_trace, sat, operation, group, share, engine):
    trace = make_trace(FC, message(operation, group, direction="BP"))
    options = {"method": "dense", "batch": 4, "engine": engine}
    without, with_link = acs.simulate(trace, sat, **options), acs.simulate(trace, sat, **options, link_gb_per_s=10)
    expected = ceil(4e6 * share / 10e9 * sat.clock_hz)
    assert with_link.step.cycles - without.step.cycles == expected
    assert with_link.stages["BP"].cycles - without.stages["BP"].cycles == expected
    assert [note.text for note in without.notes] == [
        f"{operation} of 4,000,000 bytes over {group} rank{'s' * (group > 1)} is not timed without a link (--link-gb-per-s)"
    ]
    assert with_link.notes == ()
    assert with_link.identity != without.identity
    last = with_link.layers[-1]
    assert (last.name, last.stage, last.bound, last.energy_j) == (operation, "BP", "link", last.energy_j)


def test_messages_grow_with_the_batch_and_inference_has_those_of_the_forward_pass(make_trace, sat):
    trace = make_trace(FC, message("all_reduce", 2, scales_with_batch=True), message("broadcast", 2, direction="BP"))
    cycles = {
        (mode, batch): sum(row.cycles for row in acs.simulate(trace, sat, method="dense", batch=batch, mode=mode,
                                                              link_gb_per_s=1).layers if row.bound == "link")
        for mode in ("train", "infer") for batch in (1, 4)
    }  # fmt: skip
    one = 4e6 / 1e9 * sat.clock_hz
    assert cycles == {("train", 1): 2 * one, ("train", 4): 5 * one, ("infer", 1): one, ("infer", 4): 4 * one}


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_links_that_move_nothing_are_refused(make_trace, sat, speed):
    with pytest.raises(InputError) as caught:
        acs.simulate(make_trace(FC), sat, method="dense", batch=4, link_gb_per_s=speed)
    assert str(caught.value) == f"link_gb_per_s: got {speed:g}; a number above 0 is needed"


def test_the_command_takes_a_link(make_trace, tmp_path, capsys):
    path = tmp_path / "t.json"
    acs.save_trace(make_trace(FC, message("all_reduce", 2)), path)
    given = ["simulate", str(path), "--batch", "4", "--method", "dense"]
    assert main(given) == 0
    assert "is not timed without a link (--link-gb-per-s)" in capsys.readouterr().out
    assert main([*given, "--link-gb-per-s", "10"]) == 0
    out = capsys.readouterr().out
    assert "not timed" not in out
    assert "all_reduce" in out
