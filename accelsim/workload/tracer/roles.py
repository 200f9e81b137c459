"""What tensors hold while a step runs: parameters, data, gradients; followed by the memory they lie in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from enum import Enum
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from accelsim.base.errors import InputError
from accelsim.workload.tracer.autograd import storage_id

__all__ = ["DATA", "Role", "Roles", "Source", "joined", "parameters_of", "plain", "stored", "tensors_in"]


class Role(Enum):
    """What a tensor that is no parameter holds; a tensor without a role is a constant."""

    ACTIVATION = "computed from the inputs"
    GRADIENT = "computed in the backward pass"
    DERIVED = "computed from parameters, and no longer one of them"
    NOISE = "a dropout mask"
    CHOICE = "which weights are kept"
    SIZED = "a constant with an entry for each sample, such as an initial state"


DATA = frozenset({Role.ACTIVATION, Role.GRADIENT, Role.SIZED})
"""What grows with the batch."""


@dataclass(frozen=True, slots=True)
class Source:
    """The parameters that a tensor consists of."""

    label: str
    elements: int
    rows: int
    parameters: tuple[str, ...]


def joined(sources: Sequence[Source]) -> Source:
    """Return what a concatenation of parameters holds."""
    elements, rows = sum(source.elements for source in sources), sum(source.rows for source in sources)
    names = tuple(name for source in sources for name in source.parameters)
    return Source("+".join(source.label for source in sources), elements, rows, names)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Walk arguments or the output of a model: tensors in sequences, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for inner in value:
            if isinstance(inner, Tensor):
                yield inner
            elif not isinstance(inner, int | float | None):
                yield from tensors_in(inner)
    elif isinstance(value, Mapping):
        yield from tensors_in(tuple(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from tensors_in(tuple(value))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from tensors_in(tuple(vars(value).values()))


def plain(name: str) -> str:
    """Return a name without the level that ``torch.compile`` adds."""
    return name.removeprefix("_orig_mod").replace("._orig_mod", "").removeprefix(".")


def stored(tensor: Tensor) -> int:
    """Elements that `tensor` reads from memory: dimensions that an expand repeats count once."""
    return prod(size for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step)


class Roles:
    """Roles of tensors by their storage. Storages are not kept alive; a weak reference keeps their identity unique."""

    def __init__(self, buffers: Mapping[str, Tensor]) -> None:
        self.batch = 0  # samples of a step, where constants are to be told by it (`of`)
        self.constants: dict[str, int] = {}
        self._roles: dict[int, Source | Role] = {}
        self._alive: dict[int, StorageWeakRef] = {}
        self._labels = {self.key(buffer): name for name, buffer in buffers.items()}

    def key(self, tensor: Tensor) -> int:
        """Return the identity of the memory of `tensor`. Raises `InputError` where it has none that can be read."""
        try:
            key = storage_id(tensor)
            if key not in self._alive:
                self._alive[key] = StorageWeakRef(tensor.untyped_storage())
        except (NotImplementedError, RuntimeError):
            kind = str(tensor.layout).removeprefix("torch.") if tensor.layout is not None else ""
            raise InputError(
                f"a tensor of type {type(tensor).__name__} ({kind}, {str(tensor.dtype).removeprefix('torch.')}) has no"
                " dense storage that can be traced; call .to_dense() or .dequantize() on it first"
            ) from None
        return key

    def forget(self) -> None:
        """Forget all but parameters: the next step has data of its own, even where it lies in the same memory."""
        for key, reference in list(self._alive.items()):
            if reference.expired():
                del self._alive[key]
                self._roles.pop(key, None)
            elif isinstance(self._roles.get(key), Role):
                del self._roles[key]

    def mark(self, tensor: Tensor, role: Source | Role | None) -> None:
        """Give the storage of `tensor` a role; None makes it a constant."""
        if role is None:
            self._roles.pop(self.key(tensor), None)
        else:
            self._roles[self.key(tensor)] = role

    def mark_parameter(self, name: str, parameter: Tensor) -> None:
        """Give the storage of a parameter its name, unless it has one already (tied parameters)."""
        if not isinstance(self._roles.get(self.key(parameter)), Source):
            rows = parameter.shape[0] if parameter.dim() else 1
            self.mark(parameter, Source(name, parameter.numel(), rows, (name,)))

    def known(self, tensor: Tensor) -> bool:
        """Return whether the storage of `tensor` has a role."""
        return self.key(tensor) in self._roles

    def of(self, tensor: Tensor) -> Source | Role | None:
        """Return what `tensor` holds; a slice of a parameter is named as such.

        Where only one batch of several samples is seen, a constant whose first dimension is that batch has an entry
        for each sample.
        """
        role = self._roles.get(self.key(tensor))
        if role is None and self.batch > 1 and tensor.dim() > 1 and tensor.shape[0] == self.batch:
            return Role.SIZED
        if not isinstance(role, Source) or (part := stored(tensor)) >= role.elements:
            return role
        width = role.elements // role.rows
        start = tensor.storage_offset()
        whole_rows = not (part % width or start % width)
        where = f"{start // width}:{(start + part) // width}" if whole_rows else f"{start}+{part}"
        return replace(role, label=f"{role.label}[{where}]", elements=part, rows=part // width if whole_rows else 1)

    def constant(self, tensor: Tensor, module: str) -> Source:
        """Return the source of an untrained operand of a product, such as a filter kept in a buffer."""
        made = f"{module}.constant_{len(self.constants) + 1}".removeprefix(".")
        label = self._labels.setdefault(self.key(tensor), made)
        self.constants[label] = stored(tensor)
        return Source(label, self.constants[label], 1, ())


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of `model` by name, tied ones once."""
    return {plain(name): tensor for name, tensor in model.named_parameters()}
