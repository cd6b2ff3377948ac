"""Augmentation plugins. They change real and generated images before the images enter D."""
