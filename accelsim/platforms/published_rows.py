"""Published measurements that platform estimates are held against: training throughputs and 2:4 products.

A row says which network, input, batch, precision and framework was measured; this module says which trace and
`Software` that is, and why a row cannot be compared where it cannot. What a source leaves open is decided by the rules
below, never by the measured number:

- the precision "FP32" is TF32 where the row says that TF32 was allowed and the platform has it; "FP16" in PyTorch's own
  model zoo is a network in half precision altogether, every other 16-bit precision is mixed;
- channels-last where the row says NHWC, and for mixed precision in MXNet, TensorFlow and PaddlePaddle, whose NGC
  scripts choose it; no layout matters to transformers;
- elementwise work is fused where the row says XLA, fused or compile, and in TensorFlow's BERT, whose script uses XLA;
- NGC scripts update all weights with one kernel; BERT is trained by Adam (LAMB moves about the same), others by SGD; a
  row that says it timed no optimizer step has none;
- frameworks of 2017 (PyTorch before 0.4) and TensorFlow 2 are stacks of their own (`Software.stack`);
- the PyTorch and PaddlePaddle scripts of NGC drop padding tokens in BERT's pretraining (`_FILL`), others compute them;
- where no batch is given it is the largest power of two, 256 at most, whose step fits the memory;
- a 2:4 product by ``torch._cslt_sparse_mm`` takes `_PLANNING_US` longer; one by kernels of an earlier architecture is
  not compared.
"""

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Literal

from accelsim.base.errors import InputError
from accelsim.base.files import read_text
from accelsim.hardware.platform import Platform, find_platform
from accelsim.lowering.optimizers import find_optimizer
from accelsim.platforms.kernels import Software
from accelsim.workload.measured import trace_for

__all__ = [
    "SPARSE_COLUMNS",
    "THROUGHPUT_COLUMNS",
    "SparseCase",
    "ThroughputCase",
    "Unsupported",
    "fold",
    "held_out",
    "read_sparse",
    "read_throughput",
]

THROUGHPUT_COLUMNS = (
    "platform",
    "n_devices",
    "model",
    "input",
    "batch_per_device",
    "precision",
    "framework_layout",
    "throughput",
    "unit",
)
SPARSE_COLUMNS = ("platform", "dtype", "sparsity", "M", "N", "K", "dense_us", "sparse_us", "speedup", "scope")

Precision = Literal["fp32", "tf32", "fp16", "amp", "bf16"]
Unit = Literal["samples/s", "tokens/s", "operations/s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputCase:
    """A measured training throughput: `batch` None where the source gives none; in samples/s, or operations/s.

    `fill`: share of the tokens that are computed, where padding is dropped.
    """

    line: int
    platform: Platform
    trace: str
    batch: int | None
    software: Software
    measured: float
    unit: Unit
    fill: float = 1.0

    @property
    def label(self) -> str:
        """What was measured, in short."""
        batch = "" if self.batch is None else f" batch {self.batch}"
        return f"{self.trace}{batch} {self.software.precision} on {self.platform.name}"

    @property
    def key(self) -> str:
        """Network and shape: what decides on which side of the split a row is."""
        return f"{self.trace}|{self.batch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseCase:
    """A measured pair of a dense product and the same with a 2:4 weight; microseconds None where only the ratio is.

    `planning_us`: time of each sparse call in which the library plans again what it computes.
    """

    line: int
    platform: Platform
    arithmetic: str
    m: int
    n: int
    k: int
    dense_us: float | None
    sparse_us: float | None
    speedup: float
    planning_us: float = 0.0

    @property
    def label(self) -> str:
        """What was measured, in short."""
        return f"{self.m} x {self.n} x {self.k} {self.arithmetic} on {self.platform.name}"

    @property
    def key(self) -> str:
        """The shape: what decides on which side of the split a row is."""
        return f"{self.m}x{self.n}x{self.k}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported:
    """A row that cannot be compared, and why."""

    line: int
    platform: str
    reason: str


def held_out(case: ThroughputCase | SparseCase) -> bool:
    """Say whether a case is in the third that is never used for fitting."""
    return _hash(case) % 3 == 0


def fold(case: ThroughputCase | SparseCase, parts: int) -> int:
    """Return in which of `parts` a case is that is not held out: each is predicted from the others to judge a form."""
    return _hash(case) // 3 % parts


def _hash(case: ThroughputCase | SparseCase) -> int:
    return int(hashlib.sha256(case.key.encode()).hexdigest(), 16)


def read_throughput(path: Path | None = None) -> list[ThroughputCase | Unsupported]:
    """Return the rows of a CSV file with the columns `THROUGHPUT_COLUMNS`, by default the shipped one.

    Raises `InputError` naming file, line and column for a file that lacks columns, has no rows or holds bad values.
    """
    source, rows = _rows("training_throughput.csv", path, THROUGHPUT_COLUMNS)
    found: list[ThroughputCase | Unsupported] = []
    for line, row in rows:
        where = f"{source}:{line}"
        measured = _number(row, "throughput", where)
        devices = _whole(row, "n_devices", where)
        batch = _batch(row["batch_per_device"], where)
        platform = find_platform(row["platform"])
        trace = trace_for(row["model"], row["input"], row["unit"])
        software, unit = _software(row, platform), _unit(row["unit"])
        reason = None
        if platform is None:
            reason = "no profile of this platform"
        elif devices != 1:
            reason = "several devices: their links are not stated"
        elif trace is None:
            reason = f"no trace of {row['model']}, {row['input']}"
        elif isinstance(software, str):
            reason = software
        elif unit is None:
            reason = f"unit {row['unit']}: not known"
        if reason is not None or platform is None or trace is None or isinstance(software, str) or unit is None:
            found.append(Unsupported(line=line, platform=row["platform"], reason=str(reason)))
            continue
        found.append(
            ThroughputCase(
                line=line,
                platform=platform,
                trace=trace,
                batch=batch,
                software=software,
                measured=measured * unit[1],
                unit=unit[0],
                fill=_fill(trace, row["framework_layout"].casefold()),
            )
        )
    return found


def read_sparse(path: Path | None = None) -> list[SparseCase | Unsupported]:
    """Return the rows of a CSV file with the columns `SPARSE_COLUMNS`, by default the shipped one.

    Raises `InputError` as `read_throughput`.
    """
    source, rows = _rows("sparse_speedups.csv", path, SPARSE_COLUMNS)
    found: list[SparseCase | Unsupported] = []
    for line, row in rows:
        where = f"{source}:{line}"
        m, n, k = (_whole(row, column, where) for column in "MNK")
        times = [_number(row, column, where) if row[column].strip() else None for column in ("dense_us", "sparse_us")]
        speedup = _number(row, "speedup", where)
        platform = find_platform(row["platform"])
        arithmetic = _ARITHMETIC.get(row["dtype"].strip().casefold())
        reason = None
        if platform is None:
            reason = "no profile of this platform"
        elif row["sparsity"].strip().casefold() not in _SPARSE_WEIGHT:
            reason = f"sparsity {row['sparsity']}, not of a weight at 2:4"
        elif not row["scope"].startswith(("GEMM", "linear fwd")):
            reason = f"scope '{row['scope']}': more than one product"
        elif arithmetic is None:
            reason = f"dtype {row['dtype']}: not stated"
        elif platform.compute is None or not platform.compute.sparse_2_4:
            reason = "the platform has no 2:4 products"
        elif "sm80" in row.get("sparse_lib", "") and not str(platform.behaviour).startswith("ampere"):
            reason = "sparse kernels of an earlier architecture (sm80)"
        if reason is not None or platform is None or arithmetic is None:
            found.append(Unsupported(line=line, platform=row["platform"], reason=str(reason)))
            continue
        found.append(
            SparseCase(
                line=line,
                platform=platform,
                arithmetic=arithmetic,
                m=m,
                n=n,
                k=k,
                dense_us=times[0],
                sparse_us=times[1],
                speedup=speedup,
                planning_us=_PLANNING_US if "_cslt_sparse_mm" in row.get("sparse_lib", "") else 0.0,
            )
        )
    return found


_FILL = {"bert_large_pretraining_128": 0.83, "bert_large_pretraining_512": 0.52}
"""Share of the tokens of English Wikipedia and BooksCorpus that are no padding; of 128 and 512 tokens 17 % and 48 %
are, as the abstract of openreview.net/forum?id=3nzKUh9a4M states."""


def _fill(trace: str, framework: str) -> float:
    """Share of the tokens that the script of a framework computes."""
    drops = framework.startswith(("pytorch ngc", "paddlepaddle ngc"))
    return _FILL.get(trace, 1.0) if drops else 1.0


_PLANNING_US = 75.0
"""Assumption: what ``torch._cslt_sparse_mm`` takes on top of its kernel in each call, as if it planned it anew.

It rests on two rows of one source, 512 and 1024 cubed on an RTX 3090, which take 78 and 76 us longer than the kernel
that is estimated for them; the third, 4096 cubed, takes 7 us longer, so that the cost may not be constant, or overlap
long kernels. The source is marked as of low trust.
"""

_SPARSE_WEIGHT = frozenset({"2:4", "2:4 weight", "2:4 weights"})
_ARITHMETIC = {"fp16": "fp16", "fp16?": "fp16", "bf16": "bf16", "int8": "int8", "fp8": "fp8", "tf32": "tf32"}


def _software(row: dict[str, str], platform: Platform | None) -> Software | str:
    """The software of a row, or why it is not known."""
    precision = _precision(row)
    if precision is None:
        return f"precision {row['precision']}: not known"
    if platform is not None and platform.compute is None:
        return "the profile has no compute rates"
    if precision == "tf32" and "fp32" in row["precision"].casefold() and not _has_tf32(platform):
        precision = "fp32"
    framework = row["framework_layout"].casefold()
    notes = row.get("notes", "").casefold()
    bert = "bert" in row["model"].casefold()
    own_layout = precision == "amp" and any(name in framework for name in ("mxnet", "tf1", "tf2", "paddle"))
    optimizer = None if "no optimizer" in notes else find_optimizer("adam" if bert else "sgd")
    return Software(
        precision=precision,
        channels_last=any(word in framework for word in ("nhwc", "channels_last", "channels-last")) or own_layout,
        compiled=any(word in framework for word in ("xla", "fused", "compile")) or (bert and "tf" in framework),
        fused_update=not _whole_network_converted(framework),
        optimizer=optimizer,
        stack=_stack(framework),
    )


def _stack(framework: str) -> Literal["current", "tensorflow2", "early"]:
    if re.match(r"pytorch 0\.[0-3]", framework):
        return "early"
    return "tensorflow2" if "tf2" in framework else "current"


def _has_tf32(platform: Platform | None) -> bool:
    return platform is not None and platform.compute is not None and platform.compute.tf32_tflops is not None


def _precision(row: dict[str, str]) -> Precision | None:
    text, framework = row["precision"].casefold(), row["framework_layout"].casefold()
    if "tf32" in text and not re.search(r"\b(no|not|without)\b.*tf32|tf32\W*(off|disabled|disallowed)", text):
        return "tf32"
    if "amp" in text or "mixed" in text:
        return "amp"
    if "bf16" in text or "bfloat16" in text:
        return "bf16"
    if "fp32" in text or "float32" in text:
        return "fp32"
    if "fp16" in text or "float16" in text or "half" in text:
        return "fp16" if _whole_network_converted(framework) else "amp"
    return None


def _whole_network_converted(framework: str) -> bool:
    """Whether 16 bits mean the whole network in this framework, as in benchmarks that call ``model.half()``."""
    return "torchvision" in framework or framework in {"pytorch 0.3", "pytorch 1.0"}


_UNITS: tuple[tuple[str, Unit, float], ...] = (
    (r"t(era)?flops?(/s)?", "operations/s", 1e12),
    (r"g(iga)?flops?(/s)?", "operations/s", 1e9),
    (r"(im(a?g|age)s?|samples?|examples?|ex|seq(uence)?s?|sentences?|frames?)(/s(ec(ond)?)?)?|fps", "samples/s", 1.0),
    (r"tok(en)?s?(/s(ec(ond)?)?)?", "tokens/s", 1.0),
)


def _unit(text: str) -> tuple[Unit, float] | None:
    """What a throughput counts and by how many; None for what is no throughput that is known."""
    plain = re.sub(r"[\s.]+", "", text.casefold()).replace("per", "/").replace("s-1", "/s")
    found = (item for item in _UNITS if re.fullmatch(item[0], plain))
    return next(((unit, factor) for _, unit, factor in found), None)


def _batch(text: str, where: str) -> int | None:
    """The batch of a row; None where it is empty, or a remark in brackets."""
    plain = text.strip()
    if not plain or plain.startswith("("):
        return None
    return _whole_number(plain, "batch_per_device", where)


def _rows(shipped: str, path: Path | None, columns: Sequence[str]) -> tuple[str, list[tuple[int, dict[str, str]]]]:
    """The rows of a CSV file with their line numbers; every column that is used has to be there."""
    source = shipped if path is None else str(path)
    text = (resources.files("accelsim") / "data" / shipped).read_text() if path is None else read_text(path)
    reader = csv.DictReader(StringIO(text))
    try:
        fields = reader.fieldnames or ()
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{source}:{reader.line_num + 1}: {error}") from None
    missing = [column for column in columns if column not in fields]
    if missing:
        raise InputError(f"{source}: column '{missing[0]}' is missing; needed: {', '.join(columns)}")
    for line, row in rows:
        if None in row or None in row.values():
            raise InputError(f"{source}:{line}: {len(fields)} columns are needed (truncated?)")
    if not rows:
        raise InputError(f"{source}: no rows to check")
    return source, rows


def _number(row: dict[str, str], column: str, where: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise InputError(f"{where}: {column}: got '{row[column]}'; a number above 0 is needed")
    return value


def _whole(row: dict[str, str], column: str, where: str) -> int:
    return _whole_number(row[column], column, where)


def _whole_number(text: str, column: str, where: str) -> int:
    plain = text.strip().removesuffix(".0")
    if not re.fullmatch(r"[0-9]{1,18}", plain) or int(plain) == 0:
        raise InputError(f"{where}: {column}: got '{text}'; a whole number above 0 is needed")
    return int(plain)
