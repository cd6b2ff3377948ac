"""Base class of losses with one function of the logits for each player."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from torch import Tensor

from gankit import LossTerm, Player, Plugin, Step, hookimpl


class AdversarialLoss(Plugin):
    """Loss with one function of the logits for each player.

    With `uses_targets` the functions also take the targets of the step, with `uses_weights` also its weights.
    """

    kind = "loss"

    discriminator_loss: ClassVar[Callable[..., Tensor]]
    """Function from (real_logits, fake_logits[, real_target, fake_target[, real_weight, fake_weight]]) to a scalar."""

    generator_loss: ClassVar[Callable[..., Tensor]]
    """Function from (fake_logits[, generator_target[, fake_weight]]) to a scalar."""

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        return [LossTerm("adversarial", self._discriminator if player == "discriminator" else self._generator)]

    def _discriminator(self, step: Step) -> Tensor:
        targets = (step.real_target, step.fake_target) if self.uses_targets else ()
        weights = (step.real_weight, step.fake_weight) if self.uses_weights else ()
        return self.discriminator_loss(step.real_output.logits, step.fake_output.logits, *targets, *weights)

    def _generator(self, step: Step) -> Tensor:
        target = (step.generator_target,) if self.uses_targets else ()
        weight = (step.fake_weight,) if self.uses_weights else ()
        return self.generator_loss(step.fake_output.logits, *target, *weight)
