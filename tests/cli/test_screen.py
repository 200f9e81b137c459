"""Tables."""

import pytest

from accelsim.cli.screen import console, table_of


def test_cells_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of("layer", "cycles")
    table.add_row("conv1[phase 0,1]", None)
    table.add_row("mm[dA]", "[b]7[/b]")
    console().print(table)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["layer               cycles", "conv1[phase 0,1]", "mm[dA]            [b]7[/b]"]
