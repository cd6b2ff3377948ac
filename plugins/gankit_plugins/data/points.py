"""Points of the plane drawn from a mixture of Gaussians, and how well samples cover its modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageDraw
from torch import Tensor

if TYPE_CHECKING:
    from gankit import Run

SIDE = 256
"""Of a picture, in pixels."""

FINER = 4
"""Pictures are drawn so many times larger and then made smaller, for smooth edges."""

PAPER, RING, DOT = (255, 255, 255), (200, 200, 200), (30, 90, 170)


def draw_points(modes: Tensor, std: float, count: int, seed: int) -> Tensor:
    """(count, 2, 1, 1) points of the mixture, which has equal weights: float32, drawn alike everywhere.

    Args:
        modes: (K, 2), the means.
        std: the standard deviation in each direction.
        count: how many.
        seed: of the drawing.
    """
    randomness = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 2, generator=randomness)
    return (modes[torch.arange(count) % len(modes)] + std * noise).reshape(count, 2, 1, 1)


def nearest_modes(points: Tensor, modes: Tensor) -> tuple[Tensor, Tensor]:
    """For points (N, 2) and modes (K, 2): the distance to the nearest mode and which one that is, (N,) each."""
    # By differences: the faster way by products loses digits where a distance is small beside the points.
    distance, nearest = torch.cdist(points, modes, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    return distance, nearest


def judge(points: Tensor, modes: Tensor, std: float) -> dict[str, float]:
    """How well samples cover the modes (Srivastava 2017, section 4.1).

    Args:
        points: (N, 2).
        modes: (K, 2).
        std: of each mode.

    Returns:
        `good`, the share of samples within three standard deviations of a mode, and `modes`, the number of modes that
        are the nearest one of at least one good sample.
    """
    distance, nearest = nearest_modes(points, modes)
    good = distance <= 3 * std
    return {"modes": float(nearest[good].unique().numel()), "good": good.double().mean().item()}


def advise_on_few(run: Run, covered: float, there: int) -> None:
    """Says at a run's end that samples cover fewer than half of the modes, so that nobody takes it for a good one.

    Args:
        run: that is over.
        covered: how many modes were covered when they were measured last.
        there: how many there are.
    """
    if covered < there / 2:
        run.warn(
            f"modes is {covered:g}: the samples cover fewer than half of the {there} modes. G has collapsed to few of "
            "them, or has not learnt yet. What helped most often where it was measured (docs/modes.md): packing, "
            "gradient_penalty, r1"
        )


def scatter(points: Tensor, modes: Tensor, std: float) -> Image.Image:
    """Points as dots over the modes as discs of three standard deviations; the picture reaches from -1 to 1.

    Args:
        points: (N, 2).
        modes: (K, 2).
        std: of each mode.
    """
    size = SIDE * FINER

    def place(x: float, y: float) -> tuple[float, float]:
        return (x + 1) / 2 * size, (1 - y) / 2 * size

    sheet = Image.new("RGB", (size, size), PAPER)
    pen = ImageDraw.Draw(sheet)
    for (x, y), radius, colour in [
        *((mode, max(3 * std * size / 2, FINER), RING) for mode in modes.tolist()),
        *((point, 1.2 * FINER, DOT) for point in points.tolist()),
    ]:
        across, down = place(x, y)
        pen.ellipse((across - radius, down - radius, across + radius, down + radius), fill=colour)
    return sheet.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
