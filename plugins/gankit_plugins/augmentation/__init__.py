"""Augmentation plugins. They change real and generated images before D."""
