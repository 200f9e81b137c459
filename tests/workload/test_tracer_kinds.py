"""Steps of many kinds against a count of what torch executes: experts, sparse and complex operands, gradients of
gradients, optimizers that multiply, several ranks."""

import os
import socket

import pytest

import accelsim as acs
from accelsim.base.errors import InputError

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

import torch.distributed as dist  # noqa: E402
import torch.nn.functional as F  # noqa: E402, N812
from operations import shown  # noqa: E402
from torch import nn  # noqa: E402
from torch.func import functional_call, grad, stack_module_state, vmap  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from tracing_cases import Apply, products, traced  # noqa: E402
from two_ranks import traces_of_both  # noqa: E402

from accelsim.workload.trace import VECTOR_KINDS  # noqa: E402
from accelsim.workload.tracer import trace, tracing  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Count(TorchDispatchMode):
    """Multiply-accumulates that torch executes outside and inside the backward pass, by the shapes of the operands."""

    def __init__(self):
        super().__init__()
        self.forward = self.backward = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out, name, macs = func(*args, **(kwargs or {})), func.overloadpacket.__name__, 0
        at = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "_grouped_mm": 0, "_sparse_addmm": 1}.get(name)
        if at is not None:
            left, right = args[at : at + 2]
            macs = left.numel() * right.shape[-1] * (4 if left.is_complex() else 1)
        elif name == "convolution":
            macs = out.numel() * args[1][0].numel()
        elif name == "convolution_backward":
            macs = sum(args[10][:2]) * args[0].numel() * args[2][0].numel()
        if torch._C._current_autograd_node() is None:
            self.forward += macs
        else:
            self.backward += macs
        return out


DESIGN = acs.load_design("sat_vcu1525")


def macs_of(trace, batch=None):
    """Multiply-accumulates of a dense step by stage."""
    frame = acs.simulate(trace, DESIGN, method="dense", batch=batch or trace.origin.batch).to_frame()
    return {stage: int(frame.loc[frame.stage == stage, "macs_dense"].sum()) for stage in ("FF", "BP", "WU", "UPDATE")}


def check(model, step, **options):
    """Hold the trace of a step against the count; returns the trace."""
    torch.manual_seed(0)
    with Count() as count:
        step()
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    with tracing(model, **options) as tracer:
        step()
    seen = macs_of(tracer.trace)
    assert seen["FF"] + seen["UPDATE"] == count.forward
    assert seen["BP"] + seen["WU"] == count.backward
    return tracer.trace


# Experts


def routed(m, x):
    """Each token goes to one of four experts; the third gets none."""
    chosen = torch.tensor([0, 0, 1, 3, 3, 3, 3])[: len(x)]
    out = torch.zeros(len(x), 6)
    for number, expert in enumerate(m.experts):
        where = (chosen == number).nonzero().flatten()
        out = out.index_add(0, where, expert(x[where]))
    return m.head(out)


def test_experts_get_as_many_rows_as_they_are_sent_and_those_without_any_do_nothing():
    experts = nn.ModuleList([nn.Linear(6, 6) for _ in range(4)])
    model = Apply(routed, experts=experts, head=nn.Linear(6, 2))
    x = torch.randn(7, 6)
    seen = check(model, lambda: model(x).sum().backward())
    assert {op.name: (op.rows, op.samples) for op in seen.operations if op.macs} == {
        "experts.0": (2, 7), "experts.1": (1, 7), "experts.3": (4, 7), "head": (1, 1),
    }  # fmt: skip
    assert seen.origin.assumptions == (
        "samples have different numbers of rows in experts.0, experts.1, experts.3: the rows are counted over several"
        " samples",
    )
    assert macs_of(seen, 14) == {stage: 2 * macs for stage, macs in macs_of(seen).items()}


def test_steps_that_send_other_rows_to_experts_are_their_mean(tmp_path):
    """8 rows over 4 experts: 4, 4, none, none in the first step; 1, 2, 5, none in the second; 8 for one in the third."""
    counts = iter([(4, 4, 0, 0), (1, 2, 5, 0), (0, 0, 8, 0)])

    def route(m, x):
        parts = x.split(next(counts))
        return m.head(torch.cat([expert(part) for expert, part in zip(m.experts, parts, strict=True) if len(part)]))

    experts = nn.ModuleList([nn.Linear(6, 6) for _ in range(4)])
    with torch.no_grad():
        experts[1].weight[0] = 0.0  # 5/6 of it are left
    model = Apply(route, experts=experts, head=nn.Linear(6, 2))
    made = trace(lambda: model(torch.randn(8, 6)).square().sum(), model, steps=3, masks=tmp_path / "m.npz")
    assert {op.name: (op.rows, op.samples) for op in made.operations if op.macs} == {
        "experts.0": (5, 24), "experts.1": (1, 4), "experts.2": (13, 24), "head": (1, 1),
    }  # fmt: skip
    assert {op.name: (op.reads, op.writes) for op in made.operations if op.kind == "copy"} == {"cat": (6, 6)}
    assert made.origin.assumptions == (
        "the 3 steps send different rows to experts.0, experts.1, experts.2: their mean counts",
        "samples have different numbers of rows in experts.0, experts.1, experts.2: the rows are counted over several"
        " samples",
    )
    assert sum(op.macs_at(24) for op in made.operations) == 24 * (6 * 6 + 6 * 2)
    assert made.operations[1].observed.FF.weight.density == pytest.approx(5 / 6)
    assert made.operations[1].observed.FF.weight.mask == "m.npz#experts.1.weight"
    assert made.origin.steps == 3


def test_steps_that_do_more_or_less_have_no_mean():
    """Rows that are dropped in one step: 8, then 7."""
    counts = iter([(4, 4), (4, 3)])

    def route(m, x):
        a, b = next(counts)
        return torch.cat([m.a(x[:a]), m.b(x[a : a + b])])

    model = Apply(route, a=nn.Linear(6, 6), b=nn.Linear(6, 6))
    with pytest.raises(InputError) as caught:
        trace(lambda: model(torch.randn(8, 6)).sum(), model, steps=2)
    assert str(caught.value) == (
        "b: rows is 1 in step 1 and 3 in step 2, per sample; a trace needs steps that do the same work"
    )


def test_grouped_products_are_one_per_expert():
    model = Apply(lambda m, x: m.b(F.grouped_mm(m.a(x), m.w, offs=ENDS)), a=nn.Linear(8, 16), w=(4, 16, 32),
                  b=nn.Linear(32, 8))  # fmt: skip
    x = torch.randn(12, 8)
    seen = check(model, lambda: model(x).square().sum().backward())
    assert [shown(op) for op in seen.operations if op.name.startswith("linear")] == [
        "linear = linear 16->32 rows 1 w[0:1]",
        "linear_2 = linear 16->32 rows 5 w[2:3]",
        "linear_3 = linear 16->32 rows 1 w[3:4]",
    ]
    assert [op.samples for op in seen.operations if op.name.startswith("linear")] == [4, 12, 3]


ENDS = torch.tensor([3, 3, 8, 12], dtype=torch.int32)


def test_grouped_products_compute_what_they_would_have_computed():
    weight, x = torch.randn(4, 16, 32, requires_grad=True), torch.randn(14, 16, requires_grad=True)
    model = Apply(lambda _, x, ends: F.grouped_mm(x, weight, offs=ends))
    expected = F.grouped_mm(x[:12], weight, offs=ENDS)
    wanted = torch.autograd.grad(expected.square().sum(), (weight, x))
    with tracing(model, batch=1):
        out = model(x, ENDS)
        got = torch.autograd.grad(out.square().sum(), (weight, x))
    assert torch.allclose(out[:12], expected, atol=1e-5)
    assert torch.equal(out[12:], torch.zeros(2, 32))  # rows after the last expert
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(got, wanted, strict=True))


def test_on_shapes_alone_experts_get_as_many_rows_each():
    model = Apply(lambda m, x: F.grouped_mm(x.flatten(0, 1), m.w, offs=ENDS), w=(4, 16, 32))
    seen = traced(model, "8x16")
    assert products(seen) == ["conv1d = conv1d 64->128 on 2 kernel 1 groups 4 no gradient"]
    with pytest.raises(InputError) as caught:
        traced(model, "7x16")
    assert str(caught.value) == (
        "14 rows for 4 experts: on shapes alone all experts get as many, so the rows must be a multiple of the experts;"
        " change the length of the input, or trace steps on real values"
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_matrices_gathered_per_token_are_the_weights_of_experts(side):
    index = torch.tensor([2, 0, 2, 2, 1, 0])

    def gathered(m, x):
        y = m.a(x)
        if side == "right":
            return torch.bmm(y.unsqueeze(1), m.w[index]).squeeze(1)
        return (m.w.index_select(0, index) @ y.unsqueeze(-1)).squeeze(-1)

    model = Apply(gathered, a=nn.Linear(8, 16), w=(4, 16, 16))
    nn.init.normal_(model.w)
    x = torch.randn(6, 8)
    seen = check(model, lambda: model(x).sum().backward())
    assert [(op.weight.name, op.rows, op.samples) for op in seen.operations if op.name.startswith("linear")] == [
        ("w[0:1]", 1, 3), ("w[1:2]", 1, 6), ("w[2:3]", 1, 2),
    ]  # fmt: skip
    out = model(x)
    with tracing(model):
        assert torch.allclose(model(x), out, atol=1e-5)


def test_a_gathered_matrix_used_otherwise_is_seen_as_it_is():
    model = Apply(lambda m, x: x * m.w[torch.tensor([1, 0])].sum((1, 2)), w=(3, 2, 2))
    seen = trace(lambda: model(torch.randn(4, 2)).sum(), model)
    assert [shown(op) for op in seen.operations if op.name.startswith("index")] == ["index = copy 8->8 once"]


# Products that torch computes in one operation of their own


def test_bilinear_forms_are_a_product_with_the_weight_and_one_per_sample():
    model = Apply(lambda m, x, y: m.b(m.a(x), y), a=nn.Linear(8, 8), b=nn.Bilinear(8, 6, 5))
    x, y = torch.randn(3, 4, 8), torch.randn(3, 4, 6)
    seen = trace(lambda: model(x, y).sum(), model)
    assert products(seen) == [
        "a = linear 8->8 rows 4 a.weight no gradient",
        "b.linear = linear 6->40 rows 4 b.weight no gradient",
        "b.matmul = matmul 4 x 5,8,1",
    ]
    with tracing(model):
        made = model(x, y)
    assert torch.allclose(
        made, torch.einsum("bti,oij,btj->bto", model.a(x), model.b.weight, y) + model.b.bias, atol=1e-5
    )


def test_a_convolution_with_time_first_is_one_with_channels_first():
    model = Apply(lambda m, x: torch.conv_tbc(x.transpose(0, 1).contiguous(), m.w, m.b, 1), w=(3, 8, 5), b=(5,))
    nn.init.normal_(model.w)
    x = torch.randn(4, 10, 8)
    assert products(trace(lambda: model(x).sum(), model)) == [
        "conv1d = conv1d 8->5 on 10 kernel 3 groups 1 no gradient"
    ]
    with tracing(model):
        made = model(x)
    assert torch.allclose(made, torch.conv_tbc(x.transpose(0, 1).contiguous(), model.w, model.b, 1), atol=1e-5)


def test_distances_are_a_product_where_torch_computes_them_by_one():
    model = Apply(lambda m, x: torch.cdist(m.a(x), m.c), a=nn.Linear(8, 8), c=(32, 8))
    nn.init.normal_(model.c)
    x = torch.randn(30, 8)
    seen = trace(lambda: model(x).sum(), model)
    assert products(seen) == ["a = linear 8->8 rows 1 a.weight no gradient", "linear = linear 8->32 rows 1 c"]
    with tracing(model):
        made = model(x)
    assert torch.allclose(made, torch.cdist(model.a(x), model.c), atol=1e-4)
    few = Apply(lambda m, x: torch.cdist(m.a(x), m.c), a=nn.Linear(8, 8), c=(5, 8))
    assert products(trace(lambda: few(x[:4]).sum(), few)) == ["a = linear 8->8 rows 1 a.weight no gradient"]


def test_kernels_computed_from_the_input_are_a_product_per_sample():
    def conditional(m, x):
        kernel = (torch.sigmoid(m.r(x.mean((2, 3)))) @ m.w).view(-1, 3, 3, 3)
        return F.conv2d(x.reshape(1, -1, 6, 6), kernel, padding=1, groups=len(x)).view(len(x), 8, 6, 6)

    model = Apply(conditional, r=nn.Linear(3, 4), w=(4, 8 * 3 * 9))
    x = torch.randn(4, 3, 6, 6)
    seen = check(model, lambda: model(x).sum().backward())
    assert "matmul = matmul 1 x 36,27,8 no left gradient" in products(seen)


def test_one_filter_for_all_channels_is_computed_from_its_parameter():
    model = Apply(lambda m, x: F.conv2d(x, m.g.expand(8, 1, 3, 3), groups=8), g=(1, 1, 3, 3))
    seen = check(model, lambda: model(torch.randn(5, 8, 6, 6)).sum().backward())
    assert seen.parameters == 9
    assert [op.weight.derived for op in seen.operations if op.macs] == [True]


def test_a_complex_product_is_four_real_ones():
    model = nn.Sequential(nn.Linear(8, 5, bias=False, dtype=torch.complex64), nn.Linear(5, 3, dtype=torch.complex64))
    seen = check(model, lambda: model(torch.randn(4, 8, dtype=torch.complex64)).abs().sum().backward())
    assert products(seen) == [
        "0 = linear 8->10 rows 2 0.weight no gradient",
        "1 = linear 5->6 rows 2 1.weight",
    ]
    assert seen.parameters == 2 * (8 * 5 + 5 * 3 + 3)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize("layout", ["csr", "coo"])
def test_a_sparse_adjacency_is_a_factor_with_its_density(layout):
    model = Apply(lambda m, x, adjacency: m.b(adjacency @ m.a(x).relu()), a=nn.Linear(8, 8), b=nn.Linear(8, 4))
    dense = (torch.rand(20, 20) < 0.2).float()
    adjacency = dense.to_sparse_csr() if layout == "csr" else dense.to_sparse()
    x = torch.randn(20, 8)
    seen = check(model, lambda: model(x, adjacency).sum().backward(), batch=1)
    (product,) = [op for op in seen.operations if op.kind == "matmul"]
    assert (product.m, product.k, product.n) == (20, 20, 8)
    assert product.observed.FF.left.density == pytest.approx(float(dense.mean()))


@pytest.mark.parametrize("bag", [True, False])
def test_sparse_gradients_of_embeddings(bag):
    first = (
        nn.EmbeddingBag(50, 8, sparse=True) if bag else nn.Sequential(nn.Embedding(50, 8, sparse=True), nn.Flatten())
    )
    model = nn.Sequential(first, nn.Linear(8 if bag else 48, 4))
    check(model, lambda: model(torch.randint(50, (4, 6))).sum().backward())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_jagged_sequences_are_counted_over_their_samples():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))

    def step():
        x = torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(6, 8)], layout=torch.jagged)
        model(x).values().sum().backward()

    seen = trace(step, model)
    assert (seen.origin.batch, [(op.rows, op.samples) for op in seen.operations if op.macs]) == (2, [(9, 2), (9, 2)])
    assert macs_of(seen) == {"FF": 9 * 192, "BP": 9 * 64, "WU": 9 * 192, "UPDATE": 0}


# Control flow


def test_a_branch_is_the_one_that_runs():
    model = Apply(lambda m, x: torch.cond(x.sum() > 0, m.a, m.b, (x,)), a=nn.Linear(4, 3), b=nn.Linear(4, 3))
    assert products(trace(lambda: model(torch.ones(2, 4)).sum(), model)) == [
        "a = linear 4->3 rows 1 a.weight no gradient"
    ]
    assert products(trace(lambda: model(-torch.ones(2, 4)).sum(), model)) == [
        "b = linear 4->3 rows 1 b.weight no gradient"
    ]


@pytest.mark.parametrize("masked", [True, False])
def test_flex_attention_is_two_products(masked):
    flex = pytest.importorskip("torch.nn.attention.flex_attention")
    mask = flex.create_block_mask(lambda b, h, q, k: q >= k, None, None, 256, 256, device="cpu") if masked else None

    def attention(m, x):
        q, k, v = m.a(x).reshape(2, 256, 3, 2, 8).permute(2, 0, 3, 1, 4)
        return flex.flex_attention(q, k, v, block_mask=mask)

    model, x = Apply(attention, a=nn.Linear(16, 48)), torch.randn(2, 256, 16)
    with torch.no_grad(), tracing(model) as tracer:
        model(x)
    scores, values = [op for op in tracer.trace.operations if op.kind == "matmul"]
    assert [(op.batch, op.m, op.k, op.n) for op in (scores, values)] == [(2, 256, 8, 256), (2, 256, 256, 8)]
    assert values.observed.FF.left.density == pytest.approx((257 / 512) if masked else 1, abs=1e-4)
    with pytest.raises(InputError) as caught, tracing(model):
        model(x)
    assert str(caught.value) == (
        "flex_attention has no backward pass on the CPU; trace it under torch.no_grad() (forward alone), or train with"
        " scaled_dot_product_attention"
    )


# Gradients


def perceptron():
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))


def of_gradients(model):
    x = torch.randn(5, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    ((gradient.norm(dim=1) - 1) ** 2).mean().backward()


def forces(model):
    def inside(m, x):
        energy = m.net(x.requires_grad_()).sum()
        return energy, torch.autograd.grad(energy, x, create_graph=True)[0]

    return Apply(inside, net=model)


def of_forces(model):
    energy, force = model(torch.randn(5, 8))
    (energy + force.square().sum()).backward()


def meta_learning(model):
    weights = dict(model.named_parameters())
    loss = functional_call(model, weights, (torch.randn(5, 8),)).square().mean()
    steps = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    moved = {name: weight - 0.1 * step for (name, weight), step in zip(weights.items(), steps, strict=True)}
    functional_call(model, moved, (torch.randn(10, 8),)).square().mean().backward()


def per_sample(model):
    weights = dict(model.named_parameters())
    vmap(grad(lambda w, x: functional_call(model, w, (x,)).square().sum()), in_dims=(None, 0))(
        weights, torch.randn(5, 8)
    )


def by_function(model):
    weights = dict(model.named_parameters())
    x = torch.randn(5, 8)
    grad(lambda w: functional_call(model, w, (x,)).square().sum())(weights)


def recomputed(model):
    checkpoint(model, torch.randn(5, 8, requires_grad=True), use_reentrant=False).sum().backward()


@pytest.mark.parametrize("step", [of_gradients, meta_learning, per_sample, by_function, recomputed])
def test_work_of_the_backward_pass_stands_there(step):
    model = perceptron()
    check(model, lambda: step(model))


def test_gradients_inside_a_forward():
    model = forces(perceptron())
    check(model, lambda: of_forces(model))


def test_several_batches_are_taken_by_what_divides_them():
    model = perceptron()
    seen = check(model, lambda: meta_learning(model))
    assert seen.origin.batch == 5
    assert seen.origin.assumptions[0] == (
        "the model is called with batches of 5, 10: the step is taken to have 5 samples, which divides them; batch= says"
        " otherwise"
    )


class Inner(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, dy):
        return dy * 2


class Outer(torch.autograd.Function):
    """A product behind a custom function inside of another, as in training with scaled 8-bit numbers."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return Inner.apply(x) @ Inner.apply(weight).T

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        return dy @ weight, dy.T @ x


def test_products_of_functions_inside_of_functions_are_linked():
    model = Apply(lambda m, x: Outer.apply(m.a(x), m.w), a=nn.Linear(4, 8), w=(6, 8))
    seen = check(model, lambda: model(torch.randn(3, 4)).square().sum().backward())
    assert [shown(op).partition(" = ")[2] for op in seen.operations if op.macs] == [
        "linear 4->8 rows 1 a.weight no gradient", "linear 8->6 rows 1 w",
    ]  # fmt: skip


def test_an_ensemble_is_one_matrix_per_member():
    def together(m, x):
        weights, _ = stack_module_state(list(m.members))
        return vmap(lambda w, x: functional_call(m.members[0], w, (x,)), in_dims=(0, None))(weights, x)

    model = Apply(together, members=nn.ModuleList([nn.Linear(8, 4) for _ in range(3)]))
    seen = check(model, lambda: model(torch.randn(5, 8)).sum().backward())
    assert [shown(op).partition(" = ")[2] for op in seen.operations if op.macs] == [
        "conv1d 24->12 on 1 kernel 1 groups 3 no gradient"
    ]


# Samples multiplied with each other


def contrastive(model):
    views = F.normalize(model(torch.cat([VIEWS, VIEWS + 0.1])), dim=1)
    F.cross_entropy(views @ views.T, torch.arange(8).roll(4)).backward()


def covariance(model):
    one, other = model(VIEWS), model(VIEWS + 0.1)
    (one.T @ other - torch.eye(4)).square().sum().backward()


VIEWS = torch.randn(4, 8)


@pytest.mark.parametrize(("step", "sizes", "grows"), [
    (contrastive, (1, 1, 1, 4), ("m", "n")),
    (covariance, (1, 4, 4, 1), ("k",)),
])  # fmt: skip
def test_products_between_samples_grow_with_the_batch_where_they_do(step, sizes, grows):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    seen = check(model, lambda: step(model))
    (product,) = [op for op in seen.operations if op.kind == "matmul"]
    assert ((product.batch, product.m, product.n, product.k), product.grows) == (sizes, grows)
    once = seen.origin.batch
    assert product.macs_at(2 * once) == (4 if grows == ("m", "n") else 2) * product.macs_at(once)


def test_two_batches_show_which_sizes_grow():
    model = Apply(lambda m, x: m.a(x) @ m.a(x).T, a=nn.Linear(6, 4))
    (product,) = [op for op in traced(model, "6").operations if op.kind == "matmul"]
    assert ((product.m, product.n, product.k), product.grows, product.macs_at(5)) == ((1, 1, 4), ("m", "n"), 100)


# Optimizers


def test_products_of_an_optimizer_are_work_of_the_update():
    model = nn.Sequential(nn.Linear(32, 64, bias=False), nn.ReLU(), nn.Linear(64, 16, bias=False))
    optimizer = torch.optim.Muon(model.parameters(), lr=0.01)
    x = torch.randn(4, 32)

    def step():
        model(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    seen = check(model, step)
    # five rounds of Newton-Schulz per weight: A = X X^T, A A and (..) X, with the shorter side first
    macs = sum(5 * (2 * short * short * long + short**3) for short, long in ((32, 64), (16, 64)))
    assert macs_of(seen)["UPDATE"] == macs_of(seen, 64)["UPDATE"] == macs == 1_003_520
    assert seen.origin.assumptions == (
        f"the optimizer multiplies matrices (30 products, {macs:,} multiply-accumulates) in the update, once per step"
        " unless it sums gradients of single samples",
    )
    assert macs_of(seen, 4) | {"UPDATE": 0} == {"FF": 12288, "BP": 4096, "WU": 12288, "UPDATE": 0}


def test_sums_of_clipped_gradients_grow_with_the_batch():
    model = nn.Linear(6, 3, bias=False)
    x = torch.randn(4, 6)

    def step():
        model(x).sum().backward()
        gradients = model.weight.grad.flatten().expand(4, -1).clone()
        model.weight.grad = (torch.rand(4) @ gradients).view(3, 6)

    seen = trace(step, model)
    assert [macs_of(seen, batch)["UPDATE"] for batch in (4, 8)] == [4 * 18, 8 * 18]


def test_gradients_copied_into_a_buffer_stay_gradients():
    model = nn.Linear(6, 3, bias=False)
    x = torch.randn(4, 6)

    def step():
        model(x).sum().backward()
        kept = torch.zeros(4, 18)  # as large as the batch
        kept[:4].copy_(model.weight.grad.flatten().expand(4, -1))
        model.weight.grad = (torch.ones(4) @ kept).view(3, 6)

    assert macs_of(trace(step, model))["UPDATE"] == 4 * 18


def test_optimizers_that_multiply_now_and_then_are_named_as_left_out():
    model = nn.Linear(6, 3, bias=False)
    x = torch.randn(4, 6)
    with tracing(model) as tracer:
        for number in range(2):
            model(x).sum().backward()
            if number:
                model.weight.grad @ model.weight.grad.T
            tracer.step()
    assert products(tracer.trace) == ["linear = linear 6->3 rows 1 weight no gradient"]


# Several ranks


@pytest.fixture(scope="module")
def one_rank():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    dist.init_process_group("gloo", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.usefixtures("one_rank")
def test_gradients_are_reduced_between_ranks():
    net = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)))
    for _ in range(2):  # in the second step it agrees with the other ranks on buckets
        net(torch.randn(2, 32)).sum().backward()
    seen = check(net, lambda: net(torch.randn(2, 32)).sum().backward())
    (message,) = [op for op in seen.operations if op.kind == "collective"]
    parameters = 32 * 64 + 64 + 64 * 10 + 10
    assert (message.operation, message.bytes, message.group) == ("all_reduce", 4 * parameters, 1)
    assert (message.direction, message.scales_with_batch, seen.parameters) == ("BP", False, parameters)
    notes = acs.simulate(seen, DESIGN, method="dense", batch=2).notes
    assert [(note.operation, str(note.stage), note.text) for note in notes] == [
        ("all_reduce", "BP",
         f"all_reduce of {4 * parameters:,} bytes over 1 rank is not timed without a link (--link-gb-per-s)"),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.usefixtures("one_rank")
def test_a_sum_of_activations_between_ranks_grows_with_the_batch():
    from torch.distributed._functional_collectives import all_reduce

    model = Apply(lambda m, x: all_reduce(m.a(x), "sum", dist.group.WORLD), a=nn.Linear(4, 6))
    with torch.no_grad(), tracing(model) as tracer:
        model(torch.randn(3, 4)) * 1
    (message,) = [op for op in tracer.trace.operations if op.kind == "collective"]
    assert (message.operation, message.bytes, message.direction, message.scales_with_batch) == (
        "all_reduce", 4 * 6, "FF", True,
    )  # fmt: skip


HALVES = ["0 = linear 16->16 rows 1 0.weight", "2.linear = linear 16->16 rows 1 2.weight"]
WHOLE = ["0 = linear 16->32 rows 1 0.weight", "2 = linear 32->16 rows 1 2.weight"]
EACH_WAY = {  # products and parameters of a rank; messages with their bytes, those of activations per sample
    "tensor_parallel": (HALVES, 16 * 16 + 16 + 16 * 16 + 16, [
        ("2.all_reduce", "FF", 16 * 4, True), ("all_reduce", "BP", 16 * 4, True),
    ]),
    "sharded": (WHOLE, 16 * 32 + 32 + 32 * 16 + 16, [
        ("all_gather", "FF", 1072 * 4, False), ("reduce_scatter", "BP", 1072 * 4, False),
    ]),
}  # fmt: skip


EDGES_EACH_WAY = {  # a message reads what it sends; what is behind it reads the same through it
    "tensor_parallel": {
        "0": ["input:0"], "1": ["0"], "2.div": [], "2.linear": ["1", "2.div"], "pow": ["2.linear"], "mean": ["pow"],
        "2.all_reduce": ["2.linear"], "all_reduce": [],
    },
    "sharded": {
        "0": ["input:0"], "1": ["0"], "2": ["1"], "pow": ["2"], "mean": ["pow"], "all_gather": [], "reduce_scatter": [],
    },
}  # fmt: skip


@pytest.mark.parametrize("way", EACH_WAY)
def test_one_of_two_ranks_is_what_it_computes_and_sends(tmp_path, way):
    wanted, parameters, messages = EACH_WAY[way]
    for made in traces_of_both(way, tmp_path):
        assert products(made) == wanted
        assert made.parameters == parameters == sum(elements for elements, _ in made.tensors.values())
        sent = [op for op in made.operations if op.kind == "collective"]
        assert [(op.name, op.direction, op.bytes, op.scales_with_batch) for op in sent] == messages
        assert {op.group for op in sent} == {2}
        scattered = (
            "gradients are scattered over 2 ranks, each of which updates its part of the parameters; the update of the"
            " trace is that of all of them"
        )
        assert (scattered in made.origin.assumptions) is (way == "sharded")
        assert {op.input_gradient for op in made.operations if op.kind in VECTOR_KINDS} == {None}  # all have a backward
        assert {op.name: list(op.inputs) for op in made.operations} == EDGES_EACH_WAY[way]
