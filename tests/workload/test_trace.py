"""The trace format: its documentation, round trips, and every kind of damage."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import accelsim as acs
from accelsim.base.files import validate
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.observed import OperandSparsity
from accelsim.workload.trace import Trace


def error_of(data: Any) -> str:
    with pytest.raises(acs.InputError) as caught:
        validate(Trace, data, "t.json")
    return str(caught.value)


def test_the_documented_example_is_valid_and_counts_add_up(documented: dict[str, Any]) -> None:
    trace = validate(Trace, documented, "t.json")
    assert trace.macs == 32 * 32 * 16 * 3 * 9 + 16 * 46
    assert sum(elements for elements, _ in trace.tensors.values()) == trace.parameters


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_a_saved_trace_loads_as_it_was(documented: dict[str, Any], tmp_path: Path, suffix: str) -> None:
    trace = validate(Trace, documented, "t.json")
    file = tmp_path / f"t{suffix}"
    acs.save_trace(trace, file)
    assert acs.load_trace(file) == trace
    before = file.read_bytes()
    acs.save_trace(trace, file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("name", sorted(acs.load_trace.__globals__["workload_names"]()))
def test_shipped_traces_account_for_all_their_parameters(name: str) -> None:
    trace = acs.load_trace(name)
    assert sum(elements for elements, _ in trace.tensors.values()) == trace.parameters


BAD_CONV = "t.json: operations[0]"


@pytest.mark.parametrize(
    ("where", "key", "value", "message"),
    [
        (0, "in_channels", 0, f"{BAD_CONV}.in_channels (in 'conv'): got 0; should be greater than or equal to 1"),
        (0, "in_channels", -3, f"{BAD_CONV}.in_channels (in 'conv'): got -3; should be greater than or equal to 1"),
        (0, "in_channels", 2**40,
         f"{BAD_CONV}.in_channels (in 'conv'): got 1099511627776; should be less than or equal to 16777216"),
        (0, "in_channels", "3", f'{BAD_CONV}.in_channels (in \'conv\'): got "3"; should be a valid integer'),
        (0, "in_channels", 3.0, f"{BAD_CONV}.in_channels (in 'conv'): got 3.0; should be a valid integer"),
        (0, "groups", 2, f"{BAD_CONV} (in 'conv'): groups: 2 does not divide in_channels 3"),
        (0, "kernel", [3], f"{BAD_CONV} (in 'conv'): in_size: 2 numbers are needed, got 2"),
        (0, "kernel", [99, 99],
         f"{BAD_CONV} (in 'conv'): the output would be [-64, -64]: the kernel does not fit the padded input"),
        (1, "kind", "activaton", "t.json: operations[1].kind (in 'relu'): 'activaton' is not known; did you mean"
         " 'activation'?; allowed: conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, linear,"
         " matmul, norm, activation, pooling, add, multiply, softmax, embedding, dropout, reduce, loss, copy, elementwise,"
         " collective"),
        (1, "read", 5, "t.json: operations[1].read (in 'relu'): unknown key; did you mean 'reads'?; allowed: name,"
         " inputs, input_gradient, recomputed, backward_only, scales_with_batch, other_parameters, kind, reads, writes"),
        (1, "name", "conv", "t.json: top level: operations: the name 'conv' stands twice; names are unique"),
        (3, "weight", {"name": "conv.weight"}, "t.json: top level: operations: parameter 'conv.weight' is shared by"
         " operations that disagree about it: 432 and 736 elements, frozen False and False"),
        (3, "observed", {"FF": {"weight": {"pattern": "8:2", "axis": "input"}}},
         "t.json: operations[3].observed.FF.weight.pattern (in 'fc'): got \"8:2\"; pattern 8:2: N of every M elements are"
         " kept, so 1 <= N <= M <= 1024 is needed, as in 2:8"),
        (3, "observed", {"BP": {"weight": {"pattern": "2:8"}}},
         "t.json: operations[3].observed.BP.weight (in 'fc'): axis: missing; a pattern and groups run along one"),
        (3, "observed", {"BP": {"weight": {"axis": "output"}}},
         "t.json: operations[3].observed.BP.weight (in 'fc'): give a pattern with its axis, a density, or both"),
        (3, "observed", {"WU": {"weight": {"density": 0.5}}},
         "t.json: operations[3].observed.WU.weight (in 'fc'): unknown key; allowed: activation, gradient"),
        (3, "observed", {"FF": {"weight": {"density": 1.5}}}, "t.json: operations[3].observed.FF.weight.density (in 'fc'):"
         " got 1.5; should be less than or equal to 1"),
        (3, "observed", {"FF": {"weight": {"density": 0.5, "axis": "input", "groups": [[0, 0, 0]]}}},
         "t.json: operations[3].observed.FF.weight (in 'fc'): groups: got [0, 0, 0]; M + 1 counts for M of at least 2, not"
         " all zero, are needed"),
        (3, "observed", {"FF": {"weight": {"pattern": "1:4", "axis": "input", "groups": [[3, 2, 1, 0, 0]]}}},
         "t.json: operations[3].observed.FF.weight (in 'fc'): pattern: 1:4, but a group holds 2 nonzeros"),
        (1, "backward_only", 1, "t.json: operations[1].backward_only (in 'relu'): got 1; should be a valid boolean"),
    ],
)  # fmt: skip
def test_a_bad_operation_is_named_with_its_path(
    documented: dict[str, Any], where: int, key: str, value: Any, message: str
) -> None:
    documented["operations"][where][key] = value
    got = error_of(documented)
    if key == "kernel" and value == [3]:
        assert got == message.replace("in_size: 2 numbers are needed, got 2", "kernel: 2 numbers are needed, got 1")
    else:
        assert got == message


def test_all_errors_of_a_file_are_reported_at_once(documented: dict[str, Any]) -> None:
    documented["modle"] = documented.pop("model")
    documented["operations"][0]["in_channels"] = 0
    del documented["operations"][3]["weight"]
    assert sorted(error_of(documented).splitlines()) == [
        "t.json: model: missing",
        "t.json: modle: unknown key; did you mean 'model'?; allowed: format, model, input_shapes, parameters, origin,"
        " operations",
        "t.json: operations[0].in_channels (in 'conv'): got 0; should be greater than or equal to 1",
        "t.json: operations[3].weight (in 'fc'): missing",
    ]


def test_a_parameter_count_below_the_weights_is_refused(documented: dict[str, Any]) -> None:
    documented["parameters"] = 1225
    assert error_of(documented) == (
        "t.json: top level: parameters: 1225 is less than the 1226 elements that the operations name"
    )


def test_other_formats_are_refused(documented: dict[str, Any]) -> None:
    documented["format"] = "accelsim-trace/2"
    assert error_of(documented) == (
        "t.json: format: got \"accelsim-trace/2\"; did you mean 'accelsim-trace/1'?; allowed: accelsim-trace/1"
    )


def test_damaged_files_are_refused_with_one_sentence(documented: dict[str, Any], tmp_path: Path) -> None:
    text = json.dumps(documented)
    cases = {
        "cut.json": (text[: len(text) // 2].encode(), r"not valid JSON: .* \(the file ends there: truncated\?\)"),
        "cut.json.gz": (gzip.compress(text.encode())[:-20], r"truncated or damaged gzip file \(.*\)"),
        "nan.json": (text.replace("1226", "NaN").encode(), "NaN is not a number that can be used"),
        "twice.json": (b'{"format": 1, "format": 2}', "key 'format' stands twice in one object"),
        "binary.json": (b"\xff\xfe\x00", r"not a text file \(UTF-8 expected\)"),
    }
    for name, (content, message) in cases.items():
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(acs.InputError, match=rf"^{file}: {message}$"):
            acs.load_trace(file)
    with pytest.raises(acs.InputError, match=r"^.*none\.json: no such file$"):
        acs.load_trace(tmp_path / "none.json")
    with pytest.raises(
        acs.InputError, match=r"^trace 'resnet50': .*; did you mean 'resnet50_imagenet'\?; shipped: .*$"
    ):
        acs.load_trace("resnet50")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"weight": {"name": "w", "frozen": True}, "weight_gradient": True},
            "weight_gradient: a frozen weight has none",
        ),
        (
            {"backward_only": True, "recomputed": True},
            "backward_only: such an operation is not recomputed",
        ),
    ],
)
def test_contradictions_of_an_operation_are_refused(
    documented: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    documented["operations"][3].update(fields)
    assert error_of(documented) == f"t.json: operations[3] (in 'fc'): {message}"


@given(st.lists(st.integers(0, 8), min_size=1, max_size=50), st.integers(1, 8))
def test_the_share_of_conforming_groups_follows_from_the_histogram(nonzeros: list[int], kept: int) -> None:
    counts = [nonzeros.count(i) for i in range(9)]
    seen = OperandSparsity(density=0.5, axis="input", groups=(tuple(counts),))
    assert seen.conforming(Pattern(kept=kept, group=8)) == sum(i <= kept for i in nonzeros) / len(nonzeros)
    assert seen.most_in(8) == max(nonzeros)
    assert seen.conforming(Pattern(kept=1, group=4)) is seen.most_in(4) is None


@given(st.integers(1, 1024), st.integers(1, 1024))
def test_patterns_round_trip_or_are_refused(kept: int, group: int) -> None:
    if kept <= group:
        pattern = Pattern.parse(f"{kept}:{group}")
        assert (str(pattern), pattern.density) == (f"{kept}:{group}", kept / group)
        assert 2**pattern.index_bits >= group > 2**pattern.index_bits // 2 or group == 1
    else:
        with pytest.raises(acs.InputError, match=rf"^pattern {kept}:{group}: N of every M elements are kept, so .*$"):
            Pattern.parse(f"{kept}:{group}")
