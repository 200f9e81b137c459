"""N:M patterns, masks and the sparse-training methods of the literature."""
