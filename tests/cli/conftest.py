"""Running the command line in process."""

from collections.abc import Callable

import pytest

from accelsim.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line and return its exit code, output and errors, without the note that kernels are compiled."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        captured = capsys.readouterr()
        errors = "".join(line for line in captured.err.splitlines(keepends=True) if not line.startswith("compiling"))
        return code, captured.out, errors

    return call
