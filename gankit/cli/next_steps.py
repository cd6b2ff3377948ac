"""Suggested next commands. A subcommand prints these suggestions when it ends."""

import math
import os
import shlex
from pathlib import Path

import click

from gankit.runtime.torchrun_env import place_of_process


def print_next(*commands: str) -> None:
    """Print commands that the user may want to run next, one on each line."""
    click.echo("next:")
    for command in commands:
        click.echo(f"  {command}")
    place = place_of_process()
    if place.size > place.local_size:
        click.echo("(on the other machines with their own --node-rank)")


def resume_command(directory: Path) -> str:
    """Return the command that resumes a run with the current number of ranks."""
    place = place_of_process()
    if place.size == 1:
        program = "gankit"
    elif place.size == place.local_size:
        program = f"torchrun --nproc-per-node {place.local_size} -m gankit"
    else:
        machines = math.ceil(place.size / place.local_size)
        master = f"--master-addr {os.environ.get('MASTER_ADDR', 'HOST')} --node-rank 0"
        program = f"torchrun --nnodes {machines} {master} --nproc-per-node {place.local_size} -m gankit"
    return f"{program} resume {quoted(directory)}"


def quoted(path: object) -> str:
    """Return a path or another value as text, quoted for a shell."""
    return shlex.quote(str(path))
