"""The inputs of an ONNX graph: which dimensions are open, and what the batch is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelsim.base.errors import InputError, did_you_mean
from accelsim.workload.importers._onnx_graph import shown
from accelsim.workload.importing import ImportOptions

__all__ = ["Batch"]

_BATCHES = (2, 3)


class Batch:
    """What the first dimensions of the inputs are: a batch that is open, or one that is fixed at `samples`.

    `sizes`: the sizes that an open batch takes in turn.
    """

    def __init__(self, path: Path, model: Any, inputs: Sequence[str], options: ImportOptions) -> None:
        self.path = path
        self.given = dict(options.sizes)
        self.shapes = {entry.name: _dimensions(path, entry) for entry in model.graph.input if entry.name in inputs}
        firsts = {shape[0] for shape in self.shapes.values() if shape}
        self.open = {name for name in firsts if isinstance(name, str) and name not in self.given}
        self._check_sizes()
        self.sizes: tuple[int, ...] = _BATCHES if self.open else (1,)
        self.assumptions: list[str] = []
        self.samples = self._samples(options.batch)

    def _check_sizes(self) -> None:
        names = {size: (name, axis) for name, shape in self.shapes.items() for axis, size in enumerate(shape)
                 if isinstance(size, str)}  # fmt: skip
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
            self.assumptions.append(
                f"dimension {_quoted(self.open)}, the first one of the inputs, is taken as the batch"
            )
            return _BATCHES[0]
        shapes = {name: shape for name, shape in self.input_sizes(1).items() if shape}
        if batch is None:
            for name, shape in shapes.items():
                if shape[0] != 1:
                    raise InputError(
                        f"{self.path}: input '{name}' is {shown(shape)}, and its batch is not open; give --batch"
                        f" {shape[0]} if these are {shape[0]} samples, --batch 1 if they are one"
                    )
            self.assumptions.append(
                "the first dimension of the inputs, 1, is taken as a batch of one sample; copies that only larger"
                " batches need cannot be seen"
            )
        for name, shape in shapes.items():
            if batch not in {None, 1, shape[0]}:
                raise InputError(
                    f"{self.path}: a batch of {batch} is given, but the first dimension of input '{name}' is"
                    f" {shape[0]} ({shown(shape)})"
                )
        return batch or 1

    def input_sizes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the inputs, with `batch` in place of an open one."""
        return {
            name: tuple(self.given.get(size, batch) if isinstance(size, str) else size for size in shape)
            for name, shape in self.shapes.items()
        }

    @property
    def input_shapes(self) -> list[list[int]]:
        """Shapes per sample; inputs that all samples share keep theirs."""
        found = []
        for shape, sizes in zip(self.shapes.values(), self.input_sizes(1).values(), strict=True):
            batched = bool(shape) and (shape[0] in self.open if self.open else sizes[0] == self.samples)
            found.append(list(sizes[1:] if batched else sizes))
        return found


def _quoted(names: set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _dimensions(path: Path, entry: Any) -> list[int | str]:
    """Return the shape of an input, open dimensions by name; nameless ones are called after input and position."""
    kind = entry.type.tensor_type
    if not entry.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise InputError(f"{path}: input '{entry.name}' has no shape in the file; a tensor with a shape is needed")
    sizes: list[int | str] = []
    for axis, dimension in enumerate(kind.shape.dim):
        if dimension.dim_param:
            sizes.append(dimension.dim_param)
        elif not dimension.HasField("dim_value"):
            sizes.append(f"{entry.name}.{axis}")
        elif dimension.dim_value < 1:
            raise InputError(
                f"{path}: input '{entry.name}' has size {dimension.dim_value} in dimension {axis + 1}; at least 1 is"
                " needed"
            )
        else:
            sizes.append(dimension.dim_value)
    return sizes
