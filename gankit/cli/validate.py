"""`gankit validate`: everything that can be known of a recipe before training."""

from __future__ import annotations

import click

from gankit.cli.arguments import drop_option, overrides_argument


@click.command("validate")
@click.argument("recipe")
@drop_option
@overrides_argument
def command(recipe: str, drop: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Check RECIPE, a file or the name of a recipe that comes with gankit, without training.

    Says all that is wrong at once; else what would be trained, and then advice. Exit code 2 when something is wrong.
    """
    from gankit.cli.words import describe_images, describe_parameters
    from gankit.recipe.bundled import find_recipe
    from gankit.recipe.recipe import Recipe
    from gankit.training.assembly import assemble

    read = Recipe.load(find_recipe(recipe), overrides, drop)
    run = assemble(read)
    tricks = [key.removeprefix("tricks.") for key in read.components if key.startswith("tricks.")]
    click.echo(f"{read.source}: nothing is wrong")
    for what, facts in {
        "images": describe_images(run),
        "generator": f"{read.use_of('generator')}, {describe_parameters(run.generator)}",
        "discriminator": f"{read.use_of('discriminator')}, {describe_parameters(run.discriminator)}",
        "loss": str(read.use_of("loss")),
        "tricks": ", ".join(tricks) or "none",
        "device": str(run.device),
    }.items():
        click.echo(f"  {what:13}  {facts}")
    for sentence in run.warnings:
        click.echo(f"warning: {sentence}")
