"""What `run` and `resume` share: a game is played under a display, and its end is told."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable

import click

from gankit.cli import INTERRUPTED
from gankit.cli.progress import Progress, progress
from gankit.cli.status_line import Waiting
from gankit.formatting import duration
from gankit.runtime.torchrun_env import place_of_process
from gankit.sampling.generator_file import read_generator_file, untrusted_uses
from gankit.storage.run_dir import RunDir
from gankit.training.reporter import Outcome


def train(begin: Callable[[Progress], tuple[RunDir, Outcome]], quiet: bool, waiting: Waiting) -> None:
    """Plays a game to its end and says where everything is and what to type next.

    Exits with 130 when it was interrupted.
    """
    shown = progress(quiet, waiting)
    try:
        with shown:
            directory, outcome = begin(shown)
    except KeyboardInterrupt:
        if shown.directory is None:
            raise
        click.echo("\nstopped at once, without a new checkpoint")
        tell_next(resume_of(shown.directory))
        raise SystemExit(INTERRUPTED) from None
    if place_of_process().rank:
        # The first rank says how it ended, and its exit code is the run's.
        return
    tell_end(directory, outcome)
    if outcome.interrupted:
        raise SystemExit(INTERRUPTED)


def tell_end(directory: RunDir, outcome: Outcome) -> None:
    resume = resume_of(directory)
    if outcome.interrupted:
        click.echo(f"interrupted at iteration {outcome.iterations}; a checkpoint is written")
        tell_next(resume)
        return
    if outcome.stop_reason is not None:
        click.echo(f"ended at iteration {outcome.iterations}: {outcome.stop_reason}")
    else:
        click.echo(f"done: {outcome.iterations} iterations; this took {duration(outcome.seconds)}")
    click.echo(f"  pictures   {directory.newest_grid() or directory.samples}")
    click.echo(f"  generator  {directory.generator_file}")
    trust = " --trust" if untrusted_uses(read_generator_file(directory.generator_file)[0]) else ""
    # What a plugin has ended is not to be played on without a thought.
    further = [f"{resume} train.iterations={2 * outcome.iterations}"] if outcome.stop_reason is None else []
    tell_next(
        f"gankit show {quoted(directory.path)}",
        f"gankit sample {quoted(directory.path)} --out samples.png{trust}",
        *further,
    )


def resume_of(directory: RunDir) -> str:
    """What to type to go on with a run, with as many ranks as there are now."""
    place = place_of_process()
    if place.size == 1:
        program = "gankit"
    elif place.size == place.local_size:
        program = f"torchrun --nproc-per-node {place.local_size} -m gankit"
    else:
        machines = math.ceil(place.size / place.local_size)
        meeting = f"--master-addr {os.environ.get('MASTER_ADDR', 'HOST')} --node-rank 0"
        program = f"torchrun --nnodes {machines} {meeting} --nproc-per-node {place.local_size} -m gankit"
    return f"{program} resume {quoted(directory.path)}"


def tell_next(*commands: str) -> None:
    click.echo("next:")
    for command in commands:
        click.echo(f"  {command}")
    place = place_of_process()
    if place.size > place.local_size:
        click.echo("(on the other machines with their own --node-rank)")


def quoted(path: object) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))
