"""``accelsim info``: the whole screen of a small trace, the object, and bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.workload.trace import workload_names

Run = Callable[..., tuple[int, str, str]]


def fc(number: int, density: float) -> dict[str, Any]:
    crowded = [0, 0, 31, 0, 0, 0, 0, 0, 0]
    crowded[3 + 2 * number] = 1
    near = {"density": (31 * 2 + 3 + 2 * number) / 256, "axis": "output", "groups": [crowded]}
    return {
        "name": f"b.{number}.fc", "kind": "linear", "in_features": 16, "out_features": 16, "rows": 2,
        "observed": {
            "FF": {"weight": {"density": 0.25, "pattern": "2:8", "axis": "input"}, "activation": {"density": density}},
            "BP": {"weight": near, "gradient": {"density": 1.0}},
            "WU": {"activation": {"density": density}, "gradient": {"density": 1.0}},
        },
    }  # fmt: skip


@pytest.fixture
def small(make_trace: Callable[..., acs.Trace], tmp_path: Path) -> Path:
    conv = {"name": "conv", "kind": "conv2d", "in_channels": 3, "out_channels": 16, "in_size": [4, 4], "kernel": [3, 3]}
    relu = {"name": "relu", "kind": "activation", "reads": 64, "writes": 64}
    trace = make_trace(conv, relu, fc(0, 0.5), fc(1, 0.625), parameters=1000)
    origin = trace.origin.model_copy(update={"steps": 3, "batch": 32, "assumptions": ("stride 1", "no [b]bias[/b]")})
    path = tmp_path / "small.json"
    acs.save_trace(trace.model_copy(update={"origin": origin}), path)
    return path


SCREEN = """\
tiny, input 3x32x32
4 operations, 1,000 parameters, 2,752 MACs forward per sample
from tiny.py:model, 3 steps of 32 samples traced with their operands
by accelsim trace 0.1.0 (torch 2.13.0)
no data-flow edges
assumed: stride 1
assumed: no [b]bias[/b]
56 of the parameters belong to no operation

layer        count  kind    input    weight  output    MACs  share  parameters  MACs/B
conv                conv2d  3x4x4  16x3x3x3  16x2x2  1.73 k  62.8%         432     5.2
b.{0..1}.fc      2  linear   2x16     16x16    2x16  1.02 k  37.2%         512     2.7

observed
layer        FF weight            BP weight  FF activation  BP gradient
b.{0..1}.fc        2:8  0.254-0.262 (96.9%)      0.5-0.625            1
N:M where all groups obey it, else share of nonzeros; in brackets share of groups that obey 2:8

kind        operations    MACs  share  parameters  activations
conv2d               1  1.73 k  62.8%         432          112
linear               2  1.02 k  37.2%         512          128
activation           1                                     128
all                  4  2.75 k                944          368
per sample; activations: elements that FF reads and writes besides weights; MACs/B: MACs per byte of input,
weight and output, each moved once in 16 bits at batch 8, the same in FF, BP and WU

one step of 8 samples under bdwp 2:8 on sat_vcu1525
stage    MACs  sparse   dense  why dense             which
FF     22.0 k   18.6%   62.8%  first layer           conv
                        18.6%  last layer            b.1.fc
BP     8.19 k   50.0%   50.0%  last layer            b.1.fc
WU     22.0 k          100.0%  bdwp leaves WU dense  all
"""


def test_the_screen_of_a_small_trace(run: Run, small: Path) -> None:
    code, out, err = run("info", str(small), "--batch", "8")
    assert (code, err) == (0, "")
    assert [line.rstrip() for line in out.splitlines()] == SCREEN.splitlines()


def test_every_operation(run: Run, small: Path) -> None:
    lines = [line.split() for line in run("info", str(small), "--all")[1].splitlines()]
    assert ["relu", "activation", "64", "64"] in lines
    assert ["b.1.fc", "linear", "2x16", "16x16", "2x16", "512", "18.6%", "256", "4.0"] in lines
    assert ["b.1.fc", "2:8", "0.262", "(96.9%)", "0.625", "1"] in lines


def test_tied_weights_and_methods_as_traced(run: Run, small: Path) -> None:
    out = run("info", "gpt2_1024")[1]
    assert (
        "linear                          linear      1024x768   50257x768    1024x50257  39.5 G  27.1%        tied"
        in out
    )
    out = run("info", str(small), "--method", "traced")[1]
    assert "one step of 512 samples under traced on sat_vcu1525" in out
    assert "2:8 along the input, and BP reduces the output  all" in out


@pytest.mark.parametrize("name", workload_names())
def test_shipped_traces_fit_the_screen(run: Run, name: str) -> None:
    code, out, err = run("info", name)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) <= 62
    assert max(map(len, out.splitlines())) <= 118
    assert "\n}" not in out  # no name is folded


def test_the_object(run: Run, small: Path) -> None:
    code, out, _ = run("info", str(small), "--json", "--pattern", "1:8", "--method", "sr-ste", "--batch", "2")
    data = json.loads(out)
    assert code == 0
    assert (data["format"], data["method"], data["pattern"], data["batch"]) == ("accelsim-info/1", "sr-ste", "1:8", 2)
    assert data["origin"]["steps"] == 3
    assert [layer["name"] for layer in data["layers"]] == ["conv", "relu", "b.0.fc", "b.1.fc"]
    assert data["layers"][2]["observed"][2] == {
        "stage": "BP", "operand": "weight", "density": 65 / 256, "pattern": None, "axis": "output", "conforming": 0.0,
    }  # fmt: skip
    assert data["kinds"][0] == {
        "kind": "conv2d", "operations": 1, "macs": 1728, "share": 1728 / 2752, "parameters": 432, "activations": 112,
    }  # fmt: skip
    assert data["stages"][2]["dense"][0]["text"] == "sr-ste leaves WU dense"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.json"], "error: none.json: no such file\n"),
        (["resnet18_tinyimagenet", "--method", "bdpw"],
         "error: method 'bdpw' is not known; did you mean 'bdwp'?; allowed: dense, sr-ste, sdgp, sdwp, bdwp, bi-mask,"
         " transposable, mvue, traced\n"),
        (["resnet18_tinyimagenet", "--pattern", "2:x"],
         "error: pattern '2:x': expected N:M with two whole numbers, as in 2:8\n"),
        (["resnet18_tinyimagenet", "--batch", "0"], "error: batch: got 0; allowed: 1 to 1048576\n"),
        (["resnet18_tinyimagenet", "--hw", "none.yaml"], "error: none.yaml: no such file\n"),
        ([], "error: Missing argument 'TRACE'. (try: accelsim info --help)\n"),
    ],
)  # fmt: skip
def test_bad_input(run: Run, arguments: list[str], message: str) -> None:
    assert run("info", *arguments) == (2, "", message)
