"""Layers to export: small ones by hand, and convolutions of any geometry."""

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

import accelsim as acs
from accelsim.base.files import validate
from accelsim.workload.trace import Trace


def conv(name: str = "conv", **fields: Any) -> dict[str, Any]:
    basic = {"in_channels": 16, "out_channels": 32, "in_size": [14, 14], "kernel": [3, 3]}
    return {"name": name, "kind": "conv2d", **basic, **fields}


def linear(name: str = "fc", **fields: Any) -> dict[str, Any]:
    return {"name": name, "kind": "linear", "in_features": 32, "out_features": 10, **fields}


def seen(pattern: str, axis: str = "input") -> dict[str, Any]:
    return {"FF": {"weight": {"pattern": pattern, "axis": axis}}}


SIZE = st.integers(1, 20)


@st.composite
def convolutions(draw: st.DrawFn, regular: bool) -> dict[str, Any]:
    """A convolution of one or two dimensions; `regular` ones fit a topology of convolutions."""
    rank = draw(st.integers(1, 2 if regular else 3))
    several = st.lists(st.integers(1, 4), min_size=rank, max_size=rank)
    groups, filters = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    channels = groups if regular and groups > 1 else groups * draw(st.integers(1, 4))
    stride = [draw(st.integers(1, 4))] * rank if regular else draw(several)
    return {
        "name": draw(st.sampled_from(["conv", "DP", "a.b"])),
        "kind": f"conv{rank}d",
        "in_channels": channels,
        "out_channels": groups * filters,
        "in_size": draw(st.lists(SIZE, min_size=rank, max_size=rank)),
        "kernel": draw(several),
        "stride": stride,
        "padding": draw(st.lists(st.integers(0, 3), min_size=rank, max_size=rank)),
        "dilation": [1] * rank if regular else draw(several),
        "groups": groups,
        "weight": {"name": "w"},
    }


def as_trace(operation: dict[str, Any]) -> acs.Trace:
    origin = {"exporter": "test", "source": "test"}
    data = {"format": "accelsim-trace/1", "model": "net", "input_shapes": [[1]], "parameters": 10**9, "origin": origin}
    try:
        return validate(Trace, {**data, "operations": [operation]}, "test")
    except acs.InputError:
        assume(False)
        raise
