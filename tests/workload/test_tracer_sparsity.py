"""Sparsity as the multiplication sees it: patterns, histograms and densities against plain numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.cli import main
from accelsim.lowering.builder import lower
from accelsim.lowering.tasks import Gemm
from accelsim.sparsity.masks import group_histograms, magnitude_mask, tightest_pattern
from accelsim.sparsity.methods import find_method
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.masks_file import load_masks

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

import torch.nn.functional as F  # noqa: E402, N812
from operations import definitions  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402
from tracing_cases import Apply, traced  # noqa: E402

from accelsim.workload.tracer import trace, tracing  # noqa: E402

TWO_OF_EIGHT = Pattern(kept=2, group=8)
BATCH = 4


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def masked(weight, pattern, axis):
    """A boolean N:M mask of a weight along an axis, as a tensor."""
    return torch.from_numpy(magnitude_mask(weight.detach().numpy(), pattern, axis))


def set_sparse(weight, pattern, axis):
    with torch.no_grad():
        weight.mul_(masked(weight, pattern, axis))


def seen_of(model, x, **options):
    torch.manual_seed(1)
    return {op.name: op.observed for op in trace(lambda: model(x).square().sum(), model, **options).operations
            if op.macs}  # fmt: skip


def check_weight(entry, weight, axis):
    """An entry against numpy: `weight` is an array, groups along `axis`."""
    nonzero = np.asarray(weight) != 0
    groups = group_histograms(nonzero, axis)
    assert entry.density == pytest.approx(nonzero.mean(), abs=1e-9)
    assert [list(counts) for counts in entry.groups] == [counts.tolist() for counts in groups.values()]
    pattern = tightest_pattern(nonzero, axis)
    assert entry.pattern == (None if pattern is None else str(pattern))


# Weights of every kind of layer, against numpy

WEIGHTS = {
    # model, input shape, the weight as (groups, outputs, inputs, taps)
    "linear": (lambda: nn.Linear(32, 16), (5, 32), lambda m: m.weight[None, ..., None]),
    "conv": (lambda: nn.Conv2d(16, 32, 3), (16, 5, 5), lambda m: m.weight.flatten(2)[None]),
    "conv1d": (lambda: nn.Conv1d(16, 8, 3), (16, 9), lambda m: m.weight[None]),
    "grouped": (lambda: nn.Conv2d(32, 16, 3, groups=2), (32, 5, 5),
                lambda m: m.weight.flatten(2).unflatten(0, (2, -1))),
    "transposed": (lambda: nn.ConvTranspose2d(16, 32, 3), (16, 5, 5),
                   lambda m: m.weight.flatten(2).transpose(0, 1)[None]),
    "transposed, grouped": (lambda: nn.ConvTranspose2d(16, 32, 3, groups=2), (16, 5, 5),
                            lambda m: m.weight.flatten(2).unflatten(0, (2, -1)).transpose(1, 2)),
    "on the left": (lambda: Apply(lambda m, x: m.w @ x, w=torch.randn(16, 32)), (32, 5), lambda m: m.w[None, ..., None]),
    "einsum": (lambda: Apply(lambda m, x: torch.einsum("btd,de->bte", x, m.w), w=torch.randn(32, 16)), (5, 32),
               lambda m: m.w.T[None, ..., None]),
    "experts": (lambda: Apply(lambda m, x: torch.einsum("becd,edf->becf", x, m.w), w=torch.randn(3, 32, 16)), (3, 5, 32),
                lambda m: m.w.mT[..., None]),
    "channels last": (lambda: nn.Conv2d(16, 32, 3).to(memory_format=torch.channels_last), (16, 5, 5),
                      lambda m: m.weight.flatten(2)[None]),
}  # fmt: skip


def as_parameters(model):
    for name, value in vars(model).items():
        if isinstance(value, torch.Tensor):
            delattr(model, name)
            setattr(model, name, nn.Parameter(value))
            return as_parameters(model)
    return model


@pytest.mark.parametrize("case", WEIGHTS)
@pytest.mark.parametrize("axis", ["input", "output"])
def test_patterns_run_along_what_each_pass_reduces(case, axis):
    make, shape, arranged = WEIGHTS[case]
    torch.manual_seed(0)
    model = as_parameters(make())
    weight = next(p for n, p in model.named_parameters() if p.dim() > 1)
    view = arranged(model)  # groups, outputs, inputs, taps
    with torch.no_grad():
        view.copy_(view * masked(view.contiguous(), TWO_OF_EIGHT, 2 if axis == "input" else 1))
    assert 0.2 < (weight != 0).float().mean() <= 0.5
    x = torch.randn(BATCH, *shape, requires_grad=True)
    (observed,) = seen_of(model, x).values()
    check_weight(observed.FF.weight, arranged(model).detach().contiguous(), 2)
    check_weight(observed.BP.weight, arranged(model).detach().contiguous(), 1)
    assert (observed.FF.weight.axis, observed.BP.weight.axis) == ("input", "output")
    assert ({"input": observed.FF, "output": observed.BP}[axis]).weight.pattern == "2:8"


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 8), st.sampled_from([4, 8, 16]), st.integers(1, 5), st.integers(1, 70), st.integers(0, 2**31))
def test_any_pattern_of_any_shape_is_found(kept, group, outputs, inputs, seed):
    torch.manual_seed(seed)
    layer = nn.Linear(inputs, outputs)
    set_sparse(layer.weight, Pattern(kept=min(kept, group), group=group), 1)
    x = torch.randn(2, inputs, requires_grad=True)
    (observed,) = seen_of(layer, x).values()
    if (layer.weight != 0).all():
        assert (observed.FF.weight.density, observed.FF.weight.groups) == (1, ())
    else:
        check_weight(observed.FF.weight, layer.weight.detach(), 1)
        check_weight(observed.BP.weight, layer.weight.detach(), 0)


# Ways to hold masks


class OfWeights(prune.BasePruningMethod):
    """N:M masks for torch.nn.utils.prune."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        return masked(t, TWO_OF_EIGHT, 1)


def pruned():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 24))
    OfWeights.apply(model[2], "weight")
    return model


def sparsified():
    from torch.ao.pruning import WeightNormSparsifier

    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 24))
    method = WeightNormSparsifier(sparsity_level=1.0, sparse_block_shape=(1, 8), zeros_per_block=6)
    method.prepare(model, [{"tensor_fqn": "2.weight"}])
    method.step()
    return model


def zeroed():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 24))
    set_sparse(model[2].weight, TWO_OF_EIGHT, 1)
    return model


class Masking(nn.Module):
    """A parametrization that finds its mask anew each time, with torch alone."""

    def forward(self, weight):
        groups = weight.unflatten(1, (-1, 8))
        kept = groups.abs().topk(2, -1).indices
        return (torch.zeros_like(groups).scatter(-1, kept, 1.0) * groups).flatten(1)


def parametrized():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 24))
    nn.utils.parametrize.register_parametrization(model[2], "weight", Masking())
    return model


@pytest.mark.parametrize("make", [pruned, sparsified, zeroed, parametrized])
def test_masks_are_seen_however_they_are_held(make):
    model = make()
    observed = seen_of(model, torch.randn(BATCH, 8))["2"]
    assert (observed.FF.weight.pattern, observed.FF.weight.density) == ("2:8", 0.25)
    assert observed.BP.weight.density == 0.25
    check_weight(observed.BP.weight, model[2].weight.detach(), 0)
    operations = trace(lambda: model(torch.randn(BATCH, 8)).sum(), model).operations
    assert [op.kind for op in operations][:3] == ["linear", "activation", "linear"]  # masking is no work of the model


class BothWays(torch.autograd.Function):
    """BDWP: one mask along the inputs in FF, another along the outputs in BP, a dense gradient."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight * masked(weight, TWO_OF_EIGHT, 1))

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient @ (weight * masked(weight, TWO_OF_EIGHT, 0)), gradient.T @ x


def test_a_custom_function_with_a_mask_for_each_direction():
    model = Apply(lambda m, x: BothWays.apply(m.a(x), m.w), a=nn.Linear(16, 16), w=(32, 16))
    nn.init.normal_(model.w)
    observed = seen_of(model, torch.randn(BATCH, 16))["linear"]
    check_weight(observed.FF.weight, model.w.detach() * masked(model.w, TWO_OF_EIGHT, 1), 1)
    check_weight(observed.BP.weight, model.w.detach() * masked(model.w, TWO_OF_EIGHT, 0), 0)
    assert (observed.FF.weight.pattern, observed.BP.weight.pattern) == ("2:8", "2:8")


@pytest.mark.parametrize("batch", [16, 24])  # as many samples as the weight has outputs, too
def test_permuted_and_scaled_weights_stay_weights(batch):
    order, scale, kept = torch.randperm(24), torch.ones(24, 1), torch.arange(24)[:, None] % 2 == torch.arange(16) % 2
    model = Apply(
        lambda m, x: F.linear(m.a(x), (m.w * scale)[order] * kept).index_select(1, order.argsort()),
        a=nn.Linear(16, 16), w=(24, 16),
    )  # fmt: skip
    nn.init.ones_(model.w)
    seen = trace(lambda: model(torch.randn(batch, 16)).sum(), model).operations
    assert [(op.name, op.kind) for op in seen if op.macs] == [("a", "linear"), ("linear", "linear")]
    (operation,) = (op for op in seen if op.name == "linear")
    assert (operation.weight.name, operation.rows, operation.scales_with_batch) == ("w", 1, True)
    assert operation.observed.FF.weight.pattern == operation.observed.BP.weight.pattern == "2:4"


def test_near_patterns_can_be_judged_from_the_histogram():
    layer = nn.Linear(64, 64)
    set_sparse(layer.weight, TWO_OF_EIGHT, 1)
    with torch.no_grad():
        layer.weight[0, :8] = 1.0  # one group of 512 is full
    (observed,) = seen_of(layer, torch.randn(BATCH, 64)).values()
    assert observed.FF.weight.pattern != "2:8"
    assert observed.FF.weight.conforming(TWO_OF_EIGHT) == 511 / 512


def test_autocast_weights_are_measured_as_they_are_multiplied():
    layer = nn.Linear(16, 16)
    set_sparse(layer.weight, TWO_OF_EIGHT, 1)
    with tracing(layer) as tracer, torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(BATCH, 16)).float().sum().backward()
    (operation, *_) = tracer.trace.operations
    assert (operation.weight.name, operation.observed.FF.weight.pattern) == ("weight", "2:8")


# Activations and gradients


def test_densities_are_the_share_of_nonzeros_in_the_operands():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 24), nn.ReLU())
    x = torch.randn(BATCH, 5, 8)
    hidden, out = model[1](model[0](x)), model(x)
    gradient = 2 * out.detach() * (out > 0)
    before = (gradient @ model[2].weight) * (hidden > 0)
    observed = seen_of(model, x)
    share = lambda tensor: pytest.approx((tensor != 0).float().mean().item(), abs=1e-6)  # noqa: E731
    assert observed["2"].FF.activation.density == observed["2"].WU.activation.density == share(hidden)
    assert observed["2"].BP.gradient.density == observed["2"].WU.gradient.density == share(gradient)
    assert observed["0"].WU.gradient.density == share(before)
    assert observed["0"].FF.activation.density == 1
    assert observed["0"].BP is None


def test_factors_of_attention_are_measured():
    model = Apply(lambda m, x: F.relu(m.a(x)) @ F.relu(m.b(x)).mT, a=nn.Linear(8, 16), b=nn.Linear(8, 16))
    x = torch.randn(BATCH, 5, 8)
    left, right = F.relu(model.a(x)), F.relu(model.b(x))
    observed = seen_of(model, x)["matmul"]
    assert observed.FF.left.density == pytest.approx((left != 0).float().mean().item())
    assert observed.FF.right.density == pytest.approx((right != 0).float().mean().item())
    assert observed.BP.gradient.density == pytest.approx(((left @ right.mT) != 0).float().mean().item())


def test_densities_are_means_over_the_steps_and_patterns_hold_in_all():
    layer = nn.Linear(16, 16)
    set_sparse(layer.weight, Pattern(kept=1, group=8), 1)
    inputs = [torch.zeros(BATCH, 16), torch.ones(BATCH, 16), torch.eye(16)[:BATCH]]
    with tracing(layer) as tracer:
        for index, x in enumerate(inputs):
            layer(x).sum().backward()
            if index == 1:
                with torch.no_grad():
                    layer.weight[:, 1:4] = 1.0  # from now on 4 of 8
            tracer.step()
    (operation, *_) = tracer.trace.operations
    assert operation.observed.FF.activation.density == pytest.approx((0 + 1 + 1 / 16) / 3)
    weight = operation.observed.FF.weight
    later = group_histograms((layer.weight != 0).numpy(), 1)
    assert weight.most_in(8) == np.flatnonzero(later[8]).max()
    assert weight.groups[1][1] == 2 * 32 + later[8][1]  # two steps with one of eight, and what the third left
    assert weight.pattern == str(tightest_pattern((layer.weight != 0).numpy(), 1))
    assert tracer.trace.origin.steps == 3


class Pruned(torch.autograd.Function):
    """Output gradients pruned 2:8 along the outputs for dX (SDGP), 1:4 along the batch for dW (MVUE)."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        of_outputs = gradient * masked(gradient, TWO_OF_EIGHT, 1)
        of_batch = gradient * masked(gradient, Pattern(kept=1, group=4), 0)
        return of_outputs @ weight, of_batch.T @ x


def test_pruned_gradients_show_their_patterns():
    model = Apply(lambda m, x: Pruned.apply(m.a(x), m.w), a=nn.Linear(16, 16), w=(32, 16))
    nn.init.normal_(model.w)
    observed = seen_of(model, torch.randn(64, 16))["linear"]
    assert (observed.BP.gradient.pattern, observed.BP.gradient.axis) == ("2:8", "output")
    assert (observed.WU.gradient.pattern, observed.WU.gradient.axis) == ("1:4", "batch")
    assert (observed.BP.gradient.density, observed.WU.gradient.density) == (0.25, 0.25)


class PrunedConvolution(torch.autograd.Function):
    """A convolution whose output gradient is pruned 2:8 along its channels, and 1:4 along batch and space for dW."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        flat = gradient.movedim(1, 0).flatten(1)
        of_batch = (flat * masked(flat, Pattern(kept=1, group=4), 1)).unflatten(
            1, (len(x), *gradient.shape[2:])
        ).movedim(0, 1)  # fmt: skip
        of_outputs = gradient * masked(gradient, TWO_OF_EIGHT, 1)
        return (
            torch.nn.grad.conv2d_input(x.shape, weight, of_outputs),
            torch.nn.grad.conv2d_weight(x, weight.shape, of_batch),
        )


def test_pruned_gradients_of_a_convolution():
    model = Apply(lambda m, x: PrunedConvolution.apply(m.a(x), m.w), a=nn.Conv2d(3, 8, 1), w=(16, 8, 3, 3))
    nn.init.normal_(model.w)
    seen = seen_of(model, torch.randn(BATCH, 3, 6, 6))
    observed = seen["conv2d"]
    assert (observed.BP.gradient.pattern, observed.WU.gradient.pattern) == ("2:8", "1:4")
    assert seen["a"].WU.gradient.pattern is None


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.5])
def test_zeros_that_fall_by_chance_are_no_pattern(density):
    class Drop(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * (torch.rand_like(gradient) < density)

    model = Apply(lambda m, x: Drop.apply(m.b(m.a(x))), a=nn.Linear(16, 16), b=nn.Linear(16, 32))
    observed = seen_of(model, torch.randn(64, 16))["b"]
    assert observed.BP.gradient.density == pytest.approx(density, abs=0.05)
    assert (observed.BP.gradient.pattern, observed.WU.gradient.pattern) == (None, None)


def test_gradients_of_zero_are_no_pattern():
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 24), nn.ReLU())
    with torch.no_grad():
        model[1].bias.fill_(-100.0)
    observed = seen_of(model, torch.randn(BATCH, 8))["1"]
    assert (observed.BP.gradient.density, observed.BP.gradient.pattern) == (0, None)


# Masks in a file


def test_masks_are_written_beside_the_trace_and_agree_with_it(tmp_path, capsys):
    model = Apply(lambda m, x: BothWays.apply(m.a(x), m.w), a=nn.Linear(16, 16), w=(32, 16))
    nn.init.normal_(model.w)
    set_sparse(model.a.weight, Pattern(kept=1, group=4), 1)
    with tracing(model, masks=True) as tracer:
        model(torch.randn(BATCH, 16)).square().sum().backward()
    made = tracer.save(tmp_path / "net.json")
    assert acs.load_trace(tmp_path / "net.json") == made
    masks = load_masks(tmp_path / "net.masks.npz")
    assert {name: mask.shape for name, mask in masks.items()} == {
        "a.weight": (16, 16), "w": (32, 16), "w[BP]": (32, 16),
    }  # fmt: skip
    np.testing.assert_array_equal(masks["a.weight"], (model.a.weight != 0).numpy())
    np.testing.assert_array_equal(masks["w"], magnitude_mask(model.w.detach().numpy(), TWO_OF_EIGHT, 1))
    np.testing.assert_array_equal(masks["w[BP]"], magnitude_mask(model.w.detach().numpy(), TWO_OF_EIGHT, 0))
    observed = {op.name: op.observed for op in made.operations if op.macs}
    assert observed["linear"].BP.weight.mask == "net.masks.npz#w[BP]"
    assert main(["check", str(tmp_path / "net.json")]) == 0
    capsys.readouterr()
    (tmp_path / "net.masks.npz").unlink()
    assert acs.simulate(acs.load_trace(tmp_path / "net.json"), acs.load_design("sat_vcu1525"), method="traced", batch=8)


def test_without_masks_there_is_no_file(tmp_path):
    model = zeroed()
    with tracing(model) as tracer:
        model(torch.randn(BATCH, 8)).sum().backward()
    made = tracer.save(tmp_path / "net.json.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["net.json.gz"]
    assert made.operations[2].observed.FF.weight.mask is None


def test_masks_of_convolutions_have_the_shape_of_their_weights(tmp_path):
    model = nn.Sequential(nn.Conv2d(8, 16, 3, groups=2), nn.ReLU(), nn.ConvTranspose2d(16, 8, 3))
    for layer in (model[0], model[2]):
        prune.random_unstructured(layer, "weight", 0.5)
    trace(lambda: model(torch.randn(BATCH, 8, 6, 6)).sum(), model, masks=tmp_path / "all.npz")
    masks = load_masks(tmp_path / "all.npz")
    assert set(masks) == {"0.weight_orig", "2.weight_orig"}
    for index in (0, 2):
        np.testing.assert_array_equal(masks[f"{index}.weight_orig"], (model[index].weight != 0).numpy())


# Totals, and what a simulation makes of it


@pytest.mark.parametrize(
    "file", ["resnet:resnet18_cifar10:3x32x32", "vit:vit_cifar100:3x32x32", "vgg:vgg19_cifar100:3x32x32"]
)
def test_weight_operands_of_ff_are_the_weights_of_the_layers(file):
    module, factory, shape = file.split(":")
    model = getattr(definitions(module), factory)()
    step = lower(traced(model, shape), acs.load_design("sat_vcu1525"), find_method("dense"), pattern=None, batch=2)
    operands = {
        (task.tensor, task.name): task.k * task.n * task.count
        for task in step.tasks
        if isinstance(task, Gemm) and task.stage == "FF" and task.tensor
    }
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert sum(operands.values()) == sum(layer.weight.numel() for layer in layers)


def test_a_traced_model_is_simulated_with_the_sparsity_it_has():
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), *(Apply(lambda m, x: BothWays.apply(x, m.w), w=(64, 64)) for _ in range(2))
    )
    for layer in model[2:]:
        nn.init.normal_(layer.w)
    x = torch.randn(BATCH, 64)
    made = trace(lambda: model(x).square().sum(), model)
    result = acs.simulate(made, acs.load_design("sat_vcu1525"), method="traced", batch=256)
    patterns = {(layer.operation, layer.stage): layer.pattern for layer in result.layers if layer.m}
    assert {stage for (_, stage), pattern in patterns.items() if pattern == "2:8"} == {"FF", "BP"}
    assert sum(pattern == "2:8" for pattern in patterns.values()) == 4
    assert result.step.speedup > 1


def test_elements_that_a_view_repeats_count_once():
    """The gradient of a sum is a single one, repeated."""
    model = nn.Linear(16, 8)
    (operation,) = (op for op in trace(lambda: model(torch.randn(BATCH, 16)).sum(), model).operations if op.macs)
    assert operation.observed.WU.gradient.density == 1


# Dense networks with zeros


def last_layer_of_a_vision_transformer():
    """Behind the last attention only the class token, one of five, has a gradient."""
    model = definitions("vit").VisionTransformer(image=8, patch=4, width=16, depth=2, heads=2, hidden=32, classes=4)
    return model, torch.randn(256, 3, 8, 8)


def with_relu(make):
    model, x = make()
    for block in model.modules():
        for name, part in block.named_children():
            if isinstance(part, nn.GELU):
                setattr(block, name, nn.ReLU())
    return model, x


def adapters():
    """Low-rank adapters, whose second factor starts as zeros."""

    def layer(inputs, outputs):
        parts = {"base": nn.Linear(inputs, outputs).requires_grad_(False),
                 "a": nn.Linear(inputs, 8, bias=False), "b": nn.Linear(8, outputs, bias=False)}  # fmt: skip
        nn.init.zeros_(parts["b"].weight)
        return Apply(lambda m, x: m.base(x) + m.b(m.a(x)), **parts)

    return nn.Sequential(layer(16, 32), nn.ReLU(), layer(32, 16)), torch.randn(32, 16)


def gains(*, of_weights):
    """Residual branches whose gain starts at zero, as those of normaliser-free networks."""

    def branch():
        shape = (16, 1, 1, 1) if of_weights else (1,)
        if of_weights:
            run = lambda m, x: x + F.conv2d(F.gelu(m.a(x)), m.b.weight * m.g, m.b.bias, padding=1)  # noqa: E731
        else:
            run = lambda m, x: x + m.g * m.b(F.gelu(m.a(x)))  # noqa: E731
        return Apply(run, a=nn.Conv2d(16, 16, 3, padding=1), b=nn.Conv2d(16, 16, 3, padding=1), g=shape)

    return lambda: (
        nn.Sequential(nn.Conv2d(3, 16, 3), branch(), branch(), nn.Flatten(), nn.Linear(16 * 36, 4)),
        torch.randn(8, 3, 8, 8),
    )


DENSE = {
    "class token": last_layer_of_a_vision_transformer,
    "class token and ReLU": lambda: with_relu(last_layer_of_a_vision_transformer),
    "adapters": adapters,
    "gains": gains(of_weights=False),
    "gains of weights": gains(of_weights=True),
}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", DENSE)
def test_zeros_of_dense_networks_are_no_pattern_and_no_gain(name, steps):
    torch.manual_seed(0)
    model, x = DENSE[name]()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step():
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    made = trace(step, model, steps=steps)
    seen = [op.observed for op in made.operations if op.macs and op.observed]
    passes = [each for one in seen for _, each in one if each]
    operands = [operand for each in passes for operand in each.operands.values()]
    assert [operand.pattern for operand in operands if operand.pattern] == []
    least = 1 / 5 if "token" in name else (steps - 1) / steps  # zeros in the first step alone, or in every one
    assert min(operand.density for operand in operands) <= least + 1e-9
    design = acs.load_design("sat_vcu1525")
    cycles = {method: acs.simulate(made, design, method=method).step.cycles for method in ("dense", "traced")}
    assert cycles["traced"] == cycles["dense"]


def test_zeros_of_a_pruned_gradient_are_a_pattern_beside_rows_that_are_zero_by_structure():
    """Of 256 x 2 rows every other one has a gradient, of which 1 in 4 is kept."""
    keep = torch.zeros(512, 32)
    keep[torch.arange(0, 512, 8)[:, None] + 2 * (torch.arange(32) % 4), torch.arange(32)] = 1.0

    class Prune(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * keep

    model = Apply(lambda m, x: Prune.apply(m.b(m.a(x))), a=nn.Linear(16, 16), b=nn.Linear(16, 32))
    torch.manual_seed(0)
    for layer in (model.a, model.b):
        nn.init.normal_(layer.weight)
    observed = trace(lambda: model(torch.randn(512, 16)).square().sum(), model, batch=512).operations[1].observed
    assert (observed.WU.gradient.pattern, observed.WU.gradient.density) == ("1:8", 1 / 8)
