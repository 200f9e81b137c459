"""The closed-form equations: array timing, edge words, buffer traffic, double buffering, mapping search."""
