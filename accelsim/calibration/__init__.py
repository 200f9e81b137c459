"""Platforms measured: devices, rows of measured kernels, the behaviour fitted to them, and what remains."""
