"""Commands on damaged files: none ends in a traceback, takes a damaged file for a good one or hides which file it is."""

from pathlib import Path

import pytest
from attempts import Outcome, faults, run
from damage_report import attempts, counted
from damages import FREE, MUST_EQUAL, MUST_REFUSE, Damage

SEED = 20


def test_no_damaged_file_passes_or_ends_in_a_traceback(request: pytest.FixtureRequest) -> None:
    tried = list(attempts(request.config.getoption("--damaged"), SEED))
    assert [str(attempt) for attempt in tried if attempt.faults] == []
    total = counted(tried)[-1]
    assert total["refused"] > len(tried) / 2, "most damages are no damages"
    assert total["accepted"] > len(tried) / 20, "nothing that is harmless is tried"


def test_the_same_seed_tries_the_same() -> None:
    once, again = ([(one.damage.content, one.command.line) for one in attempts(20, 3, "plan")] for _ in range(2))
    assert once == again


@pytest.mark.parametrize(
    ("expects", "outcome", "wanted"),
    [
        (MUST_REFUSE, Outcome(0, "ok", ""), ["silent wrong"]),
        (MUST_REFUSE, Outcome(2, "", "error: a.json: is empty"), []),
        (MUST_REFUSE, Outcome(2, "", "error: is empty"), ["file not named"]),
        (MUST_REFUSE, Outcome(2, "", "error: a.json: is empty\nerror: and more"), ["file not named"]),
        (MUST_REFUSE, Outcome(2, "", "error: a.json: is empty", ("out.csv",)), ["left behind"]),
        (MUST_EQUAL, Outcome(0, "good", ""), []),
        (MUST_EQUAL, Outcome(0, "other", ""), ["silent wrong"]),
        (MUST_EQUAL, Outcome(2, "", "error: a.json: is empty"), ["wrongly refused"]),
        (FREE, Outcome(0, "other", ""), []),
        (FREE, Outcome(3, "", "error: conv: fits no buffer"), []),
        (FREE, Outcome(0, "a\x1b[2J", ""), ["terminal"]),
        (FREE, Outcome(None, "", "", raised="KeyError"), ["traceback"]),
        (FREE, Outcome(None, "", "", raised="hangs"), ["hangs"]),
        (FREE, Outcome(120, "", ""), ["exit code"]),
    ],
)  # fmt: skip
def test_what_is_a_fault(expects: str, outcome: Outcome, wanted: list[str]) -> None:
    assert list(faults(Damage("", expects, b""), "a.json", outcome, Outcome(0, "good", ""))) == wanted


def test_a_traceback_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: Path) -> str:
        raise KeyError("planted")

    monkeypatch.setattr("accelsim.cli.check._describe", broken)
    (tmp_path / "a.json").write_text("{}")
    outcome = run(["check", "a.json"], tmp_path)
    assert (outcome.code, outcome.raised) == (None, "KeyError in cli/check.py:check_command: \"'planted'\"")
