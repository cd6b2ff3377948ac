"""Games to be timed: recipes that come with gankit, on random images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from gankit import Recipe
from gankit.recipe.bundled import bundled_recipe
from gankit.training.assembly import assemble
from gankit.training.launch import prepare_torch
from gankit.training.run import TrainingRun
from gankit.training.update import train_iteration

PARTS = Path(__file__).with_name("parts.py")

TINY = ["data.resolution=8", "train.batch_size=20"]
"""For whoever only wants to see that something works."""


def game_of(recipe: str, overrides: Iterable[str] = (), idle: int = 0, device: str = "cpu") -> TrainingRun:
    """A game that is ready for its first iteration.

    Args:
        recipe: the name of one that comes with gankit.
        overrides: as on the command line; `data.classes=0` and the like are those of `parts.py:RandomImages`.
        idle: tricks that do nothing, added to the recipe's.
        device: where it is played.
    """
    tricks = [f"tricks.idle{number}.use={PARTS}:Idle" for number in range(idle)]
    data = [f"data.use={PARTS}:RandomImages", f"train.device={device}"]
    loaded = Recipe.load(bundled_recipe(recipe), [*data, *tricks, *overrides])
    prepare_torch(loaded)
    run = assemble(loaded)
    run.load_data()
    run.start()
    return run


def iteration_of(run: TrainingRun) -> Callable[[], None]:
    """One iteration with all that plugins do in it, as a loop that can be timed."""

    def iteration() -> None:
        train_iteration(run)
        run.after_iteration(run)

    return iteration
