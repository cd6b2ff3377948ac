"""Training loop: iterations, log rows, sample grids, checkpoints and metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from gankit.errors import NonFiniteError
from gankit.evaluation.evaluator import Evaluator
from gankit.images.io import save_png
from gankit.plugin.schedule import Schedule
from gankit.plugin.slots import PLAYERS
from gankit.runtime.rng import fork_rng
from gankit.runtime.signals import Interrupt
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import GridSampler
from gankit.storage.run_dir import RunDir
from gankit.training.reporter import Outcome, Reporter
from gankit.training.run import TrainingRun
from gankit.training.state import gather_rank_states, save_checkpoint
from gankit.training.update import train_iteration


def train(run: TrainingRun, directory: RunDir, reporter: Reporter, evaluator: Evaluator | None = None) -> Outcome:
    """Train a run from its current iteration to its end. Write the log, sample grids, checkpoints and metrics.

    With several ranks, the first rank calls this function and all other ranks call `follow`.

    Raises:
        NonFiniteError: a loss or a parameter is NaN or infinite.
        GankitError: a file cannot be written, for example because the disk is full.
    """
    with closing_plugins(run), run.ranks.shared_failures():
        outcome = train_to_end(run, directory, reporter, evaluator)
    pass_on_warnings(run, directory, reporter)
    run.on_stop(run)
    # `on_stop` may add warnings. The plugins have closed their files, so do not call `on_log` for these warnings.
    pass_on_warnings(run, directory, reporter, directory.log)
    reporter.ended(outcome)
    return outcome


def train_to_end(run: TrainingRun, directory: RunDir, reporter: Reporter, evaluator: Evaluator | None) -> Outcome:
    """Train the remaining iterations. Then write the last checkpoint, sample grid and metrics."""
    output, total = run.recipe.output, run.recipe.train.iterations
    run.directory = directory.path
    clock = Clock(run)
    grids = GridSampler(run)
    run.start()
    reporter.started(run, directory)
    with Interrupt(reporter.stopping, run.ranks.leave_at_once) as interrupt:
        while run.iteration < total and not must_end(run, interrupt):
            train_iteration(run)
            run.after_iteration(run)
            reporter.trained(run)
            if run.pending_warnings:
                pass_on_warnings(run, directory, reporter)
            if run.iteration % output.log_every == 0 or run.iteration == total or run.stop_reason is not None:
                check_finite(run)
                row = clock.row()
                log(run, directory, row)
                reporter.logged(row)
            if run.iteration % output.sample_every == 0 and run.iteration < total:
                save_grid(run, directory, grids)
            if run.iteration % output.checkpoint_every == 0 and run.iteration < total:
                save(run, directory)
            if evaluator is not None and run.iteration < total and evaluator.due():
                evaluate(run, directory, evaluator, reporter)
        save(run, directory)
        save_grid(run, directory, grids)
        # If a finished run is resumed, the metrics of its last iteration exist already.
        missing = evaluator is not None and not directory.has_metrics_at(run.iteration)
        # Skip the final metrics after an interruption: the resumed run computes them.
        if evaluator is not None and missing and not interrupt.requested:
            evaluate(run, directory, evaluator, reporter)
            missing = False
    return Outcome(run.iteration, clock.seconds, missing or not run.finished(), run.stop_reason)


def follow(run: TrainingRun) -> Outcome:
    """Train the same iterations as `train`, but write no files. All ranks except the first call this function.

    Raises:
        NonFiniteError: a loss or a parameter is NaN or infinite.
    """
    clock = Clock(run)
    output, total = run.recipe.output, run.recipe.train.iterations
    with closing_plugins(run), run.ranks.shared_failures():
        run.start()
        with Interrupt(leave=run.ranks.leave_at_once) as interrupt:
            # Match the loop in `train_to_end`, because all ranks must make the same collective calls in the same order.
            while run.iteration < total and not must_end(run, interrupt):
                train_iteration(run)
                run.after_iteration(run)
                # Only the first rank shows the warnings, because they are the same on every rank.
                run.pending_warnings.clear()
                if run.iteration % output.log_every == 0:
                    check_finite(run)
                # The first rank now writes a checkpoint, which contains the random state of every rank.
                if run.iteration % output.checkpoint_every == 0 and run.iteration < total:
                    check_finite(run)
                    gather_rank_states(run)
            check_finite(run)
            gather_rank_states(run)
    run.on_stop(run)
    return Outcome(run.iteration, clock.seconds, not run.finished(), run.stop_reason)


@contextmanager
def closing_plugins(run: TrainingRun) -> Iterator[None]:
    """Run the `with` block. If the block fails, call `on_stop` of all plugins, so that they close their files."""
    try:
        yield
    except Exception as error:
        run.failure = str(error) or type(error).__name__
        # Suppress an error in `on_stop`, because it would hide the first error.
        with suppress(Exception):
            run.on_stop(run)
        raise


def must_end(run: TrainingRun, interrupt: Interrupt) -> bool:
    """Return True if a plugin or a signal has requested the end of the run on any rank."""
    own = run.stop_reason is not None or interrupt.requested
    if run.ranks.size == 1 or not run.ranks.any(own):
        return own
    reasons = [reason for reason in run.ranks.all_gather(run.stop_reason or "") if reason]
    run.stop_reason = reasons[0] if reasons else None
    interrupt.requested = not reasons
    return True


def check_finite(run: TrainingRun) -> None:
    """Raise NonFiniteError if a loss or a parameter is NaN or infinite. This call makes the CPU wait for the GPU."""
    # Report D's loss terms first, because a NaN in D makes all loss terms of G NaN one step later.
    broken = {
        f"the {player}'s {name}": value.item()
        for player in reversed(PLAYERS)
        for name, value in run.values[player].items()
        if not math.isfinite(value)
    }
    hint = (
        "The last checkpoint is from before that and is kept. Remedies that help most often: a lower learning rate, a "
        'gradient penalty on the discriminator, precision = "fp32"'
    )
    if broken:
        (first, value), others = next(iter(broken.items())), list(broken)[1:]
        also = f", and so is {', '.join(others)}" if others else ""
        raise NonFiniteError(f"iteration {run.iteration}: {first} is {value}{also}. {hint}")
    for player in PLAYERS:
        if not torch.stack([torch.isfinite(p).all() for p in run.parameters[player]]).all():
            raise NonFiniteError(f"iteration {run.iteration}: the {player}'s parameters are not finite. {hint}")


def scheduled_values(run: TrainingRun) -> dict[str, float]:
    """Return the value of each setting with a schedule, by its key in the recipe, such as `tricks.r1.gamma`.

    The values are those of the next iteration, like the learning rates in the log.
    """
    return {
        f"{component.key}.{name}": setting.at(run)
        for component in run.recipe.components.values()
        for name, setting in component.config
        if isinstance(setting, Schedule)
    }


def plugin_values(run: TrainingRun) -> dict[str, float]:
    """Return the numbers from the `log_values` hooks. This call makes the CPU wait for the GPU.

    If two plugins use the same name, the second name starts with the key of its plugin. NaN and infinite numbers are
    left out, because JSON cannot represent these numbers.
    """
    values: dict[str, float] = {}
    names: set[str] = set()
    with fork_rng(run.device):
        for implementation in run.hooks.of("log_values"):
            for name, value in (implementation.call(run) or {}).items():
                unique = f"{implementation.key}.{name}" if name in names else name
                names.add(unique)
                if math.isfinite(number := float(value)):
                    values[unique] = number
    return values


def log(run: TrainingRun, directory: RunDir, row: dict[str, Any]) -> None:
    """Write a row to `log.jsonl`, and pass it to the plugins' `on_log` hooks."""
    directory.log(row)
    # Restore the random state afterwards: random numbers drawn in `on_log` must not affect the training.
    with fork_rng(run.device):
        run.on_log(run, row)


def pass_on_warnings(
    run: TrainingRun, directory: RunDir, reporter: Reporter, write: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """Show the pending warnings of the plugins and write them to the log.

    `write` is a function that writes one log row. By default, the function `log` is used, which also calls the `on_log`
    hooks.
    """
    # Empty the list before calling `on_log` hooks, because these hooks may add warnings for the next call.
    pending, run.pending_warnings = run.pending_warnings, []
    for sentence in pending:
        row = {"iteration": run.iteration, "warning": sentence}
        log(run, directory, row) if write is None else write(row)
        reporter.warned(sentence)


def save_grid(run: TrainingRun, directory: RunDir, grids: GridSampler) -> None:
    """Draw and save a sample grid. Pass the picture to the `on_grid` hooks, and the samples to `on_samples` hooks."""
    image, samples = grids.draw()
    save_png(image, directory.grid(run.iteration), {"z": grids.digest})
    with fork_rng(run.device):
        run.on_grid(run, image)
        run.on_samples(run, samples, grids.layout.condition)


def evaluate(run: TrainingRun, directory: RunDir, evaluator: Evaluator, reporter: Reporter) -> None:
    """Compute the metrics, and log them with the settings that affect their values, such as the number of images.

    If a metric fails, show a warning and continue.
    """
    row = evaluator.row(strict=False)
    pass_on_warnings(run, directory, reporter)
    log(run, directory, row)
    if row["metrics"]:
        reporter.evaluated(run.iteration, row["metrics"], row["seconds"])


def save(run: TrainingRun, directory: RunDir) -> None:
    """Check for NaN and infinity, write a checkpoint and the generator file, and delete old checkpoints."""
    check_finite(run)
    save_checkpoint(run, directory)
    save_generator(run, directory.generator_file)
    directory.prune(run.recipe.output.keep_checkpoints)


class Clock:
    """Clock that measures the time and speed of the training in this process."""

    def __init__(self, run: TrainingRun, now: Callable[[], float] = time.perf_counter) -> None:
        self.run = run
        self.now = now
        self.start = self.last = now()
        self.steps = run.step_counts["discriminator"]

    @property
    def seconds(self) -> float:
        """Time in seconds since the clock was created."""
        return self.now() - self.start

    def row(self) -> dict[str, Any]:
        """Return a row for `log.jsonl`: losses, learning rates, values logged by plugins, and real images per second.

        The speed is measured since the last row. This call makes the CPU wait for the GPU.
        """
        run = self.run
        values = scheduled_values(run) | plugin_values(run)
        losses = {p: {name: value.item() for name, value in run.values[p].items()} for p in PLAYERS}
        now, steps = self.now(), run.step_counts["discriminator"]
        images = (steps - self.steps) * run.recipe.train.batch_size
        row = {
            "iteration": run.iteration,
            "seconds": round(now - self.start, 3),
            "images_per_second": round(images / (now - self.last), 1),
            "learning_rate": {player: run.learning_rate(player) for player in PLAYERS},
            "loss": losses,
        }
        if values:
            row["values"] = values
        self.last, self.steps = now, steps
        return row
