"""Non-saturating loss of the original GAN."""

from __future__ import annotations

from torch import Tensor

from gankit_plugins.loss.adversarial import AdversarialLoss
from gankit_plugins.loss.cross_entropy import cross_entropy


class NonSaturating(AdversarialLoss):
    """Cross entropy for both players. G maximises ln D(G(z)). G's gradient does not vanish if D detects all fakes.

    Source: Goodfellow 2014, equation 1 and the remark on G's gradient at the end of section 3. The targets of D are
    `step.real_target` and `step.fake_target`. The target of G is `step.generator_target`.

    When to use: as the first choice for most GANs, with a penalty on D's gradient or spectral normalisation.
    When not: if the loss of G must be the negative of the loss of D (a zero-sum game); use `minimax`.
    """

    name = "non_saturating"
    uses_targets = True
    cross_entropy = True

    @staticmethod
    def discriminator_loss(
        real_logits: Tensor, fake_logits: Tensor, real_target: Tensor | float = 1.0, fake_target: Tensor | float = 0.0
    ) -> Tensor:
        """Return the sum of the mean cross entropies of real and fake logits, (B, ...) each, with their targets.

        Each target is a number or a tensor (B,). For the targets 1 and 0, the sum is
        -E[ln D(x)] - E[ln(1 - D(G(z)))].
        """
        return cross_entropy(real_logits, real_target).mean() + cross_entropy(fake_logits, fake_target).mean()

    @staticmethod
    def generator_loss(fake_logits: Tensor, target: Tensor | float = 1.0) -> Tensor:
        """Return the mean cross entropy of logits (B, ...) with `target`.

        For `target` = 1, the result is -E[ln D(G(z))].
        """
        return cross_entropy(fake_logits, target).mean()
