"""Optimiser plugins."""
