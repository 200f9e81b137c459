"""Shape inference over an ONNX graph, with the package ``onnx`` as the caller imported it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.workload.importers._onnx_graph import Fact, Graph, MisfitError, Node, Stored, shown

__all__ = ["Inference", "Opened", "first_line", "floating_kinds"]

_KNOWN_ELEMENTS = 1024  # larger constants are data, not sizes
_FLOATING = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")
_KEEP_SHAPE = {"GroupNormalization", "MeanVarianceNormalization"}  # ONNX itself infers no shape for them


def floating_kinds(onnx: Any) -> frozenset[int]:
    """Return the numbers that ONNX gives to floating-point element types."""
    return frozenset(getattr(onnx.TensorProto, name) for name in _FLOATING if hasattr(onnx.TensorProto, name))


def first_line(error: Exception) -> str:
    """Return the first line of an error that another package raised."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An ONNX file: the package that reads it, its protobuf and the nodes of that, and the graph as plain values."""

    onnx: Any
    model: Any
    opset: int
    protos: Sequence[Any]
    graph: Graph


class Inference:
    """Shapes of all tensors for given inputs, node by node, with the contents of the small constant ones.

    Sizes that a graph computes from the shapes of its tensors are evaluated on the way.
    """

    def __init__(self, file: Opened, sizes: Mapping[str, tuple[int, ...]]) -> None:
        self.facts: dict[str, Fact | None] = {}
        self._onnx, self._model, self._graph, self._opset = file.onnx, file.model, file.graph, file.opset
        self._floating = floating_kinds(file.onnx)
        self._types: dict[str, Any] = {}
        self._contents: dict[str, Any] = {}
        for entry in file.model.graph.input:
            if entry.name in sizes:
                self._set(entry.name, entry.type.tensor_type.elem_type, sizes[entry.name])
        for stored, kind in self._all_stored(file.protos):
            small = prod(stored.shape) <= _KNOWN_ELEMENTS and stored.content is not None
            self._set(stored.name, kind, stored.shape, stored.content() if small and stored.content else None)
        for node, proto in zip(file.graph.nodes, file.protos, strict=True):
            if node.operator != "Constant":
                self._infer(node, proto)

    def _all_stored(self, protos: Sequence[Any]) -> Iterator[tuple[Stored, int]]:
        kinds = {tensor.name: tensor.data_type for tensor in self._model.graph.initializer}
        kinds |= {sparse.values.name: sparse.values.data_type for sparse in self._model.graph.sparse_initializer}
        plain = {True: self._onnx.TensorProto.FLOAT, False: self._onnx.TensorProto.INT64}
        for proto in protos:
            if proto.op_type == "Constant":
                item = proto.attribute[0]
                kinds[proto.output[0]] = item.t.data_type if item.name == "value" else plain["float" in item.name]
        for stored in self._graph.stored.values():
            yield stored, kinds[stored.name]

    def _set(self, name: str, kind: int, shape: tuple[int, ...], known: NDArray[Any] | None = None) -> None:
        self.facts[name] = Fact(shape, kind in self._floating, known)
        self._types[name] = self._onnx.helper.make_tensor_type_proto(kind, shape)

    def _infer(self, node: Node, proto: Any) -> None:
        inputs = [name for name in node.inputs if name]
        for name in inputs:
            if name not in self._types:
                raise InputError(
                    f"{self._graph.file}: {node.where}: its input '{name}' is neither an input of the graph, nor"
                    " stored, nor the result of a node before it"
                )
        types = self._inferred(node, proto, inputs)
        large = any(_elements(kind) > _KNOWN_ELEMENTS for kind in types.values())
        contents = None if large else self._evaluated(node, proto)
        for position, name in enumerate(node.outputs):
            kind = types.get(name)
            if not name or kind is None:
                continue
            self._types[name], self.facts[name] = kind, None
            dims = kind.tensor_type.shape.dim
            if contents is not None:
                array = np.asarray(contents[position])
                self._set(name, kind.tensor_type.elem_type, array.shape, array)
            elif kind.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
                self._set(name, kind.tensor_type.elem_type, tuple(dim.dim_value for dim in dims))

    def _inferred(self, node: Node, proto: Any, inputs: Sequence[str]) -> Mapping[str, Any]:
        onnx = self._onnx
        schema = _schema(onnx, node.operator, self._opset)
        data = {name: content for name in inputs if (content := self._as_proto(name)) is not None}
        types = {name: self._types[name] for name in inputs}
        if node.operator in _KEEP_SHAPE:
            return {node.outputs[0]: types[inputs[0]]}
        try:
            found: Mapping[str, Any] = onnx.shape_inference.infer_node_outputs(
                schema, proto, types, data, opset_imports=list(self._model.opset_import),
                ir_version=self._model.ir_version,
            )  # fmt: skip
        except Exception as error:  # InferenceError, and others from the binding
            shapes = ", ".join(shown(fact.shape) if (fact := self.facts[name]) else "?" for name in inputs)
            raise MisfitError(
                f"{self._graph.file}: {node.where}: its inputs of shapes {shapes} do not fit: {first_line(error)}"
            ) from None
        return found

    def _as_proto(self, name: str) -> Any:
        fact = self.facts[name]
        if fact is None or fact.known is None:
            return None
        if name not in self._contents:
            self._contents[name] = self._onnx.numpy_helper.from_array(fact.known)
        return self._contents[name]

    def _evaluated(self, node: Node, proto: Any) -> Sequence[Any] | None:
        """Return the results of a node whose operands are all known; None where they are not, or are large."""
        facts = [self.facts[name] if name else None for name in node.inputs]
        if node.operator in {"Shape", "Size"}:
            return None if facts[0] is None else [_sizes_of(node, facts[0].shape)]
        arrays = [fact.known if fact else None for fact in facts]
        missing = any(name and array is None for name, array in zip(node.inputs, arrays, strict=True))
        if missing or not arrays or "Random" in node.operator or node.operator == "Bernoulli":
            return None
        try:
            run = _evaluator(self._onnx, node, proto, self._opset)
            given = {f"i{position}": array for position, array in enumerate(arrays) if array is not None}
            with np.errstate(all="ignore"):
                results: Sequence[Any] = run(given)
        except Exception:  # what the reference does not implement stays unknown
            return None
        small = all(isinstance(array, np.ndarray | np.generic) and array.size <= _KNOWN_ELEMENTS for array in results)
        return results if small else None


def _elements(kind: Any) -> int:
    return prod(dim.dim_value for dim in kind.tensor_type.shape.dim)


@cache
def _schema(onnx: Any, operator: str, opset: int) -> Any:
    return onnx.defs.get_schema(operator, opset, "")


def _sizes_of(node: Node, shape: tuple[int, ...]) -> NDArray[Any]:
    if node.operator == "Size":
        return np.array(prod(shape), np.int64)
    return np.array(shape[node.attributes.get("start", 0) : node.attributes.get("end", None)], np.int64)


def _evaluator(onnx: Any, node: Node, proto: Any, opset: int) -> Any:
    bare = onnx.NodeProto(op_type=proto.op_type, attribute=proto.attribute)
    bare.input.extend(f"i{position}" if name else "" for position, name in enumerate(node.inputs))
    bare.output.extend(f"o{position}" if name else "" for position, name in enumerate(node.outputs))
    return _compiled(onnx, bare.SerializeToString(), opset)


@cache
def _compiled(onnx: Any, text: bytes, opset: int) -> Any:
    """Return the reference implementation of a node as a function of its inputs."""
    node = onnx.NodeProto.FromString(text)
    kind = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [kind(name, 1, None) for name in node.input if name],
        [kind(name, 1, None) for name in node.output],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    evaluator = onnx.reference.ReferenceEvaluator(model)
    return lambda arrays: evaluator.run(None, arrays)
