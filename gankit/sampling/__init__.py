"""Sampling of images from the generator of a run or of a generator file."""
