"""Robustness check: commands on damaged files of every format, and a table of what went wrong.

``python tests/robustness/damage_report.py`` tries 5,000 damaged files and writes ``reports/robustness``: `now.csv`, a
row per format, and `table.md` beside what it was in `before.csv`. The same seed gives the same table. Exit code 1 where
anything was wrong. ``--count`` tries fewer or more, ``--seed`` others, ``--only`` one format, and writes nothing.
"""

import argparse
import csv
import io
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from attempts import FAULTS, Outcome, faults, run
from damaged_formats import Command, Format, formats, place
from damages import FREE, Damage

from accelsim.base.files import write_atomically

REPORT = Path(__file__).resolve().parents[2] / "reports" / "robustness"
COUNT, SEED = 5000, 1
COLUMNS = ("format", "damaged", "refused", "accepted", *FAULTS)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One command on one damaged file."""

    format: Format
    command: Command
    damage: Damage
    outcome: Outcome
    faults: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{', '.join(self.faults)}: {self.format.name}: {self.damage.what} ({self.damage.expects}):"
        said = self.outcome.raised or ascii(self.outcome.errors.strip() or self.outcome.out.strip())[:200]
        return f"{text} accelsim {self.command.line}: exit {self.outcome.code}: {said}"


def attempts(count: int, seed: int, only: str | None = None) -> Iterator[Attempt]:
    """Try `count` damaged files, of each format as many."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = [each for each in formats(folder) if only in {None, each.name}]
        good: dict[tuple[str, str], Outcome] = {}
        for number in range(count):
            each = found[number % len(found)]
            chance = random.Random(f"{seed} {each.name} {number // len(found)}")
            command = chance.choice(each.commands)
            key = each.name, command.line
            if key not in good:
                good[key] = _tried(folder, each, command, each.content)
                assert good[key].code in {0, 1}, (key, good[key])
            damage = chance.choice(each.syntax.rules)(each.content, chance)
            if command.keeps and damage.what in {"emptied", "byte order mark"}:
                damage = replace(damage, expects=FREE)  # a sweep begins with nothing, and goes on with its own bytes
            outcome = _tried(folder, each, command, damage.content)
            wrong = faults(damage, each.file, outcome, good[key])
            kept = tuple(fault for fault in wrong if not (fault == "left behind" and command.keeps))
            yield Attempt(each, command, damage, outcome, kept)


def _tried(folder: Path, format_: Format, command: Command, content: bytes) -> Outcome:
    place(folder, format_, content)
    return run(command.arguments(format_.file), folder)


def counted(tried: list[Attempt]) -> list[dict[str, str | int]]:
    """A row per format, and the sum."""
    rows = []
    for name in [*dict.fromkeys(attempt.format.name for attempt in tried), "all"]:
        mine = [attempt for attempt in tried if name in {attempt.format.name, "all"}]
        refused = sum(attempt.outcome.refused for attempt in mine)
        wrong = Counter(fault for attempt in mine for fault in attempt.faults)
        ended = sum(attempt.outcome.code is not None for attempt in mine)
        rows.append({"format": name, "damaged": len(mine), "refused": refused, "accepted": ended - refused,
                     **{fault: wrong[fault] for fault in FAULTS}})  # fmt: skip
    return rows


def write(rows: list[dict[str, str | int]], folder: Path, name: str) -> None:
    """Write the table as `name`.csv, and both tables that are there as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / f"{name}.csv", text.getvalue())
    lines = ["Made by `python tests/robustness/damage_report.py`.", ""]
    for title in ("before", "now"):
        path = folder / f"{title}.csv"
        if path.exists():
            head, *cells = csv.reader(path.read_text().splitlines())
            lines += [f"## {title.capitalize()}", "", _line(head), _line(["---"] * len(head)), *map(_line, cells), ""]
    lines += [
        "Damaged: a command on a damaged file. `silent wrong`: a file that has to be refused was not, or one that says the"
        " same as the undamaged one did not. `left behind`: a refused file left output. `terminal`: control characters"
        " reached the terminal. A format whose library is not installed is left out.",
        "",
    ]
    write_atomically(folder / "table.md", "\n".join(lines))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Try, say what went wrong, and write the table."""
    parser = argparse.ArgumentParser(description="Run commands on damaged files of every format.")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", help="one format; no table is written")
    parser.add_argument("-o", "--output", type=Path, default=REPORT)
    parser.add_argument("--as", dest="name", default="now", choices=("before", "now"))
    given = parser.parse_args()
    tried = []
    for attempt in attempts(given.count, given.seed, given.only):
        tried.append(attempt)
        if attempt.faults:
            sys.stdout.write(f"{attempt}\n")
            sys.stdout.flush()
    rows = counted(tried)
    if given.only is None:
        write(rows, given.output, given.name)
    sys.stdout.write(f"{rows[-1]}\n")
    return int(any(attempt.faults for attempt in tried))


if __name__ == "__main__":
    sys.exit(main())
