"""Layers and parts that several networks share."""
