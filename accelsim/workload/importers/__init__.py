"""Readers of other tools' workload files, one module per format, each with ``read(path, options) -> Trace``."""
