"""One iteration: the D steps, then the G step."""

from __future__ import annotations

from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from gankit.errors import PluginError
from gankit.plugin.slots import Player
from gankit.plugin.step import Step, Term
from gankit.training.run import Game, Turns


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
