"""Edges that the tracer writes: networks of a few operations, with all names that each operation reads."""

import pytest

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

import torch.nn.functional as F  # noqa: E402, N812
from operations import definitions  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from tracing_cases import Apply  # noqa: E402

import accelsim as acs  # noqa: E402
from accelsim.workload.tracer import InputSpec, trace_model  # noqa: E402


def edges(trace):
    return {operation.name: list(operation.inputs) for operation in trace.operations}


def traced(model, *shapes, **options):
    """The edges on shapes alone; those of a real step are the same."""
    found = edges(trace_model(model, [InputSpec.parse(shape) for shape in shapes], **options))
    real = [InputSpec.parse(shape) for shape in shapes]

    def step():
        inputs = [
            torch.randint(one.below, (2, *one.shape)) if one.below else torch.randn(2, *one.shape) for one in real
        ]
        out = model(*inputs)
        loss = options.get("loss")
        return loss(out) if loss else (out[0] if isinstance(out, tuple) else out).float().sum()

    of_step = edges(acs.trace(step, model, batch=2))
    assert {name: of_step[name] for name in found} == found
    return found


# Branches


def test_a_residual_block():
    assert traced(definitions("resnet").BasicBlock(4, 8, 2), "4x6x6") == {
        "conv1": ["input:0"], "bn1": ["conv1"], "relu": ["bn1"], "conv2": ["relu"], "bn2": ["conv2"],
        "shortcut.0": ["input:0"], "shortcut.1": ["shortcut.0"], "add": ["bn2", "shortcut.1"], "relu_2": ["add"],
    }  # fmt: skip


def test_operands_stand_in_the_order_of_the_call():
    model = Apply(
        lambda m, x, y: (m.a(x) @ m.b(y).mT) - m.c(y), a=nn.Linear(4, 4), b=nn.Linear(4, 4), c=nn.Linear(4, 3)
    )
    assert traced(model, "3x4", "3x4") == {
        "a": ["input:0"], "b": ["input:1"], "matmul": ["a", "b"], "c": ["input:1"], "sub": ["matmul", "c"],
    }  # fmt: skip
    turned = Apply(lambda m, x, y: m.b(y) @ m.a(x).mT, a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    assert traced(turned, "3x4", "3x4")["matmul"] == ["b", "a"]


def test_one_output_in_two_operands_stands_twice():
    def forward(m, x):
        h = m.a(x)
        return (h + h) @ (h * h).mT, h @ h.mT

    found = traced(Apply(forward, a=nn.Linear(4, 4)), "3x4")
    assert (found["add"], found["mul"], found["matmul"]) == (["a", "a"], ["a", "a"], ["add", "mul"])
    assert found["matmul_2"] == ["a", "a"]


def test_concatenation_reads_all_of_its_parts_in_order():
    model = Apply(
        lambda m, x: m.c(torch.cat([m.b(x), x, m.a(x)], -1)), a=nn.Linear(4, 2), b=nn.Linear(4, 3), c=nn.Linear(9, 1)
    )
    assert traced(model, "5x4") == {"b": ["input:0"], "a": ["input:0"], "cat": ["b", "input:0", "a"], "c": ["cat"]}


def test_a_shared_module_has_edges_of_each_call():
    model = Apply(lambda m, x, y: m.a(m.a(x)) + m.a(y), a=nn.Linear(4, 4))
    assert traced(model, "4", "4") == {
        "a": ["input:0"], "a_2": ["a"], "a_3": ["input:1"], "add": ["a_2", "a_3"],
    }  # fmt: skip


def test_attention_over_one_projection():
    found = traced(definitions("transformers").Attention(8, 2, causal=True), "5x8")
    assert (found["mul"], found["mul_2"], found["copy_3"]) == (["qkv"], ["qkv"], ["qkv"])
    assert (found["matmul"], found["matmul_2"]) == (["copy", "copy_2"], ["dropout", "copy_3"])
    assert (found["add"], found["softmax"], found["proj"]) == (
        ["matmul"],
        ["add"],
        ["copy_4"],
    )  # the mask is a constant


def test_an_lstm_step_by_step():
    found = traced(Apply(lambda m, x: m.r(x)[0], r=nn.LSTM(4, 3, batch_first=True)), "2x4")
    assert found == {
        "r.copy": ["input:0"], "r.linear": ["r.copy"], "r.linear_2": [], "r.add": ["r.linear_2", "r.linear"],
        "r.sigmoid": ["r.add"], "r.sigmoid_2": ["r.add"], "r.tanh": ["r.add"], "r.sigmoid_3": ["r.add"],
        "r.mul": ["r.sigmoid_2"], "r.mul_2": ["r.sigmoid", "r.tanh"], "r.add_2": ["r.mul", "r.mul_2"],
        "r.tanh_2": ["r.add_2"], "r.mul_3": ["r.sigmoid_3", "r.tanh_2"],
        "r.linear_3": ["r.mul_3"], "r.add_3": ["r.linear_3", "r.linear"],
        "r.sigmoid_4": ["r.add_3"], "r.sigmoid_5": ["r.add_3"], "r.tanh_3": ["r.add_3"], "r.sigmoid_6": ["r.add_3"],
        "r.mul_4": ["r.sigmoid_5", "r.add_2"], "r.mul_5": ["r.sigmoid_4", "r.tanh_3"],
        "r.add_4": ["r.mul_4", "r.mul_5"], "r.tanh_4": ["r.add_4"], "r.mul_6": ["r.sigmoid_6", "r.tanh_4"],
        "r.stack": ["r.mul_3", "r.mul_6"], "r.stack_2": ["r.add_4"], "r.stack_3": ["r.mul_6"],
    }  # fmt: skip


# Memory


def test_views_of_all_kinds_are_looked_through():
    def forward(m, x):
        h = m.a(x)
        seen = h.view(-1, 12).reshape(-1, 3, 4).transpose(1, 2).mT.flatten(0, 1)[..., None].squeeze(-1)
        parts = h.unbind(1)[1], h.split(1, 1)[2].squeeze(1), h[:, 0], h.expand(2, -1, -1, -1)[0].select(1, 0)
        return m.b(seen), m.b(parts[0]), m.b(parts[1]), m.b(parts[2]), m.b(parts[3]), m.b(h.as_strided((2, 4), (12, 1)))

    found = edges(trace_model(Apply(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 2)), [InputSpec.parse("3x4")]))
    assert {name: read for name, read in found.items() if name.startswith("b")} == {
        name: ["a"] for name in ("b", "b_2", "b_3", "b_4", "b_5", "b_6")
    }


def test_parts_of_one_output_lead_to_it():
    def forward(m, x):
        q, k, v = m.a(x).chunk(3, -1)
        return q * k + v

    assert traced(Apply(forward, a=nn.Linear(4, 12)), "4") == {"a": ["input:0"], "mul": ["a", "a"], "add": ["mul", "a"]}


def test_casts_and_detached_tensors_are_looked_through():
    model = Apply(lambda m, x: m.b(m.a(x).double().float()) + m.a.weight.new_ones(1) * m.a(x).detach(),
                  a=nn.Linear(4, 4), b=nn.Linear(4, 4))  # fmt: skip
    found = traced(model, "4")
    assert (found["b"], found["add"]) == (["a"], ["b", "mul"])


def test_work_in_place_is_what_later_readers_read():
    def forward(m, x):
        h = m.a(x)
        kept = h.view(-1)
        h += 1
        F.relu(h, inplace=True)
        return m.b(h) + kept.view(h.shape)

    assert traced(Apply(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4)), "4") == {
        "a": ["input:0"], "add": ["a"], "relu": ["add"], "b": ["relu"], "add_2": ["b", "relu"],
    }  # fmt: skip


def test_a_tensor_written_in_parts_comes_from_all_that_wrote_it():
    def forward(m, x):
        whole = x.new_zeros(x.shape[0], 6, 4)
        whole[:, :2] = m.a(x)
        whole[:, 2:4] = m.b(x)
        early = whole[:, :2] * 2
        whole[:, :1] = m.c(early[:, :1])
        return m.d(whole) + whole[:, 2:3]

    model = Apply(forward, **{name: nn.Linear(4, 4) for name in "abcd"})
    assert traced(model, "2x4") == {
        "a": ["input:0"], "copy": ["a"], "b": ["input:0"], "copy_2": ["b"],
        "mul": ["copy"],  # the rows that a wrote, not those of b
        "c": ["mul"], "copy_3": ["c"],
        "d": ["copy", "copy_2", "copy_3"],  # one row of a's is left
        "add": ["d", "copy_2"],
    }  # fmt: skip


def test_columns_of_a_tensor_are_told_apart():
    def forward(m, x):
        whole = x.new_zeros(x.shape[0], 3, 4)
        whole[..., :2] = m.a(x)
        whole[..., 2:] = m.b(x)
        return whole[..., :1] + whole[..., 1:2] + whole[..., 2:3] + whole[..., ::3]

    assert traced(Apply(forward, a=nn.Linear(4, 2), b=nn.Linear(4, 2)), "3x4") == {
        "a": ["input:0"], "copy": ["a"], "b": ["input:0"], "copy_2": ["b"],
        "add": ["copy", "copy"], "add_2": ["add", "copy_2"], "add_3": ["add_2", "copy", "copy_2"],
    }  # fmt: skip


def test_memory_written_again_as_a_whole_has_one_writer():
    def forward(m, x):
        buffer = m.a(x)
        buffer.copy_(m.b(x))
        return m.c(buffer)

    found = traced(Apply(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4), c=nn.Linear(4, 1)), "4")
    assert (found["copy"], found["c"]) == (["b"], ["copy"])


def test_constants_in_place_of_results_have_no_name():
    def forward(m, x):
        h = m.a(x)
        h.zero_()
        return m.b(h)

    assert traced(Apply(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 1)), "4")["b"] == []


# What has no name, and what stands beside data


def test_parameters_buffers_constants_and_noise_have_no_name():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.scale, self.norm = nn.Embedding(7, 4), nn.Parameter(torch.ones(4)), nn.BatchNorm1d(3)
            self.drop = nn.Dropout(0.5)
            self.register_buffer("shift", torch.ones(4))

        def forward(self, x):
            h = self.table(x) + self.table(torch.arange(3, device=x.device))
            return self.drop(self.norm(h * self.scale + self.shift))

    assert traced(Model(), "3:int64:7") == {
        "table": ["input:0"], "table_2": [], "add": ["table", "table_2"], "mul": ["add"], "add_2": ["mul"],
        "norm": ["add_2"], "drop": ["norm"],
    }  # fmt: skip


def test_a_weight_that_operations_compute_follows_the_data():
    class LowRank(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 3))

        def forward(self, x):
            return x @ (self.a @ self.b)

    assert traced(LowRank(), "5x4") == {"linear": [], "linear_2": ["input:0", "linear"]}


def test_data_stands_before_a_weight_on_the_left():
    model = Apply(lambda m, x: ((m.w * m.scale) @ x.mT).mT, w=(3, 4), scale=(3, 4))
    assert traced(model, "4") == {"mul": [], "linear": ["input:0", "mul"]}


def test_a_weight_that_the_forward_pass_changes_in_place_comes_from_there():
    def forward(m, x):
        with torch.no_grad():
            m.a.weight.div_(m.a.weight.norm(dim=1, keepdim=True))
        return m.a(x)

    found = traced(Apply(forward, a=nn.Linear(4, 3)), "4")
    assert list(found.values()) == [[], [next(iter(found))], ["input:0", list(found)[1]]]


def test_what_a_product_adds_follows_its_factors():
    model = Apply(lambda m, x: torch.addmm(m.a(x), x, m.b.weight), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    assert traced(model, "4")["linear"] == ["input:0", "a"]
    stacked = Apply(lambda m, x: torch.baddbmm(m.a(x), m.b(x), x.mT), a=nn.Linear(4, 3), b=nn.Linear(4, 4))
    assert traced(stacked, "3x4")["matmul"] == ["b", "input:0", "a"]


def test_a_loss_reads_scores_and_no_targets():
    found = edges(trace_model(nn.Linear(4, 3), [InputSpec.parse("4")],
                              loss=lambda out: F.cross_entropy(out, torch.zeros(len(out), dtype=torch.int64))))  # fmt: skip
    assert found == {"linear": ["input:0"], "log_softmax": ["linear"], "nll_loss_forward": ["log_softmax"]}


def test_a_bias_and_the_steps_of_a_norm_are_part_of_one_operation():
    model = nn.Sequential(nn.Linear(8, 8), nn.RMSNorm(8), nn.Linear(8, 2))
    assert traced(model, "5x8") == {"0": ["input:0"], "1": ["0"], "2": ["1"]}
    by_hand = Apply(lambda m, x: m.b(F.linear(x, m.a.weight) + m.a.bias), a=nn.Linear(4, 4), b=nn.Linear(4, 2))
    assert list(traced(by_hand, "5x4").values()) == [["input:0"], ["linear"]]


# The backward pass and several steps


def test_checkpointed_operations_keep_the_edges_of_the_forward_pass():
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model = Apply(
        lambda m, x: x + checkpoint(m.block, m.first(x), use_reentrant=False), first=nn.Linear(4, 4), block=block
    )
    trace = trace_model(model, [InputSpec.parse("4")])
    assert edges(trace) == {
        "first": ["input:0"], "block.0": ["first"], "block.1": ["block.0"], "block.2": ["block.1"],
        "add": ["input:0", "block.2"],
    }  # fmt: skip
    assert {operation.name for operation in trace.operations if operation.recomputed} >= {"block.0", "block.1"}


def test_work_of_the_backward_pass_alone_names_what_it_reads_of_the_forward_pass():
    """A gradient that is differentiated: the loss on it stands in front of the work that makes it, and does not say."""
    model = Apply(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.Linear(4, 4), b=nn.Linear(4, 1))

    def step():
        x = torch.randn(3, 4, requires_grad=True)
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return slope.square().sum()

    trace = acs.trace(step, model)
    assert [(operation.name, operation.inputs, operation.backward_only) for operation in trace.operations] == [
        ("a.linear", ("input:0",), False), ("tanh", ("a.linear",), False), ("b.linear", ("tanh",), False),
        ("sum", ("b.linear",), False), ("pow", None, False), ("sum_2", ("pow",), False),
        ("b.linear_2", (), True), ("tanh_backward", ("b.linear_2", "tanh"), True),
        ("a.linear_2", ("tanh_backward",), True),
    ]  # fmt: skip
    assert not trace.has_edges


def test_metrics_that_are_left_out_leave_no_names():
    model = nn.Linear(4, 3)

    def step():
        out = model(torch.randn(2, 4))
        out.sum().backward()
        (out.detach().softmax(-1) @ torch.ones(3, 3)).mean()

    assert edges(acs.trace(step, model)) == {"linear": ["input:0"], "sum": ["linear"]}


def test_products_of_an_optimizer_name_each_other():
    model = nn.Linear(4, 4, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        model(torch.randn(2, 4)).sum().backward()
        gradient = model.weight.grad
        square = gradient @ gradient.T
        gradient.copy_((0.5 * square) @ gradient)
        optimizer.step()

    updates = [operation for operation in acs.trace(step, model).operations if getattr(operation, "in_update", False)]
    assert [list(operation.inputs) for operation in updates] == [[], [updates[0].name]]


def test_a_second_step_reads_nothing_of_the_first():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    optimizer, kept = torch.optim.SGD(model.parameters(), lr=0.1), []
    with acs.tracing(model) as tracer:
        for _ in range(3):
            before = kept.pop() if kept else torch.zeros(2, 4)
            out = model(torch.randn(2, 4) + before)
            kept.append(out.detach())
            optimizer.zero_grad()
            out.sum().backward()
            optimizer.step()
    assert edges(tracer.trace) == {"0": ["input:0"], "1": ["0"], "sum": ["1"]}


def test_what_a_model_keeps_from_step_to_step_has_no_name():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.last = nn.Linear(4, 4), torch.zeros(2, 4)

        def forward(self, x):
            h = self.a(x)
            out, self.last = h + self.last, h.detach()
            return out

    trace = acs.trace(lambda: model(torch.randn(2, 4)).sum(), model := Keeps(), steps=3)
    assert edges(trace) == {"a": ["input:0"], "add": ["a"], "sum": ["add"]}
    assert not trace.origin.assumptions


def test_steps_that_read_other_results_are_named():
    class Alternates(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Linear(4, 4) for _ in range(4))
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            one, other = self.a(x), self.b(x)
            return self.c(one) + self.d(other) if self.calls % 2 else self.c(other) + self.d(one)

    trace = acs.trace(lambda: model(torch.randn(2, 4)).sum(), model := Alternates(), steps=2)
    assert (edges(trace)["c"], edges(trace)["d"]) == (["a"], ["b"])
    assert list(trace.origin.assumptions) == [
        "the steps read the outputs of other operations in c, d: the edges are those of the first"
    ]


def test_weights_that_an_update_changed_have_no_name():
    model = nn.Linear(4, 4, bias=False)

    def step():
        model(torch.randn(2, 4)).sum().backward()
        with torch.no_grad():
            model.weight.add_(model.weight.grad @ model.weight.grad.T)
        model.weight.grad = None
        model(torch.randn(2, 4)).sum().backward()

    found = edges(acs.trace(step, model))
    assert (found["linear"], found["linear_2"]) == (["input:0"], ["input:1"])


def test_a_product_of_the_backward_pass_alone_names_what_was_recomputed_for_it():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return gradient * 2 + 0 * (x @ x.mT).sum()

    model = Apply(lambda m, x: checkpoint(lambda y: Doubled.apply(m.a(y)), m.first(x), use_reentrant=False),
                  first=nn.Linear(4, 4), a=nn.Linear(4, 4))  # fmt: skip
    trace = trace_model(model, [InputSpec.parse("3x4")])
    assert edges(trace) == {"first": ["input:0"], "a": ["first"], "mul": ["a"], "matmul": ["a", "a"]}
    assert [operation.name for operation in trace.operations if operation.backward_only] == ["matmul"]


def test_experts_that_get_tokens_in_some_steps_only_are_read_in_all():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.experts, self.calls = nn.Linear(4, 4), nn.ModuleList(nn.Linear(4, 4) for _ in range(3)), 0

        def forward(self, x):
            h, self.calls = self.first(x), self.calls + 1
            chosen = [self.experts[0], self.experts[1 + self.calls % 2]]
            return torch.cat([expert(part) for expert, part in zip(chosen, h.chunk(2), strict=True)])

    model = Experts()
    found = edges(acs.trace(lambda: model(torch.randn(4, 4)).sum(), model, steps=2))
    assert {name: read for name, read in found.items() if name.startswith("experts")} == {
        f"experts.{number}": ["first"] for number in range(3)
    }
    assert sorted(found["cat"]) == [f"experts.{number}" for number in range(3)]


def test_names_like_inputs_are_changed():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("input:0", nn.Linear(4, 4))
            self.last = nn.Linear(4, 1)

        def forward(self, x):
            return self.last(self._modules["input:0"](x))

    assert traced(Model(), "4") == {"input_0": ["input:0"], "last": ["input_0"]}
