"""``accelsim import`` and ``accelsim export``, in process: what they print and write, and that errors leave nothing."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

import accelsim as acs
from accelsim.cli import main

ALEXNET = """\
Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides, Sparsity,
Conv1, 227, 227, 11, 11, 3, 96, 4,
Conv3, 13, 13, 3, 3, 256, 384, 1, 2:8,
"""
GPT = "Layer, M, N, K, Sparsity,\nproj, 8, 64, 64, 2:8,\nhead, 8, 100, 64, 1:1,\n"
GAPS = """\
note: the file holds the forward pass alone; BP and WU are derived from it
note: every layer has a trained weight of its own; a product of two activations (attention) would look the same
note: layers run in the order of the file; how they are connected is not in it
note: no biases, normalisation, activation functions, pooling or other vector work: none is in the file
note: the IFMAP belongs to one sample and holds its padding; what part of it is padding is not in the file
note: Sparsity is that of the weights in FF; BP and WU are dense
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        captured = capsys.readouterr()
        errors = "".join(line for line in captured.err.splitlines(keepends=True) if not line.startswith("compiling"))
        return code, captured.out, errors

    return call


def test_import_writes_a_trace_that_can_be_simulated(run) -> None:
    Path("alexnet.csv").write_text(ALEXNET)
    code, out, err = run("import", "alexnet.csv", "-o", "alexnet.json")
    macs, weights = 55 * 55 * 96 * 363 + 11 * 11 * 384 * 2304, 96 * 363 + 384 * 2304
    assert (code, err) == (0, GAPS)
    assert out == f"alexnet.json: 2 operations, {macs:,} MACs forward per sample, {weights:,} parameters\n"
    trace = acs.load_trace("alexnet.json")
    assert trace.origin.command == "accelsim import alexnet.csv -o alexnet.json"
    code, out, _ = run("simulate", "alexnet.json", "--method", "traced", "--batch", "8", "--json")
    layers = json.loads(out)["layers"]
    assert code == 0
    assert {(row["name"], row["stage"]) for row in layers if row.get("pattern")} == {("Conv3", "FF"), ("Conv3[FF copy]", "GENERATE")}  # fmt: skip


def test_import_takes_names_batches_and_sizes(run) -> None:
    Path("net.txt").write_text("Layer, M, N, K,\nfc, 8, N, 16,\n")
    arguments = ["--format", "scalesim", "--name", "my net", "--batch", "4", "--size", "N=32"]
    assert run("import", "net.txt", *arguments, "-o", "net.json.gz")[0] == 0
    trace = acs.load_trace("net.json.gz")
    assert (trace.model, trace.operations[0].rows, trace.operations[0].out_features) == ("my net", 2, 32)
    assert trace.origin.command == (
        "accelsim import net.txt --format=scalesim '--name=my net' --batch=4 --size=N=32 -o net.json.gz"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.csv", "-o", "t.json"], "error: net.csv:2: Strides (in 'c'): got '0'; a whole number from 1 to 16777216 is"
                                      " needed\nerror: net.csv:3: got 1 of 8 values (in 'd'); missing: IFMAP Height, IFMAP"
                                      " Width, Filter Height, Filter Width, Channels, Num Filter, Strides\n"),
        (["none.csv", "-o", "t.json"], "error: none.csv: no such file\n"),
        (["net.csv", "-o", "t.csv"], "error: -o t.csv: the name of a trace ends in .json or .json.gz\n"),
        (["net.csv", "-o", "no/t.json"], "error: -o no/t.json: no directory no\n"),
        (["net.csv"], "error: Missing option '-o' / '--output'. (try: accelsim import --help)\n"),
        (["net.csv", "--format", "scalsim", "-o", "t.json"],
         "error: format 'scalsim' is not known; did you mean 'scalesim'?; allowed: scalesim, onnx, kineto, execution-trace\n"),
        (["net.csv", "--size", "B", "-o", "t.json"],
         "error: --size B: expected DIM=NUMBER with a whole number, as in batch=1\n"),
        (["net.csv", "--size", "B=-1", "-o", "t.json"],
         "error: --size B=-1: expected DIM=NUMBER with a whole number, as in batch=1\n"),
        (["net.csv", "--size", "B=1", "--size", "B=2", "-o", "t.json"], "error: --size B=2: B is set twice\n"),
        (["net.csv", "--batch", "0", "-o", "t.json"],
         "error: Invalid value for '--batch': 0 is not in the range 1<=x<=1048576. (try: accelsim import --help)\n"),
        (["t.json", "-o", "t.json"], "error: -o t.json: is the file to import\n"),
    ],
)  # fmt: skip
def test_a_failed_import_is_exit_code_2_and_leaves_what_was_there(run, arguments: list[str], message: str) -> None:
    rows = "c, 8, 8, 3, 3, 4, 4, 0,\nd,\n"
    Path("net.csv").write_text(ALEXNET.splitlines()[0].removesuffix(" Sparsity,") + "\n" + rows)
    Path("t.json").write_text("precious")
    assert run("import", *arguments) == (2, "", message)
    assert Path("t.json").read_text() == "precious"
    assert sorted(path.name for path in Path().iterdir()) == ["net.csv", "t.json"]


def test_simulate_reads_a_topology_as_import_does(run) -> None:
    Path("net.csv").write_text(ALEXNET)
    imported = run("import", "net.csv", "-o", "net.json")[2]
    assert imported.startswith("note: the file holds the forward pass alone; BP and WU are derived from it\n")
    masks = (
        "this trace has masks, which the default method replaces by its own: --method traced runs them as they are\n"
    )
    assert run("simulate", "net.json", "--batch", "8", "-o", "of_trace.json")[2] == f"note: net: {masks}"
    code, out, err = run("simulate", "net.csv", "--batch", "8", "-o", "of_file.json")
    assert (code, err, out.splitlines()[0]) == (
        0, f"{imported}note: net: {masks}", "net, one training step of 8 samples on sat_vcu1525 (closed engine)",
    )  # fmt: skip
    assert Path("of_file.json").read_text() == Path("of_trace.json").read_text()
    assert run("compare", "net.csv", "--batch", "8")[2] == f"{imported}note: net: {masks}"
    assert run("simulate", "nothing.csv")[0] == 2


def test_export_of_convolutions_comes_back_as_it_was(run) -> None:
    Path("a.csv").write_text(ALEXNET)
    run("import", "a.csv", "-o", "a.json")
    assert run("export", "a.json", "--format", "scalesim", "-o", "b.csv") == (0, "b.csv: 2 convolutions\n", "")
    assert Path("b.csv").read_text().splitlines()[1:] == [
        "Conv1,227,227,11,11,3,96,4,1:1,", "Conv3,13,13,3,3,256,384,1,2:8,",
    ]  # fmt: skip
    run("import", "b.csv", "-o", "b.json")
    assert acs.load_trace("a.json").operations == acs.load_trace("b.json").operations


def test_export_of_linear_layers_is_a_topology_of_gemms(run) -> None:
    Path("a.csv").write_text(GPT)
    run("import", "a.csv", "-o", "a.json")
    assert run("export", "a.json", "--format", "scalesim", "-o", "b.csv") == (0, "b.csv: 2 GEMMs\n", "")
    assert Path("b.csv").read_text() == GPT.replace(", ", ",")
    code, _, err = run("export", "a.json", "--format", "scalesim", "--batch", "2", "-o", "b.csv")
    assert (code, err) == (0, "note: written as GEMMs, a topology of convolutions cannot hold a batch of 2\n")
    assert Path("b.csv").read_text() == GPT.replace(", ", ",").replace(",8,", ",16,")


def test_export_says_why_it_writes_gemms_and_what_it_leaves_out(run) -> None:
    code, out, err = run("export", "vit_cifar100", "--format", "scalesim", "-o", "vit.csv")
    assert (code, out) == (0, "vit.csv: 198 GEMMs\n")
    assert err == (
        "note: written as GEMMs, a topology of convolutions cannot hold products of two activations"
        " (blocks.0.attn.matmul, blocks.0.attn.matmul_2, blocks.1.attn.matmul and 11 more)\n"
        "note: not written: 89 vector operations, 62 parameters outside of products (biases and the like)\n"
        "note: not written: data-flow edges; layers run one by one\n"
    )
    run("import", "vit.csv", "-o", "vit.json")
    assert acs.load_trace("vit.json").macs == acs.load_trace("vit_cifar100").macs


def test_export_of_a_training_step_has_its_products_with_the_ratio_of_the_method(run) -> None:
    options = ["--stage", "BP", "--stage", "WU", "--method", "bdwp", "--pattern", "2:8", "--batch", "2"]
    code, out, err = run("export", "resnet18_tinyimagenet", "--format", "scalesim", *options, "-o", "step.csv")
    assert (code, out) == (0, "step.csv: 50 GEMMs\n")
    assert "note: BP kept dense, last layer: fc" in err.splitlines()
    rows = [line.split(",") for line in Path("step.csv").read_text().splitlines()]
    assert rows[0] == ["Layer", "M", "N", "K", "Sparsity", ""]
    assert rows[1] == ["fc BP", "2", "512", "200", "1:1", ""]
    assert rows[2] == ["fc WU", "512", "200", "2", "1:1", ""]
    assert ["layer4.1.conv2 BP", "8", "512", "4608", "2:8", ""] in rows
    step = acs.simulate(acs.load_trace("resnet18_tinyimagenet"), acs.load_design("sat_vcu1525"), batch=2)
    want = sum(layer.m * layer.n * layer.k * layer.count for layer in step.layers if layer.stage in {"BP", "WU"})
    assert sum(int(m) * int(n) * int(k) for _, m, n, k, *_ in rows[1:]) == want


def test_a_stage_of_a_step_has_more_products_than_the_forward_pass_and_its_own_ratio(run) -> None:
    Path("a.csv").write_text(GPT.replace("1:1", "2:8"))
    run("import", "a.csv", "-o", "a.json")
    data = json.loads(Path("a.json").read_text())
    data["operations"][0]["recomputed"] = True
    Path("a.json").write_text(json.dumps(data))

    def rows(*options: str) -> list[str]:
        assert run("export", "a.json", "--format", "scalesim", *options, "-o", "b.csv")[0] == 0
        return Path("b.csv").read_text().splitlines()[1:]

    assert rows() == ["proj,8,64,64,2:8,", "head,8,100,64,2:8,"]
    assert rows("--stage", "FF") == ["proj,8,64,64,2:8,", "head,8,100,64,2:8,"]
    assert rows("--stage", "BP") == ["head,8,64,100,1:1,", "proj[recomputed],8,64,64,2:8,"]
    assert rows("--method", "dense") == ["proj,8,64,64,", "head,8,100,64,"]
    assert rows("--method", "sr-ste", "--pattern", "1:8", "--stage", "FF")[:2] == ["proj,8,64,64,", "head,8,100,64,"]
    assert rows("--method", "traced") == ["proj,8,64,64,2:8,", "head,8,100,64,2:8,"]


def test_export_for_timeloop_is_a_directory_with_one_file_per_layer(run) -> None:
    code, out, err = run("export", "resnet18_tinyimagenet", "--format", "timeloop", "--batch", "2", "-o", "problems")
    assert (code, out) == (0, "problems: 21 problems\n")
    assert err.startswith(
        "note: padding is written as part of Inputs: conv1, layer1.0.conv1, layer1.0.conv2 and 14 more\n"
    )
    files = sorted(Path("problems").iterdir())
    assert [files[0].name, files[-1].name] == ["00_conv1.yaml", "20_fc.yaml"]
    bounds = [yaml.safe_load(file.read_text())["problem"] for file in files]
    macs = 0
    for problem in bounds:
        product = 1
        for dimension in problem["shape"]["dimensions"]:
            product *= problem["instance"][dimension]
        macs += product
    assert macs == 2 * acs.load_trace("resnet18_tinyimagenet").macs
    again = run("export", "resnet18_tinyimagenet", "--format", "timeloop", "-o", "problems")
    assert again == (2, "", "error: problems: exists; a new or an empty directory is needed\n")
    assert sorted(Path("problems").iterdir()) == files
    assert run("export", "bert_base_128", "--format", "timeloop", "--stage", "FF", "-o", "bert")[:2] == (
        0, "bert: 74 problems\n",
    )  # fmt: skip


def test_a_topology_has_its_layout_file_beside_it(run) -> None:
    Path("a.csv").write_text(GPT)
    run("import", "a.csv", "-o", "a.json")
    for _ in range(2):  # a layout of ours is written again
        assert run("export", "a.json", "--format", "scalesim", "-o", "b.csv")[0] == 0
        layout = Path("b_layout.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in layout] == ["Layer name", "proj", "head"]
    Path("b_layout.csv").write_text("my notes\n")
    topology = Path("b.csv").read_text()
    assert run("export", "a.json", "--format", "scalesim", "--batch", "2", "-o", "b.csv") == (
        2, "", "error: b_layout.csv: exists and is no layout file of ours; the one of this topology would replace it\n",
    )  # fmt: skip
    assert (Path("b.csv").read_text(), Path("b_layout.csv").read_text()) == (topology, "my notes\n")


@pytest.mark.parametrize(("form", "what"), [("zigzag", "21 layers"), ("accelforge", "21 Einsums")])
def test_export_for_zigzag_and_accelforge_is_one_yaml_file(run, form: str, what: str) -> None:
    arguments = ["resnet18_tinyimagenet", "--format", form, "--batch", "2", "-o", "net.yaml"]
    code, out, err = run("export", *arguments)
    assert (code, out) == (0, f"net.yaml: {what}\n")
    assert "note: not written: 49 vector operations, 41 parameters outside of products (biases and the like)" in err
    assert (
        macs_of(form, yaml.safe_load(Path("net.yaml").read_text())) == 2 * acs.load_trace("resnet18_tinyimagenet").macs
    )


@pytest.mark.parametrize("form", ["zigzag", "accelforge"])
def test_the_products_of_a_step_are_the_same_in_each_format(run, form: str) -> None:
    options = ["--stage", "BP", "--stage", "WU", "--method", "bdwp", "--pattern", "2:8", "--batch", "2"]
    run("export", "resnet18_tinyimagenet", "--format", "scalesim", *options, "-o", "step.csv")
    code, _, err = run("export", "resnet18_tinyimagenet", "--format", form, *options, "-o", "step.yaml")
    assert code == 0
    assert "sparsity; written dense: " in err
    rows = [line.split(",")[1:4] for line in Path("step.csv").read_text().splitlines()[1:]]
    data = yaml.safe_load(Path("step.yaml").read_text())
    assert macs_of(form, data) == sum(int(m) * int(n) * int(k) for m, n, k in rows)
    if form == "zigzag":
        assert [(layer["name"], layer["operand_source"], layer["operand_precision"]["O_final"]) for layer in data[:2]] == [
            ("fc BP", {"W": 0}, 16), ("fc WU", {}, 32),
        ]  # fmt: skip


def macs_of(form: str, data: Any) -> int:
    if form == "zigzag":
        return sum(math.prod(layer["loop_sizes"]) for layer in data)
    sizes = data["workload"]["rank_sizes"]
    tensors = [[access["projection"] for access in einsum["tensor_accesses"]] for einsum in data["workload"]["einsums"]]
    looped = [
        {rank for projection in ranks for rank, index in projection.items() if "*" not in index} for ranks in tensors
    ]
    return sum(math.prod(sizes[rank] for rank in ranks) for ranks in looped)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet18_tinyimagenet", "--format", "zigzag", "-o", "a.csv"],
         "error: -o a.csv: got suffix '.csv'; allowed: .yaml\n"),
        (["resnet18_tinyimagenet", "--format", "zigzag", "--hw", "nosuch", "-o", "a.yaml"],
         "error: design 'nosuch': neither a file nor a shipped design; shipped: "),
        (["resnet18_tinyimagenet", "-o", "a.csv"], "error: Missing option '--format'. (try: accelsim export --help)\n"),
        (["resnet18_tinyimagenet", "--format", "scalesm", "-o", "a.csv"],
         "error: --format scalesm: not known; did you mean 'scalesim'?; allowed: scalesim, timeloop, zigzag, accelforge\n"),
        (["resnet18_tinyimagenet", "--format", "scalesim", "-o", "a.txt"],
         "error: -o a.txt: got suffix '.txt'; allowed: .csv\n"),
        (["resnet18_tinyimagenet", "--format", "scalesim", "--stage", "X", "-o", "a.csv"],
         "error: --stage X: not known; allowed: FF, BP, WU\n"),
        (["resnet18_tinyimagenet", "--format", "scalesim", "--pattern", "2:8", "-o", "a.csv"],
         "error: --pattern 2:8: needs a method, as in --method bdwp\n"),
        (["resnet18_tinyimagenet", "--format", "scalesim", "--method", "bdwp", "-o", "a.csv"],
         "error: method 'bdwp' needs a pattern, as in 2:8\n"),
        (["resnet18_tinyimagenet", "--format", "scalesim", "--method", "bdwp", "--pattern", "3:7", "-o", "a.csv"],
         "error: pattern 3:7: design 'sat_vcu1525' has no such mode; allowed: 1:2,"),
        (["none.json", "--format", "timeloop", "-o", "out"], "error: none.json: no such file\n"),
        (["resnet18_tinyimagenet", "--format", "timeloop", "-o", "no/out"],
         "error: no/out: cannot be written: No such file or directory\n"),
    ],
)  # fmt: skip
def test_a_failed_export_is_exit_code_2_and_leaves_nothing(run, arguments: list[str], message: str) -> None:
    code, out, err = run("export", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert list(Path().iterdir()) == []
