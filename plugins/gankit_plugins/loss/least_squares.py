"""Loss of LSGAN."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit_plugins.loss.adversarial import AdversarialLoss


def squared_error(logits: Tensor, target: Tensor | float) -> Tensor:
    """Return 1/2 E[(D(x) - t)^2] for logits (B, ...) and targets t, as a scalar in float32 or a wider type."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (logits - target).square().mean() / 2


class LeastSquares(AdversarialLoss):
    """Squared distance between D's output and its target, for both players (LSGAN).

    Source: Mao 2017, equation 2 with the targets of equation 9: b = 1 for real images, a = 0 for generated images, and
    c = 1 for G. b, a and c are `step.real_target`, `step.fake_target` and `step.generator_target`. Images far on the
    correct side of D's decision boundary still have a gradient.

    When to use: if cross entropy saturates. This loss is stable at small learning rates.
    When not: with a discriminator whose outputs grow without bound, because their squares dominate the loss.
    """

    name = "least_squares"
    uses_targets = True

    @staticmethod
    def discriminator_loss(
        real_logits: Tensor, fake_logits: Tensor, b: Tensor | float = 1.0, a: Tensor | float = 0.0
    ) -> Tensor:
        """Return 1/2 E[(D(x) - b)^2] + 1/2 E[(D(G(z)) - a)^2] for logits (B, ...) (Mao 2017, equation 2).

        `b` is the target for real images, and `a` is the target for generated images. Each target is a number or a
        tensor (B,).
        """
        return squared_error(real_logits, b) + squared_error(fake_logits, a)

    @staticmethod
    def generator_loss(fake_logits: Tensor, c: Tensor | float = 1.0) -> Tensor:
        """Return 1/2 E[(D(G(z)) - c)^2] for logits (B, ...), with the target c of G (Mao 2017, equation 2)."""
        return squared_error(fake_logits, c)
