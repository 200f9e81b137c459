"""ONNX models (``.onnx``): a forward graph, from which a training step follows.

Only shapes are needed: files whose weights are left out are read too. Where the file or one beside it holds the
weights, their sparsity is read as it is. These decisions shape a trace, so that a network that PyTorch exported gets
the trace that tracing it gives:

- A first dimension that is open in the file (symbolic) is the batch. The shapes are then inferred at two batch sizes;
  what grows with the batch is divided by it, the rest is work done once per step. With a fixed batch, what depends on
  the inputs is divided by it.
- Work on constants alone and casts are left out. A transposed or sliced tensor is a view; where a reshape or a product
  needs its elements in another order, that is a copy.
- Attention and recurrent layers are opened into their products and vector work. Activations and layer normalisations
  that the exporter wrote out in arithmetic are one operation again.
- A forward graph does not say what is trained, so all floating-point weights, biases, scales and tables are. This and
  what else had to be assumed stands in the trace.
- Quantised numbers are the numbers they stand for, operators of ONNX Runtime those of the standard that they join. An
  If is its branch where shapes or given inputs decide it.
- An operator that is not known is an error: work is never counted as none. What no output depends on is no work.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from accelsim.base.errors import InputError
from accelsim.base.files import Plain, validate
from accelsim.base.version import __version__
from accelsim.workload.importers._onnx_batch import Batch
from accelsim.workload.importers._onnx_entries import assumptions, entries
from accelsim.workload.importers._onnx_file import Opened, opened
from accelsim.workload.importers._onnx_graph import MisfitError
from accelsim.workload.importers._onnx_inference import Inference
from accelsim.workload.importers._onnx_operators import OPERATORS
from accelsim.workload.importers._onnx_patterns import put_together
from accelsim.workload.importers._onnx_walk import Walk
from accelsim.workload.importing import ImportOptions
from accelsim.workload.trace import FORMAT, Trace

__all__ = ["read"]

_TRAINING = "what the file says of training (training_info) is left out: BP and WU follow from its forward graph"


def read(path: Path, options: ImportOptions) -> Trace:
    """Return the ONNX model at `path` as a trace.

    `options.batch` says how many samples the shapes hold where the batch is fixed, `options.sizes` gives values to
    open dimensions by their name, `options.inputs` to inputs of one number. Raises `InputError` for a file that cannot
    be read, for an operator that a trace cannot express or that is not known, and for sizes that the file leaves open.
    """
    file = opened(path)
    batch = Batch(file, options)
    try:
        walk, operations = _walked(file, batch)
    except MisfitError as error:
        raise InputError(f"{error}{_hint(file, batch, options)}") from None
    if not operations:
        raise InputError(f"{path}: no node computes anything from the inputs; there is nothing to simulate")
    model = file.model
    data: dict[str, Plain] = {
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
                f"onnx {file.onnx.__version__}",
            ],
            "assumptions": [
                *batch.assumptions,
                *assumptions(walk, operations),
                *([_TRAINING] * bool(model.training_info)),
            ],
        },
        "operations": operations,
    }
    return validate(Trace, data, str(path))


def _walked(file: Opened, batch: Batch) -> tuple[Walk, list[dict[str, Any]]]:
    """Return the walk at the first size of the batch, and the operations."""
    found = [Inference(file, batch.input_sizes(size), batch.values) for size in batch.sizes]
    graph = found[0].graph
    if any(other.graph.nodes != graph.nodes for other in found[1:]):
        raise MisfitError(
            f"{file.path}: an If decides otherwise at a batch of {batch.sizes[0]} than of {batch.sizes[1]}"
        )
    graph = put_together(graph, found[0].facts)
    walks = [Walk(graph, one.facts, OPERATORS) for one in found]
    return walks[0], entries(walks, batch.samples)


def _hint(file: Opened, batch: Batch, options: ImportOptions) -> str:
    """Return what to give where a graph with an open batch can be read at a certain one only."""
    for samples in (1, 2) if batch.open else ():
        sizes = {**options.sizes, **dict.fromkeys(batch.open, samples)}
        try:
            _walked(file, Batch(file, replace(options, sizes=sizes, batch=samples)))
        except InputError:
            continue
        given = " ".join(f"--size {name}={samples}" for name in sorted(batch.open))
        return f" (at a batch of {samples} the graph can be read: {given} --batch {samples})"
    return ""
