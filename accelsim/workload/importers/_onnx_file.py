"""An ONNX file as it is before shapes are known: its protobuf, checked node by node, and the graph as plain values."""

import ast
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from accelsim.base.characters import refuse_control
from accelsim.base.errors import InputError, to_install
from accelsim.workload.importers._onnx_body import node_of
from accelsim.workload.importers._onnx_expansions import EXPANSIONS
from accelsim.workload.importers._onnx_graph import STANDARD, Graph, Node, Stored
from accelsim.workload.importers._onnx_live import captured, graphs_of, live
from accelsim.workload.importers._onnx_operators import OPERATORS, REFUSED
from accelsim.workload.importers._onnx_tensors import constant, is_constant, stored_in

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["Opened", "first_line", "opened"]

_SCOPES = "pkg.torch.onnx.name_scopes"
_TRAINING = "ai.onnx.preview.training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An ONNX file: the package that reads it, its protobuf and the nodes of that, and the graph as plain values.

    `kinds`: element types of the stored tensors.
    """

    onnx: ModuleType
    path: Path
    model: "ModelProto"
    opset: int
    protos: "Sequence[NodeProto]"
    graph: Graph
    kinds: Mapping[str, int]

    def node(self, proto: "NodeProto") -> Node:
        """Return a node as plain values. Raises `InputError` for an operator that cannot be read."""
        node = node_of(self.onnx, str(self.path), proto, module=_module(proto))
        _check(self.onnx, self.path, node, proto, _context(self.onnx, self.model))
        return node


def opened(path: Path) -> Opened:
    """Return the ONNX file at `path`. Raises `InputError` for one that cannot be read."""
    onnx = _package()
    model = _loaded(onnx, path)
    protos, unused = _used(onnx, path, model, _inlined(onnx, path, model))
    stored: dict[str, Stored] = {}
    kinds: dict[str, int] = {}
    constants = (constant(onnx, path, proto) for proto in protos if is_constant(proto))
    for found, kind in _together(stored_in(onnx, path, model.graph), constants):
        if found.name in stored:
            raise InputError(f"{path}: tensor '{found.name}' is stored twice")
        stored[found.name], kinds[found.name] = found, kind
    inputs = tuple(entry.name for entry in model.graph.input if entry.name not in stored)
    graph = Graph(
        file=str(path), inputs=inputs, outputs=tuple(entry.name for entry in model.graph.output),
        nodes=_nodes(onnx, path, model, protos, {*inputs, *(name for name in stored if not stored[name].in_node)}),
        stored=stored, unused=unused,
    )  # fmt: skip
    return Opened(onnx=onnx, path=path, model=model, opset=_opset(path, model), protos=protos, graph=graph, kinds=kinds)


def _together(*parts: Iterator[tuple[Stored, int]]) -> Iterator[tuple[Stored, int]]:
    for part in parts:
        yield from part


def _used(
    onnx: ModuleType, path: Path, model: "ModelProto", protos: "Sequence[NodeProto]"
) -> tuple["Sequence[NodeProto]", tuple[str, ...]]:
    """Return the nodes that an output depends on, and the names of the others."""
    for proto in protos:
        if not any(proto.output):
            raise InputError(f"{path}: {node_of(onnx, str(path), proto).where}: has no result")
    outputs = {entry.name for entry in model.graph.output}
    kept = live([(captured(proto), proto.output) for proto in protos], outputs)
    idle = OPERATORS.free | OPERATORS.views.keys()
    others = (proto for proto, keep in zip(protos, kept, strict=True) if not keep and proto.op_type not in idle)
    names = tuple(proto.name or next(filter(None, proto.output), proto.op_type) for proto in others)
    return [proto for proto, keep in zip(protos, kept, strict=True) if keep], names


def _nodes(
    onnx: ModuleType, path: Path, model: "ModelProto", protos: "Sequence[NodeProto]", made: set[str]
) -> tuple[Node, ...]:
    """Return the nodes as plain values; `made` are the names of tensors that are there without them."""
    context = _context(onnx, model)
    nodes = tuple(node_of(onnx, str(path), proto, module=_module(proto)) for proto in protos)
    for node, proto in zip(nodes, protos, strict=True):
        _check(onnx, path, node, proto, context)
        for name in filter(None, node.outputs):
            if name in made:
                raise InputError(f"{path}: {node.where}: its result '{name}' exists already; names are unique")
            made.add(name)
    return nodes


def first_line(error: Exception) -> str:
    """Return the first line of an error that another package raised."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _package() -> ModuleType:
    try:
        for part in ("inliner", "reference", "shape_inference"):
            importlib.import_module(f"onnx.{part}")
        return importlib.import_module("onnx")
    except ModuleNotFoundError:
        raise InputError(f"an ONNX model needs onnx: {to_install('onnx')}") from None


def _loaded(onnx: ModuleType, path: Path) -> "ModelProto":
    """Return the model. Weights that lie outside the file are not looked for."""
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:  # protobuf's DecodeError, whose package is not ours to import
        raise InputError(f"{path}: not an ONNX model, or cut off (its protobuf cannot be decoded)") from None
    if not model.ir_version or not model.HasField("graph"):
        raise InputError(f"{path}: not an ONNX model (it holds no graph)")
    if model.ir_version > onnx.IR_VERSION:
        raise InputError(
            f"{path}: IR version {model.ir_version}; the installed onnx {onnx.__version__} reads up to"
            f" {onnx.IR_VERSION}: pip install -U onnx"
        )
    if not model.graph.node:
        raise InputError(f"{path}: its graph has no nodes")
    _check_texts(path, model)
    newest, opset = onnx.defs.onnx_opset_version(), _opset(path, model)
    if opset > newest:
        raise InputError(
            f"{path}: opset {opset}; the installed onnx {onnx.__version__} knows up to {newest}: pip install -U onnx"
        )
    return model


def _check_texts(path: Path, model: "ModelProto") -> None:
    """Raise `InputError` for names that are no text, which protobuf gives as bytes, or that hold control characters."""
    for text in _texts_in(model.graph.node):
        if not isinstance(text, str):
            raise InputError(f"{path}: a name is no text (UTF-8 expected): {text!r:.60}")
        refuse_control(text, str(path))


def _texts_in(nodes: "Sequence[NodeProto]") -> Iterator[str | bytes]:
    for proto in nodes:
        yield from (proto.name, proto.op_type, proto.domain, *proto.input, *proto.output)
        for attribute in proto.attribute:
            yield attribute.name
            for graph in (attribute.g, *attribute.graphs):
                yield from _texts_in(graph.node)


def _opset(path: Path, model: "ModelProto") -> int:
    """Return the version of the standard operators."""
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD]
    if not versions:
        raise InputError(f"{path}: does not say which opset its operators belong to")
    return int(versions[0])


def _inlined(onnx: ModuleType, path: Path, model: "ModelProto") -> "Sequence[NodeProto]":
    """Return the nodes, those of the functions that the file defines in place of their calls."""
    if not model.functions:
        return tuple(model.graph.node)
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    bare.graph.name = "bare"  # without weights, which would be copied twice
    bare.graph.node.extend(model.graph.node)
    bare.graph.input.extend(model.graph.input)
    bare.graph.output.extend(model.graph.output)
    try:
        return tuple(onnx.inliner.inline_local_functions(bare).graph.node)
    except Exception as error:  # the inliner raises bare RuntimeErrors
        raise InputError(f"{path}: the functions that it defines cannot be opened: {first_line(error)}") from None


def _context(onnx: ModuleType, model: "ModelProto") -> Any:
    context = type(onnx.checker.DEFAULT_CONTEXT)()
    context.ir_version = model.ir_version
    context.opset_imports = {entry.domain: entry.version for entry in model.opset_import}
    return context


def _check(onnx: ModuleType, path: Path, node: Node, proto: "NodeProto", context: Any) -> None:
    """Refuse an operator that is not known, and attributes and numbers of inputs and outputs that it does not have."""
    expanded = (node.domain, node.operator) in EXPANSIONS or node.operator in {"If", "FlexAttention"}
    if not expanded:
        _check_operator(path, node)
    opset = next(version for domain, version in context.opset_imports.items() if domain in STANDARD)
    if not onnx.defs.has(node.operator, opset, node.domain):
        if expanded:
            return
        raise InputError(f"{path}: {node.where}: opset {opset} has no such operator")
    if graphs_of(proto):  # the checker takes the names of the outer graph for missing ones
        return
    try:
        onnx.checker.check_node(proto, context)
    except Exception as error:  # checker.ValidationError, and others from the binding
        raise InputError(f"{path}: {node.where}: {first_line(error)}") from None


def _check_operator(path: Path, node: Node) -> None:
    if node.domain == _TRAINING:
        raise InputError(
            f"{path}: {node.where}: belongs to a training graph; BP and WU follow from the forward graph: export that"
        )
    if node.domain:
        raise InputError(
            f"{path}: {node.where}: an operator of {node.domain} that is not known here, so its work cannot be counted"
            " (save the model before it is optimised for a runtime)"
        )
    if node.operator in REFUSED:
        raise InputError(f"{path}: {node.where}: {REFUSED[node.operator]}")
    if not any(node.operator in table for table in (OPERATORS.views, OPERATORS.work, OPERATORS.free, OPERATORS.noise)):
        raise InputError(
            f"{path}: {node.where}: what this operator computes is not known here, so its work cannot be counted"
        )


def _module(proto: "NodeProto") -> str | None:
    """Return the module a node stems from: exporters write it as a list of scopes, or as a path in the node's name.

    In a path, ``layer1/layer1.0`` is the child 0 of ``layer1``.
    """
    for entry in proto.metadata_props if hasattr(proto, "metadata_props") else ():
        if entry.key == _SCOPES:
            try:
                scopes = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
            if isinstance(scopes, list) and len(scopes) > 1 and isinstance(scopes[-2], str):
                return scopes[-2]
    if "/" not in proto.name:
        return None
    parts: list[str] = []
    before = None
    for part in proto.name.strip("/").split("/")[:-1]:
        parts.append(part.removeprefix(f"{before}."))
        before = part
    return ".".join(parts)
