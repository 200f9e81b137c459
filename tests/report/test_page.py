"""What stands on the page: well-formed, accessible markup, and every number of the result."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from html_checks import read_page, table_called

import accelsim as acs
from accelsim.hardware.energy_table import load_energy_table
from accelsim.report.origins import parameters_of
from accelsim.report.svg import inline_svg
from accelsim.results.glossary import GLOSSARY


def page_of(folder: Path):
    return read_page((folder / "index.html").read_text())


def test_a_page_is_well_formed_and_small(large: Path) -> None:
    page_of(large)
    assert (large / "index.html").stat().st_size < 1e6


@pytest.mark.parametrize("name", ["large", "small"])
def test_a_page_has_what_readers_without_a_screen_need(request: pytest.FixtureRequest, name: str) -> None:
    page = page_of(request.getfixturevalue(name))
    assert page.all("html")[0].attributes["lang"] == "en"
    assert [len(page.all(tag)) for tag in ("title", "header", "nav", "main", "footer", "h1")] == [1] * 6
    body = page.all("body")[0]
    first = body.children[0]
    assert (first.tag, first.attributes["href"]) == ("a", f"#{page.all('main')[0].attributes['id']}")
    levels = [
        int(tag[1]) for tag in re.findall(r"<(h[1-6])\b", (request.getfixturevalue(name) / "index.html").read_text())
    ]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.all("table")
    for table in page.all("table"):
        assert table.children[0].tag == "caption"
        assert table.children[0].text.strip()
        heads = table.all("th")
        assert heads
        assert all(head.attributes["scope"] in {"col", "row"} for head in heads)
        widths = {len(row.children) for row in table.all("tr")}
        assert len(widths) == 1
    figures = page.all("figure")
    assert len(figures) == 7
    for figure in figures:
        (svg,) = figure.all("svg")
        assert svg.attributes["role"] == "img"
        assert len(svg.attributes["aria-label"]) > 20
        assert figure.all("figcaption")[0].text.strip()
    for box in [item for item in page.all("div") if "box" in item.attributes.get("class", "").split()]:
        assert (box.attributes["tabindex"], box.attributes["role"]) == ("0", "group")
        assert box.attributes["aria-label"]


def test_links_lead_to_files_beside_the_page(small: Path) -> None:
    links = {link.attributes["href"] for link in page_of(small).all("a")}
    files = {link for link in links if not link.startswith("#")}
    assert files == {path.name for path in small.iterdir()} - {"index.html"}


def test_nothing_is_asked_of_a_network(large: Path) -> None:
    text = (large / "index.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", text)
    assert "http" not in re.sub(r'http-equiv="', "", text)


def test_every_layer_is_there_with_its_numbers(small: Path, small_results: acs.Results) -> None:
    result = small_results[1]
    assert result.method == "bdwp"
    head, *rows, total = table_called(page_of(small), "Layers of resnet9_cifar10 under bdwp 2:8, stage by stage")
    assert [cell.text for cell in head] == [
        "layer", "stage", "m x n x k", "pattern", "mapping", "cycles", "time (us)", "dense (us)", "gain", "share",
        "utilisation", "MACs", "DRAM bytes", "energy (mJ)", "bound",
    ]  # fmt: skip
    assert len(rows) == len(result.layers)
    dense_s = {(layer.name, layer.stage): layer.latency_s for layer in small_results[0].layers}
    for cells, layer in zip(rows, result.layers, strict=True):
        shape = "" if layer.m is None else f"{layer.m} x {layer.n} x {layer.k}"
        assert [cell.text for cell in cells[:3]] == [
            layer.name, layer.stage, f"{shape} (x{layer.count})" if layer.count > 1 else shape
        ]  # fmt: skip
        assert cells[3].text == (layer.pattern or ("dense" if layer.m is not None else ""))
        assert (layer.dataflow or "") == (cells[4].text.split() or [""])[0]
        before = dense_s.get((layer.name, layer.stage))
        values = [layer.cycles, layer.latency_s, before, before and before / layer.latency_s,
                  layer.cycles / result.step.cycles, layer.utilisation, layer.macs_executed, layer.dram_bytes,
                  layer.energy_j]  # fmt: skip
        scales, digits = [1, 1e6, 1e6, 1, 100, 100, 1, 1, 1e3], [0, 1, 1, 2, 2, 1, 0, 0, 3]
        for cell, value, scale, places in zip(cells[5:14], values, scales, digits, strict=True):
            if value is None:
                assert cell.text == ""
                continue
            assert float(cell.attributes["data-v"]) == value
            assert float(cell.text.replace(",", "").rstrip("%x")) == pytest.approx(
                value * scale, abs=0.501 * 10**-places
            )
        assert cells[14].text == layer.bound
    step, before = result.step, small_results[0].step.latency_s
    sums = [float(cell.attributes["data-v"]) for cell in total if "data-v" in cell.attributes]
    assert sums == [
        step.cycles, step.latency_s, before, before / step.latency_s, 1.0, step.macs_executed, step.dram_bytes, step.energy_j
    ]  # fmt: skip


def test_layers_stand_with_all_their_stages_and_the_dense_time_beside(small: Path, small_results: acs.Results) -> None:
    dense, result, _ = small_results
    head, *rows, total = table_called(page_of(small), "Layers of resnet9_cifar10 under bdwp 2:8, all stages together")
    assert [cell.text for cell in head] == [
        "layer", "FF (us)", "BP (us)", "WU (us)", "other (us)", "time (us)", "dense (us)", "gain", "share", "energy (mJ)",
    ]  # fmt: skip
    names = list(dict.fromkeys(layer.operation for layer in result.layers))
    assert [row[0].text for row in rows] == names
    for cells in rows:
        own, before = ([layer for layer in each.layers if layer.operation == cells[0].text] for each in (result, dense))
        values = {cell.text: float(value.attributes["data-v"]) for cell, value in zip(head[1:], cells[1:], strict=True)}
        time = sum(layer.latency_s for layer in own)
        assert values["time (us)"] == pytest.approx(time)
        assert values["dense (us)"] == pytest.approx(sum(layer.latency_s for layer in before))
        assert values["gain"] == pytest.approx(values["dense (us)"] / time)
        assert sum(values[f"{name} (us)"] for name in ("FF", "BP", "WU", "other")) == pytest.approx(time)
        assert values["share"] == sum(layer.cycles for layer in own) / result.step.cycles
    assert float(total[5].attributes["data-v"]) == pytest.approx(result.step.latency_s)
    assert total[7].text == f"{result.step.speedup:.2f}x"


def test_the_machine_stands_in_the_summary(tmp_path: Path) -> None:
    design = acs.load_design("sat_vcu1525", {"dram.bandwidth_gb_per_s": 9.6, "array.rows": 16})
    result = acs.simulate(acs.load_trace("resnet9_cifar10"), design, batch=8)
    page = page_of(acs.write_report(tmp_path / "r", [result]).parent)
    head, row = table_called(page, "The machine")
    assert [cell.text for cell in head] == [
        "machine", "array", "clock", "peak, dense", "DRAM", "X, W, Y buffer, whole tensors", "energy table",
        "changed of its file",
    ]  # fmt: skip
    assert [cell.text for cell in row] == [
        design.label, "16 x 32 PEs x 2 MACs", "200 MHz", "410 GOP/s", "9.6 GB/s", "4 MiB, 2 MiB, 2 MiB, 8 MiB", "fpga_vu9p",
        "DRAM bandwidth 9.6 GB/s (was 76.8 GB/s), PE rows 16 (was 32)",
    ]  # fmt: skip
    assert page.all("h1")[0].text == f"resnet9_cifar10 on {design.label}"
    assert "2:8 takes" in page.all("p")[1].text  # the dense step that simulate handed back is compared with


def test_the_words_of_the_tables_are_explained(small: Path) -> None:
    page = page_of(small)
    (details,) = page.all("details")
    words = [item.text for item in details.all("dt")]
    assert {"FF", "VECTOR", "compute", "os", "interleave", "N:M", "m x n x k"} <= set(words)
    meanings = {word.name: word.meaning for word in GLOSSARY}
    assert [item.text for item in details.all("dd")] == [meanings[name] for name in words]


def test_the_summary_says_how_sparse_compares_with_dense(small: Path, small_results: acs.Results) -> None:
    page = page_of(small)
    dense, bdwp, mvue = small_results
    best = max(bdwp, mvue, key=lambda result: result.step.speedup)
    leads = [item.text for item in page.all("p") if item.attributes.get("class") == "lead"]
    (lead,) = leads
    assert lead.startswith(f"resnet9_cifar10 on sat_vcu1525: {best.case}, the fastest of 2, takes ")
    assert lead.endswith(
        f" dense, {best.step.speedup:.2f}x faster, for {dense.step.energy_j / best.step.energy_j:.2f}x less energy."
    )
    head, *rows = table_called(page, "Steps")
    assert [row[0].text for row in rows] == ["dense", "bdwp 2:8", "mvue 2:8"]
    at = [cell.text for cell in head].index("step time")
    assert [float(row[at].attributes["data-v"]) for row in rows] == [item.step.latency_s for item in small_results]
    _, *stages = table_called(page, "Time by stage")
    for row, result in zip(stages, small_results, strict=True):
        assert [float(cell.attributes["data-v"]) for cell in row[1:]] == [
            stage.latency_s for stage in result.stages.values()
        ]


def test_every_value_of_the_design_stands_with_its_source(small: Path, sat: acs.Design) -> None:
    page = page_of(small)
    for title, owner in (("Design", sat), ("Energy table", load_energy_table(sat.energy))):
        _, *rows = table_called(page, f"{title} {owner.name}")
        wanted = parameters_of(owner)
        assert len(wanted) >= len(owner.provenance) > 0
        assert [[cell.text for cell in row] for row in rows] == [
            [item.path, item.value, item.plausible, item.confidence, item.source] for item in wanted
        ]
    rows = {row[0].text: [cell.text for cell in row] for row in table_called(page, "Design")}
    assert rows["array.rows"][1:4] == ["32", "", "assumption"]
    assert rows["clock_hz"][1:4] == ["200,000,000", "150,000,000 to 300,000,000", "assumption"]
    assert rows["schedule.dataflow"][1:] == ["auto", "", "choice", ""]
    unsure = sum(row[3].text in {"assumption", "recalled"} for title in ("Design", "Energy table")
                 for row in table_called(page, title)[1:])  # fmt: skip
    assert f"{unsure} values that are assumed or recalled" in page.text


def test_warnings_name_what_stayed_dense_and_what_does_not_fit(tmp_path: Path) -> None:
    from accelsim.hardware.sourced import override

    design = override(acs.load_design("sat_vcu1525"), {"array.rows": "64", "array.cols": "64"})
    page = page_of(
        acs.write_report(tmp_path / "r", acs.compare(acs.load_trace("resnet9_cifar10"), design), [design]).parent
    )
    (warnings,) = [item for item in page.all("ul") if item.attributes.get("class") == "warnings"]
    texts = [item.text for item in warnings.children]
    assert texts[0].startswith("Design sat_vcu1525 + array 64x64x2 does not fit its device: ")
    assert any("kept dense, first layer" in text for text in texts)
    assert f"Warnings: {len(texts)}" in page.text


EVIL = "</td><script>document.title='broken'</script>&\"'"


def test_names_are_texts_wherever_they_come_from(tmp_path: Path, make_trace, sat: acs.Design) -> None:
    linear = {"name": EVIL, "kind": "linear", "in_features": 64, "out_features": 64, "rows": 4}
    trace = make_trace(linear).model_copy(update={"model": EVIL})
    page = page_of(acs.write_report(tmp_path / "r", acs.compare(trace, sat, batch=32), [sat], traces=[trace]).parent)
    assert len(page.all("script")) == 1
    assert page.all("h1")[0].text == f"{EVIL} on sat_vcu1525"
    rows = table_called(page, f"Layers of {EVIL} under bdwp 2:8, stage")[1:]
    assert rows[0][0].text == EVIL
    assert sorted(path.name for path in (tmp_path / "r").iterdir())[:2] == ["energy.csv", "energy.png"]


SVG = """<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 width="9pt" viewBox="0 0 9 9"><metadata>x</metadata><defs><style>*{fill:red}</style><path id="m" d="M 0.12345 -0.001
L 10.000 2.5"/><clipPath id="c"><rect width="3"/></clipPath></defs><g id="figure_1"><g id="a"><use xlink:href="#m"
 style="stroke: #000000; font-family: 'DejaVu Sans', sans-serif"/></g><g id="b" clip-path="url(#c)"><text>a &lt; b</text>
</g><g id="empty"/></g></svg>"""


def test_an_svg_keeps_what_is_seen_and_takes_names_of_its_own() -> None:
    assert inline_svg(SVG, "one", "a < b") == (
        '<svg viewBox="0 0 9 9" role="img" aria-label="a &lt; b">'
        '<defs><path id="one-0" d="M 0.12 0 L 10 2.5"></path><clipPath id="one-1"><rect width="3"></rect></clipPath></defs>'
        '<use href="#one-0" style="stroke:#000000;"></use><g clip-path="url(#one-1)"><text>a &lt; b</text></g></svg>'
    )
