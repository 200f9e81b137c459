"""How full the buffers are: within their sizes, and what a walk through time counts."""

from math import ceil

import pytest

import accelsim as acs
from accelsim.engines.buffer_fill import Fill, buffer_fill
from accelsim.engines.event import run_in_detail
from accelsim.engines.work import works_of
from accelsim.hardware.sourced import override
from accelsim.lowering.case import case_of
from accelsim.lowering.optimizers import find_optimizer
from accelsim.simulation import plan_step

SGD = find_optimizer("sgd")
CASES = {
    "greedy": ("resnet18_tinyimagenet", "bdwp", {}),
    "optimal": ("vit_cifar100", "bdwp", {"schedule.scheduler": "optimal"}),
    "SORE in front": ("vit_cifar100", "sdgp", {"schedule.pregenerate": "false", "schedule.scheduler": "optimal"}),
    "one after another": ("resnet9_cifar10", "bdwp", {"schedule.overlap": "false", "schedule.scheduler": "optimal"}),
    "small buffers": ("resnet9_cifar10", "dense", {"buffers.x_bytes": "65536", "buffers.y_bytes": "65536"}),
}


def filled(trace, method, changes, batch=4, mode="train"):
    design = override(acs.load_design("sat_vcu1525"), changes)
    trace = acs.load_trace(trace) if isinstance(trace, str) else trace
    plan = plan_step(trace, design, case_of(method=method, batch=batch, mode=mode, engine="event"))
    works, spans = tuple(works_of(plan, design, SGD)), run_in_detail(plan, design, SGD).timing.spans
    return design, works, spans, buffer_fill(works, spans)


def test_one_gemm_by_hand(make_trace) -> None:
    """64 x 512 x 64, operands of 2 bytes and sums of 4, with room for 64 x 128 sums: four tiles of w and y, one of x."""
    trace = make_trace({"kind": "linear", "name": "fc", "in_features": 64, "out_features": 512, "rows": 1})
    changes = {"buffers.y_bytes": "65536", "array.dataflows": "[os]"}
    _, works, spans, fills = filled(trace, "dense", changes, batch=64, mode="infer")
    ((load, array, store),) = [sorted(spans, key=lambda span: span.start)]
    tm, tn, tk = works[0].gemm[1].tile
    assert (tm, tn, tk) == (64, 128, 64)
    x, w, y = 64 * 64 * 2, 64 * 128 * 2, 64 * 128 * 4
    assert fills == (
        Fill(at=0, x=x, w=w, y=0, resident=0),
        Fill(at=load.end, x=x, w=2 * w, y=2 * y, resident=0),
        Fill(at=array.end, x=0, w=0, y=y, resident=0),
        Fill(at=store.end, x=0, w=0, y=0, resident=0),
    )


@pytest.mark.parametrize("case", CASES)
def test_buffers_never_overflow_and_end_empty(case: str) -> None:
    design, _, spans, fills = filled(*CASES[case])
    sizes = design.buffers
    assert [fill.at for fill in fills] == sorted({fill.at for fill in fills})
    for fill in fills:
        assert 0 <= fill.x <= sizes.x_bytes
        assert 0 <= fill.w <= sizes.w_bytes
        assert 0 <= fill.y <= sizes.y_bytes
        assert 0 <= fill.resident <= sizes.resident_bytes
    assert fills[-1] == Fill(at=fills[-1].at, x=0, w=0, y=0, resident=0)
    assert fills[-1].at <= max(span.end for span in spans)
    assert (max(fill.resident for fill in fills) > 0) == ("scheduler" in str(CASES[case][2]))


@pytest.mark.parametrize("case", CASES)
def test_fill_at_any_moment_is_what_each_gemm_holds_then(case: str) -> None:
    _, works, spans, fills = filled(*CASES[case])
    first_row, gemms, held = 0, [], []
    for work in works:
        own = [span for span in spans if first_row <= span.row < first_row + len(work.rows) and span.unit != "SORE"]
        held.append((work, next(span for span in own if span.unit in {"STCE", "WUVE", "VECTOR"})))
        if work.gemm:
            (array,) = (span for span in own if span.unit == "STCE")
            gemms.append(
                (work, array, [s for s in own if s.end <= array.start], [s for s in own if s.start >= array.end])
            )
        first_row += len(work.rows)
    gemms.sort(key=lambda gemm: gemm[1].start)
    for fill in fills[:: max(1, len(fills) // 200)]:
        now = fill.at
        x = w = y = 0
        for at, (work, array, loads, stores) in enumerate(gemms):
            numbers, mapping = work.gemm
            m, n, k, count, *_ = numbers.shape
            tm, tn, tk = (min(a, b) for a, b in zip((m, n, k), mapping.tile, strict=True))
            runs = array.start <= now < array.end
            loading = any(span.start <= now < span.end for span in loads) or (
                bool(loads) and loads[0].end <= now < array.start
            )
            later = gemms[at + 1] if at + 1 < len(gemms) else None
            next_loads = later is not None and bool(later[2]) and now >= later[2][0].start
            stored_before = at == 0 or not gemms[at - 1][3] or now >= gemms[at - 1][3][0].end
            storing = bool(stores) and array.end <= now < stores[0].end
            m_tiles, n_tiles, k_tiles = (-(-a // b) for a, b in zip((m, n, k), (tm, tn, tk), strict=True))

            def tiles(several: bool, both: bool) -> int:
                return 2 if several and both else 1

            if runs or loading:
                x += tiles(m_tiles * k_tiles * count > 1, runs and not next_loads) * ceil(
                    tm * tk * numbers.element_bytes.buffered_x
                )
                w += tiles(k_tiles * n_tiles * count > 1, runs and not next_loads) * ceil(
                    tk * tn * numbers.element_bytes.buffered_w
                )
            if runs or storing:
                y += tiles(m_tiles * n_tiles * count > 1, runs and stored_before) * ceil(
                    tm * tn * numbers.element_bytes.psum
                )
        ends = {work.task: span.end for work, span in held}
        resident = sum(
            work.handed.size
            for work, span in held
            if work.handed is not None and span.start <= now < ends[work.handed.consumer]
        )
        assert fill == Fill(at=now, x=x, w=w, y=y, resident=resident)
