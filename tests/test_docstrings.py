"""Public calls say what every argument is, on a line of its own, and show an example, which the doctests run."""

import importlib
import inspect
import re
from collections.abc import Callable
from importlib.util import find_spec

import pytest

import accelsim as acs

ROOMS = ("accelsim.simulation", "accelsim.training", *(["accelsim.torch"] if find_spec("torch") else []))


def public() -> dict[str, Callable[..., object]]:
    """Functions of the package's face and of the rooms that it opens on, and the values that a user makes for them."""
    faces = [(acs, name) for name in acs.__all__ if "tracer" not in acs._HOMES[name] or find_spec("torch")]
    faces += [(room, name) for room in map(importlib.import_module, ROOMS) for name in room.__all__]
    found = {f"{face.__name__}.{name}": getattr(face, name) for face, name in faces}
    made = {"accelsim.Pattern", "accelsim.InputSpec"}
    return {name: call for name, call in found.items() if inspect.isfunction(call) or name in made}


CALLS = public()


def described(call: Callable[..., object]) -> dict[str, str]:
    """Names and descriptions in the section ``Args:`` of a docstring."""
    section = re.search(r"^Args:\n((?:    .*\n)+)", inspect.getdoc(call) or "", re.MULTILINE)
    text = section[1] if section else ""
    return {
        name: words.strip() for name, words in re.findall(r"^    (\w+): ((?:.*\n)(?:     .*\n)*)", text, re.MULTILINE)
    }


def test_the_calls_are_those_that_users_see() -> None:
    assert {"accelsim.simulate", "accelsim.compare", "accelsim.make_sweep", "accelsim.Pattern"} <= CALLS.keys()
    assert len(CALLS) >= 17


@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_described_and_an_example_runs(name: str) -> None:
    call = CALLS[name]
    assert list(described(call)) == [
        parameter for parameter in inspect.signature(call).parameters if parameter != "self"
    ]
    assert all(len(words) > 8 for words in described(call).values())
    assert ">>> " in (inspect.getdoc(call) or "")
