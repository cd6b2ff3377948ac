"""Priors of z."""
