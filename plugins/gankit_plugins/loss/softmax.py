"""Loss of the softmax GAN."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from gankit import LossTerm, Player, Plugin, RecipeInfo, Step, hookimpl


def log_partition(
    real_logits: Tensor, fake_logits: Tensor, mean: Callable[[Tensor], Tensor] = lambda x: x, ranks: int = 1
) -> Tensor:
    """Return ln Z, where Z is the sum of exp(D(x)) over all real and generated images x of the batch, as a scalar.

    Args:
        real_logits: D's logits for real images, (B, ...).
        fake_logits: D's logits for generated images, (B, ...).
        mean: function that averages a tensor over the ranks that share the batch.
        ranks: number of these ranks.
    """
    own = torch.cat([real_logits.flatten(), fake_logits.flatten()]).logsumexp(0)
    # Subtract the ranks' mean of `own` before `exp`, because the exponential of a large number would be infinite.
    shift = mean(own.detach())
    return shift + (ranks * mean((own - shift).exp())).log()


def discriminator_loss(real_logits: Tensor, log_z: Tensor) -> Tensor:
    """Return -E[D(x)] + ln Z for real images x (Lin 2017, section 3). `log_z` is ln Z from `log_partition`."""
    return log_z - real_logits.mean()


def generator_loss(real_logits: Tensor, fake_logits: Tensor, log_z: Tensor) -> Tensor:
    """Return -1/2 E[D(x)] - 1/2 E[D(G(z))] + ln Z (Lin 2017, section 3). `log_z` is ln Z from `log_partition`."""
    return log_z - (real_logits.mean() + fake_logits.mean()) / 2


class Softmax(Plugin):
    """Cross entropy of a softmax over all images of a batch, real and generated (softmax GAN).

    Source: Lin 2017, section 3, with D(x) = -mu(x). A softmax over D's logits gives each image of the batch a
    probability. D's target distribution is uniform over the real images. G's target distribution is uniform over all
    images. G's gradient does not vanish if D separates the images perfectly.

    When to use: as an alternative to `non_saturating` that compares each image with the whole batch.
    When not: with label smoothing, which has no effect on this loss, or with very small batches.
    """

    name = "softmax"
    kind = "loss"

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.train.accumulate > 1:
            yield (
                f"with train.accumulate the softmax is over one of {recipe.train.accumulate} parts of the batch, so "
                "the result differs from that of the whole batch"
            )

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        return [LossTerm("adversarial", _discriminator if player == "discriminator" else _generator)]


def _wide_logits(step: Step) -> tuple[Tensor, Tensor, Tensor]:
    """Return D's logits for real and for fake images, in float32 or a wider type, and ln Z (`log_partition`)."""
    logits = (step.real_output.logits, step.fake_output.logits)
    real, fake = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in logits)
    return real, fake, log_partition(real, fake, step.run.ranks.mean, step.run.ranks.size)


def _discriminator(step: Step) -> Tensor:
    real, _, log_z = _wide_logits(step)
    return discriminator_loss(real, log_z)


def _generator(step: Step) -> Tensor:
    return generator_loss(*_wide_logits(step))
