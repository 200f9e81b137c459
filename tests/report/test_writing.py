"""The files of a report: tables equal the frames, a folder is complete or as it was, and what cannot be reported on."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from changed_results import of_version

import accelsim as acs
from accelsim.plots import frames
from accelsim.plots.kinds import KINDS, Choice, prepare
from accelsim.plots.sources import PlotSource
from accelsim.report import writing

COMPARED = ("speedup", "stages", "energy", "layer-speedup")


def test_tables_beside_figures_are_what_is_drawn(small: Path, small_results: acs.Results, sat: acs.Design) -> None:
    def frame_of(kind: str, results: list[acs.Result]) -> pd.DataFrame:
        if kind == "roofline":
            return frames.roofline_frame(results)
        return prepare(kind, [PlotSource(path="", form="results", data=results)], Choice()).frame

    for kind in (*COMPARED, "roofline", "utilisation", "mapping"):
        assert kind in KINDS
        wanted = frame_of(kind, list(small_results) if kind in COMPARED else [small_results[1]])
        found, wanted = (pd.read_csv(text, dtype={"pattern": str}) for text in (
            small / f"{kind}.csv", StringIO(wanted.to_csv(index=False))
        ))  # fmt: skip
        pd.testing.assert_frame_equal(found, wanted, rtol=1e-11)
        assert {path.suffix for path in small.glob(f"{kind}.*")} == {".csv", ".png", ".svg"}


def test_the_other_tables_hold_the_results(small: Path, small_results: acs.Results, sat: acs.Design) -> None:
    layers = pd.read_csv(small / "layers.csv", dtype={"pattern": str})
    assert len(layers) == sum(len(result.layers) for result in small_results)
    assert layers["cycles"].tolist() == [layer.cycles for result in small_results for layer in result.layers]
    assert layers["energy_j"].tolist() == [layer.energy_j for result in small_results for layer in result.layers]
    steps = pd.read_csv(small / "steps.csv")
    assert steps["latency_s"].tolist() == [result.step.latency_s for result in small_results]
    assert steps["method"].tolist() == ["dense", "bdwp", "mvue"]
    parameters = pd.read_csv(small / "parameters.csv").set_index("path")
    assert {origin.path: origin.source for origin in sat.provenance}.items() <= parameters["source"].to_dict().items()


def test_a_report_is_made_again_byte_for_byte(tmp_path: Path, small: Path, small_results: acs.Results, sat) -> None:
    acs.write_report(tmp_path / "again", small_results, [sat], traces=[acs.load_trace("resnet9_cifar10")])
    for path in small.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_reports_of_several_workloads_have_a_figure_of_each(tmp_path: Path, sat: acs.Design) -> None:
    traces = [acs.load_trace(name) for name in ("resnet9_cifar10", "resnet18_tinyimagenet")]
    edge = acs.load_design("sat_edge_zcu104")
    acs.write_report(tmp_path / "r", acs.compare(traces, [sat, edge], batch=64), [edge, sat], traces=traces)
    stems = {path.stem for path in (tmp_path / "r").glob("*.svg")}
    assert stems == {"speedup", "stages", "energy"} | {
        f"{trace.model}--{kind}" for trace in traces for kind in ("layer-speedup", "roofline", "utilisation", "mapping")
    }
    text = (tmp_path / "r" / "index.html").read_text()
    assert text.count("less energy.</p>") == 4
    assert "resnet18_tinyimagenet sat_edge_zcu104 bdwp 2:8" in text


def test_one_dense_forward_pass_alone_is_a_report(tmp_path: Path, sat: acs.Design) -> None:
    result = acs.simulate(acs.load_trace("resnet9_cifar10"), sat, method="dense", mode="infer", batch=8)
    text = acs.write_report(tmp_path / "r", [result], [sat]).read_text()
    assert "One forward pass, 8 samples, sgd, closed engine" in text
    assert "which do not hold the trace that was simulated" in text
    assert not (tmp_path / "r" / "speedup.svg").exists()
    assert (tmp_path / "r" / "roofline.svg").exists()


# What is refused


def test_bad_results_are_refused_and_nothing_is_written(tmp_path: Path, small_results: acs.Results, sat) -> None:
    edge = acs.load_design("sat_edge_zcu104")
    dense, bdwp, _ = small_results
    other = of_version(bdwp, "0.0.9")
    small = sat.with_({"array.rows": 16}).model_copy(update={"overrides": ()})  # as of another file of that name
    twin = acs.simulate(acs.load_trace("resnet9_cifar10"), small, batch=64)
    for results, designs, message in (
        ([], [sat], "no results to report on"),
        ([dense, other], [sat], "results of versions 0.0.9, 0.1.0: simulate them again with one version"),
        ([dense, dense], [sat], "resnet9_cifar10: dense is there twice; files of different names tell results apart"),
        ([dense], [edge], "design 'sat_vcu1525': was simulated, but is not given; given: sat_edge_zcu104"),
        ([dense], [sat.with_({"array.rows": 16})], "design 'sat_vcu1525 + array 16x32x2': the results are of sat_vcu1525:"
         " array.rows 16 (there 32)"),
        ([dense, twin], [], "design 'sat_vcu1525': there are two of that name: array.rows 32 and 16; rename one, simulate"
         " again"),
    ):  # fmt: skip
        with pytest.raises(acs.InputError) as error:
            acs.write_report(tmp_path / "r", results, designs)
        assert str(error.value) == message
        assert not list(tmp_path.iterdir())


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path: Path, small_results: acs.Results, sat) -> None:
    folder = tmp_path / "r"
    acs.write_report(folder, small_results[:1], [sat])
    (folder / "thesis.txt").write_text("years of work")
    for path, message in (
        (folder, f"{folder}: holds thesis.txt, which no report wrote; name a folder that is new or empty"),
        (folder / "index.html", f"{folder / 'index.html'}: is no directory"),
    ):
        with pytest.raises(acs.InputError) as error:
            acs.write_report(path, small_results, [sat])
        assert str(error.value) == message
    assert (folder / "thesis.txt").read_text() == "years of work"
    page = tmp_path / "mine"
    page.mkdir()
    (page / "index.html").write_text("<a href='index.html'>my page</a>")
    with pytest.raises(acs.InputError, match=r"holds index\.html, which no report wrote"):
        acs.write_report(page, small_results, [sat])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, acs.InputError("disk")])
def test_an_interrupted_report_leaves_the_old_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_results: acs.Results, sat, error: BaseException
) -> None:
    folder = tmp_path / "r"
    acs.write_report(folder, small_results, [sat])
    before = contents(folder)

    def interrupted(_: object) -> str:
        raise error

    monkeypatch.setattr(writing, "make_page", interrupted)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        acs.write_report(folder, small_results[:1], [sat])
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failed_exchange_puts_the_old_report_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_results: acs.Results, sat
) -> None:
    folder = tmp_path / "r"
    acs.write_report(folder, small_results, [sat])
    before, rename = contents(folder), Path.replace

    def failing(self: Path, target: Path) -> Path:
        if Path(target) == folder and (self / "index.html").exists() and contents(self) != before:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(acs.InputError, match=r"r: cannot be written: No space left on device$"):
        acs.write_report(folder, small_results[:1], [sat])
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_report_of_fewer_figures_leaves_none_of_the_old(tmp_path: Path, small_results: acs.Results, sat) -> None:
    folder = tmp_path / "deep" / "r"
    acs.write_report(folder, small_results, [sat])
    acs.write_report(folder, small_results[:1], [sat])
    assert not (folder / "speedup.svg").exists()
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777
