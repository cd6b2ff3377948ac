"""Explanation of a run: the pixels that D's logit depends on, and the parts of an image that units of G draw."""
