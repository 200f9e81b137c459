"""What the user says of calls that a recording does not explain, as ``accelsim import --call NAME=WHAT`` takes it.

``NAME=ignore`` leaves a call out. ``NAME=linear(X, W)`` reads it as a linear layer: its arguments number X and W,
counted from 0, are data and weight, the weight (outputs, inputs) or (inputs, outputs). ``*`` in a name stands for
anything, as in ``triton_tem_*``.
"""

import re
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase

from accelsim.base.errors import InputError, did_you_mean
from accelsim.workload.importers._torch_rows import Recording, Row, Tensor

__all__ = ["tell"]

_LINEAR = re.compile(r"linear\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)")


def tell(recording: Recording, calls: Mapping[str, str]) -> list[str]:
    """Mark the calls of a recording of which `calls` says what they are; return a note for each name.

    Raises `InputError` for what cannot be understood, for a name that no call has, and for arguments that are no
    linear layer.
    """
    rows = [row for top in recording.rows for row in top.walk()]
    notes = []
    for name, what in calls.items():
        linear = _LINEAR.fullmatch(what)
        if what != "ignore" and linear is None:
            raise InputError(f"--call {name}={what}: expected ignore, or linear(X, W) with the places of two arguments")
        mine = [row for row in rows if fnmatchcase(row.name, name)]
        if not mine:
            near = did_you_mean(name, Counter(_names(rows)))
            raise InputError(f"--call {name}={what}: {recording.source} holds no such call{near}")
        for row in mine:
            row.told = "ignore"
            if linear is not None:
                _make_linear(row, int(linear[1]), int(linear[2]), f"--call {name}={what}")
        many = f"{len(mine)} call{'s' * (len(mine) > 1)}"
        said = f"read as a linear layer of arguments {linear[1]} and {linear[2]}" if linear else "left out"
        notes.append(f"{name} ({many}) is {said}, as --call says")
    return notes


def _names(rows: list[Row]) -> list[str]:
    return [row.name for row in rows if row.is_operation]


def _make_linear(row: Row, data_at: int, weight_at: int, option: str) -> None:
    """Turn a call into the one of torch: data, then the weight with its outputs first."""
    count = len(row.inputs)
    places = [row.inputs[at] if at < count else None for at in (data_at, weight_at)]
    data, weight = places
    if not isinstance(data, Tensor) or not isinstance(weight, Tensor):
        at = data_at if not isinstance(data, Tensor) else weight_at
        tensors = ", ".join(str(i) for i, value in enumerate(row.inputs) if isinstance(value, Tensor)) or "none"
        raise InputError(f"{option}: argument {at} of {row.name} is no tensor; tensors are: {tensors}")
    fits = len(weight.shape) == 2 and data.shape and data.shape[-1] in weight.shape
    if not fits or data_at == weight_at:
        shapes = " and ".join("x".join(map(str, one.shape)) or "a number" for one in (data, weight))
        raise InputError(f"{option}: {row.name} on {shapes}: no data of a linear layer and its weight")
    if weight.shape[1] != data.shape[-1]:
        strides = weight.strides[::-1] if weight.strides else None
        weight = Tensor(weight.shape[::-1], strides, weight.storage, weight.offset)
    row.told, row.name, row.inputs, row.children = "linear", "aten::linear", (data, weight), []
