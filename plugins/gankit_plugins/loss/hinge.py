"""The hinge loss."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Step, hookimpl


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))], a scalar from (B,) answers (Miyato 2018, equation 16, negated)."""
    real, fake = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (real_logits, fake_logits))
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """-E[D(G(z))], a scalar from (B,) answers (Miyato 2018, equation 17)."""
    return -fake_logits.to(torch.promote_types(fake_logits.dtype, torch.float32)).mean()


class Hinge(Plugin):
    """D learns from images within a margin of its border alone; G raises D's answer.

    Source: Lim 2017 (Geometric GAN); Miyato 2018, equations 16 and 17. An image that D has right by more than 1
    teaches it nothing any more, so D does not grow surer and surer.

    When to use: with spectral normalisation, for large and for conditional GANs.
    When not: with label smoothing, which has no effect on it.
    """

    name = "hinge"
    kind = "loss"

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        return [LossTerm("adversarial", _discriminator if player == "discriminator" else _generator)]


def _discriminator(step: Step) -> Tensor:
    return discriminator_loss(step.real_output.logits, step.fake_output.logits)


def _generator(step: Step) -> Tensor:
    return generator_loss(step.fake_output.logits)
