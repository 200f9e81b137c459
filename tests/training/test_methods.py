import copy
import io
import re
import subprocess
import sys

import numpy as np
import pytest

import accelsim
from accelsim.base.errors import InputError
from accelsim.lowering.builder import lower
from accelsim.sparsity.masks import conformity, is_transposable, magnitude_mask
from accelsim.sparsity.methods import METHODS, Axis, Operand
from accelsim.sparsity.pattern import Pattern

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from accelsim.torch import LeftDense, masks  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
P24 = Pattern(kept=2, group=4)
NAMES = [name for name, method in METHODS.items() if method.is_sparse and not method.traced]


def put_on(name, model, pattern="2:4", exclude=(), **options):
    return getattr(accelsim.torch, name.replace("-", "_"))(model, pattern, exclude=exclude, **options)


def seeded(seed, build):
    torch.manual_seed(seed)
    return build().double()


# name: layer, input shape without the batch
LAYERS = {
    "linear": (lambda: nn.Linear(8, 12), (8,)),
    "linear-of-sequences": (lambda: nn.Linear(8, 4, bias=False), (3, 8)),
    "conv1d": (lambda: nn.Conv1d(8, 4, 3, stride=2), (8, 9)),
    "conv2d": (lambda: nn.Conv2d(8, 12, 3, padding=1), (8, 5, 4)),
    "conv3d": (lambda: nn.Conv3d(4, 8, 2, bias=False), (4, 3, 4, 3)),
    "grouped": (lambda: nn.Conv2d(16, 8, (3, 1), groups=2, dilation=2), (16, 6, 3)),
    "same": (lambda: nn.Conv2d(4, 8, (2, 3), padding="same"), (4, 4, 5)),
    "valid": (lambda: nn.Conv1d(4, 8, 2, padding="valid"), (4, 5)),
    "reflected": (lambda: nn.Conv2d(4, 8, 3, padding=(1, 2), padding_mode="reflect"), (4, 4, 5)),
    "circular-same": (lambda: nn.Conv1d(4, 8, 4, padding="same", padding_mode="circular"), (4, 7)),
    "transposed": (lambda: nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1), (8, 3, 4)),
    "transposed-grouped": (lambda: nn.ConvTranspose1d(16, 8, 3, groups=2, bias=False), (16, 5)),
    "transposed-3d": (lambda: nn.ConvTranspose3d(4, 8, 2), (4, 2, 3, 2)),
}
every_layer = pytest.mark.parametrize("layer", LAYERS)
every_method = pytest.mark.parametrize("name", NAMES)


def build(layer, seed=0):
    make, shape = LAYERS[layer]
    module = seeded(seed, make)
    return module, torch.randn(3, *shape, dtype=torch.float64, requires_grad=True)


def weight_axes(module):
    """Axes of the weight that FF and BP reduce."""
    return (0, 1) if getattr(module, "transposed", False) else (1, 0)


def pruned(tensor, axis, pattern=P24):
    return tensor * torch.from_numpy(magnitude_mask(tensor.detach().numpy(), pattern, axis))


def gradients(module, x, weight, dy):
    """Return output, dX, dW and db of the layer as PyTorch has them with that weight."""
    plain = copy.deepcopy(module)
    with torch.no_grad():
        plain.weight.copy_(weight)
    x = x.detach().requires_grad_()
    y = plain(x)
    y.backward(dy)
    return y.detach(), x.grad, plain.weight.grad, None if plain.bias is None else plain.bias.grad


def channels_last(gradient, module):
    return gradient if isinstance(module, nn.Linear) else gradient.movedim(1, -1)


def sdgp_gradient(gradient, module):
    last = channels_last(gradient, module)
    kept = pruned(last, -1)
    if last.dim() > 2:
        flat, before = kept.flatten(1, -2), last.flatten(1, -2)
        scale = before.abs().sum(1, keepdim=True) / flat.abs().sum(1, keepdim=True).clamp(min=1e-300)
        kept = (flat * scale).reshape(kept.shape)
    return kept if isinstance(module, nn.Linear) else kept.movedim(-1, 1)


def expected_of(name, module, x, dy, seed):
    """Return output, dX, dW and db under a method, from dense layers with pruned weights and pruned gradients."""
    weight, (inputs, outputs) = module.weight.detach(), weight_axes(module)
    ff = bp = weight
    dy_bp = dy_wu = dy
    decay = torch.zeros(())
    if name in {"sr-ste", "bdwp", "bi-mask"}:
        ff = bp = pruned(weight, inputs)
    if name in {"bdwp", "sdwp"}:
        bp = pruned(weight, outputs)
    if name in {"sr-ste", "bi-mask"}:
        decay = 2e-4 * (weight - ff)
    if name == "bi-mask":
        torch.manual_seed(seed)
        parts = module.groups if outputs == 0 and not isinstance(module, nn.Linear) else 1
        order = masks.best_order(ff, P24, outputs, 100, parts)
        bp = torch.empty_like(ff)
        bp.index_copy_(outputs, order, pruned(ff.index_select(outputs, order), outputs))
    if name in {"transposable", "mvue"}:
        ff = bp = weight * masks.transposable_mask(weight, P24)
    if name == "sdgp":
        dy_bp = sdgp_gradient(dy, module)
    if name == "mvue":
        torch.manual_seed(seed)
        last = channels_last(dy, module)
        dy_wu = masks.minimum_variance(last.flatten(0, -2), P24, 0).reshape(last.shape)
        dy_wu = dy_wu if isinstance(module, nn.Linear) else dy_wu.movedim(-1, 1)
    y, _, _, db = gradients(module, x, ff, dy)
    _, dx, _, _ = gradients(module, x, bp, dy_bp)
    _, _, dw, _ = gradients(module, x, ff, dy_wu)
    return y, dx, dw + decay, db


@every_layer
@every_method
def test_products_are_those_of_pruned_operands(name, layer):
    module, x = build(layer)
    dy = torch.randn_like(module(x))
    expected = expected_of(name, module, x, dy, seed=11)
    model = put_on(name, module)
    torch.manual_seed(11)
    y = model(x)
    if name == "mvue":
        torch.manual_seed(11)
    y.backward(dy)
    actual = (y, x.grad, model.weight.grad, None if model.bias is None else model.bias.grad)
    for ours, plain in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, plain)


def test_linear_bdwp_is_masked_matrix_arithmetic():
    random = np.random.default_rng(3)
    w, x, dy = random.standard_normal((8, 16)), random.standard_normal((5, 16)), random.standard_normal((5, 8))
    layer = nn.Linear(16, 8).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w))
        layer.bias.fill_(0.5)
    accelsim.torch.bdwp(layer, "2:8", exclude=())
    given = torch.from_numpy(x).requires_grad_()
    y = layer(given)
    y.backward(torch.from_numpy(dy))
    pattern = Pattern(kept=2, group=8)
    np.testing.assert_allclose(y.detach().numpy(), x @ np.where(magnitude_mask(w, pattern, 1), w, 0).T + 0.5)
    np.testing.assert_allclose(given.grad.numpy(), dy @ np.where(magnitude_mask(w, pattern, 0), w, 0))
    np.testing.assert_allclose(layer.weight.grad.numpy(), dy.T @ x)
    np.testing.assert_allclose(layer.bias.grad.numpy(), dy.sum(0))


def test_convolution_bdwp_is_masked_loop_arithmetic():
    random = np.random.default_rng(4)
    w, x, dy = (random.standard_normal(shape) for shape in ((4, 4, 2, 2), (1, 4, 3, 4), (1, 4, 2, 3)))
    layer = nn.Conv2d(4, 4, 2, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w))
    accelsim.torch.bdwp(layer, "1:4", exclude=())
    given = torch.from_numpy(x).requires_grad_()
    y = layer(given)
    y.backward(torch.from_numpy(dy))
    pattern = Pattern(kept=1, group=4)
    ff, bp = (np.where(magnitude_mask(w, pattern, axis), w, 0) for axis in (1, 0))
    expected_y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    for o, i, kh, kw, h, column in np.ndindex(4, 4, 2, 2, 2, 3):
        expected_y[0, o, h, column] += x[0, i, h + kh, column + kw] * ff[o, i, kh, kw]
        dx[0, i, h + kh, column + kw] += dy[0, o, h, column] * bp[o, i, kh, kw]
        dw[o, i, kh, kw] += dy[0, o, h, column] * x[0, i, h + kh, column + kw]
    np.testing.assert_allclose(y.detach().numpy(), expected_y)
    np.testing.assert_allclose(given.grad.numpy(), dx)
    np.testing.assert_allclose(layer.weight.grad.numpy(), dw)


# which operand is N:M along which axis


def read(seen, module):
    """Sort the recorded products into stages: weights as the layer has them, gradients as (samples, ..., channels)."""
    if not isinstance(module, nn.Linear):
        return {
            one["stage"]: {
                "weight": one["weight"],
                "gradient": one["gradient"].movedim(1, -1) if one["stage"] != "FF" else None,
            }
            for one in seen
        }
    forward, bp, wu = seen
    return {
        "FF": {"weight": forward["right"].t()},
        "BP": {"weight": bp["right"], "gradient": bp["left"]},
        "WU": {"gradient": wu["left"].t()},
    }


def is_pruned(operand, axis):
    return conformity(operand.numpy(), P24, axis) == 1


@pytest.mark.parametrize("layer", LAYERS)
@every_method
def test_operands_are_pruned_where_the_table_says_so_and_nowhere_else(name, layer, operands):
    module, x = build(layer)
    stages = read(operands(put_on(name, module), x), module)
    inputs, outputs = weight_axes(module)
    method = METHODS[name]
    wanted = {
        ("FF", Operand.WEIGHT, Axis.INPUT): is_pruned(stages["FF"]["weight"], inputs),
        ("BP", Operand.WEIGHT, Axis.OUTPUT): is_pruned(stages["BP"]["weight"], outputs),
        ("BP", Operand.GRADIENT, Axis.OUTPUT): is_pruned(stages["BP"]["gradient"], -1),
        ("WU", Operand.GRADIENT, Axis.BATCH): is_pruned(stages["WU"]["gradient"].flatten(0, -2), 0),
    }
    table = {"FF": method.ff, "BP": method.bp, "WU": method.wu}
    for (stage, operand, axis), found in wanted.items():
        says = table[stage] is not None and (table[stage].operand, table[stage].axis) == (operand, axis)
        assert found == says, (stage, operand)
    if method.one_mask:
        assert is_transposable((stages["FF"]["weight"] != 0).numpy(), P24)
        torch.testing.assert_close(stages["FF"]["weight"], stages["BP"]["weight"])


def test_every_method_of_the_table_has_its_function():
    assert set(accelsim.torch.__all__) >= {name.replace("-", "_") for name in [*NAMES, "dense"]}
    assert sorted([*NAMES, "dense", "traced"]) == sorted(METHODS)


def network():
    """Return two sparse layers between a first and a last one, and one that no pattern fits."""
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, groups=16),
        nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip


def images(dtype=torch.float32):
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(6), dtype=torch.float64).to(dtype)


def left(model):
    return [(one.layer, one.stage, one.reason) for one in accelsim.torch.left_dense(model)]


# which layers


def test_first_last_and_unfitting_layers_stay_dense():
    model = accelsim.torch.bdwp(network(), "2:8")
    assert left(model) == [
        ("0", "FF", "first layer"),
        ("0", "BP", "first layer"),
        ("4", "FF", "depthwise, one input channel per group"),
        ("4", "BP", "depthwise, one output channel per group"),
        ("8", "FF", "last layer"),
        ("8", "BP", "last layer"),
    ]


def test_exclude_replaces_the_first_and_the_last_layer():
    assert left(accelsim.torch.sr_ste(network(), "2:8", exclude=["[26]", "4"])) == [
        ("0", "FF", "3 input channels are no multiple of 8"),
        ("2", "FF", "excluded"),
        ("4", "FF", "excluded"),
        ("6", "FF", "excluded"),
    ]
    model = nn.Sequential(nn.Linear(8, 8))
    assert accelsim.torch.left_dense(accelsim.torch.sr_ste(model, "2:8", exclude=())) == ()
    accelsim.torch.dense(model).append(nn.Linear(8, 8))
    assert accelsim.torch.left_dense(accelsim.torch.sr_ste(model, "2:8", exclude="1")) == (
        LeftDense(layer="1", stage="FF", reason="excluded"),
    )


def test_one_mask_needs_whole_blocks():
    model = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 16), nn.Linear(16, 8))
    assert left(accelsim.torch.mvue(model, "2:8", exclude="0")) == [
        ("0", "FF", "excluded"),
        ("0", "BP", "excluded"),
        ("0", "WU", "excluded"),
        ("1", "FF", "12 input channels are no multiple of 8"),
        ("1", "BP", "12 input channels are no multiple of 8"),
    ]


def test_no_layer_is_the_first_where_embeddings_come_before():
    model = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 16), nn.Linear(16, 20))
    assert left(accelsim.torch.sr_ste(model, "2:8")) == [("2", "FF", "last layer")]
    assert left(accelsim.torch.sr_ste(nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 16)), "2:8")) == []
    model = nn.Sequential(nn.Linear(8, 8), nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    assert left(accelsim.torch.sr_ste(model, "2:8")) == [("0", "FF", "first layer"), ("3", "FF", "last layer")]


class Scaled(nn.Linear):
    def forward(self, x):
        return functional.linear(x, self.weight * 2)


class Standardised(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight / weight.std(), bias)


def test_layers_that_multiply_in_their_own_way_stay_dense():
    model = nn.ModuleDict({
        "first": nn.Linear(8, 8), "attention": nn.MultiheadAttention(8, 2), "lstm": nn.LSTM(8, 8),
        "scaled": Scaled(8, 8), "standardised": Standardised(8, 8, 1), "conv": nn.Conv2d(8, 8, 1),
    })  # fmt: skip
    assert left(accelsim.torch.sdwp(model, "2:8", exclude=())) == [
        ("attention", "BP", "MultiheadAttention multiplies by its weights itself"),
        ("lstm", "BP", "LSTM multiplies by its weights itself"),
        ("scaled", "BP", "Scaled has a forward of its own"),
        ("standardised", "BP", "Standardised has a forward of its own"),
    ]
    replaced = {name for name, module in model.named_modules() if "forward" in vars(module)}
    assert replaced == {"first", "conv"}


@pytest.mark.parametrize("name", [name for name in NAMES if not METHODS[name].one_mask])
def test_what_stays_dense_is_what_the_simulator_keeps_dense(name, make_trace, sat):
    convolutions, linears = [(3, 16), (16, 24), (24, 12), (16, 40)], [(40, 12), (12, 16), (16, 10)]
    trace = make_trace(
        *(
            {
                "name": f"conv{i}",
                "kind": "conv2d",
                "in_channels": a,
                "out_channels": b,
                "in_size": [8, 8],
                "kernel": [3, 3],
            }
            for i, (a, b) in enumerate(convolutions)
        ),
        *(
            {"name": f"fc{i}", "kind": "linear", "in_features": a, "out_features": b}
            for i, (a, b) in enumerate(linears)
        ),
    )
    model = nn.Sequential()
    for i, (a, b) in enumerate(convolutions):
        model.add_module(f"conv{i}", nn.Conv2d(a, b, 3))
    for i, (a, b) in enumerate(linears):
        model.add_module(f"fc{i}", nn.Linear(a, b))
    notes = lower(trace, sat, METHODS[name], pattern=Pattern(kept=2, group=8), batch=8).notes
    ours = {one for one in left(put_on(name, model, "2:8", exclude=None)) if one[:2] != ("conv0", "BP")}
    assert ours == {(note.operation, note.stage, note.text.removeprefix("kept dense, ")) for note in notes}


# the model stays itself


@every_method
def test_the_model_keeps_its_class_its_parameters_and_its_state(name):
    dense, model = network(), network()
    assert put_on(name, model, "2:8", exclude=None) is model
    assert [type(module) for module in model.modules()] == [type(module) for module in dense.modules()]
    model(images()).sum().backward()
    assert list(model.state_dict()) == list(dense.state_dict())
    assert [buffer for buffer, _ in model.named_buffers()] == [buffer for buffer, _ in dense.named_buffers()]
    model.load_state_dict(dense.state_dict())
    assert "Conv2d(8, 16, kernel_size=(3, 3), stride=(1, 1))" in repr(model)


@every_method
def test_dense_takes_a_method_off(name):
    dense, model = network(), network()
    keys = [set(vars(module)) for module in model.modules()]
    put_on(name, model, "2:8", exclude=None)
    assert accelsim.torch.dense(model) is model
    assert [set(vars(module)) for module in model.modules()] == keys
    assert not any("forward" in vars(module) for module in model.modules())
    torch.testing.assert_close(model(images()), dense(images()), rtol=0, atol=0)
    assert accelsim.torch.dense(model) is model


def step(model, x):
    """Return the output, and the gradients of one pass."""
    model.zero_grad()
    torch.manual_seed(8)
    y = model(x)
    y.sin().sum().backward()
    return [y.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


def assert_same(first, second, **tolerance):
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, **(tolerance or {"rtol": 0, "atol": 0}))


def copied(model):
    return copy.deepcopy(model)


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("duplicate", [copied, saved])
@every_method
def test_a_copy_is_trained_alike_and_on_its_own(name, duplicate):
    model = put_on(name, network(), "2:8", exclude=None)
    step(model, images())
    twin = duplicate(model)
    assert left(twin) == left(model)
    before = step(model, images())
    assert_same(step(twin, images()), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(-0.5)
    assert_same(step(model, images()), before)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # both are dynamo's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@every_method
def test_compiled_models_train_alike(name):
    model = put_on(name, network(), "2:8", exclude=None)
    expected = step(model, images())
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=name != "bi-mask")
    assert_same(step(compiled, images()), expected)
    assert_same(step(compiled, images()), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@every_method
def test_other_number_formats(name, dtype, operands):
    model = put_on(name, network(), "2:8", exclude=None).to(dtype)
    x = images(dtype)
    assert all(value.dtype == dtype for value in step(model, x))
    weight = model[6].weight.detach().clone()
    mask = masks.magnitude_mask(weight, Pattern(kept=2, group=8), 1)
    forward = next(one["right"] for one in operands(model, x) if one["stage"] == "addmm")
    if name in {"bdwp", "sr-ste", "bi-mask"}:
        torch.testing.assert_close(forward.t(), weight * mask)


@every_method
def test_autocast_computes_in_its_format_and_accumulates_in_that_of_the_weights(name, operands):
    layer, x = build("linear")
    layer = put_on(name, layer.float())
    x = x.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        seen = operands(layer, x)
    products = [one for one in seen if one["stage"] in {"mm", "addmm"}]
    assert {operand.dtype for one in products for operand in (one["left"], one["right"])} == {torch.bfloat16}
    assert {layer.weight.grad.dtype, layer.bias.grad.dtype, x.grad.dtype} == {torch.float32}
    if METHODS[name].ff and not METHODS[name].one_mask:  # chosen by the master weights, before they are rounded
        mask = masks.magnitude_mask(layer.weight.detach(), P24, 1)
        torch.testing.assert_close(products[0]["right"].t(), (layer.weight.detach() * mask).bfloat16())


def test_autocast_leaves_double_precision_alone():
    layer, x = build("conv2d")
    accelsim.torch.bdwp(layer, "2:4", exclude=())
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.float64


@pytest.mark.parametrize("layer", ["linear", "conv2d", "transposed", "reflected"])
def test_a_single_sample_needs_no_batch(layer):
    module, x = build(layer)
    accelsim.torch.bdwp(module, "2:4", exclude=())
    together = module(x)
    for sample, y in zip(x, together, strict=True):
        torch.testing.assert_close(module(sample), y)
    module(x[0]).sum().backward()
    assert module.weight.grad.shape == module.weight.shape


def test_output_size_of_a_transposed_convolution():
    layer, x = build("transposed")
    dense = copy.deepcopy(layer)
    accelsim.torch.sdwp(layer, "2:4", exclude=())
    for size in ((5, 7), (6, 8), (3, 4, 6, 7)):
        torch.testing.assert_close(layer(x, output_size=size), dense(x, output_size=size))
    with pytest.raises(ValueError, match="requested an output size"):
        layer(x, output_size=(9, 9))


def test_parametrized_weights_are_pruned_too(operands):
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
    accelsim.torch.bdwp(layer, "2:4", exclude=())
    x = torch.randn(4, 8, requires_grad=True)
    seen = [one for one in operands(layer, x) if one["stage"] in {"mm", "addmm"}]
    assert is_pruned(seen[0]["right"], 0)
    assert is_pruned(seen[1]["right"], 0)
    assert layer.parametrizations.weight.original1.grad.abs().min() > 0


def test_frozen_weights_and_inputs_without_gradients():
    layer, x = build("conv2d")
    accelsim.torch.bdwp(layer, "2:4", exclude=())
    layer.weight.requires_grad_(False)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None
    layer.weight.requires_grad_(True)
    layer(x.detach()).sum().backward()
    assert layer.weight.grad is not None


def test_it_can_be_differentiated_once():
    layer, x = build("linear")
    accelsim.torch.bdwp(layer, "2:4", exclude=())
    (dx,) = torch.autograd.grad(layer(x).sin().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def test_transformer_encoder_is_pruned_in_evaluation_as_in_training():
    torch.manual_seed(9)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True), 2)
    dense, x = copy.deepcopy(model), torch.randn(2, 5, 16)
    padded = torch.tensor([[False] * 5, [False, False, False, True, True]])
    accelsim.torch.sr_ste(model, "2:8", exclude=())
    with torch.no_grad():
        trained = model(x, src_key_padding_mask=padded)
        evaluated = model.eval()(x, src_key_padding_mask=padded)
        torch.testing.assert_close(evaluated, trained)
        plain = accelsim.torch.dense(model)(x)
        torch.testing.assert_close(plain, dense.eval()(x))
    assert (evaluated - plain).abs().max() > 0.01
    assert model.layers[0].activation_relu_or_gelu == dense.layers[0].activation_relu_or_gelu == 1


# which masks, and when


def test_masks_follow_the_weights():
    layer = put_on("sr-ste", nn.Linear(4, 1, bias=False), "1:4")
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 1.5]]))
        assert layer(torch.eye(4)).flatten().tolist() == [0, -2, 0, 0]
        layer.weight[0, 1] = 1.0
        assert layer(torch.eye(4)).flatten().tolist() == [0, 0, 0, 1.5]


def kept_by(layer):
    return layer(torch.eye(4)).flatten().ne(0).nonzero().flatten().tolist()


def test_masks_last_for_every_so_many_training_passes():
    layer = put_on("sr-ste", nn.Linear(4, 1, bias=False), "1:4", every=3)
    found = []
    for largest in (0, 1, 2, 3, 0, 1, 2):
        with torch.no_grad():
            layer.weight.fill_(0.5)
            layer.weight[0, largest] = 1.0
            assert kept_by(layer.eval()) == [largest]
        found += kept_by(layer.train())
    assert found == [0, 0, 0, 3, 3, 3, 2]


def test_checkpointing_repeats_a_pass_with_the_same_mask():
    layer = put_on("sr-ste", nn.Linear(4, 4), "1:4", every=2)
    plain = copy.deepcopy(layer)
    for _ in range(5):
        x = torch.randn(3, 4, requires_grad=True)
        torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).sin().sum().backward()
        dx, x.grad = x.grad, None
        plain(x).sin().sum().backward()
        assert_same([dx, layer.weight.grad], [x.grad, plain.weight.grad])
        with torch.no_grad():
            for model in (layer, plain):
                model.weight.sub_(model.weight.grad)
    assert layer._accelsim.age == plain._accelsim.age == 1


def test_bi_mask_searches_every_so_many_passes_and_takes_the_seed():
    def orders(seed):
        layer = put_on("bi-mask", seeded(1, lambda: nn.Linear(8, 16)), every=3, candidates=5)
        torch.manual_seed(seed)
        found = []
        for _ in range(5):
            layer.eval()(torch.randn(2, 8).double())  # does not count
            layer.train()(torch.randn(2, 8).double())
            found.append(tuple(layer._accelsim.kept.tolist()))
        return found

    first = orders(1)
    assert first[0] == first[1] == first[2]
    assert len(set(first)) == 2
    assert orders(1) == first


def test_rescaling_of_sdgp_can_be_left_out():
    module, x = build("conv2d")
    dy = torch.randn_like(module(x))
    _, dx, _, _ = gradients(module, x, module.weight.detach(), pruned(dy, 1))
    put_on("sdgp", module, rescale=False)(x).backward(dy)
    torch.testing.assert_close(x.grad, dx)


def test_decay_pulls_at_what_ff_pruned():
    layer, x = build("linear")
    plain = copy.deepcopy(layer)
    put_on("bdwp", layer, decay=0.25)(x).sum().backward()
    put_on("bdwp", plain)(x).sum().backward()
    weight = layer.weight.detach()
    torch.testing.assert_close(layer.weight.grad - plain.weight.grad, 0.25 * (weight - pruned(weight, 1)))


def test_infinite_weights_that_are_pruned_are_gone():
    layer = put_on("sr-ste", nn.Linear(4, 1, bias=False), "1:4")
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[float("inf"), float("inf"), 1.0, 2.0]]))
        assert layer(torch.tensor([1.0, 1.0, 1.0, 1.0])).tolist() == [float("inf")]
        assert layer(torch.tensor([1.0, -1.0, 1.0, 1.0])).tolist() == [float("inf")]


# schedules


def patterns_in_force(model, schedule, steps):
    found = []
    for _ in range(steps):
        found.append(str(next(layer._accelsim.pattern for layer in model)))
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("1:16", ["15:16", "8:16", "4:16", "2:16", "1:16"]),
        ("2:8", ["7:8", "4:8", "2:8"]),
        ("3:8", ["7:8", "4:8", "3:8"]),
        ("1:2", ["1:2"]),
        ("4:4", ["4:4"]),
    ],
)
def test_stepwise_decay_halves_in_equal_parts(pattern, expected):
    model = nn.Sequential(accelsim.torch.sr_ste(nn.Linear(16, 16), pattern, exclude=(), decay=0))
    schedule = accelsim.torch.stepwise_decay(model, steps=2 * len(expected))
    found = patterns_in_force(model, schedule, 2 * len(expected) + 3)
    assert found == [one for one in expected for _ in range(2)] + [pattern] * 3
    resumed = accelsim.torch.stepwise_decay(model, steps=2 * len(expected), done=2)
    assert patterns_in_force(model, resumed, 1) == [[*expected, pattern][1]]


def test_stepwise_decay_is_what_the_products_read(operands):
    model = put_on("bdwp", nn.Linear(8, 8), "2:8", every=100)
    schedule = accelsim.torch.stepwise_decay(model, steps=3)
    for kept in (7, 4, 2):
        x = torch.randn(3, 8, requires_grad=True)
        forward, backward = [one["right"] for one in operands(model, x) if one["stage"] in {"mm", "addmm"}][:2]
        assert (forward != 0).sum(0).tolist() == [kept] * 8
        assert (backward != 0).sum(0).tolist() == [kept] * 8
        schedule.step()


@pytest.mark.parametrize(
    ("rate", "scales"),
    [(None, [1, 0.75, 0.5, 0.25, 0, 0]), (0.5, [1, np.exp(-0.5), np.exp(-1), np.exp(-1.5), 0, 0])],
)
def test_mask_decay_scales_what_is_pruned(rate, scales):
    model = put_on("sr-ste", nn.Linear(4, 1, bias=False), "1:4", decay=0, every=100)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    schedule = accelsim.torch.mask_decay(model, steps=4, rate=rate)
    for scale in scales:
        y = model(torch.eye(4)).flatten()
        np.testing.assert_allclose(y.tolist(), [scale, 2 * scale, 3 * scale, 4], rtol=1e-6)
        schedule.step()
    assert schedule.done == 6
    assert model._accelsim.age == 6


def test_mask_decay_reaches_bp_and_the_straight_through_gradient():
    layer, x = build("linear")
    weight, dy = layer.weight.detach().clone(), torch.randn(3, 12).double()
    accelsim.torch.mask_decay(put_on("bdwp", layer), steps=4, done=3)
    layer(x).backward(dy)
    kept = pruned(weight, 0)
    torch.testing.assert_close(x.grad, dy @ (kept + 0.25 * (weight - kept)))
    torch.testing.assert_close(layer.weight.grad, dy.t() @ x.detach())


# errors


def applied():
    return accelsim.torch.bdwp(network(), "2:8")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accelsim.torch.bdwp([1], "2:8"), "model: got list; a torch.nn.Module is needed"),
        (
            lambda: accelsim.torch.bdwp(nn.ReLU(), "2:8"),
            "model: ReLU has no linear or convolution layer to make sparse",
        ),
        (
            lambda: accelsim.torch.bdwp(network(), "2-8"),
            "pattern '2-8': expected N:M with two whole numbers, as in 2:8",
        ),
        (lambda: accelsim.torch.bdwp(network(), 8), "pattern '8': expected N:M with two whole numbers, as in 2:8"),
        (
            lambda: accelsim.torch.bdwp(network(), "9:8"),
            "pattern 9:8: N of every M elements are kept, so 1 <= N <= M <= 1024 is needed, as in 2:8",
        ),
        (
            lambda: accelsim.torch.sr_ste(applied(), "2:4"),
            "0: bdwp 2:8 is on it already; accelsim.torch.dense(model) takes it off",
        ),
        (
            lambda: accelsim.torch.bdwp(nn.Sequential(nn.LazyLinear(8)), "2:8"),
            "0: has no shape yet (a lazy module); run the model once before",
        ),
        (
            lambda: accelsim.torch.bdwp(
                nn.ModuleDict({"conv1": nn.Conv2d(8, 8, 1)}), "2:8", exclude=["conv*", "conf1"]
            ),
            "exclude conf1: matches no layer with a weight; did you mean 'conv1'?",
        ),
        (
            lambda: accelsim.torch.bdwp(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), "2:8"),
            "bdwp 2:8: every layer would stay dense: 0 (first layer), 1 (last layer)",
        ),
        (
            lambda: accelsim.torch.sr_ste(nn.Linear(8, 8), "2:8"),
            "sr-ste 2:8: every layer would stay dense: model (first layer)",
        ),
        (
            lambda: accelsim.torch.sdwp(nn.Sequential(*(nn.Linear(8, 6) for _ in range(7))), "2:8", exclude=()),
            "sdwp 2:8: every layer would stay dense: "
            + ", ".join(f"{i} (6 output channels are no multiple of 8)" for i in range(5))
            + " and 2 more",
        ),
        (lambda: accelsim.torch.bdwp(network(), "2:8", every=0), "every 0: a whole number of at least 1 is needed"),
        (
            lambda: accelsim.torch.bdwp(network(), "2:8", every=True),
            "every True: a whole number of at least 1 is needed",
        ),
        (
            lambda: accelsim.torch.bi_mask(network(), "2:8", candidates=0),
            "candidates 0: a whole number of at least 1 is needed",
        ),
        (lambda: accelsim.torch.sr_ste(network(), "2:8", decay=-1), "decay -1: a number of at least 0 is needed"),
        (
            lambda: accelsim.torch.sr_ste(network(), "2:8", decay=float("nan")),
            "decay nan: a number of at least 0 is needed",
        ),
        (
            lambda: accelsim.torch.left_dense(network()),
            "model: no method of accelsim.torch is on this Sequential",
        ),
        (
            lambda: accelsim.torch.mask_decay(network(), 10),
            "model: no method of accelsim.torch is on this Sequential",
        ),
        (
            lambda: accelsim.torch.stepwise_decay(applied(), 0),
            "steps 0, done 0: at least one step is needed, and none or more of them done",
        ),
        (lambda: accelsim.torch.mask_decay(applied(), 10, rate=0), "rate 0: a number above 0 is needed"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        call()


def test_a_refused_model_is_left_as_it_was():
    model = network()
    keys = [set(vars(module)) for module in model.modules()]
    with pytest.raises(InputError):
        accelsim.torch.bdwp(model, "2:8", exclude="nothing")
    assert [set(vars(module)) for module in model.modules()] == keys


def test_without_torch_it_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import accelsim; accelsim.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: sparse training needs PyTorch: pip install -e '.[torch]' in the folder of accelsim"
    )
