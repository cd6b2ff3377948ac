"""Paths between projected images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from gankit.errors import InputError
from gankit.sampling.interpolation import rows_of_paths
from gankit.sampling.projection import LatentPoint, draw_points
from gankit.sampling.sampler import Sampler
from gankit.sampling.walk import codes, loop_position


class ProjectionPath:
    """Path through points in a latent space, in their order.

    A path in w consists of lines. A path in z consists of arcs for a spherical prior, and of lines for other priors. If
    the points have different classes, the class weights change linearly along the path.

    Raises:
        InputError: there is only one point; the points have different classes, and the generator takes only whole
            classes; or they have different discrete codes in z.
    """

    def __init__(self, sampler: Sampler, points: Sequence[LatentPoint]) -> None:
        if len(points) < 2:
            raise InputError("--interpolate: needs two or more images")
        self.sampler = sampler
        self.space = points[0].space
        self.latents = torch.stack([point.latent for point in points])
        self.spherical = self.space == "z" and sampler.spherical_prior
        self.labels: Tensor | None = None
        self.weights: Tensor | None = None
        """Class weights of the points, (N, K), if their classes differ."""

        labels = [point.label for point in points if point.label is not None]
        if self.space == "z" and (codes(self.latents) & (self.latents != self.latents[0])).any():
            raise InputError("--interpolate: the images have different discrete codes in z, with no path between them")
        if self.space == "z" and labels:
            self.labels = torch.tensor(labels)
        if self.labels is not None and (self.labels != self.labels[0]).any():
            if not sampler.mixes_classes:
                names = ", ".join(dict.fromkeys(sampler.class_names[label] for label in labels))
                raise InputError(
                    f"--interpolate: the images have the classes {names}, and the generator takes only whole classes; "
                    "project all images with the same --class"
                )
            self.weights = F.one_hot(self.labels, len(sampler.class_names)).float()

    def rows(self, columns: int) -> Tensor:
        """Return images of a grid with one row for each pair of consecutive points, ((N - 1) * columns, C, H, W).

        The first and the last image of each row are those of the pair.
        """
        latents = rows_of_paths(ends_of_rows(self.latents, columns), columns, self.spherical)
        if self.weights is not None:
            condition: Tensor | None = rows_of_paths(ends_of_rows(self.weights, columns), columns, False)
        else:
            condition = None if self.labels is None else self.labels[:1].expand(len(latents))
        return draw_points(self.sampler, self.space, latents, condition)

    def at(self, t: float) -> Tensor:
        """Return the image (1, C, H, W) at position t in [0, 1) of the closed path through all points."""
        latent = loop_position(self.latents[:, None], t, self.spherical)
        if self.weights is not None:
            condition: Tensor | None = loop_position(self.weights[:, None], t, False)
        else:
            condition = None if self.labels is None else self.labels[:1]
        return draw_points(self.sampler, self.space, latent, condition)


def ends_of_rows(points: Tensor, columns: int) -> Tensor:
    """Return rows (N - 1) * columns whose first and last vectors are consecutive points of `points` (N, L)."""
    return torch.stack([*[points[:-1]] * (columns - 1), points[1:]], 1).flatten(0, 1)
