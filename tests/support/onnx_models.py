"""ONNX models of a few nodes, for tests of the importer. Needs onnx."""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from operations import shown

from accelsim.sparsity.masks import magnitude_mask
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.importing import ImportOptions, import_trace

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
NEWEST = onnx.defs.onnx_opset_version()


def node(operator, inputs, outputs="y", name="", **attributes):
    return helper.make_node(operator, inputs.split(), outputs.split(), name=name, **attributes)


def filled(*shape):
    """Dense numbers, no two alike."""
    return np.arange(1, math.prod(shape) + 1, dtype=np.float32).reshape(shape)


def ints(*values):
    return np.array(values, np.int64)


class Without:
    """A stored tensor whose numbers the file leaves out."""

    def __init__(self, *shape):
        self.shape = shape


def tensor(name, content):
    if isinstance(content, Without):
        return TensorProto(name=name, data_type=FLOAT, dims=content.shape)
    return numpy_helper.from_array(np.asarray(content), name)


def needed(one):
    """The names that a node and the graphs inside it use."""
    graphs = [item.g for item in one.attribute if item.HasField("g")]
    return [*one.input, *(name for graph in graphs for inner in graph.node for name in needed(inner)),
            *(entry.name for graph in graphs for entry in graph.output)]  # fmt: skip


def built(nodes, inputs, stored=None, opset=20, ir=10, domains=None, **more):
    """A model of nodes, inputs (shape, or shape and element type) and stored tensors; its outputs are what none uses."""
    given = []
    for name, shape in inputs.items():
        kind, sizes = (shape[1], shape[0]) if shape and isinstance(shape[0], tuple) else (FLOAT, shape)
        given.append(helper.make_tensor_value_info(name, kind, sizes))
    nodes = nodes if isinstance(nodes, list) else [nodes]
    used = {name for one in nodes for name in needed(one)}
    ends = [name for one in nodes for name in one.output if name and name not in used]
    out = [helper.make_tensor_value_info(name, FLOAT, None) for name in ends]
    graph = helper.make_graph(nodes, "graph", given, out, [tensor(*item) for item in (stored or {}).items()])
    imports = [helper.make_opsetid(domain, version) for domain, version in {"": opset, **(domains or {})}.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, **more)


def reader(folder):
    """Return a function that writes a model and reads it as a trace."""

    def read(nodes, inputs=None, stored=None, *, name=None, batch=None, sizes=None, values=None, **options):
        model = nodes if isinstance(nodes, onnx.ModelProto) else built(nodes, inputs, stored, **options)
        file = folder / "m.onnx"
        file.write_bytes(model.SerializeToString())
        given = ImportOptions(name=name, batch=batch, sizes=sizes or {}, inputs=values or {})
        return import_trace(file, options=given)

    return read


def listed(trace):
    return [shown(operation, parameters=True) for operation in trace.operations]


def pruned(shape, pattern, axis):
    dense = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return dense * magnitude_mask(dense, Pattern.parse(pattern), axis)


IMAGE = {"x": ("N", 4, 9, 9)}
ROWS = {"x": ("N", 5, 4)}
