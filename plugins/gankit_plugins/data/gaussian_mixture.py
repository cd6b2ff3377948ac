"""Base class of datasets of points from a mixture of Gaussians in the plane, with metrics and a scatter plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

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
"""Antialiasing factor. The scatter plot is drawn this many times larger and then downsampled."""

BACKGROUND, MODE, POINT = (255, 255, 255), (200, 200, 200), (30, 90, 170)
"""RGB colours of the background, the modes and the points in the scatter plot."""


class MixtureSettings(Settings):
    """Settings that all datasets of Gaussian mixtures share."""

    std: float = Field(0.01, gt=0, le=1, description="standard deviation of each Gaussian")
    count: int = Field(50_000, ge=1, le=10_000_000, description="number of points")
    seed: int = Field(0, ge=0, lt=2**63, description="random seed of the points; independent of the run's seed")


class GaussianMixture(Plugin):
    """Base class of datasets of points in the plane, without labels, from a mixture of equally weighted Gaussians.

    A point is an image of one pixel with two channels. A subclass calls the constructor with `modes`: the means of the
    Gaussians, (K, 2).
    """

    better: ClassVar = {"modes": "higher", "good": "higher"}

    config: MixtureSettings

    def __init__(self, config: MixtureSettings, modes: Tensor) -> None:
        super().__init__(config)
        self.modes = modes
        self.last_metrics: dict[str, float] = {}
        """Metrics by name, from the last evaluation. Empty before the first evaluation."""

    @hookimpl
    def load_data(self) -> Dataset:
        return Dataset((2, 1, 1), None, self.draw_all)

    def draw_all(self) -> tuple[Tensor, None]:
        """Draw the points, (count, 2, 1, 1) float32. Return the points, and None in place of labels."""
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
    """Draw points (count, 2, 1, 1), float32, from Gaussians with means (K, 2). `seed` determines the points."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 2, generator=generator)
    return (modes[torch.arange(count) % len(modes)] + std * noise).reshape(count, 2, 1, 1)


def mode_metrics(points: Tensor, modes: Tensor, std: float) -> dict[str, float]:
    """Return the metrics `good` and `modes` of generated points (N, 2), for Gaussians with means (K, 2).

    A good point lies within three standard deviations of a mean, and belongs to the Gaussian with the nearest mean.
    `good` is the proportion of good points. `modes` is the number of Gaussians that have at least one good point.

    Source:
        Srivastava 2017, section 4.1.
    """
    # Matrix products in cdist would be inexact for distances that are much smaller than the coordinates.
    distance, nearest = torch.cdist(points, modes, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    good = distance <= 3 * std
    return {"modes": float(nearest[good].unique().numel()), "good": good.double().mean().item()}


def scatter_plot(points: Tensor, modes: Tensor, std: float) -> Image.Image:
    """Draw generated points (N, 2) over the modes (K, 2). The axes extend from -1 to 1.

    A mode is drawn as a disc with a radius of three standard deviations.
    """
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
