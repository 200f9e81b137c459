"""The timeline of a step: the format's rules, every cycle and byte of the engine in it, and the jobs of a window."""

import gzip
import html
import json
import re
import shutil
import subprocess
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from trace_events import check_nesting, check_trace_events, ns

import accelsim as acs
import accelsim.results.timeline as making
from accelsim.base.errors import InfeasibleError, InputError
from accelsim.cost.gemm import machine_numbers
from accelsim.engines.event import run_in_detail
from accelsim.engines.jobs import gemm_jobs
from accelsim.engines.work import works_of
from accelsim.hardware.sourced import override
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.lowering.tasks import Generation
from accelsim.results.timeline import make_timeline, read_window
from accelsim.results.timeline_file import BANDWIDTH, FILL, LOADS, STORES, TRACKS, load_timeline, write_timeline
from accelsim.schedule.overlap import Unit
from accelsim.simulation import plan_step

SGD = find_optimizer("sgd")
ALWAYS = 10**15
CASES = {
    "resnet18": ("resnet18_tinyimagenet", "bdwp", {}),
    "dense": ("resnet18_tinyimagenet", "dense", {}),
    "SORE in front": ("vit_cifar100", "sdgp", {"schedule.pregenerate": "false"}),
    "one after another": ("vit_cifar100", "bdwp", {"schedule.overlap": "false"}),
    "optimal": ("vit_cifar100", "bdwp", {"schedule.scheduler": "optimal"}),
    "cycles of 3.3 ns": ("resnet9_cifar10", "bdwp", {"clock_hz": "300.0e+6"}),
    "cycles of 0.27 ns": ("resnet9_cifar10", "bdwp", {"clock_hz": "3.7e+9"}),
    "slow DRAM": ("resnet9_cifar10", "bdwp", {"dram.bandwidth_gb_per_s": "4"}),
}


def planned(case: str, batch: int = 4):
    trace, method, changes = CASES[case]
    design = override(acs.load_design("sat_vcu1525"), changes)
    return plan_step(acs.load_trace(trace), design, case_of(method=method, batch=batch, engine="event")), design


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A plan, its design, what the engine says of them in detail, and the timeline with all its jobs."""
    plan, design = planned(request.param)
    whole = (0, run_in_detail(plan, design, SGD).timing.cycles)
    return plan, design, run_in_detail(plan, design, SGD, window=whole), make_timeline(plan, design, SGD, window=whole)


def tasks(timeline):
    return [item for item in timeline.slices if item.args.jobs is None]


def jobs(timeline):
    return [item for item in timeline.slices if item.args.jobs is not None]


# The file


def test_file_follows_the_format(case, tmp_path: Path) -> None:
    write_timeline(tmp_path / "t.json", case[3])
    data = json.loads((tmp_path / "t.json").read_text())
    check_trace_events(data)
    counters = [event["name"] for event in data["traceEvents"] if event["ph"] == "C"]
    assert set(counters) == {BANDWIDTH, FILL}
    labels = [event["args"]["name"] for event in data["traceEvents"] if event["name"] == "thread_name"]
    assert labels == ["STCE", "SORE", "WUVE", "VECTOR", "DRAM load", "DRAM store"] == list(TRACKS)


def test_rules_of_the_format_are_checked() -> None:
    def event(ts: float, dur: float) -> dict[str, object]:
        return {"name": "x", "ts": ts, "dur": dur}

    check_nesting([event(0, 4), event(0, 2), event(2, 2), event(4, 1)])
    with pytest.raises(AssertionError, match="reaches out of its slice"):
        check_nesting([event(0, 2), event(1.999, 2)])
    with pytest.raises(AssertionError, match="reaches out of its slice"):
        check_nesting([event(0, 2), event(0, 4)])
    with pytest.raises(AssertionError, match="no whole number of nanoseconds"):
        check_nesting([event(0, 0.0015)])


def test_file_is_read_back_as_it_was_and_is_byte_identical(case, tmp_path: Path) -> None:
    plan, design, _, timeline = case
    for name in ("a.json", "b.json", "a.json.gz", "b.json.gz"):
        again = make_timeline(plan, design, SGD, window=timeline.about.window)
        write_timeline(tmp_path / name, again)
        assert load_timeline(tmp_path / name) == timeline
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.json.gz").read_bytes()) == (tmp_path / "a.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.json.gz", "b.json", "b.json.gz"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "{path}: is no timeline of accelsim simulate --timeline (accelsim-timeline/1)"),
        ('{"traceEvents": []}', "{path}: is no timeline of accelsim simulate --timeline (accelsim-timeline/1)"),
        ('{"otherData": {"format": "accelsim-timeline/2"}}',
         "{path}: is no timeline of accelsim simulate --timeline (accelsim-timeline/1)"),
        ('{"displayTimeUnit": "ns",', "{path}: not valid JSON: Expecting property name enclosed in double quotes at line 1,"
         " column 26 (the file ends there: truncated?)"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_timeline(path)
    assert str(error.value) == message.format(path=path)


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    plan, design = planned("resnet18")
    write_timeline(tmp_path / "t.json", make_timeline(plan, design, SGD))
    data = json.loads((tmp_path / "t.json").read_text())
    at = next(index for index, event in enumerate(data["traceEvents"]) if event["ph"] == "X")
    data["traceEvents"][at]["args"]["cycles"] = "many"
    (tmp_path / "t.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=rf'traceEvents\[{at}\].*args\.cycles.*: got "many"'):
        load_timeline(tmp_path / "t.json")


VIEWER = "src/cmd/trace/static"
PROBE = """<script>
const model = new tr.Model();
new tr.importer.Import(model).importTraces([TRACE]);
const [process] = model.getAllProcesses();
const found = {
  warnings: model.importWarnings.map(warning => warning.message), process: process.name, ends_ms: model.bounds.max,
  tracks: Object.values(process.threads).map(
    thread => [thread.name, thread.sortIndex, thread.sliceGroup.slices.length, thread.sliceGroup.topLevelSlices.length]),
  counters: Object.values(process.counters).map(counter => [counter.name, counter.series.map(series => series.name)]),
};
document.body.innerHTML = '<pre id="found"></pre>';
document.getElementById('found').textContent = JSON.stringify(found);
</script>"""


def test_chromes_trace_viewer_opens_the_file(tmp_path: Path) -> None:
    """Debian's Chromium has no chrome://tracing any more; Go's sources hold the same viewer as a page."""
    chromium = shutil.which("chromium")
    pages = sorted([*Path("/usr/share").glob(f"go-*/{VIEWER}"), *Path("/usr/lib").glob(f"go-*/{VIEWER}")])
    if chromium is None or not pages:
        pytest.skip("needs Chromium and Chrome's trace viewer: apt-get install chromium golang-1.19-src")
    plan, design = planned("resnet18")
    timeline = make_timeline(plan, design, SGD, window=(0, 100_000))
    write_timeline(tmp_path / "t.json", timeline)
    text = json.dumps((tmp_path / "t.json").read_text()).replace("</", "<\\/")
    polyfill, viewer = ((pages[0] / name).read_text() for name in ("webcomponents.min.js", "trace_viewer_full.html"))
    page = f"<!doctype html><body></body><script>{polyfill}</script>{viewer}{PROBE.replace('TRACE', text)}"
    (tmp_path / "page.html").write_text(page)
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         "--virtual-time-budget=20000", f"file://{tmp_path / 'page.html'}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    shown = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert shown is not None, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(html.unescape(shown[1]))
    assert found["warnings"] == []
    assert found["process"] == "resnet18_tinyimagenet on sat_vcu1525: bdwp 2:8, batch 4"
    assert found["ends_ms"] == pytest.approx(timeline.about.cycles / design.clock_hz * 1e3, rel=1e-12)
    assert found["counters"] == [[BANDWIDTH, ["GB/s"]], [FILL, ["x", "w", "y", "resident"]]]
    want = [
        [
            track,
            at,
            sum(item.track == track for item in timeline.slices),
            sum(item.track == track for item in tasks(timeline)),
        ]
        for at, track in enumerate(TRACKS, 1)
    ]
    assert sorted(found["tracks"], key=lambda track: track[1]) == want


# Every cycle and byte


def test_slices_are_the_spans_of_the_engine(case) -> None:
    _, design, run, timeline = case
    spans, rows = run.timing.spans, run.timing.rows
    cycles, want = defaultdict(int), defaultdict(int)
    for item in tasks(timeline):
        cycles["DRAM" if item.track in {LOADS, STORES} else item.track] += item.args.cycles
        begins, ends = item.args.start_cycle, item.args.start_cycle + item.args.cycles
        assert item.ts == pytest.approx(begins / design.clock_hz * 1e6, abs=5.1e-4)
        assert item.ts + item.dur == pytest.approx(ends / design.clock_hz * 1e6, abs=5.1e-4)
    for span in spans:
        want[str(span.unit)] += span.end - span.start
    assert cycles == {unit: total for unit, total in want.items() if total}
    assert len(tasks(timeline)) == sum(span.end > span.start for span in spans)
    assert timeline.about.cycles == run.timing.cycles
    assert max(item.args.start_cycle + item.args.cycles for item in tasks(timeline)) == run.timing.cycles
    assert max(ns(event.ts) for event in timeline.events if event.ph == "C") == max(
        ns(item.ts) + ns(item.dur) for item in timeline.slices
    )
    # a unit that runs one task at a time, literally
    for track in TRACKS:
        ends = [(i.args.start_cycle, i.args.start_cycle + i.args.cycles) for i in tasks(timeline) if i.track == track]
        assert all(before[1] <= after[0] for before, after in pairwise(ends)), track
    on_units = [item for item in tasks(timeline) if item.track in set(Unit)]
    shown = [
        row for row in range(len(rows)) if any(s.row == row and s.end > s.start and s.unit in set(Unit) for s in spans)
    ]
    assert sum(item.args.dram_bytes for item in on_units) == pytest.approx(
        sum(rows[row].events.dram_bytes for row in shown), rel=1e-12
    )
    assert sum(item.args.adds_cycles for item in on_units) == sum(rows[row].cycles for row in shown)


def test_a_slice_says_what_its_task_is(case) -> None:
    _, _, run, timeline = case
    rows = {
        (span.unit, span.start, span.end): run.timing.rows[span.row]
        for span in run.timing.spans
        if span.end > span.start
    }
    for item in tasks(timeline):
        unit = "DRAM" if item.track in {LOADS, STORES} else item.track
        row = rows[unit, item.args.start_cycle, item.args.start_cycle + item.args.cycles]
        assert (item.args.layer, item.cat) == (row.operation, row.stage)
        assert item.name.startswith(row.name)
        if unit == "STCE":
            assert item.name == f"{row.name} {row.stage}"
            assert item.args.gemm == f"{row.m} x {row.n} x {row.k}" + (f" (x{row.count})" if row.count > 1 else "")
            assert item.args.pattern == ("dense" if row.pattern is None else str(row.pattern))
            assert item.args.mapping.startswith(f"{row.mapping.dataflow} ")
            im2col = f", im2col {row.mapping.im2col}" if row.mapping.im2col else ""
            assert item.args.mapping.endswith(f"loops {row.mapping.order}{im2col}")
            assert item.args.bound == row.bound
        elif unit == "DRAM":
            (array,) = (s for s in tasks(timeline) if s.name == f"{row.name} {row.stage}" and s.track == "STCE"
                        and item.name.startswith(s.name))  # fmt: skip
            loads = item.args.start_cycle + item.args.cycles <= array.args.start_cycle
            assert item.name == f"{row.name} {row.stage} {'load' if loads else 'store'}"


def test_bandwidth_adds_up_to_the_traffic(case) -> None:
    """Each transfer takes whole cycles of the DRAM: at most one more than its bytes need."""
    plan, design, run, timeline = case
    values = timeline.counter(BANDWIDTH)
    assert values[-1].args == {"GB/s": 0.0}
    assert all(0 <= value.args["GB/s"] <= timeline.about.dram_gb_per_s * (1 + 1e-12) for value in values)
    moved = sum(value.args["GB/s"] * (after.ts - value.ts) * 1e3 for value, after in pairwise(values))
    cycles = transfers = 0
    for work in works_of(plan, design, SGD):
        if work.gemm is None:
            cycles += sum(charge.dram for charge in work.charges)
            transfers += len(work.charges)
        else:
            parts = gemm_jobs(*work.gemm, machine_numbers(design))
            cycles += parts.first_load + parts.jobs.dram + parts.last_store
            transfers += parts.jobs.jobs + 1
    rounding = len(values) * timeline.about.dram_gb_per_s  # a moment is rounded to a nanosecond
    assert moved == pytest.approx(cycles * design.dram_bytes_per_cycle, rel=1e-9, abs=rounding)
    traffic = sum(row.events.dram_bytes for row in run.timing.rows)
    assert traffic - rounding <= moved <= traffic + transfers * design.dram_bytes_per_cycle + rounding


def test_generations_without_a_pass_are_no_slices() -> None:
    plan, design = planned("resnet18")
    free = [task for task in plan.step.tasks if isinstance(task, Generation) and not task.passes]
    names = [item.name for item in make_timeline(plan, design, SGD).slices]
    assert not {task.name for task in free} & set(names)
    assert all(item.dur > 0 for item in make_timeline(plan, design, SGD).slices)


# Jobs in a window


def test_a_window_shows_the_jobs_that_reach_into_it_and_changes_nothing_else(case) -> None:
    plan, design, run, timeline = case
    start, end = run.timing.cycles // 3, run.timing.cycles // 2
    part = make_timeline(plan, design, SGD, window=(start, end))
    inside = [
        job for job in jobs(timeline) if job.args.start_cycle < end and job.args.start_cycle + job.args.cycles > start
    ]
    assert jobs(part) == inside
    assert 0 < len(inside) < len(jobs(timeline)) == timeline.about.jobs
    assert tasks(part) == tasks(timeline) == list(make_timeline(plan, design, SGD).slices)
    assert part.counter(BANDWIDTH) == timeline.counter(BANDWIDTH)


def test_all_jobs_stand_inside_their_gemm(case) -> None:
    plan, design, _, timeline = case
    arrays = {item.args.start_cycle: item for item in tasks(timeline) if item.track == "STCE"}
    starts = sorted(arrays)
    counted = defaultdict(int)
    for job in jobs(timeline):
        gemm = arrays[max(start for start in starts if start <= job.args.start_cycle)]
        assert job.args.start_cycle + job.args.cycles <= gemm.args.start_cycle + gemm.args.cycles
        assert (job.args.layer, job.cat, job.track) == (gemm.args.layer, gemm.cat, "STCE")
        counted[gemm.args.start_cycle] += 1
    want = sorted(
        gemm_jobs(*work.gemm, machine_numbers(design)).jobs.jobs for work in works_of(plan, design, SGD) if work.gemm
    )
    assert sorted(counted.values()) == want


def test_many_jobs_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, design = planned("SORE in front", batch=2)
    every = make_timeline(plan, design, SGD, window=(0, ALWAYS))
    monkeypatch.setattr(making, "MOST_JOBS", 1000)
    fewer = make_timeline(plan, design, SGD, window=(0, ALWAYS))
    gemms = sum(item.track == "STCE" for item in tasks(fewer))
    assert every.about.jobs_per_slice == 1
    assert fewer.about.jobs_per_slice == -(-every.about.jobs // 1000)
    assert len(jobs(fewer)) <= 1000 + gemms
    assert sum(job.args.jobs for job in jobs(fewer)) == fewer.about.jobs == every.about.jobs == len(jobs(every))
    assert {job.name for job in jobs(fewer)} >= {f"{fewer.about.jobs_per_slice} jobs"}
    starts = {job.args.start_cycle for job in jobs(every)}
    assert starts >= {job.args.start_cycle for job in jobs(fewer)}
    assert tasks(fewer) == tasks(every)


def test_more_events_than_the_limit_are_infeasible() -> None:
    plan, design = planned("resnet18")
    message = (
        r"^more than 200 events: '\S+' \(\w+\) runs on STCE and waits for the DRAM, at cycle [\d,]+; narrow the window,"
        r" or raise the limit$"
    )
    with pytest.raises(InfeasibleError, match=message):
        make_timeline(plan, design, SGD, window=(0, ALWAYS), limit=200)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("0:1", (0, 1)),
        ("20:300", (20, 300)),
        (":300", (0, 300)),
        ("20:", (20, 1000)),
        (":", (0, 1000)),
        ("1us:2us", (200, 400)),
        ("1us:1000", (200, 1000)),
        ("12ns:13ns", (2, 3)),  # 2.4 and 2.6 cycles, outwards
        ("0.0005ms:0.000001s", (100, 200)),
    ],
)
def test_windows(text: str, window: tuple[int, int]) -> None:
    assert read_window(text, 200e6, 1000) == window


EXPECTED = "expected START:END in cycles, as in 20000:35000, or in time, as in 1.5ms:2ms"
OUTSIDE = "outside the step, which takes 1,000 cycles (5.00 us)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", EXPECTED), ("5", EXPECTED), ("a:b", EXPECTED), ("1:2:3", EXPECTED), ("-1:5", EXPECTED), ("1.5:5", EXPECTED),
        ("1e3:2e3", EXPECTED), ("1 us:2 us", EXPECTED), ("1us:2h", EXPECTED),
        ("7:7", "is empty"), ("7:6", "ends before it starts"), ("2us:1us", "ends before it starts"),
        ("10:1001", f"ends at cycle 1,001, {OUTSIDE}"), ("1000:1001", f"starts at cycle 1,000, {OUTSIDE}"),
        ("1000:", f"starts at cycle 1,000, {OUTSIDE}"), ("1ms:", f"starts at cycle 200,000, {OUTSIDE}"),
        ("0:1s", f"ends at cycle 200,000,000, {OUTSIDE}"),
    ],
)  # fmt: skip
def test_windows_that_are_none(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_window(text, 200e6, 1000)
    assert str(error.value) == f"--window {text}: {message}"
