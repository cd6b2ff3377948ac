"""Picture of real and generated images with their reconstructions by D, for a run whose D is an autoencoder.

    python benchmarks/reconstructions.py RUN --out FILE [--count 16]

RUN is a run directory. The networks are those of its newest checkpoint. The program also prints the mean error of both
kinds of images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from gankit import DiscriminatorOutput, GankitError, InputError, Recipe
from gankit.images.grid import grid, to_bytes
from gankit.images.io import save_png
from gankit.runtime.rng import eval_mode, fork_rng
from gankit.storage.checkpoint import newest_whole_checkpoint
from gankit.storage.run_dir import RunDir
from gankit.training.assembly import assemble
from gankit.training.run import TrainingRun
from gankit.training.state import load_checkpoint

ROWS = ("real", "reconstructed", "generated", "reconstructed")


def restored(path: str) -> TrainingRun:
    """Return the run in a directory, with the networks of its newest undamaged checkpoint."""
    directory = RunDir.open(path)
    checkpoint, _ = newest_whole_checkpoint(directory)
    if checkpoint is None:
        raise InputError(f"{path} has no checkpoint; train further")
    run = assemble(Recipe.load(directory.recipe_file))
    run.load_data()
    load_checkpoint(run, checkpoint)
    return run


@torch.no_grad()
def reconstructions(run: TrainingRun, count: int) -> tuple[Image.Image, dict[str, float]]:
    """Return a picture with `count` columns and the rows `ROWS`, and the mean errors of real and generated images."""
    if run.spec.pack > 1:
        raise InputError("D takes several images as one input (packing); remove packing from the recipe")
    real, labels, _ = run.draw_reference(count)
    with fork_rng(run.device), eval_mode(run.generator), eval_mode(run.discriminator):
        fake = run.generator(run.draw_latent(count, labels), labels).float()
        outputs = [DiscriminatorOutput(*run.discriminator(images, labels)) for images in (real, fake)]
    if "reconstruction" not in outputs[0].extra:
        raise InputError(f"the discriminator {run.recipe.use_of('discriminator')!r} returns no reconstruction")
    rows = [real, outputs[0].extra["reconstruction"], fake, outputs[1].extra["reconstruction"]]
    errors = {name: -output.logits.mean().item() for name, output in zip(("real", "generated"), outputs, strict=True)}
    return grid(to_bytes(torch.cat(rows).float().cpu()), count, ROWS), errors


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run directory")
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--count", type=int, default=16, help="number of images in a row")
    chosen = parser.parse_args(arguments)
    try:
        picture, errors = reconstructions(restored(chosen.run), chosen.count)
    except GankitError as error:
        sys.exit(str(error))
    save_png(picture, chosen.out)
    print(", ".join(f"{name}: {value:.4f}" for name, value in errors.items()))


if __name__ == "__main__":
    main()
