"""The journal of a sweep: whole lines, one writer, and nothing of another sweep."""

import os
import re
from pathlib import Path

import pytest

from accelsim.base.errors import InputError
from accelsim.sweep.journal import Journal

HEADER = b"workload,array.rows,sweep,version\n"
ENDING = b",0123456789abcdef,0.1.0\n"
ROWS = [b"small," + str(size).encode() + ENDING for size in range(5)]


def open_journal(path: Path) -> Journal:
    return Journal(path, HEADER, ENDING)


def test_it_starts_with_the_header_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with open_journal(path) as journal:
        assert journal.lines == 0
        journal.append(ROWS[0] + ROWS[1], 2)
    with open_journal(path) as journal:
        assert journal.lines == 2
        journal.append(ROWS[2], 1)
        assert journal.lines == 3
    assert path.read_bytes() == HEADER + b"".join(ROWS[:3])


@pytest.mark.parametrize("length", range(len(HEADER + ROWS[0] + ROWS[1]) + 1))
def test_a_torn_end_is_cut_off(tmp_path: Path, length: int) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes((HEADER + ROWS[0] + ROWS[1])[:length])
    with open_journal(path) as journal:
        assert journal.lines == sum(length >= len(HEADER + b"".join(ROWS[: count + 1])) for count in range(2))
        journal.append(b"".join(ROWS[journal.lines :]), len(ROWS) - journal.lines)
    assert path.read_bytes() == HEADER + b"".join(ROWS)


def as_crlf(text: bytes) -> bytes:
    return text.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("cut", range(len(as_crlf(ROWS[1]))))
def test_a_file_whose_lines_end_in_cr_lf_goes_on_so(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(as_crlf(HEADER + ROWS[0]) + as_crlf(ROWS[1])[:cut])
    with open_journal(path) as journal:
        assert journal.lines == 1
        journal.append(ROWS[1] + ROWS[2], 2)
    assert path.read_bytes() == as_crlf(HEADER + b"".join(ROWS[:3]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "holds no results of a sweep; write to another file"),
        (b"some text", "holds no results of a sweep; write to another file"),
        (HEADER + b"small,1,fedcba9876543210,0.1.0\n", "line 2: is of the sweep fedcba9876543210, and this is 0123456789abcdef: what is varied or what it rests on differs; write to another file"),
        (HEADER + ROWS[0] + b"small,1,0123456789abcdef,0.0.9\n", "line 3: was made with accelsim 0.0.9, and this is 0.1.0; write to another file"),
        (HEADER + ROWS[0] + b"\n" + ROWS[1], "line 3: is no row of a sweep"),
        (as_crlf(HEADER) + b"small,1,fedcba9876543210,0.1.0\r\n", "line 2: is of the sweep fedcba9876543210, and this is 0123456789abcdef: what is varied or what it rests on differs; write to another file"),
        (b"workload,array.cols,sweep,version\n", "holds the results of another sweep: it lacks array.rows and has array.cols; write to another file"),
        (b"workload,sweep,version\n", "holds the results of another sweep: it lacks array.rows; write to another file"),
        (b"workload,sweep,array.rows,version\n", "holds the results of another sweep: it has its columns in another order; write to another file"),
        (b"workload,sweep,version\nsmall,0123456789abcdef,0.0.9\n", "was made with accelsim 0.0.9, and this is 0.1.0; write to another file"),
    ],
)  # fmt: skip
def test_a_file_of_anything_else_is_refused_and_left_alone(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"^{re.escape(f'{path}: {message}')}$"):
        open_journal(path)
    assert path.read_bytes() == content


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    message = f"{path}: another sweep is writing it; wait for its end, or write elsewhere"
    with open_journal(path) as journal:
        journal.append(ROWS[0], 1)
        with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
            open_journal(path)
        journal.append(ROWS[1], 1)
    with open_journal(path) as journal:
        assert journal.lines == 2


def full_after(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for `limit` bytes more, which takes what fits of a write."""
    left, write = [limit], os.write

    def write_what_fits(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        taken = min(left[0], len(data))
        left[0] -= taken
        return write(file, data[:taken])

    monkeypatch.setattr("accelsim.sweep.journal.os.write", write_what_fits)


def test_a_full_disk_leaves_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.csv"
    with open_journal(path) as journal:
        journal.append(ROWS[0], 1)
        message = (
            f"{path}: cannot be written: No space left on device; it holds 1 points, all complete: run the same sweep"
            " again to go on"
        )
        with monkeypatch.context() as patch:
            full_after(len(ROWS[1]) + 3, patch)
            with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
                journal.append(ROWS[1] + ROWS[2], 2)
    assert path.read_bytes() == HEADER + ROWS[0]
    with open_journal(path) as journal:
        journal.append(ROWS[1] + ROWS[2], 2)
    assert path.read_bytes() == HEADER + b"".join(ROWS[:3])


def test_an_interrupt_while_rows_are_synced_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_file: int) -> None:
        raise KeyboardInterrupt

    with open_journal(tmp_path / "r.csv") as journal:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "fsync", interrupted)
            journal.append(ROWS[0] + ROWS[1], 2)
        assert journal.lines == 2
        journal.append(ROWS[2], 1)
    assert (tmp_path / "r.csv").read_bytes() == HEADER + b"".join(ROWS[:3])


def test_a_disk_that_was_full_before_gets_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_after(3, monkeypatch)
    with pytest.raises(InputError, match="No space left on device; it holds 0 points"):
        open_journal(tmp_path / "r.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "r.csv"
    with pytest.raises(InputError, match=rf"^{re.escape(f'{path}: cannot be written: No such file or directory')}$"):
        open_journal(path)
