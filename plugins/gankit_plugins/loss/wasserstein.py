"""Wasserstein loss."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gankit import RecipeInfo, hookimpl
from gankit_plugins.loss.adversarial import AdversarialLoss

BOUNDS = ("weight_clipping", "gradient_penalty")
"""Names of plugins that bound the critic's gradient.

Spectral normalisation also bounds the gradient. The recipe's normalisation is checked separately, because it is neither
a trick nor a penalty.
"""


def mean(logits: Tensor) -> Tensor:
    """Return E[D(x)], the mean of logits (B, ...). The result is a scalar in float32 or a wider type."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).mean()


class Wasserstein(AdversarialLoss):
    """Difference between the critic's mean outputs for generated images and for real images (WGAN).

    Source: Arjovsky 2017 (Wasserstein GAN), equations 2 and 3. D is a critic that must be Lipschitz continuous. The
    negative of D's loss estimates the Wasserstein distance between the distributions of real and of generated images,
    up to a constant factor. This estimate falls as the images improve.

    When to use: for a loss that shows progress, with `gradient_penalty` and several D steps per iteration.
    When not: without a Lipschitz constraint on D, because the loss then falls without limit.
    """

    name = "wasserstein"

    @staticmethod
    def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return E[D(G(z))] - E[D(x)] for logits (B, ...) (Arjovsky 2017, equation 2, negated)."""
        return mean(fake_logits) - mean(real_logits)

    @staticmethod
    def generator_loss(fake_logits: Tensor) -> Tensor:
        """Return -E[D(G(z))] for logits (B, ...) (Arjovsky 2017, theorem 3)."""
        return -mean(fake_logits)

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        normalized = recipe.use_of("normalization.discriminator") == "spectral_norm"
        if not normalized and not any(recipe.uses(name) for name in BOUNDS):
            yield (
                "nothing bounds the critic's slope, so its loss can fall without limit; add gradient_penalty, "
                "weight_clipping or normalization.discriminator = spectral_norm"
            )
