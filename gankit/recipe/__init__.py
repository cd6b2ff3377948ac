"""Recipes: from TOML to a validated recipe and back."""
