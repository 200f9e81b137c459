"""Masks beside a trace: bit-packed round trips, bytes that repeat, what numpy alone reads, and every kind of damage."""

import contextlib
import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import accelsim as acs
from accelsim.base.files import validate
from accelsim.cli import main
from accelsim.workload.masks_file import check_masks, load_masks, save_masks
from accelsim.workload.trace import Trace

FIVE = np.array([[1, 0, 1, 0, 0], [0, 0, 0, 1, 1]], bool)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(acs.InputError) as caught:
        call()
    return str(caught.value)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: not name.endswith("/shape") and "\0" not in name and name.isprintable()),
    hnp.arrays(bool, hnp.array_shapes(max_dims=4, max_side=7)), max_size=3,
))  # fmt: skip
def test_masks_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, masks: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("masks") / "m.npz"
    save_masks(path, masks)
    loaded = load_masks(path)
    assert list(loaded) == sorted(masks)
    for name, mask in masks.items():
        assert loaded[name].dtype == np.bool_
        np.testing.assert_array_equal(loaded[name], mask)


def test_the_same_masks_give_the_same_bytes_in_any_order_and_memory_layout(tmp_path: Path) -> None:
    masks = {name: np.random.default_rng(3).random((40, 9)) < 0.3 for name in ("b", "a")}
    save_masks(tmp_path / "1.npz", masks)
    save_masks(tmp_path / "2.npz", {name: np.asfortranarray(masks[name]) for name in ("a", "b")})
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.npz", "2.npz"]


def test_numpy_alone_reads_them_as_documented(tmp_path: Path) -> None:
    save_masks(tmp_path / "masks.npz", {"layer.weight": FIVE})
    with np.load(tmp_path / "masks.npz") as data:
        np.testing.assert_array_equal(data["layer.weight"], [0b10100000, 0b11000000])
        shape = data["layer.weight/shape"]
        mask = np.unpackbits(data["layer.weight"], count=shape.prod()).reshape(shape).astype(bool)
    np.testing.assert_array_equal(mask, FIVE)


def test_what_numpy_wrote_is_read_too(tmp_path: Path) -> None:
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "m.npz", **{"w": np.packbits(FIVE), "w/shape": np.array(FIVE.shape, np.uint16)})
        np.testing.assert_array_equal(load_masks(tmp_path / "m.npz")["w"], FIVE)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    save_masks(path, {"w": FIVE})
    before = path.read_bytes()
    assert refused(lambda: save_masks(path, {"w": FIVE, "x": FIVE.astype(int)})) == (
        "mask 'x': int64 of shape (2, 5); booleans, at least one of them along at least one axis, are needed"
    )
    assert refused(lambda: save_masks(path, {"w": np.array(True)})).startswith("mask 'w': bool of shape (); booleans")
    assert refused(lambda: save_masks(path, {"w": FIVE[:0]})).startswith("mask 'w': bool of shape (0, 5); booleans")
    for name in ("", "a/shape"):
        assert refused(lambda name=name: save_masks(path, {name: FIVE})) == (
            f"mask '{name}': a name is needed that does not end in /shape"
        )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert refused(lambda: save_masks("m.npy", {"w": FIVE})) == "m.npy: masks are written as .npz, got '.npy'"
    assert re.fullmatch(
        r".*/none/m\.npz: cannot be written: No such file or directory",
        refused(lambda: save_masks(tmp_path / "none" / "m.npz", {})),
    )


PACKED = {"w": np.packbits(FIVE), "w/shape": np.array([2, 5])}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"w": PACKED["w"]}, "entry 'w': its shape, entry 'w/shape', is missing"),
        ({"w/shape": PACKED["w/shape"]}, "entry 'w/shape': the shape of a mask that is not there"),
        ({**PACKED, "w/shape": np.array([3, 6])}, "entry 'w': 2 bytes of bits; shape (3, 6) needs 3"),
        ({**PACKED, "w/shape": np.array([8])}, "entry 'w': 2 bytes of bits; shape (8,) needs 1"),
        ({**PACKED, "w/shape": np.array([2**30] * 3)},
         "entry 'w': 2 bytes of bits; shape (1073741824, 1073741824, 1073741824) needs 154742504910672534362390528"),
        ({**PACKED, "w": FIVE}, "entry 'w': bool of shape (2, 5); bits packed into one row of uint8 are needed"),
        ({**PACKED, "w": np.array([160, 192])}, "entry 'w': int64 [160, 192]; bits packed into one row of uint8 are needed"),
        ({**PACKED, "w/shape": np.array([2.0, 5.0])}, "entry 'w/shape': float64 [2.0, 5.0]; whole numbers from 1 are needed"),
        ({**PACKED, "w/shape": np.array([-2, -5])}, "entry 'w/shape': int64 [-2, -5]; whole numbers from 1 are needed"),
        ({**PACKED, "w/shape": np.array(10)}, "entry 'w/shape': int64 of shape (); whole numbers from 1 are needed"),
        ({**PACKED, "w/shape": np.array([], int)}, "entry 'w/shape': int64 []; whole numbers from 1 are needed"),
        ({**PACKED, "w": np.array([print])}, "entry 'w': holds pickled objects, which are never loaded"),
    ],
)  # fmt: skip
def test_entries_that_are_no_masks_are_refused(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, **entries)
    assert refused(lambda: load_masks(path)) == f"{path}: {message}"


def test_files_that_are_no_npz_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    assert refused(lambda: load_masks(path)) == f"{path}: no such file"
    assert refused(lambda: load_masks(tmp_path)) == f"{tmp_path}: cannot be read: Is a directory"
    array = io.BytesIO()
    np.save(array, FIVE)
    for content in (b"", b"hello", array.getvalue(), pickle.dumps(FIVE)):
        path.write_bytes(content)
        assert refused(lambda: load_masks(path)) == f"{path}: not an .npz file"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert refused(lambda: load_masks(path)) == f"{path}: entry 'notes.txt': not a numpy array"
    with zipfile.ZipFile(path, "w") as archive:
        for member in ("w.npy", "w/shape.npy"):
            archive.writestr(member, b"hello")
    assert refused(lambda: load_masks(path)) == f"{path}: entry 'w': not a numpy array"
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("w.npy", b"hello")
    assert refused(lambda: load_masks(path)) == f"{path}: entry 'w' stands twice"


def test_a_file_cut_anywhere_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    save_masks(path, {"w": np.random.default_rng(4).random((30, 30)) < 0.5})
    content = path.read_bytes()
    for length in range(4, len(content)):
        path.write_bytes(content[:length])
        assert refused(lambda: load_masks(path)) == f"{path}: truncated or damaged .npz file"


def test_a_changed_byte_is_never_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    save_masks(path, {"w": FIVE})
    content = bytearray(path.read_bytes())
    for position, value in enumerate(bytes(content)):
        content[position] = value ^ 0xFF
        path.write_bytes(content)
        content[position] = value
        with contextlib.suppress(acs.InputError):
            load_masks(path)


def one_of_four(*shape: int, axis: int) -> np.ndarray:
    """1:4 along `axis`: the first of every four."""
    index = np.arange(shape[axis]) % 4 == 0
    return np.broadcast_to(index.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape).copy()


def weighted(name: str, axis: str, stage: str = "FF", **more: Any) -> dict[str, Any]:
    seen = {"density": 0.25, "pattern": "1:4", "axis": axis, "mask": f"masks.npz#{name}.weight"}
    return {"name": name, "weight": {"name": f"{name}.weight"}, "observed": {stage: {"weight": seen}}, **more}


CONV = {"in_channels": 16, "out_channels": 24, "in_size": [8, 8], "kernel": [3, 2], "groups": 2}
OPERATIONS = {
    "fc": weighted("fc", "input", kind="linear", in_features=8, out_features=12),
    "fc_out": weighted("fc_out", "output", "BP", kind="linear", in_features=8, out_features=12),
    "conv": weighted("conv", "input", kind="conv2d", **CONV),
    "conv_out": weighted("conv_out", "output", "BP", kind="conv2d", **CONV),
    "up": weighted("up", "input", kind="conv_transpose2d", **CONV),
    "up_out": weighted("up_out", "output", "BP", kind="conv_transpose2d", **CONV),
}
MASKS = {
    "fc.weight": one_of_four(12, 8, axis=1),
    "fc_out.weight": one_of_four(12, 8, axis=0),
    "conv.weight": one_of_four(24, 8, 3, 2, axis=1),
    "conv_out.weight": one_of_four(24, 8, 3, 2, axis=0),
    "up.weight": one_of_four(16, 12, 3, 2, axis=0),
    "up_out.weight": one_of_four(16, 12, 3, 2, axis=1),
}


@pytest.fixture
def checked(documented: dict[str, Any], tmp_path: Path) -> Callable[..., str | None]:
    """Check a trace of the named operations, each perhaps changed, against the masks above, perhaps changed."""

    def check(*names: str, masks: dict[str, Any] | None = None, steps: int = 1, **changes: Any) -> str | None:
        operations = [{**OPERATIONS[name], **changes} for name in names]
        origin = {**documented["origin"], "steps": steps}
        trace = validate(Trace, {**documented, "parameters": 10**6, "origin": origin, "operations": operations}, "t")
        save_masks(tmp_path / "masks.npz", {**MASKS, **(masks or {})})
        return check_masks(trace, tmp_path / "t.json")

    return check


@pytest.mark.parametrize("name", OPERATIONS)
def test_masks_that_agree(checked: Callable[..., str | None], name: str) -> None:
    assert checked(name) == "1 mask in masks.npz"


def test_the_axis_decides(checked: Callable[..., str | None], tmp_path: Path) -> None:
    """Masks along the other axis have the same density and shape, and are refused."""
    for name in OPERATIONS:
        other = MASKS[f"{name.removesuffix('_out')}.weight" if name.endswith("_out") else f"{name}_out.weight"]
        axis, stage = ("output", "BP") if name.endswith("_out") else ("input", "FF")
        assert refused(lambda name=name, other=other: checked(name, masks={f"{name}.weight": other})) == (
            f"{tmp_path}/masks.npz: entry '{name}.weight', weight of operation '{name}' in {stage}: 75% of the groups along"
            f" {axis} obey 1:4; the trace says all"
        )


def test_groups_do_not_cross_the_groups_of_a_convolution(checked: Callable[..., str | None]) -> None:
    """Six outputs a group: 1:4 within each, though not along the whole axis (the fifth to the eighth hold two)."""
    mask = np.tile(one_of_four(6, 8, 3, 2, axis=0), (2, 1, 1, 1))
    seen = {"density": 1 / 3, "pattern": "1:4", "axis": "output", "mask": "masks.npz#m"}
    assert (
        checked("conv", masks={"m": mask}, out_channels=12, observed={"BP": {"weight": seen}}) == "1 mask in masks.npz"
    )


def test_density_is_compared_where_it_is_no_mean_of_steps(checked: Callable[..., str | None], tmp_path: Path) -> None:
    seen = {"density": 0.2500003, "mask": "masks.npz#fc.weight"}
    message = (
        f"{tmp_path}/masks.npz: entry 'fc.weight', weight of operation 'fc' in FF: the mask has density 0.25; the trace"
        " says 0.2500003"
    )
    for steps in (0, 1):
        assert refused(lambda steps=steps: checked("fc", steps=steps, observed={"FF": {"weight": seen}})) == message
    assert checked("fc", steps=2, observed={"FF": {"weight": seen}}) == "1 mask in masks.npz"
    seen["density"] = 0.2500002
    assert checked("fc", observed={"FF": {"weight": seen}}) == "1 mask in masks.npz"


def test_all_masks_that_differ_are_named(checked: Callable[..., str | None], tmp_path: Path) -> None:
    changed = {"fc.weight": MASKS["fc.weight"].T.copy(), "conv_out.weight": np.ones((24, 8, 3, 2), bool)}
    assert refused(lambda: checked("fc", "conv", "conv_out", masks=changed)).splitlines() == [
        f"{tmp_path}/masks.npz: entry 'fc.weight', weight of operation 'fc' in FF: the mask has shape (8, 12); the weight has"
        " (12, 8)",
        f"{tmp_path}/masks.npz: entry 'conv_out.weight', weight of operation 'conv_out' in BP: the mask has density 1; the"
        " trace says 0.25",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("masks.npz#fc.wait", "{folder}/masks.npz: entry 'fc.wait', weight of operation 'fc' in FF: is not in the file; did you"
         " mean 'fc.weight'?"),
        ("other.npz#fc.weight", "{folder}/other.npz: no such file, but weight of operation 'fc' in FF of the trace refers to"
         " it; simulation does not need masks, their check does"),
        ("masks.npz", "{folder}/t.json: operation 'fc', FF weight: mask 'masks.npz': FILE#ENTRY is needed, as in"
         " masks.npz#conv.weight"),
        ("../masks.npz#fc.weight", "{folder}/t.json: operation 'fc', FF weight: mask '../masks.npz#fc.weight': FILE#ENTRY is"
         " needed, as in masks.npz#conv.weight"),
    ],
)  # fmt: skip
def test_references_that_lead_nowhere(
    checked: Callable[..., str | None], tmp_path: Path, mask: str, message: str
) -> None:
    seen = {"density": 0.25, "mask": mask}
    assert refused(lambda: checked("fc", observed={"FF": {"weight": seen}})) == message.format(folder=tmp_path)


def test_a_file_whose_name_holds_a_hash(make_trace: Callable[..., acs.Trace], tmp_path: Path) -> None:
    file, entry = "run#3.masks.npz", "fc#1.weight"
    seen = {"density": 0.25, "mask": f"{file}#{entry}"}
    save_masks(tmp_path / file, {entry: MASKS["fc.weight"]})
    trace = make_trace(OPERATIONS["fc"] | {"observed": {"FF": {"weight": seen}}})
    assert check_masks(trace, tmp_path / "t.json") == f"1 mask in {file}"


def test_only_weights_have_masks(checked: Callable[..., str | None], tmp_path: Path) -> None:
    seen = {"density": 0.25, "pattern": "1:4", "axis": "batch", "mask": "masks.npz#fc.weight"}
    assert refused(lambda: checked("fc", observed={"FF": {"activation": seen}})) == (
        f"{tmp_path}/t.json: operation 'fc', FF activation: mask 'masks.npz#fc.weight': only weights have masks"
    )


def test_the_check_command_reads_masks_and_simulation_does_not(
    make_trace: Callable[..., acs.Trace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.json"
    acs.save_trace(make_trace(OPERATIONS["fc"], OPERATIONS["conv"]), path)
    assert main(["check", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/masks.npz: no such file, but weight of operation 'fc' in FF of the trace refers to it; simulation"
        " does not need masks, their check does\n"
    )  # fmt: skip
    assert main(["simulate", str(path), "--batch", "8", "--json"]) == 0
    capsys.readouterr()
    save_masks(tmp_path / "masks.npz", MASKS)
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == (
        f"ok: {path}: trace of tiny, 2 operations, 1,000,000,000 parameters, no data-flow edges, 2 masks in masks.npz\n"
    )
    damaged = (tmp_path / "masks.npz").read_bytes()[:-9]
    (tmp_path / "masks.npz").write_bytes(damaged)
    assert main(["check", str(path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/masks.npz: truncated or damaged .npz file\n"


def test_a_trace_without_masks_needs_no_file(documented: dict[str, Any], tmp_path: Path) -> None:
    assert check_masks(validate(Trace, documented, "t"), tmp_path / "t.json") is None
