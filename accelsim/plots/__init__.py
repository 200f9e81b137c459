"""Figures: each function draws one frame into one axes and computes no metric. Only this package imports matplotlib."""
