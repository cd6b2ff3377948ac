"""Runs to be timed: bundled recipes on random images."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from gankit import Recipe
from gankit.recipe.bundled import bundled_recipe
from gankit.storage.run_dir import RunDir
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch
from gankit.training.run import TrainingRun
from gankit.training.update import train_iteration

PLUGINS = Path(__file__).with_name("benchmark_plugins.py")

TINY = ["data.resolution=8", "train.batch_size=20"]
"""Overrides for smoke tests."""


def random_images(device: str = "cpu") -> list[str]:
    """Return the overrides that replace a recipe's data by `RandomImages`, on a device."""
    return [f"data.use={PLUGINS}:RandomImages", f"train.device={device}"]


def benchmark_run(recipe: str, overrides: Iterable[str] = (), idle: int = 0, device: str = "cpu") -> TrainingRun:
    """Return a run that is ready for its first iteration.

    Args:
        recipe: name of a bundled recipe.
        overrides: settings as on the command line. `data.*` are those of `benchmark_plugins.py:RandomImages`.
        idle: number of plugins that do nothing, added to the recipe's.
        device: device of the run.
    """
    tricks = [f"tricks.idle{number}.use={PLUGINS}:Idle" for number in range(idle)]
    return started(Recipe.load(bundled_recipe(recipe), [*random_images(device), *tricks, *overrides]))


def started(recipe: Recipe) -> TrainingRun:
    """Return the run of a recipe with its data loaded, ready for its first iteration."""
    prepare_torch(recipe)
    run = assemble(recipe)
    run.load_data()
    run.start()
    return run


def iteration_of(run: TrainingRun) -> Callable[[], None]:
    """Return one iteration of a run, with all hooks, as a function that can be timed."""

    def iteration() -> None:
        train_iteration(run)
        run.after_iteration(run)

    return iteration


def finish(recipe: str, folder: Path, settings: Iterable[str] = (), threads: int | None = None) -> RunDir:
    """Return the finished run of a bundled recipe in a folder. It is trained, or resumed, unless it is finished.

    `threads` is the number of CPU threads of the run. Default: as `gankit run`.
    """
    directory = RunDir(folder)
    if folder.exists() and directory.read_last_environment().get("ended", {}).get("state") == "finished":
        return directory
    begun = (folder / "recipe.toml").exists()
    command = ["resume", str(folder)] if begun else ["run", recipe, "--out", str(folder), *settings]
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    subprocess.run([sys.executable, "-m", "gankit", *command, "--quiet"], check=True, env=environment)
    return directory
