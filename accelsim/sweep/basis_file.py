"""What a sweep rests on, beside its rows: ``NAME.basis.json`` for ``NAME.csv`` and ``NAME.parquet``.

An object ``accelsim-sweep-basis/1`` of the `sweep` and `version` that its rows end in, the whole `design` that is
varied and the `energy_tables`, every value with its source, and the `traces` by name and SHA-256. The file is written
when a sweep or a search begins. As long as rows may be added it holds the `code` that makes them, too.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accelsim.base.code import code_version
from accelsim.base.errors import InputError
from accelsim.base.files import FileModel, Plain, check_format, parse_json, read_text, validate, write_atomically
from accelsim.base.version import __version__
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.energy_table import EnergyTable, load_energy_table
from accelsim.hardware.stored import StoredModel, restored, stored
from accelsim.sweep.inputs import Inputs

__all__ = ["SweepBasis", "basis_data", "basis_of", "basis_path", "check_code", "read_basis", "write_basis"]

FORMAT = "accelsim-sweep-basis/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepBasis:
    """The design that a sweep varies, and its energy tables."""

    sweep: str
    version: str
    design: Design
    energy_tables: tuple[EnergyTable, ...]
    traces: tuple[tuple[str, str], ...]


class _File(FileModel):
    format: Literal["accelsim-sweep-basis/1"]
    sweep: str
    version: str
    code: str | None = None
    design: StoredModel
    energy_tables: tuple[StoredModel, ...]
    traces: dict[str, str]


def basis_path(rows: Path) -> Path:
    """Return the path of what the rows in a file rest on."""
    return rows.with_suffix(".basis.json")


def basis_of(inputs: Inputs, sweep: str, code: str | None = None) -> dict[str, Plain]:
    """Return what the rows of this `sweep` rest on as plain data."""
    return {
        "format": FORMAT,
        "sweep": sweep,
        "version": __version__,
        **({} if code is None else {"code": code}),
        "design": stored(load_design(inputs.design)),
        "energy_tables": [stored(load_energy_table(name)) for name, _ in inputs.tables],
        "traces": dict(inputs.traces),
    }


def write_basis(rows: Path, inputs: Inputs, sweep: str, *, complete: bool) -> None:
    """Write what the rows of this `sweep` rest on beside them, where it is not there already.

    Where they are not `complete`, it says which code makes them.
    """
    path = basis_path(rows)
    text = json.dumps(basis_of(inputs, sweep, None if complete else code_version()), indent=1) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomically(path, text)


def check_code(rows: Path, lines: int) -> None:
    """Raise `InputError` where the rows in a file, `lines` of them, were not made by this code, or none knows."""
    if not lines:
        return
    path = basis_path(rows)
    code = basis_data(rows).get("code") if path.is_file() else None
    if code is None:
        raise InputError(
            f"{rows}: nothing says which code made its {lines:,} rows ({path} would); write to another file"
        )
    if code != code_version():
        raise InputError(f"{rows}: was made with accelsim {code}, and this is {code_version()}; write to another file")


def basis_data(rows: Path) -> dict[str, Plain]:
    """Return what stands beside the rows in a file, as plain data. Raises `InputError` where it is something else."""
    path = basis_path(rows)
    source, text = str(path), read_text(path, goes_on=True)
    data = parse_json(text, source)
    check_format(data, source, {FORMAT: "sweep -o"})
    assert isinstance(data, dict)
    return dict(data)


def read_basis(rows: Path, sweep: str) -> SweepBasis | None:
    """Return what the rows of this `sweep` in a file rest on; None where nothing stands beside them.

    Raises `InputError` for a file of another kind or of another sweep.
    """
    path = basis_path(rows)
    if not path.is_file():
        return None
    source, text = str(path), read_text(path)
    data = parse_json(text, source)
    check_format(data, source, {FORMAT: "sweep -o"})
    file = validate(_File, data, source, text=text)
    if file.sweep != sweep:
        raise InputError(f"{source}: is of the sweep {file.sweep}, and {rows} of {sweep}; make the rows again")
    return SweepBasis(
        sweep=file.sweep,
        version=file.version,
        design=restored(Design, file.design, f"{source}: design"),
        energy_tables=tuple(
            restored(EnergyTable, table, f"{source}: energy_tables[{index}]")
            for index, table in enumerate(file.energy_tables)
        ),
        traces=tuple(file.traces.items()),
    )
