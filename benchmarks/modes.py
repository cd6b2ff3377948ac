"""Effect of tricks on mode collapse: modes and good samples on a ring of 8 and a grid of 25 Gaussians, over seeds.

    python benchmarks/modes.py [--jobs 2] [--seeds 5] [--work runs/modes] [--out docs]

Writes OUT/modes.md and OUT/images/modes_*.png. The result of each finished run stays in WORK, so the same command
continues after an interruption. `--only NAME ...` trains some variants and writes no page.
"""

from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from timing import parser_of, processor
from timing import table as markdown_table

from gankit import Recipe, Session
from gankit.recipe.toml import merge
from gankit.runtime.rng import eval_mode, fork_rng
from gankit.training.assembly import assemble

Raw = dict[str, Any]

PLAIN: Raw = {
    "name": "modes",
    "train": {"batch_size": 128, "device": "cpu", "discriminator_steps": 5},
    "latent": {"use": "normal", "size": 16},
    "generator": {"use": "mlp", "hidden": [128, 128]},
    "discriminator": {"use": "mlp", "hidden": [128, 128]},
    "loss": {"use": "non_saturating"},
    "optimizer": {"generator": {"use": "adam", "lr": 1e-3}, "discriminator": {"use": "adam", "lr": 1e-3}},
    "evaluation": {"count": 2500},
}
"""Recipe with five D steps for one G step. Without tricks it loses modes of the ring."""

DATA: dict[str, Raw] = {
    "ring of 8": {"use": "gaussian_ring", "std": 0.03},
    "grid of 25": {"use": "gaussian_grid", "std": 0.03},
}
"""Wider Gaussians than in the papers, because these runs are short."""

ITERATIONS = {"ring of 8": 2000, "grid of 25": 3000}


def trick(name: str, **settings: Any) -> Raw:
    """Return the change that activates a trick."""
    return {"tricks": {name: settings}}


VARIANTS: dict[str, Raw] = {
    "plain": {},
    "label_smoothing": trick("label_smoothing"),
    "instance_noise": trick("instance_noise", sigma={"schedule": "linear", "start": 0.1, "end": 0.0, "until": 1500}),
    "gradient_penalty": trick("gradient_penalty", weight=0.1),
    "dragan": trick("dragan", weight=0.1),
    "r1": trick("r1", gamma=0.1),
    "r2": trick("r2", gamma=0.1),
    "zero_centered_penalty": trick("zero_centered_penalty", weight=0.1),
    "minibatch_discrimination": trick("minibatch_discrimination", kernels=4, dims=4),
    "minibatch_stddev": trick("minibatch_stddev"),
    "packing": trick("packing", size=2),
    "unrolled_discriminator": trick("unrolled_discriminator"),
    "experience_replay": trick("experience_replay"),
    "historical_averaging": trick("historical_averaging", weight=1e-3),
    "feature_matching": trick("feature_matching"),
    "moving_average": trick("moving_average", decay=0.99),
    "balanced_steps": trick("balanced_steps"),
    "relativistic": trick("relativistic"),
    "relativistic_average": trick("relativistic_average"),
    "spectral_norm in D": {"normalization": {"discriminator": "spectral_norm"}},
    "layer_norm in D": {"normalization": {"discriminator": "layer_norm"}},
    "batch_norm in G": {"normalization": {"generator": "batch_norm"}},
    "virtual_batch_norm in G": {"normalization": {"generator": "virtual_batch_norm"}},
    "orthogonal_init": trick("orthogonal_init"),
    "least_squares": {"loss": "least_squares"},
    "hinge": {"loss": "hinge"},
    "wasserstein, clipped": {"loss": "wasserstein"} | trick("weight_clipping", c=0.1),
    "wasserstein, penalty": {"loss": "wasserstein"} | trick("gradient_penalty", weight=0.1),
    "1 D step": {"train": {"discriminator_steps": 1}},
    "1 D step, unrolled": {"train": {"discriminator_steps": 1}} | trick("unrolled_discriminator"),
}
"""Changes to the recipe by their names in the table. Settings that are not defaults suit points instead of images."""


def trained(job: tuple[str, str, int]) -> Raw:
    """Train one run; return its metrics at the end, and 500 samples for the image."""
    data, variant, seed = job
    torch.set_num_threads(1)
    recipe = Recipe.from_dict(merge(PLAIN | {"seed": seed, "data": DATA[data]}, VARIANTS[variant]))
    with Session(recipe) as session:
        run = session.train(ITERATIONS[data]).run
        generator = run.sampled_generator()
        with torch.no_grad(), eval_mode(generator), fork_rng(run.device):
            points = generator(run.draw_latent(500, None), None).flatten(1).tolist()
        return session.metrics() | {"points": points}


def result_file(work: Path, job: tuple[str, str, int]) -> Path:
    """Return the file of a run's result."""
    return work / (re.sub(r"\W+", "_", "-".join(map(str, job))) + ".json")


def train_all(jobs: list[tuple[str, str, int]], work: Path, processes: int) -> None:
    """Train the runs that have no result yet."""
    work.mkdir(parents=True, exist_ok=True)
    waiting = [job for job in jobs if not result_file(work, job).exists()]
    with ProcessPoolExecutor(processes) as pool:
        for number, (job, result) in enumerate(zip(waiting, pool.map(trained, waiting), strict=True), start=1):
            result_file(work, job).write_text(json.dumps(result))
            print(f"{number}/{len(waiting)} {job[0]}, {job[1]}, seed {job[2]}: {result['modes']:.0f}", flush=True)


def spread(values: list[float], form: str) -> str:
    """Return the median, the lowest and the highest value as text."""
    low, middle, high = (format(f(values), form) for f in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"


def table(results: dict[str, dict[str, list[Raw]]]) -> list[str]:
    """Return the table of both metrics on each dataset, from results[variant][data]."""
    head = [f"{data}: {what}" for data in DATA for what in ("modes", "good samples")]
    rows = []
    for variant, by_data in results.items():
        forms = [(data, metric, form) for data in DATA for metric, form in (("modes", ".0f"), ("good", ".0%"))]
        rows.append([variant, *(spread([r[metric] for r in by_data[data]], form) for data, metric, form in forms)])
    return markdown_table(["", *head], rows)


def verdicts(results: dict[str, dict[str, list[Raw]]]) -> list[str]:
    """Return which variants are better or worse than the plain recipe, seed by seed."""
    lines = []
    for data in DATA:
        plain = results["plain"][data]
        better, worse = [], []
        for variant, by_data in results.items():
            for metric, label in (("modes", "modes"), ("good", "good samples")):
                gain = [b[metric] - a[metric] for a, b in zip(plain, by_data[data], strict=True)]
                if min(gain) >= 0 < max(gain):
                    better.append(f"{variant} ({label})")
                elif max(gain) <= 0 > min(gain):
                    worse.append(f"{variant} ({label})")
        lines += [
            f"**{data}.** Better than the plain recipe in some seeds and worse in none: {', '.join(better) or 'none'}. "
            f"Worse in some seeds and better in none: {', '.join(worse) or 'none'}. All others are mixed or equal.",
            "",
        ]
    return lines


def sample_sheet(results: dict[str, dict[str, list[Raw]]], data: str) -> Image.Image:
    """Return an image with the samples of all variants, for seed 0."""
    run = assemble(Recipe.from_dict(PLAIN | {"data": DATA[data]}))
    (draw_samples,) = run.hooks.calls("draw_samples")
    side, label, columns = 160, 22, 6
    rows = -(-len(results) // columns)
    sheet = Image.new("RGB", (columns * (side + 8) + 8, rows * (side + label + 8) + 8), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for number, (variant, by_data) in enumerate(results.items()):
        row, column = divmod(number, columns)
        left, top = 8 + column * (side + 8), 8 + row * (side + label + 8)
        points = torch.tensor(by_data[data][0]["points"]).reshape(-1, 2, 1, 1)
        image = draw_samples(points).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(image, (left, top + label))
        pen.rectangle((left, top + label, left + side - 1, top + label + side - 1), outline=(190, 190, 190))
        pen.text((left, top + 3), variant, fill=(40, 40, 40), font=font)
    return sheet


def page(results: dict[str, dict[str, list[Raw]]], seeds: int) -> str:
    """Return the page as Markdown."""
    lines = [
        "# Tricks against mode collapse",
        "",
        f"Written by `python benchmarks/modes.py --seeds {seeds}` on {os.cpu_count()} cores of {processor()}, "
        f"torch {torch.__version__}.",
        "",
        "Points of the plane, fully connected networks (two hidden layers of 128 units each), batches of 128, "
        f"{' and '.join(f'{n} iterations on the {data}' for data, n in ITERATIONS.items())}, five D steps for "
        "one G step, cross entropy, Adam at 0.001, Gaussians of standard deviation 0.03 between -1 and 1. "
        "Each variant changes one thing. *Modes*: the number of Gaussians that are the nearest one of a good "
        "sample. *Good samples*: the share of 2,500 samples within three standard deviations of a Gaussian "
        f"(Srivastava 2017). Each cell gives the median over {seeds} seeds, with the lowest and the highest "
        "value. The script has all settings that are not defaults. The order can differ on other data, with "
        "other settings and in longer runs.",
        "",
        *table(results),
        "",
        "## Comparison with the plain recipe, seed by seed",
        "",
        *verdicts(results),
        "## Seed 0",
        "",
        *(f"![Samples of every variant on the {data}](images/{image_name(data)})\n" for data in DATA),
    ]
    return "\n".join(lines).rstrip() + "\n"


def image_name(data: str) -> str:
    """Return the file name of the samples of a dataset."""
    return f"modes_{data.split()[0]}.png"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="number of processes, of one thread each")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--work", type=Path, default=Path("runs/modes"), help="folder of the results")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page")
    parser.add_argument("--only", nargs="*", help="variants to train")
    given = parser.parse_args(arguments)
    variants = list(VARIANTS) if given.only is None else given.only
    jobs = [(data, variant, seed) for data in DATA for seed in range(given.seeds) for variant in variants]
    train_all(jobs, given.work, given.jobs)
    results: dict[str, dict[str, list[Raw]]] = {variant: {data: [] for data in DATA} for variant in variants}
    for data, variant, seed in jobs:
        results[variant][data].append(json.loads(result_file(given.work, (data, variant, seed)).read_text()))
    if given.only is not None:
        print("\n".join(table(results)))
        return
    for data in DATA:
        sample_sheet(results, data).save(given.out / "images" / image_name(data))
    (given.out / "modes.md").write_text(page(results, given.seeds), encoding="utf-8")


if __name__ == "__main__":
    main()
