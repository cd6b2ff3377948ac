"""Storage of weights in 8 bits: symmetric quantisation with one scale for each row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

INTEGERS, SCALE = ".int8", ".scale"
"""Suffixes of the two tensors that replace a quantised tensor in a file."""

LEVELS = 127
"""Largest quantised value. The smallest one is -127, so that the quantisation is symmetric."""


def quantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each float tensor with two or more dimensions by integers q (int8) and scales s, with w = s q.

    Row i, which is `w[i]`, has the scale s_i = max |w[i]| / 127. Rounding changes each number by at most s_i / 2. Other
    tensors, such as biases and statistics of batch normalisation, are unchanged.

    Source: Krishnamoorthi 2018, section 2.2 (symmetric quantiser) and section 3.1 (one scale for each channel).
    """
    stored = {}
    for name, tensor in tensors.items():
        if tensor.dim() < 2 or not tensor.is_floating_point():
            stored[name] = tensor
            continue
        scale = tensor.abs().amax(dim=tuple(range(1, tensor.dim())), keepdim=True) / LEVELS
        levels = (tensor / torch.where(scale > 0, scale, 1)).round().clamp(-LEVELS, LEVELS)
        stored |= {f"{name}{INTEGERS}": levels.to(torch.int8), f"{name}{SCALE}": scale}
    return stored


def dequantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file with the weights w = s q instead of q and s. The dtype of w is that of s."""
    plain = dict(tensors)
    for name in [name.removesuffix(INTEGERS) for name in tensors if name.endswith(INTEGERS)]:
        levels, scale = tensors[f"{name}{INTEGERS}"], tensors.get(f"{name}{SCALE}")
        if levels.dtype == torch.int8 and scale is not None and scale.shape == rows_of(levels):
            plain[name] = plain.pop(f"{name}{INTEGERS}") * plain.pop(f"{name}{SCALE}")
    return plain


def rows_of(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of the scales of a tensor: (rows, 1, 1, ...)."""
    return (*tensor.shape[:1], *(1 for _ in tensor.shape[1:]))
