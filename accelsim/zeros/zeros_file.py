"""Zeros as files, ``accelsim-zeros/1``: what is zero in the tensors of a network, entry by entry.

```yaml
format: accelsim-zeros/1
zeros:
  - {tensor: weight, of: [conv, linear], form: unstructured, sparsity: 0.9, across: erk, dense: [conv1]}
  - {tensor: weight-gradient, same-as: weight}
  - {tensor: weight, of: "layer*", form: "2:8", along: output, in: [BP]}
  - {tensor: input, of: fc2, form: unstructured, density: 0.03, aligned: [output-gradient of fc1]}
```

``of`` names operations by kind (``conv`` is any convolution) or by globs of their names; a kind wins over a glob.
``across`` spreads the sparsity over their weights: ``uniform``, ``er``, ``erk`` (`accelsim.sparsity.spread`), by
magnitude over all of them ``{global: W.npz}`` (an array of weights per operation), ``{file: F.csv}`` with the columns
layer and density, or ``traced``, what the trace observed. ``dense`` layers stay dense, outside the budget.
``same-as`` is the mask of another entry: of a tensor of the same operation (``weight``), or ``output of GLOB``;
``aligned`` lists tensors that show the same mask. ``in`` restricts an entry to stages.
"""

import csv
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, WithJsonSchema, field_validator, model_validator

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import FileModel, read_text, validate
from accelsim.base.overwriting import note_input
from accelsim.hardware.sourced import parse_yaml
from accelsim.sparsity.pattern import Pattern
from accelsim.zeros.masks import TENSORS, Tensor

__all__ = [
    "FromFile",
    "Global",
    "ZeroEntry",
    "Zeros",
    "ZerosFile",
    "load_zeros",
    "read_densities",
    "read_weights",
    "tensor_and_glob",
]

FORMS = ("unstructured", "block", "channel", "graph")

_ONE_OR_SEVERAL = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False), _ONE_OR_SEVERAL]
Density = Annotated[float, Field(gt=0, le=1)]


class Global(FileModel):
    """By magnitude over all layers, from their weights."""

    global_: Annotated[str, Field(alias="global", min_length=1, description="an .npz file, an array per operation")]


class FromFile(FileModel):
    """From a table."""

    file: Annotated[str, Field(min_length=1, description="a CSV file with the columns layer and density")]


Across = Literal["uniform", "er", "erk", "traced"] | Global | FromFile


class ZeroEntry(FileModel):
    """One kind of zeros; see the module."""

    tensor: Tensor
    of: Names = Field((), description="kinds or globs of operations; with same-as those of that entry")
    form: str | None = Field(None, description="N:M, unstructured, block, channel or graph")
    density: Density | None = None
    sparsity: Annotated[float, Field(ge=0, lt=1)] | None = None
    across: Across = "uniform"
    dense: Names = Field((), description="operations that stay dense, outside the budget")
    same_as: str | None = Field(None, alias="same-as")
    aligned: Names = Field((), description="tensors that show the same mask: TENSOR, or TENSOR of GLOB")
    in_: Annotated[tuple[Literal["FF", "BP", "WU"], ...], Field(strict=False, min_length=1)] | None = Field(
        None, alias="in"
    )
    along: Literal["input", "output", "batch"] | None = Field(None, description="what groups of N:M run along")
    block: Annotated[tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]], Field(strict=False)] | None = None
    edges: Annotated[int, Field(ge=1)] | None = Field(None, description="nonzeros of a graph")

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if "True" in data:
            raise ValueError("the key 'on' is a truth value in YAML; a zero names its operations with 'of'")
        listed = {key: [data[key]] for key in ("of", "dense", "aligned", "in") if isinstance(data.get(key), str)}
        return {**data, **listed}

    @field_validator("form")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in FORMS:
            try:
                Pattern.parse(value)
            except InputError as error:
                raise ValueError(
                    f"got '{value}'{did_you_mean(value, FORMS)}; allowed: N:M, {', '.join(FORMS)}"
                    if ":" not in value
                    else str(error)
                ) from None
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.same_as is not None:
            self._check_copy()
        elif self.form is None:
            raise ValueError("form: missing; allowed: N:M, unstructured, block, channel, graph, or give same-as")
        elif not self.of:
            raise ValueError("of: missing; name kinds or globs of operations")
        else:
            self._check_amount(self.form)
        return self

    def _check_copy(self) -> None:
        own = [name for name in ("form", "density", "sparsity", "along", "block", "edges") if getattr(self, name)]
        if own or self.across != "uniform":
            raise ValueError(f"{(own or ['across'])[0]}: follows from same-as")

    def _check_amount(self, form: str) -> None:
        given = [name for name in ("density", "sparsity") if getattr(self, name) is not None]
        if len(given) == 2:
            raise ValueError("density and sparsity: give one of them")
        needless = ":" in form or self.across == "traced" or isinstance(self.across, FromFile)
        if form == "graph":
            needless = self.edges is not None
        if given and needless:
            raise ValueError(
                f"{given[0]}: follows from {'form' if ':' in form else 'edges' if form == 'graph' else 'across'}"
            )
        if not given and not needless:
            raise ValueError("density: missing; give density or sparsity")
        if ":" in form and self.across != "uniform":
            raise ValueError(f"across: {form} keeps as much of every layer; other forms are spread")
        if form == "graph" and self.tensor != "left":
            raise ValueError(f"tensor: got '{self.tensor}'; a graph is the left factor of a product")
        if (form == "block") != (self.block is not None):
            raise ValueError("block: rows and columns of a block are needed for the form block, and for no other")
        if self.along is not None and ":" not in form:
            raise ValueError("along: groups of N:M run along an axis, no other form")
        if self.across not in {"uniform", "traced"} and self.tensor != "weight":
            raise ValueError("across: densities spread by layer for weights; other tensors take uniform or traced")

    @property
    def pattern(self) -> Pattern | None:
        """The pattern of the form N:M."""
        return Pattern.parse(self.form) if self.form is not None and ":" in self.form else None

    @property
    def wanted_density(self) -> float:
        """Share of nonzeros that was asked for."""
        if self.pattern is not None:
            return self.pattern.density
        return 1 - self.sparsity if self.sparsity is not None else (self.density or 1.0)

    @property
    def wanted_sparsity(self) -> float:
        """Share of zeros that was asked for."""
        return self.sparsity if self.sparsity is not None else 1 - self.wanted_density


class ZerosFile(FileModel):
    """A file of zeros."""

    format: Literal["accelsim-zeros/1"]
    zeros: Annotated[tuple[ZeroEntry, ...], Field(strict=False, min_length=1)]


@dataclass(frozen=True, slots=True)
class Zeros:
    """Entries of a file of zeros, and where it is from; files that they name start in its folder."""

    source: str
    folder: str
    entries: tuple[ZeroEntry, ...]

    def where(self, index: int) -> str:
        """What messages call an entry."""
        return f"{self.source}: zeros[{index}]"


def load_zeros(path: str | Path) -> Zeros:
    """Return the zeros of a YAML file.

    Args:
        path: the file.

    Raises `InputError` that lists every error with its path.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "zeros.yaml")
    ...     _ = file.write_text(
    ...         "format: accelsim-zeros/1\\nzeros: [{tensor: weight, of: conv, form: unstructured, sparsity: 0.9}]"
    ...     )
    ...     load_zeros(file).entries[0].sparsity
    0.9
    """
    path = Path(path)
    data, lines = parse_yaml(read_text(path), str(path))
    form = validate(ZerosFile, data, str(path), lines=lines)
    return Zeros(source=str(path), folder=str(path.parent), entries=form.zeros)


def read_densities(path: Path) -> dict[str, float]:
    """Return the density of each layer of a CSV file. Raises `InputError` for other columns, values and repeats."""
    found: dict[str, float] = {}
    rows = csv.DictReader(io.StringIO(read_text(path)))
    if rows.fieldnames is None or not {"layer", "density"} <= set(rows.fieldnames):
        raise InputError(f"{path}: got the columns {', '.join(rows.fieldnames or ())}; layer and density are needed")
    for number, row in enumerate(rows, start=2):
        try:
            density = float(row["density"])
        except (TypeError, ValueError):
            density = 0.0
        if not 0 < density <= 1:
            raise InputError(f"{path}: line {number}: density: got {row['density']!r}; above 0 up to 1 is needed")
        if row["layer"] in found:
            raise InputError(f"{path}: line {number}: layer '{row['layer']}' stands twice")
        found[row["layer"]] = density
    return found


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file. Raises `InputError` for anything else, pickled objects included."""
    note_input(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not an .npz file, or a damaged one")
    with zipfile.ZipFile(path) as archive:
        return {member.removesuffix(".npy"): _array(path, archive, member) for member in archive.namelist()}


def _array(path: Path, archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    name = member.removesuffix(".npy")
    try:
        with archive.open(member) as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path}: entry '{name}': no array of numbers, or a damaged one") from None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: entry '{name}': got {array.dtype}; real numbers are needed")
    return array


def tensor_and_glob(text: str) -> tuple[str, str | None]:
    """Split ``TENSOR`` or ``TENSOR of GLOB``. Raises `InputError` for a tensor that there is not."""
    tensor, _, glob = text.partition(" of ")
    tensor = tensor.strip()
    if tensor not in TENSORS:
        raise InputError(f"'{tensor}' is no tensor{did_you_mean(tensor, TENSORS)}; allowed: {', '.join(TENSORS)}")
    return tensor, glob.strip() or None
