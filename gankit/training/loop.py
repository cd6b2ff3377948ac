"""Training loop: iterations, log rows, sample grids, checkpoints and metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch

from gankit.errors import NonFiniteError
from gankit.evaluation.evaluator import Evaluator
from gankit.formatting import describe_best, plural
from gankit.images.io import save_png
from gankit.plugin.schedule import Schedule
from gankit.plugin.slots import PLAYERS
from gankit.runtime.rng import fork_rng
from gankit.runtime.signals import Interrupt
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import GridSampler
from gankit.storage.run_dir import RunDir
from gankit.training.reporter import Outcome, Reporter
from gankit.training.rollback import describe_rollback, roll_back
from gankit.training.run import TrainingRun
from gankit.training.state import gather_rank_states, save_checkpoint
from gankit.training.update import has_log_row, train_iteration


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
    run.directory = directory.path
    clock = Clock(run)
    grids = GridSampler(run)
    run.start()
    reporter.started(run, directory)
    log_rollbacks(run, directory, reporter)
    with Interrupt(reporter.stopping, run.ranks.leave_at_once) as interrupt:
        try:
            rolled_back = train_to_last_checkpoint(run, directory, reporter, evaluator, clock, grids, interrupt)
        except NonFiniteError:
            if not (rolled_back := roll_back(run, directory, str(non_finite(run)), run.iteration)):
                raise
        if rolled_back:
            reason = directory.read_rollbacks()[-1]["reason"]
            # A signal may have reached only some of the ranks. All of them must continue, or none.
            interrupted = run.ranks.any(interrupt.requested)
            return Outcome(run.iteration, clock.seconds, interrupted, reason, rolled_back=True)
        save_grid(run, directory, grids)
        if run.stop_reason is not None and directory.find_row("stopped", run.iteration) is None:
            directory.log({"iteration": run.iteration, "stopped": run.stop_reason})
        missing = evaluator is not None and directory.find_row("metrics", run.iteration) is None
        # Skip the final metrics after an interruption: the resumed run computes them.
        if evaluator is not None and not (missing and interrupt.requested):
            complete_evaluation(run, directory, evaluator, reporter)
            missing = False
    interrupted = missing or not run.finished()
    return Outcome(run.iteration, clock.seconds, interrupted, run.stop_reason, best_so_far(run).get("best"))


def train_to_last_checkpoint(
    run: TrainingRun,
    directory: RunDir,
    reporter: Reporter,
    evaluator: Evaluator | None,
    clock: Clock,
    grids: GridSampler,
    interrupt: Interrupt,
) -> bool:
    """Train the remaining iterations and write the last checkpoint. Return True if the run was rolled back instead.

    Raises:
        NonFiniteError: a loss or a parameter is NaN or infinite.
    """
    output, total = run.recipe.output, run.recipe.train.iterations
    if needs_first_checkpoint(run):
        save(run, directory)
    # A checkpoint is written before the evaluation of its iteration. A resumed run may have to do this evaluation.
    if evaluator is not None and run.iteration > 0 and not run.finished():
        if directory.find_row("metrics", run.iteration) is not None or evaluator.due():
            complete_evaluation(run, directory, evaluator, reporter)
        stop_without_improvement(run)
    while run.iteration < total and not must_end(run, interrupt):
        train_iteration(run)
        run.after_iteration(run)
        reporter.trained(run)
        if run.pending_warnings:
            pass_on_warnings(run, directory, reporter)
        if run.collapsed_since is not None and roll_back(run, directory, str(run.stop_reason), run.collapsed_since):
            return True
        if must_log(run):
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
            stop_without_improvement(run)
    save(run, directory)
    return False


def follow(run: TrainingRun) -> Outcome:
    """Train the same iterations as `train`, but write no files. All ranks except the first call this function.

    Raises:
        NonFiniteError: a loss or a parameter is NaN or infinite.
    """
    clock = Clock(run)
    with closing_plugins(run), run.ranks.shared_failures():
        run.start()
        with Interrupt(leave=run.ranks.leave_at_once) as interrupt:
            try:
                rolled_back = follow_to_last_checkpoint(run, interrupt)
            except NonFiniteError:
                if not (rolled_back := roll_back(run, None, str(non_finite(run)), run.iteration)):
                    raise
            interrupted = run.ranks.any(interrupt.requested) if rolled_back else not run.finished()
    run.on_stop(run)
    return Outcome(run.iteration, clock.seconds, interrupted, run.stop_reason, rolled_back=rolled_back)


def follow_to_last_checkpoint(run: TrainingRun, interrupt: Interrupt) -> bool:
    """Train the remaining iterations on a rank that writes no files. Return True if the run was rolled back instead.

    The collective calls and their order are the same as in `train_to_last_checkpoint`.

    Raises:
        NonFiniteError: a loss or a parameter is NaN or infinite.
    """
    total, checkpoint_every = run.recipe.train.iterations, run.recipe.output.checkpoint_every
    if needs_first_checkpoint(run):
        check_finite(run)
        gather_rank_states(run)
    while run.iteration < total and not must_end(run, interrupt):
        train_iteration(run)
        run.after_iteration(run)
        # Only the first rank shows the warnings, because they are the same on every rank.
        run.pending_warnings.clear()
        if run.collapsed_since is not None and roll_back(run, None, str(run.stop_reason), run.collapsed_since):
            return True
        if must_log(run):
            check_finite(run)
        # At these iterations, the first rank writes a checkpoint. The checkpoint needs the random state of every rank.
        if run.iteration % checkpoint_every == 0 and run.iteration < total:
            check_finite(run)
            gather_rank_states(run)
    check_finite(run)
    gather_rank_states(run)
    return False


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


def must_log(run: TrainingRun) -> bool:
    """Return True if the losses of this iteration must be checked and logged. The result is the same on all ranks."""
    return has_log_row(run, run.iteration) or run.stop_reason is not None


def needs_first_checkpoint(run: TrainingRun) -> bool:
    """Return True if a checkpoint of iteration 0 is needed, so that the run can always be rolled back."""
    return run.recipe.train.rollbacks > 0 and run.iteration == run.rollbacks == 0


def log_rollbacks(run: TrainingRun, directory: RunDir, reporter: Reporter) -> None:
    """Log each rollback that is not in the log yet, and show it to the user."""
    if not (records := directory.read_rollbacks()):
        return
    logged = {row["rollback"]["number"] for row in directory.read_log() if "rollback" in row}
    for number, record in enumerate(records, 1):
        if number not in logged:
            sentence = describe_rollback(run, number, record)
            places = {"number": number, "from": record["from"], "to": record["to"]}
            # Log the best value again. It may be from an iteration after the checkpoint, whose rows were removed.
            row = {"iteration": run.iteration, "warning": sentence, "rollback": places}
            log(run, directory, row | best_so_far(run))
            reporter.warned(sentence)


def check_finite(run: TrainingRun) -> None:
    """Raise NonFiniteError if a loss or a parameter is NaN or infinite. This call makes the CPU wait for the GPU."""
    if (fact := non_finite(run)) is None:
        return
    tried = f"{plural(run.rollbacks, 'rollback')} did not help. " if run.rollbacks else ""
    more = "" if run.rollbacks else ", or train.rollbacks = 3 to return to the last checkpoint"
    raise NonFiniteError(
        f"iteration {run.iteration}: {fact}. {tried}The last checkpoint is from before that and is kept. Remedies that "
        f'help most often: a lower learning rate, a gradient penalty on the discriminator, precision = "fp32"{more}'
    )


def non_finite(run: TrainingRun) -> str | None:
    """Return text about a loss or a parameter that is NaN or infinite, such as `the generator's adversarial is nan`.

    If all values are finite, return None. This call makes the CPU wait for the GPU.
    """
    # Report D's loss terms first, because a NaN in D makes all loss terms of G NaN one step later.
    broken = {
        f"the {player}'s {name}": value.item()
        for player in reversed(PLAYERS)
        for name, value in run.values[player].items()
        if not math.isfinite(value)
    }
    if broken:
        (first, value), others = next(iter(broken.items())), list(broken)[1:]
        also = f", and so is {', '.join(others)}" if others else ""
        return f"{first} is {value}{also}"
    for player in PLAYERS:
        if not torch.stack([torch.isfinite(p).all() for p in run.parameters[player]]).all():
            return f"the {player}'s parameters are not finite"
    return None


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

    If two plugins use the same name, the second name gets the key of its plugin as a prefix. NaN and infinite
    numbers are left out, because JSON cannot represent these numbers.
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
    """Draw and save a sample grid. Pass the image to the `on_grid` hooks and the samples to the `on_samples` hooks.

    For data that are not images, a few samples of the grid are also saved as files, before the image. So a saved image
    has all its files.
    """
    image, samples = grids.draw()
    grids.save_files(samples, directory.sample_files(run.iteration))
    save_png(image, directory.grid(run.iteration), {"z": grids.digest})
    with fork_rng(run.device):
        run.on_grid(run, image)
        run.on_samples(run, samples, grids.layout.condition)


def evaluate(run: TrainingRun, directory: RunDir, evaluator: Evaluator, reporter: Reporter) -> None:
    """Compute the metrics, and log them with the settings that affect their values, such as the number of images.

    If a metric fails, show a warning and continue. If the generator is the best so far by `output.keep_best`, write it
    to `best.safetensors`.
    """
    reporter.evaluating()
    row = evaluator.row(strict=False)
    pass_on_warnings(run, directory, reporter)
    improved = include_in_best(run, row["metrics"])
    log(run, directory, row | best_so_far(run))
    if row["metrics"]:
        reporter.evaluated(run.iteration, row["metrics"], row["seconds"])
    if improved:
        save_best(run, directory)


def include_in_best(run: TrainingRun, metrics: Mapping[str, float]) -> bool:
    """Include an evaluation in the record `run.best`. Return True if the generator is the best so far.

    An evaluation without the metric `output.keep_best`, for example because the metric failed, does not count.
    """
    if run.best is None or run.best.metric not in metrics:
        return False
    run.best = run.best.after(run.iteration, metrics[run.best.metric])
    return run.best.misses == 0


def save_best(run: TrainingRun, directory: RunDir) -> None:
    """Write the current generator to `best.safetensors`, with the metric and its value in the metadata."""
    save_generator(run, directory.best_file, **best_so_far(run))


def best_so_far(run: TrainingRun) -> dict[str, Any]:
    """Return `{"best": {"metric": ..., "value": ..., "iteration": ...}}`, or an empty dict if there is no value yet."""
    facts = run.best.facts() if run.best is not None else None
    return {} if facts is None else {"best": facts}


def complete_evaluation(run: TrainingRun, directory: RunDir, evaluator: Evaluator, reporter: Reporter) -> None:
    """Evaluate the generator, unless the log already has the metrics of this iteration.

    If an earlier process was killed after it wrote the row in the log, but before it wrote `best.safetensors`, write
    this file now.
    """
    row = directory.find_row("metrics", run.iteration)
    if row is None:
        evaluate(run, directory, evaluator, reporter)
    elif run.best is not None and run.best.evaluated < run.iteration and include_in_best(run, row["metrics"]):
        save_best(run, directory)


def stop_without_improvement(run: TrainingRun) -> None:
    """End the run if `output.keep_best` has not improved for `output.patience` evaluations."""
    best, patience = run.best, run.recipe.output.patience
    if best is None or patience is None or best.misses < patience or run.stop_reason is not None:
        return
    # Reset the number of evaluations without improvement. Otherwise, a resumed run would stop immediately.
    run.best = replace(best, misses=0)
    facts = best.facts()
    so_far = f"the best is {describe_best(facts)}" if facts is not None else "no value was finite"
    run.stop(f"{best.metric} has not improved for {plural(best.misses, 'evaluation')}; {so_far}")


def save(run: TrainingRun, directory: RunDir) -> None:
    """Write a checkpoint and the generator file, and delete old checkpoints.

    Raises:
        NonFiniteError: a loss or a parameter is NaN or infinite.
    """
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
        """Return a row for `log.jsonl`: losses, gradient norms, learning rates, plugin values, images per second.

        The speed, in real images, is measured since the last row. This call makes the CPU wait for the GPU.
        """
        run = self.run
        values = scheduled_values(run) | plugin_values(run)
        losses = {p: {name: value.item() for name, value in run.values[p].items()} for p in PLAYERS}
        norms = {p: run.gradient_norms[p].item() for p in PLAYERS if p in run.gradient_norms}
        # A norm may be infinite although clipping keeps the parameters finite. JSON cannot represent such a norm.
        norms = {p: norm for p, norm in norms.items() if math.isfinite(norm)}
        now, steps = self.now(), run.step_counts["discriminator"]
        images = (steps - self.steps) * run.recipe.train.batch_size
        row = {
            "iteration": run.iteration,
            "seconds": round(now - self.start, 3),
            "images_per_second": round(images / (now - self.last), 1),
            "learning_rate": {player: run.learning_rate(player) for player in PLAYERS},
            "loss": losses,
        }
        if norms:
            row["gradient_norm"] = norms
        if values:
            row["values"] = values
        self.last, self.steps = now, steps
        return row
