"""The run directory, checkpoints and atomic files."""
