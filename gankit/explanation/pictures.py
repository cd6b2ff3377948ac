"""Pictures of explanations: heat maps over images, and images with the pixels where a unit is active."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gankit.images.grid import INK, PAPER, grid, shown_channels, to_bytes

HIGH, LOW = (0.80, 0.05, 0.10), (0.05, 0.25, 0.90)
"""Colours, in [0, 1], of the pixels that raise D's logit and of those that lower it."""

OPACITY = 0.9
"""Opacity of the colour of the largest attribution."""

WHITE = 0.75
"""Opacity of the white over the pixels where a unit is not active."""

LINE = 20
"""Height of a line of the legend, in pixels."""

BAR = 120
"""Width of the colour bar of the legend, in pixels."""

MARGIN = 8
"""Distance between the legend and the border of the picture, in pixels."""

FONT_SIZE = 13


class HeatMaps(NamedTuple):
    """Attributions of D's logits of N images."""

    images: Tensor
    """Images (N, C, H, W) in [-1, 1]."""

    gradients: Tensor
    """Integrated gradients, summed over the channels, (N, H, W)."""

    occlusion: Tensor
    """Mean decrease of the logit by occlusion, (N, H, W)."""

    logits: Tensor
    """Logits, (N,)."""

    completeness_error: float
    """Largest difference between the sum of an image's integrated gradients and logit(x) - logit(baseline)."""

    patch: int
    """Height and width of the occlusion patch, in pixels."""


def coloured(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the colours (..., 3) and the opacities (...) of values in [-1, 1]. Other values are clipped."""
    colours = torch.where(values[..., None] > 0, torch.tensor(HIGH), torch.tensor(LOW))
    return colours, values.abs().clamp(max=1) * OPACITY


def overlay(images: Tensor, values: Tensor, scale: float) -> Tensor:
    """Draw values over grey versions of images. Return uint8 images (N, 3, H, W).

    Args:
        images: images (N, C, H, W) in [-1, 1].
        values: values (N, H, W).
        scale: absolute value with the full colour.
    """
    channels = min(3, shown_channels(images.shape[1]))
    # Compress the grey levels, so that colours are visible on black and on white.
    grey = 0.2 + 0.6 * (images[:, :channels].mean(1).clamp(-1, 1) + 1) / 2
    colours, opacity = coloured(values / max(scale, 1e-12))
    mixed = grey[..., None] * (1 - opacity[..., None]) + colours * opacity[..., None]
    return to_bytes(mixed.movedim(3, 1) * 2 - 1)


def in_colour(images: Tensor) -> Tensor:
    """Return uint8 images (N, C, H, W) as (N, 3, H, W)."""
    images = images[:, : min(3, shown_channels(images.shape[1]))]
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def heat_map_picture(maps: HeatMaps, gradient_scale: float, occlusion_scale: float) -> Image.Image:
    """Return a picture with rows for the images, the integrated gradients and the occlusion, and a legend.

    The names of the columns are the logits.
    """
    rows = (
        in_colour(to_bytes(maps.images)),
        overlay(maps.images, maps.gradients, gradient_scale),
        overlay(maps.images, maps.occlusion, occlusion_scale),
    )
    names = ("D's logit", "integrated gradients", "occlusion")
    picture = grid(torch.cat(rows), len(maps.images), names, [f"{logit:.2f}" for logit in maps.logits.tolist()])
    return with_legend(
        picture,
        [
            f"integrated gradients: full colour at {gradient_scale:.2g} per pixel",
            f"occlusion: full colour at {occlusion_scale:.2g}, patch of {maps.patch}x{maps.patch} pixels",
        ],
    )


def with_legend(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    """Add a colour bar and lines of text below a picture."""
    font = ImageFont.load_default(FONT_SIZE)
    ends = ("lowers the logit (fake)", "raises the logit (real)")
    left = MARGIN + int(font.getlength(ends[0])) + MARGIN
    bar_line = left + BAR + MARGIN + int(font.getlength(ends[1])) + MARGIN
    width = max(picture.width, bar_line, *(int(font.getlength(line)) + 2 * MARGIN for line in lines))
    height = picture.height + LINE * (1 + len(lines)) + MARGIN
    sheet = Image.new("RGB", (width, height), (PAPER,) * 3)
    sheet.paste(picture, (0, 0))
    pen = ImageDraw.Draw(sheet)
    middle = picture.height + LINE // 2
    colours, opacity = coloured(torch.linspace(-1, 1, BAR))
    pixels = 0.5 * (1 - opacity[:, None]) + colours * opacity[:, None]
    for x, colour in enumerate((pixels * 255).round().int().tolist()):
        pen.line([(left + x, middle - 6), (left + x, middle + 6)], fill=tuple(colour))
    pen.text((left - MARGIN, middle), ends[0], fill=(INK,) * 3, font=font, anchor="rm")
    pen.text((left + BAR + MARGIN, middle), ends[1], fill=(INK,) * 3, font=font, anchor="lm")
    for number, line in enumerate(lines, 1):
        pen.text((MARGIN, middle + number * LINE), line, fill=(INK,) * 3, font=font, anchor="lm")
    return sheet


def unit_picture(units: Sequence[tuple[str, Tensor, Tensor]]) -> Image.Image:
    """Return a picture with a row of images for each unit. Pixels where the unit is not active are pale.

    Args:
        units: name of a unit, images (n, C, H, W) uint8, and mask of the active pixels (n, H, W), for each unit.
    """
    rows = []
    for _, images, active in units:
        shown = in_colour(images).float()
        rows.append(torch.where(active[:, None], shown, shown * (1 - WHITE) + 255 * WHITE).round().to(torch.uint8))
    return grid(torch.cat(rows), len(units[0][1]), [name for name, _, _ in units])
