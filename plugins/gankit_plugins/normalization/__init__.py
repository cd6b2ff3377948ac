"""Normalisation plugins."""
