"""Code shared by `gankit run` and `gankit resume`: train with a progress display, and print how the run ended."""

from collections.abc import Callable

import click

from gankit.cli import INTERRUPTED
from gankit.cli.next_steps import print_next, quoted, resume_command
from gankit.cli.progress import RunProgress, run_progress
from gankit.cli.status_line import StatusLine
from gankit.formatting import describe_best, duration, plural
from gankit.plugin.condition import ImageCondition
from gankit.runtime.torchrun_env import place_of_process
from gankit.sampling.generator_file import read_generator_file, untrusted_uses
from gankit.storage.run_dir import RunDir
from gankit.training.reporter import Outcome


def train(begin: Callable[[RunProgress], tuple[RunDir, Outcome]], quiet: bool, status: StatusLine) -> None:
    """Train by calling `begin`. Then print how the run ended, the paths of its files and suggested next commands.

    Exit with code 130 if the user interrupted the run.
    """
    progress = run_progress(quiet, status)
    try:
        with progress:
            directory, outcome = begin(progress)
    except KeyboardInterrupt:
        if progress.directory is None:
            raise
        click.echo("\nstopped at once, without a new checkpoint")
        print_next(resume_command(progress.directory.path))
        raise SystemExit(INTERRUPTED) from None
    if place_of_process().rank:
        # Only rank 0 prints how the run ended.
        return
    resume = resume_command(directory.path)
    if outcome.rolled_back:
        click.echo(f"interrupted after a rollback from iteration {outcome.iterations}: {outcome.stop_reason}")
        print_next(resume)
        raise SystemExit(INTERRUPTED)
    if outcome.interrupted:
        click.echo(f"interrupted at iteration {outcome.iterations}; a checkpoint is written")
        print_next(resume)
        raise SystemExit(INTERRUPTED)
    if outcome.stop_reason is not None:
        click.echo(f"ended at iteration {outcome.iterations}: {outcome.stop_reason}")
    else:
        click.echo(f"done: {plural(outcome.iterations, 'iteration')}{_time_of(outcome, progress.first)}")
    click.echo(f"  images     {directory.newest_grid() or directory.samples}")
    click.echo(f"  generator  {directory.generator_file}")
    if outcome.best is not None:
        click.echo(f"  best       {directory.best_file} ({describe_best(outcome.best)})")
    card, _ = read_generator_file(directory.generator_file)
    sources = " --input IMAGES" if (card["spec"]["condition"] or {}).get("kind") == ImageCondition.kind else ""
    trust = " --trust" if untrusted_uses(card) else ""
    # Suggest a command that trains for more iterations, unless a plugin stopped the run.
    further = [f"{resume} train.iterations={2 * outcome.iterations}"] if outcome.stop_reason is None else []
    print_next(
        f"gankit show {quoted(directory.path)}",
        f"gankit sample {quoted(directory.path)} --out {progress.samples}{sources}{trust}",
        *further,
    )


def _time_of(outcome: Outcome, first: int) -> str:
    """Return the training time of a process as text. `first` is the iteration from which the process trained."""
    if not first:
        return f" in {duration(outcome.seconds)}"
    trained = outcome.iterations - first
    return f"; the last {trained} took {duration(outcome.seconds)}" if trained > 0 else ""
