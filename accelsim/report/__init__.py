"""Reports: one page that a browser opens from a file, with the figures and tables that it shows beside it."""
