"""What a result holds, by what its operands hold: the table of the recorder, line by line."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")

from accelsim.workload.rules import Role, Source  # noqa: E402
from accelsim.workload.tracer.recorder import _role_of_result  # noqa: E402
from accelsim.workload.tracer.roles import Derived  # noqa: E402

BATCH = 5
WEIGHT = Source("w", 12, 3, ("w",))
OTHER = Source("v", 8, 2, ("v",))
PRODUCT = Derived(6, ("w", "v"))
A, G, S, N = Role.ACTIVATION, Role.GRADIENT, Role.SIZED, Role.NOISE

TABLE = {  # word, operands, elements of the result, in a forward pass, in a backward pass
    "a view of a parameter": ("view", [WEIGHT], 12, WEIGHT, WEIGHT),
    "a copy of something derived": ("clone", [PRODUCT], 6, PRODUCT, PRODUCT),
    "a parameter for each sample": ("repeat", [WEIGHT], 60, Source("w", 12, 3, ("w",), repeated=True), None),
    "a parameter three times": ("repeat 3", [WEIGHT], 36, WEIGHT, None),
    "the same parameter stacked": ("stack", [WEIGHT] * BATCH, 60, Source("w", 12, 3, ("w",), repeated=True), None),
    "data": ("relu", [A], 12, A, G),
    "a gradient outside of a backward pass": ("mul", [G, None], 12, G, G),
    "a gradient beside data": ("mul", [G, A], 12, A, G),
    "an initial state": ("tanh", [S], 12, A, G),
    "data beside a parameter of its size": ("add", [A, WEIGHT], 12, A, G),
    "a parameter beside an initial state": ("add", [WEIGHT, S], 12, WEIGHT, WEIGHT),
    "a product of data": ("mm", [A, WEIGHT], 20, A, G),
    "constants": ("add", [None, None], 12, None, None),
    "noise": ("mul", [None, N], 12, N, N),
    "parameters joined": ("cat", [WEIGHT, OTHER], 20, Source("w+v", 20, 5, ("w", "v")), None),
    "a parameter joined with a constant": ("cat", [WEIGHT, None], 20, Derived(20, ("w",)), None),
    "a product of parameters": ("mm", [WEIGHT, OTHER], 12, Derived(12, ("w", "v")), None),
    "rows of a parameter": ("index", [WEIGHT, None], 12, Derived(12, ("w",)), None),
    "a parameter with a mask": ("mul", [WEIGHT, None], 12, WEIGHT, None),
    "two parameters of one size": ("add", [WEIGHT, WEIGHT], 12, WEIGHT, None),
    "a sum over a parameter": ("sum", [WEIGHT], 3, Derived(3, ("w",)), None),
    "something derived beside a parameter": ("mul", [PRODUCT, OTHER], 6, Derived(6, ("w", "v")), None),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_a_result_holds(case: str) -> None:
    word, held, elements, forward, backward = TABLE[case]
    word, _, copies = word.partition(" ")
    call = SimpleNamespace(word=word, args=(None, (int(copies or BATCH), 1)))
    for in_backward, want in ((False, forward), (True, forward if backward is None else backward)):
        found = _role_of_result(call, torch.empty(elements), held, BATCH, in_backward=in_backward)
        assert found == want
