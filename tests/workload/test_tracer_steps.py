"""Real training steps under the tracer: what it records, how backward work is linked, and what it leaves alone."""

import random

import pytest

from accelsim.base.errors import InputError
from accelsim.hardware.design import load_design
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.methods import find_method

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

import torch.nn.functional as F  # noqa: E402, N812
from operations import definitions, shown  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402
from tracing_cases import PRODUCTS, Apply, products, traced  # noqa: E402

from accelsim.workload.tracer import InputSpec, trace, tracing  # noqa: E402
from accelsim.workload.tracer.running import opened  # noqa: E402

BATCH = 4


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def real_inputs(texts, batch=BATCH):
    torch.manual_seed(0)
    specs = [InputSpec.parse(text) for text in texts]
    return [
        torch.randint(spec.below, (batch, *spec.shape)) if spec.below else torch.randn(batch, *spec.shape)
        for spec in specs
    ]


def sum_of(outputs):
    """The sum of all outputs that need a gradient, as the model's own tracing takes it."""
    tensors = [out for out in torch.utils._pytree.tree_leaves(outputs) if isinstance(out, torch.Tensor)]
    sums = [tensor.sum().float() for tensor in tensors if tensor.requires_grad]
    return torch.stack(sums).sum() if sums else None


def without_values(trace):
    return [operation.model_dump(exclude={"observed"}) for operation in trace.operations]


def macs_by_stage(trace, batch):
    step = lower(trace, load_design("sat_vcu1525"), find_method("dense"), pattern=None, batch=batch)
    totals = {"FF": 0, "BP": 0, "WU": 0}
    for task in step.tasks:
        if isinstance(task, Gemm):
            totals[task.stage.value] += task.macs
    return totals


# A real step says what shapes alone say

NETWORKS = {
    "resnet": (lambda: definitions("resnet").resnet18_cifar10(), ["3x8x8"]),
    "vit": (
        lambda: definitions("vit").VisionTransformer(image=8, patch=4, width=8, depth=1, heads=2, hidden=16, classes=3),
        ["3x8x8"],
    ),
    "bert": (lambda: definitions("transformers").Bert(16, 1, 2), ["6:int64:100"]),
    "gpt2": (lambda: definitions("transformers").Gpt2(16, 2, 2, 8), ["6:int64:100"]),
    **{case: (model, inputs) for case, (model, inputs, _) in PRODUCTS.items()},
}


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("values", [True, False], ids=["real", "fake"])
def test_one_step_at_one_batch_gives_what_two_batches_of_shapes_give(case, values):
    model, inputs = NETWORKS[case]
    model, arguments = model(), real_inputs(inputs)
    expected = without_values(traced(model, *inputs))
    seen = trace(lambda: sum_of(model(*arguments)), model, values=values)
    assert without_values(seen)[: len(expected)] == expected
    assert not any(operation.macs for operation in seen.operations[len(expected) :])  # sums of the loss
    assert (seen.origin.batch, seen.origin.steps) == (BATCH, int(values))


def test_a_context_watches_a_training_loop_and_leaves_optimizer_and_metrics_out():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer, scaler = torch.optim.AdamW(model.parameters()), torch.amp.GradScaler("cpu")
    with tracing(model, name="classifier") as tracer:
        for _ in range(3):
            images, labels = torch.randn(BATCH, 6), torch.randint(3, (BATCH,))
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                out = model(images)
                loss = F.cross_entropy(out, labels)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            assert (out.argmax(1) == labels).float().mean().item() <= 1
    seen = tracer.trace
    assert [shown(operation) for operation in seen.operations] == [
        "0 = linear 6->8 rows 1 0.weight no gradient",
        "1 = activation 8->8",
        "2 = linear 8->3 rows 1 2.weight",
        "log_softmax = softmax 3->3",
        "nll_loss_forward = loss 3->0",
        "mul = multiply 2->1 once",
    ]
    assert (seen.model, seen.input_shapes, seen.origin.steps) == ("classifier", ((6,),), 3)


def test_products_of_an_optimizer_run_in_the_update():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

    def step():
        model(torch.randn(BATCH, 4)).sum().backward()
        with torch.no_grad():
            for layer in (model[0], model[2]):
                layer.weight -= 0.1 * (layer.weight.grad @ layer.weight.grad.T) @ layer.weight.grad

    seen = trace(step, model)
    assert products(seen) == [
        "0 = linear 4->4 rows 1 0.weight no gradient",
        "2 = linear 4->2 rows 1 2.weight",
        "optimizer.matmul = matmul 1 x 4,4,4 once no gradient",
        "optimizer.matmul_2 = matmul 1 x 4,4,4 once no gradient",
        "optimizer.matmul_3 = matmul 1 x 2,4,2 once no gradient",
        "optimizer.matmul_4 = matmul 1 x 2,2,4 once no gradient",
    ]
    macs = 4 * 4 * 4 + 4 * 4 * 4 + 2 * 4 * 2 + 2 * 2 * 4  # G G^T, and that times G, of both layers
    assert seen.origin.assumptions == (
        f"the optimizer multiplies matrices (4 products, {macs} multiply-accumulates) in the update, once per step unless"
        " it sums gradients of single samples",
    )
    assert seen.macs == 4 * 4 + 4 * 2


def test_a_smaller_last_batch_is_a_step_like_the_others():
    model = nn.Linear(6, 3)
    with tracing(model) as tracer:
        for batch in (4, 3):
            model(torch.randn(batch, 6)).sum().backward()
            tracer.step()
    assert products(tracer.trace) == ["linear = linear 6->3 rows 1 weight no gradient"]
    assert tracer.trace.origin.steps == 2


def test_steps_may_read_their_batches_from_one_tensor():
    model, data = nn.Conv2d(3, 8, 3), torch.randn(3 * BATCH, 3, 8, 8)
    batches = iter(data.split(BATCH))
    seen = trace(lambda: model(next(batches)).sum(), model, steps=3)
    assert products(seen) == ["conv2d = conv2d 3->8 on 8x8 kernel 3x3 groups 1 no gradient"]
    assert (seen.input_shapes, seen.origin.batch, seen.origin.steps) == (((3, 8, 8),), BATCH, 3)


def test_models_that_train_in_turn_are_one_step():
    pair = nn.ModuleDict({"G": nn.Linear(3, 6), "D": nn.Linear(6, 1)})
    real = torch.randn(BATCH, 6)

    def step():
        fake = pair["G"](torch.randn(BATCH, 3))
        (pair["D"](fake.detach()).mean() - pair["D"](real).mean()).backward()
        pair.zero_grad()
        (-pair["D"](fake)).mean().backward()

    seen = trace(step, pair, steps=2)
    assert products(seen) == [
        "G = linear 3->6 rows 1 G.weight no gradient",
        "D = linear 6->1 rows 1 D.weight no gradient",
        "D_2 = linear 6->1 rows 1 D.weight no gradient",
        "D_3 = linear 6->1 rows 1 D.weight",
    ]
    assert (seen.origin.steps, seen.input_shapes) == (2, ((3,), (6,)))


# MACs of the stages


@pytest.mark.parametrize("case", ["resnet", "vit", "bert", "gpt2", "einsum of activations", "tied", "LSTM"])
def test_macs_of_the_step_are_those_of_the_flop_counter(case):
    """torch's counter is right without groups and with attention opened (its convolution backward ignores groups)."""
    model, inputs = NETWORKS[case]
    model, arguments = model(), real_inputs(inputs)
    with opened(model):
        with FlopCounterMode(display=False) as forward:
            loss = sum_of(model(*arguments))
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    stages = macs_by_stage(traced(model, *inputs), BATCH)
    assert stages["FF"] == forward.get_total_flops() / 2
    assert stages["BP"] + stages["WU"] == backward.get_total_flops() / 2


def test_macs_of_grouped_convolutions_by_hand():
    """Where torch's counter is wrong: it counts the backward of grouped convolutions as if they had one group."""
    model = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 3, 2, 1, groups=4)
    )
    forward = [8 * 9 * 36, 16 * 8 * 36, 8 * 4 * 9 * 9]  # outputs x weights of each
    assert macs_by_stage(traced(model, "8x6x6"), BATCH) == {
        "FF": BATCH * sum(forward),
        "BP": BATCH * sum(forward[1:]),  # no gradient of the images; the strided one multiplies no inserted zeros
        "WU": BATCH * sum(forward),
    }


def test_macs_of_a_cifar_resnet18_step():
    """Batch 4, against a peer's numbers for the convolutions; the classifier adds 512 x 10 per sample and stage."""
    stages = macs_by_stage(traced(definitions("resnet").resnet18_cifar10(), "3x32x32"), 4)
    classifier = 4 * 512 * 10
    assert stages == {
        "FF": 2_221_670_400 + classifier, "BP": 2_214_592_512 + classifier, "WU": 2_221_670_400 + classifier,
    }  # fmt: skip


# Linking backward work to its layer


class Masked(torch.autograd.Function):
    """A linear layer in a custom function, as BDWP has it."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient @ weight, gradient.flatten(0, -2).T @ x.flatten(0, -2)


class Attend(torch.autograd.Function):
    """Attention that recomputes its scores in the backward pass, as fused kernels do."""

    @staticmethod
    def forward(ctx, q, k, v):
        ctx.save_for_backward(q, k, v)
        return torch.softmax(q @ k.mT, -1) @ v

    @staticmethod
    def backward(ctx, gradient):
        q, k, v = ctx.saved_tensors
        weights = torch.softmax(q @ k.mT, -1)
        of_weights = gradient @ v.mT
        of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True))
        return of_scores @ k, of_scores.mT @ q, weights.mT @ gradient


class Curious(Masked):
    """A backward pass that multiplies more than its gradients need."""

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        covariance = x.T @ x
        return gradient @ weight, gradient.T @ x + 0 * (weight @ covariance)


def no_gradient_for_the_target(m, x):
    y = m.h(m.a(x))
    with torch.no_grad():
        target = m.a(x + 1)
    return (y - target).square()


def checkpointed(m, x):
    return m.c(checkpoint(m.b, m.a(x), use_reentrant=True))


LINKED = {
    "custom function": (
        lambda: Apply(lambda m, x: Masked.apply(m.a(x), m.w), a=nn.Linear(4, 4), w=(5, 4)),
        "3x4",
        ["a = linear 4->4 rows 3 a.weight no gradient", "linear = linear 4->5 rows 3 w"],
    ),
    "scores computed again": (
        lambda: Apply(lambda m, x: m.b(Attend.apply(*m.a(x).chunk(3, -1))), a=nn.Linear(8, 24), b=nn.Linear(8, 8)),
        "5x8",
        [
            "a = linear 8->24 rows 5 a.weight no gradient",
            "matmul = matmul 1 x 5,8,5 recomputed",
            "matmul_2 = matmul 1 x 5,5,8",
            "b = linear 8->8 rows 5 b.weight",
        ],
    ),
    "the same weight without gradient": (
        lambda: Apply(no_gradient_for_the_target, a=nn.Linear(6, 6), h=nn.Linear(6, 6)),
        "6",
        [
            "a = linear 6->6 rows 1 a.weight no gradient",
            "h = linear 6->6 rows 1 h.weight",
            "a_2 = linear 6->6 rows 1 a.weight no gradient no weight gradient",
        ],
    ),
    "checkpointed": (
        lambda: Apply(checkpointed, a=nn.Linear(4, 4), b=nn.Sequential(nn.Linear(4, 5), nn.Tanh()), c=nn.Linear(5, 2)),
        "4",
        [
            "a = linear 4->4 rows 1 a.weight no gradient",
            "b.0 = linear 4->5 rows 1 b.0.weight recomputed",
            "c = linear 5->2 rows 1 c.weight",
        ],
    ),
    "compiled before": (
        lambda: compiled_and_run(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))),
        "4",
        ["0 = linear 4->5 rows 1 0.weight no gradient", "2 = linear 5->2 rows 1 2.weight"],
    ),
}


def compiled_and_run(model):
    compiled = torch.compile(model, backend="eager")
    compiled(torch.randn(2, 4)).sum().backward()
    return compiled


@pytest.mark.parametrize("case", LINKED)
def test_backward_work_is_linked_to_its_layer(case):
    model, text, expected = LINKED[case]
    model, (x,) = model(), real_inputs([text])
    assert products(trace(lambda: model(x).sum(), model)) == expected
    assert products(traced(model, text)) == expected


def test_a_trace_can_be_taken_more_than_once(tmp_path):
    model = Apply(checkpointed, a=nn.Linear(4, 4), b=nn.Sequential(nn.Linear(4, 5), nn.Tanh()), c=nn.Linear(5, 2))
    with tracing(model) as tracer:
        model(torch.randn(BATCH, 4)).sum().backward()
    assert tracer.trace == tracer.trace == tracer.save(tmp_path / "net.json")
    assert "b.0 = linear 4->5 rows 1 b.0.weight recomputed" in products(tracer.trace)


def test_further_products_of_a_backward_pass_stand_beside_their_layer():
    model = Apply(lambda m, x: Curious.apply(m.a(x), m.w).tanh(), a=nn.Linear(6, 6), w=(8, 6))
    x = torch.randn(BATCH, 6)
    uneven = next(op for op in trace(lambda: model(x).sum(), model).operations if op.name == "linear_2")
    assert (uneven.rows, uneven.samples, uneven.rows_at(BATCH), uneven.rows_at(1)) == (3, 2, 6, 2)
    seen = trace(lambda: model(x).sum(), model, batch=1)
    assert [shown(operation) for operation in seen.operations[:5]] == [
        "a = linear 6->6 rows 4 a.weight no gradient",
        "linear = linear 6->8 rows 4 w",
        "linear_2 = linear 6->8 rows 6 w in backward",
        "matmul = matmul 1 x 6,4,6 in backward",
        "tanh = activation 32->32",
    ]


def test_gradients_of_gradients_are_work_of_their_own():
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
    x = torch.randn(BATCH, 6, requires_grad=True)

    def step():
        out = model(x)
        (gradient,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        (out.mean() + (gradient.norm(2, 1) - 1).square().mean()).backward()

    assert products(trace(step, model)) == [
        "0.linear = linear 6->8 rows 1 0.weight",
        "2.linear = linear 8->1 rows 1 2.weight",
        "2.linear_2 = linear 1->8 rows 1 2.weight in backward no gradient",
        "0.linear_2 = linear 8->6 rows 1 0.weight in backward",
    ]


def test_replaced_parameters_keep_their_names():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    given = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    x = torch.randn(BATCH, 4)
    expected = ["0 = linear 4->4 rows 1 0.weight no gradient", "1 = linear 4->4 rows 1 1.weight"]
    assert products(trace(lambda: torch.func.functional_call(model, given, (x,)).sum(), model)) == expected

    def swapping():
        model[1].weight.data = model[1].weight.data * 2
        return model(x).sum()

    assert products(trace(swapping, model)) == expected


def test_a_step_without_backward_takes_the_flags_from_what_requires_gradients():
    model = nn.Sequential(nn.Linear(4, 5).requires_grad_(False), nn.ReLU(), nn.Linear(5, 6), nn.Linear(6, 2))
    with tracing(model) as tracer:
        model(torch.randn(BATCH, 4))
    assert products(tracer.trace) == products(traced(model, "4"))


def test_frozen_weights_behind_trained_ones_have_bp_and_no_wu():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6).requires_grad_(False))
    x = torch.randn(BATCH, 4)
    assert products(trace(lambda: model(x).sum(), model)) == [
        "0 = linear 4->5 rows 1 0.weight no gradient",
        "2 = linear 5->6 rows 1 2.weight frozen",
    ]


# What is left as it was


def step_of(model, x):
    def step():
        return model(x).square().sum()

    return step


def test_a_watched_step_computes_what_it_would_have_computed():
    model, x = definitions("resnet").ResNet9(), torch.randn(2, 3, 32, 32)

    def gradients(context):
        for parameter in model.parameters():
            parameter.grad = None
        with context:
            loss = step_of(model, x)()
            loss.backward()
        return [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())]

    from contextlib import nullcontext

    model.eval()
    plain, watched = gradients(nullcontext()), gradients(tracing(model))
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any(parameter._post_accumulate_grad_hooks for parameter in model.parameters())


def test_a_traced_function_leaves_model_gradients_and_random_state_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    model[0].weight.grad = torch.full_like(model[0].weight, 2.0)
    states = torch.get_rng_state(), random.getstate()

    def step():
        optimizer.zero_grad()
        model(torch.randn(BATCH, 4)).sum().backward()
        optimizer.step()

    trace(step, model, steps=3)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, torch.full_like(model[0].weight, 2.0))
    assert model[3].weight.grad is None
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


@pytest.mark.parametrize("model", [nn.LSTM(4, 8, batch_first=True), nn.TransformerEncoderLayer(8, 2, 16)], ids=type)
def test_library_kernels_are_back_in_use_afterwards(model):
    before = torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()
    with tracing(model):
        model(torch.randn(2, 3, 4 if isinstance(model, nn.LSTM) else 8))
    assert (torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()) == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_memory_of_activations_is_not_kept():
    import gc
    import weakref

    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with tracing(model):
        out = model(torch.randn(BATCH, 4))
        reference = weakref.ref(out.untyped_storage())
        out.sum().backward()
        del out
        gc.collect()
        assert reference() is None


# Errors


def not_on_the_model(_):
    return torch.ones(2, 2, requires_grad=True).sum()


REFUSED = {
    "a loss of a whole batch": (
        lambda: nn.Linear(4, 3), lambda m, x: m(x), {}, "the loss has shape (4, 3); a scalar is needed, such as its mean",
    ),
    "products between samples": (
        lambda: nn.Linear(4, 3), lambda m, x: (m(x)[:3] @ m(x).T).sum(), {},
        "matmul: multiplies samples of a batch with each other, 1 x (3 x 3) (3 x 4), and which of these sizes grow with the"
        " batch cannot be told; with batch=1 the whole step is traced as one sample",
    ),
    "inputs of several sizes": (
        lambda: Apply(lambda m, x, y: m.a(x) * y.sum(), a=nn.Linear(4, 4)), lambda m, x: m(x, x[:3].clone()).sum(), {},
        "the inputs of the model have first dimensions 3 and 4; say with batch= how many samples a step has",
    ),
    "a model that does not run": (
        lambda: nn.Linear(4, 3), not_on_the_model, {},
        "no operation of the model was executed while it was traced; run a step inside the context",
    ),
    "no model": (lambda: 3, not_on_the_model, {}, "model: a torch.nn.Module is needed, got int"),
    "no samples": (lambda: nn.Linear(4, 3), not_on_the_model, {"batch": 0}, "batch: got 0, at least 1 is needed"),
    "no steps": (lambda: nn.Linear(4, 3), not_on_the_model, {"steps": 0}, "steps: got 0, at least 1 is needed"),
    "a lazy module": (
        lambda: nn.LazyLinear(3), lambda m, x: m(x).sum(), {},
        "weight: has no shape yet (a lazy module); run the model once before it is traced",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    model, step, options, message = REFUSED[case]
    model, x = model(), torch.randn(BATCH, 4)
    with pytest.raises(InputError) as caught:
        trace((lambda: step(x)) if step is not_on_the_model else (lambda: step(model, x)), model, **options)
    assert str(caught.value) == message


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_sparse_and_quantised_tensors_are_refused_by_name():
    model = nn.Sequential(nn.Linear(8, 8))
    model[0].weight = nn.Parameter(model[0].weight.detach().to_sparse_csr())
    with pytest.raises(InputError) as caught, tracing(model):
        pass
    assert str(caught.value) == (
        "0.weight: is a sparse-csr tensor; the tracer reads dense ones, make it one with .to_dense()"
    )
    model = nn.Linear(4, 4)
    model.register_buffer("packed", torch.quantize_per_tensor(torch.ones(4, 4), 0.1, 0, torch.qint8))
    with pytest.raises(InputError) as caught:
        traced(model, "4")
    assert str(caught.value) == (
        "packed: is a quantised tensor; the tracer reads dense ones, make it one with .dequantize()"
    )


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_a_sparse_activation_is_refused():
    model = Apply(lambda m, x: torch.sparse.mm(m.a(x).relu().to_sparse_csr(), m.w), a=nn.Linear(4, 4), w=(4, 3))
    with pytest.raises(InputError) as caught:
        trace(lambda: model(torch.randn(BATCH, 4)).sum(), model)
    assert str(caught.value) == (
        "the model: operation aten.sparse_sampled_addmm may hold matrix products that the tracer cannot read; write it"
        " with torch.nn or torch.nn.functional operations"
    )


def test_steps_that_differ_are_refused():
    model = Apply(lambda m, x: m.b(m.a(x)) if len(x) > 3 else m.a(x), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    with tracing(model) as tracer:
        for batch in (4, 3):
            model(torch.randn(batch, 4)).sum().backward()
            tracer.step()
    with pytest.raises(InputError) as caught:
        _ = tracer.trace
    assert str(caught.value) == (
        "the model executes 3 operations in step 1 and 2 in step 2; a trace needs the same ones every time"
    )
    model = nn.Linear(4, 4)
    with tracing(model) as tracer:
        for length in (5, 6):
            model(torch.randn(BATCH, length, 4)).sum().backward()
            tracer.step()
    with pytest.raises(InputError) as caught:
        _ = tracer.trace
    assert str(caught.value) == (
        "linear: rows is 5 in step 1 and 6 in step 2, per sample; a trace needs steps that do the same work"
    )


def test_errors_of_the_step_are_its_own():
    model = nn.Linear(4, 4)
    with pytest.raises(ZeroDivisionError):
        trace(lambda: 1 / 0, model)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), tracing(model):
        model(torch.randn(2, 5))
    assert not model._forward_pre_hooks
