"""Metrics of a generator: comparison of its samples with real ones, in a run or by `gankit eval`."""
