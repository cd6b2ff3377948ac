"""Functions to start a run from its recipe, and to resume a run from its newest checkpoint."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gankit.errors import GankitError, InputError
from gankit.evaluation.evaluator import Evaluator
from gankit.formatting import plural
from gankit.recipe.diff import flattened
from gankit.recipe.recipe import Recipe
from gankit.recipe.toml import overrides_from_here, read_toml
from gankit.runtime.malloc import keep_freed_memory
from gankit.runtime.memory_limit import is_out_of_memory
from gankit.runtime.peak_memory import peak_memory
from gankit.runtime.ranks import Ranks, current_ranks
from gankit.storage.checkpoint import newest_whole_checkpoint, verify
from gankit.storage.provenance import changed_plugins
from gankit.storage.run_dir import RunDir, State
from gankit.training.assembly import assemble, assemble_unchecked
from gankit.training.initialisation import changed_origins, initialise
from gankit.training.loop import follow, train
from gankit.training.memory_check import available_memory, fitting_settings
from gankit.training.provenance import changed_machine, environment_record
from gankit.training.reporter import Outcome, Reporter
from gankit.training.resume_checks import (
    check_data,
    check_no_results,
    check_overrides,
    check_settings,
    find_moved_plugins,
    fixed_settings,
    hint_at_moved_data,
    replace_setting,
)
from gankit.training.rollback import apply_rollback, complete_rollback
from gankit.training.run import TrainingRun
from gankit.training.state import load_checkpoint

IMBALANCE = 10
"""Minimum ratio of the largest to the smallest class size for a warning that recommends `train.class_balanced`."""


def start(
    recipe: Recipe, out: str | Path | None, reporter: Reporter, device: str | None = None
) -> tuple[RunDir, Outcome]:
    """Build a run from a recipe and train the run to its end. All checks are done before the first file is written.

    Args:
        recipe: recipe of the run.
        out: run directory. If None, the directory is named after the recipe and the time.
        reporter: object that receives the events of the run.
        device: device to use instead of `train.device`.

    Raises:
        InputError: the recipe, the data or `out` cannot be used.
        GankitError: the training failed.
    """
    return _after_rollbacks(*_start(recipe, out, reporter, device), reporter)


def _start(
    recipe: Recipe, out: str | Path | None, reporter: Reporter, device: str | None = None
) -> tuple[RunDir, Outcome]:
    """Build a run and train it to its end or its first rollback. See `start`."""
    if device is not None:
        # The device is stored in the recipe, so that a resumed run uses the same device.
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
            directory.write_initial_weights(run.initial_weights)
            directory.write_environment(environment_record(run))
        try:
            return directory, train_on_ranks(run, evaluator, directory, reporter)
        except InputError:
            # A plugin rejected the recipe before the first iteration. Remove the new directory, so that a corrected
            # recipe can use it.
            if first and run.iteration == 0:
                shutil.rmtree(directory.path, ignore_errors=True)
            raise


def resume(
    path: str | Path,
    overrides: Iterable[str],
    reporter: Reporter,
    restart: bool = False,
    allow_changed_data: bool = False,
) -> tuple[RunDir, Outcome]:
    """Continue a run from its newest undamaged checkpoint. The result is the same as without the interruption.

    Args:
        path: run directory.
        overrides: changed settings, as `key=value`. Only `train.iterations`, `train.device`, `train.rollbacks`,
            `train.rollback_factor`, the settings of `output`, and paths to moved files may change.
        reporter: object that receives the events of the run, and messages about damaged checkpoints and changed
            plugins.
        restart: True to move the results to a folder `before-N`, and to start again from the beginning.
        allow_changed_data: True to accept images or labels that have changed since the checkpoint was written.

    Raises:
        InputError: the run does not exist, another process is training it, or its checkpoint does not fit its recipe.
        GankitError: the training failed.
    """
    outcome = _resume(path, overrides, reporter, restart, allow_changed_data)
    return _after_rollbacks(*outcome, reporter)


def _after_rollbacks(directory: RunDir, outcome: Outcome, reporter: Reporter) -> tuple[RunDir, Outcome]:
    """Resume a run after each rollback, until the run ends without a rollback or is interrupted.

    The returned duration includes all attempts.
    """
    seconds = 0.0
    while outcome.rolled_back and not outcome.interrupted:
        seconds += outcome.seconds
        # Free the memory of the old networks and images before `_resume` creates new ones. The run and its plugins
        # refer to each other, so only the garbage collector can free them.
        gc.collect()
        directory, outcome = _resume(directory.path, [], reporter, allow_changed_data=True)
    return directory, replace(outcome, seconds=seconds + outcome.seconds)


def _resume(
    path: str | Path,
    overrides: Iterable[str],
    reporter: Reporter,
    restart: bool = False,
    allow_changed_data: bool = False,
) -> tuple[RunDir, Outcome]:
    """Continue a run to its end or its next rollback. See `resume`."""
    ranks, overrides = current_ranks(), list(overrides)
    first = ranks.rank == 0
    reporter = reporter if first else Reporter()
    with ranks.shared_failures():
        directory = ranks.run_on_all_ranks(lambda: _opened(path, ranks))
        if restart:
            aside = ranks.run_on_all_ranks(lambda: directory.set_results_aside() if first else None)
            reporter.informed(f"the results are now in {aside}; starting again from the beginning")
        run, evaluator = ranks.run_on_all_ranks(
            lambda: _resumed_run(directory, overrides, allow_changed_data, ranks, reporter)
        )
        ranks.check_same(_facts(run) | _checkpoint_facts(directory, run.iteration))
        if first:
            _record_resume(run, directory)
        if run.iteration >= run.recipe.train.iterations:
            reporter.informed(f"the run is complete: {run.iteration} iterations; train.iterations=N trains further")
        return directory, train_on_ranks(run, evaluator, directory, reporter)


def _new_run(
    recipe: Recipe, out: str | Path | None, ranks: Ranks, reporter: Reporter
) -> tuple[TrainingRun, Evaluator | None]:
    """Build a new run and load its data. Return the run and its evaluator.

    The evaluator is None if the recipe has no metrics, and on all ranks except the first.

    Raises:
        InputError: the recipe, the data or `out` cannot be used.
    """
    prepare_torch(recipe)
    if out is not None:
        RunDir.check_free(Path(out))
    reporter.preparing("assembling the networks")
    run = assemble(recipe, ranks=ranks)
    for sentence in run.warnings:
        reporter.warned(sentence)
    for sentence in initialise(run):
        reporter.informed(sentence)
    evaluator = _load_data(run, reporter)
    for sentence in data_warnings(run):
        reporter.warned(sentence)
    return run, evaluator


def data_warnings(run: TrainingRun) -> list[str]:
    """Return warnings about the data of a run: too few images for one batch, and classes of very unequal size."""
    assert run.batches is not None, "load_data comes first"
    images, train, counts = run.batches.size, run.recipe.train, run.class_counts
    warnings = []
    if images < train.batch_size:
        warnings.append(
            f"data: there are {images} images, and train.batch_size = {train.batch_size}, so each of them is several "
            "times in a batch; D memorises them soon, and G learns to copy them"
        )
    if run.spec.conditional and counts and not train.class_balanced and max(counts) >= IMBALANCE * min(counts):
        rare, common = (
            f"{run.spec.class_names[counts.index(count)]} has {plural(count, 'image')}"
            for count in (min(counts), max(counts))
        )
        warnings.append(
            f"data: class {rare}, and class {common}, so G learns little about rare classes; the usual advice is "
            f"train.class_balanced = true, with a batch size that is a multiple of {len(counts)}"
        )
    return warnings


def _load_data(run: TrainingRun, reporter: Reporter) -> Evaluator | None:
    """Load the data of a run, and return the run's evaluator.

    The evaluator is None if the recipe has no metrics, and on all ranks except the first.
    """
    reporter.preparing("reading the images")
    run.load_data()
    if not run.metrics or run.ranks.rank:
        return None
    reporter.preparing("preparing the metrics")
    return Evaluator(run)


def prepare_torch(recipe: Recipe) -> None:
    """Apply the recipe's options for PyTorch and the memory allocator. The options affect the whole process."""
    if recipe.train.keep_freed_memory:
        keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = recipe.train.tf32
    torch.backends.cudnn.allow_tf32 = recipe.train.tf32
    # cuDNN's benchmark mode measures which kernel is fastest. The chosen kernel may differ between runs.
    torch.backends.cudnn.benchmark = not recipe.train.deterministic
    if recipe.train.deterministic:
        # cuBLAS is deterministic only with a fixed workspace size. It reads the size from this variable when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(recipe.train.deterministic)


def _opened(path: str | Path, ranks: Ranks) -> RunDir:
    """Open a run directory, lock it if this is the first rank, and return it."""
    try:
        directory = RunDir.open(path)
    except InputError as error:
        if ranks.rank == ranks.local_rank:
            raise
        raise InputError(f"{error} on this machine; to resume, every machine must see the run directory") from error
    if ranks.rank == 0:
        directory.lock()
        complete_rollback(directory)
    return directory


def _resumed_run(
    directory: RunDir, overrides: list[str], allow_changed_data: bool, ranks: Ranks, reporter: Reporter
) -> tuple[TrainingRun, Evaluator | None]:
    """Build a run, load its data and restore its newest undamaged checkpoint. Return the run and its evaluator.

    The evaluator is None if the recipe has no metrics, and on all ranks except the first.
    """
    recipe = _recipe_to_resume(directory, overrides, reporter)
    checkpoint, damaged = newest_whole_checkpoint(directory)
    source = directory.recipe_file
    if checkpoint is not None and any(override.startswith("init.") for override in overrides):
        raise InputError(
            f"{source}: init: the run has a checkpoint, which contains the weights, so it does not read init.*; leave "
            "it out, or start a new run"
        )
    if checkpoint is None:
        check_no_results(directory, damaged, recipe.output.checkpoint_every)
    else:
        saved = verify(checkpoint)
        check_settings(saved["settings"], recipe, source)
    prepare_torch(recipe)
    reporter.preparing("assembling the networks")
    with hint_at_moved_data(directory):
        run = assemble(recipe, ranks=ranks)
    before, now = directory.read_last_environment(), environment_record(run)
    if checkpoint is None:
        for sentence in [*initialise(run), *changed_origins(before, run)]:
            reporter.informed(sentence)
    for sentence in [*changed_plugins(before, now["plugins"]), *changed_machine(before, now)]:
        reporter.informed(sentence)
    rollbacks = directory.read_rollbacks()
    # Set the number of rollbacks before loading the data, because the order of the data depends on this number.
    run.rollbacks = len(rollbacks)
    # Load the checkpoint after the data, because loading the data may draw random numbers and change the random state.
    with hint_at_moved_data(directory):
        evaluator = _load_data(run, reporter)
    if checkpoint is not None:
        for sentence in damaged:
            reporter.informed(f"{sentence}; using the checkpoint before it")
        if changed := check_data(saved["data"], run.data_record, source, allow_changed_data):
            reporter.informed(changed)
        load_checkpoint(run, checkpoint)
        if run.rollbacks > saved.get("rollbacks", 0):
            apply_rollback(run, rollbacks[-1])
        reporter.informed(f"resuming from {checkpoint}")
        if (then := saved.get("ranks", 1)) != ranks.size:
            reporter.informed(_changed_ranks(run, then))
        # The checkpoint may contain a plugin's reason to stop. If the run directory records this stop, the user has
        # resumed a stopped run on purpose, so the reason is cleared. Otherwise the process was killed before it
        # recorded the stop, so the reason is kept and the run stops again.
        if directory.has_stopped_at(run.iteration):
            run.stop_reason = None
    iterations = recipe.train.iterations
    if overrides and iterations < run.iteration:
        raise InputError(
            f"train.iterations: {iterations} given, and {run.iteration} are done already; give more, or leave it out"
        )
    return run, evaluator


def _recipe_to_resume(directory: RunDir, overrides: list[str], reporter: Reporter) -> Recipe:
    raw, changes = read_toml(directory.recipe_file), overrides_from_here(overrides)
    check_overrides(changes, raw, directory.recipe_file)
    for key, value in flattened(changes).items():
        replace_setting(raw, key, value)
    for sentence in find_moved_plugins(raw, directory):
        reporter.informed(sentence)
    recorded = directory.read_last_environment().get("plugins", {})
    return Recipe.from_dict(raw, source=directory.recipe_file, recorded=recorded)


def _changed_ranks(run: TrainingRun, then: int) -> str:
    """Return a message for a resumed run whose number of ranks has changed. `then` is the previous number."""
    own = [key for key, plugin in run.plugins.items() if plugin.state_scope != "shared"]
    lost = " and the state of ".join(["random states", *own])
    return (
        f"ranks: {then} wrote the checkpoint and {run.ranks.size} resume it; the {lost} belong to single ranks and "
        "start anew, everything else continues"
    )


def _record_resume(run: TrainingRun, directory: RunDir) -> None:
    """Prepare the directory of a resumed run.

    Remove the log rows of iterations after the checkpoint. Update the recipe, the copies of plugin files and
    `environment.json`.
    """
    began, now = directory.read_environment(), environment_record(run)
    directory.rewind(run.iteration)
    directory.write_recipe(run.recipe)
    directory.keep_sources(run.recipe)
    directory.write_initial_weights(run.initial_weights)
    resumed = {"resumed": [*began.get("resumed", []), now | {"from": run.iteration}]}
    # After a restart, `environment.json` does not exist, so `began` is empty.
    directory.write_environment(began | resumed if began else now)


def _facts(run: TrainingRun) -> dict[str, Any]:
    """Return the values that must be equal on all ranks: settings, hashes of source code, and number of images.

    Paths are omitted, because they may differ between machines.
    """
    assert run.batches is not None
    sources = {f"the source of {key}": c.resolved.source_digest[:12] for key, c in run.recipe.components.items()}
    train = run.recipe.train
    rollbacks = {
        "train.rollbacks": train.rollbacks,
        "train.rollback_factor": train.rollback_factor,
        "the number of rollbacks": run.rollbacks,
    }
    return fixed_settings(run.recipe) | rollbacks | sources | {"the number of images": run.batches.size}


def _checkpoint_facts(directory: RunDir, iteration: int) -> dict[str, Any]:
    """Return the iteration and a hash of the checkpoint to resume from. Both must be equal on all ranks."""
    state = directory.checkpoint(iteration) / "state.json"
    digest = hashlib.sha256(state.read_bytes()).hexdigest()[:12] if state.exists() else None
    return {"the iteration of the checkpoint": iteration, "the checkpoint": digest}


def train_on_ranks(run: TrainingRun, evaluator: Evaluator | None, directory: RunDir, reporter: Reporter) -> Outcome:
    """Copy the first rank's networks to all ranks, then train. Only the first rank writes files and reports events."""
    run.ranks.broadcast_(state for network in run.networks.values() for state in network.state_dict().values())
    limit = available_memory(run.device)
    try:
        if run.ranks.rank == 0:
            return train_and_conclude(run, evaluator, directory, reporter)
        assert run.batches is not None
        try:
            return follow(run)
        finally:
            run.batches.close()
    except (RuntimeError, MemoryError) as error:
        if limit is None or not is_out_of_memory(error):
            raise
    # Leave the `except` block first. The traceback of the error refers to the tensors that fill the memory.
    gc.collect()
    raise GankitError(f"the memory is full; {fitting_settings(run, limit, assemble_unchecked)}")


def train_and_conclude(run: TrainingRun, evaluator: Evaluator | None, directory: RunDir, reporter: Reporter) -> Outcome:
    """Train a run. Afterwards, even after an error, record its end, close its data and unlock its directory."""
    assert run.batches is not None
    began = time.perf_counter()
    try:
        outcome = train(run, directory, reporter, evaluator)
    except BaseException as error:
        # The caller reports the error, so call `conclude` with a reporter that does nothing.
        conclude(run, evaluator, directory, began, *_failure(error), reporter=Reporter())
        # Suppress an error of the reporter, because it would hide the error of the run.
        with suppress(Exception):
            reporter.concluded(directory)
        raise
    else:
        state: State = "interrupted" if outcome.interrupted else "stopped" if outcome.stop_reason else "finished"
        state = "rolled back" if outcome.rolled_back else state
        conclude(run, evaluator, directory, began, state, outcome.stop_reason, reporter)
        reporter.concluded(directory)
        return outcome
    finally:
        run.batches.close()
        directory.release()


def _failure(error: BaseException) -> tuple[State, str | None]:
    """Return the final state of a run that ended with `error`, and the error message.

    For KeyboardInterrupt, the message is None.
    """
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
    """Record in `environment.json` how the run ended. If the file cannot be written, report a message."""
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
