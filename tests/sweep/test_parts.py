"""Parts of a sweep, joined: the bytes of the whole, and nothing else."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from accelsim.base.code import code_version
from accelsim.base.errors import InputError
from accelsim.sweep.parts import SweepPart, join_parts
from accelsim.sweep.run import run_sweep
from accelsim.sweep.space import Sweep
from accelsim.sweep.spec import make_sweep

TRACE = "resnet9_cifar10"


def sweep_of(**vary: str) -> Sweep:
    """Points of which some are infeasible and some in error."""
    return make_sweep(
        [TRACE], vary={"batch": 32, "method": "dense,bdwp", "schedule.dataflow": "auto,is", "buffers.x_bytes": "1,65536", **vary}
    )  # fmt: skip


SWEEP = sweep_of()


@pytest.fixture
def parts(tmp_path: Path) -> Callable[[int], list[Path]]:
    """Write all parts."""

    def make(count: int, sweep: Sweep = SWEEP, folder: str = "") -> list[Path]:
        (tmp_path / folder).mkdir(exist_ok=True)
        paths = [tmp_path / folder / f"part{number}.csv" for number in range(1, count + 1)]
        for number, path in enumerate(paths, start=1):
            run_sweep(sweep, path, part=SweepPart(number=number, count=count))
        return paths

    return make


@pytest.mark.parametrize("count", [1, 3, 8])
def test_joined_parts_are_the_whole_sweep(parts: Callable[..., list[Path]], tmp_path: Path, count: int) -> None:
    run_sweep(SWEEP, tmp_path / "whole.csv")
    assert b",infeasible," in (tmp_path / "whole.csv").read_bytes()
    assert b",error," in (tmp_path / "whole.csv").read_bytes()
    found = parts(count)
    assert join_parts(found[::-1], tmp_path / "joined.csv") == 8
    assert (tmp_path / "joined.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "joined.basis.json").read_bytes() == (tmp_path / "whole.basis.json").read_bytes()


def test_parts_carry_the_code_and_are_resumed(parts: Callable[..., list[Path]]) -> None:
    path = parts(3)[1]
    content = path.read_bytes()
    assert content.endswith(f",{SWEEP.identity} part 2/3 of 8,{code_version()}\n".encode())
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match=r": nothing says which code made its 2 rows "):
        run_sweep(SWEEP, path, part=SweepPart(number=2, count=3))
    path.unlink()
    run_sweep(SWEEP, path, part=SweepPart(number=2, count=3))
    assert path.read_bytes() == content
    message = (
        f"{path}: line 2: is of the sweep {SWEEP.identity} part 2/3 of 8, and this is {SWEEP.identity} part 3/3 of 8:"
        " what is varied or what it rests on differs; write to another file"
    )
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        run_sweep(SWEEP, path, part=SweepPart(number=3, count=3))


@pytest.mark.parametrize("total", [8, 9, 100, 101])
@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_spans_cover_every_point_once(total: int, count: int) -> None:
    spans = [SweepPart(number=number, count=count).span(total) for number in range(1, count + 1)]
    assert [place for span in spans for place in span] == list(range(total))
    assert max(map(len, spans)) - min(map(len, spans)) <= 1


def refused(paths: list[Path], tmp_path: Path, message: str) -> None:
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        join_parts(paths, tmp_path / "joined.csv")
    assert not (tmp_path / "joined.csv").exists()


def test_missing_and_doubled_and_incomplete_parts(parts: Callable[..., list[Path]], tmp_path: Path) -> None:
    one, two, three, four = parts(4)
    refused([one, four], tmp_path, f"{tmp_path / 'joined.csv'}: part 2/4, 3/4 of {SWEEP.identity} is missing")
    copy = tmp_path / "copy.csv"
    copy.write_bytes(two.read_bytes())
    refused([one, two, copy, three, four], tmp_path, f"{copy}: is part 2/4, and so is {two}")
    content = three.read_bytes()
    three.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1])
    refused([one, two, three, four], tmp_path, f"{three}: part 3/4 has 1 of its 2 points; run it again to complete it")
    three.write_bytes(content[:-5])
    refused([one, two, three, four], tmp_path, f"{three}: line 3: is no whole row of part 3/4")
    three.write_bytes(content + two.read_bytes().splitlines(keepends=True)[1])
    refused([one, two, three, four], tmp_path, f"{three}: line 4: is no whole row of part 3/4")


def test_foreign_parts(parts: Callable[..., list[Path]], tmp_path: Path) -> None:
    one, two = parts(2)
    other = sweep_of(batch="64")
    foreign = parts(2, other, "other")[1]
    refused(
        [one, foreign],
        tmp_path,
        f"{foreign}: is of the sweep {other.identity}, and {one} {SWEEP.identity}; they are no parts of one whole",
    )
    thirds = parts(3, SWEEP, "thirds")
    refused(
        [one, thirds[2]],
        tmp_path,
        f"{thirds[2]}: is one of so many parts: 3, and {one} 2; they are no parts of one whole",
    )
    two.write_bytes(two.read_bytes().replace(code_version().encode(), b"0.1.0+0123456789ab"))
    refused(
        [one, two],
        tmp_path,
        f"{two}: is made with accelsim 0.1.0+0123456789ab, and {one} {code_version()}; they are no parts of one whole",
    )
    two.write_bytes(two.read_bytes().replace(b"0.1.0+", b"0.0.9+"))
    refused([two, one], tmp_path, f"{two}: was made with accelsim 0.0.9+0123456789ab, and this is 0.1.0")
    run_sweep(SWEEP, tmp_path / "whole.csv")
    no_part = f"{tmp_path / 'whole.csv'}: is no part of a sweep; accelsim sweep --part I/N writes parts"
    refused([tmp_path / "whole.csv"], tmp_path, no_part)
    refused([tmp_path / "none.csv"], tmp_path, f"{tmp_path / 'none.csv'}: cannot be read: No such file or directory")


@pytest.mark.parametrize("text", ["3/2", "0/2", "1", "1/0", "a/b", "1/2/3", "-1/2", "01/2", "1 / 2", ""])
def test_what_is_no_part(text: str) -> None:
    message = f"--part {text}: part I of N is needed as I/N, with I from 1 to N, as in 3/8"
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        SweepPart.parse(text)


def test_more_parts_than_points(tmp_path: Path) -> None:
    message = "--part 9/9: the sweep has 8 points; it can have as many parts at most"
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        run_sweep(SWEEP, tmp_path / "r.csv", part=SweepPart(number=9, count=9))
    assert list(tmp_path.iterdir()) == []
