"""Penalties on D's gradient with respect to its input images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, RecipeInfo, Schedule, Scheduled, Settings, Source, Step, hookimpl

Discriminator = Callable[[Tensor, Tensor | None], Tensor]
"""Function that maps images (B, C, H, W) and labels, (B,) or None, to D's logits (B, ...)."""

Interval = Annotated[
    int, Field(ge=1, description="compute the penalty in every n-th D step, with n times its weight (Karras 2019)")
]
"""Type of the setting `every`: number of D steps between two computations of the penalty (lazy regularisation)."""


def input_gradient(discriminator: Discriminator, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return the gradient of D's logits with respect to the images x, (B, C, H, W), in float32 or a wider type.

    If D has several logits for each image, the result is the gradient of their mean. The result is differentiable with
    respect to D's parameters.
    """
    # Do not detach an x that requires a gradient. With an unrolled D, the penalty's gradient also flows to G through x.
    x = x if x.requires_grad else x.detach().requires_grad_()
    return output_gradient(discriminator(x, labels), x)


def output_gradient(logits: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of D's logits (B, ...) with respect to D's input x, in float32 or a wider type.

    If D has several logits for each image, the result is the gradient of their mean.
    """
    if logits.dim() > 1:
        logits = logits.flatten(1).mean(1)
    # Each logit depends on one image only, so the gradient of the sum contains the gradients of all logits.
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32))


def mean_squared_norm(gradient: Tensor) -> Tensor:
    """Return the mean of the squared L2 norms of gradients (B, ...), as a scalar."""
    return gradient.square().sum(tuple(range(1, gradient.dim()))).mean()


def squared_norm(discriminator: Discriminator, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return E[||grad D(x)||_2^2] as a scalar. Each norm is over all channels and pixels of an image."""
    return mean_squared_norm(input_gradient(discriminator, x, labels))


def norm_deviation(discriminator: Discriminator, x: Tensor, labels: Tensor | None, k: float) -> Tensor:
    """Return E[(||grad D(x)||_2 - k)^2] as a scalar. Each norm is over all channels and pixels of an image."""
    norm = torch.linalg.vector_norm(input_gradient(discriminator, x, labels), dim=tuple(range(1, x.dim())))
    return (norm - k).square().mean()


def positions(real: Tensor) -> Tensor:
    """Return a random number for each image of `real` (B, C, H, W), uniform in [0, 1), with the shape (B, 1, 1, 1)."""
    return torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)


def interpolate(real: Tensor, fake: Tensor, t: Tensor) -> Tensor:
    """Return points t * real + (1 - t) * fake between images (B, C, H, W). `t`, (B, 1, 1, 1), is in [0, 1]."""
    return t * real + (1 - t) * fake


class InputGradientPenalty(Plugin):
    """Base class for penalties on D's gradient with respect to its input images."""

    kind = "penalty"

    flattens: ClassVar[bool] = True
    """True if the penalty may make D's gradient too small for a Wasserstein critic."""

    input_gradients: ClassVar[tuple[Source, ...]] = ()
    """Inputs of D at which the penalty is computed: real or fake images. Empty for a penalty at other points."""

    class Config(Settings):
        weight: Scheduled = Field(10.0, gt=0, description="lambda, weight of the penalty in D's loss")
        every: Interval = 1

    config: Any

    @abstractmethod
    def penalty(self, discriminator: Discriminator, step: Step) -> Tensor:
        """Return the penalty as a scalar, without its weight."""

    def weight(self) -> float | Schedule:
        """Return the weight lambda of the penalty in D's loss, as a number or a schedule."""
        return self.config.weight

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if self.flattens and recipe.use_of("loss") == "wasserstein":
            yield "a Wasserstein critic needs a slope, above all between real and fake images; use gradient_penalty"
        # Do not warn about the discriminator plugin, even if its layers make the images of a batch depend on each
        # other. The papers on PGGAN and StyleGAN2 combine such layers with a penalty.
        for key in [key for key in recipe.coupling("discriminator") if key != "discriminator"]:
            yield (
                f"the penalty needs the gradient of each single image, and {recipe.use_of(key)} in the discriminator "
                "makes it depend on the whole batch (Gulrajani 2017, section 4); training is usually better without "
                "one of the two"
            )

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        if player == "discriminator":
            yield LossTerm(self.name, self._term, self.weight(), self.config.every, self.input_gradients)

    def _term(self, step: Step) -> Tensor:
        return self.penalty(lambda images, labels: step.discriminate(images, labels).logits, step)
