"""The loop. Read it from top to bottom: a run is iterations, an iteration is turns, a turn is one update."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gankit.aside import evaluating, own_randomness
from gankit.checkpoint import hand_in_state, save_checkpoint
from gankit.errors import BreakdownError, PluginError
from gankit.evaluation.evaluator import Evaluator
from gankit.game import Game, Turns
from gankit.interrupt import Interrupt
from gankit.kinds import PLAYERS, Player
from gankit.run_dir import RunDir
from gankit.sampling import GridSampler, sampled_generator, save_generator
from gankit.step import Step, Term


class Reporter(Protocol):
    """Who is told how the run is going."""

    def preparing(self, what: str) -> None:
        """What is done next before the run begins, which may take a while: `reading the images`."""
        ...

    def began(self, game: Game, directory: RunDir) -> None: ...

    def played(self, game: Game) -> None:
        """An iteration is over. Called every time, so it must not wait for the device."""
        ...

    def logged(self, row: dict[str, Any]) -> None: ...

    def measured(self, iteration: int, measures: dict[str, float], seconds: float = 0.0) -> None:
        """What plugins have measured of the generator at an iteration, by name, and what that took."""
        ...

    def advised(self, sentence: str) -> None:
        """A plugin has something to say about the run."""
        ...

    def stopping(self) -> None:
        """A signal asks for the end, which comes after this iteration. Called from the signal's handler."""
        ...

    def ended(self, outcome: Outcome) -> None: ...


class Silent:
    """A reporter that shows nothing; whoever wants to know one thing overrides one method."""

    def preparing(self, what: str) -> None: ...

    def began(self, game: Game, directory: RunDir) -> None: ...

    def played(self, game: Game) -> None: ...

    def logged(self, row: dict[str, Any]) -> None: ...

    def measured(self, iteration: int, measures: dict[str, float], seconds: float = 0.0) -> None: ...

    def advised(self, sentence: str) -> None: ...

    def stopping(self) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How a run came to its end."""

    iterations: int
    seconds: float
    """Of this process; a resumed run's earlier processes are not in it."""

    interrupted: bool = False
    """Whether something is left to do: iterations, or the last measures."""

    stop_reason: str | None = None
    """Why a plugin ended the run, if one did."""


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


def play_iteration(game: Game) -> None:
    """One cycle of turns."""
    order = game.turns(game) if game.turns is not None else None
    for player in order if order is not None else default_turns(game):
        play_turn(game, player)
    game.iteration += 1


def default_turns(game: Game) -> Turns:
    judged: list[Player] = ["discriminator"] * game.recipe.train.discriminator_turns
    return [*judged, "generator"]


def play_turn(game: Game, player: Player) -> None:
    """One player's update: draw, judge, one backward pass, one step of the optimiser."""
    parts = game.recipe.train.accumulate
    terms = due(game.terms[player], game.turn_counts[player], parts)
    values: dict[str, Tensor] = {}
    # D is a fixed judge in G's turn. Without gradients for its weights, a third of its backward pass is saved.
    frozen = game.parameters["discriminator"] if player == "generator" else []
    for weight in frozen:
        weight.requires_grad_(False)
    try:
        for _ in range(parts):
            with autocast(game):
                step = draw_step(game, player)
                game.before_step[player](game, step)
            for name, value in backward(game, step, player, terms).items():
                part = value / parts if parts > 1 else value
                values[name] = part + values[name] if name in values else part
    finally:
        for weight in frozen:
            weight.requires_grad_(True)
    if game.ranks.size > 1:
        share(game, player, values)
    game.after_backward(game, step, player)
    take_step(game, player)
    game.turn_counts[player] += 1
    # A lazy term keeps the value of the last turn that it acted on.
    game.values[player] = game.values[player] | values
    game.after_step[player](game, step)


def share(game: Game, player: Player, values: dict[str, Tensor]) -> None:
    """Averages over the ranks what the turn has left on each: gradients, the terms' values, the networks' statistics.

    Afterwards all that plugins decide by is the same on all ranks, and so is what the optimiser does.
    """
    parameters = game.parameters[player]
    # A rank that had no image of a class has no gradient for that class's network: a zero among the others'.
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    given = [float(p.grad is not None) for p in parameters]
    # Numbers copied to the device make the CPU wait for it, so usually there are none.
    known = torch.ones(len(given), device=game.device) if all(given) else torch.tensor(given, device=game.device)
    game.ranks.mean_([*gradients, known, *values.values(), *statistics(game)])
    for index, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        if parameter.grad is None and known[index] > 0:
            parameter.grad = gradient


def statistics(game: Game) -> list[Tensor]:
    """What the networks note of the images that pass through them, batch norm's running averages for instance."""
    return [
        state
        for network in game.networks.values()
        for state in network.state_dict(keep_vars=True).values()
        if not isinstance(state, nn.Parameter) and state.is_floating_point()
    ]


def due(terms: list[Term], turn: int, parts: int) -> list[Term]:
    """The terms that act on this turn, weighted for one of its parts; a lazy one counts for the turns it leaves out."""
    return [Term(t.name, t.function, t.weight * t.every / parts, t.every) for t in terms if turn % t.every == 0]


def draw_step(game: Game, player: Player) -> Step:
    """Real images, z, and what G makes of it: with gradients in G's turn, without in D's."""
    real, labels = game.draw()
    z = game.draw_latent(len(real), labels)
    with torch.set_grad_enabled(player == "generator"):
        fake = game.generator(z, labels).float()
    return Step(game, player, real, labels, z, fake)


def backward(game: Game, step: Step, player: Player, terms: list[Term]) -> dict[str, Tensor]:
    """Adds the gradient of the terms' weighted sum to the player's parameters; returns each term's value."""
    if game.backward is not None:
        with autocast(game):
            return game.backward(game, step, player, terms)
    with autocast(game):
        values = {term.name: value_of(term, step) for term in terms}
        # Every operation is one more kernel to be launched, forwards and backwards: none for a weight of 1.
        weighted = [values[t.name] if t.weight == 1 else t.weight * values[t.name] for t in terms]
        loss = reduce(add, weighted) if weighted else None
    if loss is not None and loss.requires_grad:
        loss.backward()
    return {name: value.detach() for name, value in values.items()}


def value_of(term: Term, step: Step) -> Tensor:
    """Raises PluginError, naming the term, when it gives anything but a scalar tensor."""
    value = term.function(step)
    if not isinstance(value, Tensor) or value.dim():
        gave = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
        raise PluginError(f"the {step.player}'s term {term.name!r} gave {gave}; a scalar tensor is wanted")
    return value


def take_step(game: Game, player: Player) -> None:
    """The optimiser's step at the rate that the schedules give for this iteration."""
    optimizer, factor = game.optimizers[player], game.rate_factor(player)
    for group, rate in zip(optimizer.param_groups, game.base_rates[player], strict=True):
        group["lr"] = rate * factor
    optimizer.step()
    optimizer.zero_grad()


def autocast(game: Game) -> torch.autocast:
    return torch.autocast(game.device.type, torch.bfloat16, enabled=game.bf16)


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
