"""Traces from files of other tools: which format a file has, and its reader.

A reader never guesses. What a file does not say is an `InputError`, or a sentence among the `assumptions` of the
trace's origin, which ``accelsim import`` prints as a warning.
"""

import gc
import gzip
import importlib
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import parse_json
from accelsim.base.overwriting import note_input
from accelsim.workload.trace import Trace

__all__ = ["IMPORT_FORMATS", "ImportOptions", "import_trace", "recognise"]

IMPORT_FORMATS: Mapping[str, str] = MappingProxyType({
    "scalesim": "SCALE-Sim topology (.csv): convolutions or GEMMs, with or without a Sparsity column",
    "onnx": "ONNX model (.onnx; needs the onnx extra)",
    "kineto": "PyTorch profiler trace (Kineto, .json or .json.gz) with record_shapes=True",
    "execution-trace": "PyTorch execution trace (ExecutionTraceObserver, Chakra host trace, .json or .json.gz)",
})  # fmt: skip
"""Format by name; its reader is ``accelsim.workload.importers.<name with _ for ->``."""


_RECORDINGS = frozenset({"kineto", "execution-trace"})
_HEAD_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the user knows of a file and the file may not say.

    `name` of the model in the trace (by default from the file's name), `batch`: samples that the shapes of the file
    hold, `sizes`: values of its symbolic dimensions, `inputs`: those of inputs that are a single number, `calls`: what
    calls of a recording are that it does not explain, as ``accelsim import --call`` takes it.
    """

    name: str | None = None
    batch: int | None = None
    sizes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    inputs: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    calls: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def recognise(path: Path) -> str:
    """Return the format of the file at `path`, from its suffix and its first keys. Raises `InputError` for others."""
    suffix = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if suffix == ".onnx":
        return "onnx"
    if suffix == ".csv":
        return "scalesim"
    if suffix == ".json":
        head = _head_of(path)
        if '"traceEvents"' in head:
            return "kineto"
        if re.search(r'"format"\s*:\s*"accelsim-trace/', head):
            raise InputError(f"{path}: is a trace of accelsim already")
        if re.search(r'"schema"\s*:\s*"', head) and '"nodes"' in head:
            return "execution-trace"
        if len(head) < _HEAD_BYTES:
            parse_json(head, str(path))  # says what is wrong with a damaged file
    known = "; ".join(f"{name}: {title}" for name, title in IMPORT_FORMATS.items())
    raise InputError(f"{path}: no known format; give one with --format. Known: {known}")


def _head_of(path: Path) -> str:
    """The beginning of a text file, packed or not: recordings of training steps can be very large."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged gzip file ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def import_trace(path: str | Path, format: str | None = None, options: ImportOptions | None = None) -> Trace:  # noqa: A002
    """Return the trace in the file of another tool, its format recognised where `format` is None.

    Raises `InputError` for a file that cannot be read or that says too little.
    """
    path = Path(path)
    note_input(path)
    if format is not None and format not in IMPORT_FORMATS:
        raise InputError(
            f"format '{format}' is not known{did_you_mean(format, IMPORT_FORMATS)};"
            f" allowed: {', '.join(IMPORT_FORMATS)}"
        )
    chosen = format or recognise(path)
    if options is not None and options.inputs and chosen != "onnx":
        raise InputError(f"{path}: --input gives numbers to inputs of an ONNX model; format {chosen} has none")
    if options is not None and options.calls and chosen not in _RECORDINGS:
        raise InputError(f"{path}: --call says what calls of a recording of PyTorch are; format {chosen} holds none")
    reader = importlib.import_module(f"accelsim.workload.importers.{chosen.replace('-', '_')}")
    with _without_collection():
        trace: Trace = reader.read(path, options or ImportOptions())
    return trace


@contextmanager
def _without_collection() -> Iterator[None]:
    """Look for no garbage: a recording is millions of objects, none of them garbage, and the search took most time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
