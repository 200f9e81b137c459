"""Shape inference over an ONNX graph, with the package ``onnx`` as the caller imported it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import prod
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.workload.importers._onnx_body import Body, Step
from accelsim.workload.importers._onnx_control import decided, flex_attention
from accelsim.workload.importers._onnx_expansions import EXPANSIONS
from accelsim.workload.importers._onnx_file import Opened, first_line
from accelsim.workload.importers._onnx_graph import STANDARD, Fact, Graph, MisfitError, Node, Stored, shown
from accelsim.workload.importers._onnx_live import live
from accelsim.workload.importers._onnx_operators import OPERATORS
from accelsim.workload.importers._onnx_tensors import floating_kinds

if TYPE_CHECKING:
    from onnx import OperatorSetIdProto, TensorProto, TypeProto, ValueInfoProto
    from onnx.defs import OpSchema
    from onnx.reference import ReferenceEvaluator

__all__ = ["Inference"]

_KNOWN_ELEMENTS = 1024  # larger constants are data, not sizes
_KEEP_SHAPE = {"GroupNormalization", "MeanVarianceNormalization"}  # ONNX itself infers no shape for them


class Inference:
    """Shapes of all tensors for given inputs, node by node, with the contents of the small constant ones.

    Sizes that a graph computes from the shapes of its tensors are evaluated on the way; nodes that stand for several
    are replaced by these, an If by its branch. `values`: inputs that are known numbers.
    """

    def __init__(self, file: Opened, sizes: Mapping[str, tuple[int, ...]], values: Mapping[str, float]) -> None:
        self.facts: dict[str, Fact | None] = {}
        self._file, self._onnx, self._model = file, file.onnx, file.model
        self._name = file.graph.file
        self._nodes: list[Node] = []
        self._stored = dict(file.graph.stored)
        self._taken = {*file.graph.inputs, *self._stored, *(name for node in file.graph.nodes for name in node.outputs)}
        self._floating = floating_kinds(file.onnx)
        self._types: dict[str, TypeProto] = {}
        self._contents: dict[str, NDArray[np.generic]] = {}
        for entry in file.model.graph.input:
            if entry.name in sizes:
                self._input(entry, sizes[entry.name], values.get(entry.name))
        for stored in file.graph.stored.values():
            self._store(stored, file.kinds[stored.name])
        for node, proto in zip(file.graph.nodes, file.protos, strict=True):
            self._take(Step(node=node, proto=proto, opset=file.opset))

    @property
    def graph(self) -> Graph:
        """The graph without nodes that stand for several, and without those that no output depends on."""
        graph = self._file.graph
        kept = live([(node.inputs, node.outputs) for node in self._nodes], set(graph.outputs))
        pairs = list(zip(self._nodes, kept, strict=True))
        others = [node.name or node.result for node, keep in pairs if not keep and self._is_work(node)]
        return replace(
            graph,
            nodes=tuple(node for node, keep in pairs if keep),
            stored=self._stored,
            unused=(*graph.unused, *others),
        )

    def _is_work(self, node: Node) -> bool:
        """Whether a node of the file computes more than what is known beforehand."""
        fact = self.facts.get(node.result)
        return node.origin is None and node.operator in OPERATORS.work and (fact is None or fact.known is None)

    def _input(self, entry: "ValueInfoProto", shape: tuple[int, ...], value: float | None) -> None:
        kind = entry.type.tensor_type.elem_type
        known = None
        if value is not None:
            known = np.full(shape, value, self._onnx.helper.tensor_dtype_to_np_dtype(kind))
        self._set(entry.name, kind, shape, known)

    def _store(self, stored: Stored, kind: int) -> None:
        small = prod(stored.shape) <= _KNOWN_ELEMENTS and stored.content is not None
        self._set(stored.name, kind, stored.shape, stored.content() if small and stored.content else None)

    def _set(self, name: str, kind: int, shape: tuple[int, ...], known: NDArray[np.generic] | None = None) -> None:
        self.facts[name] = Fact(shape, kind in self._floating, known)
        self._types[name] = self._onnx.helper.make_tensor_type_proto(kind, shape)

    def _take(self, step: Step) -> None:
        """Infer the results of a node, or take the nodes that it stands for instead."""
        node = step.node
        self._check_inputs(node)
        if node.operator == "Constant":
            self._nodes.append(node)
        elif (body := self._body(step)) is not None:
            for stored, kind in body.stored:
                self._stored[stored.name] = stored
                self._store(stored, kind)
            self._taken |= {name for part in body.steps for name in part.node.outputs}
            for part in body.steps:
                self._take(part)
        else:
            self._nodes.append(node)
            self._infer(step)

    def _check_inputs(self, node: Node) -> None:
        for name in filter(None, node.inputs):
            if name not in self._types:
                raise InputError(
                    f"{self._name}: {node.where}: its input '{name}' is neither an input of the graph, nor"
                    " stored, nor the result of a node before it"
                )

    def _body(self, step: Step) -> Body | None:
        """Return what a node stands for, None where it is one by itself."""
        node = step.node
        expansion = EXPANSIONS.get((node.domain, node.operator))
        inside = node.operator in {"If", "FlexAttention"}
        if expansion is None and not inside:
            return None
        body = Body(self._onnx, self._file.graph, node, self.facts, self._types)
        try:
            if expansion is not None:
                expansion(body)
            elif node.operator == "If":
                decided(self._file, body, self._taken)
            else:
                flex_attention(self._file, body, self._taken)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise body.error(f"its inputs and attributes do not fit together ({error})") from error
        return body

    def _infer(self, step: Step) -> None:
        node = step.node
        given = self._given(step)
        types = given or self._inferred(step)
        large = any(_elements(kind) > _KNOWN_ELEMENTS for kind in types.values())
        contents = None if large or given else self._evaluated(step)
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

    def _given(self, step: Step) -> Mapping[str, Any]:
        """Return the types of results where the step itself says what they are."""
        if step.shapes is None and not step.same:
            return {}
        first = step.node.inputs[0]
        fact = self.facts[first]
        if step.same and fact is None:
            raise InputError(f"{self._name}: {step.node.where}: the shape of its input depends on values that the file"
                             " does not hold")  # fmt: skip
        kind = self._types[first].tensor_type.elem_type if step.kind is None else step.kind
        shapes = step.shapes or ((fact.shape if fact else (),) * len(step.node.outputs))
        pairs = zip(step.node.outputs, shapes, strict=False)
        return {name: self._onnx.helper.make_tensor_type_proto(kind, shape) for name, shape in pairs if name}

    def _inferred(self, step: Step) -> "Mapping[str, TypeProto]":
        onnx, node = self._onnx, step.node
        inputs = [name for name in node.inputs if name]
        schema = _schema(onnx, node.operator, step.opset, node.domain)
        data = {name: content for name in inputs if (content := self._as_proto(name)) is not None}
        types = {name: self._types[name] for name in inputs}
        if node.operator in _KEEP_SHAPE:
            return {node.outputs[0]: types[inputs[0]]}
        try:
            found: Mapping[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
                schema, step.proto, types, data, opset_imports=self._opsets(step.opset),
                ir_version=self._model.ir_version,
            )  # fmt: skip
        except Exception as error:  # InferenceError, and others from the binding
            shapes = ", ".join(shown(fact.shape) if (fact := self.facts[name]) else "?" for name in inputs)
            raise MisfitError(
                f"{self._name}: {node.where}: its inputs of shapes {shapes} do not fit: {first_line(error)}"
            ) from None
        return found

    def _opsets(self, opset: int) -> "list[OperatorSetIdProto]":
        others = [entry for entry in self._model.opset_import if entry.domain not in STANDARD]
        return [self._onnx.helper.make_opsetid("", opset), *others]

    def _as_proto(self, name: str) -> "TensorProto":
        fact = self.facts[name]
        if fact is None or fact.known is None:
            return None
        if name not in self._contents:
            self._contents[name] = self._onnx.numpy_helper.from_array(fact.known)
        return self._contents[name]

    def _evaluated(self, step: Step) -> Sequence[NDArray[np.generic]] | None:
        """Return the results of a node whose operands are all known; None where they are not, or are large."""
        node = step.node
        facts = [self.facts[name] if name else None for name in node.inputs]
        if node.operator in {"Shape", "Size"}:
            return None if facts[0] is None else [_sizes_of(node, facts[0].shape)]
        arrays = [fact.known if fact else None for fact in facts]
        missing = any(name and array is None for name, array in zip(node.inputs, arrays, strict=True))
        if missing or not arrays or "Random" in node.operator or node.operator == "Bernoulli":
            return None
        try:
            run = _evaluator(self._onnx, step)
            given = {f"i{position}": array for position, array in enumerate(arrays) if array is not None}
            with np.errstate(all="ignore"):
                results: Sequence[NDArray[np.generic]] = run(given)
        except Exception:  # what the reference does not implement stays unknown
            return None
        small = all(isinstance(array, np.ndarray | np.generic) and array.size <= _KNOWN_ELEMENTS for array in results)
        return results if small else None


def _elements(kind: "TypeProto") -> int:
    return prod(dim.dim_value for dim in kind.tensor_type.shape.dim)


@cache
def _schema(onnx: ModuleType, operator: str, opset: int, domain: str) -> "OpSchema":
    return onnx.defs.get_schema(operator, opset, domain)


def _sizes_of(node: Node, shape: tuple[int, ...]) -> NDArray[np.generic]:
    if node.operator == "Size":
        return np.array(prod(shape), np.int64)
    return np.array(shape[node.attributes.get("start", 0) : node.attributes.get("end", None)], np.int64)


def _evaluator(onnx: ModuleType, step: Step) -> "ReferenceEvaluator":
    node, proto = step.node, step.proto
    bare = onnx.NodeProto(op_type=proto.op_type, attribute=proto.attribute)
    bare.input.extend(f"i{position}" if name else "" for position, name in enumerate(node.inputs))
    bare.output.extend(f"o{position}" if name else "" for position, name in enumerate(node.outputs))
    return _compiled(onnx, bare.SerializeToString(), step.opset)


@cache
def _compiled(onnx: ModuleType, text: bytes, opset: int) -> "ReferenceEvaluator":
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
