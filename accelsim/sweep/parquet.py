"""Results as Parquet, made of their CSV block by block (extra ``parquet``), and their rows read again."""

import contextlib
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelsim.base.errors import InputError, to_install
from accelsim.base.files import Value, replacing
from accelsim.base.overwriting import note_input
from accelsim.hardware.design import load_design
from accelsim.sweep.axes import Interval
from accelsim.sweep.device_fit import FIT
from accelsim.sweep.inputs import base_values
from accelsim.sweep.point import METRICS
from accelsim.sweep.rows import columns_of
from accelsim.sweep.space import Sweep

__all__ = ["check_parquet", "parquet_columns", "parquet_rows", "write_parquet"]

_BLOCK_BYTES = 1 << 22


def check_parquet() -> None:
    """Refuse to go on without the library that writes Parquet."""
    if find_spec("pyarrow") is None:
        raise InputError(f"results as .parquet need pyarrow: {to_install('parquet')}; .csv needs nothing")


def parquet_columns(path: Path) -> tuple[str, ...]:
    """Return the columns of a file. Raises `InputError` for one that cannot be read."""
    with _open_parquet(path) as file:
        return tuple(file.schema_arrow.names)


def parquet_rows(path: Path, columns: Collection[str]) -> Iterator[dict[str, Value]]:
    """Yield the rows of a file, as values by column. Raises `InputError` for one that cannot be read."""
    with _open_parquet(path) as file:
        for batch in file.iter_batches(columns=list(columns)):
            yield from batch.to_pylist()


@contextlib.contextmanager
def _open_parquet(path: Path) -> Iterator[Any]:
    check_parquet()
    import pyarrow.parquet  # noqa: PLC0415  an extra

    note_input(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no Parquet file, or is damaged") from error
    except OSError as error:
        why = error.strerror or "is no Parquet file, or is damaged"  # what is no error of the system has no words of it
        raise InputError(f"{path}: cannot be read: {why}") from error


def write_parquet(sweep: Sweep, journal: Path, output: Path) -> None:
    """Write the rows of a finished sweep's CSV as Parquet; what is empty there is null, and numbers are numbers.

    Raises `InputError` when it cannot be written.
    """
    import pyarrow.csv  # noqa: PLC0415  an extra
    import pyarrow.parquet  # noqa: PLC0415

    types = {name: pyarrow.type_for_alias(alias) for name, alias in _types(sweep)}
    options = pyarrow.csv.ConvertOptions(
        column_types=types, null_values=["", "null"], strings_can_be_null=True, quoted_strings_can_be_null=True
    )
    reading = pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES)
    with (
        replacing(output) as temporary,
        pyarrow.csv.open_csv(journal, reading, convert_options=options) as blocks,
        pyarrow.parquet.ParquetWriter(temporary, blocks.schema) as writer,
    ):
        for block in blocks:
            writer.write_batch(block)


def _types(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """Yield each column with its Arrow type."""
    fields = {"batch": 1, "accumulate": 1, **base_values(load_design(sweep.inputs.design))}
    varied = {
        axis.path: ("int64" if axis.whole else "float64") if isinstance(axis, Interval) else _type_of(*axis.values)
        for axis in sweep.axes
    }
    for link in sweep.links:
        counts = all((varied.get(name) or _type_of(fields[name])) == "int64" for name in link.expression.names)
        kind = _type_of(fields[link.path])
        # a number that is computed is whole where nothing else can come out
        varied[link.path] = "float64" if kind == "int64" and not (counts and link.expression.stays_whole) else kind
    for name in columns_of(sweep):
        if name in METRICS:
            yield name, "int64" if name.endswith("cycles") or name.startswith("macs_") else "float64"
        elif name in FIT:
            yield name, "bool" if name == "fits" else "int64"
        else:
            yield name, varied.get(name, "string")


def _type_of(*values: Value) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "bool"
    if kinds and kinds <= {int, float}:
        return "float64" if float in kinds else "int64"
    return "string"
