"""Gaussians on a grid."""

from __future__ import annotations

import torch
from PIL.Image import Image
from pydantic import Field
from torch import Tensor

from gankit import Comparison, Dataset, Plugin, Run, Settings, hookimpl
from gankit_plugins.data.points import advise_on_few, draw_points, judge, scatter


def lattice(side: int, reach: float) -> Tensor:
    """(side^2, 2): points of a square grid from -reach to reach, row by row."""
    line = torch.linspace(-reach, reach, side) if side > 1 else torch.zeros(1)
    return torch.cartesian_prod(line, line)


class GaussianGrid(Plugin):
    """Points of the plane around a square grid of modes, without labels: do samples cover all of them?

    Source: Srivastava 2017, section 4.1, with 5 by 5 modes of standard deviation 0.05, 2 apart; here everything is
    five times smaller, since points lie within [-1, 1]. A point is an image of two channels and one pixel. Beside every
    picture it is measured how many modes are covered and which share of 2,500 samples is good, that is within three
    standard deviations of a mode; a run that ends with fewer than half of the modes says so.

    When to use: to see a mode collapse, and what a trick does about it, in seconds.
    When not: to learn anything about images.
    """

    name = "gaussian_grid"
    kind = "data"

    class Config(Settings):
        side: int = Field(5, ge=1, le=100, description="modes in a row, and rows")
        reach: float = Field(0.8, gt=0, le=1, description="of the grid from 0; the plane reaches from -1 to 1")
        std: float = Field(0.01, gt=0, le=1, description="standard deviation of each Gaussian")
        count: int = Field(50_000, ge=1, le=10_000_000, description="points in all")
        seed: int = Field(0, ge=0, lt=2**63, description="of the drawing; the run's seed does not change it")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.modes = lattice(config.side, config.reach)
        self.judged: dict[str, float] = {}
        """What was measured last."""

    @hookimpl
    def load_data(self) -> Dataset:
        return Dataset(2, 1, (), self.draw_all)

    def draw_all(self) -> tuple[Tensor, None]:
        """(count, 2, 1, 1) float32, and no labels."""
        return draw_points(self.modes, self.config.std, self.config.count, self.config.seed), None

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        self.judged = judge(comparison.fake.images.flatten(1), self.modes, self.config.std)
        return self.judged

    @hookimpl
    def on_stop(self, run: Run) -> None:
        if self.judged:
            advise_on_few(run, self.judged["modes"], len(self.modes))

    @hookimpl
    def draw_samples(self, images: Tensor) -> Image:
        return scatter(images.flatten(1), self.modes, self.config.std)
