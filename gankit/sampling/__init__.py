"""Sampling from the generator of a run or of a file."""
