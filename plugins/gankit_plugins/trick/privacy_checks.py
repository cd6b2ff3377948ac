"""Checks that all other parts of a recipe keep the guarantee of DP-SGD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from gankit import ClassCondition, DiscriminatorOutput, InputError, LossTerm, Player, Plugin, RecipeInfo, Run, Step
from gankit_plugins.trick.sample_gradients import map_output, sample_gradients

DATA_HOOKS = (
    *("draw_step", "step_order", "backward", "wrap_loss", "extra_networks", "on_start", "before_iteration"),
    *("before_d_step", "before_g_step", "discriminator_inputs", "after_backward", "after_d_step", "after_g_step"),
    "after_iteration",
)
"""Hook points whose implementations may use real samples, or losses of real samples, outside the clipped gradients."""

ALLOWED = (
    *("flip", "crop", "scale", "rotation", "diff_augment", "ada_schedule", "label_smoothing", "instance_noise"),
    *("gradient_norm_clipping", "gradient_value_clipping", "weight_clipping", "historical_averaging"),
    *("moving_average", "standing_statistics", "path_length"),
)
"""Plugins with such implementations that treat each sample separately, or use no real samples."""

ALLOWED_PENALTIES = (
    *("l1_regularization", "l2_regularization", "orthogonal_regularization", "relaxed_orthogonal_regularization"),
    *("historical_averaging", "path_length"),
)
"""Penalties on weights, or on G alone. Other penalties use gradients of D at real samples."""

CHECKED_KINDS = ("generator", "discriminator", "latent", "loss", "normalization", "penalty", "augmentation", "trick")


def refuse_plugins(recipe: RecipeInfo, own: type[Plugin]) -> None:
    """Raise ValueError if a plugin of the recipe couples samples, or may use real samples without privacy.

    `own` is the plugin that makes the training private.
    """
    if keys := recipe.coupling("discriminator"):
        raise ValueError(
            f"dp_sgd needs a gradient of each sample, but {keys[0]} ({recipe.use_of(keys[0])}) couples the samples "
            "of a batch; use another plugin, such as group_norm or spectral_norm"
        )
    for key, component in recipe.components.items():
        plugin = component.plugin_class
        if plugin is own or component.kind not in CHECKED_KINDS:
            continue
        if component.kind == "penalty" and plugin.name not in ALLOWED_PENALTIES:
            raise ValueError(
                f"dp_sgd needs a gradient of each sample, and {key} ({plugin.name}) is a penalty on D's gradients; "
                "remove it, and use spectral_norm or weight_clipping"
            )
        hook = next((hook for hook in DATA_HOOKS if hasattr(plugin, hook)), None)
        if hook is not None and plugin.name not in ALLOWED:
            raise ValueError(
                f"dp_sgd lets the real samples act only through clipped gradients, but {key} ({plugin.name}) may "
                f"use them in its hook {hook}; remove it, or dp_sgd"
            )


def couples_samples(discriminator: Callable[..., Any], images: Tensor, condition: Tensor | None) -> bool:
    """Return True if D's logits for the first sample depend on the other samples, (B, C, H, W)."""
    with torch.enable_grad():
        images = images.clone().requires_grad_()
        output = DiscriminatorOutput(*discriminator(images, condition))
        (gradient,) = torch.autograd.grad(output.logits[0].sum(), images)
    return bool(gradient[1:].any())


def check_condition(run: Run) -> None:
    """Raise InputError if the generator takes conditions that cannot be drawn without the real samples."""
    if run.spec.condition is not None and not isinstance(run.spec.condition, ClassCondition):
        raise InputError(
            f"dp_sgd draws the conditions of generated samples itself, and can draw only classes; the data have "
            f"{run.spec.condition.describe()}"
        )


def check_networks(run: Run) -> None:
    """Check with random samples that the networks and the loss terms allow a gradient of each real sample.

    Random numbers that are drawn here do not affect the training, because a run restores its random state afterwards.

    Raises:
        InputError: D couples the samples of a batch, D's loss is no sum of a real part and a fake part, or G's loss
            uses real samples.
    """
    if run.spec.pack > 1:
        raise InputError("dp_sgd needs a gradient of each sample, but D takes several samples as one input")
    network, device = run.discriminator, run.device
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def discriminator(*inputs: Any) -> Any:
        return functional_call(network, {name: buffer.clone() for name, buffer in buffers.items()}, inputs)

    def noise() -> Tensor:
        return torch.rand(2, *run.spec.shape, device=device) * 2 - 1

    condition = torch.arange(2, device=device) % run.spec.classes if run.spec.classes else None
    name = run.recipe.use_of("discriminator")
    if couples_samples(discriminator, noise(), condition):
        raise InputError(
            f"dp_sgd needs a gradient of each sample, but the discriminator {name} couples the samples of a batch; use "
            "another discriminator or normalisation"
        )
    with torch.no_grad():
        z = run.draw_latent(2, condition)
        output = DiscriminatorOutput(*discriminator(noise(), condition))

    def random_half() -> tuple[Tensor, DiscriminatorOutput]:
        return noise(), map_output(torch.randn_like, output)

    def value(term: LossTerm, player: Player, real: Any, fake: Any, rows: slice = slice(None)) -> float:
        """Return the value of a term for samples and outputs of D. Equal arguments give equal random numbers."""
        torch.manual_seed(0)
        own = Step(run, player, real[0], condition, z, fake[0], discriminator=discriminator)
        with torch.no_grad():
            return float(term.function(own.with_outputs(real[1], fake[1]).slice(rows)))

    def differs(x: float, y: float) -> bool:
        return abs(x - y) > 1e-4 * max(1.0, abs(x), abs(y))  # rounding errors in float32 are smaller

    a, b, c, d = (random_half() for _ in range(4))
    for term in run.terms["discriminator"]:
        change = value(term, "discriminator", a, c) - value(term, "discriminator", b, c)
        parts = [value(term, "discriminator", a, c, slice(i, i + 1)) for i in range(2)]
        changes_again = value(term, "discriminator", a, d) - value(term, "discriminator", b, d)
        if differs(change, changes_again) or differs(value(term, "discriminator", a, c), sum(parts) / 2):
            raise InputError(
                f"dp_sgd needs a loss of each real sample, but D's term {term.name!r} couples samples (the loss is "
                f"{run.recipe.use_of('loss')}); use the loss non_saturating, minimax, hinge, least_squares or "
                "wasserstein, or remove the plugin of this term"
            )
    for term in run.terms["generator"]:
        if term.name in ALLOWED_PENALTIES:  # Path length stores each value for its average, so do not compute it here.
            continue
        if value(term, "generator", a, c) != value(term, "generator", b, c):
            raise InputError(
                f"dp_sgd keeps the real samples from G, but G's term {term.name!r} uses them (the loss is "
                f"{run.recipe.use_of('loss')}); use another loss, or remove the plugin of this term"
            )
    check_gradients(run, noise(), condition)


def check_gradients(run: Run, images: Tensor, condition: Tensor | None) -> None:
    """Raise InputError if torch.func cannot compute D's gradient of each sample."""
    network = run.discriminator
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}

    def logit(discriminator: Callable[..., Any], row: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        own = None if condition is None else condition[row]
        return DiscriminatorOutput(*discriminator(images[row], own)).logits.float().sum(), {}

    try:
        sample_gradients(network, parameters, logit, torch.arange(len(images), device=run.device))
    except RuntimeError as error:
        raise InputError(
            f"dp_sgd needs a gradient of each sample, and torch cannot compute it for the discriminator "
            f"{run.recipe.use_of('discriminator')} ({str(error).splitlines()[0]}); use another discriminator"
        ) from error
