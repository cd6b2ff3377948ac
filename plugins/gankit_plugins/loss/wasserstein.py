"""The Wasserstein loss."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gankit import LossTerm, Player, Plugin, RecipeInfo, Step, hookimpl

BOUNDS = ("weight_clipping", "gradient_penalty")
"""What keeps a critic's slope bounded, as spectral_norm in D does; without it its loss has no lower end."""


def mean(logits: Tensor) -> Tensor:
    """E[D(x)], in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).mean()


def critic_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[D(G(z))] - E[D(x)], a scalar from (B,) answers without sigmoid (Arjovsky 2017, equation 2, negated)."""
    return mean(fake_logits) - mean(real_logits)


def generator_loss(fake_logits: Tensor) -> Tensor:
    """-E[D(G(z))], a scalar from (B,) answers without sigmoid (Arjovsky 2017, theorem 3)."""
    return -mean(fake_logits)


class Wasserstein(Plugin):
    """The difference of D's mean answers: an estimate of the distance between two distributions (WGAN).

    Source: Arjovsky 2017 (Wasserstein GAN), equations 2 and 3. D is a critic of bounded slope; minus its loss
    estimates the Wasserstein distance, up to a factor, and falls as the images get better.

    When to use: with `gradient_penalty` and several turns of D, where a loss that means something is wanted.
    When not: without a bound on D's slope, when the loss falls for ever.
    """

    name = "wasserstein"
    kind = "loss"

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        normalized = recipe.use_of("normalization.discriminator") == "spectral_norm"
        if not normalized and not any(recipe.uses(name) for name in BOUNDS):
            yield (
                "nothing bounds the critic's slope, so its loss can fall for ever; add gradient_penalty, "
                "weight_clipping or normalization.discriminator = spectral_norm"
            )

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        return [LossTerm("adversarial", _critic if player == "discriminator" else _generator)]


def _critic(step: Step) -> Tensor:
    return critic_loss(step.real_output.logits, step.fake_output.logits)


def _generator(step: Step) -> Tensor:
    return generator_loss(step.fake_output.logits)
