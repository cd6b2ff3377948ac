"""`gankit schema`: write the JSON Schema for recipes."""

import json
from pathlib import Path

import click

from gankit.plugin.registry import Registry
from gankit.storage.atomic_io import write_text


@click.command("schema")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="File to write. [default: stdout]")
def command(out: Path | None) -> None:
    """Write the JSON Schema for recipes. The schema includes the settings of every installed plugin.

    TOML editor extensions, such as Even Better TOML or taplo, complete and check a recipe whose first line is
    `#:schema gankit.schema.json`.
    """
    from gankit.recipe.json_schema import recipe_schema

    schema, broken = recipe_schema(Registry.installed().entries)
    text = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    for sentence in broken:
        click.echo(f"left out: {sentence}", err=True)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_text(out, text)
        click.echo(f"written: {out}; first line of a recipe beside it: #:schema {out.name}")
