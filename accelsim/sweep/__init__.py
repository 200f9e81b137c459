"""Sweeps: many designs, patterns, methods and batches, one row each."""
