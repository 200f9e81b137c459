"""What every room stands on: errors, files, units, compiled kernels, markup and the version."""
