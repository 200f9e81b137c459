"""Words a person reads: help without a command, lists, the glossary, warnings, and messages that show what works."""

import re

import pytest

import accelsim as acs
from accelsim.results.glossary import GLOSSARY, explained, words_in

TRACE = "resnet18_tinyimagenet"


def test_without_a_command_help_is_printed(run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert out == run("--help")[1]
    assert "  explain    Say what a word of results means: drain, split, 'os 2x2x2'.\n" in out


def test_list_without_a_kind_lists_all_that_is_shipped(run) -> None:
    code, out, err = run("list")
    assert (code, err) == (0, "")
    for kind in ("workloads", "designs", "platforms", "methods", "recipes", "sweeps", "measured"):
        assert f"{kind}\n{run('list', kind)[1]}" in out, kind
    assert out.endswith("\naccelsim list parameters shows what --set changes of a design\n")


def test_explain_says_what_a_cell_of_a_table_means(run) -> None:
    code, out, err = run("explain", "drain", "os 2x2x2")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == [
        "word",
        "drain",
        "os",
        "interleave",
    ]
    flat = re.sub(r"\s+", " ", out)
    for word in ("drain", "os", "interleave"):
        (meaning,) = (entry.meaning for entry in GLOSSARY if entry.name == word)
        assert meaning in flat
    everything = run("explain")[1]
    assert sum(not line.startswith(" ") for line in everything.splitlines()) == 1 + len(GLOSSARY)


def test_explain_refuses_a_word_that_it_does_not_know(run) -> None:
    allowed = ", ".join(word.name for word in GLOSSARY)
    assert run("explain", "drian") == (
        2, "", f"error: explain 'drian': no such word; did you mean 'drain'?; allowed: {allowed}\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[phase 0,1]", ["[phase 0,1]"]), ("conv1[phase 1,1]", ["[phase 0,1]"]), ("ws chain 4", ["ws", "chain"]),
        ("is split", ["is", "split"]), ("2:8", ["N:M"]), ("kmn", ["loop order"]), ("WUVE", ["WUVE"]), ("ff", ["FF"]),
        ("qk[dB]", ["[dA]"]), ("fc[FF copy]", ["[FF copy]"]), ("down[run 2]", ["[run 1]"]),
    ],
)  # fmt: skip
def test_forms_of_words(text: str, words: list[str]) -> None:
    assert [word.name for word in explained(text)] == words


@pytest.mark.parametrize("engine", ["closed", "event"])
def test_every_word_of_a_result_is_explained(engine: str) -> None:
    trace, design = acs.load_trace("resnet50_imagenet"), acs.load_design("sat_vcu1525")
    result = acs.simulate(trace, design, batch=4, engine=engine)
    known = {word.name for word in GLOSSARY}
    for layer in result.layers:
        assert {layer.stage, layer.bound} <= known
        assert layer.loop_order is None or [word.name for word in explained(layer.loop_order)] == ["loop order"]
        if layer.dataflow is not None:
            assert len(explained(f"{layer.dataflow} {layer.variant or layer.interleave}")) == 2
        for form in re.findall(r"\[.*?\]", layer.name):
            assert explained(form), form
    assert {"FF", "VECTOR"} <= {word.name for word in words_in(layer.stage for layer in result.layers)}


def test_warnings_name_all_their_operations_where_asked(run) -> None:
    options = (TRACE, "--batch", "8", "--dense", "layer1.*", "--dense", "layer2.*")
    few, every = (run("simulate", *options, *more)[1] for more in ((), ("--warnings", "all")))
    (line,) = (line for line in few.splitlines() if line.startswith("  kept dense, --dense: "))
    names = line.partition(": ")[2].removesuffix(" more (--warnings all)")
    shown, _, left = names.rpartition(" and ")
    (line,) = (line for line in every.splitlines() if line.startswith("  kept dense, --dense: "))
    assert line.partition(": ")[2].split(", ")[: len(shown.split(", "))] == shown.split(", ")
    assert len(re.findall(r"\(", line)) == len(re.findall(r"\(", shown)) + int(left)
    assert "more (--warnings all)" not in every
    compared = run("compare", *options, "--warnings", "all")[1]
    assert line in compared.splitlines()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--sparse", "fc:2:8"], "--sparse fc:2:8: expected GLOB or GLOB=N:M, as in 'fc=2:8' or 'layer1.*'"),
        (["--sparse", "2:4"], "--sparse 2:4: expected GLOB or GLOB=N:M, as in 'fc=2:4' or 'layer1.*'"),
        (["--sparse", "=2:4"], "--sparse =2:4: expected GLOB or GLOB=N:M, as in 'fc=2:8' or 'layer1.*'"),
        (["--sparse", "fc=2-8"], "--sparse fc=2-8: pattern '2-8': expected N:M with two whole numbers, as in 2:8"),
        (["--set", "array.patterns=2:8,1:4"],
         "--set array.patterns=2:8,1:4: a list is needed, as in 'array.patterns=[2:8, 1:4]'"),
        (["--set", "array.dataflows=os"], "--set array.dataflows=os: a list is needed, as in 'array.dataflows=[os]'"),
    ],
)  # fmt: skip
def test_a_message_shows_what_works(run, option: list[str], message: str) -> None:
    assert run("simulate", TRACE, *option) == (2, "", f"error: {message}\n")


def test_the_list_that_a_message_shows_works(run) -> None:
    code, out, _ = run("simulate", TRACE, "--batch", "8", "--set", "array.patterns=[2:8, 1:4]")
    head = f"{TRACE}, one training step of 8 samples on sat_vcu1525 + array.patterns 2:8/1:4 (closed engine)"
    assert (code, out.splitlines()[0]) == (0, head)


@pytest.mark.parametrize("spec", ["64:int64:VOCAB", "64:int64", "64xint64", "64:int32:100"])
def test_a_message_shows_how_tokens_are_given(run, spec: str) -> None:
    pytest.importorskip("torch", reason="tracing needs the torch extra")
    assert run("trace", "nothing.py:model", "--input", spec, "-o", "trace.json") == (
        2, "", f"error: input '{spec}': SIZExSIZE as in 3x64x64 (float32, without the batch) or SIZE:int64:BOUND as in"
        " 128:int64:30522 (128 tokens below 30522, the size of the vocabulary) is needed\n",
    )  # fmt: skip


def test_files_are_written_before_anything_is_printed(run, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("accelsim.cli.screen.show_result", closed)
    design, result = tmp_path / "my.yaml", tmp_path / "r.json"
    changed = ("--set", "array.rows=16", "--save-design", str(design))
    assert run("simulate", TRACE, "--batch", "8", *changed, "-o", str(result)) == (1, "", "")
    assert acs.load_design(design).array.rows == 16
    assert result.is_file()
