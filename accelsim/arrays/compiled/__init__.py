"""Machines that are stepped cycle by cycle, compiled: the PE array with every register, and SORE's sorters."""
