"""Base class of datasets whose points come from a mixture of Gaussians in the plane, and their metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageDraw
from pydantic import Field
from torch import Tensor

from gankit import Comparison, Dataset, Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import Run

SIDE = 256
"""Height and width of the scatter plot, in pixels."""

SUPERSAMPLING = 4
"""Factor by which the scatter plot is drawn larger and then reduced, for smooth edges."""

BACKGROUND, MODE, POINT = (255, 255, 255), (200, 200, 200), (30, 90, 170)
"""Colours of the scatter plot."""


class MixtureSettings(Settings):
    """Settings of every mixture."""

    std: float = Field(0.01, gt=0, le=1, description="standard deviation of each Gaussian")
    count: int = Field(50_000, ge=1, le=10_000_000, description="number of points")
    seed: int = Field(0, ge=0, lt=2**63, description="random seed of the points; independent of the run's seed")


class GaussianMixture(Plugin):
    """A dataset of points in the plane, without labels, from Gaussians of equal weight.

    A point is an image of two channels and one pixel. A subclass passes `modes`, (K, 2), the means of the Gaussians.
    """

    config: MixtureSettings

    def __init__(self, config: MixtureSettings, modes: Tensor) -> None:
        super().__init__(config)
        self.modes = modes
        self.last_metrics: dict[str, float] = {}
        """The last computed metrics."""

    @hookimpl
    def load_data(self) -> Dataset:
        return Dataset(2, 1, (), self.draw_all)

    def draw_all(self) -> tuple[Tensor, None]:
        """Return (count, 2, 1, 1) float32, and no labels."""
        return draw_points(self.modes, self.config.std, self.config.count, self.config.seed), None

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        self.last_metrics = mode_metrics(comparison.fake.images.flatten(1), self.modes, self.config.std)
        return self.last_metrics

    @hookimpl
    def on_stop(self, run: Run) -> None:
        if self.last_metrics and self.last_metrics["modes"] < len(self.modes) / 2:
            run.warn(
                f"modes is {self.last_metrics['modes']:g}: the samples cover fewer than half of the {len(self.modes)} "
                "modes. G has collapsed to a few of them, or has not learnt yet. The most effective remedies in "
                "docs/modes.md: packing, gradient_penalty, r1"
            )

    @hookimpl
    def draw_samples(self, images: Tensor) -> Image.Image:
        return scatter_plot(images.flatten(1), self.modes, self.config.std)


def draw_points(modes: Tensor, std: float, count: int, seed: int) -> Tensor:
    """Return (count, 2, 1, 1) float32 points of a mixture with means (K, 2), the same on every machine."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 2, generator=generator)
    return (modes[torch.arange(count) % len(modes)] + std * noise).reshape(count, 2, 1, 1)


def mode_metrics(points: Tensor, modes: Tensor, std: float) -> dict[str, float]:
    """Return how well samples (N, 2) cover modes (K, 2).

    `good` is the proportion of samples within three standard deviations of a mode. `modes` is the number of modes that
    are the nearest one of at least one good sample.

    Source:
        Srivastava 2017, section 4.1.
    """
    # The faster computation by products loses digits when a distance is small compared with the coordinates.
    distance, nearest = torch.cdist(points, modes, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    good = distance <= 3 * std
    return {"modes": float(nearest[good].unique().numel()), "good": good.double().mean().item()}


def scatter_plot(points: Tensor, modes: Tensor, std: float) -> Image.Image:
    """Draw points (N, 2) over modes (K, 2) as discs of three standard deviations. The axes extend from -1 to 1."""
    size = SIDE * SUPERSAMPLING
    plot = Image.new("RGB", (size, size), BACKGROUND)
    draw = ImageDraw.Draw(plot)
    for centres, radius, colour in (
        (modes, max(3 * std * size / 2, SUPERSAMPLING), MODE),
        (points, 1.2 * SUPERSAMPLING, POINT),
    ):
        for x, y in centres.tolist():
            column, row = (x + 1) / 2 * size, (1 - y) / 2 * size
            draw.ellipse((column - radius, row - radius, column + radius, row + radius), fill=colour)
    return plot.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
