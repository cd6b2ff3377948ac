"""Pictures of samples that are not images: line plots for audio and table rows, and rows of frames for video."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LINE_HEIGHT, LINE_WIDTH = 64, 128
"""Height and width of the line plot of one channel, in pixels."""

MAX_LINES = 4
"""Maximum number of channels that are drawn, one below the other."""

PAPER, FRAME, INK = 1.0, 0.6, -1.0
"""Pixel values of the background, the frame and the drawn line. The horizontal line at 0 has the value of the frame."""


def as_pictures(samples: Tensor) -> Tensor:
    """Return pictures (N, C, H, W) of samples in [-1, 1].

    Images (N, C, H, W) are returned unchanged. Video (N, C, T, H, W) becomes a row of T frames. All other samples, such
    as audio (N, C, L) or rows of a table (N, F), become line plots, with one line for each channel.
    """
    if samples.dim() == 4:
        return samples
    if samples.dim() == 5:
        return samples.transpose(2, 3).flatten(3)
    return lines(samples[:, None] if samples.dim() == 2 else samples.flatten(2))


def lines(values: Tensor) -> Tensor:
    """Plot values (N, C, L) in [-1, 1] against their index, with one line for each channel.

    Return pictures (N, 1, H, W).

    If several values are in one column of pixels, the line covers the range from the smallest to the largest value.
    """
    values = values[:, :MAX_LINES].float().clamp(-1, 1)
    highest = F.adaptive_max_pool1d(values, LINE_WIDTH)
    lowest = -F.adaptive_max_pool1d(-values, LINE_WIDTH)
    # Join each column to the previous column, so that a steep line has no gaps.
    before_highest, before_lowest = (torch.cat([edge[..., :1], edge[..., :-1]], -1) for edge in (highest, lowest))
    highest, lowest = torch.maximum(highest, before_lowest), torch.minimum(lowest, before_highest)
    # The line covers at least one row of pixels in each column: the row whose centre is nearest to the value.
    top, bottom = (((1 - edge) / 2 * (LINE_HEIGHT - 1)).round()[:, :, None] for edge in (highest, lowest))
    row = torch.arange(LINE_HEIGHT, device=values.device)[:, None]
    paper = torch.full((LINE_HEIGHT, LINE_WIDTH), PAPER, device=values.device)
    # A frame separates neighbouring pictures in a grid, and a horizontal line marks 0.
    paper[[0, -1]] = paper[:, [0, -1]] = paper[LINE_HEIGHT // 2] = FRAME
    pictures = torch.where((row >= top) & (row <= bottom), torch.full_like(paper, INK), paper)
    return pictures.flatten(1, 2)[:, None]
