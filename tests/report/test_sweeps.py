"""The page of a sweep and of training runs: their best points, phases, machine, and all numbers of the rows."""

import csv
from pathlib import Path

import pytest
from html_checks import read_page, table_called

import accelsim as acs
from accelsim.cli import main
from accelsim.report.sweeps import write_sweep_report
from accelsim.results.training import write_training

TRACE = "resnet9_cifar10"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    rows = folder / "rows.csv"
    options = ["--vary", "array.rows=16,32", "--vary", "clock_hz=1e8,2e8", "--method", "dense,bdwp", "--batch", "8"]
    assert main(["sweep", TRACE, *options, "-o", str(rows)]) == 0
    assert main(["report", str(rows), "-o", str(folder / "page")]) == 0
    return folder


def test_a_sweep_becomes_a_page_with_its_best_points(swept: Path) -> None:
    rows = list(csv.DictReader((swept / "rows.csv").read_text().splitlines()))
    page = read_page((swept / "page" / "index.html").read_text())
    assert page.all("h1")[0].text == f"Sweep of {TRACE} on sat_vcu1525"
    best = max(rows, key=lambda row: float(row["samples_per_s"]))
    leads = [item.text for item in page.all("p") if item.attributes.get("class") == "lead"]
    assert leads[0].startswith(
        f"Most samples per second: method {best['method']}, PE rows {best['array.rows']}, clock {float(best['clock_hz']) / 1e6:g} MHz: "
    ) or leads[0].startswith("Most samples per second and least energy per step: ")
    _, *varied = table_called(page, "What is varied")
    assert [[cell.text for cell in row] for row in varied] == [
        ["method", "method", "dense, bdwp"], ["PE rows", "array.rows", "16, 32"], ["clock", "clock_hz", "100 MHz, 200 MHz"],
    ]  # fmt: skip
    head, *points = table_called(page, "All points")
    at = [cell.text for cell in head].index("step latency")
    wanted = sorted(float(row["latency_s"]) for row in rows)
    assert [float(row[at].attributes["data-v"]) for row in points] == wanted
    assert table_called(page, "The machine")[1][0].text == "sat_vcu1525"
    assert list(csv.DictReader((swept / "page" / "points.csv").read_text().splitlines())) == sorted(
        rows, key=lambda row: float(row["latency_s"])
    )


def test_a_page_of_a_sweep_has_only_links_that_lead_somewhere(swept: Path) -> None:
    page = read_page((swept / "page" / "index.html").read_text())
    links = {link.attributes["href"] for link in page.all("a")}
    files = {link for link in links if not link.startswith("#")}
    assert files == {path.name for path in (swept / "page").iterdir()} - {"index.html"}
    assert {link[1:] for link in links if link.startswith("#")} <= {
        item.attributes["id"] for item in (*page.all("section"), *page.all("main"))
    }
    assert page.all("pre")[0].text == f"accelsim report {swept / 'rows.csv'} -o {swept / 'page'}"


def test_a_page_of_a_sweep_is_made_again_byte_for_byte(swept: Path, tmp_path: Path) -> None:
    command = f"accelsim report {swept / 'rows.csv'} -o {swept / 'page'}"
    write_sweep_report(tmp_path / "again", swept / "rows.csv", command=command)
    for path in (swept / "page").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_training_run_becomes_a_page_with_its_phases(tmp_path: Path, sat: acs.Design) -> None:
    run = acs.simulate_training(acs.load_trace(TRACE), sat, method="stepwise-decay", batch=8, steps=30)
    write_training(tmp_path / "run.json", run)
    assert main(["report", str(tmp_path / "run.json"), "-o", str(tmp_path / "page")]) == 0
    page = read_page((tmp_path / "page" / "index.html").read_text())
    _, *phases = table_called(page, f"Phases of {run.title}")
    assert [[row[0].text, row[2].text, row[3].text] for row in phases] == [
        ["decay 1 of 3", "dense", "10"], ["decay 2 of 3", "sr-ste 4:8", "10"], ["decay 3 of 3", "sr-ste 2:8", "10"],
    ]  # fmt: skip
    assert [float(row[5].attributes["data-v"]) for row in phases] == [phase.latency_s for phase in run.phases]
    _, *steps = table_called(page, "Steps")
    assert [row[0].text for row in steps] == ["dense", "sr-ste 4:8", "sr-ste 2:8"]  # the dense step once
    leads = [item.text for item in page.all("p") if item.attributes.get("class") == "lead"]
    assert f"{run.totals.speedup:.2f}x faster for {run.totals.energy_gain:.2f}x less energy." in leads[-1]
    assert (tmp_path / "page" / "training.svg").is_file()
    assert len((tmp_path / "page" / "phases.csv").read_text().splitlines()) == 4


def test_phases_of_one_model_become_a_page_each_beside_its_own_dense_step(tmp_path: Path) -> None:
    phases = ["--phase", "resnet9_digits_pruned:200", "--phase", "resnet9_digits_2of4:400"]
    run, page = str(tmp_path / "run.json"), str(tmp_path / "page")
    assert main(["simulate", *phases, "--batch", "8", "-o", run]) == 0
    assert main(["report", run, "-o", page]) == 0
    steps = csv.DictReader((tmp_path / "page" / "stages.csv").read_text().splitlines())
    assert {(row["workload"], row["case"]) for row in steps} == {
        (name, case)
        for name in ("resnet9_digits_pruned", "resnet9_digits_pruned, resnet9_digits_2of4")
        for case in ("dense", "traced")
    }
