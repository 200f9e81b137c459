"""The report of the checks against independent numbers, as text and CSV."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from accelsim.base.files import write_atomically
from accelsim.studies.overlap import comparison_lines
from accelsim.studies.validation import CheckResult, describe

__all__ = ["write_validation"]


def write_validation(folder: Path, results: Sequence[CheckResult]) -> None:
    """Write ``validation.md``, ``validation.csv`` and, for the check of overlap, ``overlap.csv`` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        (
            result.check,
            result.cases,
            result.exact,
            f"{result.worst_relative_error:.6g}",
            f"{result.median_relative_error:.6g}",
            sum(count for _, count in result.unsupported),
            describe(result.check)[1],
        )
        for result in results
    ]
    head = ("check", "cases", "exact", "worst_relative_error", "median_relative_error", "unsupported", "source")
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows((head, *rows))
    write_atomically(folder / "validation.csv", lines.getvalue())
    table = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (head, ("---",) * len(head), *rows)]
    notes = [
        f"- {result.check}: {count} rows unsupported: {reason}"
        for result in results
        for reason, count in result.unsupported
    ]
    comparisons = [each for result in results for each in result.comparisons]
    text = ["Made by `accelsim validate -o reports/validation`.", "", *table, *(["", *notes] if notes else [])]
    if comparisons:
        text += ["", *comparison_lines(comparisons)]
        lines = io.StringIO()
        writer = csv.DictWriter(lines, fieldnames=list(comparisons[0].to_dict()), lineterminator="\n")
        writer.writeheader()
        writer.writerows(each.to_dict() for each in comparisons)
        write_atomically(folder / "overlap.csv", lines.getvalue())
    write_atomically(folder / "validation.md", "\n".join(text).rstrip() + "\n")
