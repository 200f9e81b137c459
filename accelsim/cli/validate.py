"""``accelsim validate``: the model against independent numbers, and the claims of the paper."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accelsim.base.errors import InputError, did_you_mean
from accelsim.cli.options import check_folder
from accelsim.cli.progress import progress_bar

if TYPE_CHECKING:
    from accelsim.studies.validation import CheckResult

__all__ = ["validate_command"]

_LONG_RUN_S = 60.0


@click.command("validate")
@click.argument("check", required=False)
@click.argument("file", required=False, metavar="[FILE.csv]")
@click.option("--paper", is_flag=True, help="Instead of checks, show what the paper claims beside what the model says.")
@click.option(
    "--platforms", is_flag=True, help="Instead of checks, hold platform estimates against held-out measurements."
)
@click.option("-o", "--output", metavar="DIR", help="Write the report there: tables, and figures where there are any.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object for one check or --paper, else a list.")
def validate_command(
    check: str | None, file: str | None, paper: bool, platforms: bool, output: str | None, as_json: bool
) -> int:
    """Check the model against independent numbers: all checks, one CHECK, or one CHECK on rows of your own.

    With rows of your own CHECK is tiles, register-tiles, scalesim, scalesim-sparse, tensor-core or stonne; array,
    buffers, sore and overlap make their own cases. The exit code is 1 if a compared number differs. Estimates of
    platforms are never exact: their checks, throughput and sparse-gemm, run with --platforms or by name and print
    relative errors. Nothing can fail with --paper: it is a report.
    """
    from accelsim.platforms.accuracy import PLATFORM_CHECKS
    from accelsim.studies.validation import NAMES

    if check is not None and (paper or platforms):
        raise InputError(f"--{'paper' if paper else 'platforms'}: runs no single check, got '{check}'")
    if paper and platforms:
        raise InputError("--paper and --platforms: give one of them")
    if paper:
        from accelsim.cli.claims import report_claims

        report_claims(output, as_json=as_json)
        return 0
    if platforms or check in PLATFORM_CHECKS:
        from accelsim.cli.accuracy import report_accuracy

        chosen = [check] if check else list(PLATFORM_CHECKS)
        return report_accuracy(chosen, file, output, as_json=as_json, one=check is not None)
    known = (*NAMES, *PLATFORM_CHECKS)
    if check is not None and check not in known:
        raise InputError(f"check '{check}': not known{did_you_mean(check, known)}; allowed: {', '.join(known)}")
    names, folder = [check] if check else NAMES, check_folder(output)
    path = Path(file) if file else None
    results = _run_checks(names, path)
    if as_json:
        entries = [result.to_dict() for result in results]
        click.echo(json.dumps(entries[0] if check else entries))
    else:
        _show(results)
    if folder is not None:
        from accelsim.studies.reports.validation import write_validation

        write_validation(folder, results)
    return 0 if all(result.passed for result in results) else 1


def _show(results: "Sequence[CheckResult]") -> None:
    from accelsim.cli.screen import console, table_of, words
    from accelsim.studies.validation import describe

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
    for check, (reason, count) in [(result.check, reason) for result in results for reason in result.unsupported]:
        click.echo(f"  {check}: {count} rows unsupported: {reason}")
    comparisons = [each for result in results for each in result.comparisons]
    if comparisons:
        table = table_of(
            words("workload"), words("method"), "GB/s", "closed form", "event engine", "error", "above bound"
        )
        for each in comparisons:
            table.add_row(
                each.workload,
                each.method,
                f"{each.bandwidth_gb_per_s:g}",
                f"{each.closed_cycles:,}",
                f"{each.event_cycles:,}",
                f"{each.relative_error:+.2%}",
                f"{each.gap:.2%}",
            )
        console().print("\nclosed form against event engine with overlap, in cycles of a step (BDWP at 2:8)")
        console().print(table)


def _run_checks(names: Sequence[str], path: Path | None) -> "list[CheckResult]":
    """Run checks one after another; where registers are stepped for over a minute, says so first."""
    from accelsim.studies.validation import register_effort, run_check

    seconds, rows = register_effort(path) if "register-tiles" in names else (0.0, 0)
    if seconds >= _LONG_RUN_S:
        click.echo(f"note: stepping the registers of these tiles takes about {seconds / 60:.1f} minutes", err=True)
    results: list[CheckResult] = []
    with progress_bar("validate", "checks") as show:
        for done, name in enumerate(names):
            show(done, len(names), name)
            tiles = 0

            def advance(_: int, done: int = done) -> None:
                nonlocal tiles
                tiles += 1
                show(done, len(names), f"register-tiles, {tiles:,} of {rows:,} tiles")

            results.append(run_check(name, path, advance if name == "register-tiles" else None))
            show(done + 1, len(names))
    return results
