"""Discriminator plugins."""
