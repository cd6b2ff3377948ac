"""Networks and generator of a saved run, for use without training."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from gankit.errors import InputError
from gankit.plugin.registry import Registry
from gankit.plugin.step import DiscriminatorOutput
from gankit.recipe.recipe import Recipe, RecipeParser
from gankit.recipe.toml import read_toml
from gankit.sampling.generator_file import refuse_untrusted
from gankit.sampling.sampler import Sampler
from gankit.storage.checkpoint import newest_whole_checkpoint
from gankit.storage.run_dir import RunDir
from gankit.training.assembly import assemble
from gankit.training.resume_checks import find_moved_plugins
from gankit.training.run import TrainingRun
from gankit.training.state import load_networks


class SavedRun(NamedTuple):
    """Run whose networks are loaded from its newest checkpoint, and a sampler for its saved generator."""

    run: TrainingRun
    sampler: Sampler
    iteration: int
    """Iteration at which the networks were saved."""


def load_saved_run(path: Path, device: str = "auto", trust: bool = False) -> SavedRun:
    """Load the networks of a run's newest checkpoint and the run's saved generator.

    Raises:
        InputError: as for `load_run`, or the generator file is of another iteration.
    """
    run, iteration = load_run(path, device, trust)
    sampler = Sampler.load(RunDir(path).generator_file, str(run.device), trust)
    if sampler.card["iteration"] != iteration:
        raise InputError(
            f"{path}: the newest whole checkpoint is of iteration {iteration}, and the generator file is of iteration "
            f"{sampler.card['iteration']}; `gankit resume {path}` writes both again"
        )
    return SavedRun(run, sampler, iteration)


def load_run(path: Path, device: str = "auto", trust: bool = False) -> tuple[TrainingRun, int]:
    """Return a run with the networks of its newest checkpoint, and the iteration of this checkpoint.

    Raises:
        InputError: the run does not exist or has no checkpoint, or its recipe is invalid or not trusted.
    """
    directory = RunDir.open(path)
    recipe = recipe_of(directory, trust)
    checkpoint, damaged = newest_whole_checkpoint(directory)
    if checkpoint is None:
        reason = damaged[0] if damaged else f"{path}: no checkpoint is saved yet"
        raise InputError(f"{reason}; `gankit resume {path}` resumes the run")
    run = assemble(recipe, device)
    load_networks(run, checkpoint)
    return run, int(checkpoint.name)


def mean_logits(run: TrainingRun, images: Tensor, condition: Tensor | None) -> Tensor:
    """Return D's logit for each of B inputs, (B,) float32. If D has several logits for an input, return their mean.

    Args:
        run: run with the discriminator. Its evaluation mode and the state of its gradients are left as they are.
        images: inputs of D, (B, C, H, W), on the device of the run.
        condition: condition (B, ...), or None.
    """
    logits = DiscriminatorOutput(*run.discriminator(images, condition)).logits.float()
    return logits.reshape(len(logits), -1).mean(1)


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
