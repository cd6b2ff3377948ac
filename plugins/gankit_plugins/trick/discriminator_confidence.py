"""Estimates of D's confidence, computed from its logits and its targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import RecipeInfo, Step, match_logits


def relativistic_trick(recipe: RecipeInfo) -> str | None:
    """Return the name of the recipe's first trick that replaces D's logits by differences of logits, or None."""
    classes = [component.plugin_class for component in recipe.components.values()]
    return next((plugin_class.name for plugin_class in classes if plugin_class.relativistic_logits), None)


def has_probability_logits(recipe: RecipeInfo) -> bool:
    """Return True if the sigmoid of D's logits is the probability that an image is real.

    This requires a cross-entropy loss and no relativistic trick.
    """
    return recipe.plugin_class("loss").cross_entropy and relativistic_trick(recipe) is None


def describe_logits(recipe: RecipeInfo) -> str:
    """Return the first words of a warning, with the name of the trick or loss: "with the loss 'hinge' D's outputs"."""
    return f"with {relativistic_trick(recipe) or 'the loss ' + repr(recipe.use_of('loss'))} D's outputs"


def as_target(target: Tensor | float, device: torch.device) -> Tensor:
    """Return a target of D, such as 1 for real images, as a float32 tensor.

    A number becomes a scalar tensor on `device`.
    """
    if isinstance(target, Tensor):
        return target.float()
    # `torch.full` creates the tensor directly on the device. A copy from the CPU would make the CPU wait for the
    # device.
    return torch.full((), target, dtype=torch.float32, device=device)


def excess(logits: Tensor, target: Tensor | float) -> Tensor:
    """Return the mean cross entropy of logits (B, ...) minus its smallest possible value for the target, as a scalar.

    The target t is a probability: one number, or a tensor (B,). The smallest possible value is the entropy of t.
    """
    t = as_target(match_logits(target, logits), logits.device).expand_as(logits)
    entropy = -(torch.xlogy(t, t) + torch.xlogy(1 - t, 1 - t))
    return (F.binary_cross_entropy_with_logits(logits.float(), t, reduction="none") - entropy).mean()


def excess_loss(step: Step) -> Tensor:
    """Return D's cross entropy minus its smallest possible value, as a scalar.

    The values for real and for fake images are added. A sum near 0 means that D separates real from fake images almost
    perfectly.
    """
    real = excess(step.real_output.logits.detach(), step.real_target)
    return real + excess(step.fake_output.logits.detach(), step.fake_target)


def ranking_accuracy(step: Step) -> Tensor:
    """Return the proportion of pairs of a real and a fake image that D ranks correctly, as a scalar.

    A pair is ranked correctly if the real image has the higher logit, or, with flipped targets, the lower logit. A tie
    counts as half a correct pair. The proportion does not depend on a threshold, so it has the same meaning for every
    loss.
    """
    real, fake = step.real_output.logits.detach(), step.fake_output.logits.detach()
    real_target, fake_target = (
        as_target(target, real.device).mean() for target in (step.real_target, step.fake_target)
    )
    return (torch.sign((real - fake).float()) * torch.sign(real_target - fake_target) / 2 + 0.5).mean()
