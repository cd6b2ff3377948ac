"""Metrics of a generator: comparison of its samples with real ones, during a run or with `gankit eval`."""
