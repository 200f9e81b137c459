"""Exports of any format: whatever one cannot hold is said, and nothing is written by halves."""

from collections.abc import Callable
from pathlib import Path

import pytest
from export_cases import as_trace, conv, convolutions, linear
from hypothesis import given, settings

import accelsim as acs
from accelsim.workload.exporters.accelforge import layer_einsums
from accelsim.workload.exporters.scalesim import layer_topology
from accelsim.workload.exporters.timeloop import layer_problems
from accelsim.workload.exporters.zigzag import layer_workload
from accelsim.workload.exporting import OperandBits, windows, write_directory

Make = Callable[..., acs.Trace]
BITS = OperandBits(operand=16, accumulator=32, gradient=32)


@settings(deadline=None)
@given(operation=convolutions(regular=False))
def test_a_window_reads_what_a_walk_over_outputs_and_taps_reads(operation: dict[str, object]) -> None:
    (layer,) = as_trace(operation).operations
    sizes = zip(layer.in_size, layer.kernel, layer.out_size, layer.stride, layer.dilation, layer.padding, strict=True)
    for window, (size, taps, positions, stride, dilation, padding) in zip(windows(layer)[::-1], sizes, strict=True):
        reached = {o * stride + t * dilation - padding for o in range(positions) for t in range(taps)}
        assert window.extent == max(reached) - min(reached) + 1
        assert window.inputs_read == len(reached & set(range(size)))


def test_what_no_format_holds_is_said(make_trace: Make) -> None:
    shared = {"weight": {"name": "shared"}}
    trace = make_trace(
        linear("a", out_features=32, recomputed=True, **shared),
        linear("b", out_features=32, **shared),
        {"name": "later", "kind": "matmul", "m": 2, "n": 2, "k": 2, "backward_only": True},
    )
    assert layer_problems(trace).notes == (
        "weights that layers share are written with each of them: shared",
        "operations of the backward pass alone are not written: later",
        "operations that the backward pass computes again are written once: a",
    )
    assert len(layer_problems(trace).texts) == 2
    transposed = make_trace(conv("up", kind="conv_transpose2d"))
    writers = {
        "a Timeloop problem": lambda: layer_problems(transposed),
        "a ZigZag workload": lambda: layer_workload(transposed, BITS),
        "an AccelForge workload": lambda: layer_einsums(transposed, BITS),
    }
    for what, write in writers.items():
        with pytest.raises(acs.InputError) as caught:
            write()
        assert str(caught.value) == f"{what} cannot hold transposed convolutions (up); --stage FF writes products"
    with pytest.raises(acs.InputError, match=r"^trace 'tiny': no operation has a product$"):
        layer_topology(make_trace({"name": "relu", "kind": "activation", "reads": 1, "writes": 1}))


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(acs.InputError, match=rf"^{target}: cannot be written: No such file or directory$"):
        write_directory(target, [("a.yaml", "a"), ("no/b.yaml", "b")])
    assert list(tmp_path.iterdir()) == []
    target.mkdir()
    write_directory(target, [("a.yaml", "a"), ("b.yaml", "b")])
    assert {path.name: path.read_text() for path in target.iterdir()} == {"a.yaml": "a", "b.yaml": "b"}
    assert target.stat().st_mode & 0o777 == (tmp_path / "probe").mkdir() or (tmp_path / "probe").stat().st_mode & 0o777
    with pytest.raises(acs.InputError, match=rf"^{target}: exists; a new or an empty directory is needed$"):
        write_directory(target, [("c.yaml", "c")])
    assert sorted(path.name for path in target.iterdir()) == ["a.yaml", "b.yaml"]
    with pytest.raises(acs.InputError, match=r"^.*: cannot be written: No such file or directory$"):
        write_directory(tmp_path / "no" / "out", [("c.yaml", "c")])
