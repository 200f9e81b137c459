"""What the design of each point of a sweep takes on its device, estimated once per distinct design."""

from accelsim.base.errors import InputError
from accelsim.base.files import Scalar
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.resources import (
    RESOURCES,
    ResourceUse,
    Shortfall,
    changes_resources,
    estimate_resources,
    has_device,
    shortfalls_of,
)
from accelsim.hardware.sourced import override
from accelsim.sweep.point import Point

__all__ = ["FIT", "Fit", "Fits"]

FIT = ("fits", *RESOURCES)
"""Columns of a sweep: whether the design fits its device, and how much it takes of what the device has, estimated."""

_MOST_KNOWN = 65536  # designs that are remembered: they are small


class Fit:
    """What a design takes on its device, and what that has too little of."""

    __slots__ = ("shortfalls", "use")

    def __init__(self, use: ResourceUse, shortfalls: tuple[Shortfall, ...]) -> None:
        self.use, self.shortfalls = use, shortfalls

    @property
    def cells(self) -> dict[str, Scalar]:
        """Values of the columns `FIT`."""
        return {"fits": not self.shortfalls, **{name: getattr(self.use, name) for name in RESOURCES}}

    @property
    def reason(self) -> str | None:
        """Why a design that does not fit is not simulated."""
        found = "; ".join(map(str, self.shortfalls))
        return f"does not fit its device: {found} (estimate)" if found else None


class Fits:
    """Estimates for the points that change `design`; points that differ elsewhere share one."""

    def __init__(self, design: str) -> None:
        self._design: Design = load_design(design)
        self._known: dict[tuple[tuple[str, str], ...], Fit | None] = {}

    def of(self, point: Point) -> Fit | None:
        """Return the estimate; None for a design that has no FPGA, and for one that is none."""
        key = tuple(change for change in point.changes if changes_resources(change[0]))
        if key not in self._known:
            try:
                design = override(self._design, dict(point.changes))
            except InputError:
                return None  # the evaluation says what is wrong with it
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = _fit_of(design)
        return self._known[key]


def _fit_of(design: Design) -> Fit | None:
    if not has_device(design):
        return None
    use = estimate_resources(design)
    return Fit(use, shortfalls_of(design, use))
