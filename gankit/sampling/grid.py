"""Grids of sample images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from gankit.errors import InputError
from gankit.images.grid import grid, to_bytes
from gankit.images.picture import as_pictures
from gankit.runtime.rng import derived_seed
from gankit.sampling.generator_file import SampledRun
from gankit.sampling.interpolation import rows_of_paths
from gankit.sampling.sampler import Sampler

Names = tuple[str, ...]

MAX_ROWS = 20
"""Maximum number of classes that a grid always shows. Each class is a row."""


def grid_layout(sampler: Sampler, count: int, class_index: int | None = None) -> tuple[int, int, Tensor | None, Names]:
    """Return the number of images, number of columns, labels and row names for a grid of about `count` images.

    For a conditional generator, each row shows one class and has at least one image. If there are more than `MAX_ROWS`
    classes, the grid is almost square and shows evenly spaced classes from the first to the last. With `class_index`,
    or for an unconditional generator, the grid is almost square and has no row names.
    """
    classes = len(sampler.class_names)
    if not classes or class_index is not None:
        return count, max(1, round(count**0.5)), sampler.labels(count, class_index), ()
    shown = some_classes(classes, classes if classes <= MAX_ROWS else min(classes, max(1, round(count**0.5))))
    columns = max(1, count // len(shown))
    names = tuple(sampler.class_names[label] for label in shown.tolist())
    return columns * len(shown), columns, shown.repeat_interleave(columns), names


def some_classes(classes: int, count: int) -> Tensor:
    """Return `count` class indices, evenly spaced from the first to the last class."""
    return torch.linspace(0, classes - 1, count, dtype=torch.float64).round().long()


def interpolate_rows(sampler: Sampler, z: Tensor, labels: Tensor | None, columns: int) -> tuple[Tensor, Tensor | None]:
    """Interpolate z in each row of a grid, from the first to the last vector. Return the new z and the labels.

    An incomplete last row is removed. Raise InputError if a row has fewer than 3 images.
    """
    if columns < 3:
        raise InputError(f"--interpolate: rows of {columns} have nothing between their ends; use a larger --count")
    whole = len(z) - len(z) % columns
    return rows_of_paths(z[:whole], columns, sampler.spherical_prior), None if labels is None else labels[:whole]


def truncation_rows(
    sampler: Sampler, count: int, thresholds: Sequence[float], seed: int, class_index: int | None = None
) -> tuple[Tensor, Tensor | None, int, Names]:
    """Return z, labels, number of columns and row names for a grid with one row per truncation threshold.

    Before truncation, all rows have the same z. Elements of z whose absolute value exceeds their row's threshold are
    redrawn.
    """
    columns = max(1, count // len(thresholds))
    labels = sampler.labels(columns, class_index)
    z = torch.cat([sampler.latent(columns, labels, seed, t) for t in thresholds])
    names = tuple("whole prior" if math.isinf(t) else f"truncation {t:g}" for t in thresholds)
    return z, None if labels is None else labels.repeat(len(thresholds)), columns, names


def draw_grid(sampler: Sampler, z: Tensor, labels: Tensor | None, columns: int, row_names: Names) -> Image.Image:
    """Generate samples from z and labels. Return an image grid, or the plot that a plugin's `draw_samples` returns."""
    return picture_of(sampler, torch.cat(list(sampler.outputs(z, labels))), columns, row_names)


def picture_of(sampler: Sampler, samples: Tensor, columns: int, row_names: Names) -> Image.Image:
    """Return a picture of samples (N, *shape) in [-1, 1]: an image grid, or the plot of a plugin's `draw_samples`."""
    plot = sampler.draw_samples(samples) if sampler.draw_samples is not None else None
    return grid(to_bytes(as_pictures(samples)), columns, row_names) if plot is None else plot


class GridSampler:
    """Sampler for the sample grids of a run. All grids use the same z. If G is conditional, each row has one class."""

    def __init__(self, run: SampledRun) -> None:
        self.run = run
        sampler = Sampler.of_run(run)
        count, self.columns, self.labels, self.row_names = grid_layout(sampler, run.recipe.output.sample_count)
        self.z = sampler.latent(count, self.labels, derived_seed(run.recipe.seed, "samples"))
        content = (self.z.tolist(), None if self.labels is None else self.labels.tolist(), self.columns)
        self.digest = hashlib.sha256(repr(content).encode()).hexdigest()
        """SHA-256 hash of z, labels and number of columns. Grids with equal hashes can be compared image by image."""

    def draw(self) -> tuple[Image.Image, Tensor]:
        """Generate the samples with the current weights of the generator. Return a picture of them, and the samples."""
        sampler = Sampler.of_run(self.run)
        samples = torch.cat(list(sampler.outputs(self.z, self.labels)))
        return picture_of(sampler, samples, self.columns, self.row_names), samples
