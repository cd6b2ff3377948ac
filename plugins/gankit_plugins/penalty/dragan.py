"""Gradient penalty of DRAGAN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from gankit import Scheduled, Settings, Step
from gankit_plugins.penalty.input_gradient import (
    Discriminator,
    InputGradientPenalty,
    Interval,
    norm_deviation,
    positions,
)


def deviation(real: Tensor, mean: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """Return the standard deviation of all pixel values of the images, over the batches of all ranks, as a scalar."""
    own = real.mean()
    # The variance over all ranks is the mean of the ranks' variances plus the variance of the ranks' means.
    return mean(real.var(correction=0) + (own - mean(own)).square()).sqrt()


def perturb(
    real: Tensor, noise: Tensor, t: Tensor, spread: float, mean: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """Return points `x + t * spread * std(x) * u` between real images x and their noisy copies.

    Args:
        real: real images x, (B, C, H, W).
        noise: noise u of the same shape, uniform in [0, 1).
        t: position of each point, (B, 1, 1, 1), from 0 (the real image) to 1 (its noisy copy).
        spread: maximum noise, in standard deviations of the images.
        mean: function that averages a tensor over the ranks that share the batch.
    """
    return real + t * spread * deviation(real, mean) * noise


class Dragan(InputGradientPenalty):
    """Penalty that pulls the norm of D's gradient towards 1 near real images (DRAGAN).

    Source: Kodali 2017 (On Convergence and Stability of GANs), section 2.3. The penalty is computed at points between
    D's real inputs and noisy copies of these inputs, with noise of up to half a standard deviation. If D has no steep
    slopes around the data, there are fewer bad equilibria in which G collapses.

    When to use: with cross-entropy losses, where `gradient_penalty` between real and generated images is too strong.
    When not: with a Wasserstein loss, because its critic must also be Lipschitz continuous around the generated images.
    """

    name = "dragan"

    class Config(Settings):
        weight: Scheduled = Field(10.0, gt=0, description="lambda, weight of the penalty in D's loss")
        k: float = Field(1.0, ge=0, description="target norm of the gradient")
        spread: float = Field(0.5, gt=0, description="largest noise, in standard deviations of the images")
        every: Interval = 1

    def penalty(self, discriminator: Discriminator, step: Step) -> Tensor:
        """Return E[(||grad D(x_hat)||_2 - k)^2] at points x_hat near real images, with the target norm k.

        Source: Kodali 2017, section 2.3.
        """
        real, labels = step.real_inputs
        t = positions(real)
        x_hat = perturb(real, torch.rand_like(real), t, self.config.spread, step.run.ranks.mean)
        return norm_deviation(discriminator, x_hat, labels, self.config.k)
