"""Standard deviation of features within a batch (Karras 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPS = 1e-8
"""Number added to the variance before the square root, so that the gradient for a batch of equal images is finite."""


def mean_deviation(features: Tensor, compared: Tensor | None) -> Tensor:
    """Return the standard deviation of each feature over a batch, averaged over the features (Karras 2017, section 3).

    Args:
        features: features of the images, (B, F).
        compared: bool tensor (B, B), True for pairs of images of the same class or group; None for a deviation over
            the whole batch.

    Returns:
        The average, (B, 1), in float32 or a wider type. All images of a class or group have the same value.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    if compared is None:
        deviation = (features.var(0, correction=0) + EPS).sqrt().mean()
        return deviation.expand(len(features), 1)
    with torch.autocast(features.device.type, enabled=False):
        share = compared.to(features.dtype)
        share = share / share.sum(1, keepdim=True)
        # Row i of `share @ features` is the mean of the features over the class or group of image i.
        variance = share @ (features - share @ features).square()
        return (variance + EPS).sqrt().mean(1, keepdim=True)


def same_group(count: int, size: int, device: torch.device) -> Tensor | None:
    """Return a bool tensor (B, B), True for pairs of images in the same group, or None if there is only one group.

    The batch has B = `count` images. Each group has `size` successive images. The last group may be smaller.
    """
    if count <= size:
        return None
    group = torch.arange(count, device=device) // size
    return group[:, None] == group


class DeviationMap(nn.Module):
    """Layer that appends a channel with the standard deviation within groups of images, averaged over all features.

    Source: Karras 2017, section 3, with the whole batch as one group.

    Args:
        group: number of images in a group.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Append a channel with the standard deviation of each image's group to x, (B, C, H, W).

        The result has the shape (B, C + 1, H, W).
        """
        deviation = mean_deviation(x.flatten(1), same_group(len(x), self.group, x.device))
        plane = deviation.to(x.dtype)[:, :, None, None].expand(-1, 1, *x.shape[2:])
        return torch.cat([x, plane], dim=1)
