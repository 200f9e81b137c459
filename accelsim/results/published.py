"""What the paper states of SAT (Fang et al., TCAD 2023, arXiv 2309.13015, abstract), beside which results are shown."""

__all__ = ["EFFICIENCY", "SPEEDUP", "THROUGHPUT"]

SPEEDUP = 1.75
"""Average speedup of BDWP at 2:8 over dense training."""

THROUGHPUT = (2.97, 25.22)
"""Smallest and largest throughput relative to earlier FPGA training accelerators."""

EFFICIENCY = (1.36, 3.58)
"""Smallest and largest energy efficiency relative to them."""
