"""Training: assembly of a run, the loop, one update, and resume."""
