"""Elements and tables: what is text stays text."""

from html_checks import read_page

from accelsim.base.markup import Html, Number, data_table, element


def test_texts_and_attributes_are_escaped_once() -> None:
    inner = element("b", "<&>")
    assert inner == "<b>&lt;&amp;&gt;</b>"
    assert element("p", inner, " \"'", title='"<', aria_label="x", hidden=True, id=None, class_=False) == (
        '<p title="&quot;&lt;" aria-label="x" hidden><b>&lt;&amp;&gt;</b> &quot;&#x27;</p>'
    )
    assert element("br") == "<br>"
    assert element("p", Html("<i></i>")) == "<p><i></i></p>"


def test_a_table_names_its_rows_and_columns() -> None:
    table = data_table("c", ("name", "value"), [("<a>", Number("1.2 ms", 0.0012)), ("b", "")])
    page = read_page(table)
    heads = [(head.text, head.attributes) for head in page.all("th")]
    assert heads == [
        ("name", {"scope": "col"}),
        ("value", {"scope": "col", "class": "number"}),
        ("<a>", {"scope": "row"}),
        ("b", {"scope": "row"}),
    ]
    assert [(cell.text, cell.attributes) for cell in page.all("td")] == [("1.2 ms", {"data-v": "0.0012"}), ("", {})]
    assert read_page(data_table("none", ("a", "b"), [])).all("td") == []
