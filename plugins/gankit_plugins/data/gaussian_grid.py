"""Dataset of points from a mixture of Gaussians whose means form a square grid."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gankit_plugins.data.gaussian_mixture import GaussianMixture, MixtureSettings


def grid(side: int, extent: float) -> Tensor:
    """Return the points (side^2, 2) of a square grid that extends from -extent to extent in both coordinates."""
    line = torch.linspace(-extent, extent, side) if side > 1 else torch.zeros(1)
    return torch.cartesian_prod(line, line)


class GaussianGrid(GaussianMixture):
    """Points in the plane from a mixture of Gaussians on a square grid, for counting the modes that a generator covers.

    A generated point covers a mode if it lies within three standard deviations of this mode. The metric `good` is the
    proportion of points that cover a mode, and the metric `modes` is the number of covered modes. If fewer than half of
    the modes are covered at the end of a run, the plugin logs a warning. A point is stored as an image of one pixel
    with two channels.

    Source: Srivastava 2017, section 4.1, with 5 by 5 modes of standard deviation 0.05 at distances of 2. Here all
    lengths are divided by 5, so that the points lie within [-1, 1].

    When to use: for tests of mode collapse and of tricks against it. Such tests take only seconds.
    When not: for conclusions about images.
    """

    name = "gaussian_grid"
    kind = "data"

    class Config(MixtureSettings):
        side: int = Field(5, ge=1, le=100, description="number of modes in a row and in a column")
        reach: float = Field(0.8, gt=0, le=1, description="extent of the grid from 0; the plane extends from -1 to 1")

    def __init__(self, config: Config) -> None:
        super().__init__(config, grid(config.side, config.reach))
