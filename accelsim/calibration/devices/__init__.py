"""Measuring the machine that accelsim runs on: kernels alone, and training steps."""
