"""Normalisation methods."""
