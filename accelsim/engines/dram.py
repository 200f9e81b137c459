"""The DRAM as it is shared: simultaneous transfers get equal shares, and the jobs of a GEMM run beside them.

Everything is counted in cycles of the whole DRAM, so a transfer alone takes as many cycles as it has, and n of them
n times as long. Time is exact: shares are fractions, jobs begin and end on whole cycles. Many jobs in a row are taken
in one stride as long as no transfer comes or ends; the arithmetic is exact, so a stride ends where its jobs would have
ended one by one.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import simpy

from accelsim.engines.jobs import Job, JobPart, Time

__all__ = ["DramUnit", "Load", "Window"]

Window = tuple[int, int]
Report = Callable[[Job, int, int], None]
_FOREVER = 2**200


@dataclass(frozen=True, slots=True)
class Load:
    """A stretch of time, and the share of the DRAM that was in use."""

    start: Time
    end: Time
    share: float


class _Shared:
    """Transfers under way and the jobs that run: moves forward in time, and can be copied to look ahead.

    `others`: cycles left of each transfer. `jobs_done`: the last job has ended. `work`: cycles of DRAM used so far.
    """

    __slots__ = ("array_end", "dram_left", "end", "job", "jobs_done", "now", "others", "stack", "started", "work")

    def __init__(self) -> None:
        self.now: Time = 0
        self.work: Time = 0
        self.others: list[Time] = []
        self.stack: list[tuple[Sequence[JobPart], int, int]] = []  # open loops: parts, position, times left
        self.jobs_done = False
        self.job: Job | None = None  # the one that runs: when it began, when the array ends, what is left to transfer
        self.started: Time = 0
        self.array_end: Time = 0
        self.dram_left: Time = 0
        self.end: Time | None = None  # of the job, once its transfer is done

    def copy(self) -> "_Shared":
        """Return a state that moves on by itself."""
        other = _Shared()
        for name in _Shared.__slots__:
            setattr(other, name, getattr(self, name))
        other.others, other.stack = list(self.others), list(self.stack)
        return other

    @property
    def waits(self) -> bool:
        """Whether something has ended that somebody waits for."""
        return self.jobs_done or 0 in self.others

    def walk(self, until: Time, spend: Callable[[], None], window: Window | None, report: Report | None) -> None:
        """Move on to `until`, or to where a transfer or the last job ends if that comes first."""
        while self.now < until and not self.waits:
            spend()
            if self.job is not None:
                self._go_on(self.job, until, window, report)
            elif self.stack:
                self._stride(until, window)
            elif self.others:
                self._share(min(until - self.now, min(self.others) * len(self.others)))
            else:
                self.now = until

    def _share(self, time: Time) -> None:
        """Let `time` pass in which the transfers alone use the DRAM."""
        if self.others:
            each = Fraction(time) / len(self.others)
            self.others = [left - each for left in self.others]
            self.work += time
        self.now += time

    def _go_on(self, job: Job, until: Time, window: Window | None, report: Report | None) -> None:
        """Go on with the job that runs, to the next end of anything."""
        if self.end is None:
            sharing = len(self.others) + 1
            time = min(until - self.now, min([self.dram_left, *self.others]) * sharing)
            each = Fraction(time) / sharing
            self.dram_left -= each
            self.others = [left - each for left in self.others]
            self.now += time
            self.work += time
            if self.dram_left == 0:
                self.end = max(self.array_end, ceil(self.now))
        else:
            limits = [until - self.now, self.end - self.now]
            self._share(min([*limits, *(left * len(self.others) for left in self.others)]))
        if self.now == self.end:
            if report is not None and window is not None and self.started < window[1] and self.now > window[0]:
                report(job, int(self.started), int(self.now))
            self.job = None
            self._close()

    def _close(self) -> None:
        """Close the loops that have come to their end."""
        while self.stack:
            parts, at, left = self.stack[-1]
            if left:
                return
            if at + 1 < len(parts):
                self.stack[-1] = parts, at + 1, parts[at + 1].times
                return
            self.stack.pop()
        self.jobs_done = True

    def _stride(self, until: Time, window: Window | None) -> None:
        """Take as many whole repetitions as no end of anything lies in, else open the next one."""
        parts, at, left = self.stack[-1]
        body, sharing = parts[at].body, len(self.others)
        cycles, progress = body.span(sharing)
        whole = min(left, (until - self.now) // cycles)
        if sharing:
            whole = min(whole, min(self.others) // progress)
        if window is not None and self.now < window[1] and self.now + whole * cycles > window[0]:
            whole = max(0, (window[0] - self.now) // cycles)
        self.stack[-1] = parts, at, left - max(whole, 1)
        if whole:
            self.now += whole * cycles
            self.others = [other - whole * progress for other in self.others]
            self.work += whole * (body.dram + sharing * progress)
            self._close()
        elif isinstance(body, Job):
            self.job, self.started, self.array_end = body, self.now, self.now + body.array
            self.dram_left, self.end = body.dram, None if body.dram else self.array_end
        else:
            self.stack.append((body.parts, 0, body.parts[0].times))


class DramUnit:
    """The DRAM of a design in a simulation: `transfer` and `run` return events that end with them.

    At most `transfers` go on at once, besides that of the array; more wait in line. Inside `window` (cycles) jobs are
    taken one by one and reported. `spend` is called for each stride or job and may raise.
    """

    def __init__(
        self,
        env: simpy.Environment,
        transfers: int,
        spend: Callable[[], None],
        window: Window | None = None,
        report: Report | None = None,
    ) -> None:
        self.loads: list[Load] = []
        self._env, self._room, self._spend = env, transfers, spend
        self._window, self._report = window, report
        self._shared = _Shared()
        self._ends: list[simpy.Event] = []  # of the transfers under way, in order
        self._waiting: deque[tuple[int, simpy.Event]] = deque()
        self._jobs_end: simpy.Event | None = None
        self._plans = 0

    def transfer(self, cycles: int) -> simpy.Event:
        """Move as much as the whole DRAM moves in `cycles`."""
        done = self._env.event()
        if cycles == 0:
            done.succeed()
            return done
        self._catch_up()
        self._waiting.append((cycles, done))
        self._look_ahead()
        return done

    def run(self, parts: Sequence[JobPart]) -> simpy.Event:
        """Run jobs on the array, their transfers beside them."""
        done = self._env.event()
        if not parts:
            done.succeed()
            return done
        assert self._jobs_end is None, "the array runs one GEMM at a time"
        self._catch_up()
        self._jobs_end = done
        self._shared.stack = [(parts, 0, parts[0].times)]
        self._look_ahead()
        return done

    def _catch_up(self) -> None:
        """Bring the shared state to the present."""
        shared = self._shared
        start, work = shared.now, shared.work
        shared.walk(self._env.now, self._spend, self._window, self._report)
        if shared.now > start:
            self.loads.append(Load(start, shared.now, float((shared.work - work) / Fraction(shared.now - start))))

    def _look_ahead(self) -> None:
        """Admit what waits, and wake up when the next transfer or the last job ends."""
        shared = self._shared
        while self._waiting and len(self._ends) < self._room:
            cycles, done = self._waiting.popleft()
            shared.others.append(cycles)
            self._ends.append(done)
        self._plans += 1
        if not (shared.others or shared.stack or shared.job or shared.jobs_done):
            return
        ahead = shared.copy()
        ahead.walk(_FOREVER, self._spend, self._window, None)
        plan, wake = self._plans, self._env.timeout(ahead.now - self._env.now)
        assert wake.callbacks is not None, "a new event has callbacks"
        wake.callbacks.append(lambda _: self._wake(plan))

    def _wake(self, plan: int) -> None:
        if plan != self._plans:
            return  # something came in between, and made another plan
        self._catch_up()
        shared = self._shared
        for at in reversed(range(len(shared.others))):
            if shared.others[at] == 0:
                del shared.others[at]
                self._ends.pop(at).succeed()
        if shared.jobs_done:
            shared.jobs_done = False
            done, self._jobs_end = self._jobs_end, None
            assert done is not None, "jobs end that somebody waits for"
            done.succeed()
        self._look_ahead()
