"""Bytes of im2col operands: closed formulas against walks over the tiles that read sets of pixels, and what must hold."""

import itertools
import re
from dataclasses import replace
from math import prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numba import config

import accelsim as acs
from accelsim.base.files import validate
from accelsim.cost.compiled import pipeline, window_reads
from accelsim.cost.compiled.values import (
    ALONE,
    ON_X,
    OS,
    SPLIT,
    Along,
    ArrayMapping,
    ArrayNumbers,
    BufferBytes,
    LoopOrder,
    MachineNumbers,
    MappingNumbers,
    Mnk,
    WindowNumbers,
)
from accelsim.cost.gemm import gemm_numbers
from accelsim.engines.buffer_walk import walk_buffers
from accelsim.lowering.builder import lower
from accelsim.lowering.case import case_of
from accelsim.lowering.tasks import Gemm, Stage
from accelsim.simulation import plan_step
from accelsim.sparsity.methods import find_method
from accelsim.workload.trace import Trace

EXAMPLES = 15 if config.DISABLE_JIT else 250
SHAPES = 5 if config.DISABLE_JIT else 60
ARRAY = ArrayNumbers(rows=2, cols=3, macs_per_pe=1, adder_latency=2, overlapped=True, row_port=0, col_port=0)
MACHINE = MachineNumbers(ARRAY, BufferBytes(0.0, 0.0, 0.0), 3.7013)  # no sum of bytes takes whole cycles
ONCE = {"x": LoopOrder(0, 2, 1), "w": LoopOrder(1, 2, 0)}  # a loop order in which one pass reads the operand


# One channel: the pixels of a window


@st.composite
def alongs(draw, largest=6):
    return Along(
        positions=draw(st.integers(1, largest)),
        pixels=draw(st.integers(1, largest + 1)),
        taps=draw(st.integers(1, 4)),
        stride=draw(st.integers(1, 3)),
        dilation=draw(st.integers(1, 3)),
        padding=draw(st.integers(-1, 3)),
    )


@st.composite
def windows(draw, ranks=(1, 2)):
    rank = draw(st.sampled_from(ranks))
    spatial = [ALONE] * (3 - rank) + [draw(alongs(6 if rank < 3 else 3)) for _ in range(rank)]
    return WindowNumbers(ON_X, 0, 2, 1, 1, draw(st.integers(1, 3)), *spatial)


def spatial_of(window):
    return window.depth, window.height, window.width


def walked(window, tile, taps):
    """Pixels of all tiles of `tile` positions under some of the taps, each tile its own set."""
    spatial, total = spatial_of(window), 0
    every = list(itertools.product(range(window.images), *(range(along.positions) for along in spatial)))
    for start in range(0, len(every), tile):
        seen = set()
        for image, *position in every[start : start + tile]:
            for tap in taps:
                pixel = tuple(
                    p * along.stride + t * along.dilation - along.padding
                    for p, t, along in zip(position, tap, spatial, strict=True)
                )
                if all(0 <= at < along.pixels for at, along in zip(pixel, spatial, strict=True)):
                    seen.add((image, pixel))
        total += len(seen)
    return total


def taps_of(window):
    return list(itertools.product(*(range(along.taps) for along in spatial_of(window))))


def length_of(window):
    return window.images * prod(along.positions for along in spatial_of(window))


@given(windows(), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_pixels_of_all_tiles_are_those_of_a_walk(window, data):
    tile = data.draw(st.integers(1, length_of(window)))
    assert window_reads.pixels_read(window, tile) == walked(window, tile, taps_of(window))


@given(windows(ranks=(3,)), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_three_dimensions_share_no_planes_in_tiles_shorter_than_these_stand_apart(window, data):
    """Between the nearest and the furthest readers of a pixel in two planes the formula counts too many, never too few;
    elsewhere it is exact."""
    tile = data.draw(st.integers(1, length_of(window)))
    found, want = window_reads.pixels_read(window, tile), walked(window, tile, taps_of(window))
    plane = window.height.positions * window.width.positions
    apart = window_reads.steps_of(window.depth)[0] * plane
    assert found == want or (found > want and apart - plane < tile < apart)


@given(windows(ranks=(1, 2, 3)), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_pixels_under_some_taps_are_those_of_a_walk(window, data):
    tile, taps = data.draw(st.integers(1, length_of(window))), taps_of(window)
    first = data.draw(st.integers(0, len(taps) - 1))
    last = data.draw(st.integers(first, len(taps) - 1))
    assert window_reads.pixels_under(window, tile, first, last) == walked(window, tile, taps[first : last + 1])


@given(windows(ranks=(1, 2, 3)), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_tiles_load_no_less_than_all_pixels_once_and_no_more_than_every_use(window, data):
    tile = data.draw(st.integers(1, length_of(window)))
    once = window.images * prod(int(window_reads.touched(along)) for along in spatial_of(window))
    assert (
        once
        == walked(window, length_of(window), taps_of(window))
        == window_reads.pixels_read(window, length_of(window))
    )
    assert once <= window_reads.pixels_read(window, tile) <= walked(window, 1, taps_of(window))


@given(st.integers(1, 12), st.integers(1, 12), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_blocks_are_counted_for_every_tile_that_touches_them(blocks, block, data):
    size = blocks * block
    tile = data.draw(st.integers(1, size))
    touched = sum(len({at // block for at in range(start, min(start + tile, size))}) for start in range(0, size, tile))
    assert window_reads.block_loads(size, tile, block) == touched


# Whole products: FF, BP and WU of convolutions, as the layers are lowered


def first_and(operation):
    """A trace in which `operation` is not the first layer, so that it has a BP."""
    rank = len(operation["kernel"])
    stem = {"name": "stem", "kind": f"conv{rank}d", "in_channels": 1, "out_channels": operation["in_channels"],
            "in_size": operation["in_size"], "kernel": [1] * rank, "weight": {"name": "s"}}  # fmt: skip
    data = {
        "format": "accelsim-trace/1", "model": "one", "input_shapes": [[1]], "parameters": 10**9,
        "origin": {"exporter": "test", "source": "test"},
        "operations": [stem, {**operation, "weight": {"name": "w"}}, {**stem, "name": "head", "weight": {"name": "h"},
                       "in_channels": operation["out_channels"], "in_size": [64] * rank}],
    }  # fmt: skip
    return validate(Trace, data, "test")


@st.composite
def convolutions(draw):
    transposed, rank = draw(st.booleans()), draw(st.sampled_from([1, 2, 2]))
    sizes = [draw(st.integers(1, 6)) for _ in range(rank)]
    kernel, stride = ([draw(st.integers(1, 4)) for _ in range(rank)] for _ in range(2))
    dilation, padding = ([draw(st.integers(low, 2)) for _ in range(rank)] for low in (1, 0))
    groups = draw(st.sampled_from([1, 1, 2]))
    operation = {
        "name": "c", "kind": f"conv{'_transpose' * transposed}{rank}d", "in_channels": 4 * groups,
        "out_channels": 8 * groups, "in_size": sizes, "kernel": kernel, "stride": stride, "dilation": dilation,
        "padding": padding, "groups": groups,
    }  # fmt: skip
    for size, taps, step, pad, apart in zip(sizes, kernel, stride, padding, dilation, strict=True):
        out = (
            (size - 1) * step - 2 * pad + apart * (taps - 1) + 1 if transposed else size + 2 * pad - apart * (taps - 1)
        )
        assume(out >= 1)
    return operation


def lines_of(gemm, operation, batch, order):
    """The im2col operand of a product, by the definition of the operation: which pixels each position reads through
    which taps (from the last one on where they are scattered), the channel and tap of each line of the other side, and the positions in order."""
    geometry = list(zip(operation.kernel, operation.stride, operation.padding, operation.dilation, strict=True))
    transposed = operation.kind.startswith("conv_")
    forward = gemm.form is Stage.FF or (gemm.form is Stage.WU and not transposed)
    source, target = (operation.in_size, operation.out_size) if forward else (operation.out_size, operation.in_size)
    plain = gemm.form is Stage.WU or transposed is (gemm.form is Stage.BP)  # position p reads p s + t d - padding
    residues = re.search(r"\[phase ([\d,]+)\]", gemm.name)
    residues = [int(part) for part in residues[1].split(",")] if residues else [0] * len(geometry)
    axes = []
    for size, (kernel, stride, padding, dilation), residue in zip(target, geometry, residues, strict=True):
        if plain:
            axes.append(([(p, p * stride - padding) for p in range(size)], list(range(kernel))))
        else:
            places = [(p, p + padding) for p in range(size) if (p + padding) % stride == residue]
            axes.append((places, [t for t in reversed(range(kernel)) if t * dilation % stride == residue]))

    def pixel(base, tap, at):
        _, stride, _, dilation = geometry[at]
        moved = base + tap * dilation if plain else (base - tap * dilation) // stride
        return moved if 0 <= moved < source[at] else None

    positions = list(itertools.product(range(batch), *([base for _, base in places] for places, _ in axes)))
    taps = list(itertools.product(*(own for _, own in axes)))
    size = getattr(gemm, gemm.window.windows)
    channels = size // len(taps)
    block = gemm.pattern.group if gemm.pattern and gemm.window.windows == "k" else 1
    if order == "taps":
        lines = [(channel, tap) for tap in taps for channel in range(channels)]
    else:
        lines = [
            (first + channel, tap) for first in range(0, channels, block) for tap in taps for channel in range(block)
        ]
    return positions, lines, pixel, block


def loads(gemm, operation, batch, tile, order):
    """Elements that all tiles of the im2col operand load, walked; those of channels that fill up a group excluded."""
    positions, lines, pixel, block = lines_of(gemm, operation, batch, order)
    taps = list(dict.fromkeys(tap for _, tap in lines))
    length, across = (tile["mnk".index(letter)] for letter in (gemm.window.positions, gemm.window.windows))
    total = 0
    for start in range(0, len(lines), across):
        part = lines[start : start + across]
        if order == "channels":  # the windows of whole blocks
            blocks = dict.fromkeys(channel // block for channel, _ in part)
            part = [(b * block + c, tap) for b in blocks for c in range(block) for tap in taps]
        for first in range(0, len(positions), length):
            seen = set()
            for image, *bases in positions[first : first + length]:
                for channel, tap in part:
                    if channel >= gemm.window.channels:
                        continue
                    at = tuple(pixel(base, t, d) for d, (base, t) in enumerate(zip(bases, tap, strict=True)))
                    if None not in at:
                        seen.add((image, channel, at))
            total += len(seen)
    return total


@given(convolutions(), st.integers(1, 2), st.sampled_from(["dense", "bdwp", "sdgp"]), st.booleans(), st.data())
@settings(max_examples=SHAPES, deadline=None)
def test_bytes_are_those_of_a_walk_over_all_tiles(operation, batch, method, taps_outer, data):
    """Every product of a convolution, transposed or not, with groups, strides and dilation; each with a tile of its
    own."""
    design = acs.load_design("sat_vcu1525")
    trace = first_and(operation)
    pattern = None if method == "dense" else acs.Pattern(2, 4)
    step = lower(trace, design, find_method(method), pattern=pattern, batch=batch)
    operation, order = trace.operations[1], "taps" if taps_outer else "channels"
    for gemm in step.tasks:
        if not isinstance(gemm, Gemm) or gemm.operation != "c" or gemm.window is None:
            continue
        tile = Mnk(*(data.draw(st.integers(1, size)) for size in (gemm.m, gemm.n, gemm.k)))
        group = gemm.pattern.group if gemm.pattern else 1
        tile = tile._replace(k=min(gemm.k, -(-tile.k // group) * group))
        numbers, operand = gemm_numbers(gemm, design, online=False), gemm.window.operand
        mapping = MappingNumbers(ArrayMapping(OS, SPLIT, 1, 1, 1), tile, ONCE[operand], taps_outer)
        costs = pipeline.evaluate(numbers, MACHINE, mapping)
        width = 2.0 if operand == "x" or gemm.pattern is None else design.compact_bits(gemm.pattern) / 8
        want = width * gemm.count * loads(gemm, operation, batch, tile, order)
        assert getattr(costs, f"{operand}_bytes") == pytest.approx(want, rel=1e-12)


@given(convolutions(), st.data())
@settings(max_examples=SHAPES, deadline=None)
def test_a_window_goes_through_the_pipeline_as_bytes_per_element(operation, data):
    """Job by job, with what a tile loads spread evenly over the tiles."""
    design = acs.load_design("sat_vcu1525")
    step = lower(first_and(operation), design, find_method("dense"), pattern=None, batch=2)
    for gemm in step.tasks:
        if not isinstance(gemm, Gemm) or gemm.window is None:
            continue
        whole = Mnk(gemm.m, gemm.n, gemm.k)
        tile = Mnk(*(data.draw(st.integers(-(-size // 4), size)) for size in whole))
        numbers, order = gemm_numbers(gemm, design, online=False), LoopOrder(*data.draw(st.permutations(range(3))))
        mapping = MappingNumbers(ArrayMapping(OS, SPLIT, 1, 1, 1), tile, order, taps_outer=False)
        of = window_reads.loaded_bytes(numbers, tile, False)
        dense = numbers._replace(window=numbers.window._replace(operand=0))

        def cycles(m, n, k, mapping=mapping, dense=dense):
            alone = dense._replace(shape=dense.shape._replace(m=m, n=n, k=k, count=1))
            return pipeline.evaluate(alone, MACHINE, mapping._replace(tile=Mnk(m, n, k))).array_cycles

        want = walk_buffers(whole, tile, order, gemm.count, of, cycles, MACHINE.bytes_per_cycle)
        costs = pipeline.evaluate(numbers, MACHINE, mapping)
        assert costs.cycles == want.cycles
        assert (costs.x_bytes, costs.w_bytes) == pytest.approx((want.x_bytes, want.w_bytes))


# What must hold on shipped networks


def products(workload, design, method="bdwp"):
    trace = acs.load_trace(workload)
    pattern = None if method == "dense" else acs.Pattern(2, 8)
    return [
        task
        for task in lower(trace, design, find_method(method), pattern=pattern, batch=64).tasks
        if isinstance(task, Gemm)
    ]


def test_a_product_has_a_window_where_two_positions_read_a_pixel():
    """Not with kernels of 1 x 1 and those as large as their stride; strided BP has it in the phases of several taps."""
    design = acs.load_design("sat_vcu1525")
    for workload in ("resnet50_imagenet", "vit_cifar100"):
        operations = {operation.name: operation for operation in acs.load_trace(workload).operations}
        for gemm in products(workload, design):
            operation = operations[gemm.operation]
            kernel = getattr(operation, "kernel", (1,))
            if prod(kernel) == 1 or kernel == operation.stride:
                assert gemm.window is None
            elif gemm.stage is not Stage.BP or operation.stride == (1,) * len(kernel):
                assert gemm.window is not None


def test_without_a_window_every_element_is_loaded_once_in_whatever_order():
    design = acs.load_design("sat_vcu1525")
    for gemm in products("resnet50_imagenet", design, "dense"):
        if gemm.window is not None:
            continue
        numbers, tile = gemm_numbers(gemm, design, online=False), Mnk(32, 32, min(32, gemm.k))
        both = [
            pipeline.evaluate(
                numbers, MACHINE, MappingNumbers(ArrayMapping(OS, SPLIT, 1, 1, 1), tile, ONCE["x"], outer)
            )
            for outer in (False, True)
        ]
        assert both[0] == both[1]
        assert both[0].x_bytes == pytest.approx(2 * gemm.count * gemm.x_elements)


@pytest.mark.skipif(config.DISABLE_JIT, reason="minutes without compilation")
def test_channels_outermost_move_less_than_taps_in_the_tiles_of_shipped_steps():
    """Why the scheduler takes them; and how much it is that tiles share: little with channels outermost, a multiple of
    the operand with taps."""
    for name in ("sat_vcu1525", "sat_edge_zcu104"):
        design = acs.load_design(name)
        for workload in ("resnet18_tinyimagenet", "vgg19_cifar100", "resnet50_imagenet"):
            plan = plan_step(acs.load_trace(workload), design, case_of(method="bdwp", batch=32))
            once, by_channels, by_taps = 0.0, 0.0, 0.0
            for gemm, mapping in zip(plan.step.tasks, plan.mappings, strict=True):
                if not isinstance(gemm, Gemm) or gemm.window is None:
                    continue
                assert mapping.im2col == "channels"
                numbers, side = gemm_numbers(gemm, design, online=False), f"{gemm.window.operand}_bytes"
                costs = [
                    getattr(pipeline.evaluate(numbers, MACHINE, replace(mapping, im2col=order).numbers), side)
                    for order in ("channels", "taps")
                ]
                alone = numbers._replace(window=numbers.window._replace(operand=0))
                once += getattr(pipeline.evaluate(alone, MACHINE, mapping.numbers), side)
                assert costs[0] <= costs[1] * (1 + 1e-12)
                by_channels, by_taps = by_channels + costs[0], by_taps + costs[1]
            assert once < by_channels < 1.15 * once
            assert by_taps > 1.15 * once
