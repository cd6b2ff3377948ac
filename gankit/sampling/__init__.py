"""Sampling of images from the generator of a run or from a generator that is loaded from a file."""
