"""Batches on the device from a dataset, and prepared files of images."""
