"""Systems on CIFAR-10 with the same training time for each run: docs/cifar10.md.

    GANKIT_DATA=DIR python benchmarks/budget.py --work runs/budget [--minutes 8] [--jobs 2] [--seeds 0 1 2]

The program times an iteration of each recipe, one recipe after the other, while nothing else runs. WORK/plan.json
stores the number of iterations that fit in `--minutes`. Then every recipe is trained for its number of iterations with
every seed, with one thread for each run on a CPU, and evaluated against the training images. The same command continues
after an interruption. `--page` writes docs/cifar10.md and its images from the runs that are finished.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from small_grid import save_small_grid
from timing import machine, parser_of, peak_of_tensors, table
from workloads import finish, iteration_of, started

from gankit import Recipe
from gankit.ablation.statistics import paired_effect
from gankit.evaluation.standalone import evaluate
from gankit.recipe.bundled import bundled_recipe
from gankit.storage.atomic_io import write_json

MNIST_RECIPE = ["data={use='cifar10'}", "train.batch_size=60"]
"""Settings that train a recipe for MNIST on CIFAR-10. The batch is a multiple of ten, for networks per class."""

SYSTEMS: dict[str, tuple[str, list[str]]] = {
    "DCGAN": ("dcgan_mnist", MNIST_RECIPE),
    "WGAN-GP": ("wgan_gp_mnist", MNIST_RECIPE),
    "IGAN_vN": ("igan_vn_mnist", MNIST_RECIPE),
    "SNGAN": ("sngan_cifar10", []),
    "SAGAN": ("sagan_cifar10", []),
    "BigGAN": ("biggan_cifar10", []),
    "PGGAN": ("pggan_cifar10", []),
    "StyleGAN2": ("stylegan2_cifar10", []),
    "R3GAN": ("r3gan_cifar10", []),
}
"""Recipe of each system, and its settings."""

METRICS = {"frechet_distance": "Frechet distance", "precision": "precision", "recall": "recall"}
COUNT = 5000
"""Number of generated images and of real images of an evaluation."""

POINTS = 9
"""Number of evenly spaced points of the training at which iterations are timed. PGGAN's recipe has nine stages."""

WARM_UP, TIMED_SECONDS, LEAST_TIMED = 2, 2.0, 3
"""At each point: iterations before the timing; least duration of the timing, and its least number of iterations."""

ROOT = Path(__file__).parents[1]


def recipe_of(system: str, settings: Sequence[str]) -> Recipe:
    """Return the recipe of a system, with additional settings."""
    name, own = SYSTEMS[system]
    return Recipe.load(bundled_recipe(name), [*own, *settings])


def measured(system: str, settings: Sequence[str]) -> dict[str, Any]:
    """Return the time of an iteration of a system, in seconds, and what the system needs.

    The time is the mean of the medians at several points of the training, because networks may grow. `images` is the
    number of real images that D is trained on in an iteration. `parameters` counts both networks. `memory` is the peak
    of the bytes that tensors take in a late iteration, beyond those before it; None if the run is not on a CPU.
    """
    run = started(recipe_of(system, settings))
    iteration = iteration_of(run)
    train = run.recipe.train
    medians = []
    for point in range(POINTS):
        run.iteration = (2 * point + 1) * train.iterations // (2 * POINTS)
        times: list[float] = []
        while len(times) < WARM_UP + LEAST_TIMED or sum(times) < TIMED_SECONDS:
            begin = time.perf_counter()
            iteration()
            if run.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begin)
        medians.append(statistics.median(times[WARM_UP:]))
    networks = (run.generator, run.discriminator)
    return {
        "seconds": statistics.mean(medians),
        "images": train.batch_size * train.discriminator_steps,
        "parameters": sum(parameter.numel() for network in networks for parameter in network.parameters()),
        "memory": peak_of_tensors(iteration) if run.device.type == "cpu" else None,
    }


def plan(work: Path, minutes: float, systems: Sequence[str], settings: Sequence[str]) -> dict[str, Any]:
    """Return the costs and the iterations of the systems, and the machine. A stored plan is kept, and extended."""
    file = work / "plan.json"
    torch.set_num_threads(1)
    found: dict[str, Any] = {"minutes": minutes, "machine": machine(), "costs": {}, "iterations": {}}
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
    for system in systems:
        if system not in found["iterations"]:
            cost = found["costs"][system] = measured(system, settings)
            found["iterations"][system] = max(1, round(60 * found["minutes"] / cost["seconds"]))
            print(f"{system}: {1000 * cost['seconds']:.1f} ms, {found['iterations'][system]:,} iterations", flush=True)
            write_json(file, found)
    return found


def stretched(recipe: Recipe, iterations: int) -> list[str]:
    """Return the settings that stretch the growth of the networks to another number of iterations, if they grow."""
    trick = "tricks.progressive_growing"
    lengths = recipe.components[trick].config if trick in recipe.components else ()
    return [f"{trick}.{name}={max(1, length * iterations // recipe.train.iterations)}" for name, length in lengths]


def place(work: Path, system: str, seed: int) -> Path:
    """Return the folder of a run."""
    return work / f"{system}-{seed}"


def train_and_evaluate(work: Path, system: str, seed: int, iterations: int, settings: Sequence[str]) -> None:
    """Train a run, or continue it, and evaluate it."""
    folder = place(work, system, seed)
    if (folder / "budget.json").exists():
        return
    name, own = SYSTEMS[system]
    every = max(1, iterations // 4)
    lengths = [f"train.iterations={iterations}", f"output.sample_every={every}", f"output.checkpoint_every={every}"]
    lengths += stretched(recipe_of(system, settings), iterations)
    finish(name, folder, [*own, *settings, f"seed={seed}", *lengths, "output.sample_count=64"], threads=1)
    command = [sys.executable, __file__, "--work", str(work), "--evaluate", str(folder)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    print(f"{system}, seed {seed}: done", flush=True)


def evaluate_run(folder: Path) -> None:
    """Evaluate a run, and store the result in its folder."""
    changes = {"evaluation": {"count": COUNT}, "extractor": {"use": "bundled"}}
    row = evaluate(folder, None, changes, metrics=("frechet_distance", "precision_recall"))
    write_json(folder / "budget.json", row)


def cell(values: list[float]) -> str:
    """Return the mean of values with its 95% confidence interval, or the values if there are fewer than three."""
    if len(values) < 3:
        return ", ".join(f"{value:.3g}" for value in values)
    effect = paired_effect(values)
    return (
        f"{effect.mean:.3g} ({effect.low:.3g} to {effect.high:.3g})" if effect.low is not None else f"{values[0]:.3g}"
    )


def page(work: Path, seeds: Sequence[int], note: str) -> str:
    """Return the page as Markdown, and write its images. `note` is a text on the machine."""
    found = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    rows, costs, pictures, protocol = [], [], [], ""
    for system in SYSTEMS:
        done = [path for seed in seeds if (path := place(work, system, seed) / "budget.json").exists()]
        if not done:
            continue
        results = [json.loads(path.read_text(encoding="utf-8")) for path in done]
        protocol = ", ".join(f"{name}: {fact}" for name, fact in results[0]["protocol"].items() if name != "generator")
        cells = [cell([result["metrics"][metric] for result in results]) for metric in METRICS]
        rows.append([system, f"`{SYSTEMS[system][0]}`", f"{found['iterations'][system]:,}", len(done), *cells])
        cost = found["costs"][system]
        memory = f"{cost['memory'] / 2**20:,.0f} MiB" if cost["memory"] else ""
        speed = f"{cost['images'] / cost['seconds']:,.0f}"
        costs.append(
            [system, f"{cost['parameters'] / 1e6:.2f} million", f"{1000 * cost['seconds']:.0f} ms", speed, memory]
        )
        image = Path("images") / "cifar10" / f"{SYSTEMS[system][0]}.png"
        save_small_grid(done[0].parent, ROOT / "docs" / image)
        pictures += ["", f"## {system}", "", f"![Images of {system}]({image.as_posix()})"]
    grown = any(row[0] == "PGGAN" for row in rows)
    growth = "PGGAN grows at the same fractions of the training as in its recipe. " if grown else ""
    only = "" if len(rows) == len(SYSTEMS) else f" --only {' '.join(row[0] for row in rows)}"
    lines = [
        "<!-- Written by `python benchmarks/budget.py`. -->",
        "",
        "# Systems on CIFAR-10",
        "",
        f"Each run has {found['minutes']:g} minutes of training. The number of iterations follows from the time of an "
        "iteration, which was measured before, one system after the other, as the mean over the training. "
        f"{growth}Batch sizes, networks and tricks are those of the recipe; recipes for MNIST are trained with "
        '`data.use = "cifar10"` and batches of 60. Means over seeds with 95% confidence intervals (Student\'s t); with '
        "fewer than three seeds, the values. Systems whose intervals overlap are not shown to differ.",
        "",
        f"Machine: {found['machine']}{note}. Command: `GANKIT_DATA=DIR python benchmarks/budget.py --work WORK "
        f"--minutes {found['minutes']:g}{only} --page`.",
        "",
        f"Protocol: {protocol}. How each number is measured: [metrics](metrics.md).",
        "",
        *table(["system", "recipe", "iterations", "seeds", *METRICS.values()], rows),
        "",
        "Cost of an iteration with one CPU thread. Images are the real images that D is trained on. Memory is the peak "
        "of tensors at the full size, beyond weights and optimisers.",
        "",
        *table(["system", "parameters of G and D", "iteration", "images/s", "memory"], costs),
    ]
    return "\n".join([*lines, *pictures, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of all recipes")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=8.0, help="training time of a run")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--only", nargs="+", default=list(SYSTEMS), choices=SYSTEMS, metavar="SYSTEM", help="systems; all if absent"
    )
    parser.add_argument("--page", action="store_true", help="write docs/cifar10.md")
    parser.add_argument("--note", default="", help="text on the machine, for example ', while other programs ran'")
    parser.add_argument("--evaluate", type=Path, metavar="RUN", help="evaluate this run only")
    given = parser.parse_args(arguments)
    if given.evaluate is not None:
        evaluate_run(given.evaluate)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    iterations = plan(given.work, given.minutes, given.only, given.settings)["iterations"]
    with ThreadPoolExecutor(given.jobs) as pool:
        jobs = [
            pool.submit(train_and_evaluate, given.work, system, seed, iterations[system], given.settings)
            for seed in given.seeds
            for system in given.only
        ]
        for job in jobs:
            job.result()
    if given.page:
        (ROOT / "docs" / "cifar10.md").write_text(page(given.work, given.seeds, given.note), encoding="utf-8")


if __name__ == "__main__":
    main()
