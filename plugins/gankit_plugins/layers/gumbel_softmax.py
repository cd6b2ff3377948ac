"""Gumbel-softmax: differentiable samples from categorical distributions."""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel_noise(like: Tensor) -> Tensor:
    """Draw standard Gumbel noise, -ln(-ln(u)) for uniform u, in float32 with the shape and device of `like`."""
    # -ln(u) of a uniform u has an exponential distribution with mean 1. The smallest float avoids the logarithm of 0.
    exponential = torch.empty_like(like, dtype=torch.float32).exponential_()
    return -exponential.clamp(min=torch.finfo(torch.float32).tiny).log()


def gumbel_softmax(logits: Tensor, temperature: float) -> Tensor:
    """Return softmax((logits + g) / temperature) over the last dimension, for Gumbel noise g, in float32.

    The result (..., K) is a relaxed one-hot vector. Its largest element has the index k with probability
    softmax(logits)[k], at any temperature. The vector approaches a one-hot vector as the temperature approaches 0.

    Args:
        logits: logits (..., K) of K categories.
        temperature: temperature, above 0.

    Source:
        Jang 2017, equation 2; Maddison 2017, equation 3.
    """
    return ((logits.float() + gumbel_noise(logits)) / temperature).softmax(-1)
