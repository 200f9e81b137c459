"""What each point's design takes: columns of the rows, once per distinct design."""

import csv
from pathlib import Path

import pytest

from accelsim.base.errors import InputError
from accelsim.base.files import FileModel
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.resources import RESOURCES, changes_resources, check_fits, estimate_resources
from accelsim.hardware.sourced import leaf_paths, override
from accelsim.sweep import device_fit as fit
from accelsim.sweep.device_fit import FIT, Fits
from accelsim.sweep.run import run_sweep
from accelsim.sweep.search import run_search
from accelsim.sweep.spec import make_sweep

TRACE = "resnet9_cifar10"
VARY = {"batch": 32, "array.rows": "16,256", "buffers.x_bytes": "1,65536", "dram.bandwidth_gb_per_s": "10,20"}


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_rows_say_what_their_design_takes(tmp_path: Path) -> None:
    sweep = make_sweep([TRACE], vary=VARY)
    run_sweep(sweep, tmp_path / "r.csv")
    rows = rows_of(tmp_path / "r.csv")
    base = load_design("sat_vcu1525")
    for row in rows:
        design = override(base, {path: row[path] for path in sweep.changed})
        use = estimate_resources(design)
        assert [row[name] for name in RESOURCES] == [str(getattr(use, name)) for name in RESOURCES]
        assert row["fits"] == ("false" if check_fits(design) else "true")
    assert [row["fits"] for row in rows] == ["true"] * 4 + ["false"] * 4
    assert [row["status"] for row in rows] == ["infeasible", "infeasible", "ok", "ok"] * 2


def test_a_design_without_an_fpga_takes_nothing_of_it(tmp_path: Path) -> None:
    run_sweep(make_sweep([TRACE], "sat_asic_28nm", vary={"batch": 32, "array.rows": "16,1024"}), tmp_path / "r.csv")
    assert [[row[name] for name in FIT] for row in rows_of(tmp_path / "r.csv")] == [[""] * 5] * 2


def test_the_estimate_is_made_once_per_distinct_design(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Design] = []
    estimate = fit.estimate_resources

    def counted(design: Design) -> object:
        made.append(design)
        return estimate(design)

    monkeypatch.setattr(fit, "estimate_resources", counted)
    sweep, fits = make_sweep([TRACE, "vgg19_cifar100"], vary=VARY | {"method": "dense,bdwp"}), Fits("sat_vcu1525")
    found = [fits.of(point) for point in sweep.points()]
    assert (len(found), len(made)) == (32, 4)
    assert len({id(item) for item in found}) == 4


def test_the_estimate_reads_what_it_says_it_does() -> None:
    """Each value of a design that the estimate reads, on the way through its sections."""
    read: set[str] = set()

    class Watched:
        def __init__(self, value: object, path: str) -> None:
            self.value, self.path = value, path

        def __getattr__(self, name: str) -> object:
            found, path = getattr(self.value, name), f"{self.path}{name}"
            if isinstance(found, FileModel):
                return Watched(found, f"{path}.")
            read.add("array.patterns" if path == "patterns" else path)
            return found

    estimate_resources(Watched(load_design("sat_vcu1525"), ""))  # type: ignore[arg-type]
    paths = leaf_paths(Design)
    assert read <= set(paths)
    assert all(changes_resources(path) for path in read)
    unread = {path for path in paths if changes_resources(path)} - read
    # what it need not read where there is a value, or holds the result against
    assert unread <= {"array.adder_latency_cycles", "array.metadata_bits_per_value", "vector.fuse_activations",
                      *(f"resources.{name}{kind}" for name in ("", "shell_") for kind in ("lut", "bram36"))}  # fmt: skip


def test_a_search_for_less_of_what_is_not_known_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    sweep = make_sweep([TRACE], "sat_asic_28nm", vary={"batch": 32, "array.rows": "16,32"})
    with pytest.raises(InputError) as caught:
        run_search(sweep, tmp_path / "r.csv", objectives=[("-x", "latency_s"), ("-y", "2 * lut")])
    assert str(caught.value) == "-y 2 * lut: not known, as design sat_asic_28nm names no FPGA (resources)"
    assert not (tmp_path / "r.csv").exists()


def test_parquet_has_numbers_and_truth_values(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run_sweep(make_sweep([TRACE], vary={"batch": 32, "array.rows": "16,256"}), tmp_path / "r.parquet")
    rows = parquet.read_table(tmp_path / "r.parquet").to_pylist()
    uses = [estimate_resources(override(load_design("sat_vcu1525"), {"array.rows": str(row)})) for row in (16, 256)]
    assert [[row[name] for name in FIT] for row in rows] == [
        [fits, *(getattr(use, name) for name in RESOURCES)] for fits, use in zip((True, False), uses, strict=True)
    ]
