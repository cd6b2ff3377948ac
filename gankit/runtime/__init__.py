"""The process: random state, device, signals, memory, ranks."""
