"""Gradients clipped number by number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from gankit import Player, Plugin, Settings, hookimpl

if TYPE_CHECKING:
    from gankit import Run


class GradientValueClipping(Plugin):
    """Keeps every number of a player's gradient within [-value, value].

    Source: Mikolov 2012 (Statistical Language Models Based on Neural Networks), section 3.3. The direction of the
    gradient changes where a number is cut.

    When to use: single parameters whose gradients explode while the rest behave.
    When not: otherwise; `gradient_norm_clipping` keeps the direction.
    """

    name = "gradient_value_clipping"

    class Config(Settings):
        value: float = Field(0.1, gt=0, description="no number of the gradient is larger than this in absolute value")
        players: list[Player] = Field(
            ["generator", "discriminator"], min_length=1, description="whose gradients are clipped"
        )

    config: Config

    @hookimpl
    def after_backward(self, run: Run, player: Player) -> None:
        if player in self.config.players:
            torch.nn.utils.clip_grad_value_(run.parameters[player], self.config.value)
