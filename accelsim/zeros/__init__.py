"""Zeros on the tensors of an operation: where they are, and what a machine makes of them."""
