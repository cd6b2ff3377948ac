"""Label loss of IGAN: cross entropy with a target and a weight for real and for generated images.

Meng 2021 prints four forms of one expression. Equations 7 and 8 are equal if D(z) is read as D(G(z)). Some are printed
with the logarithm to base 2, others with the natural one, which differ by a factor. Here all logarithms are natural.
"""

from __future__ import annotations

from torch import Tensor

from gankit_plugins.loss.adversarial import AdversarialLoss
from gankit_plugins.loss.cross_entropy import cross_entropy


class IganLabel(AdversarialLoss):
    """IGAN's cross entropy, with a target and a weight for the real and for the generated images.

    Source: Meng 2021, equations 1, 7, 8 and 11. Alone, it is equation 1 for D, and for G the same cross entropy with
    the label of real images, which does not saturate. With the trick `label_weights` it is equation 8. The trick
    `label_smoothing` changes the targets: with real targets near 0 and fake targets near 1 it is equation 11. It uses
    `step.real_target`, `step.fake_target`, `step.generator_target`, `step.real_weight` and `step.fake_weight`. The last
    one also weights G's loss.

    When to use: the IGAN family, or wherever real and generated images shall have different weights.
    When not: without weights: it is equal to `non_saturating`.
    """

    name = "igan_label"
    uses_targets = True
    cross_entropy = True
    uses_weights = True

    @staticmethod
    def discriminator_loss(
        real_logits: Tensor,
        fake_logits: Tensor,
        real_target: Tensor | float = 1.0,
        fake_target: Tensor | float = 0.0,
        alpha: Tensor | float = 1.0,
        beta: Tensor | float = 1.0,
    ) -> Tensor:
        """Return the weighted cross entropies of both sides, a scalar in float32 or a wider type.

        -E[alpha (t ln D(x) + (1 - t) ln(1 - D(x)))] - E[beta (u ln D(G(z)) + (1 - u) ln(1 - D(G(z))))]

        Equations 1, 7 and 8 are its negative for t = 1, u = 0, and equation 11 for t = 0, u = 1. The optimal D of
        equation 8 is equation 9, alpha p_data / (alpha p_data + beta p_g).

        Args:
            real_logits: (B,), D before its sigmoid, on real images x.
            fake_logits: (B,), D before its sigmoid, on generated images G(z).
            real_target: t, target probability for x: one number, or (B,).
            fake_target: u, target probability for G(z).
            alpha: weight of the real images: one number, or (B,).
            beta: weight of the generated images.
        """
        real = alpha * cross_entropy(real_logits, real_target)
        fake = beta * cross_entropy(fake_logits, fake_target)
        return real.mean() + fake.mean()

    @staticmethod
    def generator_loss(fake_logits: Tensor, target: Tensor | float = 1.0, beta: Tensor | float = 1.0) -> Tensor:
        """Return -E[beta (g ln D(G(z)) + (1 - g) ln(1 - D(G(z))))], a scalar in float32 or a wider type.

        Args:
            fake_logits: (B,), D before its sigmoid, on generated images.
            target: g, the probability that G aims at: one number, or (B,).
            beta: weight of the generated images: one number, or (B,).
        """
        return (beta * cross_entropy(fake_logits, target)).mean()
