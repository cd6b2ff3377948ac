"""`gankit new-plugin`: the beginning of a plugin of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from gankit.plugin.registry import Registry
from gankit.scaffold import check_new, names_for, write_file, write_package


@click.command("new-plugin")
@click.argument("name")
@click.option("--single-file", is_flag=True, help="One file to stand beside a recipe, instead of a package.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The package's folder, or the folder for the single file; left out, gankit-NAME, or the current folder.",
)
def command(name: str, single_file: bool, out: Path | None) -> None:
    """Write a plugin called NAME that works at once, to be changed into your trick.

    A package has the plugin in one module, a test, a README and a file for continuous integration; installed, the
    plugin is found by everyone's gankit. NAME is lower-case words joined by '_'.
    """
    names = names_for(name)
    check_new(name, Registry.installed())
    if single_file:
        path = write_file(name, out or Path())
        click.echo(f"written: {path}")
        _next("gankit run gaussian_ring " + shlex.quote(f"tricks.{name}.use={_relative(path)}:{names['class_name']}"))
        return
    folder = out or Path(names["distribution"])
    for path in write_package(name, folder):
        click.echo(f"written: {path}")
    quoted, with_tests = shlex.quote(str(folder)), shlex.quote(f"{folder}[dev]")
    _next(f"pip install -e {with_tests}", f"pytest {quoted}", f"gankit run gaussian_ring tricks.{name}.strength=0.2")


def _relative(path: Path) -> str:
    """A path that a recipe, or an override, takes for a file."""
    return str(path) if path.is_absolute() else f"./{path}"


def _next(*commands: str) -> None:
    click.echo("next:")
    for line in commands:
        click.echo(f"  {line}")
