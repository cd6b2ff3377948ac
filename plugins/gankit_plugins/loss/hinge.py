"""Hinge loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit_plugins.loss.adversarial import AdversarialLoss


class Hinge(AdversarialLoss):
    """Hinge loss for D, with a margin of 1 for real and for generated images. G maximises D's logits.

    Source: Lim 2017 (Geometric GAN); Miyato 2018, equations 16 and 17. D gets no gradient from real images with logits
    above 1, or from generated images with logits below -1. The logits therefore do not grow without bound.

    When to use: with spectral normalisation, for large or conditional GANs.
    When not: with label smoothing, which has no effect on this loss.
    """

    name = "hinge"

    @staticmethod
    def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] for logits (B, ...).

        Source: Miyato 2018, equation 16, negated.
        """
        real, fake = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (real_logits, fake_logits))
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    @staticmethod
    def generator_loss(fake_logits: Tensor) -> Tensor:
        """Return -E[D(G(z))] for logits (B, ...) (Miyato 2018, equation 17)."""
        return -fake_logits.to(torch.promote_types(fake_logits.dtype, torch.float32)).mean()
