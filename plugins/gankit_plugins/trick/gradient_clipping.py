"""Gradient clipping, by norm and by value."""

from __future__ import annotations

from pydantic import Field
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from gankit import Player, Plugin, Run, Settings, hookimpl
from gankit_plugins.layers.weights import BOTH, Players


class GradientNormClipping(Plugin):
    """Scales a player's gradient down to a largest norm, over all parameters together.

    Source: Pascanu 2013 (On the difficulty of training recurrent neural networks), algorithm 1. The direction does not
    change. Clipping removes outliers, which would distort Adam's averages for a long time. Otherwise the norm of a
    gradient has little effect with Adam.

    When to use: losses that jump sometimes, above all with penalties on D's gradient.
    When not: against a learning rate that is too high, which it hides.
    """

    name = "gradient_norm_clipping"

    class Config(Settings):
        norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
        players: Players = Field(BOTH, description="players whose gradients are clipped")

    config: Config

    @hookimpl
    def after_backward(self, run: Run, player: Player) -> None:
        if player in self.config.players:
            clip_grad_norm_(run.parameters[player], self.config.norm)


class GradientValueClipping(Plugin):
    """Clips every value of a player's gradient to [-value, value].

    Source: Mikolov 2012 (Statistical Language Models Based on Neural Networks), section 3.3. Clipping changes the
    direction of the gradient.

    When to use: networks in which the gradients of single parameters explode.
    When not: otherwise; `gradient_norm_clipping` keeps the direction.
    """

    name = "gradient_value_clipping"

    class Config(Settings):
        value: float = Field(0.1, gt=0, description="largest absolute value in the gradient")
        players: Players = Field(BOTH, description="players whose gradients are clipped")

    config: Config

    @hookimpl
    def after_backward(self, run: Run, player: Player) -> None:
        if player in self.config.players:
            clip_grad_value_(run.parameters[player], self.config.value)
