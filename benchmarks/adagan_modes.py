"""Modes of points that a study of `gankit adagan` covers, beside those of generators without reweighted data.

    gankit adagan gaussian_ring --out runs/adagan seed=0
    python benchmarks/adagan_modes.py runs/adagan [STUDY ...] --out runs/controls

The control is a mixture of the same first generator and of runs with the seeds of the later steps, on the data of the
recipe. They are trained into the folder `--out`, and runs that are there already are used. Each cell has the number of
modes with at least `--share` of the mixture's points, the number of modes with at least one point, and the share of
points at a mode.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from timing import parser_of, table
from torch import Tensor

from gankit import Recipe, Sampler, resume, train
from gankit.formatting import plural
from gankit.plugin.build import build_plugins
from gankit_plugins.command.adagan_study import Generator, Settings, draw_mixture, has_ended
from gankit_plugins.command.reweighting import mixture_shares
from gankit_plugins.data.gaussian_mixture import GaussianMixture


def covered(points: Tensor, modes: Tensor, std: float, share: float) -> tuple[int, int, float]:
    """Return the number of modes with at least `share` of the points, the number with a point, and the share at modes.

    Args:
        points: points of a mixture, (N, 2).
        modes: means of the Gaussians, (K, 2).
        std: standard deviation of each Gaussian. A point within three of them belongs to the nearest mode.
        share: share of all N points.
    """
    distance, nearest = torch.cdist(points, modes, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    good = distance <= 3 * std
    counts = nearest[good].bincount(minlength=len(modes))
    return int((counts >= share * len(points)).sum()), int((counts > 0).sum()), good.double().mean().item()


def settings_of(study: Path) -> tuple[Settings, int]:
    """Return the settings of a study in a folder, and the number of its steps."""
    record = json.loads((study / "adagan.json").read_text(encoding="utf-8"))
    about = record["study"]
    beta = None if about["beta"] == "uniform" else about["beta"]
    recipe = Recipe.load(study / "step_1" / "recipe.toml")
    return Settings(recipe, beta, about["discriminator_steps"]), len(record["steps"])


def controls(study: Path, settings: Settings, steps: int, out: Path) -> list[Path]:
    """Train runs with the seeds of the later steps on the data of the recipe, and return the runs of all steps."""
    runs = [study / "step_1"]
    for step in range(2, steps + 1):
        runs.append(out / f"{study.name}-{step}")
        if runs[-1].exists() and not has_ended(runs[-1]):
            resume(runs[-1])
        elif not runs[-1].exists():
            train(settings.recipe.changed([f"seed={settings.seed_of(step, 'run')}"]), runs[-1])
    return runs


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs without reweighted data")
    parser.add_argument("--count", type=int, default=2500, help="number of points of each mixture")
    parser.add_argument("--share", type=float, default=0.05, help="minimum share of the points of a covered mode")
    given = parser.parse_args(arguments)
    rows = []
    for study in given.studies:
        settings, steps = settings_of(study)
        plugins, _ = build_plugins({"data": settings.recipe.components["data"]}, str(study))
        data = plugins["data"]
        assert isinstance(data, GaussianMixture), "the modes of points are counted"
        kinds = {
            "AdaGAN": [study / f"step_{step}" for step in range(1, steps + 1)],
            "control": controls(study, settings, steps, given.out),
        }
        for kind, runs in kinds.items():
            generators = [Generator(Sampler.load(run / "generator.safetensors", "cpu"), None) for run in runs]
            cells = []
            for number in range(1, steps + 1):
                shares = mixture_shares([settings.beta_of(step) for step in range(1, number + 1)])
                points = draw_mixture(generators[:number], shares, given.count, seed=0).images.flatten(1)
                many, some, good = covered(points, data.modes, data.config.std, given.share)
                cells.append(f"{many}, {some}, {good:.0%}")
            rows.append([study.name, kind, *cells])
    steps = max(len(row) for row in rows) - 2
    heads = [plural(number, "generator") for number in range(1, steps + 1)]
    print("\n".join(table(["study", "mixture", *heads], rows)))


if __name__ == "__main__":
    main()
