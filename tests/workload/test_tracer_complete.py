"""No product of a step is lost, and each grows with the batch as it really does: against a count below the tracer."""

import pytest

from accelsim.base.errors import InputError
from accelsim.hardware.design import load_design
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm, Stage, Update
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

import torch.nn.functional as F  # noqa: E402, N812
from macs_counter import Count  # noqa: E402
from operations import shown  # noqa: E402
from torch import nn  # noqa: E402
from tracing_cases import Apply, products, traced  # noqa: E402

from accelsim.workload.trace import Linear  # noqa: E402
from accelsim.workload.tracer import trace, tracing  # noqa: E402
from accelsim.workload.tracer.checking import check_complete  # noqa: E402
from accelsim.workload.tracer.records import StepSeen  # noqa: E402
from accelsim.workload.tracer.running import opened  # noqa: E402

DESIGN = load_design("sat_vcu1525")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def step_of(trace, batch, method="dense", pattern=None):
    return lower(trace, DESIGN, find_method(method), pattern=pattern, batch=batch)


def counted(model, step):
    with opened(model), Count() as count:
        step()
    return count.macs


def squares(model, *shape):
    """A step on a batch of random samples of a shape."""

    def step(batch):
        model(torch.randn(batch, *shape)).square().mean().backward()

    return step


# Operands from parameters and constants


def attention():
    return nn.MultiheadAttention(8, 2, batch_first=True)


def decoder(queries):
    def forward(m, x):
        q = queries(m, len(x))
        q = q + m.a(q, q, q)[0]
        return m.f(q + m.c(q, x, x)[0])

    return lambda: Apply(forward, q=(1, 3, 8), a=attention(), c=attention(), f=nn.Linear(8, 8), e=nn.Embedding(3, 8))


def states(start):
    def forward(m, x):
        h = start(m, x)
        for position in range(x.shape[1]):
            h = torch.tanh(m.h(h) + m.i(x[:, position]))
        return h

    return lambda: Apply(forward, s=(1, 8), h=nn.Linear(8, 8), i=nn.Linear(8, 8))


def once_projected(m, x):
    return m.f(m.q[0]) @ x.mT  # as wide as the queries for every sample


def zeros_reshaped(m, x):
    return m.f(torch.zeros(len(x), 3, 8).view(-1, 8)).view(len(x), 3, 8) @ x.mT


REPEATED = {
    "expanded": decoder(lambda m, batch: m.q.expand(batch, -1, -1)),
    "repeated": decoder(lambda m, batch: m.q.repeat(batch, 1, 1)),
    "stacked": decoder(lambda m, batch: torch.stack([m.q[0]] * batch)),
    "joined": decoder(lambda m, batch: torch.cat([m.q] * batch)),
    "embedded": decoder(lambda m, batch: m.e(torch.arange(3)).expand(batch, -1, -1)),
    "chosen": decoder(lambda m, batch: m.e(torch.zeros(batch, dtype=torch.long))[:, None]),
    "projected, then expanded": decoder(lambda m, batch: m.f(m.q).expand(batch, -1, -1)),
    "never repeated": lambda: Apply(once_projected, q=(1, 3, 8), f=nn.Linear(8, 8)),
    "zeros in another shape": lambda: Apply(zeros_reshaped, f=nn.Linear(8, 8)),
    "a state of zeros": states(lambda m, x: torch.zeros(len(x), 8)),
    "a state of a parameter": states(lambda m, x: m.s.expand(len(x), -1)),
}


@pytest.mark.parametrize("case", REPEATED)
def test_what_is_repeated_over_the_batch_grows_with_it(case):
    seen = []
    for batch in (2, 5):
        model = REPEATED[case]()
        step = squares(model, 4, 8)
        made = trace(lambda: step(batch), model)  # noqa: B023  runs here
        assert step_of(made, batch).macs_dense == counted(model, lambda: step(batch))  # noqa: B023
        seen.append(step_of(made, 30).macs_dense)
    assert seen[0] == seen[1] == step_of(traced(model, "4x8", loss=lambda out: out.square().mean()), 30).macs_dense


@pytest.mark.parametrize("model", [nn.LSTM(4, 6, batch_first=True), nn.GRU(4, 6, batch_first=True)], ids=type)
def test_one_sample_shows_the_state_of_a_recurrent_layer(model):
    def step(batch):
        model(torch.randn(batch, 3, 4))[0].square().mean().backward()

    made = trace(lambda: step(1), model)
    assert not made.origin.assumptions
    assert step_of(made, 7).macs_dense == counted(model, lambda: step(7))


def test_one_sample_cannot_show_what_grows():
    model = states(lambda m, x: m.s.expand(len(x), -1))()
    step = squares(model, 2, 8)
    assert trace(lambda: step(1), model).origin.assumptions == (
        "taken as work done once per step: h; with one sample, what grows with the batch cannot be told from what does"
        " not, with two it can",
    )


# Weights computed from parameters


class Hadamard(torch.autograd.Function):
    """A weight of two low-rank products, both computed again in its backward pass (LoHa)."""

    @staticmethod
    def forward(ctx, a, b, c, d):
        ctx.save_for_backward(a, b, c, d)
        return (a @ b) * (c @ d)

    @staticmethod
    def backward(ctx, gradient):
        a, b, c, d = ctx.saved_tensors
        first = gradient * (c @ d)
        of_a, of_b = first @ b.T, a.T @ first
        second = gradient * (a @ b)
        return of_a, of_b, second @ d.T, c.T @ second


DERIVED = {  # model, products of a step of one sample per row of the batch, parameters
    "low rank": (lambda: Apply(lambda m, x: F.linear(x, m.a @ m.b), a=(6, 2), b=(2, 4)), ["linear", "linear_2"]),
    "rows": (lambda: Apply(lambda m, x: F.linear(x, m.w[torch.arange(6) * 2]), w=(12, 4)), ["linear"]),
    "hypernetwork": (
        lambda: Apply(lambda m, x: F.linear(x, m.h(m.z).view(6, 4)), z=(3,), h=nn.Linear(3, 24)), ["h", "linear"],
    ),
    "one for each head": (lambda: Apply(lambda m, x: x[:, None] @ (m.a @ m.b), a=(3, 4, 2), b=(3, 2, 6)), None),
    "Hadamard": (
        lambda: Apply(lambda m, x: F.linear(x, Hadamard.apply(m.a, m.b, m.c, m.d)), a=(6, 2), b=(2, 4), c=(6, 2), d=(2, 4)),
        ["linear", "linear_2", "linear_3"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DERIVED)
def test_a_derived_weight_is_shared_and_trained(case):
    make, names = DERIVED[case]
    model = make()
    step = squares(model, 5, 4)
    made = trace(lambda: step(3), model)
    for batch in (3, 30):
        assert step_of(made, batch).macs_dense == counted(model, lambda: step(batch))  # noqa: B023
    (last,) = [operation for operation in made.operations if operation.macs and operation.scales_with_batch]
    assert last.weight.derived
    assert not last.weight.frozen
    if names:
        assert [operation.name for operation in made.operations if operation.macs] == names
    assert made.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert sum(elements for elements, _ in made.tensors.values()) == made.parameters
    assert products(traced(model, "5x4", loss=lambda out: out.square().mean())) == products(made)


def test_a_derived_weight_is_read_once_and_its_gradient_goes_to_what_made_it():
    model = Apply(lambda m, x: F.linear(x, m.a @ m.b), a=(16, 2), b=(2, 24))
    made = trace(lambda: model(torch.randn(4, 24)).square().mean().backward(), model)
    assert products(made) == [
        "linear = linear 2->24 rows 16 b once",
        "linear_2 = linear 24->16 rows 1 computed from a, b no gradient",
    ]
    step = step_of(made, 32, "bdwp", Pattern(kept=2, group=8))
    gemms = [(task.operation, task.stage, task.m, task.n, task.k) for task in step.tasks if isinstance(task, Gemm)]
    assert gemms == [
        ("linear", Stage.FF, 16, 24, 2),
        ("linear_2", Stage.FF, 32, 16, 24),
        ("linear_2", Stage.WU, 24, 16, 32),
        ("linear", Stage.BP, 16, 2, 24),
        ("linear", Stage.WU, 2, 24, 16),
    ]
    waits = dict(zip((task.name for task in step.tasks), step.after, strict=False))
    weight_update = next(
        i for i, task in enumerate(step.tasks) if task.operation == "linear_2" and task.stage is Stage.WU
    )
    bp = next(i for i, task in enumerate(step.tasks) if task.operation == "linear" and task.stage is Stage.BP)
    assert weight_update in step.after[bp], waits
    assert sum(task.elements for task in step.tasks if isinstance(task, Update)) == 16 * 2 + 2 * 24
    reasons = {note.text for note in step.notes if note.operation == "linear_2"}
    assert "kept dense, its weight is computed from parameters in every step" in reasons


def test_a_derived_kernel_is_trained():
    model = Apply(lambda m, x: F.conv2d(x, m.h(m.z).view(6, 3, 2, 2)), z=(4,), h=nn.Linear(4, 72))
    made = trace(lambda: model(torch.randn(3, 3, 5, 5)).square().mean().backward(), model)
    conv = made.operations[1]
    assert (conv.weight.derived, conv.weight.frozen, made.parameters) == (True, False, 4 + 4 * 72 + 72)
    assert step_of(made, 3).macs_dense == 3 * (4 * 72) + 2 * 3 * (6 * 12 * 16)


# Products that nobody announces


class Written(torch.autograd.Function):
    """A layer that writes its products where it wants them."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        out = x.new_empty(len(x), len(w))
        torch.mm(x, w.t(), out=out)
        return out

    @staticmethod
    def backward(ctx, gradient):
        x, w = ctx.saved_tensors
        of_x, of_w = torch.empty_like(x), torch.zeros_like(w)
        torch.mm(gradient, w, out=of_x)
        of_w.addmm_(gradient.t(), x)
        return of_x, of_w


def in_one_buffer(m, x):
    out = torch.empty(len(x), 4, 4)
    with torch.no_grad():
        torch.bmm(x, x.mT, out=out)
        torch.baddbmm(out, x, x.mT, out=out)
    return m.a(out @ x)


class Graph:
    """A user's object, which is neither a container nor a dataclass."""

    def __init__(self, **tensors):
        self._store = {"inner": tensors}

    def __getattr__(self, name):
        return self.__dict__["_store"]["inner"][name]


class Slotted:
    """Another one."""

    __slots__ = ("adjacency", "x")

    def __init__(self, x, adjacency):
        self.x, self.adjacency = x, adjacency


def of_graph(kind):
    def step(model, batch):
        model(kind(x=torch.randn(batch, 4, 8), adjacency=torch.randn(batch, 4, 4))).square().mean().backward()

    return lambda: Apply(lambda m, graph: m.a(graph.adjacency @ graph.x), a=nn.Linear(8, 3)), step


def on_images(model, batch):
    model(torch.randn(batch, 4, 8)).square().mean().backward()


def on_rows(model, batch):
    model(torch.randn(batch, 8)).square().mean().backward()


def perceptron():
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4))


def twice_backwards(model, batch):
    loss = model(torch.randn(batch, 4, 8)).square().mean()
    loss.backward(retain_graph=True)
    loss.backward()


def two_penalties(model, batch):
    x = torch.randn(batch, 8, requires_grad=True)
    loss = model(x).square().mean()
    for _ in range(2):
        (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
        loss = loss + gradient.square().sum()
    loss.backward()


def gradients_of_parts(model, batch):
    out = model(torch.randn(batch, 8))
    parts = out[:, :2].square().mean(), out[:, 2:].abs().mean()
    for part in parts:
        torch.autograd.grad(part, list(model.parameters()), retain_graph=True)
    sum(parts).backward()


def sharpness_aware(model, batch):
    x, labels = torch.randn(batch, 8), torch.randint(4, (batch,))
    for sign in (1, -1):
        model.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(parameter.grad, alpha=0.05 * sign)


def contrasting_twice(model, batch):
    for _ in range(2):
        z = model(torch.randn(batch, 4, 8))
        (z @ z.mT).logsumexp(-1).mean().backward()


def self_attention(m, x):
    q, k, v = m.a(x).chunk(3, -1)
    return m.b((q @ k.mT).softmax(-1) @ v)


TEACHER = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).requires_grad_(requires_grad=False)


def taught(model, batch, *, rounds=1):
    for _ in range(rounds):
        x = torch.randn(batch, 8)
        with torch.no_grad():
            wanted = TEACHER(input=x)
        F.mse_loss(model(x), wanted).backward()


SILENT = {
    "written with out=": (
        lambda: Apply(lambda m, x: m.b(Written.apply(m.a(x), m.w)), a=nn.Linear(8, 8), w=(6, 8), b=nn.Linear(6, 4)), on_rows,
    ),
    "a buffer read and written": (lambda: Apply(in_one_buffer, a=nn.Linear(8, 8)), on_images),
    "inside an object": of_graph(Graph),
    "inside an object with slots": of_graph(Slotted),
    "two backward passes": (lambda: Apply(self_attention, a=nn.Linear(8, 24), b=nn.Linear(8, 3)), twice_backwards),
    "two penalties": (perceptron, two_penalties),
    "gradients of parts": (perceptron, gradients_of_parts),
    "a forward pass after a backward pass": (perceptron, sharpness_aware),
    "a loss of products after a backward pass": (perceptron, contrasting_twice),
    "a teacher first": (perceptron, taught),
    "a teacher in every round": (perceptron, lambda model, batch: taught(model, batch, rounds=2)),
    "a trained head that is not the model's": (
        perceptron, lambda model, batch: HEAD(model(torch.randn(batch, 8))).square().mean().backward(),
    ),
}  # fmt: skip
HEAD = nn.Linear(4, 9)


@pytest.mark.parametrize("case", SILENT)
def test_no_product_is_lost(case):
    make, step = SILENT[case]
    model = make()
    made = [trace(lambda: step(model, batch), model) for batch in (2, 3)]  # noqa: B023  runs here
    for batch, one in zip((2, 3), made, strict=True):
        assert step_of(one, batch).macs_dense == counted(model, lambda: step(model, batch))  # noqa: B023
        assert one.origin.assumptions == ()
    assert step_of(made[0], 30).macs_dense == step_of(made[1], 30).macs_dense


def test_how_often_a_gradient_is_computed():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.Flatten(), nn.Linear(8, 4))

    def step():
        loss = model(torch.randn(2, 3, 5, 5)).square().mean()
        loss.backward(retain_graph=True)
        loss.backward()

    made = trace(step, model)
    runs = [(item.name, item.input_gradient_runs, item.weight_gradient_runs) for item in made.operations if item.macs]
    assert runs == [("0", 1, 2), ("2", 2, 2), ("4", 2, 2)]
    names = [task.name for task in step_of(made, 2).tasks if isinstance(task, Gemm) and task.operation == "4"]
    assert names == ["4", "4", "4[run 2]", "4", "4[run 2]"]  # FF, BP and WU, both twice


def test_what_is_written_is_not_read():
    def doubled(m, x):
        with torch.no_grad():
            out = torch.mul(x, 2, out=x.new_empty(x.shape))
        return m.a(out)

    model = Apply(doubled, a=nn.Linear(4, 3))
    (first, second) = trace(lambda: model(torch.randn(3, 4)).sum(), model).operations[:2]
    assert (first.kind, first.reads, first.writes) == ("multiply", 4, 4)
    assert shown(second) == "a = linear 4->3 rows 1 a.weight no gradient"


def test_products_of_constants_are_named():
    model, weight = nn.Linear(8, 4), torch.randn(8, 4)

    def step():
        x = torch.randn(3, 8)
        wanted = x @ weight
        F.mse_loss(model(x), wanted).backward()

    assert trace(step, model).origin.assumptions == (
        f"matrix products of constants are left out: {3 * 8 * 4} multiply-accumulates in a step",
    )


def test_a_trace_that_lacks_or_doubles_a_product_is_refused():
    model = perceptron()
    made = trace(lambda: model(torch.randn(2, 8)).square().mean().backward(), model)
    executed = counted(model, lambda: model(torch.randn(2, 8)).square().mean().backward())
    step = StepSeen(backward=True)
    check_complete(made, step, 2, executed)
    for operations in (made.operations[1:], (*made.operations, made.operations[0])):
        changed = made.model_construct(**{**dict(made), "operations": operations})
        held = executed + (len(operations) - len(made.operations)) * 2 * (2 * 8 * 6)
        with pytest.raises(InputError) as caught:
            check_complete(changed, step, 2, executed)
        assert str(caught.value) == (
            f"the step executes {executed} multiply-accumulates, and the trace would hold {held} and name 0 as left out;"
            " the tracer does not understand this step, and a wrong trace is worse than none: please report it"
        )


# Where a step ends


def fit(model, steps):
    """A loop as trainers have it: the optimizer calls the step, and the model as a whole is never called."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def closure():
        optimizer.zero_grad()
        loss = model[2](model[1](model[0](torch.randn(3, 8)))).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)


def test_a_step_ends_where_an_optimizer_of_the_model_has_run():
    model = perceptron()
    with tracing(model) as tracer:
        fit(model, 5)
        other = torch.optim.SGD([nn.Parameter(torch.ones(2))], 0.1)
        other.step()
    assert tracer.trace.origin.steps == 5
    assert products(tracer.trace) == products(trace(lambda: fit(model, 1), model))
    assert trace(lambda: fit(model, 5), model).macs == 5 * tracer.trace.macs


def test_accumulated_gradients_are_one_step():
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with tracing(model) as tracer:
        for batch in range(6):
            model(torch.randn(3, 8)).square().mean().backward()
            if batch % 3 == 2:
                optimizer.step()
    assert tracer.trace.origin.steps == 2
    assert tracer.trace.macs == 3 * (8 * 6 + 6 * 4)
    assert tracer.trace.origin.assumptions == ()


def test_rounds_that_no_optimizer_ends_are_pointed_out():
    model = perceptron()
    with tracing(model) as tracer:
        for _ in range(3):
            model(torch.randn(3, 8)).square().mean().backward()
    assert (tracer.trace.origin.steps, tracer.trace.macs) == (1, 3 * (8 * 6 + 6 * 4))
    assert tracer.trace.origin.assumptions == (
        "the model is called 3 times in a step, with a backward pass between; a step ends where an optimizer of the model"
        " has run or tracer.step() is called",
    )


def test_evaluation_between_epochs_is_named_as_left_out():
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with tracing(model) as tracer:
        for _ in range(2):
            for _ in range(2):
                model(torch.randn(3, 8)).square().mean().backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                model(torch.randn(5, 8))
            model.train()
    assert (tracer.trace.origin.steps, tracer.trace.macs) == (4, 8 * 6 + 6 * 4)
    assert tracer.trace.origin.assumptions == (
        f"forward passes without a backward pass are left out: 2, with {2 * 5 * (8 * 6 + 6 * 4)} multiply-accumulates",
    )


def test_models_that_train_in_turn_need_a_function():
    pair = nn.ModuleDict({"G": nn.Linear(3, 6), "D": nn.Linear(6, 1)})
    optimizers = [torch.optim.SGD(pair[name].parameters(), 0.1) for name in "DG"]

    def step():
        fake = pair["G"](torch.randn(4, 3))
        (pair["D"](fake.detach()).mean() - pair["D"](torch.randn(4, 6)).mean()).backward()
        optimizers[0].step()
        (-pair["D"](fake)).mean().backward()
        optimizers[1].step()

    assert step_of(trace(step, pair), 4).macs_dense == counted(pair, step)
    with pytest.raises(InputError) as caught, tracing(pair):
        step()
    assert str(caught.value) == (
        "the backward pass goes on to a forward pass of an earlier step, as where models train in turn; a step ends where"
        " an optimizer has run: give accelsim.trace a function that does all of it"
    )


# Sequences first

SEQUENCES = {
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), "self_attn"),
    "LSTM": (lambda: nn.LSTM(8, 6), "the model"),
    "two layers": (lambda: Apply(lambda m, x: m.o(m.a(x)[0]), a=nn.GRU(8, 6), o=nn.Linear(6, 3)), "a"),
}


@pytest.mark.parametrize("positions", [2, 7])
@pytest.mark.parametrize("case", SEQUENCES)
def test_the_batch_is_the_second_dimension_where_a_layer_says_so(case, positions):
    make, name = SEQUENCES[case]
    model = make()

    def step(batch):
        out = model(torch.randn(positions, batch, 8))
        (out[0] if isinstance(out, tuple) else out).square().mean().backward()

    made = trace(lambda: step(4), model)
    assert (made.origin.batch, made.input_shapes) == (4, ((positions, 8),))
    assert made.origin.assumptions == (
        f"the step is taken to have 4 samples, as {name} has its sequence first (batch_first=False); batch= says otherwise",
    )
    assert step_of(made, 30).macs_dense == counted(model, lambda: step(30))
    given = trace(lambda: step(4), model, batch=4)
    assert (products(given), given.origin.assumptions) == (products(made), ())


def test_a_transposed_sequence_is_no_contradiction():
    model = Apply(lambda m, x: m.a(x.transpose(0, 1))[0], a=nn.LSTM(8, 6))
    made = trace(lambda: model(torch.randn(4, 3, 8)).square().mean().backward(), model)
    assert (made.origin.batch, made.origin.assumptions) == (4, ())


def test_a_model_that_takes_the_sequence_first_is_not_traced_by_itself():
    with pytest.raises(InputError) as caught:
        traced(nn.TransformerEncoderLayer(8, 2, 16), "5x8")
    assert str(caught.value) == (
        "self_attn: takes the second dimension of its input for the batch (batch_first=False), and a model that is traced"
        " by itself gets the batch first; build it with batch_first=True or trace a step of it"
    )


# The model afterwards


class Lazy(nn.Module):
    """A module that sets itself up in its first forward pass."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls, self.ready, self.settings = nn.Linear(4, 4), [], False, {"seen": [0]}

    def forward(self, x):
        if not self.ready:
            self.layer.register_forward_hook(lambda *_: self.calls.append(1))
            self.layer.weight.register_hook(lambda gradient: gradient * 2)
            self.ready = True
        self.calls.clear()
        self.settings["seen"][0] += 1
        return self.layer(self.layer(x))


@pytest.mark.parametrize("values", [True, False])
def test_what_the_first_forward_pass_sets_up_is_undone(values):
    model, fresh = Lazy(), Lazy()
    fresh.load_state_dict(model.state_dict())
    x = torch.randn(2, 4)
    trace(lambda: model(x).sum(), model, values=values)
    assert (model.ready, model.calls, model.settings) == (False, [], {"seen": [0]})
    assert not model.layer._forward_hooks
    for one in (model, fresh):
        one(x).sum().backward()
    assert model.calls == fresh.calls == [1, 1]
    assert torch.equal(model.layer.weight.grad, fresh.layer.weight.grad)


def test_parts_of_a_shared_buffer_are_constants_of_their_own():
    """As in VeRA, where layers of different widths use the first rows of one frozen matrix."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("matrix", torch.randn(8, 6))
            self.scale = nn.Parameter(torch.ones(6))

        def forward(self, x):
            y = nn.functional.linear(x * self.scale, self.matrix[:6])
            return nn.functional.linear(y, self.matrix[:4]) + nn.functional.linear(y, self.matrix[:4])

    model = Shared()
    seen = trace(lambda: model(torch.randn(3, 6)).square().mean(), model)
    weights = [operation.weight.name for operation in seen.operations if isinstance(operation, Linear)]
    assert weights == ["matrix", "matrix[0+24]", "matrix[0+24]"]
    assert {name: seen.tensors[name] for name in set(weights)} == {"matrix": (36, True), "matrix[0+24]": (24, True)}
