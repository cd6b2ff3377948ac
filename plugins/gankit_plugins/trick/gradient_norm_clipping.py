"""Gradients clipped by their norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from gankit import Player, Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import Run


class GradientNormClipping(Plugin):
    """Shortens a player's gradient to a greatest length, all parameters taken as one vector.

    Source: Pascanu 2013 (On the difficulty of training recurrent neural networks), algorithm 1. The direction
    stays. With Adam the length of a single gradient matters little; what is cut off are the outliers, which would
    spoil its averages for long.

    When to use: losses that jump now and then, with penalties of second order above all.
    When not: as a cure for a rate that is too high, which it hides.
    """

    name = "gradient_norm_clipping"

    class Config(Settings):
        norm: float = Field(1.0, gt=0, description="the greatest length of the gradient")
        players: list[Player] = Field(
            ["generator", "discriminator"], min_length=1, description="whose gradients are clipped"
        )

    config: Config

    @hookimpl
    def after_backward(self, run: Run, player: Player) -> None:
        if player in self.config.players:
            torch.nn.utils.clip_grad_norm_(run.parameters[player], self.config.norm)
