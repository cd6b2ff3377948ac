"""Compression of a generator file: distillation into a narrower generator, pruning of channels, weights in 8 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.progress import MofNCompleteColumn
from torch import Tensor, nn

from gankit.errors import InputError
from gankit.recipe.toml import merge, overrides_from_here
from gankit.runtime.progress_bar import progress_bar
from gankit.runtime.rng import derived_seed, eval_mode, fork_rng
from gankit.sampling.generator_file import check_output, generator_file
from gankit.sampling.pruning import Forward, Pruned, prune
from gankit.sampling.sampler import Sampler
from gankit.storage.atomic_io import tensors_to_bytes, write_bytes
from gankit.storage.checkpoint import newest_whole_checkpoint
from gankit.storage.quantisation import quantise
from gankit.storage.run_dir import RunDir
from gankit.training.distillation import Batches, distance, distil
from gankit.training.run import TrainingRun
from gankit.training.saved_run import load_run
from gankit.version import __version__

BATCH_SIZE = 64
"""Number of samples in each step of the distillation."""

PRUNING_SAMPLES = 32
"""Number of samples from which the sensitivity of channels is computed."""


class Compression(NamedTuple):
    """Result of `compress`: both generators, and facts about the compression."""

    before: Sampler
    """Original generator."""

    after: Sampler
    """Generator of the new file."""

    start: float
    """Mean absolute difference of the samples before training, for values in [-1, 1]."""

    distance: float
    """Mean absolute difference between the samples of the new file and those of the original generator."""

    pruned: Pruned | None
    """Numbers of removed channels, or None if no channels were pruned."""

    with_discriminator: bool
    """True if the features of the run's discriminator were part of the loss."""


def compress(
    path: str | Path,
    out: str | Path,
    overrides: Iterable[str] = (),
    share: float | None = None,
    int8: bool = False,
    iterations: int = 2000,
    seed: int = 0,
    device: str = "auto",
    trust: bool = False,
    sources: Tensor | None = None,
) -> Compression:
    """Write a smaller generator file with nearly the same samples.

    Args:
        path: path of the generator file or of a run directory, or an address `hf://USER/NAME`. With a run directory,
            the features of the discriminator in the newest checkpoint are part of the loss.
        out: file to write. An existing file is replaced.
        overrides: settings of a narrower generator, such as `generator.width=8`. It is trained to give the samples of
            the original generator.
        share: share of the multiply-adds that is removed by pruning channels, between 0 and 1. None for no pruning.
            The pruned generator is trained to give the samples of the original generator.
        int8: True to store the weights in 8 bits. The generator computes in float32 as before.
        iterations: number of training steps.
        seed: random seed.
        device: device to use.
        trust: True to import plugins that the file specifies by module or path.
        sources: source images (n, C, H, W), for an image-to-image generator.

    Raises:
        InputError: the generator cannot be read or pruned, or the arguments do not fit together.
        GankitError: the training failed, or the file could not be written.
    """
    path, out, overrides = Path(path), Path(out), tuple(overrides)
    file = generator_file(path)
    check_arguments(file, out, overrides, share, int8, iterations)
    teacher = Sampler.load(file, device, trust)
    if "members" in teacher.card:
        raise InputError(f"{file}: is an ensemble; compress its generators, and merge the new files")
    batches = Batches(teacher, BATCH_SIZE, seed, sources)
    student, pruned, trained = deepcopy(teacher.generator), None, bool(overrides) or share is not None
    if overrides:
        with fork_rng(teacher.device, derived_seed(seed, "student")):
            student = Sampler.untrained(file, teacher.card, str(teacher.device), trust, overrides).generator
    elif share is not None:
        try:
            pruned = _pruned(teacher, share, batches)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        student = pruned.network.requires_grad_()
    start = distance(student, teacher, batches)
    run = load_discriminator(path, str(teacher.device), trust) if trained and iterations else None
    if trained:
        distil(student, teacher, batches, iterations, run)
    facts = {
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "settings": list(overrides),
        "pruned_share": share,
        "int8": int8,
        "iterations": iterations if trained else 0,
        "seed": seed,
        "discriminator": run is not None,
    }
    write_bytes(out, compressed_bytes(student, teacher.card, overrides, facts))
    after = Sampler.load(out, str(teacher.device), trust)
    return Compression(teacher, after, start, distance(after.generator, teacher, batches), pruned, run is not None)


def check_arguments(
    file: Path, out: Path, overrides: Sequence[str], share: float | None, int8: bool, iterations: int
) -> None:
    """Raise InputError if the arguments of `compress` do not fit together."""
    if not overrides and share is None and not int8:
        raise InputError(
            f"{file}: choose how to compress it: settings of a narrower generator, such as generator.width=8, --prune "
            "SHARE, or --int8"
        )
    if overrides and share is not None:
        raise InputError(f"--prune: cannot be combined with {overrides[0]}; compress the result again with --prune")
    if share is not None and not 0 < share < 1:
        raise InputError(f"--prune {share:g}: give a share of the multiply-adds above 0 and below 1, such as 0.5")
    if overrides and iterations < 1:
        raise InputError(f"--iterations {iterations}: a narrower generator starts with random weights; give 1 or more")
    check_output(out, [file])


def compressed_bytes(
    student: nn.Module, card: dict[str, Any], overrides: Sequence[str], facts: dict[str, Any]
) -> bytes:
    """Return the content of a generator file with the weights of a student.

    `card` is the metadata of the original file. `facts` describe the compression.
    """
    pruned = facts["pruned_share"] is not None or (card.get("pruned", False) and not overrides)
    card = card | {
        "gankit": __version__,
        "torch": torch.__version__,
        "recipe": merge(card["recipe"], overrides_from_here(overrides)),
        "pruned": pruned,
        "compression": [*card.get("compression", []), facts],
    }
    tensors = student.state_dict()
    return tensors_to_bytes(quantise(tensors) if facts["int8"] else tensors, card)


def _pruned(teacher: Sampler, share: float, batches: Batches) -> Pruned:
    """Prune a generator, with a progress bar."""
    with progress_bar("sensitivity of channels", None, MofNCompleteColumn()) as bar:
        task = bar.task_ids[0]
        return prune(
            teacher.generator,
            fixed_inputs(teacher, batches),
            share,
            lambda done, whole: bar.update(task, completed=done, total=whole),
        )


def fixed_inputs(sampler: Sampler, batches: Batches) -> Forward:
    """Return a function that calls a network with the same z, condition and noise each time."""
    z, condition = batches.draw("pruning")
    z = z[:PRUNING_SAMPLES]
    condition = None if condition is None else condition[:PRUNING_SAMPLES]

    def forward(network: nn.Module) -> Tensor:
        with fork_rng(sampler.device), eval_mode(network):
            samples: Tensor = network(z, condition)
        return samples.float()

    return forward


def load_discriminator(path: Path, device: str, trust: bool) -> TrainingRun | None:
    """Return a run with the networks of its newest checkpoint, in evaluation mode and with frozen discriminator.

    Return None if `path` is not a run directory, or if no checkpoint is saved.

    Raises:
        InputError: the recipe of the run cannot be used, for example because its data are missing.
    """
    if not (path / "recipe.toml").is_file():
        return None
    if newest_whole_checkpoint(RunDir.open(path))[0] is None:
        return None
    run, _ = load_run(path, device, trust)
    for network in run.networks.values():
        network.eval().requires_grad_(False)
    return run
