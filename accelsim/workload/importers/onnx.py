"""ONNX models (``.onnx``): a forward graph, from which a training step follows.

Only shapes are needed: files whose weights are left out or lie beside them are read too. Where the file holds the
weights, their sparsity is read as it is. Five decisions shape a trace, so that a network that PyTorch exported gets the
trace that tracing it gives:

- A first dimension that is open in the file (symbolic) is the batch. The shapes are then inferred at two batch sizes;
  what grows with the batch is divided by it, the rest is work done once per step. With a fixed batch, what depends on
  the inputs is divided by it.
- Work on constants alone and casts are left out. A transposed or sliced tensor is a view; where a reshape or a product
  needs its elements in another order, that is a copy.
- Attention and recurrent layers are opened into their products and vector work. Activations and layer normalisations
  that the exporter wrote out in arithmetic are one operation again.
- A forward graph does not say what is trained, so all floating-point weights, biases, scales and tables are. This and
  what else had to be assumed stands in the trace.
- An operator that is not known is an error: work is never counted as none.
"""

import ast
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError
from accelsim.base.files import validate
from accelsim.base.version import __version__
from accelsim.workload.importers._onnx_batch import Batch
from accelsim.workload.importers._onnx_entries import assumptions, entries
from accelsim.workload.importers._onnx_graph import Content, Graph, MisfitError, Node, Stored, shown
from accelsim.workload.importers._onnx_inference import Inference, Opened, first_line, floating_kinds
from accelsim.workload.importers._onnx_operators import OPERATORS, REFUSED
from accelsim.workload.importers._onnx_patterns import put_together
from accelsim.workload.importers._onnx_walk import Walk
from accelsim.workload.importing import ImportOptions
from accelsim.workload.trace import FORMAT, Trace

__all__ = ["read"]

_STANDARD = ("", "ai.onnx")
_DATA = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_SCOPES = "pkg.torch.onnx.name_scopes"


def read(path: Path, options: ImportOptions) -> Trace:
    """Return the ONNX model at `path` as a trace.

    `options.batch` says how many samples the shapes hold where the batch is fixed, `options.sizes` gives values to
    open dimensions by their name. Raises `InputError` for a file that cannot be read, for an operator that a trace
    cannot express or that is not known, and for sizes that the file leaves open.
    """
    onnx = _package()
    model = _loaded(onnx, path)
    protos = _inlined(onnx, path, model)
    file = Opened(
        onnx=onnx, model=model, opset=_opset(path, model), protos=protos, graph=_graph(onnx, path, model, protos)
    )
    batch = Batch(path, model, file.graph.inputs, options)
    try:
        walk, operations = _walked(file, batch)
    except MisfitError as error:
        raise InputError(f"{error}{_hint(path, file, batch, options)}") from None
    if not operations:
        raise InputError(f"{path}: no node computes anything from the inputs; there is nothing to simulate")
    data = {
        "format": FORMAT,
        "model": options.name or path.name.removesuffix(".onnx"),
        "input_shapes": batch.input_shapes,
        "parameters": sum(walk.elements.values()),
        "origin": {
            "exporter": f"accelsim import {__version__}",
            "source": f"{path.name}, an ONNX model",
            "versions": [
                *([f"{model.producer_name} {model.producer_version}".strip()] if model.producer_name else []),
                f"opset {file.opset}",
                f"onnx {onnx.__version__}",
            ],
            "assumptions": [*batch.assumptions, *assumptions(walk, operations)],
        },
        "operations": operations,
    }
    return validate(Trace, data, str(path))


def _walked(file: Opened, batch: Batch) -> tuple[Walk, list[dict[str, Any]]]:
    """Return the walk at the first size of the batch, and the operations."""
    facts = [Inference(file, batch.input_sizes(size)).facts for size in batch.sizes]
    graph = put_together(file.graph, facts[0])
    walks = [Walk(graph, known, OPERATORS) for known in facts]
    return walks[0], entries(walks, batch.samples)


def _hint(path: Path, file: Opened, batch: Batch, options: ImportOptions) -> str:
    """Return what to give where a graph with an open batch can be read at a certain one only."""
    for samples in (1, 2) if batch.open else ():
        sizes = {**options.sizes, **dict.fromkeys(batch.open, samples)}
        try:
            fixed = replace(options, sizes=sizes, batch=samples)
            _walked(file, Batch(path, file.model, file.graph.inputs, fixed))
        except InputError:
            continue
        given = " ".join(f"--size {name}={samples}" for name in sorted(batch.open))
        return f" (at a batch of {samples} the graph can be read: {given} --batch {samples})"
    return ""


def _package() -> ModuleType:
    try:
        for part in ("inliner", "reference", "shape_inference"):
            importlib.import_module(f"onnx.{part}")
        return importlib.import_module("onnx")
    except ModuleNotFoundError:
        raise InputError("an ONNX model needs onnx: pip install 'accelsim[onnx]'") from None


def _loaded(onnx: Any, path: Path) -> Any:
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
    newest, opset = onnx.defs.onnx_opset_version(), _opset(path, model)
    if opset > newest:
        raise InputError(
            f"{path}: opset {opset}; the installed onnx {onnx.__version__} knows up to {newest}: pip install -U onnx"
        )
    return model


def _opset(path: Path, model: Any) -> int:
    """Return the version of the standard operators."""
    versions = [entry.version for entry in model.opset_import if entry.domain in _STANDARD]
    if not versions:
        raise InputError(f"{path}: does not say which opset its operators belong to")
    return int(versions[0])


def _inlined(onnx: Any, path: Path, model: Any) -> Sequence[Any]:
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


def _graph(onnx: Any, path: Path, model: Any, protos: Sequence[Any]) -> Graph:
    """Return the graph as plain values. Raises `InputError` for an operator that cannot be read."""
    stored: dict[str, Stored] = {}
    for found in _stored(onnx, path, model, protos):
        if found.name in stored:
            raise InputError(f"{path}: tensor '{found.name}' is stored twice")
        stored[found.name] = found
    inputs = tuple(entry.name for entry in model.graph.input if entry.name not in stored)
    nodes = tuple(_node(onnx, path, proto) for proto in protos)
    made = set(inputs) | {name for name, tensor in stored.items() if not tensor.in_node}
    context = _context(onnx, model)
    for node, proto in zip(nodes, protos, strict=True):
        if not node.outputs or not node.outputs[0]:
            raise InputError(f"{path}: node '{node.name}' ({node.operator}): has no result")
        _check_operator(path, node, proto)
        _check_form(onnx, path, node, proto, context)
        for name in filter(None, node.outputs):
            if name in made:
                raise InputError(f"{path}: {node.where}: its result '{name}' exists already; names are unique")
            made.add(name)
    outputs = tuple(entry.name for entry in model.graph.output)
    return Graph(file=str(path), inputs=inputs, outputs=outputs, nodes=nodes, stored=stored)


def _context(onnx: Any, model: Any) -> Any:
    context = type(onnx.checker.DEFAULT_CONTEXT)()
    context.ir_version = model.ir_version
    context.opset_imports = {entry.domain: entry.version for entry in model.opset_import}
    return context


def _check_form(onnx: Any, path: Path, node: Node, proto: Any, context: Any) -> None:
    """Check attributes and numbers of inputs and outputs against the definition of the operator."""
    opset = next(version for domain, version in context.opset_imports.items() if domain in _STANDARD)
    if not onnx.defs.has(node.operator, opset, ""):
        raise InputError(f"{path}: {node.where}: opset {opset} has no such operator")
    try:
        onnx.checker.check_node(proto, context)
    except Exception as error:  # checker.ValidationError, and others from the binding
        raise InputError(f"{path}: {node.where}: {first_line(error)}") from None


def _check_operator(path: Path, node: Node, proto: Any) -> None:
    if proto.domain not in _STANDARD:
        raise InputError(
            f"{path}: {node.where}: an operator of {proto.domain}; only operators of the ONNX standard and functions"
            " that the file defines can be read (save the model before it is optimised for a runtime)"
        )
    if node.operator in REFUSED:
        raise InputError(f"{path}: {node.where}: {REFUSED[node.operator]}")
    if not any(node.operator in table for table in (OPERATORS.views, OPERATORS.work, OPERATORS.free, OPERATORS.noise)):
        raise InputError(
            f"{path}: {node.where}: what this operator computes is not known here, so its work cannot be counted"
        )


def _node(onnx: Any, path: Path, proto: Any) -> Node:
    if any(isinstance(text, bytes) for text in (proto.op_type, proto.name, *proto.input, *proto.output)):
        raise InputError(f"{path}: damaged: the name of a node or tensor is not text (UTF-8 expected)")
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in proto.attribute}
    return Node(
        operator=proto.op_type,
        name=proto.name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={
            name: value.decode(errors="replace") if isinstance(value, bytes) else value
            for name, value in attributes.items()
        },
        module=_module(proto),
    )


def _module(proto: Any) -> str | None:
    """Return the module a node stems from: exporters write it as a list of scopes, or as a path in the node's name.

    In a path, ``layer1/layer1.0`` is the child 0 of ``layer1``.
    """
    for entry in proto.metadata_props if hasattr(proto, "metadata_props") else ():
        if entry.key == _SCOPES:
            try:
                scopes = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError):
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


def _stored(onnx: Any, path: Path, model: Any, protos: Sequence[Any]) -> Iterator[Stored]:
    """Return the tensors that the file stores: initializers, sparse ones, and those in Constant nodes."""
    for tensor in model.graph.initializer:
        yield _tensor(onnx, path, tensor.name, tensor)
    for sparse in model.graph.sparse_initializer:
        name, shape = sparse.values.name, tuple(sparse.dims)
        values, indices = (_content(onnx, path, name, part) for part in (sparse.values, sparse.indices))
        floating = sparse.values.data_type in floating_kinds(onnx)
        yield Stored(name=name, shape=shape, floating=floating, content=_dense(values, indices, shape))
    for proto in protos:
        if proto.op_type == "Constant" and proto.domain in _STANDARD:
            yield _constant(onnx, path, proto)


def _constant(onnx: Any, path: Path, proto: Any) -> Stored:
    """Return the tensor of a Constant node, which newer opsets also write as plain numbers."""
    item = next(iter(proto.attribute), None)
    if item is not None and item.name == "value":
        return _tensor(onnx, path, proto.output[0], item.t, in_node=True)
    if item is None or item.name not in {"value_float", "value_floats", "value_int", "value_ints"}:
        what = f"attribute {item.name}" if item is not None else "no value"
        raise InputError(f"{path}: the Constant of '{proto.output[0]}' has {what}; only numbers can be read")
    floating = "float" in item.name
    array = np.array(onnx.helper.get_attribute_value(item), np.float32 if floating else np.int64)
    return Stored(name=proto.output[0], shape=array.shape, floating=floating, in_node=True, content=lambda: array)


def _tensor(onnx: Any, path: Path, name: str, tensor: Any, *, in_node: bool = False) -> Stored:
    return Stored(
        name=name, shape=tuple(tensor.dims), floating=tensor.data_type in floating_kinds(onnx), in_node=in_node,
        content=_content(onnx, path, name, tensor),
    )  # fmt: skip


def _content(onnx: Any, path: Path, name: str, tensor: Any) -> Content | None:
    """Return a reader of the numbers of a tensor; None where the file leaves them out or keeps them elsewhere."""
    elsewhere = tensor.data_location == onnx.TensorProto.EXTERNAL
    if elsewhere or not any(getattr(tensor, field) for field in _DATA):
        return None

    @cache
    def content() -> NDArray[Any]:
        try:
            array: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
        except Exception:  # numpy and onnx raise several kinds
            raise InputError(
                f"{path}: tensor '{name}' is {shown(tensor.dims)}, and the file holds another number of elements"
            ) from None
        return array

    return content


def _dense(values: Content | None, indices: Content | None, shape: tuple[int, ...]) -> Content | None:
    if values is None or indices is None:
        return None

    def content() -> NDArray[Any]:
        places = indices()
        array = np.zeros(shape, values().dtype)
        array[tuple(places.T) if places.ndim > 1 else np.unravel_index(places, shape)] = values()
        return array

    return cache(content)
