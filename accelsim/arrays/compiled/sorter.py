"""SORE stepped literally: one element per lane and cycle enters a sorted list of registers."""

import numpy as np
from numpy.typing import NDArray

from accelsim.base.jit import jit

__all__ = ["enter", "step_lanes"]

Floats = NDArray[np.float32 | np.float64]
Ints = NDArray[np.int64]


@jit
def enter(magnitude: float, position: int, registers: Floats, positions: Ints, held: int) -> int:
    """One cycle of one lane: an element enters the sorted registers. Returns how many are held afterwards.

    It passes every register that is strictly smaller, and these shift down by one; the last falls out of a full list.
    An equal one came earlier and stays in front, so ties go to the lowest index.
    """
    slot = held
    while slot > 0 and magnitude > registers[slot - 1]:
        if slot < registers.size:
            registers[slot] = registers[slot - 1]
            positions[slot] = positions[slot - 1]
        slot -= 1
    if slot < registers.size:
        registers[slot] = magnitude
        positions[slot] = position
    return min(held + 1, int(registers.size))


@jit
def step_lanes(stream: Floats, lengths: Ints, lanes: int, positions: Ints, held: Ints) -> int:
    """Feed groups (rows of `stream`, `lengths` of them real) to the lanes, one element per lane and cycle.

    A lane takes its next group when all lanes are done. Fills `positions` and `held` per group; returns the cycles.
    """
    groups, group = stream.shape
    registers = np.empty((lanes, positions.shape[1]), stream.dtype)
    cycles = 0
    for first in range(0, groups, lanes):
        for i in range(group):
            for lane in range(min(lanes, groups - first)):
                g = first + lane
                if i < lengths[g]:
                    held[g] = enter(stream[g, i], i, registers[lane], positions[g], held[g])
            cycles += 1
    return cycles
