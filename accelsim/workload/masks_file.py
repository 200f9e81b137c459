"""Masks of a trace: which weights are not zero, bit by bit, in one ``.npz`` file beside the trace.

The trace refers to an entry of it by name, as in ``masks.npz#layer.weight``; nothing but `check_masks` reads it. Entry
``layer.weight`` holds the bits of the mask in C order, eight to a uint8, the first in the highest bit, and entry
``layer.weight/shape`` its shape. Without accelsim:

```python
data = np.load("masks.npz")
shape = data["layer.weight/shape"]
mask = np.unpackbits(data["layer.weight"], count=shape.prod()).reshape(shape).astype(bool)
```

A mask has the shape of its weight: (out_features, in_features), of a convolution (out_channels, in_channels / groups,
*kernel), of a transposed one (in_channels, out_channels / groups, *kernel).
"""

import io
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose, prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import errors_of, write_bytes_atomically
from accelsim.base.overwriting import note_input
from accelsim.sparsity.masks import conformity
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.observed import OperandSparsity
from accelsim.workload.trace import Conv, ConvTranspose, Linear, Trace, Vector

__all__ = ["beside", "check_masks", "load_masks", "save_masks"]

_SUFFIX = ".npz"
_SHAPE = "/shape"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LARGEST_ERROR = 1e-6  # of a density, relative
Weighted = Conv | ConvTranspose | Linear


def beside(trace_path: str | Path) -> Path:
    """Return where the masks of a trace go: ``net.masks.npz`` beside ``net.json`` or ``net.json.gz``."""
    path = Path(trace_path)
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".json") + ".masks.npz")


def save_masks(path: str | Path, masks: Mapping[str, NDArray[np.bool_]]) -> None:
    """Write boolean `masks` by name, packed and compressed; the same masks give the same bytes, in whatever order.

    The file is replaced as a whole or not at all. Raises `InputError` for a mask that is not boolean or has no
    elements, for a name that is empty or ends in ``/shape``, and for a path that is no ``.npz`` or cannot be written.
    """
    path = Path(path)
    if path.suffix != _SUFFIX:
        raise InputError(f"{path}: masks are written as .npz, got '{path.suffix or 'no suffix'}'")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, mask in sorted(masks.items()):
            if not name or name.endswith(_SHAPE):
                raise InputError(f"mask '{name}': a name is needed that does not end in {_SHAPE}")
            if mask.dtype != np.bool_ or not mask.shape or not mask.size:
                raise InputError(
                    f"mask '{name}': {mask.dtype} of shape {mask.shape}; booleans, at least one of them along at least"
                    " one axis, are needed"
                )
            _add(archive, name, np.packbits(mask))
            _add(archive, name + _SHAPE, np.array(mask.shape, np.int64))
    write_bytes_atomically(path, packed.getvalue())


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[np.generic]) -> None:
    """Add an entry as numpy does, but for the time of day and the operating system."""
    entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
    entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
    content = io.BytesIO()
    np.lib.format.write_array(content, array, allow_pickle=False)
    archive.writestr(entry, content.getvalue())


def load_masks(path: str | Path) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of a file by name, in the shapes of their weights.

    Raises `InputError` for a file that is missing, damaged or no ``.npz``, and for entries that are no packed masks.
    """
    path = Path(path)
    note_input(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = _mask_names(path, archive)
            return {name: _mask(path, archive, name) for name in names}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):  # RuntimeError: encrypted, or an unknown method
        raise InputError(f"{path}: {_what_is_wrong(path)}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _what_is_wrong(path: Path) -> str:
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    return "truncated or damaged .npz file" if is_zip else "not an .npz file"


def _mask_names(path: Path, archive: zipfile.ZipFile) -> list[str]:
    members = Counter(archive.namelist())
    for member, times in members.items():
        if not member.endswith(".npy"):
            raise InputError(f"{path}: entry '{member}': not a numpy array")
        if times > 1:
            raise InputError(f"{path}: entry '{member.removesuffix('.npy')}' stands twice")
    entries = [member.removesuffix(".npy") for member in members]
    names = [entry for entry in entries if not entry.endswith(_SHAPE)]
    for entry in entries:
        if entry.removesuffix(_SHAPE) not in names:
            raise InputError(f"{path}: entry '{entry}': the shape of a mask that is not there")
    for name in names:
        if name + _SHAPE not in entries:
            raise InputError(f"{path}: entry '{name}': its shape, entry '{name}{_SHAPE}', is missing")
    return names


def _mask(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[np.bool_]:
    bits, sizes = _array(path, archive, name), _array(path, archive, name + _SHAPE)
    if bits.dtype != np.uint8 or bits.ndim != 1:
        raise InputError(f"{path}: entry '{name}': {_kind(bits)}; bits packed into one row of uint8 are needed")
    if sizes.dtype.kind not in "iu" or sizes.ndim != 1 or not sizes.size or (sizes.astype(np.int64) < 1).any():
        raise InputError(f"{path}: entry '{name}{_SHAPE}': {_kind(sizes)}; whole numbers from 1 are needed")
    shape = tuple(int(size) for size in sizes)
    needed = -(-prod(shape) // 8)
    if bits.size != needed:
        raise InputError(f"{path}: entry '{name}': {bits.size} bytes of bits; shape {shape} needs {needed}")
    return np.unpackbits(bits.view(np.uint8), count=prod(shape)).reshape(shape).view(np.bool_)


def _kind(array: NDArray[np.generic]) -> str:
    values = f" {array.tolist()}" if array.ndim == 1 and array.size <= 8 else f" of shape {array.shape}"
    return f"{array.dtype}{values}"


def _array(path: Path, archive: zipfile.ZipFile, entry: str) -> NDArray[np.generic]:
    try:
        with archive.open(f"{entry}.npy") as file:
            array: NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
            return array
    except (ValueError, MemoryError) as error:
        pickled = "allow_pickle" in str(error)
        problem = "holds pickled objects, which are never loaded" if pickled else "not a numpy array"
        raise InputError(f"{path}: entry '{entry}': {problem}") from None


def check_masks(trace: Trace, trace_path: str | Path) -> str | None:
    """Check the masks that `trace` refers to against what it says of them; return a summary, None where it has none.

    The files stand beside `trace_path`. A mask has the shape of its weight, obeys the pattern along its axis within
    every group of a convolution, and has the density, which is a mean and not compared where several steps were traced.
    Raises one `InputError` with all that is missing or differs.
    """
    uses: dict[str, list[_Use]] = defaultdict(list)
    for use in _uses(trace, trace_path):
        uses[use.file].append(use)
    folder, steps = Path(trace_path).parent, trace.origin.steps
    problems = [problem for file, those in uses.items() for problem in _problems(folder / file, those, steps)]
    if problems:
        raise errors_of(str(trace_path), problems)
    counts = {file: len({use.name for use in those}) for file, those in uses.items()}
    return "; ".join(f"{number} mask{'s' * (number > 1)} in {file}" for file, number in counts.items()) or None


def _problems(path: Path, uses: Sequence["_Use"], steps: int) -> Iterator[str]:
    if not path.exists():
        yield (
            f"{path}: no such file, but {uses[0].what} of the trace refers to it; simulation does not need masks, their"
            " check does"
        )
        return
    try:
        masks = load_masks(path)
    except InputError as error:
        yield str(error)
        return
    for use in uses:
        problem = use.problem(masks, steps)
        if problem:
            yield f"{path}: entry '{use.name}', {use.what}: {problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """A mask that the trace refers to: where it is, whose it is, and what the trace says of it."""

    file: str
    name: str
    operation: Weighted
    stage: str
    seen: OperandSparsity

    @property
    def what(self) -> str:
        return f"weight of operation '{self.operation.name}' in {self.stage}"

    def problem(self, masks: Mapping[str, NDArray[np.bool_]], steps: int) -> str | None:
        """Say what is wrong with the mask, None where it agrees with the trace."""
        if self.name not in masks:
            return f"is not in the file{did_you_mean(self.name, masks)}"
        mask = masks[self.name]
        needed = self.operation.weight_shape
        if mask.shape != needed:
            return f"the mask has shape {mask.shape}; the weight has {needed}"
        density = float(mask.mean())
        said = self.seen.density
        if steps <= 1 and said is not None and not isclose(density, said, rel_tol=_LARGEST_ERROR):
            return f"the mask has density {density:.7g}; the trace says {said:.7g}"
        return self._pattern_problem(mask) if self.seen.pattern else None

    def _pattern_problem(self, mask: NDArray[np.bool_]) -> str | None:
        share = self._share_that_obeys(mask, Pattern.parse(self.seen.pattern or ""))
        if share < 1:
            return (
                f"{100 * share:.9g}% of the groups along {self.seen.axis} obey {self.seen.pattern}; the trace says all"
            )
        return None

    def _share_that_obeys(self, mask: NDArray[np.bool_], pattern: Pattern) -> float:
        groups = 1 if isinstance(self.operation, Linear) else self.operation.groups
        inputs_first = isinstance(self.operation, ConvTranspose)
        split = mask.reshape(groups, mask.shape[0] // groups, *mask.shape[1:])
        return conformity(split, pattern, 1 if (self.seen.axis == "input") is inputs_first else 2)


def _uses(trace: Trace, source: str | Path) -> Iterator[_Use]:
    for operation in trace.operations:
        observed = None if isinstance(operation, Vector) else operation.observed
        for stage in ("FF", "BP", "WU"):
            seen = getattr(observed, stage, None)
            for operand, entry in {} if seen is None else seen.operands.items():
                if entry.mask is None:
                    continue
                where = f"{source}: operation '{operation.name}', {stage} {operand}: mask '{entry.mask}'"
                stem, _, name = entry.mask.partition(f"{_SUFFIX}#")  # the stem may hold a # of its own
                file = stem + _SUFFIX
                if not isinstance(operation, Conv | ConvTranspose | Linear) or operand != "weight":
                    raise InputError(f"{where}: only weights have masks")
                if not name or file != Path(file).name:
                    raise InputError(f"{where}: FILE#ENTRY is needed, as in masks.npz#conv.weight")
                yield _Use(file=file, name=name, operation=operation, stage=stage, seen=entry)
