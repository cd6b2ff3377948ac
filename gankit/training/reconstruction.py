"""Reconstruction of images: a plugin's encoder maps them to z, and the generator maps z back to images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.data.user_images import user_images
from gankit.errors import InputError, PluginError, recipe_errors
from gankit.images.grid import as_input, to_bytes
from gankit.images.picture import as_pictures
from gankit.plugin.condition import evenly_spaced
from gankit.plugin.dataset import Rows
from gankit.plugin.hook_values import describe
from gankit.plugin.hooks import hooks_of
from gankit.recipe.recipe import Recipe
from gankit.runtime.rng import eval_mode, fork_rng
from gankit.sampling.sampler import CHUNK
from gankit.storage.run_dir import RunDir
from gankit.training.run import TrainingRun
from gankit.training.saved_run import SavedRun, load_saved_run, recipe_of


class Reconstruction(NamedTuple):
    """Original images and their reconstructions, as uint8 tensors (N, C, H, W) on the CPU."""

    originals: Tensor
    reconstructions: Tensor
    error: float
    """Mean squared error over all pixels, whose values are in [-1, 1]."""

    iteration: int
    """Iteration at which the networks were saved."""


def reconstruct(
    path: Path, sources: Sequence[Path], count: int, device: str = "auto", trust: bool = False
) -> Reconstruction:
    """Encode images with the networks of a run's newest checkpoint, and decode z with the run's saved generator.

    Args:
        path: run directory.
        sources: paths of image files, or the path of one folder, zip file or file written by `gankit prepare`. If
            `sources` is empty, the images of the run's dataset are used.
        count: maximum number of images. If there are more images, `count` evenly spaced images are chosen.
        device: device to use.
        trust: True to import plugins that the run's recipe specifies by module or path.

    Raises:
        InputError: the run does not exist, has no encoder or has no checkpoint, or the images cannot be used.
    """
    run, sampler, iteration = load_encoder(path, device, trust)
    if sampler.draw_samples is not None:
        raise InputError(f"{path}: a plugin draws all samples as one plot, so single reconstructions cannot be shown")
    rows = rows_to_reconstruct(run, sources)
    if run.spec.conditional and rows.condition is None:
        raise InputError(
            f"{path}: the generator needs the condition of each image, such as its class, and the given images have "
            "none; leave them out, to use the images of the run's dataset"
        )
    chosen = evenly_spaced(len(rows.images), min(count, len(rows.images)))
    real, condition, _ = rows.map(lambda tensor: as_input(tensor[chosen]))
    z = torch.cat([encode(run, chunk.to(run.device)).cpu() for chunk in real.split(CHUNK)])
    fake = torch.cat(list(sampler.outputs(z, condition if run.spec.conditional else None)))
    originals, reconstructions = (to_bytes(as_pictures(samples)) for samples in (real, fake))
    return Reconstruction(originals, reconstructions, (real - fake).square().mean().item(), iteration)


def has_encoder(recipe: Recipe) -> bool:
    """Return True if a plugin of the recipe provides an encoder."""
    return any("encode" in hooks_of(component.plugin_class) for component in recipe.components.values())


def load_encoder(path: Path, device: str = "auto", trust: bool = False) -> SavedRun:
    """Load the networks of a run's newest checkpoint and the run's saved generator.

    Raises:
        InputError: the run has no encoder.
    """
    if not has_encoder(recipe_of(RunDir.open(path), trust)):
        raise InputError(
            f"{path}: the run has no encoder, because no plugin of its recipe provides `encode`; train with a plugin "
            "that has one, such as the discriminator of a BiGAN"
        )
    return load_saved_run(path, device, trust)


@torch.no_grad()
def encode(run: TrainingRun, images: Tensor) -> Tensor:
    """Encode images (B, C, H, W) in [-1, 1] with a plugin's encoder. Return z (B, latent_size) in float32.

    During this call, all networks of the run are in evaluation mode. Their previous mode and the random state are
    restored afterwards.

    Raises:
        PluginError: the shape of z is wrong, or no `encode` hook returns z.
    """
    with ExitStack() as stack:
        stack.enter_context(fork_rng(run.device))
        for network in run.networks.values():
            stack.enter_context(eval_mode(network))
        z = run.hooks.one("encode", run, images)
    expected = (len(images), run.spec.latent_size)
    if z.shape != expected:
        key = " and ".join(implementation.key for implementation in run.hooks.of("encode"))
        raise PluginError(f"{key}: `encode` returns {describe(z)}; it must return z of shape {expected}")
    return z.float()


def rows_to_reconstruct(run: TrainingRun, sources: Sequence[Path]) -> Rows:
    """Return images and their condition, from `sources` or the run's dataset. Images from `sources` have no condition.

    Raises:
        InputError: a source does not exist or is not readable, or the shape of its images differs from that of the
            run's images.
    """
    if not sources:
        with recipe_errors(run.recipe.source, "data"):
            return run.dataset.read()
    return Rows(user_images(sources, run.dataset.shape))
