"""What tensors hold while a step runs: parameters, data, gradients; followed by the memory they lie in."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, is_dataclass, replace
from math import prod
from types import BuiltinFunctionType, FunctionType, ModuleType, NoneType
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from accelsim.base.errors import InputError
from accelsim.workload.names import few
from accelsim.workload.rules import Role, Source
from accelsim.workload.tracer.autograd import storage_id
from accelsim.workload.tracer.wrapped import memory_of, parts_of, without_levels

__all__ = [
    "DATA",
    "Derived",
    "Held",
    "Roles",
    "derived_from",
    "grows",
    "inputs_in",
    "joined",
    "numbers_in",
    "parameters_of",
    "plain",
    "stored",
    "tensors_in",
]


DATA = frozenset({Role.ACTIVATION, Role.GRADIENT, Role.SIZED})
"""What grows with the batch, apart from parameters that are repeated over it."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What is computed from parameters alone and no longer one of them: a product of two, rows of a larger one.

    `repeated` says that the tensor holds a copy of its `elements` for each sample.
    """

    elements: int
    parameters: tuple[str, ...]
    repeated: bool = False

    def as_weight(self) -> Source:
        """Return it as the weight of a product."""
        return Source(f"computed from {few(self.parameters)}", self.elements, 1, self.parameters, derived=True)


Held = Source | Derived | Role | None
"""What a tensor holds; None for a constant. Parameters and what is derived from them are named."""


def grows(held: Held) -> bool:
    """Return whether a tensor that holds this grows with the batch."""
    return held.repeated if isinstance(held, Source | Derived) else held in DATA


def derived_from(held: Sequence[Held], result: Tensor) -> Derived:
    """Return what a result computed from parameters alone holds."""
    names = (name for one in held if isinstance(one, Source | Derived) for name in one.parameters)
    return Derived(stored(result), tuple(dict.fromkeys(names)))


def joined(sources: Sequence[Source]) -> Source:
    """Return what a concatenation of parameters holds."""
    elements, rows = sum(source.elements for source in sources), sum(source.rows for source in sources)
    names = tuple(name for source in sources for name in source.parameters)
    return Source("+".join(source.label for source in sources), elements, rows, names)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Walk the arguments or results of an operation or a module: tensors in sequences, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield from parts_of(value)
    elif isinstance(value, tuple | list):
        for inner in value:
            if isinstance(inner, Tensor):
                yield from parts_of(inner)
            elif not isinstance(inner, int | float | None):
                yield from tensors_in(inner)
    elif isinstance(value, Mapping):
        yield from tensors_in(tuple(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from tensors_in(tuple(value))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from tensors_in(tuple(vars(value).values()))


def inputs_in(value: Any) -> Iterator[Tensor]:
    """Walk the arguments or the output of a model: tensors as in `tensors_in`, and in the attributes of objects."""
    seen: dict[int, Any] = {}
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor):
            yield without_levels(one)
        elif not isinstance(one, _NO_TENSORS) and id(one) not in seen:
            seen[id(one)] = one
            waiting += reversed(_parts_of(one))


_NO_TENSORS = (
    str, bytes, int, float, complex, type, NoneType, FunctionType, BuiltinFunctionType, ModuleType, nn.Module,
)  # fmt: skip


def _parts_of(value: Any) -> list[Any]:
    """Return what a container or an object holds."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, Sequence | Set):
        return list(value)
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    named = [getattr(value, name, None) for name in slots if name not in {"__dict__", "__weakref__"}]
    return [*named, *getattr(value, "__dict__", {}).values()]


def plain(name: str) -> str:
    """Return a name without the level that ``torch.compile`` adds."""
    return name.removeprefix("_orig_mod").replace("._orig_mod", "").removeprefix(".")


def stored(tensor: Tensor) -> int:
    """Elements that `tensor` reads from memory: dimensions that an expand repeats count once."""
    tensor = memory_of(tensor)
    return prod(size for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step)


def numbers_in(tensor: Tensor) -> int:
    """Real numbers that `tensor` holds: a complex element is two."""
    return int(tensor.numel()) * (2 if tensor.is_complex() else 1)


class Roles:
    """Roles of tensors by their storage. Storages are not kept alive; a weak reference keeps their identity unique."""

    def __init__(self, buffers: Mapping[str, Tensor]) -> None:
        self.batch = 0  # samples of a step, where constants are to be told by it (`of`)
        self.constants: dict[str, int] = {}
        self.numbers: dict[str, int] = {}  # of each parameter, as this process holds it while a module runs
        self._roles: dict[int, Source | Derived | Role] = {}
        self._alive: dict[int, StorageWeakRef] = {}
        self._parameters: set[int] = set()
        self._labels = {self.key(buffer): name for name, buffer in buffers.items()}

    def key(self, tensor: Tensor) -> int:
        """Return the identity of the memory of `tensor`. Raises `InputError` where it has none that can be read."""
        try:
            tensor = memory_of(tensor)
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
                self._parameters.discard(key)
            elif isinstance(self._roles.get(key), Role | Derived):
                del self._roles[key]

    def mark(self, tensor: Tensor, role: Held) -> None:
        """Give the storage of `tensor` a role; None makes it a constant."""
        if role is None:
            self._roles.pop(self.key(tensor), None)
        else:
            self._roles[self.key(tensor)] = role

    def mark_parameter(self, name: str, parameter: Tensor) -> None:
        """Give the storage of a parameter its name, unless it has one already (tied parameters)."""
        parameter = memory_of(parameter)
        self.numbers[name] = max(numbers_in(parameter), self.numbers.get(name, 0))
        if not isinstance(self._roles.get(self.key(parameter)), Source):
            rows = parameter.shape[0] if parameter.dim() else 1
            self.mark(parameter, Source(name, parameter.numel(), rows, (name,)))
        self._parameters.add(self.key(parameter))

    def is_parameter(self, tensor: Tensor) -> bool:
        """Return whether a parameter lies in the storage of `tensor`."""
        return self.key(tensor) in self._parameters

    def known(self, tensor: Tensor) -> bool:
        """Return whether the storage of `tensor` has a role."""
        return self.key(tensor) in self._roles

    def of(self, tensor: Tensor) -> Held:
        """Return what `tensor` holds; a slice of a parameter is named as such.

        Where only one batch of several samples is seen, a constant whose first dimension is that batch, and whatever is
        expanded to it, has an entry for each sample.
        """
        role = self._roles.get(self.key(tensor))
        if role is None and self.batch > 1 and tensor.dim() > 1 and tensor.shape[0] == self.batch:
            return Role.SIZED
        tensor = memory_of(tensor)
        if not isinstance(role, Role) and self._is_expanded(tensor):
            role = Role.SIZED if role is None else replace(role, repeated=True)
        if isinstance(role, Derived) and stored(tensor) < role.elements:
            return replace(role, elements=stored(tensor))
        if not isinstance(role, Source) or (part := stored(tensor)) >= role.elements:
            return role
        width = role.elements // role.rows
        start = tensor.storage_offset()
        whole_rows = not (part % width or start % width)
        where = f"{start // width}:{(start + part) // width}" if whole_rows else f"{start}+{part}"
        return replace(role, label=f"{role.label}[{where}]", elements=part, rows=part // width if whole_rows else 1)

    def _is_expanded(self, tensor: Tensor) -> bool:
        """Whether a dimension as long as the batch repeats what lies in memory once."""
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
        return self.batch > 1 and any(step == 0 and size == self.batch for size, step in sizes)

    def constant(self, tensor: Tensor, module: str) -> Source:
        """Return the source of an untrained operand of a product, such as a filter kept in a buffer.

        Where several parts of one buffer are used, as layers of different widths do, each is named as such.
        """
        made = f"{module}.constant_{len(self.constants) + 1}".removeprefix(".")
        label = self._labels.setdefault(self.key(tensor), made)
        elements = stored(tensor) * (2 if tensor.is_complex() else 1)
        if self.constants.get(label, elements) != elements:
            label = f"{label}[{tensor.storage_offset()}+{stored(tensor)}]"
        self.constants[label] = elements
        return Source(label, self.constants[label], 1, ())


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of `model` by name, tied ones once."""
    return {plain(name): tensor for name, tensor in model.named_parameters()}
