"""The label loss of IGAN: cross entropy with a target and a weight for each side.

Meng 2021 prints four forms of one expression. Equations 7 and 8 are the same once D(z) is read as D(G(z)).
Some are printed with the logarithm to base 2, others with the natural one, which differ by a factor; here
all are natural.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from gankit import LossTerm, Player, Plugin, Step, hookimpl
from gankit_plugins.loss.cross_entropy import cross_entropy


def label_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    real_target: Tensor | float,
    fake_target: Tensor | float,
    alpha: Tensor | float = 1.0,
    beta: Tensor | float = 1.0,
) -> Tensor:
    """What D minimises: minus the equations below, and all that lies between them.

    -E[alpha (t ln D(x) + (1 - t) ln(1 - D(x)))] - E[beta (u ln D(G(z)) + (1 - u) ln(1 - D(G(z))))]

    Args:
        real_logits: (B,), D before its sigmoid on real images x.
        fake_logits: (B,), D before its sigmoid on generated images G(z).
        real_target: t, what D ought to answer on x, as a probability: one number, or (B,).
        fake_target: u, what D ought to answer on G(z).
        alpha: weight of the real side: one number, or (B,).
        beta: weight of the generated side.

    Returns:
        A scalar, in float32 at least.
    """
    real = alpha * cross_entropy(real_logits, real_target)
    fake = beta * cross_entropy(fake_logits, fake_target)
    return real.mean() + fake.mean()


def equation_1(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """V(D, G) = E[ln D(x)] + E[ln(1 - D(G(z)))], a scalar from (B,) logits; D maximises it."""
    return -label_loss(real_logits, fake_logits, 1.0, 0.0)


def equation_8(real_logits: Tensor, fake_logits: Tensor, alpha: Tensor | float, beta: Tensor | float) -> Tensor:
    """E[alpha ln D(x)] + E[beta ln(1 - D(G(z)))], a scalar from (B,) logits; D maximises it. Equation 7 too.

    Its best D is equation 9, alpha p_data / (alpha p_data + beta p_g).
    """
    return -label_loss(real_logits, fake_logits, 1.0, 0.0, alpha, beta)


def equation_11(real_logits: Tensor, fake_logits: Tensor, alpha: Tensor | float, beta: Tensor | float) -> Tensor:
    """E[alpha ln(1 - D(x))] + E[beta ln D(G(z))], a scalar from (B,) logits: equation 8 with flipped labels."""
    return -label_loss(real_logits, fake_logits, 0.0, 1.0, alpha, beta)


def generator_loss(fake_logits: Tensor, target: Tensor | float, beta: Tensor | float = 1.0) -> Tensor:
    """What G minimises: -E[beta (g ln D(G(z)) + (1 - g) ln(1 - D(G(z))))].

    Args:
        fake_logits: (B,), D before its sigmoid on generated images.
        target: g, what G wants D to answer, as a probability: one number, or (B,).
        beta: weight of the generated side: one number, or (B,).

    Returns:
        A scalar, in float32 at least.
    """
    return (beta * cross_entropy(fake_logits, target)).mean()


class IganLabel(Plugin):
    """IGAN's cross entropy, with a target and a weight for the real and for the generated side.

    Source: Meng 2021, equations 1, 7, 8 and 11. On its own it is equation 1 for D, and for G the same
    cross entropy with the label of real images, which does not saturate. The trick `label_weights` makes it
    equation 8; `label_smoothing` changes the targets, and with targets near 0 on the real side and near 1 on
    the generated side it is equation 11. `loss_terms` reads `step.real_target`, `step.fake_target`,
    `step.generator_target`, `step.real_weight` and `step.fake_weight`; the last weights G's loss too.

    When to use: the IGAN family, or wherever the two sides are to count differently.
    When not: without weights it computes what `non_saturating` does.
    """

    name = "igan_label"
    kind = "loss"
    uses_targets = True
    cross_entropy = True
    uses_weights = True

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        return [LossTerm("adversarial", _discriminator if player == "discriminator" else _generator)]


def _discriminator(step: Step) -> Tensor:
    return label_loss(
        step.real_output.logits,
        step.fake_output.logits,
        step.real_target,
        step.fake_target,
        alpha=step.real_weight,
        beta=step.fake_weight,
    )


def _generator(step: Step) -> Tensor:
    return generator_loss(step.fake_output.logits, step.generator_target, beta=step.fake_weight)
