"""Speed of the tracer, side by side with what a user would do without it: shapes alone, and a plain training step."""

import pytest

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

import torch.nn.functional as F  # noqa: E402, N812
from operations import definitions  # noqa: E402

from accelsim.sparsity.masks import magnitude_mask  # noqa: E402
from accelsim.sparsity.pattern import Pattern  # noqa: E402
from accelsim.workload.tracer import InputSpec, trace_model, tracing  # noqa: E402

pytestmark = pytest.mark.bench


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "case",
    ["resnet:resnet50_imagenet:3x224x224", "transformers:gpt2:1024:int64:50257", "llama:llama_1b:2048:int64:128256"],
)
def test_bench_shapes_alone(benchmark, case):
    """A training step on shapes without memory, at two batch sizes."""
    module, factory, spec = case.split(":", 2)
    with torch.device("meta"):
        model = getattr(definitions(module), factory)()
    made = benchmark.pedantic(trace_model, (model, [InputSpec.parse(spec)]), rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(operations=len(made.operations))


@pytest.fixture(scope="module")
def step():
    """One step of ResNet-50 with 2:8 weights on two images."""
    torch.manual_seed(0)
    model = definitions("resnet").resnet50_imagenet()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.in_channels % 8 == 0:
            kept = magnitude_mask(module.weight.detach().numpy(), Pattern(kept=2, group=8), 1)
            module.weight.data.mul_(torch.from_numpy(kept))
    images, labels = torch.randn(2, 3, 224, 224), torch.randint(1000, (2,))

    def run():
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()

    run()
    return model, run


@pytest.mark.parametrize("watched", ["plain", "traced", "traced with masks"])
def test_bench_real_step(benchmark, step, watched):
    """A plain step, and the same step with the sparsity of every operand read and N:M found in the weights."""
    model, run = step
    benchmark.group = "ResNet-50 step of 2 images"

    def traced():
        with tracing(model, masks=watched.endswith("masks")):
            run()

    benchmark.pedantic(run if watched == "plain" else traced, rounds=5, warmup_rounds=1)
