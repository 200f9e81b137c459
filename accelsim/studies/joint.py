"""All assumptions drawn together: how sure the average speedup is, given what nobody outside knows of SAT.

Every assumption of `accelsim.studies.sensitivity` is drawn, a Latin hypercube: values with a range in the design evenly
from its low to its high end, others among the shipped value and the ones beside it that are tried alone. Draws that the
device does not hold are left out, and counted; so are those that a workload cannot run on.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import quantiles

from accelsim.base.errors import InputError
from accelsim.base.progress import Progress, silent
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.sourced import value_at
from accelsim.lowering.case import case_of
from accelsim.studies.paper import DESIGN, Setting
from accelsim.studies.region import column, evaluated, that_fit
from accelsim.studies.sensitivity import Assumption, assumptions, with_ports
from accelsim.sweep.axes import Interval
from accelsim.sweep.point import Point
from accelsim.sweep.space import strata

__all__ = ["DRAWS", "SEED", "Joint", "draw_together"]

DRAWS, SEED = 2_000, 0
"""How many times all assumptions are drawn, and the seed of the drawing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """Average speedups of the draws that could be simulated, in ascending order, and how many could not, by reason."""

    speedups: tuple[float, ...]
    unfit: int
    infeasible: int

    @property
    def percentiles(self) -> tuple[float, float, float]:
        """The 5th, 50th and 95th percentile."""
        cuts = quantiles(self.speedups, n=20, method="inclusive")
        return cuts[0], cuts[9], cuts[18]


def draw_together(draws: int = DRAWS, seed: int = SEED, progress: Progress = silent) -> Joint:
    """Draw all assumptions `draws` times, closed form, BDWP at 2:8; `progress` hears of each hundred.

    Raises `InputError` where fewer than two draws can be simulated.
    """
    design = load_design(DESIGN)
    drawn = [[_point(setting, name) for name in setting.workloads] for setting in _drawn(design, draws, seed)]
    held = that_fit(drawn)
    found = (column(rows, "speedup") for rows in evaluated(held, progress, "assumptions drawn together"))
    means = sorted(sum(speedups) / len(speedups) for speedups in found if speedups)
    if len(means) < 2:
        raise InputError(f"{DESIGN}: of {draws} draws of its assumptions {len(means)} can be simulated; draw more")
    return Joint(speedups=tuple(means), unfit=len(drawn) - len(held), infeasible=len(held) - len(means))


def _drawn(design: Design, draws: int, seed: int) -> Iterator[Setting]:
    """Yield settings of all assumptions but which workloads count: with every workload, or another form of one."""
    generator = random.Random(seed)
    choices = [_choice(design, assumption) for assumption in assumptions(design) if assumption.name not in _NOT_DRAWN]
    columns = [strata(generator, draws) for _ in choices]
    for shares in zip(*columns, strict=True):
        parts = [choose(share) for choose, share in zip(choices, shares, strict=True)]
        plain = Setting(label="")
        yield Setting(
            label="",
            changes=tuple({path: value for part in parts for path, value in part.changes}.items()),
            batch=next((part.batch for part in parts if part.batch != plain.batch), plain.batch),
            optimizer=next((part.optimizer for part in parts if part.optimizer != plain.optimizer), plain.optimizer),
            workloads=next((part.workloads for part in parts if part.workloads != plain.workloads), plain.workloads),
        )


_NOT_DRAWN = frozenset({"workloads"})  # leaving one out says nothing of the machine


def _choice(design: Design, assumption: Assumption) -> Callable[[float], Setting]:
    """Return what gives the setting of an assumption at a share from 0 to below 1."""
    if assumption.ends is None:
        settings = (Setting(label="as shipped"), *assumption.settings)
        return lambda share: settings[int(share * len(settings))]
    (path,), (low, high) = assumption.paths, assumption.ends
    whole = isinstance(value_at(design, path), int)
    axis = Interval(path=path, low=low, high=high, log=False, whole=whole)
    return lambda share: Setting(label="", changes=with_ports(path, axis.at(share)))


def _point(setting: Setting, workload: str) -> Point:
    case = case_of(method="bdwp", pattern="2:8", batch=setting.batch, optimizer=setting.optimizer)
    return Point(workload=workload, design=DESIGN, changes=setting.changes, case=case)
