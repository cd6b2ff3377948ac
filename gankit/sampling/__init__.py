"""Sampling from a generator, of a run or from a file."""
