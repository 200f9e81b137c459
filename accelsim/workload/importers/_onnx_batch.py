"""The inputs of an ONNX graph: which dimensions are open, and what the batch is."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from accelsim.base.errors import InputError, did_you_mean
from accelsim.workload.importers._onnx_axes import batch_axes
from accelsim.workload.importers._onnx_file import Opened
from accelsim.workload.importers._onnx_graph import shown
from accelsim.workload.importing import ImportOptions

if TYPE_CHECKING:
    from onnx import ValueInfoProto

__all__ = ["Batch"]

_BATCHES = (2, 3)
_NAMELESS = ("", "?", "-1", "None")
_PLACES = ("first", "second", "third", "fourth")


class Batch:
    """What the batch is: a dimension of the inputs that is open, or one that is fixed at `samples`.

    It is the first dimension, but where the layer that reads an input has another one for it. `sizes`: the sizes that
    an open batch takes in turn. `values`: inputs that are known numbers.
    """

    def __init__(self, file: Opened, options: ImportOptions) -> None:
        self.path = file.path
        self.given, self.values = dict(options.sizes), dict(options.inputs)
        inputs = file.graph.inputs
        self.shapes = {entry.name: _dimensions(self.path, entry) for entry in file.model.graph.input
                       if entry.name in inputs}  # fmt: skip
        self._check_values()
        self.axes = dict.fromkeys(self.shapes, 0) | batch_axes(file.graph)
        self._batched = {name: shape[self.axes[name]] for name, shape in self.shapes.items()
                         if len(shape) > self.axes[name] and name not in self.values}  # fmt: skip
        self.open = {size for size in self._batched.values() if isinstance(size, str) and size not in self.given}
        self._check_sizes()
        self.sizes: tuple[int, ...] = _BATCHES if self.open else (1,)
        self.assumptions: list[str] = []
        self.samples = self._samples(options.batch)

    def _check_values(self) -> None:
        for name, value in self.values.items():
            if name not in self.shapes:
                raise InputError(
                    f"{self.path}: no input is named '{name}'{did_you_mean(name, self.shapes)};"
                    f" there are: {', '.join(self.shapes)}"
                )
            sizes = [size for size in self.shapes[name] if isinstance(size, int)]
            if prod(sizes) != 1:
                raise InputError(
                    f"{self.path}: input '{name}': got {value:g}; it is {shown(sizes)}, and only inputs of one number"
                    " can be given"
                )

    def _check_sizes(self) -> None:
        names = {size: (name, axis) for name, shape in self.shapes.items() for axis, size in enumerate(shape)
                 if isinstance(size, str) and name not in self.values}  # fmt: skip
        for name, value in self.given.items():
            if name not in names:
                allowed = f"; open are: {', '.join(names)}" if names else "; the file leaves no dimension open"
                raise InputError(f"{self.path}: no dimension is named '{name}'{did_you_mean(name, names)}{allowed}")
            if value < 1:
                raise InputError(f"{self.path}: dimension '{name}': got {value}, at least 1 is needed")
        for name, (tensor, axis) in names.items():
            if name not in self.given and name not in self.open:
                raise InputError(
                    f"{self.path}: dimension '{name}' is left open (number {axis + 1} of input '{tensor}');"
                    f" give its size, as in --size {name}=128"
                )

    def _samples(self, batch: int | None) -> int:
        if self.open:
            if batch is not None:
                raise InputError(
                    f"{self.path}: a batch of {batch} is given, but the file leaves its batch open (dimension"
                    f" {_quoted(self.open)}); --batch is for files that fix it"
                )
            self.assumptions.append(f"dimension {_quoted(self.open)}, the {self._where()}, is taken as the batch")
            return _BATCHES[0]
        shapes = {name: shape for name, shape in self.input_sizes(1).items() if name in self._batched}
        found = {name: shape[self.axes[name]] for name, shape in shapes.items()}
        if batch is None:
            for name, size in found.items():
                if size != 1:
                    raise InputError(
                        f"{self.path}: input '{name}' is {shown(shapes[name])}, and its batch is not open; give --batch"
                        f" {size} if these are {size} samples, --batch 1 if they are one"
                    )
            self.assumptions.append(
                f"the {self._where(' dimension')}, 1, is taken as a batch of one sample; copies that only larger"
                " batches need cannot be seen"
            )
        for name, size in found.items():
            if batch not in {None, 1, size}:
                raise InputError(
                    f"{self.path}: a batch of {batch} is given, but the {_PLACES[self.axes[name]]} dimension of input"
                    f" '{name}' is {size} ({shown(shapes[name])})"
                )
        return batch or 1

    def _where(self, word: str = "") -> str:
        """Say which dimension of which inputs is the batch."""
        others = [name for name in self._batched if self.axes[name]]
        if not others:
            return f"first{word or ' one'} of the inputs"
        places = sorted({self.axes[name] for name in others})
        text = " or ".join(_PLACES[axis] for axis in places)
        names = ", ".join(f"'{name}'" for name in others)
        return f"{text}{word or ' one'} of {names}, as the layer that reads it has it"

    def input_sizes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the inputs, with `batch` in place of an open one."""
        return {
            name: tuple(
                (1 if name in self.values else self.given.get(size, batch)) if isinstance(size, str) else size
                for size in shape
            )
            for name, shape in self.shapes.items()
        }

    @property
    def input_shapes(self) -> list[list[int]]:
        """Shapes per sample; inputs that all samples share keep theirs."""
        found = []
        for name, sizes in self.input_sizes(1).items():
            axis, first = self.axes[name], self._batched.get(name)
            batched = first is not None and (first in self.open if self.open else sizes[axis] == self.samples)
            found.append([size for place, size in enumerate(sizes) if not (batched and place == axis)])
        return found


def _quoted(names: set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _dimensions(path: Path, entry: "ValueInfoProto") -> Sequence[int | str]:
    """Return the shape of an input, open dimensions by name.

    Nameless ones, and those that some exporters write as -1, are called after input and position.
    """
    kind = entry.type.tensor_type
    if not entry.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise InputError(f"{path}: input '{entry.name}' has no shape in the file; a tensor with a shape is needed")
    sizes: list[int | str] = []
    for axis, dimension in enumerate(kind.shape.dim):
        if dimension.dim_param not in _NAMELESS:
            sizes.append(dimension.dim_param)
        elif not dimension.HasField("dim_value") or dimension.dim_value == -1:
            sizes.append(f"{entry.name}.{axis}")
        elif dimension.dim_value < 1:
            raise InputError(
                f"{path}: input '{entry.name}' has size {dimension.dim_value} in dimension {axis + 1}; at least 1 is"
                " needed"
            )
        else:
            sizes.append(dimension.dim_value)
    return sizes
