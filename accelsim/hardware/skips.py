"""What a machine skips of the multiplications that zeros make needless.

N:M operands along the reduction (`NmSkips`), whole blocks (`BlockSkips`), single zeros (`UnstructuredSkips`). Each part
may be left out; what is absent cannot be skipped.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from accelsim.base.errors import InputError
from accelsim.base.files import FileModel
from accelsim.sparsity.pattern import Pattern

__all__ = ["BlockSkips", "NmSkips", "Skips", "UnstructuredSkips"]

Operand = Literal["weight", "input", "output-gradient", "left", "right"]


class NmSkips(FileModel):
    """N:M operands whose groups run along the reduction, one of them per product."""

    modes: Annotated[tuple[str, ...], Field(strict=False, description="patterns, as in 2:8")] = ()
    operands: Annotated[tuple[Operand, ...], Field(strict=False, description="tensors that may be the N:M one")] = (
        "weight",
        "output-gradient",
    )
    cover: Annotated[
        Literal["row", "pass"] | None,
        Field(
            description="what of an unstructured operand runs in the smallest mode that holds all its groups: rows of"
            " cover_values along the reduction, or a pass over so many columns of the array; null: nothing does"
        ),
    ] = None
    cover_values: Annotated[
        Annotated[int, Field(ge=1, le=2**24)] | None,
        Field(description="values of a row (cover: row), or columns of a pass (cover: pass)"),
    ] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for text in self.modes:
            try:
                Pattern.parse(text)
            except InputError as error:
                raise ValueError(f"modes: {error}") from None
        if (self.cover is None) != (self.cover_values is None):
            raise ValueError("cover_values: needed where cover is row or pass, and only there")
        return self


class BlockSkips(FileModel):
    """Zero blocks of a size."""

    size: Annotated[
        Annotated[int, Field(ge=1, le=2**16)] | None,
        Field(description="rows and columns of a block; null: none is skipped"),
    ] = None
    tie: Annotated[float, Field(gt=0, le=1, description="density at which block and dense products take as long")] = 1.0
    output: Annotated[bool, Field(description="whether blocks of a result that nobody needs are skipped, too")] = False


class UnstructuredSkips(FileModel):
    """Single zeros."""

    operands: Annotated[
        Literal[0, 1, 2], Field(description="0: no operand's; 1: those of the sparser one; 2: of both")
    ] = 0
    lanes: Annotated[int, Field(ge=1, le=2**20, description="lanes that wait for each other")] = 1
    barrier: Annotated[
        Annotated[int, Field(ge=1, le=2**24)] | None,
        Field(description="positions after which lanes wait for each other; null: at the end of the reduction"),
    ] = None
    fixed: Annotated[float, Field(ge=0, lt=1, description="share of the dense time that no zero shortens")] = 0.0
    output: Annotated[bool, Field(description="whether dot products that nobody needs are skipped, too")] = False
    imbalance: Annotated[
        Literal["binomial", "none"],
        Field(description="binomial: the fullest lane of a mask at random; none: work is spread evenly"),
    ] = "binomial"


class Skips(FileModel):
    """What a machine skips; the default skips nothing."""

    nm: NmSkips = NmSkips()
    block: BlockSkips = BlockSkips()
    unstructured: UnstructuredSkips = UnstructuredSkips()
