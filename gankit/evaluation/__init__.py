"""Metrics that compare a generator's samples with real samples, during a run or with `gankit eval`."""
