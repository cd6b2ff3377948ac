"""Layers and functions that several networks share."""
