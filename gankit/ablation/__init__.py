"""Ablation studies: many runs of one recipe with and without each trick, compared seed by seed."""
