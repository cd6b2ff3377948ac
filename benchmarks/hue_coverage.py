"""Measurement of the colours that a generator covers in each class of the drawn shapes.

    python benchmarks/hue_coverage.py [RECIPE] [KEY=VALUE ...] [--seeds 0 1 2] [--every 200] [--json FILE]

The colour of an image is the mean of its bright pixels (value at least 0.5). Its hue falls into one of 12 bins. Colours
with a saturation below 0.2 are left out. A bin of a class is covered if its share of the generated images is at least a
third of its share of the real images. The program prints the mean share of covered bins over the classes, and the share
in the worst class.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor

from gankit import Session

BINS = 12
SAMPLES = 500
"""Number of generated images in each class."""

BRIGHT, COLOURED = 0.5, 0.2
SHARE = 1 / 3


def hue_shares(images: Tensor) -> Tensor:
    """Return the shares (12,) of the hues of images (N, 3, R, R) uint8."""
    pixels = images.float() / 255
    bright = (pixels.amax(1, keepdim=True) >= BRIGHT).float()
    counts = bright.sum((2, 3))
    colours = ((pixels * bright).sum((2, 3)) / counts.clamp(min=1))[counts[:, 0] > 0]
    highest, lowest = colours.amax(1), colours.amin(1)
    spread = highest - lowest
    red, green, blue = colours.unbind(1)
    sixths = torch.where(
        highest == red,
        (green - blue) / spread % 6,
        torch.where(highest == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    bins = (sixths * BINS / 6).long().clamp(0, BINS - 1)[spread >= COLOURED * highest]
    return bins.bincount(minlength=BINS) / max(1, len(bins))


def coverage(real: Tensor, fake: Tensor) -> float:
    """Return the proportion of hue bins that are covered. Bins without real images do not count.

    Both arguments are proportions of images in each bin, (12,).
    """
    present = real > 0
    return (fake >= SHARE * real)[present].float().mean().item()


def class_coverage(session: Session, real: dict[int, Tensor]) -> list[float]:
    """Return the share of covered bins in each class for the session's generator."""
    return [
        coverage(shares, hue_shares(session.images(SAMPLES, wanted=label, seed=1)[0])) for label, shares in real.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="igan_vn")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--drop", nargs="*", default=[])
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--grid", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        session = Session(arguments.recipe, [*arguments.overrides, f"seed={seed}"], drop=arguments.drop)
        images, labels, _ = session.run.dataset.read()
        assert labels is not None, "the data have classes"
        real = {label: hue_shares(images[labels == label]) for label in range(len(session.run.dataset.class_names))}
        iterations, seconds = session.run.recipe.train.iterations, 0.0
        while session.run.iteration < iterations:
            start = time.perf_counter()
            session.train(min(arguments.every, iterations - session.run.iteration))
            seconds += time.perf_counter() - start
            covered = class_coverage(session, real)
            row = {
                "seed": seed,
                "iteration": session.run.iteration,
                "seconds": round(seconds),
                "mean": round(sum(covered) / len(covered), 3),
                "worst": round(min(covered), 3),
                "classes": [round(share, 2) for share in covered],
            }
            print(json.dumps(row), flush=True)
            if arguments.json:
                with arguments.json.open("a") as file:
                    file.write(json.dumps({"overrides": arguments.overrides, **row}) + "\n")
        if arguments.grid:
            session.grid(60).save(arguments.grid.with_stem(f"{arguments.grid.stem}_{seed}"))


if __name__ == "__main__":
    main()
