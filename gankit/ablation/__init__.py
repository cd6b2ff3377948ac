"""Ablation studies: train a recipe with and without each trick, with several seeds, and compare the runs."""
