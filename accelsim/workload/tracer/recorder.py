"""The dispatch mode that sees every operation of a training step, forward and backward.

Forward operations become records, and backward products are linked to them. Operations of the optimizer, metrics after
the backward pass, and work on constants are not part of a step; their products are named as left out. A count of its
own, below the recorder, says how many multiply-accumulates each step really executed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator, OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode  # private by name only: documented for compilers
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from accelsim.workload.rules import Role, Source
from accelsim.workload.torch_words import (
    CASTS,
    DISTRIBUTED,
    FACTORIES,
    FILLS,
    JOINS,
    MASKS,
    MULTIPLY,
    PERMUTES,
    PRODUCTS,
    READ_WHAT_THEY_WRITE,
    RESHAPED,
    SAME_CONTENT,
    SELECTS,
    SHOWN_AS,
)
from accelsim.workload.tracer.autograd import last_node, noting_backward, running_node
from accelsim.workload.tracer.collectives import message_of
from accelsim.workload.tracer.counting import MacCounter
from accelsim.workload.tracer.flow import Flow, Producers
from accelsim.workload.tracer.linking import Linker
from accelsim.workload.tracer.measure import Meter
from accelsim.workload.tracer.opened_calls import Opening, run_control_flow
from accelsim.workload.tracer.probing import Probe, Reading
from accelsim.workload.tracer.records import AFTERWARDS, Record, StepSeen
from accelsim.workload.tracer.roles import (
    Derived,
    Held,
    Roles,
    derived_from,
    grows,
    inputs_in,
    joined,
    parameters_of,
    plain,
)
from accelsim.workload.tracer.works import Call, Work, data_operands, macs_of, operands_of, product_of_data, work_of
from accelsim.workload.tracer.wrapped import parts_of

__all__ = ["Recorder"]


class Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Sees every operation, on fake tensors or real ones; with a meter the operands of real ones are measured.

    `batch` is the number of samples of a step where only that batch will be seen; 0 takes it from the first input. With
    `steps_by_optimizer` a step ends where an optimizer of the model has run.
    """

    supports_higher_order_operators = True

    def __init__(
        self,
        model: nn.Module,
        fake: FakeTensorMode | None = None,
        meter: Meter | None = None,
        batch: int | None = None,
        *,
        steps_by_optimizer: bool = False,
    ) -> None:
        super().__init__()
        self._steps_by_optimizer = steps_by_optimizer
        self._one_batch, self._given_batch = batch is not None, bool(batch)
        self._counter = MacCounter()
        self._ending = False
        self._optimizing = False
        self._outside_weights: set[int] = set()  # storages of parameters that are not the model's
        self._outside_data: set[int] = set()  # and of data that met them before the model
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
        self._makes_node = False  # whether the operation that runs can be differentiated
        self._node = self._claimed  # the autograd node of the operation that runs
        self._copied: tuple[int, int] | None = None  # storage and node of what the operation before copied
        self._run_open = False
        self._last_product: set[int] = set()  # storages of its result, while it is the last operation
        self.roles = Roles({plain(name): self._seen_as(buffer) for name, buffer in model.named_buffers()})
        self.roles.batch = batch or 0
        self._flow = Flow(self.roles)
        self._probe = Probe(self.roles, meter)
        self.script: list[
            tuple[str, tuple[Reading, ...]]
        ] = []  # every product, and what was measured of it, in this step
        self._linker = Linker(self.roles, self._probe)
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

    def end_step(self) -> None:
        """End the step where the next forward work begins: an optimizer may still have work to do."""
        self._ending = True

    def _begin_step(self) -> None:
        """Begin the next step, if the present one has ended; one in which nothing was executed is none."""
        if self._ending and self.step.records:
            self.step.dispatched += self._counter.take()
            self.steps.append(StepSeen())
            self._linker.forget()
            self._flow.forget()
            self.roles.forget()
            self.script.clear()
            self._outside_data.clear()
            if not self._given_batch:
                self.roles.batch = 0
            if self._meter is not None:
                self._meter.forget()
        self._ending = False

    def _end_evaluation(self) -> None:
        """End what a model in evaluation mode did, such as a validation, where it goes on in training mode."""
        if self._steps_by_optimizer and not self._ending and self.step.evaluated:
            self._ending = self.model.training
        if self._ending or not self.step.records:
            self._begin_step()
            self.step.evaluated = not (self.model.training or torch.is_grad_enabled())

    def dispatched(self, step: StepSeen) -> int:
        """Return how many multiply-accumulates a step executed, by the count below the recorder."""
        if step is self.step:
            step.dispatched += self._counter.take()
        return step.dispatched

    @contextmanager
    def watching(self, *, optimizers: bool = True) -> Iterator[None]:
        """Record what runs inside: the calls of modules, steps of `optimizers` and every operation.

        Hooks follow the calls and the parameters that get a gradient; they are removed afterwards. Without `optimizers`
        the caller says when one runs.
        """
        hooks: list[RemovableHandle] = []
        if optimizers:
            hooks.append(register_optimizer_step_pre_hook(self.optimizes))
            hooks.append(register_optimizer_step_post_hook(self.optimized))
        try:
            for name, module in self.model.named_modules():
                hooks.append(module.register_forward_pre_hook(partial(self._enter, plain(name)), with_kwargs=True))
                hooks.append(module.register_forward_hook(self._leave, always_call=True))
            for name, parameter in self.parameters.items():
                if parameter.is_leaf and parameter.requires_grad:
                    hooks.append(parameter.register_post_accumulate_grad_hook(partial(self._trained, name)))
            with self._counter, Opening(self.unseen), noting_backward(self._runs_backward), self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def optimizes(self, *_: Optimizer) -> None:
        """An optimizer begins to run."""
        self._optimizing = True

    def optimized(self, optimizer: Optimizer, *_: Any) -> None:
        """An optimizer has run."""
        self._optimizing = False
        if self._steps_by_optimizer and self.is_of_model(optimizer):
            self.step.optimized = True
            self.end_step()

    def is_of_model(self, optimizer: Optimizer) -> bool:
        """Whether an optimizer trains parameters of the model."""
        own = {id(parameter) for parameter in self.model.parameters()}
        given = (id(parameter) for group in optimizer.param_groups for parameter in group["params"])
        return not own.isdisjoint(given)

    def _see_outside(self, call: Call, held: Sequence[Held]) -> Sequence[Held]:
        """Take for data what meets weights outside of the model before the model gets any, as with a teacher."""
        weights = [isinstance(tensor, nn.Parameter) for tensor in call.tensors]
        self._outside_weights.update(self.roles.key(tensor) for tensor in compress(call.tensors, weights))
        met = [self.roles.key(tensor) in self._outside_weights for tensor in call.tensors]
        if not any(met) or any(role not in {None, Role.SIZED} for role in held):
            return held
        self._begin_step()
        for tensor, is_weight in zip(call.tensors, met, strict=True):
            if not is_weight and tensor.dim():
                self.roles.mark(tensor, Role.ACTIVATION)
                self._outside_data.add(self.roles.key(tensor))
                if self._one_batch and not self.roles.batch:
                    self.roles.batch = tensor.shape[0]
        return [self.roles.of(tensor) for tensor in call.tensors]

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Record nothing inside."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def _runs_backward(self, nodes: set[int]) -> None:
        self.step.nodes |= nodes

    def _trained(self, name: str, _: Tensor) -> None:
        self.step.trained.add(name)

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        outermost = len(self._stack) == 1
        if outermost and running_node() is None:
            self._end_evaluation()
            self.step.rounds += self._steps_by_optimizer and self.step.backward and module is self.model
            self._take_inputs([*inputs_in((args, kwargs))])
            self.step.calls.append({tensor.shape[0] for tensor in inputs_in((args, kwargs)) if tensor.dim()})
            self._claimed = last_node()
        if getattr(module, "batch_first", None) is False:
            self._see_layout(name, next(inputs_in((args, kwargs)), None))
        self._calls += 1
        self._stack.append((name, self._calls, module))
        for own, parameter in module.named_parameters(recurse=False):  # as it is now: `.data` may have replaced it
            if not nn.parameter.is_lazy(parameter):
                self.roles.mark_parameter(f"{name}.{own}".removeprefix("."), self._seen_as(parameter))

    def _take_inputs(self, inputs: Sequence[Tensor]) -> None:
        """Mark what enters the model as data."""
        seen = [self._seen_as(tensor) for tensor in inputs]
        new = [
            tensor for tensor in seen
            if self.roles.of(tensor) in {None, Role.SIZED} or self.roles.key(tensor) in self._outside_data
        ]  # fmt: skip
        for tensor in new:
            for part in parts_of(tensor):
                self.roles.mark(part, Role.ACTIVATION)
                self._flow.write(part, (len(self.step.inputs),))
                self._outside_data.discard(self.roles.key(part))
            if self._one_batch and not self._given_batch and not self.step.inputs and tensor.dim():
                self.roles.batch = tensor.shape[0]
            self.step.inputs.append(tuple(size for size in tensor.shape if type(size) is int))  # not the jagged one

    def _see_layout(self, name: str, given: Tensor | None) -> None:
        """Note how many samples a module with ``batch_first=False`` gets, where the inputs of the model say otherwise.

        Its input is (positions, samples, features), or (positions, features) of one sample. Samples and positions may
        lie side by side in one dimension, so a multiple of the samples is no contradiction.
        """
        shapes = [shape for shape in self.step.inputs if len(shape) > 1]
        if given is None or self.step.layout or not shapes or given.dim() not in {2, 3}:
            return
        samples = given.shape[1] if given.dim() == 3 else 1
        first = {shape[0] for shape in shapes}
        second = {shape[1] for shape in shapes} if given.dim() == 3 else {1} if tuple(given.shape) in shapes else set()
        if samples in second and samples not in first:
            self.step.layout = (name, samples)
            if not self._given_batch:
                self.roles.batch = samples

    def _leave(self, *_: Any) -> None:
        self._stack.pop()

    def __torch_dispatch__(self, func: OpOverload, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        """Execute `func` and record it."""
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            with self:
                return run_control_flow(func, args, kwargs)
        if any(hasattr(kind, "__tensor_flatten__") for kind in types):
            return (
                NotImplemented  # a tensor made of tensors (jagged, distributed, scaled): its parts come by themselves
            )
        if func.namespace == "prim":
            return func(*args, **kwargs)
        if self._fake is not None:
            args, kwargs = _faked(self._fake, args), _faked(self._fake, kwargs)
        with self:  # composite operations arrive whole in inference mode and from inside of others
            if (parts := func.decompose(*args, **kwargs)) is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        call, writes = Call.of(func, args, kwargs, out), func._schema.is_mutable  # noqa: SLF001
        if self.paused:
            self._run_open = False
            self._flow.write_results(call, self._flow.behind(call), writes=writes)
        else:
            self._see(call, writes=writes)
        return out

    def _see(self, call: Call, *, writes: bool) -> None:
        node = running_node()
        in_backward = node is not None and not torch.is_grad_enabled()
        self.step.backward |= in_backward
        self._run_open &= node is not None and not in_backward
        self.step.differentiated |= node is not None
        self._makes_node = last_node() > self._claimed
        self._find_node(call, writes=writes)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in call.tensors):
            self._claimed = last_node()
        held: Sequence[Held] = [self.roles.of(tensor) for tensor in call.tensors]
        if node is None and len(self._stack) == 1 and not writes:
            held = self._see_outside(call, held)
        producers = self._sort(call, held, node, writes=writes)
        self._flow.write_results(call, producers, writes=writes)
        if call.word in MULTIPLY:
            self.script.append((call.word, self._probe.readings()))

    def _sort(self, call: Call, held: Sequence[Held], node: int | None, *, writes: bool) -> Producers:
        """Record an operation as what it is, and return what its results come from."""
        in_backward = node is not None and not torch.is_grad_enabled()
        behind = self._flow.behind(call)
        if call.namespace in DISTRIBUTED:
            self._see_message(call, held, in_backward=node is not None or self.step.backward)
            return behind
        if _is_empty(call):
            self._pass_on(call, held, in_backward=in_backward)
            return behind
        if not held or FACTORIES.fullmatch(call.word):
            self._see_factory(call)
            return ()
        if (not writes and self._is_view(call)) or call.word in CASTS | RESHAPED:
            self._pass_on(call, held, in_backward=False)
            return behind
        if node is not None and in_backward:
            self.step.late.clear()
            extra = None if self._linker.link(call, node) else self._add_extra(call, node)
            self._pass_on(call, held, in_backward=True)
            return (extra,) if extra else ()
        record = self._see_forward(call, held, again=node is not None)
        return (record,) if record else behind

    def _find_node(self, call: Call, *, writes: bool) -> None:
        """Find the autograd node of an operation: the last one made, unless that is of a copy saved beforehand.

        Work in place makes its node and then copies what it overwrites and its backward needs.
        """
        of_operand = (self.roles.key(call.tensors[0]), last_node()) if call.tensors else None
        self._node = last_node() - (writes and of_operand is not None and of_operand == self._copied)
        self._copied = of_operand if call.word == "clone" else None

    def _see_message(self, call: Call, held: Sequence[Held], *, in_backward: bool) -> None:
        """Note a collective. In the backward pass it grows with the batch unless it moves gradients of parameters."""
        sizes = {tensor.numel() for tensor in self.parameters.values()}
        of_parameters = call.namespace != "_c10d_functional" or sizes.intersection(t.numel() for t in call.tensors)
        data = Role.GRADIENT in held and not of_parameters if in_backward else Role.ACTIVATION in held
        message = message_of(call, in_backward=in_backward, module=self.here, grows=data)
        if message is not None:
            sources = tuple(self._flow.of(tensor) for tensor in call.tensors)
            self.step.messages.append(replace(message, sources=sources))
        if held:
            self._pass_on(call, held, in_backward=in_backward)

    def _see_factory(self, call: Call) -> None:
        for result in call.results:
            if call.word == "bernoulli":
                self.roles.mark(result, Role.NOISE)
            elif self._one_batch and isinstance(self._stack[-1][2], nn.RNNBase | nn.RNNCellBase):
                self.roles.mark(result, Role.SIZED)  # initial state: layers x samples x features
            elif result.shape[:1] == (self.roles.batch,) != (1,) and (result.dim() > 1 or call.word in FILLS):
                self.roles.mark(result, Role.SIZED)  # whatever shape it is seen in later

    def _see_forward(self, call: Call, held: Sequence[Held], *, again: bool) -> Record | None:
        """Record an operation outside of the gradients, and return the record that it is part of, if any."""
        if (chosen := _pruned(call, held)) is not None:
            self.step.masked = True
            for result in call.results:
                if not self.roles.known(result):
                    self.roles.mark(result, chosen)
            return None
        what = self._foreign(call, held, outside=not again)
        if what is None:
            record = self._record(call, held, again=again)
            self._pass_on(call, held, in_backward=False)
            return record
        update = self._leave_out(call, what)
        if unused := [role for role in (Role.NOISE, Role.GRADIENT, Role.SIZED) if role in held]:
            for result in call.results:
                if not self.roles.is_parameter(result):
                    self.roles.mark(result, unused[0])
        return update

    def _foreign(self, call: Call, held: Sequence[Held], *, outside: bool) -> str | None:
        """Return what an operation is that is no work of forward and backward pass: of the optimizer, of metrics, or on
        constants; None where it is."""
        if not any(isinstance(role, Source | Derived) or role is Role.ACTIVATION for role in held):
            return "the optimizer" if Role.GRADIENT in held else "constants"
        if not outside or len(self._stack) > 1:
            return None
        if self._ending and self._makes_node and Role.ACTIVATION not in held:
            self._begin_step()
        over = self.step.backward and self._ending
        if over or (not torch.is_grad_enabled() and Role.ACTIVATION not in held):
            return AFTERWARDS if self.step.backward else "parameters alone, without gradients"
        return None

    def _leave_out(self, call: Call, what: str) -> Record | None:
        """Name a product as left out, or return the record of one that the optimizer executes."""
        if call.word not in PRODUCTS and call.word != "convolution":
            return None
        held = {self.roles.of(tensor) for tensor in operands_of(call)}
        by_optimizer = self._optimizing or any(role is Role.GRADIENT or isinstance(role, Source) for role in held)
        if call.word in PRODUCTS and self.step.backward and by_optimizer and Role.ACTIVATION not in held:
            work, sources = product_of_data(call), tuple(map(self._flow.of, operands_of(call)))
            update = Record(
                work=work, word="matmul", modules=("optimizer",), calls=(0,), parameters=(), seq=-1, sources=sources
            )
            self.step.updates.append(update)
            return update
        self.step.left_out[what] += macs_of(call)
        return None

    def _is_view(self, call: Call) -> bool:
        inputs = {self.roles.key(tensor) for tensor in call.tensors}
        return all(self.roles.key(result) in inputs for result in call.results)

    def _pass_on(self, call: Call, held: Sequence[Held], *, in_backward: bool) -> None:
        """Give results that lie in new memory the role of what they are computed from."""
        known = {
            self.roles.key(tensor) for tensor, role in zip(call.tensors, held, strict=True)
            if role and not (isinstance(role, Derived) and any(map(grows, held)))
            and not (role is Role.SIZED and Role.ACTIVATION in held)  # data written into what was made for it
        }  # fmt: skip
        if call.word == "copy" and Role.GRADIENT in held:  # what was there is overwritten
            known.clear()
        for result in call.results:
            if self.roles.key(result) not in known and not self.roles.is_parameter(result):
                role = _role_of_result(call, result, held, self.roles.batch, in_backward=in_backward)
                self.roles.mark(result, role)

    def _record(self, call: Call, held: Sequence[Held], *, again: bool) -> Record:
        records = self._open_list(again=again)
        if records and (self._is_bias(call, held, records) or self._is_part_of_norm(call, held, records)):
            return records[-1]
        work = work_of(call, self.roles, self.here)
        own = work.weight.parameters if work.weight else ()
        used = [name for role in held if isinstance(role, Source) for name in role.parameters if name not in own]
        active = torch.is_grad_enabled() or self._node > self._claimed  # or inside the forward of a custom function
        named = work.kind == "dropout" or work.is_product
        modules, calls = self._place(again=again)
        record = Record(
            work=work,
            word=work.kind if named else SHOWN_AS.get(call.word, call.word),
            modules=modules,
            calls=calls,
            parameters=tuple(dict.fromkeys(used)),
            seq=self._node,
            sources=tuple(map(self._flow.of, data_operands(call, work))),
            with_gradient=active,
            inside_function=active and not torch.is_grad_enabled(),
            requires_gradient=active and (self._makes_node or any(tensor.requires_grad for tensor in call.tensors)),
        )
        records.append(record)
        if not again and len(self._stack) == 1 and self.step.backward:
            self.step.late.append(record)
        self._linker.add(record)
        self._last_product = {self.roles.key(result) for result in call.results if work.weight}
        if work.is_product:
            record.reads = tuple(self.roles.key(operand) for operand in operands_of(call))
            self._probe.forward(call, record)
        return record

    def _place(self, *, again: bool) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The modules that run, outermost first, with the numbers of their calls; in the backward pass, where none may
        run, those of the operation that the autograd node belongs to."""
        if again and len(self._stack) == 1:
            node = running_node()
            belongs_to = [] if node is None else self._linker.of(node)
            if belongs_to:
                return belongs_to[0].modules, belongs_to[0].calls
        return tuple(name for name, *_ in self._stack), tuple(number for _, number, _ in self._stack)

    def _open_list(self, *, again: bool) -> list[Record]:
        """Where operations go now: the forward pass, or the present run of forward work in the backward pass."""
        if not again:
            return self.step.records
        if not self._run_open:
            self.step.again.append([])
        self._run_open = True
        return self.step.again[-1]

    def _is_bias(self, call: Call, held: Sequence[Held], records: list[Record]) -> bool:
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

    def _is_part_of_norm(self, call: Call, held: Sequence[Held], records: list[Record]) -> bool:
        """Whether torch, which has no kernel for RMS norm on every device, goes on with the steps of one."""
        _, number, module = self._stack[-1]
        if not isinstance(module, nn.RMSNorm) or records[-1].calls[-1] != number:
            return False
        size = call.results[0].numel()  # of the last step: the whole output
        records[-1].work = Work(kind="norm", counts=(size, size), shared=(0, 0), from_data=records[-1].work.from_data)
        records[-1].word = "rms_norm"
        used = [name for role in held if isinstance(role, Source) for name in role.parameters]
        records[-1].parameters = tuple(dict.fromkeys((*records[-1].parameters, *used)))
        return True

    def _add_extra(self, call: Call, node: int) -> Record:
        """Add a product of the backward pass that is no gradient, beside the forward operation it belongs to."""
        belongs_to = self._linker.of(node)
        modules, calls = self._place(again=True)
        work = work_of(call, self.roles, modules[-1])
        extra = Record(
            work=work, word=work.kind, modules=modules, calls=calls, parameters=(), seq=-1,
            sources=tuple(map(self._flow.of, data_operands(call, work))), backward_only=True,
        )  # fmt: skip
        at = next((i for i, record in enumerate(self.step.records) if belongs_to and record is belongs_to[-1]), None)
        self.step.records.insert(len(self.step.records) if at is None else at + 1, extra)
        return extra


def _is_empty(call: Call) -> bool:
    """Whether a product has nothing to multiply, as that of an expert without tokens."""
    return (call.word in PRODUCTS or call.word == "convolution") and macs_of(call) == 0


def _pruned(call: Call, held: Sequence[Held]) -> Held:
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


def _copies_of_first(call: Call, held: Sequence[Held]) -> tuple[int, ...]:
    """Return how often the result repeats the first operand, along each dimension, or () where it is something else."""
    if call.word == "repeat":
        return tuple(copies for copies in call.args[1] if copies > 1) or (1,)
    if call.word in JOINS and len(held) > 1:
        same = all(role == held[0] for role in held)
        return (len(held),) if same else ()
    return (1,) if call.word in SAME_CONTENT else ()


def _faked(fake: FakeTensorMode, value: Any) -> Any:
    """Replace real tensors by fake ones: else in-place operations would write into the user's buffers."""
    if isinstance(value, Tensor) and not isinstance(value, FakeTensor):
        return fake.from_tensor(value)
    if isinstance(value, list | tuple):
        return type(value)(_faked(fake, inner) for inner in value)
    if isinstance(value, dict):
        return {key: _faked(fake, inner) for key, inner in value.items()}
    return value


def _role_of_result(call: Call, result: Tensor, held: Sequence[Held], batch: int, *, in_backward: bool) -> Held:
    """What a result holds; the first line that applies decides.

    | operands | operation | the result holds |
    |---|---|---|
    | parameters first | a view, a copy, repetitions | the same, repeated where the copies are the samples |
    | data among them | any, but for parameters of the result's size beside a constant of the batch | a gradient in a
      backward pass and where gradients are the only data, else an activation |
    | no parameters | any | what the first that is no constant holds |
    | parameters alone | a concatenation | all of them, joined |
    | parameters | a product, or what picks elements | something derived from them |
    | parameters | any other | the one of the result's size, else something derived |
    """
    sources = [role for role in held if isinstance(role, Source)]
    alike = [source for source in sources if source.elements == result.numel()]
    if isinstance(held[0], Source | Derived) and (copies := _copies_of_first(call, held)):
        return replace(held[0], repeated=held[0].repeated or batch in copies)
    of_data = {Role.ACTIVATION, Role.GRADIENT}.intersection(held)
    if any(map(grows, held)) and (of_data or not alike):
        return Role.GRADIENT if in_backward or of_data == {Role.GRADIENT} else Role.ACTIVATION
    if not any(isinstance(role, Source | Derived) for role in held):
        return next((role for role in held if role), None)
    if call.word in JOINS and len(sources) == len(held):
        return joined(sources)
    picked = call.word in PRODUCTS or call.word == "convolution" or call.word in READ_WHAT_THEY_WRITE
    return alike[0] if alike and not picked else derived_from(held, result)
