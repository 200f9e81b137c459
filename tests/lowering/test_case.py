"""What a case can be, and that everything of it counts in the identity."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest

import accelsim as acs
from accelsim.base.files import validate
from accelsim.engines import ENGINES
from accelsim.lowering.case import ENGINE_NAMES, Case, StoredCase, case_from, case_of, cases_of
from accelsim.lowering.optimizers import OPTIMIZERS
from accelsim.lowering.tasks import Overrides
from accelsim.sparsity.methods import METHODS

P24, P28 = acs.Pattern(2, 4), acs.Pattern(2, 8)
OTHERS = {
    "method": METHODS["sdgp"],
    "pattern": P24,
    "batch": 64,
    "mode": "infer",
    "optimizer": OPTIMIZERS["adam"],
    "engine": "event",
    "overrides": Overrides(dense=("fc",), sparse=(("conv*", P24), ("a", None))),
    "link_gb_per_s": 12.5,
    "accumulate": 2,
}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "bdpw"}, f"method 'bdpw' is not known; did you mean 'bdwp'?; allowed: {', '.join(METHODS)}"),
        ({"pattern": "2-8"}, "pattern '2-8': expected N:M with two whole numbers, as in 2:8"),
        ({"method": "dense", "pattern": "9:8"}, "pattern 9:8: N of every M elements are kept, so 1 <= N <= M <= 1024 is needed, as in 2:8"),
        ({"batch": 0}, "batch: got 0; allowed: 1 to 1048576"),
        ({"batch": 2**20 + 1}, "batch: got 1048577; allowed: 1 to 1048576"),
        ({"mode": "trian"}, "mode: got 'trian'; did you mean 'train'?; allowed: train, infer"),
        ({"optimizer": "sdg"}, "optimizer 'sdg' is not known; did you mean 'sgd'?; allowed: sgd, adam"),
        ({"engine": "closd"}, "engine 'closd' is not known; did you mean 'closed'?; allowed: closed, event"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_when_a_case_is_built(given: dict[str, Any], message: str) -> None:
    with pytest.raises(acs.InputError) as caught:
        case_of(**given)
    assert str(caught.value).replace(" (did you mean", "; did you mean").replace("?)", "?") == message


@pytest.mark.parametrize("name", METHODS)
def test_a_pattern_stays_where_the_method_takes_one(name: str) -> None:
    case = case_of(method=name, pattern="2:8")
    takes = name not in {"dense", "traced"}
    assert case.pattern == (P28 if takes else None)
    assert str(case) == (f"{name} 2:8" if takes else name)
    assert str(case.dense) == "dense"
    assert replace(case.dense, method=case.method, pattern=case.pattern) == case


@pytest.mark.parametrize("name", [field.name for field in fields(Case)])
def test_every_part_of_a_case_stands_in_files_and_is_read_again(name: str) -> None:
    case = case_of()
    other = replace(case, **{name: OTHERS[name]})
    assert other.to_dict() != case.to_dict()
    for each in (case, other):
        assert case_from(validate(StoredCase, json.loads(json.dumps(each.to_dict())), "file")) == each


def test_methods_that_take_no_pattern_are_there_once() -> None:
    cases = cases_of(case_of(batch=4), ("dense", "bdwp", "traced"), ("2:8", "2:4"))
    assert [str(case) for case in cases] == ["dense", "bdwp 2:8", "bdwp 2:4", "traced"]
    assert {case.batch for case in cases} == {4}


def test_engines_are_called_as_cases_name_them() -> None:
    assert tuple(ENGINES) == ENGINE_NAMES
