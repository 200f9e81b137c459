"""Questions asked of the simulator: the paper, ablation, sensitivity, overlap, validation."""
