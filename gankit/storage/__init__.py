"""Storage on disk: run directories, checkpoints, locks and atomic file writes."""
