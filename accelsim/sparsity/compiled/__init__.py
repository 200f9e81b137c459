"""Compiled loops over N:M groups."""
