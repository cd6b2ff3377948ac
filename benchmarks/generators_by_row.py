"""Samples of a trained MGAN with a row for each generator.

    python benchmarks/generators_by_row.py RUN --out rows.png [--columns 10] [--seed 0] [--points 500]

RUN is a run directory or a generator file. All images of a column have the same noise. For points of the plane, the
picture has a plot for each generator, with `--points` points.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gankit import InputError, Sampler
from gankit.images.grid import grid, to_bytes
from gankit.storage.run_dir import RunDir
from gankit_plugins.latent.mgan import mixture_latent, split_latent

GAP, TITLE = 8, 22
"""Pixels between two plots, and height of the title of a plot."""


def samples_of_each(sampler: Sampler, columns: int, seed: int) -> Tensor:
    """Return samples (K, columns, C, R, R) of the K generators, all with the same noise, in [-1, 1]."""
    latent = sampler.card["recipe"]["latent"]
    if latent["use"] != "mgan":
        raise InputError(f"the prior is {latent['use']}, and only mgan has several generators")
    K = latent["generators"]
    condition = sampler.conditions(columns, seed=seed)
    z = sampler.latent(columns, condition, seed)
    noise = split_latent(z, K)[0] if K > 1 else z
    choice = torch.eye(K).repeat_interleave(columns, 0)
    z = mixture_latent(noise.repeat(K, 1), choice) if K > 1 else z
    repeated = None if condition is None else torch.cat([condition] * K)
    images = torch.cat(list(sampler.outputs(z, repeated)))
    return images.unflatten(0, (K, columns))


def row_names(count: int) -> list[str]:
    """Return the names of the generators in the picture."""
    return [f"generator {k}" for k in range(1, count + 1)]


def plots(sampler: Sampler, points: Tensor) -> Image.Image:
    """Return the plots of the points (K, N, C, R, R) of K generators, four in a row."""
    assert sampler.draw_samples is not None
    drawn = [sampler.draw_samples(one) for one in points]
    columns, (width, height) = min(4, len(drawn)), drawn[0].size
    rows = -(-len(drawn) // columns)
    size = (columns * (width + GAP) + GAP, rows * (height + TITLE + GAP) + GAP)
    sheet, font = Image.new("RGB", size, "white"), ImageFont.load_default(size=14)
    pen = ImageDraw.Draw(sheet)
    for number, (name, plot) in enumerate(zip(row_names(len(drawn)), drawn, strict=True)):
        row, column = divmod(number, columns)
        left, top = GAP + column * (width + GAP), GAP + row * (height + TITLE + GAP)
        pen.text((left, top), name, fill=(40, 40, 40), font=font)
        sheet.paste(plot, (left, top + TITLE))
        pen.rectangle((left, top + TITLE, left + width - 1, top + TITLE + height - 1), outline=(190, 190, 190))
    return sheet


def picture(sampler: Sampler, columns: int = 10, seed: int = 0, points: int = 500) -> Image.Image:
    """Return the picture of all generators: rows of images, or plots of points."""
    if sampler.draw_samples is not None:
        return plots(sampler, samples_of_each(sampler, points, seed))
    images = samples_of_each(sampler, columns, seed)
    return grid(to_bytes(images.flatten(0, 1)), columns, row_names(len(images)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory or generator file")
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    parser.add_argument("--columns", type=int, default=10, help="images of each generator")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise")
    parser.add_argument("--points", type=int, default=500, help="points of each generator, for points of the plane")
    given = parser.parse_args(arguments)
    file = RunDir.open(given.run).generator_file if given.run.is_dir() else given.run
    picture(Sampler.load(file), given.columns, given.seed, given.points).save(given.out)


if __name__ == "__main__":
    main()
