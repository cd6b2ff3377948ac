"""How sure D is, from its answers and from what it was trained to answer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import RecipeInfo, Step

RELATIVISTIC = ("relativistic", "relativistic_average")
"""Under which D's answers mean something beside each other only."""


def answers_are_logits(recipe: RecipeInfo) -> bool:
    """Whether D is trained to give logits of a probability, so that its answers say how sure it is."""
    relative = any(recipe.uses(name) for name in RELATIVISTIC)
    return recipe.plugin_class("loss").cross_entropy and not relative


def in_words(recipe: RecipeInfo) -> str:
    """The loss that a recipe uses, for a sentence on why how sure D is cannot be told."""
    relative = [name for name in RELATIVISTIC if recipe.uses(name)]
    return f"with {relative[0]} D's answers" if relative else f"with the loss {recipe.use_of('loss')!r} D's answers"


def as_target(target: Tensor | float, device: torch.device) -> Tensor:
    """A target in float32, a scalar for a number. That is written on the device: copied there, it would make the CPU
    wait for it."""
    if isinstance(target, Tensor):
        return target.float()
    return torch.full((), target, dtype=torch.float32, device=device)


def excess(logits: Tensor, target: Tensor | float) -> Tensor:
    """The cross entropy of D's answers less the least it can be: a scalar, 0 where D answers what it was trained to.

    Args:
        logits: (B,).
        target: t, as a probability: one number, or (B,). With t other than 0 and 1 the cross entropy never falls to 0;
            what is left of it, t's own entropy, is taken away.
    """
    t = as_target(target, logits.device).expand(len(logits))
    entropy = -(torch.xlogy(t, t) + torch.xlogy(1 - t, 1 - t))
    return (F.binary_cross_entropy_with_logits(logits.float(), t, reduction="none") - entropy).mean()


def loss_left(step: Step) -> Tensor:
    """What is left of D's cross entropy on real and generated images, a scalar; near 0 D has nothing left to learn."""
    real = excess(step.real_output.logits.detach(), step.real_target)
    return real + excess(step.fake_output.logits.detach(), step.fake_target)


def share_right(step: Step) -> Tensor:
    """The share of pairs of a real and a fake image that D puts in the right order, ties counted half; a scalar.

    It needs no threshold, so it means the same under every loss. Where the labels are flipped, so is the order.
    """
    real, fake = step.real_output.logits.detach(), step.fake_output.logits.detach()
    wanted, against = (as_target(target, real.device).mean() for target in (step.real_target, step.fake_target))
    return (torch.sign((real - fake).float()) * torch.sign(wanted - against) / 2 + 0.5).mean()
