"""The dispatch mode that sees every operation of a training step, forward and backward.

Forward operations become records. A product in the backward pass is linked to the record whose autograd node executes
it (by sequence number) and tells what that record's backward computes: the gradient of the input, of the weight, or of
a factor. Operations of the optimizer, metrics after the backward pass, and work on constants are not part of a step.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode  # private by name only: documented for compilers
from torch.utils._python_dispatch import TorchDispatchMode

from accelsim.errors import InputError
from accelsim.workload.torch_words import (
    CASTS,
    FACTORIES,
    JOINS,
    MASKS,
    PERMUTES,
    PRODUCTS,
    READ_WHAT_THEY_WRITE,
    RESHAPED,
    SAME_CONTENT,
    SELECTS,
    SHOWN_AS,
)
from accelsim.workload.tracer.autograd import last_node, running_node
from accelsim.workload.tracer.measure import Measured, Meter
from accelsim.workload.tracer.roles import DATA, Role, Roles, Source, joined, parameters_of, plain, tensors_in
from accelsim.workload.tracer.works import (
    Call,
    Work,
    convolution_operands,
    factors,
    weight_kernel,
    weight_matrix,
    work_of,
)

__all__ = ["Record", "Recorder", "StepSeen"]

Pass = Literal["FF", "BP", "WU"]


@dataclass(slots=True, kw_only=True, eq=False)
class Record:
    """One operation of the forward pass as it was executed, and what was seen of its backward.

    `seq` numbers the autograd node that the operation belongs to. `reads` are the storages of a product's operands.
    """

    work: Work
    word: str
    modules: tuple[str, ...]
    calls: tuple[int, ...]
    parameters: tuple[str, ...]
    seq: int
    reads: tuple[int, ...] = ()
    with_gradient: bool = False  # executed while gradients were recorded, by autograd itself or in a custom function
    requires_gradient: bool = False  # and an operand requires one
    input_gradients: set[int] = field(
        default_factory=set
    )  # operands whose gradient the backward pass was seen to compute
    weight_gradient: bool = False
    recomputed: bool = False
    backward_only: bool = False
    measured: dict[tuple[Pass, str], Measured] = field(default_factory=dict)

    @property
    def weight_key(self) -> int | None:
        """The storage of its weight."""
        return self.reads[self.work.weight_side] if self.work.weight else None

    @property
    def place(self) -> str:
        """The module that executes it and its own name, for messages."""
        return ".".join(part for part in (self.modules[-1], self.word) if part)


@dataclass(slots=True)
class StepSeen:
    """What one step executed: forward operations, runs of forward work in the backward pass, and what was trained."""

    records: list[Record] = field(default_factory=list)
    again: list[list[Record]] = field(default_factory=list)
    trained: set[str] = field(default_factory=set)
    nodes: set[int] = field(default_factory=set)  # autograd nodes whose backward executed an operation
    left_out: set[str] = field(default_factory=set)
    inputs: list[tuple[int, ...]] = field(default_factory=list)  # shapes of what enters the model
    backward: bool = False
    masked: bool = False  # whether weights were chosen or masked while the model ran


class Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Sees every operation, on fake tensors or real ones; with a meter the operands of real ones are measured.

    `batch` is the number of samples of a step where only that batch will be seen; 0 takes it from the first input.
    """

    def __init__(
        self,
        model: nn.Module,
        fake: FakeTensorMode | None = None,
        meter: Meter | None = None,
        batch: int | None = None,
    ) -> None:
        super().__init__()
        self._one_batch = batch is not None
        self.model = model
        self.parameters = parameters_of(model)
        self.steps = [StepSeen()]
        self.paused = False
        self._fake = fake
        self._meter = meter
        self._fakes: list[Tensor] = []
        self._stack: list[tuple[str, int, nn.Module | None]] = [("", 0, None)]  # name, number of the call, module
        self._calls = 0
        self._claimed = last_node()  # the last autograd node whose own operation was seen
        self._run_open = False
        self._last_product: set[int] = set()  # storages of its result, while it is the last operation
        self._nodes: dict[int, list[Record]] = {}
        self.roles = Roles({plain(name): self._seen_as(buffer) for name, buffer in model.named_buffers()})
        self.roles.batch = batch or 0
        for name, parameter in self.parameters.items():
            self.roles.mark_parameter(name, self._seen_as(parameter))

    def _seen_as(self, tensor: Tensor) -> Tensor:
        """Return `tensor` as operations get it: itself, or its fake counterpart, which must live as long as it does."""
        if self._fake is None or isinstance(tensor, FakeTensor):
            return tensor
        self._fakes.append(self._fake.from_tensor(tensor))
        return self._fakes[-1]

    @property
    def step(self) -> StepSeen:
        """The step that runs."""
        return self.steps[-1]

    @property
    def here(self) -> str:
        """The module that runs."""
        return self._stack[-1][0]

    def next_step(self) -> None:
        """End the step; one in which nothing was executed is none."""
        if self.step.records:
            self.steps.append(StepSeen())
            self._nodes.clear()
            self.roles.forget()
            if self._meter is not None:
                self._meter.forget()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow the calls of the modules and the parameters that get a gradient, by hooks removed afterwards."""
        hooks = []
        try:
            for name, module in self.model.named_modules():
                hooks.append(module.register_forward_pre_hook(partial(self._enter, plain(name)), with_kwargs=True))
                hooks.append(module.register_forward_hook(self._leave, always_call=True))
            for name, parameter in self.parameters.items():
                if parameter.is_leaf and parameter.requires_grad:
                    hooks.append(parameter.register_post_accumulate_grad_hook(partial(self._trained, name)))
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _trained(self, name: str, _: Tensor) -> None:
        self.step.trained.add(name)

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        outermost = len(self._stack) == 1
        if outermost and running_node() is None:
            if self.step.backward and module is self.model:
                self.next_step()
            self._take_inputs([*tensors_in((args, kwargs))])
            self._claimed = last_node()
        self._calls += 1
        self._stack.append((name, self._calls, module))
        for own, parameter in module.named_parameters(recurse=False):  # as it is now: `.data` may have replaced it
            if not nn.parameter.is_lazy(parameter):
                self.roles.mark_parameter(f"{name}.{own}".removeprefix("."), self._seen_as(parameter))

    def _take_inputs(self, inputs: Sequence[Tensor]) -> None:
        """Mark what enters the model as data."""
        new = [tensor for tensor in inputs if not self.roles.known(self._seen_as(tensor))]
        for tensor in new:
            self.roles.mark(self._seen_as(tensor), Role.ACTIVATION)
            self.step.inputs.append(tuple(tensor.shape))
            if self._one_batch and not self.roles.batch and tensor.dim():
                self.roles.batch = tensor.shape[0]

    def _leave(self, *_: Any) -> None:
        self._stack.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Execute `func` and record it."""
        kwargs = kwargs or {}
        if func.namespace == "prim":
            return func(*args, **kwargs)
        if self._fake is not None:
            args, kwargs = _faked(self._fake, args), _faked(self._fake, kwargs)
        if torch.is_inference_mode_enabled():  # composite operations arrive whole then
            with self:
                if (parts := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return parts
        out = func(*args, **kwargs)
        if self.paused:
            self._run_open = False
        else:
            self._see(Call.of(func, args, kwargs, out), in_place=func.overloadpacket.__name__.endswith("_"))
        return out

    def _see(self, call: Call, *, in_place: bool) -> None:
        node = running_node()
        in_backward = node is not None and not torch.is_grad_enabled()
        self.step.backward |= in_backward
        self._run_open &= node is not None and not in_backward
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in call.tensors):
            self._claimed = last_node()
        held = [self.roles.of(tensor) for tensor in call.tensors]
        if not held or FACTORIES.fullmatch(call.word):
            self._see_factory(call)
        elif (not in_place and self._is_view(call)) or call.word in CASTS | RESHAPED:
            self._pass_on(call, held, in_backward=False)
        elif node is not None and in_backward:
            self._see_backward(call, node)
            self._pass_on(call, held, in_backward=True)
        else:
            self._see_forward(call, held, again=node is not None)

    def _see_factory(self, call: Call) -> None:
        for result in call.results:
            if call.word == "bernoulli":
                self.roles.mark(result, Role.NOISE)
            elif (
                isinstance(self._stack[-1][2], nn.RNNBase)
                and result.dim() == 3
                and result.shape[1] == self.roles.batch > 1
            ):
                self.roles.mark(result, Role.SIZED)  # initial state: layers x samples x features

    def _see_forward(self, call: Call, held: Sequence[Source | Role | None], *, again: bool) -> None:
        if (chosen := _pruned(call, held)) is not None:
            self.step.masked = True
            for result in call.results:
                if not self.roles.known(result):
                    self.roles.mark(result, chosen)
        elif self._belongs(call, held, outside=not again):
            self._record(call, held, again=again)
            self._pass_on(call, held, in_backward=False)
        elif unused := [role for role in (Role.NOISE, Role.SIZED) if role in held]:
            for result in call.results:
                self.roles.mark(result, unused[0])

    def _belongs(self, call: Call, held: Sequence[Source | Role | None], *, outside: bool) -> bool:
        """Whether an operation is work of the step, rather than of the optimizer, of metrics, or on constants."""
        if not any(isinstance(role, Source) or role in {Role.ACTIVATION, Role.DERIVED} for role in held):
            products = Role.GRADIENT in held and call.word in PRODUCTS
            self.step.left_out.update(["the optimizer"] if products else [])
            return False
        if not outside or len(self._stack) > 1:
            return True
        if self.step.backward or (not torch.is_grad_enabled() and Role.ACTIVATION not in held):
            self.step.left_out.update(["work after the backward pass"] if call.word in PRODUCTS else [])
            return False
        return True

    def _is_view(self, call: Call) -> bool:
        inputs = {self.roles.key(tensor) for tensor in call.tensors}
        return all(self.roles.key(result) in inputs for result in call.results)

    def _pass_on(self, call: Call, held: Sequence[Source | Role | None], *, in_backward: bool) -> None:
        """Give results that lie in new memory the role of what they are computed from."""
        known = {self.roles.key(tensor) for tensor, role in zip(call.tensors, held, strict=True) if role}
        for result in call.results:
            if self.roles.key(result) not in known:
                self.roles.mark(result, _role_of_result(call, result, held, in_backward=in_backward))

    def _record(self, call: Call, held: Sequence[Source | Role | None], *, again: bool) -> None:
        records = self._open_list(again=again)
        if records and (self._is_bias(call, held, records) or self._is_part_of_norm(call, held, records)):
            return
        work = work_of(call, self.roles, self.here)
        own = work.weight.parameters if work.weight else ()
        used = [name for role in held if isinstance(role, Source) for name in role.parameters if name not in own]
        seq = last_node()
        active = torch.is_grad_enabled() or seq > self._claimed  # or inside the forward of a custom function
        named = work.kind == "dropout" or work.is_product
        modules, calls = self._place(again=again)
        record = Record(
            work=work,
            word=work.kind if named else SHOWN_AS.get(call.word, call.word),
            modules=modules,
            calls=calls,
            parameters=tuple(dict.fromkeys(used)),
            seq=seq,
            with_gradient=active,
            requires_gradient=active and any(tensor.requires_grad for tensor in call.tensors),
        )
        records.append(record)
        self._nodes.setdefault(seq, []).append(record)
        self._last_product = {self.roles.key(result) for result in call.results if work.weight}
        if work.is_product:
            record.reads = tuple(self.roles.key(operand) for operand in _operands(call))
            self._measure_forward(call, record)

    def _place(self, *, again: bool) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The modules that run, outermost first, with the numbers of their calls; in the backward pass, where none may
        run, those of the operation that the autograd node belongs to."""
        if again and len(self._stack) == 1:
            node = self._nodes.get(running_node() or 0)
            if node:
                return node[0].modules, node[0].calls
        return tuple(name for name, *_ in self._stack), tuple(number for _, number, _ in self._stack)

    def _open_list(self, *, again: bool) -> list[Record]:
        """Where operations go now: the forward pass, or the present run of forward work in the backward pass."""
        if not again:
            return self.step.records
        if not self._run_open:
            self.step.again.append([])
        self._run_open = True
        return self.step.again[-1]

    def _is_bias(self, call: Call, held: Sequence[Source | Role | None], records: list[Record]) -> bool:
        """Whether a vector is added to the product just computed: a bias, which the product then carries."""
        bias = next((role for role in held if isinstance(role, Source)), None)
        keys = {self.roles.key(tensor) for tensor in call.tensors}
        last = records[-1]
        if (
            call.word != "add"
            or bias is None
            or not keys & self._last_product
            or ("out_features", bias.elements) not in last.work.fixed
        ):
            return False
        last.parameters = tuple(dict.fromkeys((*last.parameters, *bias.parameters)))
        self._last_product = {self.roles.key(result) for result in call.results}
        return True

    def _is_part_of_norm(self, call: Call, held: Sequence[Source | Role | None], records: list[Record]) -> bool:
        """Whether torch, which has no kernel for RMS norm on every device, goes on with the steps of one."""
        _, number, module = self._stack[-1]
        if not isinstance(module, nn.RMSNorm) or records[-1].calls[-1] != number:
            return False
        size = call.results[0].numel()  # of the last step: the whole output
        records[-1].work = Work("norm", (), (size, size), (0, 0), records[-1].work.from_data)
        records[-1].word = "rms_norm"
        used = [name for role in held if isinstance(role, Source) for name in role.parameters]
        records[-1].parameters = tuple(dict.fromkeys((*records[-1].parameters, *used)))
        return True

    def _measure_forward(self, call: Call, record: Record) -> None:
        if self._meter is None:
            return
        left, right = _operands(call)
        work, groups = record.work, dict(record.work.fixed).get("groups", 1)
        if work.weight is None:
            self._take(record, "FF", left=self._density(left), right=self._density(right))
            return
        weight, other = (left, right) if work.weight_side == 0 else (right, left)
        matrix = weight_kernel(weight, groups) if call.word == "convolution" else weight_matrix(
            weight, work.weight_side, groups, forward=True
        )  # fmt: skip
        inputs = 1 if work.kind.startswith("conv_transpose") else 2
        self._take(record, "FF", weight=self._weight(matrix, inputs, "input"), activation=self._density(other))

    def _density(self, tensor: Tensor) -> Measured | None:
        return self._meter.density(tensor, self.roles.key(tensor)) if self._meter else None

    def _weight(self, matrix: Tensor, dimension: int, axis: str) -> Measured | None:
        return self._meter.weight(matrix, self.roles.key(matrix), dimension, axis) if self._meter else None

    def _gradient(
        self, tensor: Tensor, dimension: int, axis: str, view: Callable[[Tensor], Tensor] = lambda same: same
    ) -> Measured | None:
        if self._meter is None:
            return None
        return self._meter.gradient(tensor, self.roles.key(tensor), view, dimension, axis)

    @staticmethod
    def _take(record: Record, where: Pass, **operands: Measured | None) -> None:
        record.measured.update({(where, name): seen for name, seen in operands.items() if seen is not None})

    def _see_backward(self, call: Call, seq: int) -> None:
        """Link what the backward pass executes for the node `seq` to the forward operations that belong to it."""
        self.step.nodes.add(seq)
        if call.word == "convolution_backward":
            self._link_convolution(call, seq)
        elif call.word in PRODUCTS or call.word == "convolution":
            self._link_product(call, seq)
        elif call.is_opaque:
            work_of(call, self.roles, self._module_of(seq))

    def _candidates(self, seq: int) -> list[Record]:
        return [record for record in self._nodes.get(seq, ()) if record.work.is_product]

    def _module_of(self, seq: int) -> str:
        return next((record.modules[-1] for record in self._nodes.get(seq, ())), "")

    def _link_convolution(self, call: Call, seq: int) -> None:
        candidates = self._candidates(seq)
        given = convolution_operands(call)
        owner = self.roles.of(given["weight"])
        record = next((record for record in candidates if _shares(record, owner)), None) or next(iter(candidates), None)
        if record is None:
            raise InputError(
                f"{self._module_of(seq) or 'the model'}: the backward pass"
                " executes a convolution's backward that belongs to no convolution of the forward pass"
            )
        gradient, groups = given["gradient"], given["groups"]
        to_input, to_weight, _ = given["output_mask"]
        kernel = weight_kernel(given["weight"], groups)
        outputs = 2 if given["transposed"] else 1
        record.input_gradients.update({0} if to_input else ())
        record.weight_gradient |= bool(to_weight)
        if to_input:
            channels = partial(torch.unflatten, dim=1, sizes=(groups, -1))
            self._take(
                record, "BP", weight=self._weight(kernel, outputs, "output"),
                gradient=self._gradient(gradient, 2, "output", channels),
            )  # fmt: skip
        if to_weight:
            self._take(
                record, "WU", activation=self._density(given["input"]),
                gradient=self._gradient(gradient, 1, "batch", lambda dy: dy.movedim(1, 0).flatten(1)),
            )  # fmt: skip

    def _link_product(self, call: Call, seq: int) -> None:
        """A product of the backward pass: of a gradient with a weight (BP), with an input (WU) or factor (BP), or again
        what the forward pass did; whatever else it is stands in the trace as work of the backward pass alone."""
        operands = _operands(call)
        keys = [self.roles.key(operand) for operand in operands]
        held = [self.roles.of(operand) for operand in operands]
        for record in self._candidates(seq):
            is_weight = [keys[side] == record.weight_key or _shares(record, held[side]) for side in (0, 1)]
            if any(is_weight):
                side = 1 if is_weight[1] else 0
                if keys[1 - side] in record.reads:
                    record.recomputed = True
                else:
                    record.input_gradients.add(0)
                    self._measure_input_gradient(call, record, side)
                return
        for record in self._candidates(seq):
            if record.work.weight and not call.results[0].numel() % record.work.weight.elements:
                record.weight_gradient = True
                self._measure_weight_gradient(operands, keys, record)
                return
        if not self._link_factors(operands, keys, [one for one in self._candidates(seq) if not one.work.weight]):
            self._add_extra(call, seq)

    def _link_factors(self, operands: Sequence[Tensor], keys: Sequence[int], candidates: Sequence[Record]) -> bool:
        """Take a product as the gradient of a factor of one of `candidates`, or as that product computed again.

        The gradient of one factor is a product with the other.
        """
        common = {id(record): sum(key in record.reads for key in keys) for record in candidates}
        for record in sorted(candidates, key=lambda record: -common[id(record)]):
            if common[id(record)] == 2:
                record.recomputed = True
                return True
            missing = [factor for factor in (0, 1) if factor not in record.input_gradients]
            of = [factor for factor in missing if record.reads[1 - factor] in keys] or missing
            if of:
                record.input_gradients.add(of[0])
                gradient = next((o for o, key in zip(operands, keys, strict=True) if key not in record.reads), None)
                self._take(record, "BP", gradient=None if gradient is None else self._density(gradient))
                return True
        return False

    def _measure_input_gradient(self, call: Call, record: Record, side: int) -> None:
        operands = _operands(call)
        groups = dict(record.work.fixed).get("groups", 1)
        matrix = (
            weight_kernel(operands[1], groups)
            if call.word == "convolution"
            else weight_matrix(operands[side], side, groups, forward=False)
        )
        outputs = 2 if record.work.kind.startswith("conv_transpose") else 1
        reduced = 1 if call.word == "convolution" else -1 if side == 1 else -2
        self._take(
            record, "BP", weight=self._weight(matrix, outputs, "output"),
            gradient=self._gradient(operands[1 - side], reduced, "output"),
        )  # fmt: skip

    def _measure_weight_gradient(self, operands: Sequence[Tensor], keys: Sequence[int], record: Record) -> None:
        gradient = 0 if keys[1] in record.reads or self.roles.of(operands[0]) is Role.GRADIENT else 1
        self._take(
            record, "WU", activation=self._density(operands[1 - gradient]),
            gradient=self._gradient(operands[gradient], -1 if gradient == 0 else -2, "batch"),
        )  # fmt: skip

    def _add_extra(self, call: Call, seq: int) -> None:
        """Add a product of the backward pass that is no gradient, beside the forward operation it belongs to."""
        node = self._nodes.get(seq, [])
        work = work_of(call, self.roles, self._module_of(seq))
        modules, calls = self._place(again=True)
        extra = Record(
            work=work, word=work.kind, modules=modules, calls=calls, parameters=(), seq=-1, backward_only=True
        )
        at = next((i for i, record in enumerate(self.step.records) if node and record is node[-1]), None)
        self.step.records.insert(len(self.step.records) if at is None else at + 1, extra)


def _pruned(call: Call, held: Sequence[Source | Role | None]) -> Source | Role | None:
    """Return what the result of an operation holds that only chooses weights or applies such a choice, else None.

    Generating N:M weights is a task of the machine; how a training script goes about it is not part of the model.
    """
    if {Role.ACTIVATION, Role.GRADIENT, Role.NOISE}.intersection(held):
        return None
    sources = [role for role in held if isinstance(role, Source)]
    if not sources:
        return Role.CHOICE if Role.CHOICE in held else None
    if call.word in SELECTS:
        return sources[0] if call.word == "abs" else Role.CHOICE
    elements = call.results[0].numel() if call.results else 0
    if call.word in PERMUTES and sources[0].elements == elements:
        return sources[0]
    masked = call.word in MASKS and any(
        not isinstance(role, Source) and tensor.numel() == elements > 1
        for tensor, role in zip(call.tensors, held, strict=True)
    )
    return sources[0] if masked and len(sources) == 1 and sources[0].elements == elements else None


def _faked(fake: FakeTensorMode, value: Any) -> Any:
    """Replace real tensors by fake ones: else in-place operations would write into the user's buffers."""
    if isinstance(value, Tensor) and not isinstance(value, FakeTensor):
        return fake.from_tensor(value)
    if isinstance(value, list | tuple):
        return type(value)(_faked(fake, inner) for inner in value)
    if isinstance(value, dict):
        return {key: _faked(fake, inner) for key, inner in value.items()}
    return value


def _operands(call: Call) -> tuple[Tensor, Tensor]:
    """The two operands of a product or convolution; a kernel stands on the right."""
    if call.word != "convolution":
        return factors(call)
    given = convolution_operands(call)
    return given["input"], given["weight"]


def _shares(record: Record, role: Source | Role | None) -> bool:
    """Whether `role` names a parameter that is the weight of `record`."""
    weight = record.work.weight
    if weight is None or not isinstance(role, Source):
        return False
    return weight.label == role.label or bool(set(weight.parameters).intersection(role.parameters))


def _role_of_result(
    call: Call, result: Tensor, held: Sequence[Source | Role | None], *, in_backward: bool
) -> Source | Role | None:
    sources = [role for role in held if isinstance(role, Source)]
    alike = [source for source in sources if source.elements == result.numel()]
    if DATA.intersection(held) and not (alike and not {Role.ACTIVATION, Role.GRADIENT}.intersection(held)):
        of_data = Role.GRADIENT if Role.ACTIVATION not in held and Role.GRADIENT in held else Role.ACTIVATION
        return Role.GRADIENT if in_backward else of_data
    if not sources:
        return next((role for role in held if role), None)
    if call.word in JOINS:
        return joined(sources)
    if call.word in SAME_CONTENT:
        return sources[0]
    if call.word in PRODUCTS or call.word == "convolution" or call.word in READ_WHAT_THEY_WRITE:
        return Role.DERIVED
    return alike[0] if alike else Role.DERIVED
