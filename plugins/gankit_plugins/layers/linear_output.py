"""Images of a generator whose last layer is linear."""

from __future__ import annotations

from torch import Tensor


def linear_output(images: Tensor, training: bool) -> Tensor:
    """Return the images of a linear last layer: unchanged in training, and clamped to [-1, 1] in evaluation mode.

    In training, values outside [-1, 1] keep their gradient, which can move them back into this range.
    """
    return images if training else images.clamp(-1, 1)
