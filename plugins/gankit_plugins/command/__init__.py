"""Plugins that add commands to gankit."""
