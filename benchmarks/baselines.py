"""Every baseline on MNIST under its own recipe, with the same metrics: docs/baselines.md.

    GANKIT_DATA=... python benchmarks/baselines.py --out runs/baselines

Trains the recipes one after the other, as `gankit run` does. A finished run is kept, and an unfinished one is resumed.
The metrics compare 2,000 generated with 2,000 training images and are stored in RUN/baseline.json. The page shows a
grid of each run.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from small_grid import save_small_grid
from timing import parser_of, table
from workloads import finish

from gankit.evaluation.standalone import evaluate
from gankit.recipe.bundled import bundled_recipe
from gankit.recipe.toml import read_toml
from gankit.storage.atomic_io import write_json
from gankit.storage.run_dir import RunDir

RECIPES = (
    *("gan", "dcgan", "conditional_dcgan", "cgan", "lsgan", "wgan", "wgan_gp", "rgan", "ragan"),
    *("softmax", "infogan", "ebgan", "began", "bigan"),
)
COUNT = 2000
METRICS = ("frechet_distance", "precision_recall", "density_coverage", "modes")
COLUMNS = {
    "frechet_distance": "Frechet distance",
    "modes": "modes",
    "as_asked": "as requested",
    "as_asked_worst": "worst digit",
    **{name: name for name in ("precision", "recall", "density", "coverage")},
}
"""Metrics and their heads in the table."""

ROOT = Path(__file__).parents[1]


class Baseline(NamedTuple):
    """Trained recipe with its metrics."""

    recipe: str
    directory: RunDir
    iterations: int
    seconds: float
    metrics: dict[str, float]
    protocol: dict[str, str | int | float]


def evaluated(recipe: str, out: Path) -> Baseline:
    """Return a recipe with its run and its metrics."""
    directory = finish(recipe, out / recipe)
    file = directory.path / "baseline.json"
    if not file.exists():
        changes = {"evaluation": {"count": COUNT}, "extractor": {"use": "classifier"}}
        write_json(file, evaluate(directory.path, None, changes, metrics=METRICS))
    row = json.loads(file.read_text(encoding="utf-8"))
    iterations = read_toml(directory.recipe_file)["train"]["iterations"]
    seconds = sum(p["ended"]["seconds"] for p in directory.read_processes() if "ended" in p)
    return Baseline(recipe, directory, iterations, seconds, row["metrics"], row["protocol"])


def page(baselines: list[Baseline], images: Path, note: str) -> str:
    """Return the page as Markdown, and write its images. `note` is a text on the training time."""
    facts = ", ".join(f"{name}: {fact}" for name, fact in baselines[0].protocol.items() if name != "generator")
    machine = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    lines = [
        "<!-- Written by `python benchmarks/baselines.py`. -->",
        "",
        "# Baselines on MNIST",
        "",
        "Each baseline is trained under its own recipe, with one seed. The header of the recipe lists the differences "
        "from the paper.",
        f"Time: wall clock on {machine}, {sum(one.seconds for one in baselines) / 60:.0f} minutes in total{note}.",
        "How each number is measured, and which direction is better: [metrics](metrics.md).",
        "",
        f"Protocol: {facts}.",
        "",
    ]
    rows = []
    for one in baselines:
        cells = [f"{one.metrics[name]:.3g}" if name in one.metrics else "" for name in COLUMNS]
        time = f"{one.seconds // 60:.0f}:{one.seconds % 60:02.0f}"
        rows.append([f"[`{one.recipe}`](#{one.recipe})", f"{one.iterations:,}", time, *cells])
    lines += table(["recipe", "iterations", "min:s", *COLUMNS.values()], rows)
    for one in baselines:
        lines += ["", f"## {one.recipe}", "", f"![Digits of {one.recipe}](images/baselines/{one.recipe}.png)"]
        save_small_grid(one.directory.path, images / f"{one.recipe}.png")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="*", default=RECIPES, help="recipes, without _mnist")
    parser.add_argument(
        "--note", default="", help="text on the training time, for example ', while other programs ran'"
    )
    given = parser.parse_args(arguments)
    names = [f"{name}_mnist" for name in given.only]
    assert all(bundled_recipe(name).exists() for name in names)
    baselines = [evaluated(name, given.out) for name in names]
    (ROOT / "docs" / "baselines.md").write_text(
        page(baselines, ROOT / "docs" / "images" / "baselines", given.note), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
