"""Distances between generated images and the targets of their source images: L1, PSNR and SSIM."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import Comparison, ImageCondition, Plugin, hookimpl

CHUNK = 256
"""Number of pairs that are compared together. A small number limits the memory use."""

WINDOW, DEVIATION = 11, 1.5
"""Side and standard deviation of SSIM's Gaussian window, in pixels (Wang 2004, section III.B)."""

C1, C2 = 0.01**2, 0.03**2
"""Constants that avoid a division by numbers near 0, for pixels in [0, 1] (Wang 2004, equations 7 and 9)."""

BEST_PSNR = 100.0
"""Largest PSNR of one image, in dB. Equal images would have an infinite PSNR."""


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratios (N,) in dB, -10 log10 of the mean squared error of each image.

    The images (N, C, H, W) are in [0, 1]. The ratio is at most `BEST_PSNR`.
    """
    return (-10 * (a - b).square().flatten(1).mean(1).log10()).clamp(max=BEST_PSNR)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the structural similarities (N,) of images (N, C, H, W) in [0, 1]: 1 for equal images.

    The index is computed in each window of 11x11 pixels with Gaussian weights, and averaged over windows and channels.
    Both sides of an image need at least 11 pixels.

    Source: Wang 2004, equations 13 to 17.
    """
    position = torch.arange(WINDOW, dtype=a.dtype) - (WINDOW - 1) / 2
    weights = torch.exp(-(position**2) / (2 * DEVIATION**2))
    weights = (weights / weights.sum()).view(1, 1, 1, -1)

    def mean(x: Tensor) -> Tensor:
        # The window is a product of two lines, and two convolutions with a line are faster than one with the window.
        return F.conv2d(F.conv2d(x.flatten(0, 1)[:, None], weights), weights.mT)

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2 * covariance + C2) / (variance_a + variance_b + C2)
    return (luminance * structure).view(len(a), -1).mean(1)


def unit(images: Tensor) -> Tensor:
    """Return images as float64 in [0, 1]. The images are uint8, or floating point in [-1, 1]."""
    return (images.double() + 1) / 2 if images.is_floating_point() else images.double() / 255


class PairedDistance(Plugin):
    """Distances between generated images and the targets of their source images.

    `l1` is the mean absolute difference of pixels in [0, 1]. `psnr` is the peak signal-to-noise ratio in dB, and `ssim`
    is the structural similarity, 1 for equal images. Both are computed for each image and averaged. `ssim` needs images
    of at least 11x11 pixels. The target of a generated image is the real image with the same source image. No extractor
    is needed.

    Source: Wang 2004 (SSIM), equations 13 to 17. Constants and window are those of section III.B. Here SSIM is averaged
    over the channels.

    When to use: with pairs of a source image and a target (`image_pairs`, `rule_pairs`).
    When not: without pairs, or if a source image has many possible targets, because blurred images then have the best
    values; use `frechet_distance`.
    """

    name = "paired_distance"
    kind = "metric"
    better: ClassVar = {"l1": "lower", "psnr": "higher", "ssim": "higher"}

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        real, fake = comparison.real, comparison.fake
        if not isinstance(real.described, ImageCondition) or real.condition is None or fake.condition is None:
            return None
        index = torch.arange(len(fake.images)) % len(real.images)
        if not torch.equal(real.condition[index], fake.condition):
            return None
        values: dict[str, list[Tensor]] = {"l1": [], "psnr": []}
        if min(real.images.shape[2:]) >= WINDOW:
            values["ssim"] = []
        for target, image in zip(real.images[index].split(CHUNK), fake.images.split(CHUNK), strict=True):
            a, b = unit(target), unit(image)
            values["l1"].append((a - b).abs().flatten(1).mean(1))
            values["psnr"].append(psnr(a, b))
            if "ssim" in values:
                values["ssim"].append(ssim(a, b))
        return {name: torch.cat(numbers).mean().item() for name, numbers in values.items()}
