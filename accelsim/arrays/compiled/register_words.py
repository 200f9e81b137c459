"""The register-level machine: words, rings and adders that the output-stationary and the stationary array share.

One call of `step_os` or `step_stationary` steps an array cycle by cycle.

Every cycle has the same order: the controller emits one control word; the edges push operands into the lines; every PE
retires the sum that leaves its adder and issues the op of its control word; the drain, the preload and the exits move
one word per column. The controller schedules, the datapath obeys: it stores what the control word says when the adder
says so, and a word read before it is there is reported as a hazard.

How registers are stored. A line that moves one place per cycle is a ring whose head moves, so the words stay where they
are: the word that PE column j sees in cycle t is the word that entered the line in cycle t - j. Control words travel
the same way (PE (i, j) runs the word of cycle t - i * skew - j). Operand words that are only passed on travel by
reference: the line holds the address of the M-wide word, the PE selects inside it. Of the PEs of a row those that use
the same register stand side by side and are stepped in one loop (see `name_registers`).

Kernels work on numbers and arrays, return a status and never raise.
"""

import numpy as np
from numpy.typing import NDArray

from accelsim.base.jit import Kernel, borrowing


def inlined(function: Kernel) -> Kernel:
    """Compile into every caller: a call that hands a machine over copies its 40 fields."""
    return borrowing(function, forceinline=True)


RUNNING = 0
DONE = 1
HAZARD_ACCUMULATOR = -1
HAZARD_DRAIN = -2
HAZARD_LINK = -3
HAZARD_SHADOW = -4
HAZARDS = {
    HAZARD_ACCUMULATOR: "an accumulator was read before its sum was ready",
    HAZARD_DRAIN: "an accumulator was drained before its sum was ready, or after the next tile wrote it",
    HAZARD_LINK: "a PE took a partial sum that was not the one it needed",
    HAZARD_SHADOW: "a shadow set was overwritten before its use, or used before it was full",
}

# State that both machines keep between calls.
(
    CYCLE, HEAD, LINE_HEAD, TILE, ACTIVE, WAIT, NEED_ROW, CREDIT_ROW, NEED_COL, CREDIT_COL,
    FINISHED, OPS, X_WORDS, W_WORDS, Y_WORDS, STAGE, CYCLES, TURN,
) = range(18)  # fmt: skip
STATE_WORDS = 32  # with what each machine adds


# Control word fields: what the adder does and with which registers, whether operands enter, PE rows and columns of the
# tile.
RUN, MODE, BANK_IN, BANK_OUT, PHASE, PHASE2, KIND, RT, CT = range(9)  # PHASE2: of the second register, or the held slot
BUBBLE, MAC = 0, 1  # KIND: do operands enter with the word
# MODE: the adder takes nothing, the product, a register and the product, two registers.
IDLE, FIRST, ADD, REDUCE = 0, 1, 2, 3


@inlined
def popcount(bits: np.uint64) -> int:
    """Bits that are set."""
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    bits += bits >> np.uint64(8)
    bits += bits >> np.uint64(16)
    bits += bits >> np.uint64(32)
    return int(bits & np.uint64(0x7F))


@inlined
def count_both(first: NDArray[np.uint64], i: int, second: NDArray[np.uint64], k: int) -> int:
    """Columns in which row i of one and row k of the other operand are valid."""
    total = 0
    for b in range(first.shape[1]):
        total += popcount(first[i, b] & second[k, b])
    return total


@inlined
def shift_in(bits: NDArray[np.uint64], i: int, entering: int) -> None:
    """Move the valid bits of row i one column on."""
    carry = np.uint64(entering)
    for b in range(bits.shape[1]):
        leaving = bits[i, b] >> np.uint64(63)
        bits[i, b] = (bits[i, b] << np.uint64(1)) | carry
        carry = leaving


@inlined
def set_bit(bits: NDArray[np.uint64], i: int, j: int, value: int) -> None:
    """Set or clear the valid bit of column j in row i."""
    mask = np.uint64(1) << np.uint64(j & 63)
    if value:
        bits[i, j >> 6] |= mask
    else:
        bits[i, j >> 6] &= ~mask


@inlined
def next_place(ring: NDArray[np.generic], head: int, span: int) -> int:
    """Move a ring (fields x places) on by one cycle; the place of the entering word comes back."""
    if head == 0:
        top = ring.shape[1] - span
        for f in range(ring.shape[0]):
            for d in range(span):
                ring[f, top + d] = ring[f, d]
        head = top
    return head - 1


@inlined
def port_short(need: int, credit: int, port: int) -> bool:
    """Whether words are still waiting outside a port of `port` words per cycle."""
    return port > 0 and need > credit


@inlined
def bubble(hist: NDArray[np.int64], h: int) -> None:
    """A control word that does nothing."""
    hist[KIND, h] = BUBBLE
    hist[MODE, h] = IDLE
    hist[RUN, h] = hist[RUN, h + 1] + 1 if hist[MODE, h + 1] == IDLE else 1


@inlined
def name_registers(
    hist: NDArray[np.int64], h: int, mode: int, bank_in: int, bank_out: int, phase: int, phase2: int
) -> None:
    """Fill the adder's part of a control word and note how many words before it name the same registers.

    The word that takes register a in cycle t carries the phase (a - t) mod P. PE (i, j) keeps register a of a bank in
    place (a + j + i) mod P (WS/IS: (a + j) mod P), so that all PEs of a row that hold words of one phase use the same
    place in a cycle, and are stepped together.
    """
    hist[MODE, h], hist[BANK_IN, h], hist[BANK_OUT, h] = mode, bank_in, bank_out
    hist[PHASE, h], hist[PHASE2, h] = phase, phase2
    same = True
    for f in range(MODE, PHASE2 + 1):
        same = same and hist[f, h] == hist[f, h + 1]
    hist[RUN, h] = hist[RUN, h + 1] + 1 if same else 1


@inlined
def around(value: int, places: int) -> int:
    """Fold a number from -places to 2 places - 1 into 0 to places - 1."""
    if value < 0:
        return value + places
    return value - places if value >= places else value


@inlined
def retire(
    regs: NDArray[np.float64], base: int, hist: NDArray[np.int64], p: int, turn: int, places: int,
    pipe: NDArray[np.float64], stage: int, cols: int, stride: int,
) -> None:  # fmt: skip
    """Store the sums that leave the adders of one row where their control words say."""
    j = 0
    while j < cols:
        count = min(hist[RUN, p + j], cols - j)
        if hist[MODE, p + j] != IDLE:
            place = around(hist[PHASE, p + j] + turn, places)
            to = np.uint64(base + hist[BANK_OUT, p + j] + place * stride + j)
            source = np.uint64(stage + j)
            for u in range(count):
                regs[to + np.uint64(u)] = pipe[source + np.uint64(u)]
        j += count
