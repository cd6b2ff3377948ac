"""InfoGAN's categorical code as a clustering of digits, and a picture with one code varied in each row.

    GANKIT_DATA=... python benchmarks/infogan_codes.py [RECIPE] [KEY=VALUE ...] [--seeds 0 1 2] [--picture FILE]

Trains the recipe in this process for each seed. Then Q predicts the code from D's features of 10,000 MNIST test images.
Each category stands for one digit, in the assignment with the most matches. The clustering accuracy is the proportion
of images whose category stands for their digit. No label is used in training.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import combinations
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gankit import Session
from gankit.images.grid import grid, to_bytes, to_float
from gankit.runtime.rng import eval_mode

VARIED = 10
"""Number of values of the code that a row varies."""


def best_matches(counts: Tensor) -> int:
    """Return the largest sum of entries of a square matrix with one entry in each row and column.

    The search keeps the best sum for each set of used columns, row by row.
    """
    size = len(counts)
    best = {frozenset[int](): 0}
    for row in range(size):
        best = {
            frozenset(columns): max(
                best[frozenset(columns) - {column}] + int(counts[row, column]) for column in columns
            )
            for columns in combinations(range(size), row + 1)
        }
    return best[frozenset(range(size))]


@torch.no_grad()
def clustering_accuracy(session: Session, images: Tensor, labels: Tensor) -> float:
    """Return the proportion of images (N, C, R, R) uint8 whose category stands for their label (N,)."""
    run = session.run
    counts = torch.zeros(10, 10, dtype=torch.int64)
    with eval_mode(run.discriminator):
        for chunk, digits in zip(images.split(500), labels.split(500), strict=True):
            features = run.discriminator(to_float(chunk).to(run.device), None)[1]
            categories = run.networks["code_predictor"](features)[:, :10].argmax(1).cpu()
            counts += torch.bincount(categories * 10 + digits, minlength=100).view(10, 10)
    return best_matches(counts) / len(images)


@torch.no_grad()
def varied_codes(session: Session) -> Image.Image:
    """Return a grid with ten columns. Five rows vary the category, and two rows vary each of two continuous codes."""
    run = session.run
    first = run.plugins["latent"].config.noise
    z = run.draw_latent(9, None, torch.Generator(run.device).manual_seed(1)).repeat_interleave(VARIED, 0)
    z = z.view(9, VARIED, -1)
    z[:5, :, first : first + 10] = torch.eye(10)
    for row, code in ((5, -2), (6, -2), (7, -1), (8, -1)):
        z[row, :, code] = torch.linspace(-1, 1, VARIED)
    with eval_mode(run.generator):
        images = run.generator(z.flatten(0, 1), None).float()
    names = (*(f"category, noise {n}" for n in range(1, 6)), *(f"continuous code {n}" for n in (1, 1, 2, 2)))
    return grid(to_bytes(images.cpu()), VARIED, names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="infogan_mnist")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    images, labels, _ = Session(arguments.recipe, [*arguments.overrides, "data.split=test"]).run.dataset.read()
    assert labels is not None, "MNIST has labels"
    for seed in arguments.seeds:
        session = Session(arguments.recipe, [*arguments.overrides, f"seed={seed}"])
        start = time.perf_counter()
        session.train(session.run.recipe.train.iterations)
        seconds = round(time.perf_counter() - start)
        accuracy = clustering_accuracy(session, images, labels)
        print(json.dumps({"seed": seed, "seconds": seconds, "clustering accuracy": round(accuracy, 4)}), flush=True)
        if arguments.picture:
            varied_codes(session).save(arguments.picture.with_stem(f"{arguments.picture.stem}_{seed}"))


if __name__ == "__main__":
    main()
