"""`gankit recipes`: list, show and copy the recipes that are installed with gankit."""

from pathlib import Path

import click

from gankit.cli.next_steps import quoted
from gankit.errors import InputError
from gankit.recipe.bundled import bundled_recipe, bundled_recipes, summary, with_bases
from gankit.storage.atomic_io import write_text


@click.group("recipes", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the bundled recipes. `gankit run NAME` trains from the recipe NAME."""
    if context.invoked_subcommand is not None:
        return
    recipes = bundled_recipes()
    width = max((len(name) for name in recipes), default=0)
    for name, path in recipes.items():
        click.echo(f"{name:{width}}  {summary(path)}")
    click.echo("next: gankit run NAME, gankit recipes show NAME, gankit recipes copy NAME [DEST]")


@command.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the bundled recipe NAME."""
    click.echo(bundled_recipe(name).read_text(encoding="utf-8"), nl=False)


@command.command()
@click.argument("name")
@click.argument("destination", metavar="[DEST]", type=click.Path(path_type=Path), default=Path())
def copy(name: str, destination: Path) -> None:
    """Copy a bundled recipe for editing. DEST is a file or a folder, by default the current folder.

    The recipes that NAME extends are copied into the same folder. Existing files are not overwritten.
    """
    recipe, *bases = with_bases(bundled_recipe(name))
    target = destination / recipe.name if destination.is_dir() else destination
    copies = {target: recipe} | {target.parent / base.name: base for base in bases}
    texts = {path: source.read_text(encoding="utf-8") for path, source in copies.items()}
    # An earlier command may have copied a recipe that NAME extends. Accept the existing file if the text is identical.
    new = {p: t for p, t in texts.items() if p == target or not p.exists() or p.read_text(encoding="utf-8") != t}
    for path in new:
        if path.exists():
            raise InputError(f"{path}: exists already; choose another DEST, or remove it")
    for path, text in new.items():
        write_text(path, text)
        click.echo(f"copied to {path}")
    click.echo(f"next: gankit run {quoted(target)}")
