"""Ablation studies: runs of one recipe with and without each trick, with several seeds, and their comparison."""
