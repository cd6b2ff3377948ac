"""Start a run from its recipe, or resume one from its newest checkpoint."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gankit.errors import GankitError, InputError
from gankit.evaluation.evaluator import Evaluator
from gankit.recipe.diff import flattened
from gankit.recipe.recipe import Recipe
from gankit.recipe.toml import merge, parse_overrides, read_toml
from gankit.runtime.malloc import keep_freed_memory
from gankit.runtime.peak_memory import peak_memory
from gankit.runtime.ranks import Ranks, current_ranks
from gankit.storage.checkpoint import newest_whole_checkpoint, verify
from gankit.storage.provenance import changed_plugins
from gankit.storage.run_dir import RunDir, State
from gankit.training.assembly import assemble
from gankit.training.loop import follow, train
from gankit.training.provenance import changed_machine, environment_record
from gankit.training.reporter import Outcome, Reporter
from gankit.training.run import TrainingRun
from gankit.training.state import load_checkpoint

RESUMABLE = ("train.iterations", "train.device", "output.")
"""Settings that `resume` may change. All others affect the result of the training."""


def start(
    recipe: Recipe, out: str | Path | None, reporter: Reporter, device: str | None = None
) -> tuple[RunDir, Outcome]:
    """Assemble a recipe and train it to the end. All checks come before the first file is written.

    Args:
        recipe: recipe of the run.
        out: run directory, or None for one named after the recipe and the time.
        reporter: receives the events.
        device: device to use instead of `train.device`.

    Raises:
        InputError: the recipe, the data or `out` cannot be used.
        GankitError: the training failed.
    """
    if device is not None:
        # The recorded recipe holds the device, so that a resumed run uses it again.
        recipe = replace(recipe, train=recipe.train.model_copy(update={"device": device}))
    ranks = current_ranks()
    first = ranks.rank == 0
    reporter = reporter if first else Reporter()
    with ranks.shared_failures():
        run, evaluator = ranks.run_on_all_ranks(lambda: _new_run(recipe, out, ranks, reporter))
        ranks.check_same(_facts(run))
        created = ranks.run_on_all_ranks(lambda: RunDir.create(recipe, out) if first else None)
        path = ranks.all_gather(str(created.path) if created is not None else "")[0]
        directory = created if created is not None else RunDir(Path(path))
        if first:
            directory.write_environment(environment_record(run))
        return directory, train_on_ranks(run, evaluator, directory, reporter)


def resume(path: str | Path, overrides: Iterable[str], reporter: Reporter) -> tuple[RunDir, Outcome]:
    """Continue a run from its newest undamaged checkpoint, with the same result as without the interruption.

    Args:
        path: run directory.
        overrides: new values of `train.iterations`, `train.device` and `output`.
        reporter: receives the events, and facts such as damaged checkpoints and changed plugins.

    Raises:
        InputError: there is no run, another process trains it, or its checkpoint does not fit its recipe.
        GankitError: the training failed.
    """
    ranks, overrides = current_ranks(), list(overrides)
    first = ranks.rank == 0
    reporter = reporter if first else Reporter()
    with ranks.shared_failures():
        directory = ranks.run_on_all_ranks(lambda: _opened(path, ranks))
        run, evaluator = ranks.run_on_all_ranks(lambda: _resumed_run(directory, overrides, ranks, reporter))
        ranks.check_same(_facts(run) | _checkpoint_facts(directory, run.iteration))
        if first:
            _record_resume(run, directory)
        if run.iteration >= run.recipe.train.iterations:
            reporter.informed(f"the run is complete: {run.iteration} iterations; train.iterations=N trains further")
        return directory, train_on_ranks(run, evaluator, directory, reporter)


def _new_run(
    recipe: Recipe, out: str | Path | None, ranks: Ranks, reporter: Reporter
) -> tuple[TrainingRun, Evaluator | None]:
    """Return a new run with its data and its evaluator, after a check that `out` is free."""
    prepare_torch(recipe)
    if out is not None:
        RunDir.check_free(Path(out))
    reporter.preparing("assembling the networks")
    run = assemble(recipe, ranks=ranks)
    for sentence in run.warnings:
        reporter.warned(sentence)
    evaluator = _load_data(run, reporter)
    assert run.batches is not None
    images, batch = run.batches.size, recipe.train.batch_size
    if images < batch:
        reporter.warned(
            f"data: there are {images} images, and train.batch_size = {batch}, so each of them is several times in a "
            "batch; D memorises them soon, and G learns to copy them"
        )
    return run, evaluator


def _load_data(run: TrainingRun, reporter: Reporter) -> Evaluator | None:
    """Load the data of a run. Return its evaluator on the first rank, if the recipe has metrics."""
    reporter.preparing("reading the images")
    run.load_data()
    if not run.metrics or run.ranks.rank:
        return None
    reporter.preparing("preparing the metrics")
    return Evaluator(run)


def prepare_torch(recipe: Recipe) -> None:
    """Set the options of torch and of the allocator from the recipe's `[train]` table, for the whole process."""
    if recipe.train.keep_freed_memory:
        keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = recipe.train.tf32
    torch.backends.cudnn.allow_tf32 = recipe.train.tf32
    # cuDNN's benchmark finds the fastest kernel for constant shapes, but may select another one in the next run.
    torch.backends.cudnn.benchmark = not recipe.train.deterministic
    if recipe.train.deterministic:
        # cuBLAS is deterministic only with a workspace of fixed size, which it reads when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(recipe.train.deterministic)


def _opened(path: str | Path, ranks: Ranks) -> RunDir:
    """Return the run directory, locked by the first rank."""
    try:
        directory = RunDir.open(path)
    except InputError as error:
        if ranks.rank == ranks.local_rank:
            raise
        raise InputError(f"{error} on this machine; to resume, every machine must see the run directory") from error
    if ranks.rank == 0:
        directory.lock()
    return directory


def _resumed_run(
    directory: RunDir, overrides: list[str], ranks: Ranks, reporter: Reporter
) -> tuple[TrainingRun, Evaluator | None]:
    """Return the run with its data and its evaluator, in the state of the newest undamaged checkpoint."""
    recipe = _recipe_to_resume(directory, overrides)
    prepare_torch(recipe)
    reporter.preparing("assembling the networks")
    run = assemble(recipe, ranks=ranks)
    before, now = directory.read_last_environment(), environment_record(run)
    for sentence in [*changed_plugins(before, now["plugins"]), *changed_machine(before, now)]:
        reporter.informed(sentence)
    # Loading the data may draw random numbers, so the checkpoint, which restores the random state, is loaded after it.
    evaluator = _load_data(run, reporter)
    checkpoint, damaged = newest_whole_checkpoint(directory)
    for sentence in damaged:
        reporter.informed(f"{sentence}; using the checkpoint before it")
    if checkpoint is not None:
        load_checkpoint(run, checkpoint)
        reporter.informed(f"resuming from {checkpoint}")
        if (then := verify(checkpoint).get("ranks", 1)) != ranks.size:
            reporter.informed(_changed_ranks(run, then))
        # A run that a plugin has ended trains on when it is resumed. If it was killed before its ending was recorded,
        # it keeps the reason and ends again.
        if directory.has_stopped_at(run.iteration):
            run.stop_reason = None
    elif damaged:
        reporter.informed("no checkpoint is whole: starting again from the beginning")
    iterations = recipe.train.iterations
    if overrides and iterations < run.iteration:
        raise InputError(
            f"train.iterations: {iterations} given, and {run.iteration} are done already; give more, or leave it out"
        )
    return run, evaluator


def _recipe_to_resume(directory: RunDir, overrides: list[str]) -> Recipe:
    for override in overrides:
        key = override.partition("=")[0]
        if not key.startswith(RESUMABLE):
            raise InputError(
                f"{key}: a resumed run keeps its recipe; only train.iterations, train.device and output.* may change"
            )
    raw = merge(read_toml(directory.recipe_file), parse_overrides(overrides))
    recorded = directory.read_last_environment().get("plugins", {})
    return Recipe.from_dict(raw, source=directory.recipe_file, recorded=recorded)


def _changed_ranks(run: TrainingRun, then: int) -> str:
    """Return the message for a run that is resumed with another number of ranks."""
    own = [key for key, plugin in run.plugins.items() if plugin.state_scope != "shared"]
    lost = " and the state of ".join(["random states", *own])
    return (
        f"ranks: {then} wrote the checkpoint and {run.ranks.size} resume it; the {lost} belong to single ranks and "
        "start anew, everything else continues"
    )


def _record_resume(run: TrainingRun, directory: RunDir) -> None:
    """Remove what was written after the checkpoint, and record this process in `environment.json`."""
    began, now = directory.read_environment(), environment_record(run)
    directory.rewind(run.iteration)
    directory.write_recipe(run.recipe)
    directory.keep_sources(run.recipe)
    directory.write_environment(began | {"resumed": [*began.get("resumed", []), now | {"from": run.iteration}]})


def _facts(run: TrainingRun) -> dict[str, Any]:
    """Return facts that must be equal on all ranks. Paths are left out, because machines may have different ones."""
    assert run.batches is not None
    settings = {
        # For file plugins, compare only the class name.
        key: value.rpartition(":")[2] if key.endswith(".use") else value
        for key, value in flattened(run.recipe.to_dict()).items()
        if key.endswith(".use") or not (isinstance(value, str) and os.sep in value)
    }
    sources = {f"the source of {key}": c.resolved.source_digest[:12] for key, c in run.recipe.components.items()}
    return settings | sources | {"the number of images": run.batches.size}


def _checkpoint_facts(directory: RunDir, iteration: int) -> dict[str, Any]:
    """Return the iteration and a hash of the checkpoint that a rank resumes from."""
    state = directory.checkpoint(iteration) / "state.json"
    digest = hashlib.sha256(state.read_bytes()).hexdigest()[:12] if state.exists() else None
    return {"the iteration of the checkpoint": iteration, "the checkpoint": digest}


def train_on_ranks(run: TrainingRun, evaluator: Evaluator | None, directory: RunDir, reporter: Reporter) -> Outcome:
    """Copy the weights of the first rank to all ranks, and train. Only the first rank writes and reports."""
    run.ranks.broadcast_(state for network in run.networks.values() for state in network.state_dict().values())
    if run.ranks.rank == 0:
        return train_and_conclude(run, evaluator, directory, reporter)
    assert run.batches is not None
    try:
        return follow(run)
    finally:
        run.batches.close()


def train_and_conclude(run: TrainingRun, evaluator: Evaluator | None, directory: RunDir, reporter: Reporter) -> Outcome:
    """Train. Afterwards, also after an error, record the ending, close the data and unlock the run directory."""
    assert run.batches is not None
    began = time.perf_counter()
    try:
        outcome = train(run, directory, reporter, evaluator)
    except BaseException as error:
        # The caller shows the error, so the reporter receives only the last event.
        conclude(run, evaluator, directory, began, *_failure(error), reporter=Reporter())
        reporter.concluded(directory)
        raise
    else:
        state: State = "interrupted" if outcome.interrupted else "stopped" if outcome.stop_reason else "finished"
        conclude(run, evaluator, directory, began, state, outcome.stop_reason, reporter)
        reporter.concluded(directory)
        return outcome
    finally:
        run.batches.close()
        directory.release()


def _failure(error: BaseException) -> tuple[State, str | None]:
    """Return the final state of a run that ends with an error, and the error's message."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", None
    return "failed", str(error) if isinstance(error, GankitError) else f"{type(error).__name__}: {error}"


def conclude(
    run: TrainingRun,
    evaluator: Evaluator | None,
    directory: RunDir,
    began: float,
    state: State,
    reason: str | None,
    reporter: Reporter,
) -> None:
    """Record the ending of the run and the cost of the evaluation. A full disk here does not make the run fail."""
    ended: dict[str, Any] = {
        "state": state,
        "reason": reason,
        "iteration": run.iteration,
        "seconds": round(time.perf_counter() - began, 3),
        "peak_memory": peak_memory(run.device),
    }
    if evaluator is not None:
        ended["evaluation"] = evaluator.budget.account()
        reporter.informed(evaluator.budget.in_words())
    try:
        directory.record_ending(ended)
    except GankitError as error:
        reporter.informed(f"{directory.environment_file}: the ending is not recorded: {error}")
