"""The loss of LSGAN."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Step, hookimpl


def squared_error(logits: Tensor, target: Tensor | float) -> Tensor:
    """1/2 E[(D(x) - t)^2], a scalar in float32 at least, for (B,) logits and a target t, one number or (B,)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (logits - target).square().mean() / 2


def discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, b: Tensor | float = 1.0, a: Tensor | float = 0.0
) -> Tensor:
    """1/2 E[(D(x) - b)^2] + 1/2 E[(D(G(z)) - a)^2], a scalar (Mao 2017, equation 2).

    Args:
        real_logits: (B,), D on real images; there is no sigmoid.
        fake_logits: (B,), D on generated images.
        b: what D ought to answer on real images: one number, or (B,).
        a: what D ought to answer on generated images.
    """
    return squared_error(real_logits, b) + squared_error(fake_logits, a)


def generator_loss(fake_logits: Tensor, c: Tensor | float = 1.0) -> Tensor:
    """1/2 E[(D(G(z)) - c)^2], a scalar; c is what G wants D to answer (Mao 2017, equation 2)."""
    return squared_error(fake_logits, c)


class LeastSquares(Plugin):
    """Squared distance of D's answer from its target, for both players (LSGAN).

    Source: Mao 2017, equation 2 with the labels of equation 9: b = 1 on real images, a = 0 on generated ones, c = 1 for
    G; in their place stand `step.real_target`, `step.fake_target` and `step.generator_target`. Images far on the
    right side of D's border still have a gradient.

    When to use: where cross entropy saturates; it is calm at small rates.
    When not: with a D whose answers grow without a bound, which the square punishes hardest.
    """

    name = "least_squares"
    kind = "loss"
    uses_targets = True

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        return [LossTerm("adversarial", _discriminator if player == "discriminator" else _generator)]


def _discriminator(step: Step) -> Tensor:
    return discriminator_loss(step.real_output.logits, step.fake_output.logits, step.real_target, step.fake_target)


def _generator(step: Step) -> Tensor:
    return generator_loss(step.fake_output.logits, step.generator_target)
