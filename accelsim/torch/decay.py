"""Schedules that bring a model to its pattern little by little (Kao et al., 2022), on top of a method.

The published recipes prune FF without the term of SR-STE::

    model = accelsim.torch.sr_ste(model, "2:8", decay=0)
    schedule = accelsim.torch.stepwise_decay(model, steps=900)
    for ...:
        ...
        optimizer.step()
        schedule.step()
"""

from collections.abc import Callable
from math import exp

from torch import nn

from accelsim.base.errors import InputError
from accelsim.sparsity.recipes import stepwise_patterns
from accelsim.torch.methods import Changes, adjust, target

__all__ = ["Schedule", "mask_decay", "stepwise_decay"]


class Schedule:
    """What is in force in a model after `done` steps of training."""

    def __init__(self, model: nn.Module, at: Callable[[int], Changes], done: int) -> None:
        self.done = done
        self._model, self._at = model, at
        adjust(model, **at(done))

    def step(self) -> None:
        """Count one step; called after the optimizer's."""
        self.done += 1
        if (changes := self._at(self.done)) != self._at(self.done - 1):
            adjust(self._model, **changes)


def _check(steps: int, done: int) -> None:
    if steps < 1 or done < 0:
        raise InputError(f"steps {steps}, done {done}: at least one step is needed, and none or more of them done")


def stepwise_decay(model: nn.Module, steps: int, *, done: int = 0) -> Schedule:
    """Return a schedule that halves N in equal parts of `steps`: M-1, M/2, M/4, ... and at last the model's N.

    A 1:16 model trains at 15:16, 8:16, 4:16, 2:16 and 1:16 ("sparse structure decay", SdGf).

    Args:
        model: a model with a method on it.
        steps: training steps until the model's own pattern, from 1.
        done: steps of training that are over, from 0: resumes a schedule.

    Raises `InputError` where no method is on the model, and for numbers of steps that cannot be.

    >>> from torch import nn
    >>> from accelsim.torch.methods import bdwp
    >>> model = bdwp(nn.Sequential(nn.Linear(16, 16)), "2:8", exclude=())
    >>> stepwise_decay(model, 100).done
    0
    """
    _check(steps, done)
    frames = stepwise_patterns(target(model))

    def at(step: int) -> Changes:
        return {"pattern": frames[min(step * len(frames) // steps, len(frames) - 1)]}

    return Schedule(model, at, done)


def mask_decay(model: nn.Module, steps: int, *, rate: float | None = None, done: int = 0) -> Schedule:
    """Return a schedule under which pruned weights are scaled down before they are zero ("mask decay", MdGf).

    Args:
        model: a model with a method on it.
        steps: training steps over which the scale falls from 1 to 0, from 1; until then the products are dense.
        rate: the scale falls as exp(-`rate` x step), and to 0 at the end; None: in a line.
        done: steps of training that are over, from 0: resumes a schedule.

    Raises `InputError` as `stepwise_decay`.

    >>> from torch import nn
    >>> from accelsim.torch.methods import bdwp
    >>> model = bdwp(nn.Sequential(nn.Linear(16, 16)), "2:8", exclude=())
    >>> mask_decay(model, 100, done=25).done
    25
    """
    _check(steps, done)
    if rate is not None and not rate > 0:
        raise InputError(f"rate {rate}: a number above 0 is needed")

    def at(step: int) -> Changes:
        scale = 1 - step / steps if rate is None else exp(-rate * step)
        return {"leak": scale if step < steps else 0.0}

    return Schedule(model, at, done)
