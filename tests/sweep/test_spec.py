"""Sweep specs: which points they hold, in which order, and what is wrong with bad ones."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from accelsim.base.errors import InputError
from accelsim.base.files import packaged_path
from accelsim.sweep import spec
from accelsim.sweep.axes import Interval, Levels, read_axis
from accelsim.sweep.spec import load_sweep, make_sweep, sweep_names
from accelsim.workload.trace import load_trace, save_trace

TRACE = "resnet9_cifar10"
SPEC = """\
format: accelsim-sweep/1
name: small
description: a test
design: sat_vcu1525
vary:
  workload: [resnet9_cifar10, vgg19_cifar100]
  method: [dense, bdwp]
  pattern: [2:4, 2:8]
  array.rows: [16, 32]
  dram.bandwidth_gb_per_s: 10:50:20
link: {array.cols: array.rows * 2}
where: ["array.rows * array.cols <= 2048", "method == 'bdwp' or array.rows == 16"]
"""


@pytest.mark.parametrize(
    ("path", "given", "values"),
    [
        ("array.rows", "16, 32,64", (16, 32, 64)),
        ("array.rows", [16, "32:64:16", 128], (16, 32, 48, 64, 128)),
        ("array.rows", 16, (16,)),
        ("array.rows", "64:16:-16", (64, 48, 32, 16)),
        ("array.rows", "64:8:*0.5", (64, 32, 16, 8)),
        ("array.rows", {"start": 8, "stop": 64, "factor": 2}, (8, 16, 32, 64)),
        ("dram.efficiency", "0.1:0.3:0.1", (0.1, 0.2, 0.3)),
        ("dram.efficiency", {"start": 0.7, "stop": 1.0, "step": 0.1}, (0.7, 0.8, 0.9, 1)),
        ("clock_hz", "1e8,200.0e+6", (1e8, 2e8)),
        ("array.row_port_elements_per_cycle", "null,8", (None, 8)),
        ("array.metadata_bits_per_value", "log2,0:4:2", ("log2", 0, 2, 4)),
        ("array.overlap_tiles", "true,false", (True, False)),
        ("array.dataflows", "[os],[os,ws]", (("os",), ("os", "ws"))),
        ("array.patterns", [["2:4", "2:8"], []], (("2:4", "2:8"), ())),
        ("pattern", "2:4,02:8", ("2:4", "2:8")),
        ("batch", "64:256:64", (64, 128, 192, 256)),
        ("energy", "fpga_vu9p", ("fpga_vu9p",)),
    ],
)
def test_levels(path: str, given: object, values: tuple[object, ...]) -> None:
    axis = read_axis(path, given)
    assert axis == Levels(path=path, values=values)


def test_intervals() -> None:
    bandwidth = read_axis("dram.bandwidth_gb_per_s", "10..1000 log")
    rows = read_axis("array.rows", {"low": 1, "high": 4})
    assert bandwidth == Interval(path="dram.bandwidth_gb_per_s", low=10, high=1000, log=True, whole=False)
    assert rows == Interval(path="array.rows", low=1, high=4, log=False, whole=True)
    assert [bandwidth.at(share) for share in (0, 0.25, 0.5, 1)] == [10, 31.6228, 100, 1000]
    assert [rows.at(share / 8) for share in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert read_axis("batch", "1..512 log").at(0.5) == 16  # the root of 0.5 x 512.5


def test_a_spec_file_and_the_same_from_python(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    sweep = load_sweep(path)
    points = list(sweep.points())
    assert sweep.count() == len(points) == 2 * (3 + 2 * 2 * 3)
    assert [
        (point.workload, point.case.method.name, point.case.head["pattern"], *(value for _, value in point.changes))
        for point in points[:6]
    ] == [
        (TRACE, "dense", None, "16", "10", "32"),
        (TRACE, "dense", None, "16", "30", "32"),
        (TRACE, "dense", None, "16", "50", "32"),
        (TRACE, "bdwp", "2:4", "16", "10", "32"),
        (TRACE, "bdwp", "2:4", "16", "30", "32"),
        (TRACE, "bdwp", "2:4", "16", "50", "32"),
    ]
    assert {(point.case.batch, point.case.optimizer.name, point.case.engine, point.design) for point in points} == {
        (512, "sgd", "closed", "sat_vcu1525")
    }
    assert sweep.changed == ("array.rows", "dram.bandwidth_gb_per_s", "array.cols")
    same = make_sweep(
        [TRACE, "vgg19_cifar100"],
        vary={"method": "dense,bdwp", "pattern": "2:4,2:8", "array.rows": [16, 32], "dram.bandwidth_gb_per_s": [10, 30, 50]},
        link={"array.cols": "array.rows * 2"},
        where=["array.rows * array.cols <= 2048", "method == 'bdwp' or array.rows == 16"],
    )  # fmt: skip
    assert list(same.points()) == points
    assert same.identity == sweep.identity


def test_paths_start_where_the_spec_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "specs, of mine"
    (folder / "nets").mkdir(parents=True)
    save_trace(load_trace(TRACE), folder / "nets" / "own.json")
    (folder / "mine.yaml").write_text((packaged_path("hw_configs") / "sat_vcu1525.yaml").read_text())
    (folder / "table.yaml").write_text((packaged_path("hw_configs") / "energy" / "fpga_vu9p.yaml").read_text())
    text = SPEC.replace("[resnet9_cifar10, vgg19_cifar100]", "[nets/own.json, vgg19_cifar100]")
    text = text.replace("design: sat_vcu1525", "design: mine.yaml").replace("vary:", "vary:\n  energy: table.yaml")
    (folder / "s.yaml").write_text(text)
    shown = {}
    for where, given in ((tmp_path, "specs, of mine/s.yaml"), (folder, "s.yaml"), (folder.parent, folder / "s.yaml")):
        monkeypatch.chdir(where)
        points = list(load_sweep(given).points())
        shown[str(given)] = {(one.workload, one.design, dict(one.changes)["energy"]) for one in points}
    wanted = {
        "specs, of mine/s.yaml": "specs, of mine/",
        "s.yaml": "",
        str(folder / "s.yaml"): f"{folder}/",
    }
    for given, start in wanted.items():
        design, table = f"{start}mine.yaml", f"{start}table.yaml"
        assert shown[given] == {(f"{start}nets/own.json", design, table), ("vgg19_cifar100", design, table)}


def test_a_path_that_leads_nowhere_is_named_from_here(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SPEC.replace("resnet9_cifar10", "own.json"))
    message = f"{tmp_path}/s.yaml:6: vary.workload: {tmp_path}/own.json: no such file"
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        load_sweep(tmp_path / "s.yaml")


def test_the_documented_spec_is_one(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", spec.__doc__ or "", re.DOTALL)
    assert example is not None
    (tmp_path / "documented.yaml").write_text(example[1])
    sweep = load_sweep(tmp_path / "documented.yaml")
    assert (sweep.name, sweep.fits, sweep.count()) == ("array_bandwidth", True, len(list(sweep.points())))
    whole = replace(sweep, sampling=None)
    assert set(sweep.points()) < set(whole.points())
    assert whole.count() == 2 * 2 * 8  # patterns, rows up to 32, bandwidths


def test_the_identity_follows_every_choice() -> None:
    common = {"vary": {"array.rows": "16,32"}, "where": ["array.rows > 1"], "link": {"array.cols": "array.rows"}}
    changes = [
        {},
        {"vary": {"array.rows": "32,16"}},
        {"vary": {"array.rows": "16,32", "batch": "64"}},
        {"where": []},
        {"link": {}},
        {"fits": True},
        {"design": "sat_edge_zcu104"},
        {"sample": 2},
        {"sample": 2, "seed": 1},
        {"sample": 2, "sampling": "latin-hypercube"},
    ]
    identities = [make_sweep([TRACE], **{**common, **change}).identity for change in changes]
    assert len(set(identities)) == len(changes)
    assert make_sweep(["vgg19_cifar100"], **common).identity not in identities


def test_a_link_may_be_written_either_way_round() -> None:
    one = make_sweep([TRACE], vary={"array.rows": "16,32"}, link={"array.cols": "array.rows"})
    other = make_sweep([TRACE], vary={"array.rows": "16,32"}, link={"array.rows": "array.cols"})
    assert one == other


def test_a_linked_count_is_a_whole_number() -> None:
    sweep = make_sweep([TRACE], vary={"array.rows": "16,32"}, link={"array.cols": "array.rows / 2"})
    assert [point.changes for point in sweep.points()] == [
        (("array.rows", "16"), ("array.cols", "8")),
        (("array.rows", "32"), ("array.cols", "16")),
    ]


def test_random_points_of_a_grid_are_different_and_follow_the_seed() -> None:
    vary = {"array.rows": "8,16,32", "array.cols": "8,16,32", "batch": "64,128"}
    whole = set(make_sweep([TRACE], vary=vary).points())
    drawn = [list(make_sweep([TRACE], vary=vary, sample=12, seed=seed).points()) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 12
    assert set(drawn[0]) < whole


def test_a_latin_hypercube_meets_every_part_of_every_axis_once() -> None:
    vary = {"array.rows": "1..40", "dram.bandwidth_gb_per_s": "10..50"}
    sweep = make_sweep([TRACE], vary=vary, sample=40, sampling="latin-hypercube", seed=3)
    columns = list(zip(*(dict(point.changes).values() for point in sweep.points()), strict=True))
    assert sorted(map(int, columns[0])) == list(range(1, 41))
    assert sorted(int(float(text) - 10) for text in columns[1]) == list(range(40))
    assert columns[0] != tuple(sorted(columns[0], key=int))


def test_shipped_sweeps() -> None:
    sizes = {name: load_sweep(name).count() for name in sweep_names()}
    assert list(sizes) == ["array_bandwidth", "buffer_sizing", "edge_budget", "paper_region", "pattern_method"]
    assert sizes["edge_budget"] >= 20_000


FIELDS = ("allowed: workload, method, pattern, batch, optimizer, engine, accumulate and fields of the design (accelsim schema design)")  # fmt: skip
MANY = {"vary": {"array.rows": "16,32"}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vary": {"aray.rows": "16"}}, f"--vary aray.rows: no such field; did you mean 'array.rows'?; {FIELDS}"),
        ({"vary": {"dram.bandwith": "16"}}, "--vary dram.bandwith: no such field; did you mean 'dram.bandwidth_gb_per_s'?; allowed: dram.channels, dram.bandwidth_gb_per_s, dram.efficiency, dram.capacity_gb, dram.dma_channels"),
        ({"vary": {"array.rows": ""}}, "--vary array.rows: has no value"),
        ({"vary": {"array.rows": []}}, "--vary array.rows: has no value"),
        ({"vary": {"array.rows": "16,,32"}}, "--vary array.rows: '16,,32' holds an empty value"),
        ({"vary": {"array.rows": "16,16"}}, "--vary array.rows: 16 stands twice"),
        ({"vary": {"array.rows": "10:80:-10"}}, "--vary array.rows: '10:80:-10': steps of -10 from 10 never reach 80"),
        ({"vary": {"array.rows": "10:80:0"}}, "--vary array.rows: '10:80:0': steps of 0 from 10 never reach 80"),
        ({"vary": {"array.rows": "10:75:10"}}, "--vary array.rows: '10:75:10': never reaches 75: 70 is followed by 80"),
        ({"vary": {"array.rows": "8:100:*2"}}, "--vary array.rows: '8:100:*2': never reaches 100: 64 is followed by 128"),
        ({"vary": {"array.rows": "8:100:*1"}}, "--vary array.rows: '8:100:*1': 8 times 1 again and again never reaches 100"),
        ({"vary": {"array.rows": "10:80"}}, "--vary array.rows: '10:80': a range has three parts, start:stop:step as in 10:80:10 or start:stop:*factor"),
        ({"vary": {"array.rows": "1:1e9:1"}}, "--vary array.rows: '1:1e9:1': has 1,000,000,000 values; at most 100,000 can be listed"),
        ({"vary": {"array.rows": {"start": 1}}}, "--vary array.rows: got the keys start; a range has start, stop and step or factor, an interval low, high and, where its values are to be spread over a logarithm, log"),
        ({"vary": {"array.rows": {"low": 1, "high": "8"}}}, "--vary array.rows: high: got '8'; a number is needed"),
        ({"vary": {"array.rows": {"low": 1, "high": 8, "log": 1}}}, "--vary array.rows: log: got 1; true or false is needed"),
        ({"vary": {"array.rows": "16..8"}}, "--vary array.rows: 16..8: the first end must be below the second"),
        ({"vary": {"array.rows": "0..8 log"}}, "--vary array.rows: 0..8 log: the ends must be above 0"),
        ({"vary": {"array.rows": "4..8"}}, "--vary array.rows: an interval lists no values; sample the sweep, or write a range"),
        ({"vary": {"array.rows": "2,4..8"}}, "--vary array.rows: '4..8': an interval stands alone, not in a list"),
        ({"vary": {"array.rows": "0,16"}}, "--vary array.rows: got 0; should be greater than or equal to 1"),
        ({"vary": {"array.dataflows": "[oss]"}}, '--vary array.dataflows: [0]: got "oss"; did you mean \'os\'?; allowed: os, ws, is'),
        ({"vary": {"schedule.dataflow": {"start": 1, "stop": 2, "step": 1}}}, "--vary schedule.dataflow: takes no range; list its values"),
        ({"vary": {"pattern": "1:8:1"}}, "--pattern: '1:8:1': a pattern is N:M and never a range; list the patterns, as in 2:4,2:8"),
        ({"vary": {"pattern": {"start": 1, "stop": 8, "step": 1}}}, "--pattern: takes no range; list its values, as in 2:4,2:8"),
        ({"vary": {"pattern": "8:2"}}, "--pattern: pattern 8:2: N of every M elements are kept, so 1 <= N <= M <= 1024 is needed, as in 2:8"),
        ({"vary": {"pattern": "2:4,2:8", "method": "dense"}}, "--pattern: no method of the sweep takes one: dense"),
        ({"vary": {"batch": "0"}}, "--batch: got 0; a whole number from 1 to 1048576 is needed"),
        ({"vary": {"batch": [None]}}, "--batch: got null; a value is needed"),
        ({"vary": {"engine": "close"}}, "--engine: engine 'close' is not known; did you mean 'closed'?; allowed: closed, event"),
        ({"vary": {"optimizer": "sdg"}}, "--optimizer: optimizer 'sdg' is not known; did you mean 'sgd'?; allowed: sgd, adam"),
        ({"vary": {"optimizer": [1]}}, "--optimizer: got 1; a name is needed"),
        ({"vary": [("batch", "1"), ("batch", "2")]}, "--batch: is given twice"),
        ({**MANY, "link": {"array.cols": "arry.rows"}}, "--link array.cols: 'arry.rows': 'arry.rows' is not known; did you mean 'array.rows'?"),
        ({**MANY, "link": {"pattern": "array.rows"}}, "--link pattern: pattern cannot be linked; fields of the design and batch can"),
        ({**MANY, "link": {"array.rows": "method"}}, "--link array.rows: method cannot be linked; fields of the design and batch can"),
        ({**MANY, "link": {"array.cols": "wuve.lanes"}}, "--link array.cols: 'wuve.lanes': nothing in it is varied"),
        ({**MANY, "link": {"array.cols": "array.cols + array.rows"}}, "--link array.cols: contradictory: is linked to itself by 'array.cols + array.rows'"),
        ({"vary": {"array.rows": "16", "array.cols": "8"}, "link": {"array.cols": "array.rows"}}, "--link array.cols: contradictory: is varied, and linked to 'array.rows'"),
        ({**MANY, "link": [("array.cols", "array.rows"), ("array.cols", "2 * array.rows")]}, "--link array.cols: contradictory: is linked to 'array.rows' and to '2 * array.rows'"),
        ({**MANY, "link": {"array.cols": "array.rows", "sore.lanes": "array.cols + array.rows"}}, "--link sore.lanes: 'array.cols + array.rows': array.cols is linked itself, to 'array.rows'; write what is varied"),
        ({**MANY, "where": ["array.rows > 100"]}, "--where: leaves no point: of 2 combinations, 'array.rows > 100' holds for 0"),
        ({**MANY, "where": ["array.rows > 16", "array.rows < 20"]}, "--where: leaves no point: of 2 combinations, 'array.rows > 16' holds for 1, 'array.rows < 20' holds for 1"),
        ({**MANY, "where": ["max(array.rows, 2) < 3"]}, "--where: 'max(array.rows, 2) < 3': a call (max) is not allowed; allowed: numbers, texts, names, + - * / // % **, comparisons, in [...], and, or, not"),
        ({**MANY, "where": ["array.rows"]}, "--where: 'array.rows': is 16, not true or false; write a comparison"),
        ({**MANY, "where": ["1 / (array.rows - 32) < 0"]}, "--where: '1 / (array.rows - 32) < 0': a division by zero where array.rows = 32"),
        ({**MANY, "link": {"array.cols": "16 // (array.rows - 32)"}}, "--link: '16 // (array.rows - 32)': a division by zero where array.rows = 32"),
        ({**MANY, "link": {"batch": "array.rows / 32"}}, "--link: 'array.rows / 32': a batch of 0.5; a whole number from 1 to 1048576 is needed"),
        ({**MANY, "sample": 3}, "--sample: 3 points of a grid of 2; sweep the grid itself"),
        ({**MANY, "sample": 0}, "--sample: points: got 0; should be greater than or equal to 1"),
        ({**MANY, "sample": 2, "sampling": "lhs"}, "--sampling: got 'lhs'; allowed: random, latin-hypercube"),
        ({**MANY, "design": "sat_vcu152"}, "design 'sat_vcu152': neither a file nor a shipped design; did you mean 'sat_vcu1525'?; shipped: sat_asic_28nm, sat_edge_zcu104, sat_vcu1525, sat_vcu1525_dense"),
        ({"vary": {"array.rows": "", "aray.cols": "1"}}, f"--vary array.rows: has no value\n--vary aray.cols: no such field; did you mean 'array.cols'?; {FIELDS}"),
    ],
)  # fmt: skip
def test_bad_input(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        make_sweep([TRACE], **arguments)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("array.rows: [16, 32]", "arry.rows: [16, 32]", f"FILE:9: vary.arry.rows: no such field; did you mean 'array.rows'?; {FIELDS}"),
        ("10:50:20", "10:50:30", "FILE:10: vary.dram.bandwidth_gb_per_s: '10:50:30': never reaches 50: 40 is followed by 70"),
        ("[2:4, 2:8]", "1:8:1", "FILE:8: vary.pattern: '1:8:1': a pattern is N:M and never a range; list the patterns, as in 2:4,2:8"),
        ("array.rows * 2", "dram.efficiency", "FILE:11: link.array.cols: 'dram.efficiency': nothing in it is varied"),
        ("<= 2048", "<= 2", "FILE:12: where: leaves no point: of 36 combinations, 'array.rows * array.cols <= 2' holds for 0, 'method == 'bdwp' or array.rows == 16' holds for 30"),
        ("array.rows == 16", "len(method) == 4", "FILE:12: where[1]: 'method == 'bdwp' or len(method) == 4': a call (len) is not allowed; allowed: numbers, texts, names, + - * / // % **, comparisons, in [...], and, or, not"),
        ("[resnet9_cifar10, vgg19_cifar100]", "[]", "FILE:6: vary.workload: has no value"),
        ("  workload: [resnet9_cifar10, vgg19_cifar100]\n", "", "FILE:6: vary.workload: missing; name a trace"),
        ("where:", "wher:", "FILE:12: wher: unknown key; did you mean 'where'?; allowed: format, name, description, design, vary, link, where, fits, sample"),
        ("format: accelsim-sweep/1", "format: accelsim-sweep/2", 'FILE:1: format: got "accelsim-sweep/2"; did you mean \'accelsim-sweep/1\'?; allowed: accelsim-sweep/1'),
        ("link: {array.cols: array.rows * 2}", "fits: board", 'FILE:11: fits: got "board"; should be a valid boolean'),
        ("  method:", "  pattern: [1:2]\n  method:", "FILE:9: key 'pattern' stands twice"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(SPEC.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_sweep(path)
    assert str(caught.value) == message.replace("FILE", str(path))


def test_an_unknown_sweep() -> None:
    message = "sweep 'edge': neither a file nor a shipped sweep; did you mean 'edge_budget'?; shipped: array_bandwidth, buffer_sizing, edge_budget, paper_region, pattern_method"
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        load_sweep("edge")


def test_a_sweep_shows_as_a_table_in_a_notebook() -> None:
    sweep = make_sweep(
        ["resnet9_cifar10"],
        vary={"batch": "32,64", "array.rows": "16,32", "dram.bandwidth_gb_per_s": "10..80 log"},
        link={"array.cols": "array.rows"},
        where=["batch < 64"],
        sample=3,
    )
    shown = sweep._repr_html_()
    assert re.search(r"<caption>sweep of sat_vcu1525: [0-3] points, 3 of them drawn \(random\)</caption>", shown)
    assert '<th scope="row">dram.bandwidth_gb_per_s</th><td>10 .. 80, logarithmic</td>' in shown
    assert '<th scope="row">array.cols</th><td>array.rows</td>' in shown
    assert '<th scope="row">where</th><td>batch &lt; 64</td>' in shown
