"""``accelsim validate``: the model against independent numbers."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accelsim.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from accelsim.validation import CheckResult

__all__ = ["validate_command"]

_LONG_RUN_S = 60.0


@click.command("validate")
@click.argument("check", required=False)
@click.argument("file", required=False, metavar="[FILE.csv]")
@click.option("-o", "--output", metavar="DIR", help="Write the table there as validation.csv and validation.md.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object for one check, else a list.")
def validate_command(check: str | None, file: str | None, output: str | None, as_json: bool) -> int:
    """Check the model against independent numbers: all checks, one CHECK, or one CHECK on rows of your own.

    With rows of your own CHECK is tiles, register-tiles, scalesim, scalesim-sparse, tensor-core or stonne; array,
    buffers and sore make their own cases. The exit code is 1 if a compared number differs.
    """
    from accelsim.validation import CHECKS, RANDOM_CHECKS, describe, run_check

    known = [*CHECKS, *RANDOM_CHECKS]

    if check is not None and check not in known:
        raise InputError(f"check '{check}': not known{did_you_mean(check, known)}; allowed: {', '.join(known)}")
    names = [check] if check else known
    path = Path(file) if file else None
    results = [_announced(path) if name == "register-tiles" else run_check(name, path) for name in names]
    if as_json:
        entries = [result.to_dict() for result in results]
        click.echo(json.dumps(entries[0] if check else entries))
    else:
        from accelsim.cli.screen import console, table_of

        table = table_of("check", "cases", "exact", "worst error", "unsupported", "source")
        for result in results:
            left_out = sum(count for _, count in result.unsupported)
            title, source = describe(result.check)
            table.add_row(
                title,
                f"{result.cases:,}",
                f"{result.exact:,}",
                f"{result.worst_relative_error:.2%}",
                str(left_out),
                source,
            )
        console().print(table)
        reasons = [(result, reason) for result in results for reason in result.unsupported]
        for result, (reason, count) in reasons:
            click.echo(f"  {result.check}: {count} rows unsupported: {reason}")
    if output is not None:
        _write(Path(output), results)
    return 0 if all(result.passed for result in results) else 1


def _announced(path: Path | None) -> "CheckResult":
    """Step registers; a run of over a minute says so first and shows its progress."""
    from accelsim.validation import register_effort, run_check

    seconds, rows = register_effort(path)
    if seconds < _LONG_RUN_S:
        return run_check("register-tiles", path)
    click.echo(f"note: stepping the registers of these tiles takes about {seconds / 60:.1f} minutes", err=True)
    with click.progressbar(length=rows, label="tiles", file=sys.stderr) as bar:
        return run_check("register-tiles", path, bar.update)


def _write(folder: Path, results: "Sequence[CheckResult]") -> None:
    from accelsim.files import write_atomically
    from accelsim.validation import describe

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"-o {folder}: {error.strerror}") from None
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
    text = "\n".join(["Made by `accelsim validate -o reports/validation`.", "", *table, "", *notes])
    write_atomically(folder / "validation.md", text.rstrip() + "\n")
