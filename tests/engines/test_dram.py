"""The shared DRAM against a plain simulation of its rules, and strides of jobs against jobs one by one."""

from fractions import Fraction
from math import ceil

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.engines.dram import DramUnit
from accelsim.engines.jobs import Job, JobPart, Loop, split_first, split_last

FOREVER = (0, 2**60)


def leaves(parts):
    for part in parts:
        for _ in range(part.times):
            yield from [part.body] if isinstance(part.body, Job) else leaves(part.body.parts)


def simulate(parts, arrivals, *, room=8, window=None):
    """Ends of the jobs and of every transfer, jobs as reported, and the load of the DRAM."""
    env, reported, ends = simpy.Environment(), [], {}
    dram = DramUnit(env, room, lambda: None, window, lambda job, start, end: reported.append((job, start, end)))

    def transfer(number, at, cycles):
        yield env.timeout(at)
        yield dram.transfer(cycles)
        ends[number] = env.now

    def jobs():
        yield dram.run(parts)
        ends["jobs"] = env.now

    env.process(jobs())
    for number, (at, cycles) in enumerate(arrivals):
        env.process(transfer(number, at, cycles))
    env.run()
    return ends, reported, dram.loads


class Plain:
    """The same by moving from one change to the next, with nothing folded."""

    def __init__(self, parts, arrivals, room):
        self.now, self.ends, self.room = Fraction(0), {}, room
        self.jobs = list(leaves(parts))
        self.coming = sorted((at, number, Fraction(cycles)) for number, (at, cycles) in enumerate(arrivals))
        self.waiting, self.under_way = [], {}
        self.job = None  # what is left of it: array, DRAM

    def settle(self):
        """Let everything happen that happens now."""
        while self.coming and self.coming[0][0] <= self.now:
            _, number, cycles = self.coming.pop(0)
            if cycles:
                self.waiting.append((number, cycles))
            else:
                self.ends[number] = self.now
        for number in [number for number, left in self.under_way.items() if left == 0]:
            self.ends[number] = self.now
            del self.under_way[number]
        while self.waiting and len(self.under_way) < self.room:
            number, cycles = self.waiting.pop(0)
            self.under_way[number] = cycles
        if self.job is not None and self.job[0] <= 0 == self.job[1] and self.now == ceil(self.now):
            self.job = None
            if not self.jobs:
                self.ends["jobs"] = self.now
        if self.job is None and self.jobs:
            job = self.jobs.pop(0)
            self.job = [Fraction(job.array), Fraction(job.dram)]

    def run(self):
        self.settle()
        while self.job or self.coming or self.under_way:
            sharing = len(self.under_way) + bool(self.job and self.job[1])
            steps = [at - self.now for at, *_ in self.coming[:1]]
            steps += [left * sharing for left in self.under_way.values()]
            if self.job:
                steps.append(self.job[1] * sharing or max(self.job[0], ceil(self.now) - self.now))
            step = min(steps)
            self.now += step
            for number in self.under_way:
                self.under_way[number] -= step / sharing
            if self.job:
                self.job[0] -= step
                self.job[1] -= step / sharing if self.job[1] else 0
            self.settle()
        return self.ends


def by_the_rules(parts, arrivals, room=8):
    return Plain(parts, arrivals, room).run()


def loops(depth=2):
    job = st.builds(Job, st.integers(1, 9), st.integers(0, 9))
    body = job if depth == 0 else st.one_of(job, loops(depth - 1))
    part = st.builds(JobPart, body, st.integers(1, 4))
    return st.lists(part, min_size=1, max_size=3).map(lambda parts: Loop(tuple(parts)))


arrivals = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), max_size=5)


@given(loops(), arrivals, st.sampled_from([1, 2, 8]))
@settings(max_examples=300, deadline=None)
def test_strides_end_where_the_rules_say(loop, transfers, room):
    ends, reported, _ = simulate(loop.parts, transfers, room=room)
    assert ends == by_the_rules(loop.parts, transfers, room)
    assert sum(1 for _ in leaves(loop.parts)) == loop.jobs
    assert reported == []


@given(loops(), arrivals)
@settings(max_examples=150, deadline=None)
def test_jobs_one_by_one_end_where_strides_end(loop, transfers):
    folded, _, loads = simulate(loop.parts, transfers)
    unfolded, reported, _ = simulate(loop.parts, transfers, window=FOREVER)
    assert folded == unfolded
    assert [job for job, *_ in reported] == list(leaves(loop.parts))
    assert [start for _, start, _ in reported] == [0, *(end for *_, end in reported[:-1])]  # no gaps
    moved = sum(job.dram for job in leaves(loop.parts)) + sum(cycles for _, cycles in transfers)
    assert sum(load.share * float(load.end - load.start) for load in loads) == pytest.approx(moved)
    assert all(0 <= load.share <= 1 for load in loads)


@given(loops(), st.integers(0, 80), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_a_window_lists_the_jobs_inside_it_and_changes_nothing(loop, start, length):
    everything = [(s, e) for _, s, e in simulate(loop.parts, [(3, 20)], window=FOREVER)[1]]
    ends, inside, _ = simulate(loop.parts, [(3, 20)], window=(start, start + length))
    assert ends == simulate(loop.parts, [(3, 20)])[0]
    assert [(s, e) for _, s, e in inside] == [job for job in everything if job[0] < start + length and job[1] > start]


@given(loops(), st.integers(0, 4))
@settings(max_examples=100, deadline=None)
def test_the_span_of_a_loop_is_the_sum_of_its_jobs(loop, others):
    """Beside n transfers that do not end, a job of D cycles of DRAM takes (n + 1) D, and each of them gets D done and
    an equal share of what the job leaves."""
    cycles, progress = 0, Fraction(0)
    for job in leaves(loop.parts):
        took = max(job.array, job.dram * (others + 1))
        cycles += took
        progress += job.dram + (Fraction(took - job.dram * (others + 1), others) if others else 0)
    assert loop.span(others) == (cycles, progress)


@given(loops())
def test_splitting_off_the_first_and_the_last_job_leaves_the_rest(loop):
    first, rest = split_first(loop)
    jobs = list(leaves(loop.parts))
    assert [first, *leaves(rest)] == jobs
    if rest:
        middle, last = split_last(rest)
        assert [*leaves(middle), last] == jobs[1:]


def test_two_transfers_share_and_a_third_waits_for_its_turn():
    """Two transfers of 10 cycles share: 20 cycles. A third finds no channel before one of them ends."""
    ends, *_ = simulate((JobPart(Job(1, 0), 1),), [(0, 10), (0, 10), (5, 4)], room=2)
    assert ends == {"jobs": 1, 0: 20, 1: 20, 2: 24}
    ends, *_ = simulate((JobPart(Job(1, 0), 1),), [(0, 10), (0, 10), (5, 4)], room=3)
    assert ends == {"jobs": 1, 2: 17, 0: 24, 1: 24}  # each of three gets a third from 5 on


def test_a_job_ends_on_a_whole_cycle_though_its_transfer_ends_within_one():
    """The job's 3 cycles of DRAM beside another of 1: that one is done at 2, the job's at 4; beside 2 of 1, at 5."""
    assert simulate((JobPart(Job(1, 3), 1),), [(0, 1)])[0] == {0: 2, "jobs": 4}
    assert simulate((JobPart(Job(1, 1), 1),), [(0, Fraction(1, 2))])[0] == {0: 1, "jobs": 2}
