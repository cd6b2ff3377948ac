"""Every baseline under its own recipe on MNIST, measured alike, as docs/baselines.md.

    GANKIT_DATA=... python benchmarks/baselines.py --out runs/baselines

Trains the recipes one after the other, each as `gankit run` does (one that is finished is kept, one that was cut short
goes on), measures 2,000 images of each against 2,000 training images (kept as RUN/baseline.json), and writes the page
with a picture of each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from small_grid import save_small_grid

from gankit.evaluation.standalone import evaluate
from gankit.recipe.bundled import bundled_recipe
from gankit.recipe.toml import read_toml
from gankit.storage.atomic_io import write_json
from gankit.storage.run_dir import RunDir

RECIPES = ("gan", "dcgan", "conditional_dcgan", "cgan", "lsgan", "wgan", "wgan_gp", "rgan", "ragan")
COUNT = 2000
MEASURES = ("frechet_distance", "precision_recall", "density_coverage", "modes")
COLUMNS = {
    "frechet_distance": "Frechet distance",
    "modes": "modes",
    "as_asked": "as asked",
    "as_asked_worst": "worst digit",
    **{name: name for name in ("precision", "recall", "density", "coverage")},
}
"""Measures and their heads in the table."""


ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Judged:
    """A recipe that was trained and measured."""

    recipe: str
    directory: RunDir
    iterations: int
    seconds: float
    metrics: dict[str, float]
    protocol: dict[str, str | int | float]


def trained(recipe: str, out: Path) -> RunDir:
    """The finished run of a recipe."""
    folder = out / recipe
    if folder.exists() and RunDir.open(folder).read_last_environment().get("ended", {}).get("state") == "finished":
        return RunDir.open(folder)
    verb = ["resume", str(folder)] if (folder / "recipe.toml").exists() else ["run", recipe, "--out", str(folder)]
    subprocess.run([sys.executable, "-m", "gankit", *verb, "--quiet"], check=True)
    return RunDir.open(folder)


def judged(recipe: str, out: Path) -> Judged:
    directory = trained(recipe, out)
    kept = directory.path / "baseline.json"
    if not kept.exists():
        write_json(kept, evaluate(directory.path, None, {"evaluation": {"count": COUNT}}, metrics=MEASURES))
    row = json.loads(kept.read_text(encoding="utf-8"))
    iterations = read_toml(directory.recipe_file)["train"]["iterations"]
    seconds = sum(p["ended"]["seconds"] for p in directory.read_processes() if "ended" in p)
    return Judged(recipe, directory, iterations, seconds, row["metrics"], row["protocol"])


def page(all_of_them: list[Judged], pictures: Path, note: str) -> str:
    """The table, the protocol and the pictures, as Markdown; `note` is about the time."""
    facts = ", ".join(f"{name}: {fact}" for name, fact in all_of_them[0].protocol.items() if name != "generator")
    machine = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    lines = [
        "<!-- Written by `python benchmarks/baselines.py`. -->",
        "",
        "# Baselines on MNIST",
        "",
        "Each baseline under its own recipe, one seed. The header of each recipe says where it differs from its paper.",
        f"Time: wall clock on {machine}, {sum(one.seconds for one in all_of_them) / 60:.0f} minutes in all{note}.",
        "How each number is measured, and what is better: [how good is it?](metrics.md)",
        "",
        f"Protocol: {facts}.",
        "",
        f"| recipe | iterations | min:s | {' | '.join(COLUMNS.values())} |",
        f"| --- | --- | --- |{' --- |' * len(COLUMNS)}",
    ]
    for one in all_of_them:
        cells = [f"{one.measures[name]:.3g}" if name in one.metrics else "" for name in COLUMNS]
        time = f"{one.seconds // 60:.0f}:{one.seconds % 60:02.0f}"
        lines.append(f"| [`{one.recipe}`](#{one.recipe}) | {one.iterations:,} | {time} | {' | '.join(cells)} |")
    for one in all_of_them:
        lines += ["", f"## {one.recipe}", "", f"![Digits of {one.recipe}](images/baselines/{one.recipe}.png)"]
        save_small_grid(one.directory.path, pictures / f"{one.recipe}.png")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the runs are")
    parser.add_argument("--only", nargs="*", default=RECIPES, help="of the recipes, without _mnist")
    parser.add_argument("--note", default="", help="on the time, ' (while other programs ran)' for instance")
    arguments = parser.parse_args()
    names = [f"{name}_mnist" for name in arguments.only]
    assert all(bundled_recipe(name).exists() for name in names)
    found = [judged(name, arguments.out) for name in names]
    (ROOT / "docs" / "baselines.md").write_text(
        page(found, ROOT / "docs" / "images" / "baselines", arguments.note), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
