"""Whether generated images are copies of real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import Comparison, Plugin, hookimpl
from gankit_plugins.metric.neighbours import nearest, neighbours_in

NEARLY_ALL = 0.99
"""Of the real images: so many lie farther from the nearest other one than what counts as a near copy."""


def ratio_of_medians(near: Tensor, apart: Tensor) -> Tensor:
    """The median distance of generated images from real ones, by that of real ones from one another.

    Args:
        near: (M,) distances of generated images from the nearest real one.
        apart: (N,) distances of real images from the nearest other one.
    """
    return near.median() / apart.median().clamp(min=torch.finfo(torch.float32).tiny)


def share_of_near_copies(near: Tensor, apart: Tensor) -> Tensor:
    """The share of generated images as near to a real one as one real image in a hundred is to another.

    Args:
        near, apart: as for `ratio_of_medians`.
    """
    return (near <= apart.quantile(1 - NEARLY_ALL)).double().mean()


def distances_in(comparison: Comparison) -> tuple[Tensor, Tensor]:
    """`near` and `apart` of a comparison: neighbours are looked for among all real images that there are."""
    if comparison.real_is_whole_dataset:
        found = neighbours_in(comparison, 1)
        return found.near, found.apart
    everything = comparison.dataset_features.values
    real, fake = comparison.real_features.values, comparison.fake_features.values
    # A real image is one of all, and the nearest to itself.
    return nearest(fake, everything, 1)[:, 0], nearest(real, everything, 2)[:, 1]


class Memorisation(Plugin):
    """Whether generated images lie nearer to real ones than real ones lie to each other: copies, or nearly.

    Source: distances to the nearest training image beside those of images that were held back, as Meehan 2020 compares
    them; here every real image is held back in turn. Neighbours are looked for in the whole dataset. `nearest_ratio` is
    the ratio of the medians: about 1 for new images, far below 1 for copies, far above 1 off the real images.
    `near_copies` is the share of generated images as near to a real one as one real image in a hundred is to another:
    about 0.01 for new images, 1 for copies, and raised by a few copies, which the medians do not show.

    When to use: few real images, long training.
    When not: as proof: an extractor may see no difference where there is one. With `split = "test"` the images that the
    generator has learnt from are not looked at.
    """

    name = "memorisation"
    kind = "metric"

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        near, apart = distances_in(comparison)
        ratio, copies = ratio_of_medians(near, apart), share_of_near_copies(near, apart)
        return {"nearest_ratio": ratio.item(), "near_copies": copies.item()}
