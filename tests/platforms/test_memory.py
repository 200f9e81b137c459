"""The memory of a step, worked by hand."""

import pytest
from platform_cases import conv, linear, round_platform, vector

from accelsim.base.errors import InputError
from accelsim.lowering.optimizers import find_optimizer
from accelsim.platforms.estimate import estimate
from accelsim.platforms.kernels import Software
from accelsim.platforms.memory import kept_elements, largest_batch, step_bytes

SGD, ADAM = find_optimizer("sgd"), find_optimizer("adam")


def network(make_trace):
    """A convolution that keeps 2048, a norm under an activation that keeps 2048, a linear layer that keeps 32."""
    return make_trace(
        conv(),
        vector("norm", 2048, 2048),
        vector("activation", 2048, 2048),
        vector("add", 4096, 2048),
        vector("copy", 2048, 2048),
        linear(in_features=2048),
        parameters=100_000,
    )


def test_what_is_kept(make_trace) -> None:
    assert kept_elements(network(make_trace)) == 2048 + 2048 + 32
    assert kept_elements(make_trace(vector("norm"), vector("pooling", 1000, 10))) == 1010
    product = {"name": "qk", "kind": "matmul", "batch": 2, "m": 8, "k": 16, "n": 4}
    assert kept_elements(make_trace(product)) == 64
    pooled = vector("pooling", 1000, 10), vector("activation", 10, 10)  # under an activation, and yet kept
    assert kept_elements(make_trace(*pooled)) == 20
    late = vector("norm", name="late", backward_only=True, input_gradient=None)
    assert kept_elements(make_trace(vector("norm"), late)) == 1000


# bytes per parameter: weight, gradient, state, 16-bit copy
PARAMETERS = {
    "fp32 without optimizer": (Software(precision="fp32"), 4 + 4, 4),
    "fp32": (Software(precision="fp32", optimizer=SGD), 4 + 4 + 4, 4),
    "tf32 with Adam": (Software(precision="tf32", optimizer=ADAM), 4 + 4 + 8, 4),
    "amp": (Software(precision="amp", optimizer=SGD), 4 + 4 + 4 + 2, 2),
    "bf16 with Adam": (Software(precision="bf16", optimizer=ADAM), 4 + 4 + 8 + 2, 2),
    "fp16": (Software(precision="fp16", optimizer=SGD), 2 + 2 + 2, 2),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_bytes_of_a_step(make_trace, name: str) -> None:
    software, parameter, element = PARAMETERS[name]
    assert step_bytes(network(make_trace), 8, software) == 100_000 * parameter + 8 * 4128 * element


def test_the_largest_batch(make_trace) -> None:
    trace, software = network(make_trace), Software(precision="fp32", optimizer=SGD)
    needed = step_bytes(trace, 64, software)
    found = [largest_batch(trace, software, capacity) for capacity in (needed - 1, needed, 2 * needed, 1e12, 10.0)]
    assert found == [32, 64, 128, 256, 1]


def small(trace, samples: float):
    """A platform whose memory holds so many samples of a step in mixed precision."""
    return round_platform(capacity_gb=(100_000 * 14 + samples * 4128 * 2) / 1e9)


def test_a_batch_that_does_not_fit(make_trace) -> None:
    trace = network(make_trace)
    with pytest.raises(InputError) as error:
        estimate(trace, small(trace, 10.5), batch=25)
    assert str(error.value) == (
        "platform 'round': a step of 25 samples of tiny (amp) needs about 1.61 MB; it has 1.49 MB, enough for 10 samples."
        " Lower the batch, or let gradients accumulate over parts of it (--accumulate)"
    )


def test_gradients_accumulate_over_as_few_parts_as_fit(make_trace) -> None:
    trace = network(make_trace)
    found = estimate(trace, small(trace, 10.5), batch=25, accumulate=True)
    assert (found.parts, found.batch) == (3, 25)
    assert found.notes == ("25 samples run in 3 parts, as they do not fit the memory",)
    assert estimate(trace, small(trace, 25), batch=25, accumulate=True).parts == 1


def test_one_sample_that_does_not_fit(make_trace) -> None:
    trace = network(make_trace)
    for accumulate in (False, True):
        with pytest.raises(InputError) as error:
            estimate(trace, small(trace, 0.5), batch=2, accumulate=accumulate)
        assert str(error.value) == (
            "platform 'round': a step of 2 samples of tiny (amp) needs about 1.42 MB, one sample 1.41 MB; it has"
            " 1.40 MB"
        )
