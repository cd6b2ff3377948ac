"""`gankit recipes`: list, show and copy the recipes that are installed with gankit."""

import json
from pathlib import Path

import click

from gankit.cli.next_steps import quoted
from gankit.errors import InputError
from gankit.recipe.bundled import PURPOSES, bundled_recipe, bundled_recipes, purpose, summary, with_bases
from gankit.storage.atomic_io import write_text

OTHER = "Other"
"""Heading for the recipes whose files do not contain a purpose."""


@click.group("recipes", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the bundled recipes by purpose. `gankit run NAME` trains from the recipe NAME."""
    if context.invoked_subcommand is not None:
        return
    recipes = bundled_recipes()
    groups: dict[str, list[str]] = {heading: [] for heading in PURPOSES}
    for name, path in recipes.items():
        groups.setdefault(purpose(path) or OTHER, []).append(name)
    if as_json:
        rows = [
            {"name": name, "purpose": heading, "summary": summary(recipes[name]), "path": str(recipes[name])}
            for heading, names in groups.items()
            for name in names
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(name) for name in recipes), default=0)
    for heading, names in groups.items():
        if names:
            click.echo(f"{heading}:")
        for name in names:
            click.echo(f"  {name:{width}}  {summary(recipes[name])}".rstrip())
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
