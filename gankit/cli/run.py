"""`gankit run`: train from a recipe."""

import click

from gankit.cli.arguments import device_option, drop_option, overrides_argument, quiet_option
from gankit.cli.status_line import StatusLine


@click.command("run")
@click.argument("recipe")
@click.option("--out", metavar="DIR", help="Run directory. [default: runs/NAME/TIME]")
@device_option
@drop_option
@quiet_option
@overrides_argument
def command(
    recipe: str, out: str | None, device: str | None, drop: tuple[str, ...], quiet: bool, overrides: tuple[str, ...]
) -> None:
    """Train from RECIPE, a recipe file or the name of a bundled recipe.

    Train on several devices or machines with torchrun: torchrun --nproc-per-node 4 -m gankit run RECIPE.

    KEY=VALUE overrides a setting of the recipe, for example train.iterations=100. VALUE is a TOML value. After Ctrl-C,
    the run finishes its iteration, writes a checkpoint and prints the command that resumes it.
    """
    with StatusLine(quiet) as status:
        status.show("importing torch")
        from gankit.cli.run_command import train
        from gankit.recipe.bundled import find_recipe
        from gankit.recipe.recipe import Recipe
        from gankit.runtime.ranks import current_ranks
        from gankit.training.launch import start

        ranks = current_ranks()
        with ranks.shared_failures():
            loaded = ranks.run_on_all_ranks(lambda: Recipe.load(find_recipe(recipe), overrides, drop))
            train(lambda progress: start(loaded, out, progress, device), quiet, status)
