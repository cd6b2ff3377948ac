"""Estimates of the confidence of D, from its logits and its targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import RecipeInfo, Step


def relativistic_trick(recipe: RecipeInfo) -> str | None:
    """Return the name of the first trick that replaces D's logits by differences, or None."""
    classes = [component.plugin_class for component in recipe.components.values()]
    return next((plugin_class.name for plugin_class in classes if plugin_class.relativistic_logits), None)


def has_probability_logits(recipe: RecipeInfo) -> bool:
    """Return whether the sigmoid of D's logits is a probability: for cross entropies without a relativistic trick."""
    return recipe.plugin_class("loss").cross_entropy and relativistic_trick(recipe) is None


def describe_logits(recipe: RecipeInfo) -> str:
    """Return the beginning of a sentence about D's outputs, for warnings: 'with the loss 'hinge' D's outputs'."""
    return f"with {relativistic_trick(recipe) or 'the loss ' + repr(recipe.use_of('loss'))} D's outputs"


def as_target(target: Tensor | float, device: torch.device) -> Tensor:
    """Return a target as a tensor in float32. A number becomes a scalar."""
    if isinstance(target, Tensor):
        return target.float()
    # A copy of a number to the device would make the CPU wait for it.
    return torch.full((), target, dtype=torch.float32, device=device)


def excess(logits: Tensor, target: Tensor | float) -> Tensor:
    """Return the cross entropy of logits (B,) with a target minus its smallest possible value, a scalar.

    The target t is a probability, one number or (B,). The smallest cross entropy with t is the entropy of t.
    """
    t = as_target(target, logits.device).expand(len(logits))
    entropy = -(torch.xlogy(t, t) + torch.xlogy(1 - t, 1 - t))
    return (F.binary_cross_entropy_with_logits(logits.float(), t, reduction="none") - entropy).mean()


def excess_loss(step: Step) -> Tensor:
    """Return the excess cross entropy on real and generated images, a scalar. Near 0, D has nothing left to learn."""
    real = excess(step.real_output.logits.detach(), step.real_target)
    return real + excess(step.fake_output.logits.detach(), step.fake_target)


def ranking_accuracy(step: Step) -> Tensor:
    """Return the proportion of pairs of a real and a fake image that D ranks correctly, a scalar. Ties count half.

    It needs no threshold, so it has the same meaning under every loss. With flipped labels, the correct order is the
    opposite one.
    """
    real, fake = step.real_output.logits.detach(), step.fake_output.logits.detach()
    real_target, fake_target = (
        as_target(target, real.device).mean() for target in (step.real_target, step.fake_target)
    )
    return (torch.sign((real - fake).float()) * torch.sign(real_target - fake_target) / 2 + 0.5).mean()
