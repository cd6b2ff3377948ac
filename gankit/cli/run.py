"""`gankit run`: trains from a recipe."""

from __future__ import annotations

import click

from gankit.cli.arguments import device_option, drop_option, overrides_argument, quiet_option
from gankit.cli.status_line import Waiting


@click.command("run")
@click.argument("recipe")
@click.option("--out", metavar="DIR", help="The run directory itself; left out, runs/NAME/TIME is made.")
@device_option
@drop_option
@quiet_option
@overrides_argument
def command(
    recipe: str, out: str | None, device: str | None, drop: tuple[str, ...], quiet: bool, overrides: tuple[str, ...]
) -> None:
    """Train from RECIPE: a file, or the name of a recipe that comes with gankit.

    On several devices or machines, with the same recipe: torchrun --nproc-per-node 4 -m gankit run RECIPE.

    KEY=VALUE replaces a setting of the recipe, with a TOML value: train.iterations=100. Ctrl-C finishes the
    iteration, writes a checkpoint and says how to go on.
    """
    with Waiting(quiet) as waiting:
        waiting.on("importing torch")
        from gankit.cli.run_command import train
        from gankit.recipe.bundled import find_recipe
        from gankit.recipe.recipe import Recipe
        from gankit.runtime.ranks import current_ranks
        from gankit.training.launch import start

        ranks = current_ranks()
        with ranks.shared_failures():
            read = ranks.run_on_all_ranks(lambda: Recipe.load(find_recipe(recipe), overrides, drop))
            train(lambda progress: start(read, out, progress, device), quiet, waiting)
