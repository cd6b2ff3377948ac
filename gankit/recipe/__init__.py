"""Recipes: reading, validation and comparison."""
