"""Reading JSON strictly and fast: the text itself is validated, with the same outcome as the data parsed from it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accelsim as acs
from accelsim.base.files import parse_json, replacing_folder, validate, write_atomically
from accelsim.results.result_file import write_results
from accelsim.workload.trace import Trace


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {"b": 1, "c": 2, "c": 3, "b": 4}}', "f: key 'c' stands twice in one object"),
        ('[{"a": 1}, {"a": 1, "a": 1}]', "f: key 'a' stands twice in one object"),
        ('{"a": -Infinity}', "f: -Infinity is not a number that can be used"),
        ("[" * 10**5, "f: not valid JSON: nested too deeply"),
    ],
)
def test_what_json_allows_and_a_file_may_not_hold(text: str, message: str) -> None:
    with pytest.raises(acs.InputError) as caught:
        parse_json(text, "f")
    assert str(caught.value) == message


@pytest.mark.parametrize("parameters", ["1226", "1e400", "1" + "0" * 400, "1226.0", "-0", "true", '"\\u0031"', "null"])
@pytest.mark.parametrize("model", ['"tiny"', '""', '"a\\u0000"', "7"])
def test_validating_the_text_is_validating_its_data(documented: dict[str, Any], parameters: str, model: str) -> None:
    text = json.dumps({**documented, "parameters": "PARAMETERS", "model": "MODEL"})
    text = text.replace('"PARAMETERS"', parameters).replace('"MODEL"', model)
    outcomes = []
    for given in (None, text):
        try:
            outcomes.append(validate(Trace, parse_json(text, "f"), "f", text=given).model_dump())
        except acs.InputError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("load", "needed"), [(acs.load_trace, "accelsim-trace/1"), (acs.load_design, "accelsim-design/1")]
)
def test_a_file_of_another_kind_is_one_error(load: Callable[[str], object], needed: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_results(path, [acs.simulate(acs.load_trace("resnet9_cifar10"), acs.load_design("sat_vcu1525"), batch=8)])
    with pytest.raises(acs.InputError) as caught:
        load(str(path))
    assert str(caught.value) == f"{path}: is a file of another kind: format accelsim-result/2; {needed} is needed"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_new_files_and_folders_have_the_permissions_of_the_process_which_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda _: pytest.fail("the mask of all threads was changed"))
            write_atomically(tmp_path / "a.txt", "a")
            with replacing_folder(tmp_path / "folder") as folder:
                (folder / "b.txt").write_text("b")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "folder"]
