"""Optimizers by the words they move per weight."""

from dataclasses import dataclass

from accelsim.base.errors import InputError, did_you_mean

__all__ = ["OPTIMIZERS", "Optimizer", "find_optimizer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """An optimizer: master-precision words read (weight, gradient, state) and written (weight, state) per weight."""

    name: str
    reads: int
    writes: int

    @property
    def words(self) -> int:
        """Words moved per weight."""
        return self.reads + self.writes

    @property
    def state_words(self) -> int:
        """Words of state that it keeps per weight: what it writes besides the weight."""
        return self.writes - 1


OPTIMIZERS: dict[str, Optimizer] = {
    item.name: item
    for item in (
        Optimizer(name="sgd", reads=3, writes=2),  # with momentum
        Optimizer(name="adam", reads=4, writes=3),
    )
}


def find_optimizer(name: str) -> Optimizer:
    """Return the optimizer called `name`. Raises `InputError` with the nearest name otherwise."""
    if name not in OPTIMIZERS:
        hint = did_you_mean(name, OPTIMIZERS)
        raise InputError(f"optimizer '{name}' is not known{hint}; allowed: {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]
