"""A report in a browser, at the width of a desk and of a phone, light, dark and printed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, MISSING, Page, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

DESK, PHONE, PAPER = 1280, 390, 718

OVERFLOWING = """
[...document.querySelectorAll("body *")]
  .filter((item) => !item.closest(".box > *, .skip, script"))
  .filter((item) => item.getBoundingClientRect().right > innerWidth + 0.5)
  .map((item) => item.tagName + " " + item.textContent.slice(0, 40))
"""
CONTRAST = """
(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map((part) => part / 255).map(
      (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return ["body", ".soft", "a", "figcaption", ".warnings", "th button"].map((name) => {
    const ink = light(getComputedStyle(document.querySelector(name)).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  });
})()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("name", ["large", "small"])
def test_it_opens_without_a_complaint(
    request: pytest.FixtureRequest, page: Page, name: str, width: int, dark: bool
) -> None:
    file = request.getfixturevalue(name) / "index.html"
    page.open(file, width=width, dark=dark)
    assert page.problems == []
    assert page.requests[0] == file.as_uri()
    assert all(url.startswith("data:") for url in page.requests[1:])
    assert page.evaluate("innerWidth") == width
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []
    assert min(page.evaluate(CONTRAST)) >= 4.5
    assert (page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") is not dark


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_figures_are_drawn_no_smaller_than_in_print(page: Page, large: Path, width: int) -> None:
    page.open(large / "index.html", width=width)
    sizes = page.evaluate(
        """[...document.querySelectorAll("figure svg")].map((svg) => {
             const shown = svg.getBoundingClientRect();
             return [shown.width / svg.viewBox.baseVal.width, shown.height / svg.viewBox.baseVal.height];
           })"""
    )
    assert len(sizes) == 7
    for across, up in sizes:
        assert 4 / 3 * 0.99 <= across <= 2  # CSS pixels per point
        assert up == pytest.approx(across, rel=1e-3)
    pictures = page.evaluate("[...document.querySelectorAll('svg image')].map((item) => item.getBBox().width)")
    assert pictures
    assert min(pictures) > 0


def test_pictures_that_are_missing_are_noticed(page: Page, tmp_path: Path) -> None:
    """The checks above see what they are for."""
    (tmp_path / "bad.html").write_text(
        "<!doctype html><div style='width:2000px'>wide</div><img src='none.png'><script>undefined.x</script>"
    )
    page.open(tmp_path / "bad.html", width=PHONE)
    assert any("ERR_FILE_NOT_FOUND" in problem for problem in page.problems)
    assert any("TypeError" in problem for problem in page.problems)
    assert page.evaluate("document.documentElement.scrollWidth") == 2000 + 8
    assert page.evaluate(OVERFLOWING) == ["DIV wide"]


def test_in_the_dark_figures_are_light_on_dark(page: Page, small: Path) -> None:
    filters = []
    for dark in (False, True):
        page.open(small / "index.html", dark=dark)
        filters.append(page.evaluate("getComputedStyle(document.querySelector('figure svg')).filter"))
    assert filters == ["none", "invert(0.92) hue-rotate(180deg)"]


def test_on_paper_nothing_scrolls_and_all_is_light(page: Page, large: Path) -> None:
    page.open(large / "index.html", width=PAPER, dark=True)
    page.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.evaluate("document.documentElement.scrollWidth") == PAPER
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = (
        "[...document.querySelectorAll('.box')].filter((box) => getComputedStyle(box).overflowX !== 'visible').length"
    )
    assert page.evaluate(hidden) == 0
    page.call("Emulation.setEmulatedMedia", media="")


def test_the_keyboard_skips_to_the_content(page: Page, small: Path) -> None:
    page.open(small / "index.html")
    page.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)") is True


def test_tables_sort_by_the_keyboard_and_say_so(page: Page, small: Path, small_results) -> None:
    page.open(small / "index.html")
    page.evaluate(
        """window.table = [...document.querySelectorAll("table")].find((item) => item.caption.textContent.endsWith("stage by stage"));
           window.column = (name) => [...table.tHead.rows[0].cells].find((item) => item.textContent === name);
           window.values = (name) => [...table.tBodies[0].rows].map((row) => {
             const cell = row.cells[column(name).cellIndex];
             return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
           });"""
    )
    layers = small_results[1].layers
    cycles, names = [layer.cycles for layer in layers], [layer.name for layer in layers]
    utilised = sorted((layer.utilisation for layer in layers if layer.utilisation is not None), reverse=True)

    def press(name: str) -> tuple[str | None, list[float | str]]:
        page.evaluate(f"column({name!r}).querySelector('button').focus()")
        page.press("Enter")
        return page.evaluate(f"column({name!r}).getAttribute('aria-sort')"), page.evaluate(f"values({name!r})")

    assert page.evaluate("values('cycles')") == cycles
    assert press("cycles") == ("descending", sorted(cycles, reverse=True))
    assert press("cycles") == ("ascending", sorted(cycles))
    assert press("cycles") == (None, cycles)
    state, values = press("utilisation")
    assert (state, values[: len(utilised)]) == ("descending", utilised)
    assert set(values[len(utilised) :]) == {""}
    state, values = press("layer")
    assert (state, sorted(values)) == ("ascending", sorted(names))
    first = [values.index(name) for name in ("layer1.0", "layer2.0", "layer3.0")]
    assert first == sorted(first)
    assert page.evaluate("table.querySelectorAll('[aria-sort]').length") == 1


def test_a_filter_shows_rows_that_hold_its_words_and_adds_them_up(page: Page, small: Path, small_results) -> None:
    page.open(small / "index.html")
    page.evaluate(
        """window.table = [...document.querySelectorAll("table")].find((item) => item.caption.textContent.endsWith("stage by stage"));
           window.label = [...document.querySelectorAll(".filter")][[...document.querySelectorAll("table.filtered")].indexOf(table)];
           window.choose = (text) => {
             label.querySelector("input").value = text;
             label.querySelector("input").dispatchEvent(new Event("input"));
             const shown = [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[0].textContent);
             return [shown, [...table.tFoot.rows[0].cells].map((cell) => cell.textContent), label.querySelector("output").textContent];
           };"""
    )
    dense, result, _ = small_results
    all_names, all_totals, _ = page.evaluate("choose('')")
    assert all_names == [layer.name for layer in result.layers]
    names, totals, count = page.evaluate("choose('LAYER1.0 wu')")
    own = [layer for layer in result.layers if layer.name == "layer1.0" and layer.stage == "WU"]
    before = sum(layer.latency_s for layer in dense.layers if layer.name == "layer1.0" and layer.stage == "WU")
    time = sum(layer.latency_s for layer in own)
    assert names == ["layer1.0"]
    assert count == f"1 of {len(result.layers)} rows"
    assert totals[0] == "rows shown"
    assert totals[5:9] == [f"{own[0].cycles:,}", f"{time * 1e6:,.1f}", f"{before * 1e6:,.1f}", f"{before / time:.2f}x"]
    assert page.evaluate("choose('nothing of this name')")[:2] == [
        [],
        ["rows shown", *[""] * 4, "0", "0.0", "0.0", "", "0.00%", "", "0", "0", "0.000", ""],
    ]
    assert page.evaluate("choose('')") == [all_names, all_totals, ""]


def test_what_is_wider_than_its_box_says_that_it_scrolls(page: Page, large: Path) -> None:
    for width in (DESK, PHONE):
        page.open(large / "index.html", width=width)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        signs = page.evaluate(
            """[...document.querySelectorAll(".box")].map((box) => [
                 box.scrollWidth > box.clientWidth + 1, !box.previousElementSibling.hidden, box.previousElementSibling.textContent])"""
        )
        assert all(wide == shown for wide, shown, _ in signs)
        assert {text for _, _, text in signs} == {"scrolls sideways \u2192"}
        assert any(wide for wide, _, _ in signs) or width == DESK


def test_the_first_column_stays_where_a_table_scrolls(page: Page, large: Path) -> None:
    page.open(large / "index.html", width=PHONE)
    moved = page.evaluate(
        """(() => {
             const table = [...document.querySelectorAll("table.filtered")][0], box = table.closest(".box");
             const cells = [table.tHead.rows[0].cells[0], table.tBodies[0].rows[0].cells[0], table.tFoot.rows[0].cells[0]];
             const at = () => cells.map((cell) => cell.getBoundingClientRect().left);
             const before = at();
             box.scrollLeft = 200;
             return [box.scrollLeft, ...at().map((left, index) => left - before[index])];
           })()"""
    )
    assert moved[0] == 200
    assert max(map(abs, moved[1:])) < 2


def test_a_screen_reader_finds_landmarks_tables_and_pictures(page: Page, small: Path) -> None:
    page.open(small / "index.html")
    page.call("Accessibility.enable")
    nodes = [node for node in page.call("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
    names: dict[str, list[str]] = {}
    for node in nodes:
        names.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert names["navigation"] == ["Contents"]
    assert [len(names[role]) for role in ("banner", "main", "contentinfo")] == [1, 1, 1]
    assert "Summary" in names["region"]
    assert len(names["table"]) == page.evaluate("document.querySelectorAll('table').length")
    assert all(names["table"])
    pictures = names.get("image", []) + names.get("img", [])
    assert len(pictures) == 7
    assert all("The numbers are in" in name for name in pictures)
    assert {"columnheader", "rowheader", "button", "heading"} <= names.keys()
    page.call("Accessibility.disable")
