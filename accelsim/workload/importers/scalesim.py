"""SCALE-Sim topologies, versions 2 and 3: a CSV file with one convolution or one GEMM per row.

The first line names the columns, and they decide what a row is. `Sparsity` may follow: N:M of the weights. Some files
name a `Batch Size` after them that no row holds, as SCALE-Sim would take it for the ratio.

============  ===================================================================================================
convolutions  Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides
  (v2)        the same with Stride Height, Stride Width at the end
GEMMs         Layer, M, N, K: activations (M, K) times weights (K, N)
============  ===================================================================================================

A layer has here the products that SCALE-Sim computes for it:

- The output has ceil((IFMAP - filter + stride) / stride) rows: the last window may run over the edge. There is no
  padding but what the IFMAP size holds. The weights of a filter are reduced in the order height, width, channel.
- A name with ``DP`` in it is a depthwise convolution: every channel by itself, with `Num Filter` filters.
- N:M runs along the whole reduction, the same in every filter; what is left of a last group keeps up to N.
- Its reader drops what follows the last comma of a row, so a row needs a comma at its end. Where SCALE-Sim would go on
  with another layer (its ratio gone, so dense), a missing comma is an error; where it would stop, the row is read.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelsim.base.errors import InputError
from accelsim.base.files import read_text, validate
from accelsim.base.version import __version__
from accelsim.sparsity.pattern import Pattern
from accelsim.workload.importing import ImportOptions
from accelsim.workload.names import few, unique_names
from accelsim.workload.trace import FORMAT, LARGEST_DIMENSION, LARGEST_TENSOR, Trace

__all__ = [
    "CONV_COLUMNS",
    "DEPTHWISE_MARK",
    "GEMM_COLUMNS",
    "SPARSITY_COLUMN",
    "groups_cross_taps",
    "kept_weights",
    "read",
]

_CONV_SIZES = ("IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter")
CONV_COLUMNS = ("Layer name", *_CONV_SIZES, "Strides")
_CONV_COLUMNS_V2 = ("Layer name", *_CONV_SIZES, "Stride Height", "Stride Width")
GEMM_COLUMNS = ("Layer", "M", "N", "K")
SPARSITY_COLUMN = "Sparsity"
_BATCH_COLUMN = "Batch Size"
DEPTHWISE_MARK = "DP"

# Other spellings in files that come with SCALE-Sim. Some of them name both IFMAP columns "IFMAP Width".
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "Layer name": ("layer",),
    "Layer": ("layer name", "l"),
    "IFMAP Height": ("ifmap width",),
    "Channels": ("channel",),
    "Num Filter": ("num filters",),
}
_EXPECTED = (
    f"the first line names the columns: '{', '.join(CONV_COLUMNS)}' for convolutions or '{', '.join(GEMM_COLUMNS)}' for"
    f" GEMMs, and {SPARSITY_COLUMN} after them where layers are sparse"
)
_SHOWN_PROBLEMS = 20
_LONGEST_NAME = 400  # a repeated name grows by a number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A line of the file: its values without those left blank at the end.

    `cells`: how many there are, blank ones included. `closed`: a comma ends it, or a comment after one, so that
    SCALE-Sim reads all of the values.
    """

    line: int
    values: tuple[str, ...]
    cells: int
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A row that is right: its numbers by column and its N:M.

    `unread`: SCALE-Sim would drop a number of the row that it needs.
    """

    line: int
    name: str
    sizes: Mapping[str, int]
    pattern: Pattern | None
    unread: bool

    @property
    def is_gemm(self) -> bool:
        return "K" in self.sizes

    @property
    def is_depthwise(self) -> bool:
        return not self.is_gemm and DEPTHWISE_MARK in self.name

    @property
    def strides(self) -> tuple[int, int]:
        """Strides along height and width."""
        if "Strides" in self.sizes:
            return self.sizes["Strides"], self.sizes["Strides"]
        return self.sizes["Stride Height"], self.sizes["Stride Width"]

    @property
    def kernel(self) -> tuple[int, int]:
        """Filter height and width."""
        return self.sizes["Filter Height"], self.sizes["Filter Width"]

    @property
    def ifmap(self) -> tuple[int, int]:
        """IFMAP height and width as the file has them."""
        return self.sizes["IFMAP Height"], self.sizes["IFMAP Width"]

    @property
    def covered(self) -> tuple[int, int]:
        """IFMAP height and width that the windows reach over, also past the edge."""
        geometry = zip(self.ifmap, self.kernel, self.strides, strict=True)
        height, width = (taps + -(-(size - taps) // step) * step for size, taps, step in geometry)
        return height, width

    @property
    def groups(self) -> int:
        """Groups of channels that are convolved by themselves."""
        return self.sizes["Channels"] if self.is_depthwise else 1

    @property
    def channels(self) -> int:
        """Channels or features that a filter reduces."""
        return self.sizes["K"] if self.is_gemm else self.sizes["Channels"] // self.groups

    @property
    def taps(self) -> int:
        """Positions of a filter; one in a GEMM."""
        return 1 if self.is_gemm else self.kernel[0] * self.kernel[1]

    @property
    def filters(self) -> int:
        """Filters of all groups together."""
        return self.sizes["N"] if self.is_gemm else self.sizes["Num Filter"] * self.groups

    @property
    def weights(self) -> int:
        """Weights of all filters."""
        return self.channels * self.taps * self.filters


def kept_weights(pattern: Pattern, k: int) -> int:
    """Return how many of the `k` weights of a filter SCALE-Sim keeps under `pattern`."""
    return k // pattern.group * pattern.kept + min(k % pattern.group, pattern.kept)


def groups_cross_taps(pattern: Pattern, channels: int, taps: int) -> bool:
    """Return whether groups along the reduction hold channels of two filter positions.

    Then the groups along the channels of one position need not obey the pattern.
    """
    return taps > 1 and channels % pattern.group != 0


def read(path: Path, options: ImportOptions) -> Trace:
    """Return the topology at `path` as a trace.

    `options.sizes` gives numbers for names that stand in place of sizes; `options.batch` says how many samples the rows
    M of the GEMMs hold. Raises `InputError` with every error of the file, each with its line and column.
    """
    header, *rows = _rows(path)
    if not rows:
        raise InputError(f"{path}: no layers below the first line")
    columns = _columns(path, _filled(header.values, rows))
    problems = [f":{row.line}: {problem}" for row in rows for problem in _problems(row, columns, options)]
    if not any(problem.startswith(f":{rows[-1].line}: ") for problem in problems):
        problems += _torn(header, rows)
    problems += [f": {problem}" for problem in _misplaced_options(rows, columns, options)]
    if problems:
        more = [f": and {len(problems) - _SHOWN_PROBLEMS} more errors"] * (len(problems) > _SHOWN_PROBLEMS)
        raise InputError("\n".join(f"{path}{problem}" for problem in [*problems[:_SHOWN_PROBLEMS], *more]))
    layers = [_layer(row, columns, options) for row in rows]
    names = unique_names([layer.name for layer in layers])
    operations = [_operation(layer, name, options.batch or 1) for layer, name in zip(layers, names, strict=True)]
    return validate(
        Trace,
        {
            "format": FORMAT,
            "model": options.name or path.name.removesuffix(".gz").removesuffix(".csv"),
            "input_shapes": [_input_shape(operations[0])],
            "parameters": sum(layer.weights for layer in layers),
            "origin": {
                "exporter": f"accelsim import {__version__}",
                "source": f"{path.name}, a SCALE-Sim topology",
                "assumptions": [*_gaps(layers, options), *_readings(layers, header.values)],
            },
            "operations": operations,
        },
        str(path),
    )


def _rows(path: Path) -> list[_Row]:
    """The lines that hold anything, the one with the column names first."""
    lines = re.split(r"\r\n|\r|\n", read_text(path))
    rows = [row for number, line in enumerate(lines, start=1) if (row := _row(number, line)).values]
    if not rows:
        raise InputError(f"{path}: empty; {_EXPECTED}")
    if rows[0].line != 1:
        raise InputError(f"{path}:1: blank; {_EXPECTED}")
    separator = next((name for mark, name in (("\t", "tabs"), (";", "semicolons")) if mark in lines[0]), None)
    if separator and "," not in lines[0]:
        raise InputError(f"{path}:1: {separator} separate the values; commas are needed")
    return rows


def _row(number: int, line: str) -> _Row:
    *values, last = (value.strip() for value in line.split(","))
    closed = not last or last.startswith("#")
    if not closed:
        values.append(last)
    cells = len(values)
    while values and not values[-1]:
        values.pop()
    return _Row(line=number, values=tuple(values), cells=cells, closed=closed)


def _filled(header: Sequence[str], rows: Sequence[_Row]) -> Sequence[str]:
    """Return the names of columns without a batch that no row holds."""
    unused = _spells(header[-1], _BATCH_COLUMN) and all(len(row.values) < len(header) for row in rows)
    return header[:-1] if unused else header


def _columns(path: Path, header: Sequence[str]) -> tuple[str, ...]:
    """The columns of the file. Raises `InputError` where SCALE-Sim, which goes by place, would read another one."""
    wanted: tuple[str, ...]
    second = header[1] if len(header) > 1 else ""
    if _spells(second, "M"):
        wanted = GEMM_COLUMNS
    elif _spells(second, "IFMAP Height"):
        wanted = _CONV_COLUMNS_V2 if len(header) > 7 and _spells(header[7], "Stride Height") else CONV_COLUMNS
    else:
        raise InputError(f"{path}:1: column 2: got '{_short(second)}'; {_EXPECTED}")
    allowed = (*wanted, SPARSITY_COLUMN)
    problems = []
    for place, name in enumerate(header):
        if place >= len(allowed):
            problems.append(f"column {place + 1}: got '{_short(name)}'; nothing comes after {SPARSITY_COLUMN}")
        elif not _spells(name, allowed[place]):
            needed = f"{allowed[place]} or nothing" if place == len(wanted) else allowed[place]
            problems.append(f"column {place + 1}: got '{_short(name)}'; {needed} is needed there")
    problems += [f"column {name} is missing" for name in wanted[len(header) :]]
    if problems:
        raise InputError("\n".join(f"{path}:1: {problem}" for problem in problems))
    return allowed[: len(header)]


def _spells(text: str, column: str) -> bool:
    spelled = " ".join(text.casefold().split())
    return spelled == column.casefold() or spelled in _SPELLINGS.get(column, ())


def _short(text: str) -> str:
    """A value as an error shows it: in one line, and not without end."""
    shown = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _torn(header: _Row, rows: Sequence[_Row]) -> list[str]:
    """Say so where the last row has fewer cells than the first line and other rows: the file was cut off there."""
    most, last = len(header.values), rows[-1]
    if last.cells >= most or all(row.cells < most for row in rows):
        return []
    missing = ", ".join(header.values[last.cells :])
    return [f":{last.line}: got {last.cells} of {most} values in the last line (truncated?); missing: {missing}"]


def _problems(row: _Row, columns: Sequence[str], options: ImportOptions) -> Iterator[str]:
    """What is wrong with a row: first its form and numbers, then what they say together."""
    inside = f" (in '{_short(row.values[0])}')"
    sized = _sized(columns)
    if not 1 <= len(row.values[0]) <= _LONGEST_NAME or not row.values[0].isprintable():
        got = _short(row.values[0])
        yield f"{columns[0]}: got '{got}'; a name of 1 to {_LONGEST_NAME} printable characters is needed"
    if len(row.values) > len(columns):
        dropped = "" if row.closed else f"; SCALE-Sim drops the last, '{_short(row.values[-1])}': no comma follows it"
        yield f"got {len(row.values)} values{inside} for the {len(columns)} columns of the first line{dropped}"
        return
    if len(row.values) <= len(sized):
        missing = ", ".join(columns[len(row.values) : len(sized) + 1])
        yield f"got {len(row.values)} of {len(sized) + 1} values{inside}; missing: {missing}"
        return
    wrong = [*_wrong_numbers(row, sized, inside, options), *_wrong_ratio(row, sized, inside)]
    yield from wrong
    if not wrong:
        layer = _layer(row, columns, options)
        yield from _lost_values(row, columns, layer, inside)
        yield from _contradictions(layer, inside, options)


def _sized(columns: Sequence[str]) -> Sequence[str]:
    """The columns that hold a number."""
    return [column for column in columns[1:] if column != SPARSITY_COLUMN]


def _size(text: str, options: ImportOptions) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else options.sizes.get(text)


def _ratio(row: _Row, sized: Sequence[str]) -> str:
    return row.values[len(sized) + 1] if len(row.values) > len(sized) + 1 else ""


def _wrong_numbers(row: _Row, sized: Sequence[str], inside: str, options: ImportOptions) -> Iterator[str]:
    for column, text in zip(sized, row.values[1:], strict=False):
        number = _size(text, options)
        if number is None or not 1 <= number <= LARGEST_DIMENSION:
            given = f" = {number}" if text in options.sizes else ""
            hint = f", or --size {text}=NUMBER" if text.isidentifier() and not given else ""
            yield (
                f"{column}{inside}: got '{_short(text)}'{given}; a whole number from 1 to {LARGEST_DIMENSION} is"
                f" needed{hint}"
            )


def _wrong_ratio(row: _Row, sized: Sequence[str], inside: str) -> Iterator[str]:
    text = _ratio(row, sized)
    try:
        _pattern(text)
    except InputError:
        yield f"{SPARSITY_COLUMN}{inside}: got '{_short(text)}'; N:M is needed, N of every M weights kept, as in 2:4"


def _pattern(text: str) -> Pattern | None:
    pattern = Pattern.parse(re.sub(r"\s", "", text)) if text else None
    return None if pattern is None or pattern.kept == pattern.group else pattern


def _lost_values(row: _Row, columns: Sequence[str], layer: _Layer, inside: str) -> Iterator[str]:
    """A last value that SCALE-Sim drops and then goes on without."""
    if row.closed:
        return
    column, text = columns[len(row.values) - 1], row.values[-1]
    if column == SPARSITY_COLUMN and layer.pattern is not None:
        consequence, way_out = "runs the layer dense", "end the row with a comma, or leave the ratio out"
    elif column == "Stride Width" and layer.strides[0] != layer.strides[1]:
        consequence, way_out = f"takes stride {layer.strides[0]} both ways", "end the row with a comma"
    else:
        return
    yield f"{column}{inside}: no comma ends the row, so SCALE-Sim drops '{_short(text)}' and {consequence}; {way_out}"


def _contradictions(layer: _Layer, inside: str, options: ImportOptions) -> Iterator[str]:
    if layer.is_gemm and layer.sizes["M"] % (options.batch or 1):
        yield f"M{inside}: got {layer.sizes['M']}; a multiple of the batch, {options.batch}, is needed"
    if not layer.is_gemm:
        for side in ("Height", "Width"):
            taps, ifmap = layer.sizes[f"Filter {side}"], layer.sizes[f"IFMAP {side}"]
            if taps > ifmap:
                yield f"Filter {side}{inside}: got {taps}; at most the IFMAP {side}, {ifmap}, is allowed"
        if max(layer.covered) > LARGEST_DIMENSION:
            reach = max(layer.covered)
            yield f"Strides{inside}: the windows reach over {reach} rows; at most {LARGEST_DIMENSION} are allowed"
    if layer.filters > LARGEST_DIMENSION:
        yield f"Num Filter{inside}: makes {layer.filters} filters in all; at most {LARGEST_DIMENSION} are allowed"
    if layer.weights > LARGEST_TENSOR:
        yield f"got {layer.weights} weights{inside}; at most {LARGEST_TENSOR} are allowed"


def _misplaced_options(rows: Sequence[_Row], columns: Sequence[str], options: ImportOptions) -> Iterator[str]:
    written = {value for row in rows for value in row.values[1:]}
    for name in options.sizes:
        if name not in written:
            yield f"--size {name}: no layer has this name in place of a number"
    if options.batch not in {None, 1} and "K" not in columns:
        yield f"--batch {options.batch}: a topology of convolutions holds one sample"


def _layer(row: _Row, columns: Sequence[str], options: ImportOptions) -> _Layer:
    sized = _sized(columns)
    numbers = {column: _size(text, options) for column, text in zip(sized, row.values[1:], strict=False)}
    return _Layer(
        line=row.line,
        name=row.values[0],
        sizes={column: number for column, number in numbers.items() if number is not None},
        pattern=_pattern(_ratio(row, sized)),
        unread=not row.closed and columns[len(row.values) - 1] not in {SPARSITY_COLUMN, "Stride Width"},
    )


def _operation(layer: _Layer, name: str, batch: int) -> dict[str, Any]:
    """The layer as an operation of a trace."""
    if layer.is_gemm:
        geometry = {
            "kind": "linear",
            "in_features": layer.sizes["K"],
            "out_features": layer.sizes["N"],
            "rows": layer.sizes["M"] // batch,
        }
    else:
        geometry = {
            "kind": "conv2d",
            "in_channels": layer.sizes["Channels"],
            "out_channels": layer.filters,
            "in_size": list(layer.covered),
            "kernel": list(layer.kernel),
            "stride": list(layer.strides),
            "groups": layer.groups,
        }
    seen = _seen(layer)
    observed = {} if seen is None else {"observed": {"FF": {"weight": seen}}}
    return {"name": name, **geometry, "weight": {"name": f"{name}.weight"}, **observed}


def _seen(layer: _Layer) -> dict[str, Any] | None:
    """What the ratio says of the weight in FF; nothing where every weight is kept."""
    k = layer.channels * layer.taps
    kept = k if layer.pattern is None else kept_weights(layer.pattern, k)
    if layer.pattern is None or kept == k:
        return None
    if groups_cross_taps(layer.pattern, layer.channels, layer.taps):
        return {"density": kept / k}
    return {"pattern": str(layer.pattern), "axis": "input"}


def _input_shape(operation: Mapping[str, Any]) -> list[int]:
    if operation["kind"] == "linear":
        return [operation["rows"], operation["in_features"]]
    return [operation["in_channels"], *operation["in_size"]]


def _gaps(layers: Sequence[_Layer], options: ImportOptions) -> Iterator[str]:
    """What no topology says."""
    yield "the file holds the forward pass alone; BP and WU are derived from it"
    yield "every layer has a trained weight of its own; a product of two activations (attention) would look the same"
    yield "layers run in the order of the file; how they are connected is not in it"
    yield "no biases, normalisation, activation functions, pooling or other vector work: none is in the file"
    if layers[0].is_gemm:
        samples = f"{options.batch} samples" if options.batch not in {None, 1} else "one sample"
        yield f"the rows M of a GEMM belong to {samples}"
    else:
        yield "the IFMAP belongs to one sample and holds its padding; what part of it is padding is not in the file"
    if any(layer.pattern for layer in layers):
        yield "Sparsity is that of the weights in FF; BP and WU are dense"


def _readings(layers: Sequence[_Layer], header: Sequence[str]) -> Iterator[str]:
    """How single rows were read where that needs to be known."""
    repeated = [name for name, count in Counter(layer.name for layer in layers).items() if count > 1]
    if repeated:
        yield f"names that stand more than once got a number, as in {repeated[0]}_2: {few(repeated)}"
    spelled = " ".join(header[1].split())
    if spelled.casefold() == "ifmap width":
        yield f"line 1 names column 2 '{spelled}'; it is read as IFMAP Height, as SCALE-Sim does"
    cases: tuple[tuple[str, Callable[[_Layer], bool]], ...] = (
        (
            "no comma ends the row; it is read whole where SCALE-Sim would drop its last value and stop",
            lambda layer: layer.unread,
        ),
        (f"depthwise, as SCALE-Sim takes a name with {DEPTHWISE_MARK}", lambda layer: layer.is_depthwise),
        (
            "the last window runs over the edge, which SCALE-Sim counts; the IFMAP is as large as the windows need",
            lambda layer: not layer.is_gemm and layer.covered != layer.ifmap,
        ),
        (
            "N:M groups cross filter positions, so what groups along the channels hold is unknown; FF runs dense",
            lambda layer: "density" in (_seen(layer) or {}),
        ),
    )
    for text, holds in cases:
        found = [f"{layer.name} (line {layer.line})" for layer in layers if holds(layer)]
        if found:
            yield f"{text}: {few(found)}"
