"""Batches of real images for training, and files of prepared (already decoded) images."""
