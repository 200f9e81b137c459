"""The page of limits says what the code has."""

import importlib
import re
from pathlib import Path

import accelsim

PAGE = Path(accelsim.__file__).with_name("LIMITS.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| ([\d,e]+) \| `([\w.]+):(\w+)` \| (.+?) \|$", PAGE, re.MULTILINE)


def test_every_number_is_that_of_the_code() -> None:
    assert len(ROWS) == PAGE.count("\n| ") - 1
    for what, written, module, name, _ in ROWS:
        assert float(written.replace(",", "")) == getattr(importlib.import_module(module), name), what


def test_every_message_is_in_the_code() -> None:
    """Word for word but for numbers; what the library of forms says is its own."""
    source = " ".join(
        re.sub(r'"\s*\n\s*(?:r|f)?"', "", path.read_text(encoding="utf-8"))
        for path in Path(accelsim.__file__).parent.rglob("*.py")
    )
    plain = re.sub(r"\{[^{}]*\}", "#", source)
    for what, _, _, _, message in ROWS:
        if message.startswith(("should be", "nothing:")):
            continue
        for part in re.split(r"\.\.\.|\d[\d,]*", message):
            assert part.strip() in plain, (what, part)
