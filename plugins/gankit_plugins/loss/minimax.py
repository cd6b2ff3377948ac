"""Minimax loss of the original GAN."""

from __future__ import annotations

from torch import Tensor

from gankit_plugins.loss.cross_entropy import cross_entropy
from gankit_plugins.loss.non_saturating import NonSaturating


class Minimax(NonSaturating):
    """Zero-sum loss: G minimises ln(1 - D(G(z))), and D maximises the same term.

    Source: Goodfellow 2014, equation 1. The targets of D are `step.real_target` and `step.fake_target`. G maximises the
    cross entropy of D's logits with the target 1 - `step.generator_target`. If D(G(z)) is close to 0, G's gradient
    vanishes.

    When to use: to study the theory, or to show how G's gradient vanishes.
    When not: for good images; use `non_saturating`. It has the same fixed point, and its gradient does not vanish.
    """

    name = "minimax"

    @staticmethod
    def generator_loss(fake_logits: Tensor, target: Tensor | float = 1.0) -> Tensor:
        """Return the negative mean cross entropy of logits (B, ...) with the target 1 - `target`.

        For `target` = 1, the result is E[ln(1 - D(G(z)))].
        """
        return -cross_entropy(fake_logits, 1 - target).mean()
