"""Arguments that several verbs take, spelt once."""

from __future__ import annotations

import click

drop_option = click.option(
    "--drop", metavar="KEY", multiple=True, help="Leave a table or a value of the recipe out. May be repeated."
)

overrides_argument = click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
"""Settings in place of the recipe's, with TOML values: `train.iterations=100`."""

quiet_option = click.option("--quiet", is_flag=True, help="No live display: a line for each entry of log.jsonl.")

device_option = click.option("--device", metavar="D", help="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")
