"""Which format a file has, and what an unknown one is told."""

import gc
import gzip
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.workload.importing import IMPORT_FORMATS, ImportOptions, import_trace, recognise

KNOWN = "; ".join(f"{name}: {title}" for name, title in IMPORT_FORMATS.items())


@pytest.mark.parametrize(
    ("name", "content", "want"),
    [
        ("net.csv", "", "scalesim"),
        ("net.csv.gz", "", "scalesim"),
        ("net.onnx", "", "onnx"),
        ("profile.json", '{"schemaVersion": 1, "traceEvents": []}', "kineto"),
        ("profile.json.gz", '{"traceEvents": []}', "kineto"),
        ("host.json", '{"schema": "1.1.1-chakra.0.0.4", "nodes": []}', "execution-trace"),
    ],
)
def test_a_format_is_recognised_by_suffix_and_keys(tmp_path: Path, name: str, content: str, want: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    assert recognise(path) == want


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("net.txt", "", f"no known format; give one with --format. Known: {KNOWN}"),
        ("net.json", "[1, 2]", f"no known format; give one with --format. Known: {KNOWN}"),
        ("net.json", '{"nodes": []}', f"no known format; give one with --format. Known: {KNOWN}"),
        ("net.json", '{"format": "accelsim-trace/1"}', "is a trace of accelsim already"),
        ("net.json", '{"a": ', "not valid JSON: Expecting value at line 1, column 7 (the file ends there: truncated?)"),
    ],
)
def test_what_is_not_recognised_is_told_what_would_be(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(acs.InputError) as caught:
        recognise(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_byte_order_mark_before_json_says_nothing(tmp_path: Path, documented: dict[str, Any]) -> None:
    plain, marked = tmp_path / "t.json", tmp_path / "marked.json"
    plain.write_text(json.dumps(documented))
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert acs.load_trace(marked) == acs.load_trace(plain)
    profile = tmp_path / "profile.json.gz"
    profile.write_bytes(gzip.compress('\ufeff{"traceEvents": []}'.encode()))
    assert recognise(profile) == "kineto"
    with pytest.raises(acs.InputError, match=r"marked\.json: is a trace of accelsim already$"):
        recognise(marked)


def test_large_recordings_are_recognised_by_their_beginning(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text('{"schemaVersion": 1, "traceEvents": [' + "0, " * 10**6)
    assert recognise(path) == "kineto"
    path = tmp_path / "cut.json.gz"
    path.write_bytes(gzip.compress(b'{"nodes": []}')[:-9])
    with pytest.raises(acs.InputError, match=r"^.*cut\.json\.gz: truncated or damaged gzip file \(.*\)$"):
        recognise(path)


def test_a_missing_file_and_a_misspelt_format_are_named(tmp_path: Path) -> None:
    with pytest.raises(acs.InputError, match=r"^none\.csv: no such file$"):
        import_trace("none.csv")
    with pytest.raises(acs.InputError) as caught:
        import_trace(tmp_path / "net.csv", "scale-sim")
    assert str(caught.value) == (
        "format 'scale-sim' is not known; did you mean 'scalesim'?; allowed: scalesim, onnx, kineto, execution-trace"
    )


def test_options_reach_the_reader_and_a_named_format_wins(tmp_path: Path) -> None:
    path = tmp_path / "net.txt"
    path.write_text("Layer, M, N, K,\nfc, 8, R, 16,\n")
    trace = import_trace(str(path), "scalesim", ImportOptions(name="mlp", batch=2, sizes={"R": 10}))
    assert (trace.model, trace.operations[0].rows, trace.operations[0].out_features) == ("mlp", 4, 10)
    acs.save_trace(trace, tmp_path / "net.json")
    assert acs.load_trace(tmp_path / "net.json") == trace
    assert json.loads((tmp_path / "net.json").read_text())["origin"]["exporter"] == f"accelsim import {acs.__version__}"


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("refused", [True, False])
def test_nobody_looks_for_garbage_while_a_file_is_read(
    monkeypatch: pytest.MonkeyPatch, refused: bool, on: bool
) -> None:
    """The search through millions of objects took most of the time of large recordings; afterwards it is as before."""
    searched: list[bool] = []

    def read(path: Path, _: ImportOptions) -> acs.Trace:
        searched.append(gc.isenabled())
        if refused:
            raise acs.InputError(f"{path}: no")
        return acs.load_trace("resnet9_cifar10")

    monkeypatch.setattr("accelsim.workload.importers.kineto.read", read)
    (gc.enable if on else gc.disable)()
    try:
        with pytest.raises(acs.InputError, match=r"^x: no$") if refused else nullcontext():
            import_trace("x", "kineto")
        assert (searched, gc.isenabled()) == ([False], on)
    finally:
        gc.enable()
