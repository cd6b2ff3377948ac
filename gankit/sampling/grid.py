"""Grids of samples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from gankit.errors import InputError
from gankit.images.grid import grid, to_bytes
from gankit.runtime.rng import derived_seed
from gankit.sampling.generator_file import SampledRun
from gankit.sampling.interpolation import rows_of_paths
from gankit.sampling.sampler import Sampler

Names = tuple[str, ...]


def grid_layout(sampler: Sampler, count: int, wanted: int | None = None) -> tuple[int, int, Tensor | None, Names]:
    """How a grid of about `count` images is filled: how many, columns, labels, and the names of its rows.

    A row for each class that can be asked for, of as many images as `count` has for each, but one at least; else, or
    for one wanted class, a square.
    """
    classes = len(sampler.class_names)
    if not classes or wanted is not None:
        return count, max(1, round(count**0.5)), sampler.labels(count, wanted), ()
    columns = max(1, count // classes)
    labels = torch.arange(classes).repeat_interleave(columns)
    return columns * classes, columns, labels, sampler.class_names


def interpolate_rows(sampler: Sampler, z: Tensor, labels: Tensor | None, columns: int) -> tuple[Tensor, Tensor | None]:
    """z and labels of a grid whose rows lead, each in its class, from their first z to their last.

    Of a last row that is not full nothing is left.

    Raises InputError when there is nothing between the ends.
    """
    if columns < 3:
        raise InputError(
            f"--interpolate: rows of {columns} have nothing between their ends; a larger --count makes them longer"
        )
    whole = len(z) - len(z) % columns
    return rows_of_paths(z[:whole], columns, sampler.spherical), None if labels is None else labels[:whole]


def truncation_rows(
    sampler: Sampler, count: int, thresholds: Sequence[float], seed: int, wanted: int | None = None
) -> tuple[Tensor, Tensor | None, int, Names]:
    """z, labels, columns and names of the rows of a grid with a row for each truncation.

    In a column stands one z throughout, but for those of its numbers that a threshold has drawn again.
    """
    columns = max(1, count // len(thresholds))
    labels = sampler.labels(columns, wanted)
    z = torch.cat([sampler.latent(columns, labels, seed, t) for t in thresholds])
    names = tuple("whole prior" if math.isinf(t) else f"truncation {t:g}" for t in thresholds)
    return z, None if labels is None else labels.repeat(len(thresholds)), columns, names


def draw_grid(sampler: Sampler, z: Tensor, labels: Tensor | None, columns: int, row_names: Names) -> Image.Image:
    """The samples as one picture: a plugin's own, or a grid."""
    images = torch.cat(list(sampler.outputs(z, labels)))
    drawn = sampler.draw_samples(images) if sampler.draw_samples is not None else None
    return grid(to_bytes(images), columns, row_names) if drawn is None else drawn


class GridSampler:
    """The same z, drawn as a grid again and again while the generator learns: a row for each class."""

    def __init__(self, run: SampledRun) -> None:
        self.run = run
        sampler = Sampler.of_run(run)
        count, self.columns, self.labels, self.row_names = grid_layout(sampler, run.recipe.output.sample_count)
        self.z = sampler.latent(count, self.labels, derived_seed(run.recipe.seed, "samples"))
        asked = (self.z.tolist(), None if self.labels is None else self.labels.tolist(), self.columns)
        self.digest = hashlib.sha256(repr(asked).encode()).hexdigest()
        """Equal for grids that show the same z, of the same classes, in the same places."""

    def draw(self) -> Image.Image:
        return draw_grid(Sampler.of_run(self.run), self.z, self.labels, self.columns, self.row_names)
