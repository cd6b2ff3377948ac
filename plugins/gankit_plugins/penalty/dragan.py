"""The penalty of DRAGAN."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Settings, Step, hookimpl
from gankit_plugins.penalty.input_gradient import Judge, advice_on_coupling, advice_on_flatness, input_gradient

if TYPE_CHECKING:
    from gankit import RecipeInfo


def deviation(real: Tensor, mean: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """std(x), a scalar: the standard deviation of all numbers of images x.

    Args:
        real: (B, C, R, R).
        mean: over the ranks that share a batch, of what each has of it.
    """
    own = real.mean()
    return mean(real.var(correction=0) + (own - mean(own)).square()).sqrt()


def around(
    real: Tensor, noise: Tensor, t: Tensor, spread: float, mean: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """x + t spread std(x) u: points around real images x, t of the way to noisy copies of them.

    Args:
        real: (B, C, R, R); std is that of all its numbers.
        noise: u, of the same shape, uniform in [0, 1).
        t: (B, 1, 1, 1) in [0, 1].
        spread: how far the noise reaches, in standard deviations.
        mean: as in `deviation`.
    """
    return real + t * spread * deviation(real, mean) * noise


def dragan(judge: Judge, x_hat: Tensor, labels: Tensor | None, k: float) -> Tensor:
    """E[(||grad D(x_hat)||_2 - k)^2], a scalar (Kodali 2017, section 2.3).

    Args:
        judge: D, from images and labels to logits.
        x_hat: (B, C, R, R), points around real images.
        labels: (B,) or None, of those.
        k: the length that is wanted.
    """
    norm = torch.linalg.vector_norm(input_gradient(judge, x_hat, labels), dim=(1, 2, 3))
    return (norm - k).square().mean()


class Dragan(Plugin):
    """Pulls the length of D's gradient towards 1 around real images (DRAGAN).

    Source: Kodali 2017 (On Convergence and Stability of GANs), section 2.3. The points lie between real images, as D
    is shown them, and copies with noise of half their standard deviation. A D without steep walls around the data
    has fewer false equilibria in which G collapses.

    When to use: with cross-entropy losses, where `gradient_penalty` between real and generated images is too strong.
    When not: with a Wasserstein loss: its critic is to be bounded where G is, too.
    """

    name = "dragan"
    kind = "penalty"

    class Config(Settings):
        weight: float = Field(10.0, gt=0, description="lambda, the penalty's weight in D's loss")
        k: float = Field(1.0, ge=0, description="the length of the gradient that is wanted")
        spread: float = Field(0.5, gt=0, description="reach of the noise, in standard deviations of the images")
        every: int = Field(
            1, ge=1, description="acts on every so many turns of D, weighted that many times (Karras 2019)"
        )

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        yield from advice_on_flatness(recipe)
        yield from advice_on_coupling(recipe)

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        if player == "discriminator":
            yield LossTerm("dragan", self._penalty, weight=self.config.weight, every=self.config.every)

    def _penalty(self, step: Step) -> Tensor:
        real, labels = step.real_inputs
        t = torch.rand(len(real), 1, 1, 1, device=real.device)
        x_hat = around(real, torch.rand_like(real), t, self.config.spread, step.run.ranks.mean)
        return dragan(lambda images, of: step.discriminate(images, of).logits, x_hat, labels, self.config.k)
