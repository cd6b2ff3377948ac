"""Label loss of IGAN: cross entropy with a target and a weight for real and for generated images.

Meng 2021 prints four forms of the same expression. Equations 7 and 8 are equal if D(z) means D(G(z)). Some forms use
logarithms to base 2, others use natural logarithms. The base changes the loss only by a constant factor. Here all
logarithms are natural.
"""

from __future__ import annotations

from torch import Tensor

from gankit_plugins.loss.adversarial import AdversarialLoss
from gankit_plugins.loss.cross_entropy import cross_entropy


class IganLabel(AdversarialLoss):
    """IGAN's cross entropy, with a target and a weight for the real and for the generated images.

    Source: Meng 2021, equations 1, 7, 8 and 11. Without tricks, D's loss is equation 1, and G's loss is the same cross
    entropy with the target of real images. This loss does not saturate. With the trick `label_weights`, D's loss is
    equation 8. With the trick `label_smoothing`, D's loss is equation 11 if the targets are near 0 for real images and
    near 1 for generated images. Targets and weights are `step.real_target`, `step.fake_target`,
    `step.generator_target`, `step.real_weight` and `step.fake_weight`. The weight `step.fake_weight` also applies to
    G's loss.

    When to use: for the IGAN family, or for different weights of real and of generated images.
    When not: without weights; use `non_saturating`, which is the same loss without weights.
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
        """Return the sum of the weighted cross entropies of real images and of generated images, as a scalar.

        The sum, in float32 or a wider type, is
        -E[alpha (t ln D(x) + (1 - t) ln(1 - D(x)))] - E[beta (u ln D(G(z)) + (1 - u) ln(1 - D(G(z))))].

        For t = 1 and u = 0, the negative of this sum is the objective in Meng 2021, equations 1, 7 and 8, which
        have the same form. For t = 0 and u = 1, it is that of equation 11. The optimal D for equation 8 is
        `alpha p_data / (alpha p_data + beta p_g)` (equation 9).

        Args:
            real_logits: logits of D for real images x, (B, ...).
            fake_logits: logits of D for generated images G(z), (B, ...).
            real_target: t, target probability for x: one number, or (B,).
            fake_target: u, target probability for G(z): one number, or (B,).
            alpha: weight of the real images: one number, or (B,).
            beta: weight of the generated images: one number, or (B,).
        """
        real = alpha * cross_entropy(real_logits, real_target)
        fake = beta * cross_entropy(fake_logits, fake_target)
        return real.mean() + fake.mean()

    @staticmethod
    def generator_loss(fake_logits: Tensor, target: Tensor | float = 1.0, beta: Tensor | float = 1.0) -> Tensor:
        """Return -E[beta (g ln D(G(z)) + (1 - g) ln(1 - D(G(z))))] for logits (B, ...).

        The target g and the weight beta may each be one number, or a tensor (B,). The result is a scalar in float32 or
        a wider type.
        """
        return (beta * cross_entropy(fake_logits, target)).mean()
