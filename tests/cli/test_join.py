"""accelsim sweep --part and accelsim results --join."""

from collections.abc import Callable
from pathlib import Path

TRACE = "resnet9_cifar10"


def test_parts_on_the_command_line(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    axes = [TRACE, "--batch", "32", "--vary", "array.rows=16,32,64", "--jobs", "1"]
    files = [str(tmp_path / f"{number}.csv") for number in (1, 2)]
    for number, file in enumerate(files, start=1):
        code, out, _ = run("sweep", *axes, "--part", f"{number}/2", "-o", file)
        assert code == 0
        assert out.endswith(f"{number} points\nwritten: {file}\n")
    whole, joined = tmp_path / "whole.csv", tmp_path / "joined.csv"
    assert run("sweep", *axes, "-o", str(whole))[0] == 0
    code, out, err = run("results", "--join", *files, "-o", str(joined))
    assert (code, out, err) == (0, f"3 points of 2 parts\nwritten: {joined}\n", "")
    assert joined.read_bytes() == whole.read_bytes()
    assert run("results", "--join", *files)[2] == "error: --join: -o FILE is needed, for the whole\n"
    assert run("results", *files)[2] == (
        f"error: {files[1]}: one file is shown at a time; --join makes one of the parts of a sweep\n"
    )
    message = "error: --join: takes parts and -o FILE alone; look at the whole afterwards\n"
    assert run("results", "--join", *files, "-o", str(joined), "--top", "1")[2] == message
    for part, name, message in (
        ("3/2", "r.csv", "--part 3/2: part I of N is needed as I/N, with I from 1 to N, as in 3/8"),
        ("1/2", "r.parquet", f"{tmp_path / 'r.parquet'}: a part is written as .csv, to be joined with the others"),
    ):
        code, _, err = run("sweep", *axes, "--part", part, "-o", str(tmp_path / name))
        assert (code, err) == (2, f"error: {message}\n")
        assert not (tmp_path / name).exists()
    before = Path(files[0]).read_bytes()
    code, _, err = run("results", "--join", *files, "-o", files[0])
    message = f"error: {files[0]}: is an input of this command and would be lost; give another output\n"
    assert (code, err, Path(files[0]).read_bytes()) == (2, message, before)
