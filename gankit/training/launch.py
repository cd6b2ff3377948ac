"""A run from its recipe to its end, and the way back into one that was cut short."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gankit.errors import GankitError, InputError
from gankit.evaluation.evaluator import Evaluator
from gankit.recipe.diff import flattened
from gankit.recipe.recipe import Recipe
from gankit.recipe.toml import merge, parse_overrides, read_toml
from gankit.report.page import write_report
from gankit.report.run_record import State
from gankit.runtime.malloc import keep_freed_memory
from gankit.runtime.peak_memory import peak_memory
from gankit.runtime.ranks import Ranks, here
from gankit.storage.checkpoint import newest_whole_checkpoint, ranks_of
from gankit.storage.provenance import changed_plugins
from gankit.storage.run_dir import RunDir
from gankit.training.loop import follow, train
from gankit.training.provenance import changed_machine, environment_record
from gankit.training.reporter import Outcome, Reporter
from gankit.training.run import Game
from gankit.training.state import load_checkpoint

Tell = Callable[[str], None]
"""Takes a sentence for the user."""

RESUMABLE = ("train.iterations", "train.device", "output.")
"""What `resume` may change: the rest decides what is learnt."""


def start(
    recipe: Recipe, out: str | Path | None, reporter: Reporter, tell: Tell, device: str | None = None
) -> tuple[RunDir, Outcome]:
    """Assembles a recipe and plays it.

    Nothing is written before all that can be checked is.

    Args:
        recipe: what to train.
        out: the run directory; None for one named after the recipe and the time.
        reporter: who is told how it goes.
        tell: takes advice on the recipe.
        device: in place of `train.device`.

    Raises:
        InputError: the recipe, the data or `out` cannot be used.
        GankitError: the run broke down.
    """
    if device is not None:
        # On record, so that a resumed run goes on where it was.
        recipe = replace(recipe, train=recipe.train.model_copy(update={"device": device}))
    ranks = here()
    writes = ranks.rank == 0
    with ranks.in_company():
        game, evaluator = ranks.alike(lambda: _assembled(recipe, out, ranks, reporter, tell if writes else _nobody))
        ranks.check_alike(_facts(game))
        directory = _directory_of_all(ranks, ranks.alike(lambda: RunDir.create(recipe, out) if writes else None))
        if writes:
            directory.write_environment(environment_record(game))
        return directory, play_together(game, evaluator, directory, reporter, tell)


def _nobody(sentence: str) -> None:
    """Is told what another rank tells the user."""


def _assembled(
    recipe: Recipe, out: str | Path | None, ranks: Ranks, reporter: Reporter, tell: Tell
) -> tuple[Game, Evaluator | None]:
    """A new game with its data and what measures it, and an `out` in which a run may be begun."""
    prepare_torch(recipe)
    if out is not None:
        RunDir.check_free(Path(out))
    reporter.preparing("assembling the networks")
    game = Game(recipe, ranks=ranks)
    for sentence in game.advice:
        tell(f"advice: {sentence}")
    evaluator = _with_data(game, reporter)
    for sentence in _advice_on_few(game):
        tell(f"advice: {sentence}")
    return game, evaluator


def _advice_on_few(game: Game) -> list[str]:
    """A sentence when a batch holds more images than there are."""
    assert game.batches is not None
    images, batch = game.batches.size, game.recipe.train.batch_size
    if images >= batch:
        return []
    return [
        f"data: {images} images, and a batch holds {batch}, so each shows the same ones several times; D soon knows "
        "them by heart, and G learns to copy them"
    ]


def _with_data(game: Game, reporter: Reporter) -> Evaluator | None:
    """Reads a game's images; returns what measures it."""
    reporter.preparing("reading the images")
    game.load_data()
    if game.measures:
        reporter.preparing("getting the measures ready")
    return evaluator_of(game)


def _facts(game: Game) -> dict[str, Any]:
    """What must be the same on all machines that play a game. Where files lie need not be."""
    assert game.batches is not None
    settings = {
        # Of a plugin in a file, its class counts.
        key: value.rpartition(":")[2] if key.endswith(".use") else value
        for key, value in flattened(game.recipe.to_dict()).items()
        if key.endswith(".use") or not (isinstance(value, str) and os.sep in value)
    }
    sources = {f"the source of {key}": part.found.source_digest[:12] for key, part in game.recipe.parts.items()}
    return settings | sources | {"the number of images": game.batches.size}


def _facts_of_checkpoint(directory: RunDir, iteration: int) -> dict[str, Any]:
    """Which checkpoint a run goes on from."""
    state = directory.checkpoint(iteration) / "state.json"
    seal = hashlib.sha256(state.read_bytes()).hexdigest()[:12] if state.exists() else None
    return {"the iteration to go on from": iteration, "its checkpoint": seal}


def _directory_of_all(ranks: Ranks, own: RunDir | None) -> RunDir:
    """The run directory, as the first rank made it; the others write nothing into it."""
    path = ranks.everyones(str(own.path) if own is not None else "")[0]
    return own if own is not None else RunDir(Path(path))


def play_together(
    game: Game, evaluator: Evaluator | None, directory: RunDir, reporter: Reporter, tell: Tell
) -> Outcome:
    """`play_to_the_end` on the first rank, which writes and tells; the others play along."""
    game.ranks.take_over(state for network in game.networks.values() for state in network.state_dict().values())
    if game.ranks.rank == 0:
        return play_to_the_end(game, evaluator, directory, reporter, tell)
    assert game.batches is not None
    try:
        return follow(game)
    finally:
        game.batches.close()


def resume(path: str | Path, overrides: Iterable[str], reporter: Reporter, tell: Tell) -> tuple[RunDir, Outcome]:
    """Goes on with a run from its newest whole checkpoint, as if it had never stopped.

    Args:
        path: the run directory.
        overrides: of `train.iterations`, `train.device` and `output`.
        reporter: who is told how it goes.
        tell: takes what the user should know: damaged checkpoints, plugins that have changed.

    Raises:
        InputError: there is no run, another process has it, or its checkpoint does not fit its recipe.
        GankitError: the run broke down.
    """
    ranks, overrides = here(), list(overrides)
    writes = ranks.rank == 0
    with ranks.in_company():
        directory = ranks.alike(lambda: _opened(path, ranks))
        game, evaluator = ranks.alike(
            lambda: _restored(directory, overrides, ranks, reporter, tell if writes else _nobody)
        )
        ranks.check_alike(_facts(game) | _facts_of_checkpoint(directory, game.iteration))
        if writes:
            _record_resume(game, directory)
        if game.iteration >= game.recipe.train.iterations and writes:
            tell(f"the run is complete: {game.iteration} iterations; train.iterations=N goes on")
        return directory, play_together(game, evaluator, directory, reporter, tell)


def _opened(path: str | Path, ranks: Ranks) -> RunDir:
    """The run directory; the first rank keeps other processes out of it."""
    try:
        directory = RunDir.open(path)
    except InputError as error:
        if ranks.rank == ranks.local_rank:
            raise
        raise InputError(f"{error} on this machine; to resume, every machine must see the run directory") from error
    if ranks.rank == 0:
        directory.lock()
    return directory


def _restored(
    directory: RunDir, overrides: list[str], ranks: Ranks, reporter: Reporter, tell: Tell
) -> tuple[Game, Evaluator | None]:
    """The game with its data and what measures it, where the newest whole checkpoint has left it. Writes nothing."""
    recipe = _recipe_to_resume(directory, overrides)
    prepare_torch(recipe)
    reporter.preparing("assembling the networks")
    game = Game(recipe, ranks=ranks)
    before, now = directory.read_last_environment(), environment_record(game)
    for sentence in [*changed_plugins(before, now["plugins"]), *changed_machine(before, now)]:
        tell(sentence)
    evaluator = _with_data(game, reporter)
    checkpoint, complaints = newest_whole_checkpoint(directory)
    for sentence in complaints:
        tell(f"{sentence}; going on from the one before")
    if checkpoint is not None:
        load_checkpoint(game, checkpoint)
        tell(f"resuming from {checkpoint}")
        if (then := ranks_of(checkpoint)) != ranks.size:
            tell(_other_ranks(game, then))
        # Killed while it ended, it still has to end. Once it has, whoever resumes it wants it to play on.
        if directory.has_stopped_at(game.iteration):
            game.stop_reason = None
    elif complaints:
        tell("no checkpoint is whole: starting again from the beginning")
    wanted = recipe.train.iterations
    if overrides and wanted < game.iteration:
        raise InputError(
            f"train.iterations: {wanted} given, and {game.iteration} are played already; name more, or leave it out"
        )
    return game, evaluator


def _other_ranks(game: Game, then: int) -> str:
    """What begins anew when a run goes on with another number of ranks."""
    own = [key for key, plugin in game.plugins.items() if plugin.state_is != "shared"]
    anew = ", and of ".join(["random numbers", *own])
    return (
        f"ranks: {then} wrote the checkpoint and {game.ranks.size} go on from it; what each has of its own, of {anew}, "
        "begins anew, and all else goes on"
    )


def _record_resume(game: Game, directory: RunDir) -> None:
    """Takes back what was written after the checkpoint, and notes who goes on from it."""
    began, now = directory.read_environment(), environment_record(game)
    directory.rewind(game.iteration)
    directory.write_recipe(game.recipe)
    directory.keep_sources(game.recipe)
    directory.write_environment(began | {"resumed": [*began.get("resumed", []), now | {"from": game.iteration}]})


def evaluator_of(game: Game) -> Evaluator | None:
    """What takes the measures of a game's recipe, on the first rank; None when it has none."""
    return Evaluator(game) if game.measures and game.ranks.rank == 0 else None


def play_to_the_end(
    game: Game, evaluator: Evaluator | None, directory: RunDir, reporter: Reporter, tell: Tell
) -> Outcome:
    """`train`, and nothing is left running or locked behind it. How it ended is on record, however it did."""
    assert game.batches is not None
    began = time.perf_counter()
    try:
        outcome = train(game, directory, reporter, evaluator)
    except BaseException as error:
        # Of what is wrong with such a run, the error is enough.
        conclude(game, evaluator, directory, began, *broken_off(error), lambda sentence: None)
        raise
    else:
        state: State = "interrupted" if outcome.interrupted else "stopped" if outcome.stop_reason else "finished"
        conclude(game, evaluator, directory, began, state, outcome.stop_reason, tell)
        return outcome
    finally:
        game.batches.close()
        directory.release()


def broken_off(error: BaseException) -> tuple[State, str | None]:
    """What a run that ends with an error is in, and why."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", None
    return "broken down", str(error) if isinstance(error, GankitError) else f"{type(error).__name__}: {error}"


def conclude(
    game: Game,
    evaluator: Evaluator | None,
    directory: RunDir,
    began: float,
    state: State,
    reason: str | None,
    tell: Tell,
) -> None:
    """Notes how the run ended and what evaluation cost, and writes the report. What was learnt is safe by now, so no
    failure here is one of the run."""
    ended = {
        "state": state,
        "reason": reason,
        "iteration": game.iteration,
        "seconds": round(time.perf_counter() - began, 3),
        "peak_memory": peak_memory(game.device),
    }
    if evaluator is not None:
        ended["evaluation"] = evaluator.budget.account()
        tell(evaluator.budget.in_words())
    try:
        directory.write_end(ended)
        write_report(directory)
    except Exception as error:
        tell(
            f"report.html is not written: {' '.join(str(error).split())}; `gankit report {directory.path}` tries again"
        )


def prepare_torch(recipe: Recipe) -> None:
    """The process-wide switches that a recipe's `[train]` table decides."""
    if recipe.train.keep_freed_memory:
        keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = recipe.train.tf32
    torch.backends.cudnn.allow_tf32 = recipe.train.tf32
    # Trying out kernels pays for shapes that never change, but which one wins may differ from run to run.
    torch.backends.cudnn.benchmark = not recipe.train.deterministic
    if recipe.train.deterministic:
        # cuBLAS repeats itself only with a workspace of fixed size, which it looks up when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(recipe.train.deterministic)


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
