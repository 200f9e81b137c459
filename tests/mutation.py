"""Mutation check: plants single-line faults, one at a time, and says which test caught each.

``python tests/mutation.py`` copies the sources to temporary folders, changes one line there, runs the tests that judge
that part, puts the line back and writes ``reports/validation/mutations.csv`` and ``.md``. Exit code 1 when a fault
survives. Not collected by pytest. The tests that plant faults of their own are left out: they read the changed line.

Kernels run interpreted where they are judged, which is faster than compiling them anew for each fault, but for the
mapping search; where others are, they are compiled once per folder. Hypothesis runs with fixed seeds and without
shrinking, so the table repeats itself but for the seconds.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import pandas as pd

from accelsim.base.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "reports" / "validation"
COPIED = ("accelsim", "hw_configs", "workloads", "tests", "pyproject.toml")
TIMEOUT_S = 900
WORKERS = 2

COMPILED = "accelsim/cost/compiled"
ARRAY_TIMING, LOOP_NEST, PIPELINE = (f"{COMPILED}/{name}.py" for name in ("array_timing", "loop_nest", "pipeline"))
WINDOW_READS = f"{COMPILED}/window_reads.py"
MAPPING_SEARCH, BANDWIDTH_SEARCH = f"{COMPILED}/mapping_search.py", f"{COMPILED}/bandwidth_search.py"
UNIT_PACE = f"{COMPILED}/unit_pace.py"
REGISTER_OS = "accelsim/arrays/compiled/register_os.py"
REGISTER_STATIONARY = "accelsim/arrays/compiled/register_stationary.py"
REGISTER = "accelsim/arrays/register.py"
GEMM = "accelsim/cost/gemm.py"
CHARGES = "accelsim/cost/charges.py"
BUILDER = "accelsim/lowering/builder.py"
RULES = "accelsim/lowering/rules.py"
STEP_FLOW, STEP_MEMORY = "accelsim/lowering/step_flow.py", "accelsim/lowering/step_memory.py"
EDGES, CAPACITY = "accelsim/schedule/edges.py", "accelsim/schedule/capacity.py"
PARTS = "accelsim/engines/parts.py"
PHASES = "accelsim/lowering/phases.py"
PLATFORM_KERNELS = "accelsim/platforms/kernels.py"
KERNEL_TIME = "accelsim/platforms/kernel_time.py"
ESTIMATE = "accelsim/platforms/estimate.py"
MEMORY = "accelsim/platforms/memory.py"
ACCURACY = "accelsim/platforms/accuracy.py"
SCREEN = "accelsim/cli/screen.py"
PERFORMANCE = "accelsim/results/performance.py"
ENERGY = "accelsim/results/energy.py"
TIMELINE = "accelsim/results/timeline.py"
RUN = "accelsim/results/training.py"
RATIOS = "accelsim/base/ratios.py"
PARETO = "accelsim/sweep/pareto.py"
FRONTS = "accelsim/sweep/fronts.py"
EXPRESSION = "accelsim/sweep/expression.py"
BATCHED = "accelsim/sweep/batched.py"
RUN_SWEEP = "accelsim/sweep/run.py"
MEASURE = "accelsim/workload/tracer/measure.py"
RULES_OF_TRACES = "accelsim/workload/rules.py"
LINKING = "accelsim/workload/tracer/linking.py"
SCALESIM = "accelsim/workload/importers/scalesim.py"
KINETO = "accelsim/workload/importers/kineto.py"
TORCH_RNN = "accelsim/workload/importers/_torch_rnn.py"

PLUGIN = """
from pathlib import Path
from hypothesis import Phase, settings
import accelsim

assert Path(accelsim.__file__).is_relative_to(Path(__file__).parent), f"{accelsim.__file__} is not the changed copy"
settings.register_profile("mutation", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
settings.load_profile("mutation")
"""


@dataclass(frozen=True)
class Suite:
    """Test files that judge a part, the tests of them that run (a pytest -k expression), and whether compiled."""

    files: tuple[str, ...]
    chosen: str = ""
    compiled: bool = False


AGREEMENT = "tests/arrays/test_agreement.py"
NUMBERS = "tests/cost/test_gemm.py"
SUITES = {
    "closed form": Suite(("tests/cost/test_array.py", AGREEMENT), "not larger_array"),
    "register engine": Suite(
        (NUMBERS, "tests/arrays/test_register.py", AGREEMENT), "not larger_array and not planted_faults"
    ),
    "buffer level": Suite((NUMBERS, "tests/cost/test_buffer_level.py"), "not search"),
    "im2col": Suite(("tests/cost/test_window_reads.py",)),
    "mapping search": Suite(("tests/cost/test_buffer_level.py", "tests/cost/test_search.py"), compiled=True),
    "step": Suite((NUMBERS, "tests/cost/test_charges.py", "tests/lowering/test_step.py", "tests/test_simulation.py")),
    "lowering": Suite(("tests/lowering",)),
    "capacity": Suite(
        ("tests/schedule/test_capacity.py", "tests/schedule/test_edges.py", "tests/engines/test_parts.py"),
        compiled=True,
    ),
    "platforms": Suite(
        tuple(
            f"tests/platforms/test_{name}.py" for name in ("kernels", "memory", "kernel_time", "estimate", "accuracy")
        )
    ),
    "results": Suite(
        (
            "tests/cli/test_screen.py",
            "tests/test_training.py",
            "tests/test_simulation.py",
            "tests/results",
            "tests/studies/test_ablation.py",
        ),
        "parts_sum or prints or totals or geometric or stand or adds_up or slices or energy",
        compiled=True,
    ),
    "sweep": Suite(
        (
            "tests/sweep/test_pareto.py",
            "tests/sweep/test_expression.py",
            "tests/sweep/test_batched.py",
            "tests/sweep/test_run.py",
            "tests/cli/test_results.py",
        ),
        "test_a_front or test_pareto or test_expression or come_back or not_those",
        compiled=True,
    ),
    "tracer": Suite(
        (
            "tests/workload/test_tracer.py",
            "tests/workload/test_tracer_sparsity.py",
            "tests/workload/test_tracer_steps.py",
        )
    ),
    "importers": Suite(
        tuple(
            f"tests/workload/importers/test_{name}.py" for name in ("scalesim", "kineto", "recordings", "onnx_products")
        )
    ),
}


@dataclass(frozen=True)
class Fault:
    """One line changed: `old`, found exactly once in `file`, becomes `new`; `words` say what is wrong then."""

    suite: str
    file: str
    where: str
    words: str
    old: str
    new: str


FAULTS = (
    Fault(
        "closed form", ARRAY_TIMING, "slot_layout", "padded weights count the empty MACs of a group's last slot",
        "groups * per_group, groups * group, groups * kept",
        "groups * per_group, groups * group, groups * per_group * macs_per_pe",
    ),
    Fault(
        "closed form", ARRAY_TIMING, "issue_cycles", "a reduction round waits one cycle more than the adder needs",
        "issue += (latency - 1) + half * accumulators", "issue += latency + half * accumulators",
    ),
    Fault(
        "closed form", ARRAY_TIMING, "os_tile", "the column port passes weights for Ia instead of Ib accumulators",
        "ceil_div(ib * layout.w_length, array.col_port)", "ceil_div(ia * layout.w_length, array.col_port)",
    ),
    Fault(
        "closed form", ARRAY_TIMING, "os_run", "the last of an odd number of tiles does not wait for its bank to drain",
        "    if count == 1:\n        issued = start + issue\n        start = max(issued, drained)",
        "    if count == 1:\n        issued = start + issue\n        start = issued",
    ),
    Fault(
        "closed form", ARRAY_TIMING, "os_cycles", "the end forgets a wide column block that outlasts a narrow last one",
        "finish = max(finish, drained + last.cols - 1)", "finish = drained + last.cols - 1",
    ),
    Fault(
        "closed form", ARRAY_TIMING, "stream_cycles", "the hop of a chain counts accumulators that no vector uses",
        "wait * max(min(accumulators, length), latency) + latency", "wait * max(accumulators, latency) + latency",
    ),
    Fault(
        "closed form", ARRAY_TIMING, "preload_cycles", "the column port passes empty MACs of a flat group, too",
        "ceil_div(after - before, array.col_port)", "ceil_div(r * hold, array.col_port)",
    ),
    Fault(
        "closed form", ARRAY_TIMING, "stationary_cycles", "the next column block preloads as few rows as the last k block",
        "last_to_first = max(stream, (r_last - 1) * hop + 1 + first_load)",
        "last_to_first = max(stream, (r_last - 1) * hop + 1 + last_load)",
    ),
    Fault(
        "closed form", ARRAY_TIMING, "array_counts", "flat: every k block starts inside a group of slots",
        "cut_sets = (k_blocks - 1) - (k_blocks - 1) // step", "cut_sets = k_blocks - 1",
    ),
    Fault(
        "register engine", REGISTER_OS, "_os_reduce", "an odd number of partial sums is halved upwards",
        "half = sums // 2", "half = (sums + 1) // 2",
    ),
    Fault(
        "register engine", REGISTER_OS, "_os_drain_control", "a PE row puts its sums on the drain chain one cycle late",
        "step = max(1, interleaved - 1)", "step = interleaved",
    ),
    Fault(
        "register engine", REGISTER_STATIONARY, "_st_may_preload", "a preload starts in the cycle in which the last row switches",
        "st[CYCLE] > mc.start[tile - 1] + last_row", "st[CYCLE] >= mc.start[tile - 1] + last_row",
    ),
    Fault(
        "register engine", REGISTER_STATIONARY, "_st_port_holds", "the last batch of a chain counts on one cycle of port too many",
        "rest = (mc.parts - 1) * max(batch, mc.latency) + batch - 1",
        "rest = (mc.parts - 1) * max(batch, mc.latency) + batch",
    ),
    Fault(
        "register engine", REGISTER, "_compact_slots", "the largest weights are kept instead of the largest magnitudes",
        "np.argsort(-np.abs(groups), axis=1", "np.argsort(-groups, axis=1",
    ),
    Fault(
        "buffer level", LOOP_NEST, "loads_of", "a loop of one trip makes an operand be fetched again",
        "elif outside and trips[dimension] > 1:", "elif outside:",
    ),
    Fault(
        "buffer level", LOOP_NEST, "traffic_of_orders", "order k, m, n: partial sums spill only when m is cut",
        "order_bytes[3] = x_bytes + w_bytes * (m if n_many else 1) + (spill if m_many or n_many else 0.0)",
        "order_bytes[3] = x_bytes + w_bytes * (m if n_many else 1) + (spill if m_many else 0.0)",
    ),
    Fault(
        "buffer level", LOOP_NEST, "beside_job", "whether a store is final is asked of the wrong job",
        "(element_bytes.y if gone.k == k_last else element_bytes.psum)",
        "(element_bytes.y if here.k == k_last else element_bytes.psum)",
    ),
    Fault(
        "buffer level", LOOP_NEST, "end_cycles", "the last store has the size of a full tile",
        "last_bytes(tiling.edge, element_bytes)", "last_bytes(tiling.full, element_bytes)",
    ),
    Fault(
        "im2col", WINDOW_READS, "block_loads", "a border between blocks of channels parts a block",
        "return size // block + cuts - cuts // (block // gcd(tile, block))", "return size // block + cuts",
    ),
    Fault(
        "im2col", WINDOW_READS, "pixels_read", "neighbours in two rows are not parted within either row",
        "parted = rows[OPEN, y] * near_wide + rows[STARTS, y] * near[1, x] +",
        "parted = rows[OPEN, y] * near_wide +",
    ),
    Fault(
        "im2col", PHASES, "_residues", "the windows of a phase begin one pixel late",
        "Spatial(positions, source, len(taps), 1, apart, furthest - first)",
        "Spatial(positions, source, len(taps), 1, apart, furthest - first - 1)",
    ),
    Fault(
        "mapping search", ARRAY_TIMING, "mapping_bounds", "the bound of a preload takes one cycle per element, not per V",
        "to_issue = r * ceil_div(hold, array.macs_per_pe) + (r_last - 1)", "to_issue = r * hold + (r_last - 1)",
    ),
    Fault(
        "mapping search", ARRAY_TIMING, "mapping_bounds", "the bound of a flat mapping has the skew of a whole block",
        "r_last = held.slot_rows % rows", "r_last = rows",
    ),
    Fault(
        "mapping search", BANDWIDTH_SEARCH, "nowhere_slower", "of two kept mappings the one that is faster in every job goes",
        "if compute[a, b, c] > other[a, b, c]:", "if compute[a, b, c] < other[a, b, c]:",
    ),
    Fault(
        "mapping search", BANDWIDTH_SEARCH, "search_bandwidths", "what is kept for a range is what may be fastest at its low end",
        "highest = at_bandwidth(machine, bandwidths[last])", "highest = at_bandwidth(machine, bandwidths[index])",
    ),
    Fault(
        "mapping search", MAPPING_SEARCH, "loops_of", "orders are taken for alike by the trips of n and k exchanged",
        "2 * (trips.n > 1) + 4 * (trips.k > 1)", "2 * (trips.k > 1) + 4 * (trips.n > 1)",
    ),
    Fault(
        "step", GEMM, "gemm_numbers", "an operand that is generated online is fetched compact",
        "(dense_w if online else compact_w) * w_share", "compact_w * w_share",
    ),
    Fault(
        "register engine", REGISTER_OS, "_os_reduce", "the last add of a reduction is issued one element of row port early",
        "            port_short(st[NEED_ROW], st[CREDIT_ROW], mc.row_port)",
        "            port_short(st[NEED_ROW], st[CREDIT_ROW] + 1, mc.row_port)",
    ),
    Fault(
        "buffer level", LOOP_NEST, "largest_transfer", "the bound of a transfer counts a partial sum once, not twice",
        "2 * max(element_bytes.y, element_bytes.psum)", "max(element_bytes.y, element_bytes.psum)",
    ),
    Fault(
        "step", ARRAY_TIMING, "port_cycles", "rows of a ragged block pass the port one after the other",
        "ceil_div(size.m % (rows * ia), rows)", "size.m % (rows * ia)",
    ),
    Fault(
        "step", PIPELINE, "evaluate", "full fetches of w are those of one copy",
        "fetches=count * loads_of(M, tiling.trips, order)", "fetches=loads_of(M, tiling.trips, order)",
    ),
    Fault(
        "step", GEMM, "gemm_numbers", "a weight gradient leaves in operand precision",
        "bits.master_bits if gemm.stage is Stage.WU else bits.operand_bits", "bits.operand_bits",
    ),
    Fault(
        "step", GEMM, "gemm_numbers", "an im2col operand is fetched with all its copies",
        "bits.operand_bits / 8 * x_share,", "bits.operand_bits / 8,",
    ),
    Fault(
        "step", GEMM, "gemm_numbers", "a compact operand takes the room of a dense one in the buffer",
        "buffered_w=compact_w", "buffered_w=dense_w",
    ),
    Fault(
        "step", GEMM, "gemm_numbers", "partial sums spill in operand precision",
        "bits.accumulator_bits / 8,", "bits.operand_bits / 8,",
    ),
    Fault(
        "step", UNIT_PACE, "with_copy", "SORE starts a copy beside the one before",
        "sore = pace.sore + copy.passes *", "sore = copy.passes *",
    ),
    Fault(
        "step", CHARGES, "vector_numbers", "vector work is charged for what it reads alone",
        "elements = work.reads + work.writes", "elements = work.reads",
    ),
    Fault(
        "step", PIPELINE, "edge_word_bytes", "a kept weight is as wide as its share of a dense one",
        "of.buffered_w * (shape.group / shape.kept) if shape.kept > 0", "of.buffered_w if shape.kept > 0",
    ),
    Fault(
        "step", UNIT_PACE, "sore_cycles", "a group takes as many cycles as there are lanes",
        "return ceil_div(ceil_div(elements, group), lanes) * group",
        "return ceil_div(ceil_div(elements, group), lanes) * lanes",
    ),
    Fault(
        "step", PHASES, "wu_gemm", "the gradient of a transposed convolution has the size of its input",
        "batch * outputs * prod(operation.out_size)", "batch * outputs * prod(operation.in_size)",
    ),
    Fault(
        "lowering", BUILDER, "_PASSES", "the mask of a dropout is not read in BP",
        '"dropout": Passes(backward_reads=Multiple(writes=2))', '"dropout": Passes(backward_reads=Multiple(writes=1))',
    ),
    Fault(
        "lowering", BUILDER, "_PASSES", "the gradient of a loss reads the loss, not the logits",
        '"loss": Passes(backward_reads=Multiple(reads=1))', '"loss": Passes(backward_reads=Multiple(writes=1))',
    ),
    Fault(
        "lowering", BUILDER, "_PASSES", "the gradient of a multiplication reads no factor",
        '"multiply": Passes(backward_reads=Multiple(reads=1, writes=1))', '"multiply": Passes()',
    ),
    Fault(
        "lowering", BUILDER, "_PASSES", "the gradient of a reduction reads what was reduced",
        '"reduce": Passes()', '"reduce": Passes(backward_reads=Multiple(reads=1))',
    ),
    Fault(
        "results", SCREEN, "show_comparison", "what is printed as a mean over workloads is the largest ratio",
        "            mean = geometric_mean(", "            mean = max(",
    ),
    Fault(
        "platforms", ESTIMATE, "_finish", "a quarter of the time makes a step bound by compute",
        "seconds[bound_by_compute].sum() >= seconds.sum() / 2", "seconds[bound_by_compute].sum() >= seconds.sum() / 4",
    ),
    Fault(
        "results", PERFORMANCE, "step_result", "utilisation is over the cycles of the step, not over those of the array",
        "- update_macs) / (on_array * design.peak_macs_per_cycle)", "- update_macs) / (cycles * design.peak_macs_per_cycle)",
    ),
    Fault(
        "lowering", BUILDER, "_vector_backward", "vector work has a backward where nothing wants its gradient",
        "wanted = self.gradients[operation.name]", "wanted = True",
    ),
    Fault(
        "lowering", BUILDER, "_vector_backward", "an activation that rides on an addition has no mask in BP",
        'if rides_on != "norm" and', "if rides_on is None and",
    ),
    Fault(
        "lowering", STEP_FLOW, "_give", "a sum of gradients reads one of them",
        "reads=2 * twice, writes=twice", "reads=twice, writes=twice",
    ),
    Fault(
        "capacity", STEP_FLOW, "of_vector_work", "BP of a norm does without its operand",
        'if kept == "inputs":', 'if kept == "input":',
    ),
    Fault(
        "capacity", STEP_MEMORY, "_at_most", "a tensor is gone before its last reader runs",
        "own[ends + 1] -= size", "own[ends] -= size",
    ),
    Fault(
        "capacity", CAPACITY, "_largest", "the first batch that does not fit is said to",
        "if fits(middle) else (least, middle)\n    return least", "if fits(middle) else (least, middle)\n    return most",
    ),
    Fault(
        "capacity", EDGES, "edges_of", "what stays on the chip is told by sizes alone",
        "flows = step.handed is None or", "flows = True or",
    ),
    Fault(
        "capacity", PARTS, "times_of", "the first part adds its gradients to nothing",
        "step.parts - 1 if isinstance(task, Update)", "step.parts if isinstance(task, Update)",
    ),
    Fault(
        "lowering", BUILDER, "_matmul_backward", "the gradient of a right factor has m and k exchanged",
        '"[dB]", batch, k, n, m)', '"[dB]", batch, m, n, k)',
    ),
    Fault(
        "lowering", BUILDER, "_generations", "a method of one mask makes no pass over the weights at all",
        "passes=0 if share and index else 1", "passes=0 if share else 1",
    ),
    Fault(
        "lowering", RULES, "Rules", "the last of two layers is no last layer",
        "weighted[-1].name if len(weighted) > 1 else None", "weighted[-1].name if len(weighted) > 2 else None",
    ),
    Fault(
        "lowering", RULES, "_mode_for", "of the modes that fit what was seen the densest is taken",
        "key=lambda mode: (mode.density, mode.group)", "key=lambda mode: (-mode.density, mode.group)",
    ),
    Fault(
        "lowering", PHASES, "_residues", "a phase of a strided product has one position too many",
        "positions = (size - 1 + padding - residue) // stride", "positions = (size + padding - residue) // stride",
    ),
    Fault(
        "lowering", PHASES, "_weight_gemm", "channels are cut, not padded, to whole groups",
        "channels = -(-channels // pattern.group) * pattern.group", "channels = channels // pattern.group * pattern.group",
    ),
    Fault(
        "platforms", PLATFORM_KERNELS, "_vector", "fused work moves a quarter of its bytes",
        "moved * (0.5 if fused else 1.0)", "moved * (0.25 if fused else 1.0)",
    ),
    Fault(
        "platforms", PLATFORM_KERNELS, "compact_share", "positions of kept values take four bits",
        "return 0.5 + 0.125 / width", "return 0.5 + 0.25 / width",
    ),
    Fault(
        "platforms", PLATFORM_KERNELS, "_product", "packing a gradient is free",
        "moved += weight * (1 + compact_share(width))", "moved += 0.0",
    ),
    Fault(
        "platforms", KERNEL_TIME, "_together", "compute and memory take turns",
        "return np.sqrt(np.hypot(compute**2, memory**2))", "return compute + memory",
    ),
    Fault(
        "platforms", ESTIMATE, "_exposed_link_s", "every device sends its gradients to every other",
        "moved = 2 * (case.devices - 1) / case.devices *", "moved = 2 * (case.devices - 1) *",
    ),
    Fault(
        "platforms", MEMORY, "kept_elements", "a pooling in front of an activation is overwritten",
        'in_place = operation.kind == "norm" and overwritten', "in_place = overwritten",
    ),
    Fault(
        "platforms", ACCURACY, "_spread", "the worst row is the best",
        "worst=rows[int(errors.argmax())]", "worst=rows[int(errors.argmin())]",
    ),
    Fault(
        "results", ENERGY, "_spent", "register bits are paid for as multiply-accumulates",
        "register_j=events.register_bits * prices.pj_per_register_bit", "register_j=events.register_bits * prices.pj_per_mac",
    ),
    Fault(
        "results", PERFORMANCE, "step_result", "throughput counts what was executed, not what the dense step would",
        "gops = 2 * dense_macs / latency / GIGA", "gops = 2 * executed_macs / latency / GIGA",
    ),
    Fault(
        "results", PERFORMANCE, "make_result", "a layer keeps the array busy in its array cycles alone",
        "row.macs_executed / (row.cycles * peak)", "row.macs_executed / (row.array_cycles * peak)",
    ),
    Fault(
        "results", TIMELINE, "between", "a duration is rounded by itself",
        'return (self._ns(end) - self._ns(start)) / _NS["us"]', 'return self._ns(end - start) / _NS["us"]',
    ),
    Fault(
        "results", RUN, "totals", "the energy of a run is compared with that of one dense step",
        "dense_latency, dense_energy = steps * self.dense.step.latency_s, steps * self.dense.step.energy_j",
        "dense_latency, dense_energy = steps * self.dense.step.latency_s, self.dense.step.energy_j",
    ),
    Fault(
        "results", RATIOS, "geometric_mean", "means over workloads are arithmetic",
        "return math.exp(sum(map(math.log, found)) / len(found))", "return sum(found) / len(found)",
    ),
    Fault(
        "sweep", PARETO, "pareto_front", "a point that is equal to one before it stays",
        "is_nondominated(points)", "is_nondominated(points, keep_weakly=True)",
    ),
    Fault(
        "sweep", PARETO, "hypervolume", "a point on the border of the reference counts",
        "ref=corner)", "ref=np.nextafter(corner, np.inf) + 0.01)",
    ),
    Fault(
        "sweep", FRONTS, "find_fronts", "a row is as good as itself",
        "(times - 1).tolist()", "times.tolist()",
    ),
    Fault(
        "sweep", EXPRESSION, "_connective", "an alternative needs all its parts",
        'decided = word == "or"', 'decided = word == "and"',
    ),
    Fault(
        "sweep", BATCHED, "_costs", "vector work is paid for as weights that are updated",
        "vector_elements=step.vector_elements[:, None]", "vector_elements=step.wuve_weights[:, None]",
    ),
    Fault(
        "sweep", RUN_SWEEP, "_check_order", "rows of another point are gone on with",
        "if not line.startswith(start):", "if not line:",
    ),
    Fault(
        "tracer", MEASURE, "_by_chance", "what one group would obey by chance all would",
        "dense.nonzeros / dense.elements, share * int(counts.sum()))", "dense.nonzeros / dense.elements, 1)",
    ),
    Fault(
        "tracer", MEASURE, "density", "elements that a view repeats make an operand sparse",
        "tensor.numel() if sparse else flat.numel()", "tensor.numel()",
    ),
    Fault(
        "tracer", RULES_OF_TRACES, "of_windows", "a window of an adaptive pooling ends before its last element",
        "-(-(i + 1) * size // out) - i * size // out", "(i + 1) * size // out - i * size // out",
    ),
    Fault(
        "tracer", LINKING, "_repeats_forward", "a forward that is computed again is known by its weight alone",
        "if side is None else keys[1 - side] in record.reads", "if side is None else keys[side] in record.reads",
    ),
    Fault(
        "tracer", LINKING, "_link_factors", "of a product of activations one factor alone gets a gradient",
        "missing = [factor for factor in (0, 1) if", "missing = [factor for factor in (0,) if",
    ),
    Fault(
        "importers", SCALESIM, "kept_weights", "the last, ragged group of a filter is dropped",
        "k // pattern.group * pattern.kept + min(k % pattern.group, pattern.kept)", "k // pattern.group * pattern.kept",
    ),
    Fault(
        "importers", SCALESIM, "_operation", "the rows of a GEMM are all of one sample",
        'layer.sizes["M"] // batch', 'layer.sizes["M"]',
    ),
    Fault(
        "importers", KINETO, "_rows", "a call that ends when the next begins holds it",
        "while around and around[-1].end <= row.start:", "while around and around[-1].end < row.start:",
    ),
    Fault(
        "importers", RULES_OF_TRACES, "with_weight", "a grouped product has the rows of all groups in each",
        "vectors * batch // groups", "vectors * batch",
    ),
    Fault(
        "importers", TORCH_RNN, "is_reverse", "of two directions the first one runs backwards",
        "self.directions == 2 and number % 2 == 1", "self.directions == 2 and number % 2 == 0",
    ),
)  # fmt: skip

# Results other than the name of a test.
SURVIVED, PASSED = "survived", "passed"


def snapshot(target: Path, source: Path = ROOT) -> None:
    """Copy what the tests need, without compiled files."""
    target.mkdir()
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source / name, target / name)


def plant(fault: Fault, folder: Path) -> None:
    """Change the one line in the copy."""
    path = folder / fault.file
    text = path.read_text(encoding="utf-8")
    assert text.count(fault.old) == 1, f"{fault.file}: not exactly once: {fault.old}"
    before, after = fault.old.splitlines(), fault.new.splitlines()
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1, f"not a single line: {fault.words}"
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")


def run_tests(suite: Suite, folder: Path) -> str:
    """Run a suite on the copy in `folder`: the first test that failed, or `PASSED`."""
    (folder / "mutation_plugin.py").write_text(PLUGIN, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider", "-p", "mutation_plugin"]
    command += [*suite.files, *(("-k", suite.chosen) if suite.chosen else ())]
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_DISABLE_JIT": "0" if suite.compiled else "1"}
    environment |= {"NUMBA_CACHE_DIR": str(folder / "compiled"), "COLUMNS": "200"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"hang: the tests took over {TIMEOUT_S} s"
    if done.returncode == 0:
        return PASSED
    failed = re.search(r"^(?:FAILED|ERROR) (\S+?::\w+)", done.stdout, re.MULTILINE)  # an error: in what it sets up
    if done.returncode != 1 or failed is None:  # no test could judge: the check itself is broken
        raise RuntimeError(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
        )
    return failed[1]


def judged(suite: Suite, clean: Path, folders: Queue[Path], fault: Fault | None = None) -> tuple[str, float]:
    """Run a suite in a copy of `clean` that nobody works in, changed by `fault`; the result and the seconds."""
    folder = folders.get()
    try:
        if fault is not None:
            plant(fault, folder)
        started = time.perf_counter()
        result = run_tests(suite, folder)
        return result, time.perf_counter() - started
    finally:
        if fault is not None:
            shutil.copy2(clean / fault.file, folder / fault.file)
        folders.put(folder)


def say(text: str) -> None:
    """Progress, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def check(faults: Sequence[tuple[int, Fault]]) -> pd.DataFrame:
    """Run every fault; the table."""
    rows = []
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(WORKERS) as pool:
        clean, folders = Path(name).resolve() / "clean", Queue[Path]()
        snapshot(clean)
        for number in range(WORKERS):
            folder = clean.with_name(str(number))
            snapshot(folder, clean)
            folders.put(folder)
        suites = list(dict.fromkeys(fault.suite for _, fault in faults))
        for suite, (result, seconds) in zip(
            suites, pool.map(lambda suite: judged(SUITES[suite], clean, folders), suites), strict=True
        ):
            say(f"without fault, {suite}: {result}, {seconds:.0f} s")
            if result != PASSED:
                raise RuntimeError(f"the tests of the {suite} fail without any fault: {result}")
        results = pool.map(lambda item: judged(SUITES[item[1].suite], clean, folders, item[1]), faults)
        for (number, fault), (result, seconds) in zip(faults, results, strict=True):
            caught_by = SURVIVED if result == PASSED else result
            say(f"{number:2d} {fault.where}: {fault.words}: {caught_by}, {seconds:.0f} s")
            rows.append(
                {
                    "fault": number,
                    "part": fault.suite,
                    "file": fault.file,
                    "function": fault.where,
                    "what is wrong": fault.words,
                    "caught by": caught_by,
                    "seconds": round(seconds),
                }
            )
    return pd.DataFrame(rows)


def write(table: pd.DataFrame, folder: Path) -> None:
    """Write the table as CSV and as Markdown."""
    caught = int((table["caught by"] != SURVIVED).sum())
    lines = [
        "Made by `python tests/mutation.py`.", "",
        f"{len(table)} single-line faults, planted one at a time; the tests caught {caught} of them. `caught by` is the"
        " first test that failed,",
        "seconds are those of the run up to it. The same tests pass without a fault.", "",
        "| " + " | ".join(table.columns) + " |", "| " + " | ".join("---" for _ in table.columns) + " |",
        *("| " + " | ".join(str(value) for value in row) + " |" for row in table.itertuples(index=False)),
    ]  # fmt: skip
    write_atomically(folder / "mutations.md", "\n".join(lines) + "\n")
    write_atomically(folder / "mutations.csv", table.to_csv(index=False, lineterminator="\n"))


def main() -> int:
    """Run all faults, or those with the given numbers without writing."""
    parser = argparse.ArgumentParser(description="Plant single-line faults and see whether the tests catch them.")
    parser.add_argument("numbers", nargs="*", type=int, help="run these faults alone and write no table")
    numbers = parser.parse_args().numbers
    started = time.perf_counter()
    table = check([(i, fault) for i, fault in enumerate(FAULTS, 1) if not numbers or i in numbers])
    if not numbers:
        REPORT.mkdir(parents=True, exist_ok=True)
        write(table, REPORT)
    survived = table.loc[table["caught by"] == SURVIVED, "fault"].tolist()
    say(f"{len(table) - len(survived)} of {len(table)} caught in {time.perf_counter() - started:.0f} s")
    if survived:
        say(f"survived: {survived}")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
