"""Training: assembly of a run, training loop, parameter updates, checkpoints and resume."""
