"""Sampling a training loop: samples are what full traces of the same steps say, and the training is what it was."""

import copy
from typing import Any

import pytest

import accelsim as acs
from accelsim.sparsity.masks import magnitude_mask
from accelsim.sparsity.pattern import Pattern

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.optim.optimizer import _global_optimizer_post_hooks  # noqa: E402
from torch.utils._python_dispatch import _len_torch_dispatch_stack  # noqa: E402

from accelsim.workload.tracer import Sampler, tracing  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Small(nn.Module):
    """A convolution, attention and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 32, 3, padding=1)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.hidden, self.head = nn.Linear(32, 64), nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        rows = F.relu(self.conv(x)).flatten(2).transpose(1, 2)
        rows = rows + self.attention(rows, rows, rows, need_weights=False)[0]
        return self.head(F.relu(self.hidden(rows.mean(1))))


def prune(model: nn.Module, step: int) -> None:
    """Tighten the masks of two layers as the training goes on."""
    pattern = {2: "4:8", 4: "2:8", 6: "1:8"}.get(step)
    if pattern is not None:
        for weight in (model.conv.weight, model.hidden.weight):
            kept = magnitude_mask(weight.detach().numpy(), Pattern.parse(pattern), 1)
            weight.data.mul_(torch.from_numpy(kept))


def train(model: nn.Module, steps: int, around: Any = None, *, every: int | None = None, evaluate: bool = False) -> Any:
    """Train for some steps; `around` traces each whole. Returns the sampler, if any."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def loop() -> None:
        for step in range(steps):
            prune(model, step)
            images, labels = torch.randn(4, 8, 6, 6), torch.randint(10, (4,))
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            if evaluate and step % 2:
                model.eval()
                with torch.no_grad():
                    model(images)
                model.train()

    if every is None:
        loop()
        return None
    with tracing(model, every=every) as sampler:
        loop()
    return sampler


@pytest.mark.parametrize("evaluate", [False, True])
def test_samples_are_what_traces_of_the_same_steps_say(evaluate: bool) -> None:
    torch.manual_seed(0)
    model = Small()
    sampler = train(copy.deepcopy(model), 8, every=2, evaluate=evaluate)
    run = sampler.run
    assert ([sample.step for sample in run.samples], run.steps) == ([0, 2, 4, 6], 8)
    assert [(phase.name, phase.steps) for phase in run.phases()] == [(f"step {step}", 2) for step in (0, 2, 4, 6)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for sample in run.samples:
        prune(model, sample.step)
        with tracing(model) as tracer:
            F.cross_entropy(model(torch.randn(4, 8, 6, 6)), torch.randint(10, (4,))).backward()
        optimizer.zero_grad()
        full = {
            op.name: op.observed
            for op in tracer.trace.operations
            if getattr(op, "observed", None) and hasattr(op, "weight")
        }
        assert sample.observed.keys() == full.keys()
        for name, seen in sample.observed.items():
            for stage in ("FF", "BP"):
                one, two = getattr(seen, stage), getattr(full[name], stage)
                assert (one and one.weight) == (two and two.weight)
    patterns = [sample.observed["conv"].FF.weight.pattern for sample in run.samples]
    assert patterns == [None, "4:8", "2:8", "1:8"]


def test_the_run_is_traced_as_its_first_step() -> None:
    model = Small()
    made = train(copy.deepcopy(model), 3, every=2).run.phases()[0].trace
    with tracing(model) as tracer:
        F.cross_entropy(model(torch.randn(4, 8, 6, 6)), torch.randint(10, (4,))).backward()
    plain = tracer.trace
    assert [op.model_dump(exclude={"observed"}) for op in made.operations] == [
        op.model_dump(exclude={"observed"}) for op in plain.operations
    ]
    assert (
        plain.operations[0].observed.FF.model_copy(update={"activation": made.operations[0].observed.FF.activation})
        == made.operations[0].observed.FF
    )


def test_the_training_is_what_it_was() -> None:
    def trained(every: int | None) -> list[Any]:
        torch.manual_seed(0)
        model = Small()
        torch.manual_seed(2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def loop() -> None:
            for _ in range(5):
                optimizer.zero_grad()
                F.cross_entropy(model(torch.randn(4, 8, 6, 6)), torch.randint(10, (4,))).backward()
                optimizer.step()

        if every is None:
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                loop()
        else:
            with tracing(model, every=every):
                loop()
        return list(model.parameters())

    for one, two in zip(trained(None), trained(1), strict=True):
        assert torch.equal(one, two)


def test_steps_between_samples_run_without_modes_and_hooks() -> None:
    model = nn.Linear(16, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    modes, hooks = [], []

    class Probe(nn.Module):
        def forward(self, x: Any) -> Any:
            modes.append(_len_torch_dispatch_stack())
            hooks.append(len(model._forward_hooks) + len(model._forward_pre_hooks))
            return x

    probed = nn.Sequential(Probe(), model)
    with tracing(probed, every=3):
        for _ in range(7):
            probed(torch.ones(2, 16)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert [mode > 0 for mode in modes] == [True, False, False] * 2 + [True]
    assert [count > 0 for count in hooks] == [True, False, False] + [False] * 4  # samples follow their script alone
    assert _len_torch_dispatch_stack() == 0
    assert not _global_optimizer_post_hooks


def test_a_step_of_other_products_is_left_out_and_told() -> None:
    class Grows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head, self.calls = nn.Linear(16, 16), nn.Linear(16, 4), 0

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return self.head(self.body(self.body(x)) if self.calls in {2, 4} else self.body(x))

    model = Grows()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with tracing(model, every=1) as sampler:
        for _ in range(5):
            model(torch.ones(2, 16)).sum().backward()
            optimizer.step()
    run = sampler.run
    assert [sample.step for sample in run.samples] == [0, 2, 4]
    assert run.trace.origin.assumptions == (
        "samples that execute other products than the first step are left out: steps 1, 3",
    )
    assert [phase.steps for phase in run.phases()] == [2, 2, 1]


def test_pruned_gradients_are_read_in_samples() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 8)
    )
    acs.torch.sdgp(model, "2:8")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with tracing(model, every=2) as sampler:
        for _ in range(4):
            F.cross_entropy(model(torch.randn(32, 64)), torch.randint(8, (32,))).backward()
            optimizer.step()
            optimizer.zero_grad()
    first, second = (sample.observed["2"].BP.gradient for sample in sampler.run.samples)
    assert first.pattern == second.pattern == "2:8"
    assert sampler.run.samples[1].observed["5"].BP.gradient is None  # not sparse, and so not read


def test_steps_without_an_optimizer_are_ended_by_hand() -> None:
    model = nn.Linear(16, 4)
    with tracing(model, every=2) as sampler:
        assert isinstance(sampler, Sampler)
        for _ in range(3):
            model(torch.ones(2, 16)).sum().backward()
            sampler.step()
    assert [(phase.name, phase.steps) for phase in sampler.run.phases()] == [("step 0", 2), ("step 2", 1)]


def test_bad_use_is_told() -> None:
    model = nn.Linear(4, 4)
    for every in (0, -1, True, 2.5):
        with pytest.raises(acs.InputError, match=rf"^every: got {every}; a whole number of at least 1 is needed$"):
            tracing(model, every=every)
    with pytest.raises(
        acs.InputError,
        match=r"^masks: a sampled run keeps what was seen of masks, not the masks; leave masks or every out$",
    ):
        tracing(model, every=2, masks=True)
    with tracing(model, every=2) as sampler:
        model(torch.ones(2, 4)).sum().backward()
    with pytest.raises(
        acs.InputError,
        match=r"^no training step has ended while it was sampled; a step ends where an optimizer of the model has run, or where .step\(\) is called$",
    ):
        _ = sampler.run
