"""D's gradient with respect to the images it is shown, which every penalty of this kind is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gankit import RecipeInfo

Judge = Callable[[Tensor, Tensor | None], Tensor]
"""(B, C, R, R) images and their labels to D's logits (B,)."""


def input_gradient(judge: Judge, x: Tensor, labels: Tensor | None) -> Tensor:
    """grad D(x), image by image, (B, C, R, R), in float32 at least; it carries gradients to D's parameters.

    Args:
        judge: D, what is differentiated.
        x: (B, C, R, R), where. What it depends on receives gradients too, as an unrolled D asks for.
        labels: (B,) or None.
    """
    x = x if x.requires_grad else x.detach().requires_grad_()
    # No logit depends on another image, so the gradient of their sum holds every image's own gradient.
    total = judge(x, labels).sum()
    (gradient,) = torch.autograd.grad(total, x, create_graph=True)
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32))


def advice_on_flatness(recipe: RecipeInfo) -> Iterable[str]:
    """A sentence when a penalty that flattens D stands beside a loss whose critic needs a slope."""
    if recipe.use_of("loss") == "wasserstein":
        yield "a Wasserstein critic has to have a slope, between real and fake images above all; use gradient_penalty"


def advice_on_coupling(recipe: RecipeInfo) -> Iterable[str]:
    """A sentence for each plugin that makes one of D's answers depend on several images."""
    for key in recipe.coupling("discriminator"):
        yield (
            f"the penalty takes each image's gradient by itself, and {recipe.use_of(key)} in the discriminator makes "
            "it depend on the whole batch (Gulrajani 2017, section 4); without the one or the other it usually trains "
            "better"
        )
