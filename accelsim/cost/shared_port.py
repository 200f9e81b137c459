"""The `ideal` timing convention: a weight-stationary array without skew, preload or drain, behind one shared port."""

from accelsim.hardware.machine import Machine
from accelsim.sparsity.pattern import Pattern

__all__ = ["ideal_cycles"]


def ideal_cycles(machine: Machine, m: int, n: int, k: int, mask: Pattern | None) -> int:
    """Return the cycles of ``Y[m, n] = X[m, k] W[k, n]`` with a masked W that stays, X streaming by vectors.

    Compute: one vector per cycle for every block of W, ragged blocks and groups counted whole. Port: a vector brings
    all M elements of each group; W is loaded again for every `stream_tile` vectors, each kept value with its metadata
    (bits / 8 of a word). The longer of the two counts.
    """
    pattern, bits = machine.mode_for(mask)
    kept, group = (machine.macs_per_pe, machine.macs_per_pe) if pattern is None else (pattern.kept, pattern.group)
    groups_per_row = max(1, machine.macs_per_pe // kept)
    slots_per_group = -(-kept // machine.macs_per_pe)
    block_k = machine.rows * groups_per_row * group
    k_blocks, n_blocks = -(-k // block_k), -(-n // machine.cols)
    compute = k_blocks * n_blocks * m * slots_per_group
    streamed = k_blocks * n_blocks * m * block_k
    held = n * k_blocks * machine.rows * groups_per_row * kept * -(-m // machine.stream_tile)
    words = streamed * 8 + held * (8 + bits)
    return max(compute, -(-words // (8 * machine.shared_port_words_per_cycle)))
