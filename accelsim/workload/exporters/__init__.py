"""Writers of other tools' workload files, one module per format."""
