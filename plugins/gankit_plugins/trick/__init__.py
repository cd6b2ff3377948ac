"""Tricks."""
