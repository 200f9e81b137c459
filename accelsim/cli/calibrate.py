"""``accelsim calibrate``: measure this machine as a platform, or a training step on it."""

import csv
import datetime
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accelsim.base.errors import InputError, did_you_mean
from accelsim.cli.options import check_folder
from accelsim.cli.progress import progress_bar

if TYPE_CHECKING:
    from accelsim.calibration.devices.device import Device
    from accelsim.calibration.devices.suite import Effort, LeftOut, Task
    from accelsim.calibration.devices.training_steps import Network, TrainingSetting
    from accelsim.calibration.measured_rows import Measurement

__all__ = ["calibrate_command"]

_BUSY = 0.2
"""Distance of the quartiles, relative to the median, from which something else seems to have run as well."""


@click.command("calibrate")
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder for the files that are written.")
@click.option("--name", help="Name of the platform and of its files  [default: that of the device]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--framework", type=click.Choice(["torch", "numpy"]), help="What runs the kernels  [default: torch if installed]"
)
@click.option("--quick", is_flag=True, help="A few kernels and short samples: seconds, and less certain.")
@click.option("--again", is_flag=True, help="Discard the measurements of an earlier run instead of going on with them.")
@click.option(
    "--session",
    is_flag=True,
    help="Then the training steps of `--train` resnet50, bert_layer and gpt2_layer, too: some 5 minutes on a GPU.",
)
@click.option(
    "--peak",
    "peaks",
    multiple=True,
    metavar="PRECISION=TFLOPS",
    help="Peak rate of a data sheet, fp16=989. Repeatable.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PATH=VALUE",
    help="Another fact of the platform, as in power.peak_w=700 or memory.bandwidth_gb_per_s=4800. Repeatable.",
)
@click.option("--facts", metavar="PLATFORM", help="Take the facts of a shipped platform or a file, such as h200.")
@click.option(
    "--train", metavar="NETWORK", help="Measure a training step instead: of a known network or FILE.py:FUNCTION."
)
@click.option("--batch", type=click.IntRange(1, 2**20), help="With --train: samples per step.")
@click.option("--amp", is_flag=True, help="With --train: mixed precision, FP16 on a GPU and BF16 on a CPU.")
@click.option("--tf32", is_flag=True, help="With --train: FP32 products on a GPU in TF32.")
@click.option("--channels-last", is_flag=True, help="With --train: images in the layout that matrix units want.")
@click.option("--compile", "compiled", is_flag=True, help="With --train: through torch.compile.")
@click.option("--steps", type=click.IntRange(3, 10**5), help="With --train: steps that are timed.  [default: 20]")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="SPEC",
    help="With --train FILE.py:FUNCTION: shape of one input, as for accelsim trace. Repeatable.",
)
@click.option("--loss", metavar="NAME|MODULE:FUNCTION", help="With --train FILE.py:FUNCTION, as for accelsim trace.")
def calibrate_command(
    output: str,
    name: str | None,
    device: str,
    framework: str | None,
    quick: bool,
    again: bool,
    session: bool,
    peaks: Sequence[str],
    settings: Sequence[str],
    facts: str | None,
    train: str | None,
    batch: int | None,
    **training: Any,
) -> int:
    """Measure this machine: GEMMs, convolutions, memory-bound kernels, launches; and 2:4 GEMMs on a GPU.

    Writes DIR/NAME.yaml, a platform, its NAME.behaviour.yaml, and NAME.measurements.csv with every measurement. It
    takes about a minute on a CPU, with --quick seconds. Interrupted, it goes on where it was when it is run again. Peak
    rates and bandwidth that are not stated are the best that was measured. What a machine does not say, such as the
    power of most CPUs, has to be stated.

    With --train a step of a network (resnet18, resnet50, bert_base, gpt2, or your own) is measured on random data and
    appended to DIR/NAME.training.csv, in the columns that accelsim validate throughput reads, and shown beside the
    estimate if DIR/NAME.yaml is there.

    With --session both are done in one go, for a GPU that is lent for minutes; NAME.sparse.csv then has the 2:4
    products in the columns of accelsim validate sparse-gemm, and NAME.md what was measured beside its estimate.

    What is done with CUDA has not run on a GPU yet; its tests simulate one.

    \b
    accelsim calibrate -o DIR --set power.idle_w=25 --set power.peak_w=165
    accelsim calibrate --device cuda -o DIR --name h200 --facts h200
    accelsim calibrate --device cuda -o DIR --name h200 --facts h200 --session
    accelsim calibrate --device cuda -o DIR --name h200 --train resnet50 --batch 256 --amp --channels-last
    """
    folder = check_folder(output)
    assert folder is not None
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InputError(f"--name {name}: letters, digits, '.', '_' and '-' are allowed")
    about_kernels = {
        "--quick": quick,
        "--again": again,
        "--session": session,
        "--peak": peaks,
        "--set": settings,
        "--facts": facts,
    }
    about_training = {"--batch": batch, **{_OPTIONS.get(key, f"--{key}"): value for key, value in training.items()}}
    if train is None:
        _refuse(about_training, "needs --train")
        options = _words({"--device": device, "--framework": framework, "--name": name, **about_kernels})
        if session and framework == "numpy":
            raise InputError("--session: a training step needs torch, --framework is numpy")
        opened = _opened(device, framework)
        measured = _measure_kernels(
            folder, name, opened, facts, peaks, settings, quick=quick, again=again,
            command=shlex.join(["accelsim", "calibrate", "-o", output, *options]),
        )  # fmt: skip
        if session:
            _finish_session(folder, name or _file_name(opened.name), device, measured, quick=quick)
    else:
        _refuse(about_kernels, "not with --train")
        if framework == "numpy":
            raise InputError("--framework numpy: a training step needs torch")
        if batch is None:
            raise InputError("--train: needs --batch, the samples per step")
        _measure_training(folder, name, train, device, batch, **training)
    return 0


_OPTIONS = {"channels_last": "--channels-last", "compiled": "--compile", "inputs": "--input"}


def _refuse(options: Mapping[str, Any], why: str) -> None:
    given = [option for option, value in options.items() if value]
    if given:
        raise InputError(f"{given[0]}: {why}")


def _words(options: Mapping[str, Any]) -> list[str]:
    """The options as they stand on a command line, but --again, which would discard what is to be gone on with."""
    words = []
    for option, value in options.items():
        if value is True:
            words += [option] * (option != "--again")
        else:
            values = [value] if isinstance(value, str) else value or ()
            words += [word for item in values for word in (option, item)]
    return words


def _opened(device: str, framework: str | None) -> "Device":
    from accelsim.calibration.devices.selection import open_device

    return open_device(device, framework)


def _measure_kernels(
    folder: Path,
    name: str | None,
    device: "Device",
    based_on: str | None,
    peaks: Sequence[str],
    settings: Sequence[str],
    *,
    quick: bool,
    again: bool,
    command: str,
) -> "list[Measurement]":
    """Measure what is not measured yet, then write what all measurements say."""
    from accelsim.base.files import write_atomically
    from accelsim.calibration.behaviour import calibrate
    from accelsim.calibration.devices.suite import DEFAULT, QUICK, tasks_for
    from accelsim.calibration.profile_files import Identity, calibrated_files, check_facts, facts_of, stated_facts
    from accelsim.hardware.platform import load_platform

    based = None if based_on is None else load_platform(based_on)
    if based is not None and based.kind == "fpga":
        raise InputError(f"--facts {based_on}: is of kind fpga; gpu, edge and cpu can be measured")
    facts = {**device.facts(), **(facts_of(based) if based else {}), **stated_facts(peaks, settings)}
    identity = Identity(
        name=name or _file_name(device.name),
        kind=based.kind if based else device.kind,
        device=device.name,
        aliases=based.aliases if based else (),
    )
    check_facts(identity, facts)
    journal = folder / f"{identity.name}.measurements.csv"
    if again:
        journal.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    measured, left_out = _measured(
        journal, device, tasks_for(device, facts, quick=quick), QUICK if quick else DEFAULT, command
    )
    calibration = calibrate(measured, facts)
    files = calibrated_files(identity, calibration)
    for file, text in files.items():
        write_atomically(folder / file, text)
    click.echo(f"{device.name}, {device.software}: {len(measured)} kernels measured")
    for values in (calibration.platform, calibration.behaviour):
        for path, item in values.items():
            click.echo(f"  {path:<28} {item.value!s:<10} {item.confidence}")
    written = [*files, journal.name, *_write_residuals(folder, identity.name, measured)]
    _show_notes(measured, left_out)
    click.echo(f"written: {', '.join(str(folder / file) for file in written)}")
    return measured


_SESSION = {"resnet50": 256, "bert_layer": 256, "gpt2_layer": 64}
"""Networks that a session trains, and their batches on a GPU; elsewhere and with --quick a batch is a 32nd of it."""


def _finish_session(folder: Path, name: str, device: str, measured: "Sequence[Measurement]", *, quick: bool) -> None:
    """Measure the training steps of a session and write its rows and its report."""
    from accelsim.base.files import read_text, write_atomically
    from accelsim.calibration.session_report import session_text
    from accelsim.calibration.shared_rows import sparse_rows_text

    (folder / f"{name}.training.csv").unlink(missing_ok=True)
    small = quick or device == "cpu"
    for network, batch in _SESSION.items():
        _measure_training(
            folder, name, network, device, max(1, batch // 32) if small else batch, amp=True, tf32=False,
            channels_last=True, compiled=False, steps=3 if small else 20, inputs=(), loss=None,
        )  # fmt: skip
    rows = sparse_rows_text(measured, name)
    paths = [folder / f"{name}.{ending}" for ending in ("sparse.csv", "md")]
    write_atomically(paths[0], rows)
    training = list(csv.DictReader(StringIO(read_text(folder / f"{name}.training.csv"))))
    residuals = folder / f"{name}.residuals.csv"
    products = list(csv.DictReader(StringIO(read_text(residuals)))) if residuals.exists() else []
    write_atomically(
        paths[1], session_text(name, measured, training, _estimates(folder / f"{name}.yaml", training), products)
    )
    click.echo(f"written: {', '.join(map(str, paths))}")


def _write_residuals(folder: Path, name: str, measured: "Sequence[Measurement]") -> list[str]:
    """Write and sum up how far estimates of the GEMMs are off; nothing where the estimates cannot run."""
    if find_spec("numba") is None:  # a machine that only measures may lack it
        return []
    from statistics import median

    from accelsim.base.files import write_atomically
    from accelsim.calibration.residuals import residuals, residuals_text
    from accelsim.hardware.platform import load_behaviour, load_platform

    platform = load_platform(folder / f"{name}.yaml")
    found = residuals(measured, platform, load_behaviour(str(platform.behaviour)))
    groups: dict[str, list[float]] = {}
    for item in found:
        label = f"{item.measured.what.replace('_', ' ')} {item.measured.precision}"
        groups.setdefault(label, []).append(abs(item.relative_error))
    for label, errors in groups.items():
        click.echo(
            f"  estimates of {len(errors)} x {label}: median error {median(errors):.1%}, largest {max(errors):.1%}"
        )
    file = f"{name}.residuals.csv"
    write_atomically(folder / file, residuals_text(found))
    return [file]


def _file_name(device: str) -> str:
    """A name for files from the name of a device."""
    return re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")


def _measured(
    journal: Path, device: "Device", tasks: "Sequence[Task]", effort: "Effort", command: str
) -> "tuple[list[Measurement], list[LeftOut]]":
    """Measure the tasks that the journal lacks, adding each to it at once; return all, and what was left out."""
    from accelsim.base.files import write_atomically
    from accelsim.calibration.devices.suite import LeftOut, Task, measure
    from accelsim.calibration.measured_rows import measurements_text

    measured = _known(journal, device, effort.name) if journal.exists() else []
    if measured:
        click.echo(f"{journal}: goes on after {len(measured)} measurements (--again discards them)", err=True)
    there = {Task.of(item) for item in measured}
    todo = [task for task in tasks if task not in there]
    left_out = []
    try:
        with _progress([str(task) for task in todo], "tasks") as done:
            for item in measure(device, todo, list(measured), effort, _today()):
                if isinstance(item, LeftOut):
                    left_out.append(item)
                else:
                    measured.append(item)
                    write_atomically(journal, measurements_text(measured))
                done()
    except KeyboardInterrupt:
        click.echo(f"{len(measured)} of {len(there) + len(todo)} measurements kept; to go on: {command}", err=True)
        raise
    return measured, left_out


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _known(journal: Path, device: "Device", effort: str) -> "list[Measurement]":
    """The measurements of an earlier run, if they are of the same kind."""
    from accelsim.calibration.measured_rows import read_measurements

    known = read_measurements(journal)
    for item in known:
        earlier, now = (item.device, item.software, item.effort), (device.name, device.software, effort)
        if earlier != now:
            raise InputError(
                f"{journal}: measured as {', '.join(earlier)}; this is {', '.join(now)}; give another --name, or"
                " --again to discard it"
            )
    return known


@contextmanager
def _progress(texts: Sequence[str], unit: str) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal that says what is being measured; yields what is called after each."""
    with progress_bar("calibrate", unit) as show:
        count = 0

        def done() -> None:
            nonlocal count
            count += 1
            show(count, len(texts), "".join(texts[count : count + 1]))

        show(0, len(texts), "".join(texts[:1]))
        yield done


def _show_notes(measured: "Sequence[Measurement]", left_out: "Sequence[LeftOut]") -> None:
    reasons: dict[str, list[Task]] = {}
    for item in left_out:
        reasons.setdefault(item.reason, []).append(item.task)
    for reason, tasks in reasons.items():
        more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
        click.echo(f"note: left out: {tasks[0]}{more}: {reason}", err=True)
    restless = sum(item.spread > _BUSY for item in measured)
    if restless:
        click.echo(
            f"note: {restless} of {len(measured)} measurements vary by more than {_BUSY:.0%} of their median; was the"
            " machine busy?",
            err=True,
        )


def _measure_training(
    folder: Path,
    name: str | None,
    target: str,
    device: str,
    batch: int,
    *,
    amp: bool,
    tf32: bool,
    channels_last: bool,
    compiled: bool,
    steps: int | None,
    inputs: Sequence[str],
    loss: str | None,
) -> None:
    """Measure a training step and append it as a row."""
    opened = _opened(device, "torch")
    from accelsim.base.files import packaged_path, write_atomically
    from accelsim.calibration.devices.training_steps import (
        COLUMNS,
        NETWORKS,
        WARM_UP,
        TrainingSetting,
        measure_training,
    )
    from accelsim.cli.trace import build_model, importable_neighbours

    setting = TrainingSetting(
        device=device, batch=batch, amp=amp, tf32=tf32, channels_last=channels_last, compiled=compiled,
        steps=steps or 20,
    )  # fmt: skip
    if target in NETWORKS:
        _refuse({"--input": inputs, "--loss": loss}, f"not with --train {target}, whose input is known")
        network = NETWORKS[target]
        module, _, factory = network.target.rpartition(":")
        module = str(packaged_path("workloads") / "models" / module)
    elif ":" in target:
        network = _own_network(target, inputs, loss)
        module, _, factory = target.rpartition(":")
    else:
        raise InputError(
            f"--train {target}: not known{did_you_mean(target, NETWORKS)}; allowed: {', '.join(NETWORKS)}, or"
            " FILE.py:FUNCTION"
        )
    path = folder / f"{name or _file_name(opened.name)}.training.csv"
    rows = _rows_of(path, COLUMNS)
    texts = [f"{network.model}: warming up"] * WARM_UP + [f"{network.model}: timed"] * setting.steps
    with importable_neighbours(module), _progress(texts, "steps") as done:
        model = build_model(module, factory, target)
        row = measure_training(model, network, setting, platform=name or opened.name, date=_today(), done=done)
    folder.mkdir(parents=True, exist_ok=True)
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([COLUMNS, *rows, [row[column] for column in COLUMNS]])
    write_atomically(path, out.getvalue())
    how = f"{row['precision']} {row['framework_layout']}"
    click.echo(f"{row['model']}, batch {batch}, {how}: {row['throughput']} {row['unit']}, {row['notes']}")
    count = f"{len(rows) + 1} row{'s' * bool(rows)}"
    _show_estimate(
        folder / f"{path.name.removesuffix('.training.csv')}.yaml", network, setting, float(row["throughput"])
    )
    click.echo(f"written: {path} ({count})")


def _show_estimate(platform: Path, network: "Network", setting: "TrainingSetting", measured: float) -> None:
    """Print the estimate beside the measurement, if the machine was calibrated and the network has a shipped trace."""
    found = _estimated(
        platform, network.model, network.input, network.unit, batch=setting.batch, optimizer=network.optimizer,
        precision=setting.precision.lower(), channels_last=setting.channels_last, compiled=setting.compiled,
    )  # fmt: skip
    if found is not None:
        error = found / measured - 1
        click.echo(f"estimate with {platform}: {found:.5g} {network.unit}, {error:+.1%} off the measurement")


def _estimated(platform: Path, model: str, given: str, unit: str, **how: Any) -> float | None:
    """Samples per second of a step by the estimate; None where there is no platform or no trace to estimate it with."""
    from accelsim.workload.measured import trace_for

    name = trace_for(model, given, unit)
    if name is None or not platform.exists() or find_spec("numba") is None:
        return None
    from accelsim.hardware.platform import load_platform
    from accelsim.platforms.estimate import estimate
    from accelsim.workload.trace import load_trace

    return estimate(load_trace(name), load_platform(platform), **how).samples_per_s


def _estimates(platform: Path, training: Sequence[Mapping[str, str]]) -> list[float | None]:
    """The estimates of the steps of a session, which are in mixed precision and in the layout of matrix units."""
    from accelsim.calibration.devices.training_steps import NETWORKS

    optimizers = {network.model: network.optimizer for network in NETWORKS.values()}
    return [
        _estimated(
            platform, row["model"], row["input"], row["unit"], batch=int(row["batch_per_device"]),
            optimizer=optimizers[row["model"]], precision=row["precision"].lower(), channels_last=True,
        )
        for row in training
    ]  # fmt: skip


def _own_network(target: str, inputs: Sequence[str], loss: str | None) -> "Network":
    """A network of the user's: a row names it as its function is called, and what it is fed as the inputs are given."""
    from accelsim.calibration.devices.training_steps import Input, Network, cross_entropy
    from accelsim.cli.trace import find_loss
    from accelsim.workload.tracer import InputSpec

    if not inputs:
        raise InputError(f"--train {target}: needs --input, as in --input 3x64x64")
    specs = [InputSpec.parse(text) for text in inputs]
    image = len(specs[0].shape) == 3
    return Network(
        target=target,
        inputs=tuple(Input(shape=spec.shape, below=spec.below) for spec in specs),
        model=target.rpartition(":")[2],
        input=" ".join(map(str, specs)),
        unit="img/s" if image else "seq/s",
        optimizer="sgd",
        loss=find_loss(loss) or cross_entropy,
    )


def _rows_of(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """The rows that stand in a file already."""
    from accelsim.base.files import read_text

    if not path.exists():
        return []
    header, *rows = list(csv.reader(StringIO(read_text(path, goes_on=True)))) or [[]]
    if tuple(header) != tuple(columns) or any(len(row) != len(columns) for row in rows):
        raise InputError(f"{path}: cannot be appended to; the columns {','.join(columns)} are needed")
    return rows
