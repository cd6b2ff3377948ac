"""Arguments and options that several subcommands share, and a check of output paths."""

from pathlib import Path

import click

from gankit.errors import InputError

drop_option = click.option(
    "--drop", metavar="KEY", multiple=True, help="Remove a table or a setting of the recipe. May be repeated."
)

overrides_argument = click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
"""Command-line argument that overrides settings of the recipe, such as `train.iterations=100`. VALUE is TOML."""

quiet_option = click.option("--quiet", is_flag=True, help="Print a line for each row of log.jsonl; no live display.")

device_option = click.option("--device", metavar="D", help="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")


def check_output_file(option: str, out: Path, suffix: str) -> None:
    """Raise InputError if the name of an output file does not end in `suffix`, or if a folder has this name."""
    if out.suffix.lower() != suffix:
        raise InputError(f"{option} {out}: unknown file type; the name of the file must end in {suffix}")
    if out.is_dir():
        raise InputError(f"{option} {out}: a folder of that name exists; choose another name")
