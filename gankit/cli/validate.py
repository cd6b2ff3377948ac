"""`gankit validate`: check a recipe without training."""

import click

from gankit.cli.arguments import drop_option, overrides_argument


@click.command("validate")
@click.argument("recipe")
@drop_option
@overrides_argument
def command(recipe: str, drop: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Check RECIPE, a file or the name of a bundled recipe, without training.

    If the recipe has mistakes, print all of them and exit with code 2. Otherwise, print a summary of the run and the
    warnings.
    """
    from gankit.cli.run_facts import describe_images, describe_parameters
    from gankit.recipe.bundled import find_recipe
    from gankit.recipe.recipe import Recipe
    from gankit.training.assembly import assemble
    from gankit.training.initialisation import initialise

    loaded = Recipe.load(find_recipe(recipe), overrides, drop)
    run = assemble(loaded)
    initial = initialise(run)
    tricks = [key.removeprefix("tricks.") for key in loaded.components if key.startswith("tricks.")]
    click.echo(f"{loaded.source}: no mistakes")
    for label, fact in {
        "images": describe_images(run),
        "generator": f"{loaded.use_of('generator')}, {describe_parameters(run.generator)}",
        "discriminator": f"{loaded.use_of('discriminator')}, {describe_parameters(run.discriminator)}",
        "loss": str(loaded.use_of("loss")),
        "tricks": ", ".join(tricks) or "none",
        "device": str(run.device),
    }.items():
        click.echo(f"  {label:13}  {fact}")
    for sentence in initial:
        click.echo(f"  {sentence}")
    for warning in run.warnings:
        click.echo(f"warning: {warning}")
