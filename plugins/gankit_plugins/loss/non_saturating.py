"""The non-saturating loss of the first GAN."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from gankit import LossTerm, Player, Plugin, Step, hookimpl
from gankit_plugins.loss.cross_entropy import cross_entropy


def discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, real_target: Tensor | float = 1.0, fake_target: Tensor | float = 0.0
) -> Tensor:
    """-E[ln D(x)] - E[ln(1 - D(G(z)))] for the targets 1 and 0; the cross entropies with others.

    Args:
        real_logits: (B,), D before its sigmoid on real images.
        fake_logits: (B,), D before its sigmoid on generated images.
        real_target: what D ought to answer on real images, as a probability: one number, or (B,).
        fake_target: what D ought to answer on generated images.

    Returns:
        A scalar, in float32 at least.
    """
    return cross_entropy(real_logits, real_target).mean() + cross_entropy(fake_logits, fake_target).mean()


def generator_loss(fake_logits: Tensor, target: Tensor | float = 1.0) -> Tensor:
    """-E[ln D(G(z))] for the target 1; the cross entropy with another.

    Args:
        fake_logits: (B,), D before its sigmoid on generated images.
        target: what G wants D to answer, as a probability: one number, or (B,).

    Returns:
        A scalar, in float32 at least.
    """
    return cross_entropy(fake_logits, target).mean()


class NonSaturating(Plugin):
    """Cross entropy for both players; G raises ln D(G(z)), whose gradient does not vanish when D is right.

    Source: Goodfellow 2014, equation 1 and the remark on G's gradient at the end of section 3. D is trained
    towards `step.real_target` and `step.fake_target`, G towards `step.generator_target`.

    When to use: the first choice for most GANs, with a penalty on D's gradient or spectral normalisation.
    When not: where the two players' losses must be one function of opposite signs (a true zero-sum game), or
    where D is a critic without a sigmoid.
    """

    name = "non_saturating"
    kind = "loss"
    uses_targets = True
    cross_entropy = True

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        return [LossTerm("adversarial", _discriminator if player == "discriminator" else _generator)]


def _discriminator(step: Step) -> Tensor:
    return discriminator_loss(step.real_output.logits, step.fake_output.logits, step.real_target, step.fake_target)


def _generator(step: Step) -> Tensor:
    return generator_loss(step.fake_output.logits, step.generator_target)
