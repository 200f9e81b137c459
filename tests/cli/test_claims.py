"""``accelsim validate --paper``: the claims on the screen, as JSON and as a report; its errors."""

import json
from dataclasses import asdict
from pathlib import Path

from accelsim.studies.joint import Joint
from accelsim.studies.paper import compare_with_paper
from accelsim.studies.region import find_region
from accelsim.studies.sensitivity import Average, Sensitivity

SHOWN = """\
which                                            published    closed form  event engine, overlap
average speedup                                      1.75x          1.80x                  1.86x
throughput over earlier accelerators         2.97 - 25.22x  0.27 - 28.80x          0.29 - 30.75x
energy efficiency over earlier accelerators   1.36 - 3.58x          4.02x                  4.18x

speedup of BDWP at 2:8 over dense training
workload               closed form  event engine, overlap
resnet9_cifar10              1.91x                  1.96x
vgg19_cifar100               1.93x                  1.97x
vit_cifar100                 1.71x                  1.74x
resnet18_tinyimagenet        1.78x                  1.86x
resnet50_imagenet            1.67x                  1.75x

SAT, mean of the workloads, over earlier accelerators (GOP/s; GOP/s/W)
which              design                       its number  closed form  event engine, overlap
throughput         F-CNN                             62.06       21.80x                 23.28x
throughput         Automatic compiler (FPL'19)         479        2.82x                  3.02x
throughput         ETA                              610.98        2.21x                  2.36x
throughput         ETA (CIFAR-ResNet20)             658.64        2.05x                  2.19x
throughput         ETA (ResNet18)                   811.24        1.67x                  1.78x
throughput         EF-Train                          46.99       28.80x                 30.75x
energy efficiency  EF-Train                           6.09        4.02x                  4.18x
throughput         BFLOAT MLP training                5000        0.27x                  0.29x

region: 644 designs of the sweep paper_region fit their device (616 do not); 212 agree with 1.75x within 3%; with both
ends of the throughput range as well:
                                                                                                    W, were 3.58x over
25.22x over  2.97x over               designs  peak, GMAC/s     DRAM B/MAC  W, as modelled                    EF-Train
F-CNN        Automatic compiler            36     422 - 634  0.071 - 0.155         53 - 66                     65 - 72
             (FPL'19)
F-CNN        ETA                           18     512 - 691  0.071 - 0.128         56 - 67                     72 - 83
F-CNN        ETA (CIFAR-ResNet20)          12     563 - 691  0.071 - 0.116         59 - 67                     72 - 90
EF-Train     Automatic compiler            32     384 - 461  0.071 - 0.170         51 - 64                     54 - 65
             (FPL'19)
"""


def test_claims_on_the_screen(run) -> None:
    code, out, err = run("validate", "--paper")
    assert (code, err) == (0, "")
    assert "".join(f"{line.rstrip()}\n" for line in out.splitlines()) == SHOWN


def test_claims_as_json(run) -> None:
    code, out, err = run("validate", "--paper", "--json")
    assert (code, err) == (0, "")
    want = {"format": "accelsim-paper/1", **asdict(compare_with_paper()), "region": asdict(find_region())}
    assert json.loads(out) == json.loads(json.dumps(want))
    assert list(want) == ["format", "claims", "workloads", "ratios", "accelerators", "region"]


def test_a_folder_gets_the_report(run, tmp_path: Path, monkeypatch) -> None:
    known = Average(speedup=1.5, gops=1.0)
    moved = Sensitivity(assumption="batch", value="1", reason="least", closed=known, event=known)
    monkeypatch.setattr("accelsim.studies.reports.paper.sensitivities", lambda progress: (moved,))
    monkeypatch.setattr("accelsim.studies.reports.paper.bandwidth_for", lambda *_: None)
    joint = Joint(speedups=(1.5, 1.6), unfit=1, infeasible=0)
    monkeypatch.setattr("accelsim.studies.reports.paper.draw_together", lambda progress: joint)
    folder = tmp_path / "new" / "paper"
    code, out, err = run("validate", "--paper", "-o", str(folder))
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"written: {folder}"
    assert (folder / "report.md").read_text().startswith("# What the paper claims, and what the model says\n")


def test_errors_are_whole_messages(run, tmp_path: Path) -> None:
    assert run("validate", "tiles", "--paper") == (2, "", "error: --paper: runs no single check, got 'tiles'\n")
    file = tmp_path / "file"
    file.write_text("")
    assert run("validate", "--paper", "-o", str(file)) == (2, "", f"error: -o {file}: {file} is no directory\n")
    assert run("validate", "sore", "-o", str(file / "x")) == (2, "", f"error: -o {file}/x: {file} is no directory\n")
