"""Dataset of Gaussians on a grid."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit_plugins.data.gaussian_mixture import GaussianMixture, MixtureSettings


def grid(side: int, extent: float) -> Tensor:
    """Return (side^2, 2), the points of a square grid from -extent to extent."""
    line = torch.linspace(-extent, extent, side) if side > 1 else torch.zeros(1)
    return torch.cartesian_prod(line, line)


class GaussianGrid(GaussianMixture):
    """Points of the plane from Gaussians on a square grid, without labels, to measure how many modes samples cover.

    The metrics are `modes`, the number of covered modes, and `good`, the proportion of samples within three standard
    deviations of a mode. A run that ends with fewer than half of the modes shows a warning. A point is an image of two
    channels and one pixel.

    Source: Srivastava 2017, section 4.1, with 5 by 5 modes of standard deviation 0.05 at a distance of 2. Here
    everything is five times smaller, because points lie within [-1, 1].

    When to use: to see mode collapse, and the effect of a trick on it, within seconds.
    When not: for conclusions about images.
    """

    name = "gaussian_grid"
    kind = "data"

    class Config(MixtureSettings):
        side: int = Field(5, ge=1, le=100, description="number of modes in a row and in a column")
        reach: float = Field(0.8, gt=0, le=1, description="extent of the grid from 0; the plane extends from -1 to 1")

    def __init__(self, config: Config) -> None:
        super().__init__(config, grid(config.side, config.reach))
