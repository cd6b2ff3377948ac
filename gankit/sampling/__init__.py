"""Sampling of images from a generator, which belongs to a run or is loaded from a file."""
