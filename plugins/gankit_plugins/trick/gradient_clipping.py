"""Gradient clipping, by norm and by value."""

from __future__ import annotations

from pydantic import Field
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from gankit import Player, Plugin, Run, Settings, hookimpl
from gankit_plugins.layers.weights import BOTH, Players


class GradientNormClipping(Plugin):
    """Clipping of the gradient norm of each player. The norm is that of the gradient of all parameters together.

    Source: Pascanu 2013 (On the difficulty of training recurrent neural networks), algorithm 1. A gradient above the
    limit is scaled down, so its direction does not change. Clipping limits rare large gradients, which would distort
    Adam's averages for a long time. If the limit is exceeded in every step, clipping has little effect with Adam,
    because Adam's updates hardly depend on the gradient's scale.

    When to use: with losses that sometimes rise suddenly, especially with penalties on D's gradient.
    When not: against a learning rate that is too high, because clipping hides the problem.
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
    """Limit for every value of a player's gradient: values are clipped to [-value, value].

    Source: Mikolov 2012 (Statistical Language Models Based on Neural Networks), section 3.3. Clipping changes the
    direction of the gradient.

    When to use: for networks in which the gradients of single parameters explode.
    When not: if the direction of the gradient should stay the same; use `gradient_norm_clipping`.
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
