"""`gankit new-plugin`: write the template of a new plugin."""

from pathlib import Path

import click

from gankit.cli.next_steps import print_next, quoted
from gankit.errors import InputError
from gankit.plugin.registry import Registry
from gankit.plugin.slots import KINDS, Kind
from gankit.scaffold import check_new, names_for, run_command, write_file, write_package


@click.command("new-plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), default="trick", show_default=True, help="What the plugin provides.")
@click.option("--single-file", is_flag=True, help="Write one file to use beside a recipe, instead of a package.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the package, or of the single file. [default: gankit-NAME, or the current folder]",
)
def command(name: str, kind: Kind, single_file: bool, out: Path | None) -> None:
    """Write a working plugin called NAME, as a template for your own plugin.

    The plugin is a package with one module, a test, a README and a workflow for continuous integration. Once the
    package is installed, gankit finds the plugin. With --single-file, only one Python file is written. NAME consists of
    lower-case words joined by '_'.
    """
    from gankit.cli import COMMANDS

    names = names_for(name, kind)
    if kind == "command" and name in COMMANDS:
        raise InputError(f"NAME: {name!r} given; gankit has a command with that name; choose another name")
    check_new(name, Registry.installed())
    if single_file:
        if kind == "command":
            raise InputError("--single-file: a command is found only in an installed package; leave the option out")
        path = write_file(name, out or Path(), kind)
        click.echo(f"written: {path}")
        # Add `./`, because a relative path in a recipe override must start with a dot.
        location = str(path) if path.is_absolute() else f"./{path}"
        print_next(run_command(kind, name, quoted(f"{location}:{names['class_name']}")))
        return
    folder = out or Path(names["distribution"])
    for path in write_package(name, folder, kind):
        click.echo(f"written: {path}")
    print_next(
        f"pip install -e {quoted(f'{folder}[dev]')}",
        f"pytest {quoted(folder)}",
        names["run"],
    )
