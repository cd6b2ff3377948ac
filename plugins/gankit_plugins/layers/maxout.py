"""Maxout, an activation that the discriminators of the first GANs use."""

from __future__ import annotations

from torch import Tensor, nn

from gankit import Spec


def maxout(x: Tensor, pieces: int) -> Tensor:
    """Return the maximum of each group of `pieces` consecutive features of x, (B, units * pieces), as (B, units).

    Source:
        Goodfellow 2013, section 3.
    """
    return x.unflatten(1, (-1, pieces)).amax(dim=2)


def to_unit_interval(images: Tensor) -> Tensor:
    """Scale images from [-1, 1] to [0, 1], as in the papers that use maxout discriminators."""
    return (images + 1) / 2


class Maxout(nn.Module):
    """Layer that applies `maxout`."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return maxout(x, self.pieces)


def maxout_layer(spec: Spec, before: int, units: int, pieces: int) -> nn.Sequential:
    """Return a linear layer with the recipe's normalisation for D, followed by maxout."""
    linear = nn.Linear(before, units * pieces)
    return nn.Sequential(spec.normalize("discriminator", linear, units * pieces), Maxout(pieces))
