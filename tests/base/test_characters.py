"""Control characters, formulas of spreadsheets, and what YAML has beyond plain data."""

import csv
import io
from pathlib import Path

import pytest

from accelsim.base.cells import read_cell, safe_cell
from accelsim.base.characters import refuse_control
from accelsim.base.errors import InputError
from accelsim.base.files import parse_json, read_text
from accelsim.cli import main
from accelsim.hardware.sourced import parse_yaml, read_scalar

NAME = "which no name can have"


def message_of(action, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        action(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r'{"a": "\u001b[2J"}', rf"f: holds the control character '\u001b', {NAME}"),
        (r'{"a": "\ud800"}', rf"f: holds the control character '\ud800', {NAME}"),
        (r'{"a": "\u202e"}', rf"f: holds the control character '\u202e', {NAME}"),
        ('{"a": 1,\n "b": "\\r"}', rf"f: line 2: holds the control character '\r', {NAME}"),
        (r'{"a\nb": 1}', r"f: key 'a\nb' goes over several lines"),
        ("9" * 5000, "f: holds a whole number of more than 4,300 digits"),
        ("[" * 100_000, "f: not valid JSON: nested too deeply"),
    ],
)
def test_json_that_is_refused(text: str, message: str) -> None:
    assert message_of(parse_json, text, "f") == message


@pytest.mark.parametrize("text", [r'"\\u001b"', r'"\ud83d\ude00"', r'"a\n\tb"', '"名前"', r'"\\\\ud800"'])
def test_json_that_only_looks_so(text: str) -> None:
    parse_json(text, "f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a: 1\nb: "\\e[2J"', rf"f:2: holds the control character '\x1b', {NAME}"),
        ('a: "b\\r"', rf"f:1: holds the control character '\r', {NAME}"),
        ("a: &x 1\nb: *x", "f:1: is used again by an alias (*), which is not read; write it out"),
        ("a: &x [*x]", "f:1: is used again by an alias (*), which is not read; write it out"),
        ("a: !!binary aGk=", "f:1: tag !!binary is not read; leave it out"),
        ("a: !!set {a, b}", "f:1: tag !!set is not read; leave it out"),
        ("a: !!int x", "f:1: 'x' is no int"),
        ("a: !!float ''", "f:1: '' is no float"),
        ("a: {[1, 2]: 3}", "f:1: a key is needed that is a single value"),
        ("a: " + "9" * 5000, "f:1: holds a whole number of more than 4,300 digits"),
        ('"a\\nb": 1', r"f:1: key 'a\nb' goes over several lines"),
    ],
)
def test_yaml_that_is_refused(text: str, message: str) -> None:
    assert message_of(parse_yaml, text, "f") == message


def test_aliases_of_aliases_take_no_memory() -> None:
    """Each level names the one above nine times: written out there would be 9^30 values."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 31))]
    assert message_of(parse_yaml, "\n".join(lines), "f") == (
        "f:1: is used again by an alias (*), which is not read; write it out"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [("2024-01-01", "2024-01-01"), ("010", "010"), ("1_6", "1_6"), ("12:30", "12:30"), ("1e6", 1e6), ("<<", "<<"),
     ("9" * 5000, "9" * 5000), ("&a [*a]", "&a [*a]"), ("[1, 2]", [1, 2]), ("null", None)],
)  # fmt: skip
def test_settings_are_read_as_plain_data(text: str, value: object) -> None:
    assert read_scalar(text) == value


def test_a_file_with_a_control_character_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\r\n1,\x1b[2J\r\n")
    assert message_of(read_text, path) == rf"{path}: line 2: holds the control character '\x1b', {NAME}"


def test_of_a_single_line_no_line_is_named() -> None:
    assert message_of(refuse_control, "a\x7f", "f") == rf"f: holds the control character '\x7f', {NAME}"


def test_arguments_with_control_characters_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "a\x1b[2J.json"]) == 2
    wanted = "error: 'a\\x1b[2J.json': holds the control character '\\x1b', which no argument can have\n"
    assert capsys.readouterr().err == wanted


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "-1.5", "+3", "conv", "", "'=x", "'", "=a,b", '=a"b'])
def test_what_is_written_is_read(text: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([safe_cell(text)])
    (cell,) = next(csv.reader(io.StringIO(file.getvalue())))
    assert read_cell(cell) == text or text == "'=x"  # which stands for a text that begins with =
    assert not cell.startswith(("=", "@", "+x", "-x"))
