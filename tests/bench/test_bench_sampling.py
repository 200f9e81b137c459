"""What sampling costs a training loop: sampled steps, and steps between, beside plain ones, in turn."""

import statistics
import time

import pytest

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

import torch.nn.functional as F  # noqa: E402, N812
from operations import definitions  # noqa: E402

from accelsim.sparsity.masks import magnitude_mask  # noqa: E402
from accelsim.sparsity.pattern import Pattern  # noqa: E402
from accelsim.workload.tracer import tracing  # noqa: E402

pytestmark = pytest.mark.bench

MOST_SAMPLED = 1.2
MOST_BETWEEN = 1.1  # the same work: what is measured is the noise of the machine
ROUNDS = 7


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_bench_sampled_steps(benchmark):
    """ResNet-50 with 2:8 weights on four images, processor time of one thread: medians of steps that alternate.

    Every second step inside is a sample; the first one, which is traced whole, is not counted.
    """
    torch.manual_seed(0)
    model = definitions("resnet").resnet50_imagenet()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.in_channels % 8 == 0:
            kept = magnitude_mask(module.weight.detach().numpy(), Pattern(kept=2, group=8), 1)
            module.weight.data.mul_(torch.from_numpy(kept))
    images, labels = torch.randn(4, 3, 224, 224), torch.randint(1000, (4,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def seconds() -> float:
        begun = time.process_time()
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        return time.process_time() - begun

    seconds()
    plain = [seconds() for _ in range(ROUNDS)]
    with tracing(model, every=2) as sampler:
        first = seconds()
        between, sampled = [seconds()], []
        for _ in range(ROUNDS):
            sampled.append(seconds())
            between.append(seconds())
    plain += [seconds() for _ in range(ROUNDS)]
    assert [sample.step for sample in sampler.run.samples] == list(range(0, 2 * ROUNDS + 1, 2))
    step = statistics.median(plain)
    benchmark.extra_info.update(
        {name: statistics.median(each) / step for name, each in (("sampled", sampled), ("between", between))},
        first=first / step,
    )
    benchmark.pedantic(seconds, rounds=1)
    assert statistics.median(sampled) <= MOST_SAMPLED * statistics.median(between)
    assert statistics.median(between) <= MOST_BETWEEN * step
