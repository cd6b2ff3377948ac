"""Grids of sample images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gankit.errors import InputError
from gankit.images.grid import as_input, grid, to_bytes
from gankit.images.picture import as_pictures
from gankit.plugin.condition import ImageCondition, Requested, evenly_spaced
from gankit.runtime.rng import derived_seed, fork_rng
from gankit.sampling.generator_file import SampledRun
from gankit.sampling.interpolation import lerp, rows_of_paths
from gankit.sampling.sampler import Sampler
from gankit.storage.atomic_io import write_folder

Names = tuple[str, ...]

MAX_ROWS = 20
"""Maximum number of classes for which a sample grid shows every class, with one class per row.

If there are more classes, the grid shows only some of them.
"""


class Layout(NamedTuple):
    """Layout of a sample grid: number of samples and columns, conditions, and names of the rows and columns."""

    total: int
    """Number of samples."""

    columns: int
    condition: Tensor | None
    """Condition of each sample, row by row, or None for an unconditional generator."""

    row_names: Names
    column_names: Names = ()


def grid_layout(
    sampler: Sampler,
    count: int,
    requested: Requested = MappingProxyType({}),
    seed: int = 0,
    sources: Tensor | None = None,
) -> Layout:
    """Return the layout of a grid of about `count` images. The other arguments are those of `Sampler.conditions`.

    For a generator with classes, each row shows one class and has at least one image. If there are more than `MAX_ROWS`
    classes, the grid is almost square and shows evenly spaced classes from the first to the last.

    For a generator with texts, the grid is almost square. Each row shows one text, which is the name of the row.

    In all other cases, the grid is almost square, and its rows have no names. These cases are: the user requests a
    condition, a plugin chooses the conditions, or the conditions have no names.
    """
    classes, side = len(sampler.class_names), max(1, round(count**0.5))
    if requested or sources is not None or sampler.conditions_of_plugin(count, requested, seed) is not None:
        return Layout(count, side, sampler.conditions(count, requested, seed, sources), ())
    if not classes:
        return named_rows(sampler, count, side)
    shown = evenly_spaced(classes, classes if classes <= MAX_ROWS else min(classes, max(1, round(count**0.5))))
    columns = max(1, count // len(shown))
    names = tuple(sampler.class_names[label] for label in shown.tolist())
    return Layout(columns * len(shown), columns, shown.repeat_interleave(columns), names)


def named_rows(sampler: Sampler, count: int, columns: int) -> Layout:
    """Return the layout of a grid whose rows show one condition each, with its name.

    If the conditions have no names, all samples have different conditions.
    """
    rows = count // columns
    shown = sampler.conditions(rows)
    names: Names = ()
    if shown is not None and sampler.condition is not None:
        names = tuple(sampler.condition.name_of(row) for row in shown)
    if shown is None or not any(names):
        return Layout(count, columns, sampler.conditions(count), ())
    return Layout(rows * columns, columns, shown.repeat_interleave(columns, 0), names)


def interpolate_rows(
    sampler: Sampler, z: Tensor, condition: Tensor | None, columns: int
) -> tuple[Tensor, Tensor | None]:
    """Interpolate between the first and the last latent vector of each row of a grid.

    Return the interpolated z and the condition of each image.

    All images of a row get the condition of the row's first image. An incomplete last row is removed. Raise InputError
    if a row has fewer than 3 images.
    """
    if columns < 3:
        raise InputError(f"--interpolate: rows of {columns} have nothing between their ends; use a larger --count")
    whole = len(z) - len(z) % columns
    if condition is not None:
        condition = condition[:whole:columns].repeat_interleave(columns, 0)
    return rows_of_paths(z[:whole], columns, sampler.spherical_prior), condition


def truncation_rows(
    sampler: Sampler,
    count: int,
    thresholds: Sequence[float],
    seed: int,
    requested: Requested = MappingProxyType({}),
    sources: Tensor | None = None,
) -> tuple[Tensor, Layout]:
    """Return z and the layout for a grid with one row per truncation threshold.

    Before truncation, all rows have the same z. Elements of z whose absolute value exceeds their row's threshold are
    redrawn.
    """
    columns = max(1, count // len(thresholds))
    condition = sampler.conditions(columns, requested, seed, sources)
    z = torch.cat([sampler.latent(columns, condition, seed, t) for t in thresholds])
    names = tuple("whole prior" if math.isinf(t) else f"truncation {t:g}" for t in thresholds)
    if condition is not None:
        condition = condition.repeat(len(thresholds), *[1] * (condition.dim() - 1))
    return z, Layout(len(z), columns, condition, names)


def class_rows(
    sampler: Sampler, count: int, steps: int, first: str, last: str, seed: int, truncation: float | None = None
) -> tuple[Tensor, Layout]:
    """Return z and the layout for a grid whose rows change from one class to another.

    All images of a row have the same z. The condition is a tensor of class weights (N, K). The weights change
    linearly along a row, so the generator interpolates linearly between the embeddings of the two classes (Brock 2018,
    figure 8).

    Args:
        sampler: sampler with the generator and the prior.
        count: number of images. An incomplete row is left out, but there is at least one row.
        steps: number of images in a row, at least 2.
        first: name or index of the class at the start of each row.
        last: name or index of the class at the end of each row.
        seed: random seed for z.
        truncation: threshold for z, or None.

    Raises:
        InputError: the generator does not have one of the classes, or does not accept class weights.
    """
    rows = max(1, count // steps)
    start, end = (sampler.conditions(rows, {"class": name}) for name in (first, last))
    if not sampler.mixes_classes or start is None or end is None:
        raise InputError(
            "--to-class: the generator takes only whole classes; use one with a class embedding, such as biggan or one "
            "with conditional_batch_norm, or draw each class with --class"
        )
    p, q = (F.one_hot(labels, len(sampler.class_names))[:, None].float() for labels in (start, end))
    condition = lerp(p, q, torch.linspace(0, 1, steps)[:, None]).flatten(0, 1)
    z = sampler.latent(rows, start, seed, truncation).repeat_interleave(steps, 0)
    return z, Layout(len(z), steps, condition, ())


def sweep_rows(
    sampler: Sampler,
    sweeps: Mapping[str, Sequence[str | float]],
    rows: int,
    seed: int,
    requested: Requested = MappingProxyType({}),
    truncation: float | None = None,
) -> tuple[Tensor, Layout]:
    """Return z and the layout for a grid that shows the values of one or two parts of the condition.

    With one sweep, each row has its own z, and each column has one value. With two sweeps, the rows have the values of
    the first sweep, the columns have the values of the second sweep, and all images have the same z.

    Args:
        sampler: sampler with the generator and the prior.
        sweeps: values of one or two parts of the condition by name, as in `Sampler.sweep`.
        rows: number of rows with one sweep.
        seed: random seed for z.
        requested: other parts of the condition that the user requests, the same for all images.
        truncation: threshold for z, or None.

    Raises:
        InputError: the generator does not accept the condition.
    """
    z, condition = sampler.sweep_inputs(sweeps, 1 if len(sweeps) > 1 else rows, requested, seed, truncation)
    names = [tuple(f"{name}={text}" for text in short_texts(values)) for name, values in sweeps.items()]
    layout = Layout(len(z), len(names[-1]), condition, names[0] if len(names) > 1 else (), names[-1])
    return z, layout


def short_texts(values: Sequence[str | float]) -> list[str]:
    """Return texts for values. Numbers have the fewest digits that keep them apart, at least 3. Words are unchanged."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return [str(value) for value in values]
    shortened = ([f"{number:.{digits}g}" for number in numbers] for digits in range(3, 17))
    return next((texts for texts in shortened if len(set(texts)) == len(set(numbers))), [str(n) for n in numbers])


def draw_grid(sampler: Sampler, z: Tensor, layout: Layout) -> Image.Image:
    """Generate samples from z. Return an image grid, or the picture of a plugin's `draw_samples`."""
    return picture_of(sampler, torch.cat(list(sampler.outputs(z, layout.condition))), layout)


def picture_of(sampler: Sampler, samples: Tensor, layout: Layout) -> Image.Image:
    """Return a picture of samples (N, *shape) in [-1, 1]: an image grid, or the picture of a plugin's `draw_samples`.

    If the generator takes source images, each source image is to the left of its sample.
    """
    if sampler.draw_samples is not None:
        picture = sampler.draw_samples(samples, layout.condition, layout.columns, layout.row_names)
        if picture is not None:
            return picture
    pictures = as_pictures(samples)
    if isinstance(sampler.condition, ImageCondition) and layout.condition is not None:
        pairs = torch.stack([like(as_input(layout.condition), pictures), pictures], 1).flatten(0, 1)
        return grid(to_bytes(pairs), 2 * layout.columns, layout.row_names)
    return grid(to_bytes(pictures), layout.columns, layout.row_names, layout.column_names)


def sample_grid(samples: Tensor, columns: int, row_names: Sequence[str] = ()) -> Image.Image:
    """Return a picture of samples (N, *shape) in [-1, 1]: a grid of images, or a grid of line plots.

    Line plots show samples that are not images, such as audio and rows of tables.

    Args:
        samples: samples, row by row.
        columns: number of samples in a row.
        row_names: names of the rows, shown on the left, or an empty sequence.
    """
    return grid(to_bytes(as_pictures(samples)), columns, row_names)


def like(sources: Tensor, pictures: Tensor) -> Tensor:
    """Return source images (N, C, H, W), converted to the number of channels, height and width of `pictures`."""
    channels = pictures.shape[1]
    sources = sources[:, :channels] if sources.shape[1] >= channels else sources[:, :1].expand(-1, channels, -1, -1)
    same_size = sources.shape[2:] == pictures.shape[2:]
    return sources if same_size else F.interpolate(sources, pictures.shape[2:])


class GridSampler:
    """Sampler for the sample grids of a run. All grids of the run have the same z and the same conditions."""

    MAX_FILES = 8
    """Maximum number of samples of a grid that are written to files, for data that are not images."""

    def __init__(self, run: SampledRun) -> None:
        self.run = run
        sampler = Sampler.of_run(run)
        seed = derived_seed(run.recipe.seed, "samples")
        self.layout = grid_layout(sampler, run.recipe.output.sample_count, seed=seed)
        condition = self.layout.condition
        self.z = sampler.latent(self.layout.total, condition, seed)
        self.save_samples = sampler.save_samples
        # Evenly spaced samples show several classes, because a class fills a row.
        self.chosen = evenly_spaced(self.layout.total, min(self.MAX_FILES, self.layout.total))
        names = sampler.file_names(self.layout.total, condition)
        self.names = [names[number] for number in self.chosen.tolist()]
        digest = hashlib.sha256(repr(self.layout.columns).encode())
        for tensor in (self.z, condition):
            if tensor is not None:
                digest.update(tensor.contiguous().numpy().data)
        self.digest = digest.hexdigest()
        """SHA-256 hash of z, the condition and the number of columns.

        Grids with equal hashes can be compared image by image.
        """

    def draw(self) -> tuple[Image.Image, Tensor]:
        """Generate samples with the current weights of the generator.

        Return a picture of the samples, and a tensor of the samples, (N, *shape).
        """
        sampler = Sampler.of_run(self.run)
        samples = torch.cat(list(sampler.outputs(self.z, self.layout.condition)))
        return picture_of(sampler, samples, self.layout), samples

    def save_files(self, samples: Tensor, folder: Path) -> None:
        """Write a few samples of a grid, (N, *shape), to files in a folder, if a plugin writes files of samples.

        Without such a plugin, the folder is not created. Otherwise, an older folder is replaced.
        """
        save = self.save_samples
        if save is not None:
            with fork_rng(self.run.device):
                write_folder(folder, lambda temporary: save(samples[self.chosen], self.names, temporary))
