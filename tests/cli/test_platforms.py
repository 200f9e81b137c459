"""Platforms and FPGA resources at the command line."""

import json
from pathlib import Path

from accelsim.files import packaged_path
from accelsim.hardware.platform import platform_names

PLATFORMS = packaged_path("hw_configs") / "platforms"


def test_list_and_schemas(run) -> None:
    code, out, err = run("list", "platforms")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:]] == platform_names()
    for kind in ("platform", "behaviour"):
        assert json.loads(run("schema", kind)[1])["type"] == "object"


def test_check_of_platforms(run, tmp_path: Path) -> None:
    good, bad = PLATFORMS / "vcu1525.yaml", tmp_path / "bad.yaml"
    bad.write_text(good.read_text().replace("kind: fpga", "kind: gpu", 1))
    code, out, err = run("check", str(good), str(bad))
    assert code == 2
    assert out == f"ok: {good}: platform vcu1525 (fpga), 10 values: 6 quoted, 3 recalled, 1 derived\n"
    assert err == f"error: {bad}: top level: compute: missing; a platform of kind gpu needs it\n"


def test_check_says_what_a_design_takes_and_what_it_lacks(run, tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    text = (packaged_path("hw_configs") / "sat_edge_zcu104.yaml").read_text()
    # 1024 + 48 + 64 multipliers of 2, 3 and 2 DSPs; all 512 + 624 adders are logic; 39 of the 57 columns of the resident
    # tensors are in UltraRAM, 18 in 4 block RAMs each, with 9 x 13 of W and 8 x 16 of Y
    large.write_text(text.replace("rows: {value: 16,", "rows: {value: 32,", 1))
    code, out, err = run("check", str(large))
    assert code == 0
    assert out == (
        f"ok: {large}: design sat_edge_zcu104, 32 values: 22 assumption, 7 quoted, 2 derived, 1 recalled; takes about"
        " 2,320 of 1,728 DSP, 438,992 of 230,400 LUT, 317 of 312 BRAM36, 96 of 96 URAM288\n"
    )
    assert err == (
        f"warning: {large}: DSP: needs 2,320, the device has 1,728 (estimate)\n"
        f"warning: {large}: LUT: needs 438,992, the device has 230,400 (estimate)\n"
        f"warning: {large}: BRAM36: needs 317, the device has 312 (estimate)\n"
    )


def test_simulate_warns_and_goes_on(run) -> None:
    code, _, err = run("simulate", "resnet18_tinyimagenet", "--hw", "sat_edge_zcu104", "--set", "sore.lanes=512")
    assert code == 0
    assert err == (
        "warning: design sat_edge_zcu104 does not fit its device: LUT: needs 330,064, the device has 230,400 (estimate)\n"
    )
