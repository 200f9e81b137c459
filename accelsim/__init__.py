"""accelsim: how long one N:M sparse training step takes on SAT, where the cycles go, and what it costs in energy."""

__version__ = "0.1.0"
