"""What `run` and `resume` share: a game is played under a display, and its end is told."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import click

from gankit.cli.progress import Progress, progress
from gankit.cli.words import duration
from gankit.run_dir import RunDir
from gankit.trainer import Outcome

INTERRUPTED = 130


def play(begin: Callable[[Progress], tuple[RunDir, Outcome]], quiet: bool) -> None:
    """Plays a game to its end and says where everything is and what to type next.

    Exits with 130 when it was interrupted.
    """
    shown = progress(quiet)
    try:
        with shown:
            directory, outcome = begin(shown)
    except KeyboardInterrupt:
        if shown.directory is None:
            raise
        path = shown.directory.path
        click.echo(f"\nstopped at once, without a new checkpoint. {how_to_go_on(path)}", err=True)
        raise SystemExit(INTERRUPTED) from None
    tell_end(directory, outcome)
    if outcome.interrupted:
        raise SystemExit(INTERRUPTED)


def tell_end(directory: RunDir, outcome: Outcome) -> None:
    path = directory.path
    if outcome.interrupted:
        click.echo(f"interrupted at iteration {outcome.iterations}; a checkpoint is written. {how_to_go_on(path)}")
        return
    if outcome.stop_reason is not None:
        click.echo(f"ended at iteration {outcome.iterations}: {outcome.stop_reason}")
    elif outcome.seconds:
        click.echo(f"done: {outcome.iterations} iterations, the last of them in {duration(outcome.seconds)}")
    click.echo(f"  pictures   {directory.newest_grid() or directory.samples}")
    click.echo(f"  generator  {directory.generator_file}")
    click.echo("next:")
    click.echo(f"  gankit sample {quoted(path)} --out samples.png")
    click.echo(f"  gankit resume {quoted(path)} train.iterations={2 * outcome.iterations}")


def how_to_go_on(path: object) -> str:
    return f"Go on with: gankit resume {quoted(path)}"


def quoted(path: object) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))
