"""Deciding how a step runs: mappings per GEMM, where compact weights are generated. Engines execute the result."""
