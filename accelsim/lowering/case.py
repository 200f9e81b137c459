"""What is simulated of a trace on a design, as one value."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal, get_args

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import FileModel, Plain, Scalar
from accelsim.lowering.optimizers import Optimizer, find_optimizer
from accelsim.lowering.tasks import Overrides
from accelsim.sparsity.methods import METHODS, Method, case_name, find_method
from accelsim.sparsity.pattern import Pattern

__all__ = [
    "ENGINE_NAMES",
    "LARGEST_BATCH",
    "Case",
    "Mode",
    "StoredCase",
    "case_from",
    "case_of",
    "cases_of",
    "check_accumulate",
    "check_batch",
]

ENGINE_NAMES = ("closed", "event")
"""Names of `accelsim.engines.ENGINES`."""

LARGEST_BATCH = 2**20

Mode = Literal["train", "infer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One step of some trace on some design: how it is trained, and which engine times it.

    `pattern` is None where the method takes none. `batch`: samples of the step; they run in `accumulate` equal parts,
    over which gradients accumulate. `mode` ``infer`` is FF and its vector
    work alone. `engine`: one of `ENGINE_NAMES`. `overrides` force single operations dense or sparse; dense training
    ignores them. `link_gb_per_s`: 10^9 byte/s of the link of each rank, where messages between ranks are charged.
    Raises `InputError` for what cannot be.
    """

    method: Method
    pattern: Pattern | None
    batch: int
    mode: Mode
    optimizer: Optimizer
    engine: str
    overrides: Overrides
    link_gb_per_s: float | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.engine not in ENGINE_NAMES:
            hint = did_you_mean(self.engine, ENGINE_NAMES)
            raise InputError(f"engine '{self.engine}' is not known{hint}; allowed: {', '.join(ENGINE_NAMES)}")
        if self.mode not in (modes := get_args(Mode)):
            raise InputError(f"mode: got '{self.mode}'{did_you_mean(self.mode, modes)}; allowed: {', '.join(modes)}")
        check_batch(self.batch)
        check_accumulate(self.accumulate, self.batch, self.mode)
        if self.link_gb_per_s is not None and not 0 < self.link_gb_per_s < inf:
            raise InputError(f"link_gb_per_s: got {self.link_gb_per_s:g}; a number above 0 is needed")
        assert self.pattern is None or self.method.takes_pattern, "see `Case.under`"

    def __str__(self) -> str:
        return case_name(self.method.name, self.pattern)

    @property
    def dense(self) -> "Case":
        """The same step trained dense."""
        return self.under(METHODS["dense"], None)

    def under(self, method: Method, pattern: Pattern | None) -> "Case":
        """Return the same step under another method, with `pattern` where it takes one."""
        return replace(self, method=method, pattern=pattern if method.takes_pattern else None)

    @property
    def head(self) -> dict[str, Scalar]:
        """The case in flat form, without its overrides."""
        return {
            "method": self.method.name,
            "pattern": None if self.pattern is None else str(self.pattern),
            "batch": self.batch,
            "accumulate": self.accumulate,
            "engine": self.engine,
            "mode": self.mode,
            "optimizer": self.optimizer.name,
        }

    def to_dict(self) -> dict[str, Plain]:
        """The case as plain data, of which `case_from` makes it again."""
        sparse = [[glob, None if pattern is None else str(pattern)] for glob, pattern in self.overrides.sparse]
        forced: dict[str, Plain] = {"dense": list(self.overrides.dense), "sparse": sparse}
        return {**self.head, **forced, "link_gb_per_s": self.link_gb_per_s}


def case_of(
    *,
    method: str | Method = "bdwp",
    pattern: str | Pattern | None = "2:8",
    batch: int = 512,
    mode: str = "train",
    optimizer: str = "sgd",
    engine: str = "closed",
    overrides: Overrides | None = None,
    link_gb_per_s: float | None = None,
    accumulate: int = 1,
) -> Case:
    """Return the case that names and texts describe, as in `accelsim.simulate`.

    A pattern is read and then left out where the method takes none. Raises `InputError` for a name that is not known
    and a value that cannot be.

    >>> case = case_of(method="sdgp", pattern="2:4", batch=64)
    >>> str(case), str(case.dense), case.dense.batch
    ('sdgp 2:4', 'dense', 64)
    """
    chosen = find_method(method) if isinstance(method, str) else method
    parsed = Pattern.parse(pattern) if isinstance(pattern, str) else pattern
    return Case(
        method=chosen,
        pattern=parsed if chosen.takes_pattern else None,
        batch=batch,
        mode=mode,  # type: ignore[arg-type]  # which the case checks
        optimizer=find_optimizer(optimizer),
        engine=engine,
        overrides=overrides or Overrides(),
        link_gb_per_s=link_gb_per_s,
        accumulate=accumulate,
    )


class StoredCase(FileModel):
    """A case as it stands in a file; `dense` and `sparse` are operations that were forced so, with their pattern."""

    method: str
    pattern: str | None
    batch: int
    accumulate: int
    engine: str
    mode: str
    optimizer: str
    dense: tuple[str, ...]
    sparse: tuple[tuple[str, str | None], ...]
    link_gb_per_s: float | None


def case_from(data: StoredCase) -> Case:
    """Return the case in a file. Raises `InputError` for names that are not known and values that cannot be."""
    sparse = ((glob, None if pattern is None else Pattern.parse(pattern)) for glob, pattern in data.sparse)
    overrides = Overrides(dense=data.dense, sparse=tuple(sparse))
    return case_of(**data.model_dump(exclude={"dense", "sparse"}), overrides=overrides)


def cases_of(case: Case, methods: Sequence[str], patterns: Sequence[str]) -> tuple[Case, ...]:
    """Return `case` under every method with every pattern, once where it takes none.

    Raises `InputError` for unknown methods and for what is no pattern.
    """
    parsed = [Pattern.parse(pattern) for pattern in patterns]
    return tuple(
        case.under(method, pattern)
        for method in map(find_method, methods)
        for pattern in (parsed if method.takes_pattern else (None,))
    )


def check_batch(batch: int) -> None:
    """Raise `InputError` for a number of samples per step that cannot be."""
    if not 1 <= batch <= LARGEST_BATCH:
        raise InputError(f"batch: got {batch}; allowed: 1 to {LARGEST_BATCH}")


def check_accumulate(parts: int, batch: int, mode: str = "train") -> None:
    """Raise `InputError` for a number of parts that a step cannot have: they are of equal size, and it trains."""
    if not 1 <= parts <= batch or batch % parts:
        legal = [number for number in range(1, batch + 1) if batch % number == 0]
        near = sorted(sorted(legal, key=lambda number: abs(number - parts))[:3])
        raise InputError(
            f"accumulate: got {parts}; equal parts of a batch of {batch} are needed, as {', '.join(map(str, near))}"
        )
    if parts > 1 and mode != "train":
        raise InputError(f"accumulate: got {parts}; a forward pass has no gradients that could accumulate over parts")
