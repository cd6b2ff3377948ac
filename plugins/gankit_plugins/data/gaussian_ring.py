"""Dataset of points from a mixture of Gaussians whose means lie on a circle."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from gankit_plugins.data.gaussian_mixture import GaussianMixture, MixtureSettings


def ring(modes: int, radius: float) -> Tensor:
    """Return points (modes, 2) at equal distances on a circle around the origin. The first point is (radius, 0)."""
    angle = torch.arange(modes) * (2 * math.pi / modes)
    return radius * torch.stack([angle.cos(), angle.sin()], dim=1)


class GaussianRing(GaussianMixture):
    """Points in the plane from a mixture of Gaussians on a circle, for counting the modes that a generator covers.

    A generated point covers a mode if it lies within three standard deviations of this mode. The metric `good` is the
    proportion of points that cover a mode, and the metric `modes` is the number of covered modes. If fewer than half of
    the modes are covered at the end of a run, the plugin logs a warning. A point is stored as an image of one pixel
    with two channels.

    Source: Metz 2016, section 3.1; Srivastava 2017, section 4.1, with the sizes of Lin 2018: 8 modes of
    standard deviation 0.01 on a circle of radius 1. Here all lengths are multiplied by 0.8, so that the points lie
    within [-1, 1].

    When to use: for tests of mode collapse and of tricks against it. Such tests take only seconds.
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
