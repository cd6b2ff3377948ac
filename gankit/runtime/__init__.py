"""State of the process: random state, device, signals, memory, ranks."""
