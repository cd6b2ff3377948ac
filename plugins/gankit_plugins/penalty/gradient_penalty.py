"""Gradient penalty of WGAN-GP."""

from __future__ import annotations

from torch import Tensor

from gankit import Step
from gankit_plugins.penalty.input_gradient import (
    Discriminator,
    InputGradientPenalty,
    interpolate,
    norm_deviation,
    positions,
)


class GradientPenalty(InputGradientPenalty):
    """Penalty that pulls the norm of D's gradient towards 1 between real and generated images (WGAN-GP).

    Source: Gulrajani 2017, equation 3; Meng 2021, equation 12, with weight 5. The penalty is computed in D steps, at
    random points on the lines between generated and real images, after noise and augmentation of these images. The
    penalty needs an additional forward pass of D.

    When to use: with a Wasserstein loss, which needs a Lipschitz constraint on D. With most other losses, the penalty
    limits D's gradient, which stabilises the training of G. `every = 16` saves most of the penalty's cost.
    When not: together with batch norm in D. The penalty assumes that each logit of D depends on one image. With batch
    norm, each logit depends on the whole batch (Gulrajani 2017, section 4).
    """

    name = "gradient_penalty"
    flattens = False

    def penalty(self, discriminator: Discriminator, step: Step) -> Tensor:
        """Return E[(||grad D(x_hat)||_2 - 1)^2] at random points x_hat between real and generated images."""
        real, labels = step.real_inputs
        fake, _ = step.fake_inputs
        t = positions(real)
        return norm_deviation(discriminator, interpolate(real, fake, t), labels, k=1)
