"""One GEMM, or one vector, on the array alone: the closed form beside machines that are stepped cycle by cycle."""
