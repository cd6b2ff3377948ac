"""Dataset of Gaussians on a circle."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from gankit_plugins.data.gaussian_mixture import GaussianMixture, MixtureSettings


def ring(modes: int, radius: float) -> Tensor:
    """Return (modes, 2), points at equal distances on a circle around 0. The first one is on the right."""
    angle = torch.arange(modes) * (2 * math.pi / modes)
    return radius * torch.stack([angle.cos(), angle.sin()], dim=1)


class GaussianRing(GaussianMixture):
    """Points of the plane from Gaussians on a circle, without labels, to measure how many modes samples cover.

    The metrics are `modes`, the number of covered modes, and `good`, the proportion of samples within three standard
    deviations of a mode. A run that ends with fewer than half of the modes shows a warning. A point is an image of two
    channels and one pixel.

    Source: Metz 2016, section 3.1; Srivastava 2017, section 4.1, in the sizes of Lin 2018: 8 modes of standard
    deviation 0.01 on a circle of radius 1. Here everything is a fifth smaller, because points lie within [-1, 1].

    When to use: to see mode collapse, and the effect of a trick on it, within seconds.
    When not: for conclusions about images.
    """

    name = "gaussian_ring"
    kind = "data"

    class Config(MixtureSettings):
        modes: int = Field(8, ge=1, le=10_000, description="number of Gaussians on the circle")
        radius: float = Field(0.8, gt=0, le=1, description="radius of the circle; the plane extends from -1 to 1")
        std: float = Field(0.008, gt=0, le=1, description="standard deviation of each Gaussian")

    def __init__(self, config: Config) -> None:
        super().__init__(config, ring(config.modes, config.radius))
