"""Every format that is read, with a small good file of it and the commands that read it."""

import gzip
import importlib.util
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from attempts import run
from damages import FREE, Syntax, binary_syntax, json_syntax, packed, table_syntax, yaml_syntax

from accelsim.base.files import packaged_path
from accelsim.workload import trace as trace_module
from accelsim.workload.masks_file import save_masks

RECORDINGS = Path(__file__).with_name("recordings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line; `{file}` is the file, `out.*` what it writes. `keeps`: a refusal may leave rows that are done."""

    line: str
    keeps: bool = False

    def arguments(self, file: str) -> list[str]:
        """The words of the line."""
        return [word.replace("{file}", file) for word in self.line.split()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format: the name of its good file, how it is damaged, and who reads it.

    `beside`: files that stand beside it, by name. `named`: what a message has to name where that is another file.
    """

    name: str
    file: str
    content: bytes
    syntax: Syntax
    commands: Sequence[Command]
    beside: Mapping[str, bytes] = field(default_factory=dict)


def commands(*lines: str) -> tuple[Command, ...]:
    """Commands by their lines; one that ends in `!` keeps what it has done."""
    return tuple(Command(line=line.removesuffix("!"), keeps=line.endswith("!")) for line in lines)


TRACE = commands(
    "check {file}", "check {file}", "simulate {file} --batch 8", "simulate {file} --batch 8 --method traced --json",
    "simulate {file} --batch 4 --engine event --timeline out.json", "simulate {file} --batch 8 --mode infer -o out.csv",
    "simulate {file} --steps 20 --batch 8 --method dense-then-sparse -o out.json", "simulate {file} --batch 8 --by-layer",
    "simulate --phase {file}:20 --batch 8", "info {file}", "info {file} --all --json", "schedule {file} --batch 8 -o out.json",
    "compare {file} --batch 8 -o out.csv", "compare {file} --batch 8 --platform rtx2080ti", "diff {file} good.json",
    "export {file} --format scalesim -o out.csv", "export {file} --stage FF --format timeloop -o out",
    "export {file} --stage FF --format zigzag -o out.yaml", "export {file} --stage FF --format accelforge -o out.yaml",
    "flops {file} --batch 8", "ablate {file} --batch 8 --method dense", "sweep {file} --batch 8 --vary array.rows=16,32 --jobs 1 -o out.csv!",
    "report {file} --batch 8 -o out",
)  # fmt: skip
DESIGN = commands(
    "check {file}", "check {file}", "simulate good.json --batch 8 --hw {file}", "schedule good.json --batch 8 --hw {file}",
    "compare good.json --batch 8 --hw sat_vcu1525 --hw {file}", "info good.json --hw {file}", "list parameters --hw {file}",
    "simulate good.json --batch 8 --hw {file} --set array.cols=8 -o out.json",
    "export good.json --method bdwp --pattern 2:8 --stage FF --format zigzag --hw {file} -o out.yaml",
    "sweep good.json --hw {file} --batch 8 --vary array.rows=16,32 --jobs 1 -o out.csv!",
)  # fmt: skip
RESULT = commands(
    "check {file}", "results {file}", "results {file} --json", "results {file} -o out.csv", "diff {file} {file}",
    "diff {file} good_result.json", "plot speedup {file} -o out.svg", "plot stages {file} -o out.svg",
    "plot energy {file} -o out.png", "plot layer-speedup {file} -o out.svg",
    "plot roofline {file} --where method=bdwp -o out.svg", "report {file} -o out",
)  # fmt: skip
TABLE = commands(
    "results {file}", "results {file} --by latency_s --json", "results {file} --where array.rows>16 -o out.csv",
    "pareto {file} -x latency_s -y energy_j", "pareto {file} -x cycles -y effective_gops -o out.csv",
    "plot sweep {file} -o out.svg", "plot sweep-map {file} -o out.svg", "plot pareto {file} -o out.svg", "diff {file} {file}",
    "plot sensitivity {file} -o out.svg", "report {file} -o out",
    "sweep good.json --batch 8 --vary array.rows=16,32 --vary array.cols=8,16 --jobs 1 -o {file}!",
)  # fmt: skip
RECORDING = ("import {file} -o out.json --batch 2", "import {file} -o out.json.gz --name x --batch 2")
IMPORT = "import {file} -o out.json"


def example_trace() -> bytes:
    """The example of the trace format's documentation, with a few more kinds of operations and what was observed."""
    example = re.search(r"```json\n(.*?)```", trace_module.__doc__ or "", re.DOTALL)
    assert example is not None
    data = json.loads(example[1])
    mask = {"density": 0.25, "mask": "good.masks.npz#fc.weight", "pattern": "2:8", "axis": "input"}
    data["operations"][3]["observed"] = {"FF": {"weight": mask}}
    data["operations"] += [
        {"name": "up", "kind": "conv_transpose2d", "in_channels": 4, "out_channels": 8, "in_size": [4, 4],
         "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "output_padding": [1, 1], "weight": {"name": "up.weight"}},
        {"name": "attention", "kind": "matmul", "batch": 2, "m": 8, "n": 8, "k": 4},
        {"name": "last", "kind": "linear", "in_features": 8, "out_features": 8, "rows": 4, "weight": {"name": "last.w"}},
    ]  # fmt: skip
    data["parameters"] += 4 * 8 * 9 + 64
    return json.dumps(data, indent=1).encode()


def _made(folder: Path, line: str, name: str) -> bytes:
    """The file that a command writes."""
    outcome = run(line.split(), folder, limit_s=600)  # kernels may have to be compiled
    assert outcome.code == 0, (line, outcome)
    return (folder / name).read_bytes()


def _shipped(path: str) -> bytes:
    return (packaged_path("hw_configs") / path).read_bytes()


SWEEP_SPEC = b"""format: accelsim-sweep/1
name: small
description: a few designs
design: sat_vcu1525
vary:
  workload: [good.json]
  array.rows: [16, 32]
  dram.bandwidth_gb_per_s: 10:30:10
  batch: [8]
link:
  array.cols: array.rows
where: ["array.rows >= 16"]
"""
SCALESIM = b"""Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides, Sparsity,
conv1,34,34,3,3,3,16,1,1:1,
conv2,34,34,3,3,16,32,1,2:4,
fc,1,1,1,1,32,10,1,2:4,
"""
ACCELSIM_MASKS = np.tile([True, True, *[False] * 6], (46, 2))


def formats(folder: Path) -> list[Format]:
    """Make a good file of every format in `folder`, and say who reads each; of what is installed."""
    trace = example_trace()
    (folder / "good.json").write_bytes(trace)
    save_masks(folder / "good.masks.npz", {"fc.weight": ACCELSIM_MASKS})
    masks = (folder / "good.masks.npz").read_bytes()
    made = lambda line, name: _made(folder, line, name)  # noqa: E731
    return [
        *_traces(trace, masks),
        *_of_hardware(),
        *_of_results(made),
        *_tables(made),
        *_of_other_tools(),
    ]


def _traces(trace: bytes, masks: bytes) -> list[Format]:
    loose = r"^origin|^model|name$|\.mask$|description"
    beside = {"good.masks.npz": masks}
    run_file = json.dumps(
        {"format": "accelsim-run/1", "steps": 20, "trace": json.loads(trace),
         "samples": [{"step": 0, "observed": {}}, {"step": 10, "observed": {"fc": {"FF": {"weight": {"density": 0.25,
                                                             "pattern": "2:8", "axis": "input"}}}}}]}
    ).encode()  # fmt: skip
    runs = commands("simulate {file} --batch 8", "simulate {file} --batch 8 -o out.json --json")
    syntax = json_syntax(loose=r"^$")
    return [
        Format(name="trace", file="tried.json", content=trace, syntax=syntax, commands=TRACE, beside=beside),
        Format(name="trace.gz", file="tried.json.gz", content=gzip.compress(trace, mtime=0), syntax=packed(syntax),
               commands=TRACE, beside=beside),
        Format(name="masks", file="tried.masks.npz", content=masks, syntax=binary_syntax(), commands=commands(
               "check masked.json"), beside={"masked.json": trace.replace(b"good.masks", b"tried.masks")}),
        Format(name="sampled run", file="tried.json", content=run_file, syntax=json_syntax(loose=loose[:0] or "$^"),
               commands=runs),
    ]  # fmt: skip


ZEROS = b"""format: accelsim-zeros/1
zeros:
  - {tensor: weight, of: [conv, linear], form: unstructured, sparsity: 0.9, across: erk, dense: [conv]}
  - {tensor: weight-gradient, same-as: weight}
  - {tensor: input, of: fc, form: "2:8", along: input}
"""


def _of_hardware() -> list[Format]:
    design, energy = _shipped("sat_edge_zcu104.yaml"), _shipped("energy/fpga_zu7ev.yaml")
    own = re.sub(rb"(?m)^energy: .*$", b"energy: tried.yaml", design)
    assert own != design
    behaviour, platform = _shipped("behaviours/turing.yaml"), _shipped("platforms/rtx2080ti.yaml")
    own_platform = re.sub(rb"(?m)^behaviour: .*$", b"behaviour: tried.yaml", platform)
    changed = b"base: sat_vcu1525\narray: {rows: 64, cols: 16}\ndram.bandwidth_gb_per_s: 19.2\n"
    compared = commands("compare good.json --batch 8 --platform {file}", "check {file}")
    return [
        Format(name="design", file="tried.yaml", content=design, syntax=yaml_syntax(), commands=DESIGN),
        Format(name="design on a base", file="tried.yaml", content=changed, syntax=yaml_syntax(), commands=DESIGN),
        Format(name="energy table", file="tried.yaml", content=energy, syntax=yaml_syntax(), commands=commands(
               "check {file}", "simulate good.json --batch 8 --hw own.yaml",
               "sweep good.json --hw own.yaml --batch 8 --vary array.rows=8,16 --jobs 1 -o out.csv!"),
               beside={"own.yaml": own}),
        Format(name="platform", file="tried.yaml", content=platform, syntax=yaml_syntax(), commands=compared),
        Format(name="behaviour", file="tried.yaml", content=behaviour, syntax=yaml_syntax(), commands=commands(
               "check {file}", "compare good.json --batch 8 --platform own.yaml"), beside={"own.yaml": own_platform}),
        Format(name="FPGA costs", file="tried.yaml", content=_shipped("fpga/vitis_hls.yaml"), syntax=yaml_syntax(),
               commands=commands("check {file}")),
        Format(name="machine", file="tried.yaml", content=_shipped("machines/tensor_core.yaml"), syntax=yaml_syntax(),
               commands=commands("check {file}")),
        Format(name="zeros", file="tried.yaml", content=ZEROS, syntax=yaml_syntax(loose=r"\.(of|dense|form)"),
               commands=commands("flops good.json --zeros {file}", "flops good.json --zeros {file} --json")),
        Format(name="sweep", file="tried.yaml", content=SWEEP_SPEC, syntax=yaml_syntax(
               loose=r"^(vary|link|where|description)", ordered=True), commands=commands(
               "check {file}", "check {file}", "sweep {file} --jobs 1 -o out.csv!")),
    ]  # fmt: skip


def _of_results(made: Callable[[str, str], bytes]) -> list[Format]:
    result = made("simulate good.json --batch 8 -o good_result.json", "good_result.json")
    compared = made("compare good.json --batch 8 -o good_compared.json", "good_compared.json")
    training = made(
        "simulate good.json --batch 8 --steps 20 --method dense-then-sparse -o good_run.json", "good_run.json"
    )
    timeline = made("simulate good.json --batch 8 --engine event --timeline good_time.json", "good_time.json")
    plan = made("schedule good.json --batch 8 -o good_plan.json", "good_plan.json")
    of_run = commands("check {file}", "check {file}", "diff {file} good_run.json", "diff {file} {file}",
                      "plot training {file} -o out.svg", "plot phases {file} -o out.svg", "report {file} -o out")  # fmt: skip
    of_plan = commands("check {file}", "simulate good.json --batch 8 --plan {file}",
                       "simulate good.json --batch 8 --plan {file} --json", "schedule good.json --batch 8 --plan {file}")  # fmt: skip
    # what was a value before it was changed may be anything that a design can hold
    return [
        Format(name="result", file="tried.json", content=result, syntax=json_syntax(), commands=RESULT),
        Format(name="comparison", file="tried.json", content=compared, syntax=json_syntax(), commands=RESULT),
        Format(name="training run", file="tried.json", content=training, syntax=json_syntax(), commands=of_run),
        Format(name="plan", file="tried.json", content=plan, syntax=json_syntax(), commands=of_plan),
        Format(name="timeline", file="tried.json", content=timeline, syntax=json_syntax(loose="."), commands=commands(
               "plot timeline {file} -o out.svg", "plot timeline {file} -o out.png")),
    ]  # fmt: skip


def _tables(made: Callable[[str, str], bytes]) -> list[Format]:
    line = "sweep good.json --batch 8 --vary array.rows=16,32 --vary array.cols=8,16 --jobs 1 -o good_table.csv"
    table = made(line, "good_table.csv")
    basis = made(line, "good_table.basis.json")
    made("ablate good.json --batch 8 --method dense -o good_ablation", "good_ablation/ablation.csv")
    ablation = made("check good.json", "good_ablation/ablation.csv")
    made("plot speedup good_compared.json -o good_figure.svg", "good_figure.svg")
    figure = made("check good.json", "good_figure.csv")
    tiles = (packaged_path("accelsim") / "data" / "golden_tiles.csv").read_bytes()
    found = [
        Format(name="table of a sweep", file="tried.csv", content=table, syntax=table_syntax(), commands=TABLE,
               beside={"tried.basis.json": basis}),
        Format(name="basis of a sweep", file="tried.basis.json", content=basis, syntax=json_syntax(), commands=commands(
               "report tried.csv -o out"), beside={"tried.csv": table}),
        Format(name="table of an ablation", file="tried.csv", content=ablation, syntax=table_syntax(), commands=commands(
               "plot ablation {file} -o out.svg", "results {file}")),
        Format(name="table of a figure", file="tried.csv", content=figure, syntax=table_syntax(), commands=commands(
               "plot {file} -o out.svg", "plot speedup {file} -o out.svg")),
        Format(name="cases of a check", file="tried.csv", content=tiles, syntax=table_syntax(), commands=commands(
               "validate tiles {file}")),
    ]  # fmt: skip
    if importlib.util.find_spec("pyarrow"):
        parquet = made(line.replace("good_table.csv", "good_table.parquet"), "good_table.parquet")
        found.append(
            Format(name="parquet", file="tried.parquet", content=parquet, syntax=binary_syntax(), commands=commands(
                   "results {file}", "pareto {file} -x latency_s -y energy_j", "diff {file} {file}"))
        )  # fmt: skip
    return found


def _of_other_tools() -> list[Format]:
    imports = commands(*RECORDING)
    scalesim = commands(IMPORT, "simulate {file} --batch 8", "info {file}")
    found = [
        Format(name="SCALE-Sim", file="tried.csv", content=SCALESIM, syntax=table_syntax(ragged=True),
               commands=scalesim)
    ]  # fmt: skip
    for name in ("kineto", "execution_trace"):
        content = gzip.decompress((RECORDINGS / f"{name}.json.gz").read_bytes())
        loose = json_syntax(loose=".", ordered=True, foreign=True)
        found.append(Format(name=name, file="tried.json", content=content, syntax=loose, commands=imports))
    found.append(Format(name="kineto.gz", file="tried.json.gz", content=(RECORDINGS / "kineto.json.gz").read_bytes(),
                        syntax=packed(json_syntax(loose=".", ordered=True, foreign=True)), commands=imports))  # fmt: skip
    if importlib.util.find_spec("onnx"):
        found.append(Format(name="ONNX", file="tried.onnx", content=_onnx_model(), syntax=binary_syntax(cut_expects=FREE),
                            commands=commands(IMPORT, "simulate {file} --batch 8", "info {file}")))  # fmt: skip
    return found


def _onnx_model() -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = {"w": (4, 3, 3, 3), "v": (64, 8)}
    stored = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Flatten", ["b"], ["c"], "flat"),
        helper.make_node("MatMul", ["c", "v"], ["y"], "fc"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])
    graph = helper.make_graph(nodes, "net", [x], [y], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def place(folder: Path, format_: Format, content: bytes) -> None:
    """Leave in `folder` what was good, what stands beside the file, and the file with this content alone."""
    for path in folder.iterdir():
        if not path.name.startswith("good"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, beside in {**format_.beside, format_.file: content}.items():
        (folder / name).write_bytes(beside)
