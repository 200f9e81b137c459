"""What Chrome's trace event format asks of a file, checked literally on its JSON."""

from collections import defaultdict
from itertools import pairwise
from typing import Any

NEEDED = {"X": {"name", "cat", "ph", "pid", "tid", "ts", "dur", "args"}, "C": {"name", "ph", "pid", "ts", "args"},
          "M": {"name", "ph", "pid", "tid", "args"}}  # fmt: skip


def ns(us: float) -> int:
    """Microseconds as whole nanoseconds, which is what viewers keep."""
    whole = round(us * 1000)
    assert abs(us * 1000 - whole) < 1e-3, f"{us} us is no whole number of nanoseconds"
    return whole


def check_trace_events(data: dict[str, Any]) -> None:
    """Raise `AssertionError` where a file breaks a rule of the format."""
    assert data["displayTimeUnit"] in {"ms", "ns"}
    events = data["traceEvents"]
    for event in events:
        assert set(event) == NEEDED[event["ph"]], event
    timed = [event for event in events if event["ph"] != "M"]
    assert all(before["ts"] <= after["ts"] for before, after in pairwise(timed)), "not in order of time"
    assert all(event["ts"] >= 0 for event in timed)
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    sorted_ = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_sort_index"}
    assert sum(event["name"] == "process_name" for event in events) == 1
    tracks = defaultdict(list)
    for event in timed:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append(event)
        else:
            assert event["args"], "a counter without a value"
            assert all(isinstance(value, int | float) and value >= 0 for value in event["args"].values()), event
    assert named == sorted_ >= set(tracks)
    for slices in tracks.values():
        check_nesting(slices)


def check_nesting(slices: list[dict[str, Any]]) -> None:
    """Slices of a track follow each other or lie inside each other; of two that begin together the outer is first."""
    open_ends: list[int] = []
    for event in slices:
        start, end = ns(event["ts"]), ns(event["ts"]) + ns(event["dur"])
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        assert not open_ends or end <= open_ends[-1], f"{event['name']} at {event['ts']} us reaches out of its slice"
        open_ends.append(end)
