"""Learned weights of several loss terms, from the uncertainty of each (Kendall 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from gankit import ExtraNetwork, InputError, LossTerm, Player, Plugin, Run, Settings, hookimpl

PLAYERS: tuple[Player, ...] = ("generator", "discriminator")


def uncertainty_weight(log_variance: Tensor) -> Tensor:
    """Return 1 / (2 sigma^2) for s = log sigma^2, elementwise: the weight of a loss term (Kendall 2018, equation 7)."""
    return (-log_variance).exp() / 2


def log_sigma(log_variances: Tensor) -> Tensor:
    """Return sum_i log sigma_i, a scalar, for s_i = log sigma_i^2, (n,) (Kendall 2018, equation 7)."""
    return log_variances.sum() / 2


class LogVariances(nn.Module):
    """Parameters s_i = log sigma_i^2 of n loss terms, (n,). They start at 0, so that sigma is 1.

    Args:
        count: n, number of loss terms.
        rate: factor r of the learning rate: s = r p for the parameter p. Adam changes p by about its learning rate.
    """

    def __init__(self, count: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.scaled = nn.Parameter(torch.zeros(count))

    def forward(self) -> Tensor:
        """Return s, (n,)."""
        return self.rate * self.scaled


class UncertaintyWeights(Plugin):
    """Weights of loss terms that are learned with the networks: L = sum_i 1 / (2 sigma_i^2) L_i + log sigma_i.

    Source: Kendall 2018, equation 7. `generator` and `discriminator` list the names of the player's loss terms that get
    a learned weight. The names are those of the log. L_i includes the weight of the recipe, and the other terms keep
    their weights. The player's optimiser trains s_i = log sigma_i^2. For a constant L_i, sigma_i^2 becomes L_i, so each
    weighted term becomes 1/2. The log shows the unweighted terms, and each sigma as `sigma_PLAYER_TERM`.

    When to use: for terms that are errors or negative log-likelihoods, such as distances and cross entropies of several
    outputs, in place of a search for their weights.
    When not: for terms that may be negative, such as those of `wasserstein`, because sigma then shrinks without limit.
    An adversarial term is no likelihood, so the theory does not cover it. With `unrolled_discriminator`, the simulated
    steps use the weights of the recipe.
    """

    name = "uncertainty_weights"

    class Config(Settings):
        generator: tuple[str, ...] = Field((), description="names of G's loss terms with a learned weight")
        discriminator: tuple[str, ...] = Field((), description="names of D's loss terms with a learned weight")
        rate: float = Field(
            10.0, gt=0, description="learning rate of s, relative to that of the player with Adam; paper: 1"
        )

        @model_validator(mode="after")
        def _some_terms(self) -> Self:
            if not self.generator and not self.discriminator:
                raise ValueError("generator and discriminator are empty; name loss terms of one of the players")
            for names in (self.generator, self.discriminator):
                if len(set(names)) < len(names):
                    raise ValueError("a loss term is listed twice; remove one")
            return self

    config: Config

    def names(self, player: Player) -> tuple[str, ...]:
        """Return the names of the player's terms with a learned weight."""
        return self.config.generator if player == "generator" else self.config.discriminator

    @hookimpl
    def extra_networks(self) -> Mapping[str, ExtraNetwork]:
        return {
            network_name(player): ExtraNetwork(LogVariances(len(names), self.config.rate), trained_by=(player,))
            for player in PLAYERS
            if (names := self.names(player))
        }

    @hookimpl
    def on_start(self, run: Run) -> None:
        for player in PLAYERS:
            terms = [term.name for term in run.terms[player]]
            if unknown := next((name for name in self.names(player) if name not in terms), None):
                raise InputError(
                    f"uncertainty_weights: {player}: the {player} has no loss term {unknown!r}; its terms are "
                    f"{', '.join(terms)}"
                )

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if self.names(player):
            s = run.networks[network_name(player)]
            yield LossTerm("log_sigma", lambda step: log_sigma(s()))

    @hookimpl
    def loss_weights(self, run: Run, player: Player) -> dict[str, Tensor] | None:
        names = self.names(player)
        if not names:
            return None
        return dict(zip(names, uncertainty_weight(run.networks[network_name(player)]()), strict=True))

    @hookimpl
    def log_values(self, run: Run) -> dict[str, Tensor]:
        return {
            f"sigma_{player}_{name}": (s.detach() / 2).exp()
            for player in PLAYERS
            if self.names(player)
            for name, s in zip(self.names(player), run.networks[network_name(player)](), strict=True)
        }


def network_name(player: Player) -> str:
    """Return the name of the extra network with the log variances of a player's terms."""
    return f"uncertainty_{player}"
