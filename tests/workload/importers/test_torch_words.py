"""The tables of torch's operations against the operations of the torch that is installed."""

import pytest

from accelsim.workload.importers._torch_rows import _COMPOSITES, _OVERLOADED
from accelsim.workload.importers._torch_words import ATTENTION, CONVOLUTIONS, PARAMETERS

torch = pytest.importorskip("torch", reason="the tables describe torch")


def arguments(word):
    """The names of the arguments of an operation, under any of the names that the tables shorten."""
    for name in (word, f"_{word}", f"native_{word}", f"_native_{word}"):
        if hasattr(torch.ops.aten, name):
            operation = getattr(torch.ops.aten, name)
            overload = getattr(operation, operation.overloads()[0])
            return [argument.name for argument in overload._schema.arguments]
    return None


@pytest.mark.parametrize("word", CONVOLUTIONS)
def test_arguments_of_convolutions(word):
    names = arguments(word)
    if names is None:
        pytest.skip("not in this build of torch")
    assert names[1] == "weight"
    for field, at in CONVOLUTIONS[word].items():
        assert names[at] == field


@pytest.mark.parametrize("word", sorted(ATTENTION.keys() - {"flash_attn_forward"}))
def test_arguments_of_attention(word):
    names = arguments(word)
    if names is None:
        pytest.skip("not in this build of torch")
    assert names[:3] == ["query", "key", "value"]
    assert names[ATTENTION[word][1]] == "dropout_p"


@pytest.mark.parametrize("word", PARAMETERS)
def test_arguments_that_are_parameters(word):
    names = arguments(word)
    if names is None:
        pytest.skip("not in this build of torch")
    for at, name in PARAMETERS[word].items():
        assert names[at].removeprefix("w_").rstrip("0123456789") in {name, f"{name}s", "weight", "params"}


def test_composites_are_composite():
    known = {
        name.partition(".")[0]
        for name in torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
    }
    assert {word for word in _COMPOSITES | _OVERLOADED if f"aten::{word}" not in known} == set()


def test_arguments_of_recurrent_kernels():
    names = arguments("cudnn_rnn")
    places = {
        0: "input",
        1: "weight",
        2: "weight_stride0",
        7: "hidden_size",
        8: "proj_size",
        10: "batch_first",
        13: "bidirectional",
    }
    assert {at: names[at] for at in places} == places
    assert names[14] == "batch_sizes"
    names = arguments("miopen_rnn")
    places = {
        0: "input",
        1: "weight",
        2: "weight_stride0",
        6: "hidden_size",
        8: "batch_first",
        11: "bidirectional",
        12: "batch_sizes",
    }
    assert {at: names[at] for at in places} == places
    names = arguments("mkldnn_rnn_layer")
    assert (names[8], names[10]) == ("batch_sizes", "hidden_size")
