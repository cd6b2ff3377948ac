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
from gankit.plugin.registry import Registry
from gankit.recipe.recipe import Recipe, RecipeParser
from gankit.recipe.toml import read_toml
from gankit.runtime.rng import eval_mode, fork_rng
from gankit.sampling.generator_file import refuse_untrusted
from gankit.sampling.sampler import CHUNK, Sampler
from gankit.storage.checkpoint import newest_whole_checkpoint
from gankit.storage.run_dir import RunDir
from gankit.training.assembly import assemble
from gankit.training.resume_checks import find_moved_plugins
from gankit.training.run import TrainingRun
from gankit.training.state import load_networks


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


class LoadedRun(NamedTuple):
    """Run whose networks are loaded from its newest checkpoint, and a sampler for its saved generator."""

    run: TrainingRun
    sampler: Sampler
    iteration: int
    """Iteration at which the networks were saved."""


def has_encoder(recipe: Recipe) -> bool:
    """Return True if a plugin of the recipe provides an encoder."""
    return any("encode" in hooks_of(component.plugin_class) for component in recipe.components.values())


def load_encoder(path: Path, device: str = "auto", trust: bool = False) -> LoadedRun:
    """Load the networks of a run that has an encoder. The arguments and other errors are those of `load_run`.

    Raises:
        InputError: the run has no encoder.
    """
    if not has_encoder(recipe_of(RunDir.open(path), trust)):
        raise InputError(
            f"{path}: the run has no encoder, because no plugin of its recipe provides `encode`; train with a plugin "
            "that has one, such as the discriminator of a BiGAN"
        )
    return load_run(path, device, trust)


def load_run(path: Path, device: str = "auto", trust: bool = False) -> LoadedRun:
    """Load the networks of a run's newest checkpoint and the run's saved generator.

    Args:
        path: run directory.
        device: device to use.
        trust: True to import plugins that the run's recipe specifies by module or path.

    Raises:
        InputError: the run does not exist or has no checkpoint, or the generator file is of another iteration.
    """
    directory = RunDir.open(path)
    recipe = recipe_of(directory, trust)
    checkpoint, damaged = newest_whole_checkpoint(directory)
    if checkpoint is None:
        reason = damaged[0] if damaged else f"{path}: no checkpoint is saved yet"
        raise InputError(f"{reason}; `gankit resume {path}` resumes the run")
    run = assemble(recipe, device)
    load_networks(run, checkpoint)
    sampler = Sampler.load(directory.generator_file, str(run.device), trust)
    if sampler.card["iteration"] != int(checkpoint.name):
        raise InputError(
            f"{path}: the newest whole checkpoint is of iteration {int(checkpoint.name)}, and the generator file is of "
            f"iteration {sampler.card['iteration']}; `gankit resume {path}` writes both again"
        )
    return LoadedRun(run, sampler, int(checkpoint.name))


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


def recipe_of(directory: RunDir, trust: bool) -> Recipe:
    """Return the recipe of a run. If a plugin file does not exist, the run's copy of this file is used.

    Raises:
        InputError: the recipe is invalid, or it specifies plugins by module or path and `trust` is False.
    """
    raw, source = read_toml(directory.recipe_file), directory.recipe_file
    if not trust:
        parser = RecipeParser(raw, source, Registry([]))
        refuse_untrusted(source, parser.uses_at([key for key, _, _ in parser.places()]))
    find_moved_plugins(raw, directory)
    recorded = directory.read_last_environment().get("plugins", {})
    return Recipe.from_dict(raw, source=source, recorded=recorded)


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
