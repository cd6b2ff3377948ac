"""Runtime environment of a training process: random state, device, signals, memory and ranks."""
