"""Sparsity as it is: what the operands of each product held, pass by pass, in the steps that were traced.

```json
"observed": {
  "FF": {"weight": {"density": 0.25, "pattern": "2:8", "axis": "input"}, "activation": {"density": 0.53}},
  "BP": {"weight": {"density": 0.25, "pattern": "2:8", "axis": "output"}, "gradient": {"density": 0.49}},
  "WU": {"activation": {"density": 0.53}, "gradient": {"density": 0.49}}
}
```
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from accelsim.base.errors import AccelsimError
from accelsim.base.files import FileModel
from accelsim.sparsity.pattern import Pattern, by_chance

__all__ = ["Observed", "ObservedFactors", "OperandSparsity", "forward_pattern"]

_ROUNDING = 1e-6  # of densities in a file
_AXES_OF = {"weight": ("input", "output"), "activation": ("input", "batch"), "gradient": ("output", "batch")}
_A = {"weight": "a weight", "activation": "an activation", "gradient": "a gradient"}

Histogram = Annotated[tuple[Annotated[int, Field(ge=0, le=2**44)], ...], Field(strict=False)]


class OperandSparsity(FileModel):
    """What the tracer saw in one operand of one pass.

    `density` is the share of nonzeros (mean over the traced steps). `pattern` is the tightest N:M that every group
    along `axis` obeys, where there is one. `groups` holds a histogram per group size M: M + 1 counts, of the groups
    with 0 to M nonzeros, all traced steps together; the share that conforms to any N:M follows (`conforming`).
    """

    density: Annotated[float, Field(ge=0, le=1)] | None = Field(None, description="share of nonzeros")
    pattern: str | None = Field(None, description="tightest N:M that every group obeys, as in 2:8")
    axis: Literal["input", "output", "batch"] | None = Field(
        None,
        description="what groups run along: 'input' channels or features as FF reduces them, 'output' as BP does,"
        " 'batch' (rows and positions of all samples) as WU does",
    )
    groups: Annotated[tuple[Histogram, ...], Field(strict=False)] = Field(
        (), description="per group size M the number of groups with 0, 1, ... M nonzeros"
    )
    mask: str | None = Field(None, description="mask file beside the trace and its entry, as in masks.npz#conv.weight")

    @field_validator("pattern")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                Pattern.parse(value)
            except AccelsimError as error:
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.pattern is not None or self.groups) and self.axis is None:
            raise ValueError("axis: missing; a pattern and groups run along one")
        if self.pattern is None and self.density is None:
            raise ValueError("give a pattern with its axis, a density, or both")
        for counts in self.groups:
            if len(counts) < 3 or not any(counts):
                raise ValueError(
                    f"groups: got {list(counts)}; M + 1 counts for M of at least 2, not all zero, are needed"
                )
        most = self.most_in(Pattern.parse(self.pattern).group) if self.pattern else None
        if most is not None and most > Pattern.parse(self.pattern or "").kept:
            raise ValueError(f"pattern: {self.pattern}, but a group holds {most} nonzeros")
        return self

    def most_in(self, group: int) -> int | None:
        """Return the largest number of nonzeros in a group of `group`, or None where that is not known.

        It is known from the histogram, or follows from the pattern: an N:M pattern leaves at most N in a part of a
        group, and at most N each in several groups.
        """
        counts = next((counts for counts in self.groups if len(counts) == group + 1), None)
        if counts is not None:
            return max(nonzeros for nonzeros, count in enumerate(counts) if count)
        if self.pattern is None:
            return None
        known = Pattern.parse(self.pattern)
        if known.group % group == 0:
            return min(known.kept, group)
        return known.kept * (group // known.group) if group % known.group == 0 else None

    def check_length(self, length: int) -> None:
        """Raise `ValueError` where pattern or groups contradict the density, with groups along `length` elements.

        The last group of a line may be short: N:M then leaves more than N/M.
        """
        if self.density is None:
            return
        if self.pattern is not None:
            known = Pattern.parse(self.pattern)
            most = known.kept_in(length) / length
            if self.density > most + _ROUNDING:
                raise ValueError(f"density: {self.density:g}, but {known} along {length} leaves {most:g} at most")
        for counts in self.groups:
            lines = sum(counts) / -(-length // (len(counts) - 1))
            nonzeros = sum(number * count for number, count in enumerate(counts))
            if abs(self.density - nonzeros / (lines * length)) > _ROUNDING:
                raise ValueError(
                    f"density: {self.density:g}, but the groups of {len(counts) - 1} along {length} hold"
                    f" {nonzeros / (lines * length):g}"
                )

    @property
    def unstructured(self) -> bool:
        """Whether it has zeros, and these obey no pattern, or one that zeros at random would obey as well.

        That is `by_chance`; a pattern that leaves exactly N nonzeros in every group is meant, and so is one whose
        groups were not counted.
        """
        if self.density is None or not 0 < self.density < 1:
            return False
        if self.pattern is None:
            return True
        known = Pattern.parse(self.pattern)
        counts = next((counts for counts in self.groups if len(counts) == known.group + 1), None)
        if counts is None or counts[known.kept] == sum(counts):
            return False
        return by_chance(known, self.density, sum(counts))

    def conforming(self, pattern: Pattern) -> float | None:
        """Return the share of groups with at most N nonzeros of M, or None where groups of M were not counted."""
        counts = next((counts for counts in self.groups if len(counts) == pattern.group + 1), None)
        return None if counts is None else sum(counts[: pattern.kept + 1]) / sum(counts)


class _Seen(FileModel):
    """Observed operands of one pass."""

    @property
    def operands(self) -> dict[str, OperandSparsity]:
        """The operands that were measured, by name."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _axes_exist(self) -> Self:
        for name, operand in self.operands.items():
            allowed = _AXES_OF.get(name, ())
            if allowed and operand.axis is not None and operand.axis not in allowed:
                raise ValueError(f"{name}: axis '{operand.axis}'; of {_A[name]} {' or '.join(allowed)} is allowed")
        return self


class ForwardSeen(_Seen):
    """Y = X W: the weight, groups along its inputs, and the activation X."""

    weight: OperandSparsity | None = None
    activation: OperandSparsity | None = None


class BackwardSeen(_Seen):
    """dX = dY W^T: the weight, groups along its outputs, and the gradient dY."""

    weight: OperandSparsity | None = None
    gradient: OperandSparsity | None = None


class UpdateSeen(_Seen):
    """dW = X^T dY: the activation X and the gradient dY, groups along the batch."""

    activation: OperandSparsity | None = None
    gradient: OperandSparsity | None = None


class Observed(FileModel):
    """Sparsity of the operands of a product with a weight, pass by pass, as the multiplication saw it."""

    FF: ForwardSeen | None = None
    BP: BackwardSeen | None = None
    WU: UpdateSeen | None = None


class FactorsSeen(_Seen):
    """The two activations of a product without a weight."""

    left: OperandSparsity | None = None
    right: OperandSparsity | None = None


class GradientSeen(_Seen):
    """The gradient of the result of a product."""

    gradient: OperandSparsity | None = None


class ObservedFactors(FileModel):
    """Sparsity of the operands of a product of two activations."""

    FF: FactorsSeen | None = None
    BP: GradientSeen | None = None


def forward_pattern(observed: Observed | None) -> Pattern | None:
    """Return the N:M pattern that a weight was seen to be meant to have along its inputs, else None."""
    weight = observed.FF.weight if observed is not None and observed.FF is not None else None
    if weight is None or weight.pattern is None or weight.axis != "input" or weight.unstructured:
        return None
    return Pattern.parse(weight.pattern)
