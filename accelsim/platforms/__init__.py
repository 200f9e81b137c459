"""Training steps on GPUs, edge modules, CPUs and published accelerators."""
