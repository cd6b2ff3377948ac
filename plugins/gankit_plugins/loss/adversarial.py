"""Base class for losses that are computed from D's logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from torch import Tensor

from gankit import LossTerm, Player, Plugin, Step, hookimpl, match_logits


class AdversarialLoss(Plugin):
    """Base class for losses that are computed from D's logits.

    A subclass defines two functions: `discriminator_loss` and `generator_loss`. If `uses_targets` is True, both
    functions also take the step's targets. If `uses_weights` is True, they also take the step's weights of real and
    fake images. The losses are means over all logits (B, ...).
    """

    kind = "loss"

    discriminator_loss: ClassVar[Callable[..., Tensor]]
    """Function that returns the loss of D as a scalar.

    Arguments: real_logits, fake_logits, and optionally real_target, fake_target, real_weight, fake_weight.
    """

    generator_loss: ClassVar[Callable[..., Tensor]]
    """Function that returns the loss of G as a scalar.

    Arguments: fake_logits, and optionally generator_target, fake_weight.
    """

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        return [LossTerm("adversarial", self._discriminator if player == "discriminator" else self._generator)]

    def _discriminator(self, step: Step) -> Tensor:
        real, fake = step.real_output.logits, step.fake_output.logits
        targets = (step.real_target, step.fake_target) if self.uses_targets else ()
        weights = (step.real_weight, step.fake_weight) if self.uses_weights else ()
        return self.discriminator_loss(real, fake, *(match_logits(x, real) for x in (*targets, *weights)))

    def _generator(self, step: Step) -> Tensor:
        target = (step.generator_target,) if self.uses_targets else ()
        weight = (step.fake_weight,) if self.uses_weights else ()
        logits = step.fake_output.logits
        return self.generator_loss(logits, *(match_logits(x, logits) for x in (*target, *weight)))
