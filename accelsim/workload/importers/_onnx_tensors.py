"""The numbers of tensors that an ONNX file stores, in itself or in a file beside it."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.base.overwriting import note_input
from accelsim.workload.importers._onnx_graph import STANDARD, Content, Stored, shown

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

__all__ = ["constant", "floating_kinds", "is_constant", "stored_in", "tensor"]

_FLOATING = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")
_DATA = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def floating_kinds(onnx: ModuleType) -> frozenset[int]:
    """Return the numbers that ONNX gives to floating-point element types."""
    return frozenset(getattr(onnx.TensorProto, name) for name in _FLOATING if hasattr(onnx.TensorProto, name))


def stored_in(onnx: ModuleType, path: Path, graph: "GraphProto") -> Iterator[tuple[Stored, int]]:
    """Return the initializers of a graph, sparse ones included, and their element types."""
    for found in graph.initializer:
        yield tensor(onnx, path, found.name, found), found.data_type
    for sparse in graph.sparse_initializer:
        name, shape = sparse.values.name, tuple(sparse.dims)
        values, indices = (_content(onnx, path, name, part) for part in (sparse.values, sparse.indices))
        floating = sparse.values.data_type in floating_kinds(onnx)
        yield (
            Stored(name=name, shape=shape, floating=floating, content=_dense(values, indices, shape)),
            sparse.values.data_type,
        )


def constant(onnx: ModuleType, path: Path, proto: "NodeProto") -> tuple[Stored, int]:
    """Return the tensor of a Constant node and its element type; newer opsets also write plain numbers."""
    item, name = next(iter(proto.attribute), None), proto.output[0]
    if item is not None and item.name == "value":
        return tensor(onnx, path, name, item.t, in_node=True), item.t.data_type
    if item is None or item.name not in {"value_float", "value_floats", "value_int", "value_ints"}:
        what = f"attribute {item.name}" if item is not None else "no value"
        raise InputError(f"{path}: the Constant of '{name}' has {what}; only numbers can be read")
    floating = "float" in item.name
    kind = onnx.TensorProto.FLOAT if floating else onnx.TensorProto.INT64
    array = np.array(onnx.helper.get_attribute_value(item), np.float32 if floating else np.int64)
    return Stored(name=name, shape=array.shape, floating=floating, in_node=True, content=lambda: array), kind


def is_constant(proto: "NodeProto") -> bool:
    """Whether a node holds a tensor."""
    return proto.op_type == "Constant" and proto.domain in STANDARD


def tensor(onnx: ModuleType, path: Path, name: str, proto: "TensorProto", *, in_node: bool = False) -> Stored:
    """Return a tensor of the file under a name."""
    return Stored(
        name=name, shape=tuple(proto.dims), floating=proto.data_type in floating_kinds(onnx), in_node=in_node,
        content=_content(onnx, path, name, proto),
    )  # fmt: skip


def _content(onnx: ModuleType, path: Path, name: str, proto: "TensorProto") -> Content | None:
    """Return a reader of the numbers of a tensor; None where the file leaves them out and no file beside it has them.

    It raises `InputError` where there are too few.
    """
    elsewhere = proto.data_location == onnx.TensorProto.EXTERNAL
    beside = _beside(path, name, proto) if elsewhere else None
    if beside is None and (elsewhere or not any(getattr(proto, field) for field in _DATA)):
        return None

    @cache
    def content() -> NDArray[np.generic]:
        try:
            filled = proto if beside is None else _filled(onnx, beside, proto)
            array: NDArray[np.generic] = onnx.numpy_helper.to_array(filled)
        except Exception:  # numpy and onnx raise several kinds
            raise InputError(
                f"{path}: tensor '{name}' is {shown(proto.dims)}, and {beside or 'the file'} holds another number of"
                " elements"
            ) from None
        return array

    return content


def _beside(path: Path, name: str, proto: "TensorProto") -> Path | None:
    """Return the file that holds a tensor, None where it is not there.

    Raises `InputError` for a place that is not in the folder of the model: what a file says is not to be trusted.
    """
    place = next((entry.value for entry in proto.external_data if entry.key == "location"), "")
    relative = PurePosixPath(place.replace("\\", "/"))
    if not relative.name or relative.is_absolute() or ".." in relative.parts or ":" in relative.parts[0]:
        raise InputError(
            f"{path}: tensor '{name}' is said to lie in '{place}'; only files in the folder of the model are opened"
        )
    file, folder = path.parent / relative, path.parent.resolve()
    if not file.exists():
        return None
    if not file.resolve().is_relative_to(folder) or not file.is_file():
        raise InputError(
            f"{path}: tensor '{name}' is said to lie in '{place}', which leads out of the folder of the model or is no"
            " file; put a copy of the file there"
        )
    return file


def _filled(onnx: ModuleType, file: Path, proto: "TensorProto") -> "TensorProto":
    """Return the tensor with its numbers inside."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    offset = int(entries.get("offset", 0))
    note_input(file)
    with file.open("rb") as source:
        size = source.seek(0, 2)
        length = int(entries.get("length", size - offset))
        if not 0 <= offset <= offset + length <= size:
            raise ValueError(f"{length} bytes at {offset} of {size}")
        source.seek(offset)
        return onnx.TensorProto(dims=proto.dims, data_type=proto.data_type, raw_data=source.read(length))


def _dense(values: Content | None, indices: Content | None, shape: tuple[int, ...]) -> Content | None:
    if values is None or indices is None:
        return None

    def content() -> NDArray[np.generic]:
        places = indices().astype(np.int64)
        array = np.zeros(shape, values().dtype)
        array[tuple(places.T) if places.ndim > 1 else np.unravel_index(places, shape)] = values()
        return array

    return cache(content)
