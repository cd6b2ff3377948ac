"""The loop. Read it from top to bottom: a run is iterations, an iteration is turns, a turn is one update."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from gankit.errors import BreakdownError
from gankit.evaluation.evaluator import Evaluator
from gankit.plugin.slots import PLAYERS
from gankit.runtime.rng import evaluating, own_randomness
from gankit.runtime.signals import Interrupt
from gankit.sampling.generator_file import sampled_generator, save_generator
from gankit.sampling.grid import GridSampler
from gankit.storage.run_dir import RunDir
from gankit.training.reporter import Outcome, Reporter
from gankit.training.run import Game
from gankit.training.state import hand_in_state, save_checkpoint
from gankit.training.update import play_iteration


def train(game: Game, directory: RunDir, reporter: Reporter, evaluator: Evaluator | None = None) -> Outcome:
    """Plays a game to its end, from wherever it stands, and leaves everything in the run directory.

    With several ranks it is the first that does so; the others `follow`.

    Args:
        game: with its data loaded.
        directory: of the run.
        reporter: who is told how it goes.
        evaluator: of the game, if its recipe has measures.

    Raises BreakdownError when the losses are no longer finite, GankitError when the disk is full.
    """
    with _told_to_plugins(game), game.ranks.in_company():
        outcome = _play(game, directory, reporter, evaluator)
    pass_on(game, directory, reporter)
    game.hooks.event("on_stop")(game)
    # Plugins have closed what they write to: what they still have to say goes past them.
    pass_on(game, directory, reporter, directory.log)
    reporter.ended(outcome)
    return outcome


def follow(game: Game) -> Outcome:
    """What a rank other than the first does of `train`: it plays the same iterations, and writes and tells nothing.

    Raises what `train` does.
    """
    clock = Clock(game)
    with _told_to_plugins(game), game.ranks.in_company():
        game.start()
        _follow(game)
    game.hooks.event("on_stop")(game)
    return Outcome(game.iteration, clock.seconds, not _played_out(game), game.stop_reason)


@contextmanager
def _told_to_plugins(game: Game) -> Iterator[None]:
    """Plugins hear of what breaks the run off, and close what they write to."""
    try:
        yield
    except Exception as error:
        game.failure = str(error) or type(error).__name__
        # Of what is wrong with such a run, the error is enough.
        with suppress(Exception):
            game.hooks.event("on_stop")(game)
        raise


def _follow(game: Game) -> None:
    """The iterations that are left; where the first rank writes a checkpoint, this one hands in its own state."""
    output, total = game.recipe.output, game.recipe.train.iterations
    with Interrupt(leave=game.ranks.leave_at_once) as interrupt:
        while game.iteration < total and not over(game, interrupt):
            play_iteration(game)
            game.after_iteration(game)
            # What plugins say on all ranks, the first one tells.
            game.said.clear()
            if game.iteration % output.log_every == 0:
                check_finite(game)
            if game.iteration % output.checkpoint_every == 0 and game.iteration < total:
                check_finite(game)
                hand_in_state(game)
        check_finite(game)
        hand_in_state(game)


def over(game: Game, interrupt: Interrupt) -> bool:
    """Whether a plugin or a signal ends the run here. On one rank, and it ends on all."""
    own = game.stop_reason is not None or interrupt.requested
    if game.ranks.size == 1 or not game.ranks.any(own):
        return own
    reasons = [reason for reason in game.ranks.everyones(game.stop_reason or "") if reason]
    game.stop_reason = reasons[0] if reasons else None
    interrupt.requested = not reasons
    return True


def _played_out(game: Game) -> bool:
    return game.iteration == game.recipe.train.iterations or game.stop_reason is not None


def _play(game: Game, directory: RunDir, reporter: Reporter, evaluator: Evaluator | None) -> Outcome:
    """The iterations that are left, and the last checkpoint, grid and measures."""
    output, total = game.recipe.output, game.recipe.train.iterations
    game.directory = directory.path
    clock = Clock(game)
    grids = GridSampler(game)
    game.start()
    reporter.began(game, directory)
    with Interrupt(reporter.stopping, game.ranks.leave_at_once) as interrupt:
        while game.iteration < total and not over(game, interrupt):
            play_iteration(game)
            game.after_iteration(game)
            reporter.played(game)
            if game.said:
                pass_on(game, directory, reporter)
            if game.iteration % output.log_every == 0 or game.iteration == total or game.stop_reason is not None:
                check_finite(game)
                row = clock.row()
                log(game, directory, row)
                reporter.logged(row)
            if game.iteration % output.sample_every == 0 and game.iteration < total:
                show(game, directory, grids, reporter)
            if game.iteration % output.checkpoint_every == 0 and game.iteration < total:
                save(game, directory)
            if evaluator is not None and game.iteration < total and evaluator.due():
                judge(game, directory, evaluator, reporter)
        save(game, directory)
        # A kill between this checkpoint and the last measures must not lose them for good, nor take them twice.
        noted = directory.measures_at(game.iteration)
        if any("protocol" not in row for row in noted):
            directory.save_grid(grids.draw(), game.iteration, grids.digest)
        else:
            show(game, directory, grids, reporter)
        left = evaluator is not None and not any("protocol" in row for row in noted)
        # Whoever interrupts a run does not want to wait for numbers; when it goes on, it takes them.
        if evaluator is not None and left and not interrupt.requested:
            judge(game, directory, evaluator, reporter)
            left = False
    return Outcome(game.iteration, clock.seconds, left or not _played_out(game), game.stop_reason)


def log(game: Game, directory: RunDir, row: dict[str, Any]) -> None:
    """A row, to log.jsonl and to the plugins. Leaves no trace in what is learnt."""
    directory.log(row)
    with own_randomness(game.device):
        game.on_log(game, row)


def pass_on(
    game: Game, directory: RunDir, reporter: Reporter, write: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """What plugins have to say, to the user and to the log."""
    # A plugin may have something to say about what it is told here: that is for the next time.
    said, game.said = game.said, []
    for sentence in said:
        row = {"iteration": game.iteration, "advice": sentence}
        log(game, directory, row) if write is None else write(row)
        reporter.advised(sentence)


def check_finite(game: Game) -> None:
    """Stops a run whose losses have become NaN or infinite. Waits for the device.

    Raises BreakdownError naming the player and the term.
    """
    # In the order of play: what begins with D is all over G's terms a turn later.
    broken = {
        f"the {player}'s {name}": value.item()
        for player in reversed(PLAYERS)
        for name, value in game.values[player].items()
        if not math.isfinite(value)
    }
    helps = (
        "The last checkpoint is from before and is kept. What helps most often: a lower learning rate, a gradient "
        'penalty on the discriminator, precision = "fp32"'
    )
    if broken:
        (first, value), others = next(iter(broken.items())), list(broken)[1:]
        with_it = f", and with it {', '.join(others)}" if others else ""
        raise BreakdownError(f"iteration {game.iteration}: {first} is {value}{with_it}. {helps}")
    for player in PLAYERS:
        if not torch.stack([torch.isfinite(p).all() for p in game.parameters[player]]).all():
            raise BreakdownError(f"iteration {game.iteration}: the {player}'s parameters are no longer finite. {helps}")


def show(game: Game, directory: RunDir, grids: GridSampler, reporter: Reporter) -> None:
    """A grid of samples, and the measures of every plugin that has some. Leaves no trace in what is learnt."""
    drawn = grids.draw()
    directory.save_grid(drawn, game.iteration, grids.digest)
    with own_randomness(game.device):
        game.on_grid(game, drawn)
    if found := measures(game):
        log(game, directory, {"iteration": game.iteration, "measures": found})
        reporter.measured(game.iteration, found)


def judge(game: Game, directory: RunDir, evaluator: Evaluator, reporter: Reporter) -> None:
    """The recipe's measures, with their protocol and their cost. What cannot be measured is said, and no more."""
    row = evaluator.row(forgiving=True)
    pass_on(game, directory, reporter)
    log(game, directory, row)
    if row["measures"]:
        reporter.measured(game.iteration, row["measures"], row["seconds"])


def measures(game: Game) -> dict[str, float]:
    """What plugins measure of the generator, by name. Leaves no trace in what is learnt."""
    generator, found = sampled_generator(game), dict[str, float]()
    for evaluate in game.evaluate:
        with torch.no_grad(), evaluating(generator), own_randomness(game.device):
            found |= evaluate(game, generator) or {}
    return found


def save(game: Game, directory: RunDir) -> None:
    """A checkpoint, and the generator alone. A game that has broken down is never saved."""
    check_finite(game)
    save_checkpoint(game, directory)
    save_generator(game, directory.generator_file)
    directory.prune(game.recipe.output.keep_checkpoints)


class Clock:
    """Time and images of this process."""

    def __init__(self, game: Game, now: Callable[[], float] = time.perf_counter) -> None:
        self.game = game
        self.now = now
        self.start = self.last = now()
        self.turns = game.turn_counts["discriminator"]

    @property
    def seconds(self) -> float:
        return self.now() - self.start

    def row(self) -> dict[str, Any]:
        """A line of log.jsonl: losses, rates, and real images shown to D a second since the line before.

        Waits for the device.
        """
        game = self.game
        losses = {p: {name: value.item() for name, value in game.values[p].items()} for p in PLAYERS}
        now, turns = self.now(), game.turn_counts["discriminator"]
        images = (turns - self.turns) * game.recipe.train.batch_size
        row = {
            "iteration": game.iteration,
            "seconds": round(now - self.start, 3),
            "images_per_second": round(images / (now - self.last), 1),
            "learning_rate": {player: game.learning_rate(player) for player in PLAYERS},
            "loss": losses,
        }
        self.last, self.turns = now, turns
        return row
