"""Zero-centred gradient penalty between real and generated images."""

from __future__ import annotations

from torch import Tensor

from gankit import Step
from gankit_plugins.penalty.input_gradient import (
    Discriminator,
    InputGradientPenalty,
    interpolate,
    positions,
    squared_norm,
)


class ZeroCenteredPenalty(InputGradientPenalty):
    """Penalty that pulls D's gradient towards 0 between real and generated images.

    Source: Thanh-Tung 2019 (Improving Generalization and Stability of Generative Adversarial Networks), section 5. The
    penalty is computed at the same points as `gradient_penalty`, but the target norm is 0.

    When to use: with few images, which D could memorise. If D is flat between images, it cannot memorise them.
    When not: with a Wasserstein loss, because its critic needs a slope; use `gradient_penalty`.
    """

    name = "zero_centered_penalty"

    def penalty(self, discriminator: Discriminator, step: Step) -> Tensor:
        """Return E[||grad D(x_hat)||_2^2] at random points x_hat between real and generated images."""
        real, labels = step.real_inputs
        fake, _ = step.fake_inputs
        t = positions(real)
        return squared_norm(discriminator, interpolate(real, fake, t), labels)
