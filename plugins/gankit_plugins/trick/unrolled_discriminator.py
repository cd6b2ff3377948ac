"""Training of G against a copy of D after several simulated training steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from gankit import InputError, Plugin, Run, Settings, Step, hookimpl, value_at
from gankit_plugins.trick.differentiable_norms import DifferentiableNorms

Parameters = dict[str, Tensor]
Discriminator = Callable[[Tensor, Tensor | None], Any]


def unroll(
    theta: Parameters,
    loss: Callable[[Parameters], Tensor],
    lr: float,
    steps: int,
    mean: Callable[[Tensor], Tensor] = lambda x: x,
) -> Parameters:
    """Return parameters theta after gradient steps theta_{i+1} = theta_i - lr grad loss(theta_i) (Metz 2016, eq. 7, 8).

    The result is differentiable with respect to all tensors on which the losses depend.

    Args:
        theta: initial parameters theta_0 by name. The parameters must require gradients.
        loss: differentiable function from theta to a scalar; called once per step.
        lr: learning rate of the steps, eta in the paper.
        steps: number of steps, K in the paper.
        mean: function that averages a tensor over the ranks that share the batch.
    """
    for _ in range(steps):
        value = loss(theta)
        # Disable autocast for the gradient, because the backward pass must use the same data types as the forward pass.
        with torch.autocast(value.device.type, enabled=False):
            gradients = torch.autograd.grad(value, list(theta.values()), create_graph=True, materialize_grads=True)
            theta = {name: t - lr * mean(g) for (name, t), g in zip(theta.items(), gradients, strict=True)}
    return theta


def with_parameters(network: nn.Module, theta: Parameters) -> Discriminator:
    """Return a function that maps images and their condition to the network's output with the parameters `theta`."""

    def discriminator(images: Tensor, condition: Tensor | None) -> Any:
        # Call the network with copies of its buffers, so that a simulated step does not change batch norm's statistics.
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        # Replace PyTorch's batch, instance and layer norm, because their third derivatives are wrong.
        with DifferentiableNorms():
            return functional_call(network, {**buffers, **theta}, (images, condition))

    return discriminator


class UnrolledDiscriminator(Plugin):
    """Training of G against a copy of D after several simulated D steps, with backpropagation through these steps.

    Source: Metz 2016, equations 7 to 9. In a G step, a copy of D takes `steps` steps of gradient descent on the images
    of the step, with all terms of D's loss. G's gradient includes the dependence of the copy's weights on G's images. D
    itself does not change. Terms with a setting `every` act in every simulated step, and are not multiplied by `every`.
    The simulation has no momentum and no gradient clipping. Penalties on D's weights have no effect in the simulation.

    When to use: against mode collapse on small problems, if G moves from mode to mode.
    When not: with a large D. Each simulated step costs about as much as three D steps, and the graphs of all steps stay
    in memory until the backward pass. With a penalty on D's gradient, third derivatives make the steps more expensive.
    """

    name = "unrolled_discriminator"

    class Config(Settings):
        steps: int = Field(5, ge=0, description="K, number of simulated D steps; 0 for ordinary training")
        lr: float = Field(
            0.01, gt=0, description="learning rate of the simulated steps; if it is too high, G's loss becomes NaN"
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.checked = False

    @hookimpl
    def before_g_step(self, run: Run, step: Step) -> None:
        if self.config.steps == 0:
            return
        lookahead = Step(
            run, "discriminator", step.real, step.condition, step.z, step.fake, fields=step.fields, simulated=True
        )
        lookahead.require_input_gradients(run.terms["discriminator"])
        # The hook `before_d_step` of a plugin may call D. Use a D with copied buffers, so that such calls in a
        # simulated step do not change D's own running statistics.
        lookahead.discriminator = with_parameters(run.discriminator, {})
        run.before_step["discriminator"](run, lookahead)
        # Keep the targets and weights that the plugins set for the D step, but undo their changes to the images.
        lookahead.real, lookahead.fake = step.real, step.fake

        def loss(theta: Parameters) -> Tensor:
            simulated = replace(lookahead, discriminator=with_parameters(run.discriminator, theta))
            terms = run.terms["discriminator"]
            return sum(
                (value_at(term.weight, run) * term.function(simulated) for term in terms),
                torch.zeros((), device=step.fake.device),
            )

        trained_ids = {id(p) for p in run.parameters["discriminator"]}
        # Apply the simulated steps to copies of D's parameters. The parameters themselves must not change, and their
        # `requires_grad` is False in a G step.
        theta = {
            name: p.detach().clone().requires_grad_()
            for name, p in run.discriminator.named_parameters()
            if id(p) in trained_ids
        }
        theta = unroll(theta, loss, self.config.lr, self.config.steps, run.ranks.mean)
        if not self.checked:
            _check_gradient(theta, step.fake)
            self.checked = True
        step.discriminator = with_parameters(run.discriminator, theta)


def _check_gradient(theta: Parameters, fake: Tensor) -> None:
    """Raise an InputError if PyTorch cannot differentiate `theta` with respect to the generated images."""
    try:
        with torch.autocast(fake.device.type, enabled=False):
            total = sum((t.sum() for t in theta.values()), torch.zeros((), device=fake.device))
            torch.autograd.grad(total, fake, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        if "derivative" not in reason and "differentiate" not in reason:
            raise
        raise InputError(
            f"unrolled_discriminator: torch cannot compute the derivative of D's gradients ({reason}); use another "
            "discriminator, normalisation or penalty, or remove the trick"
        ) from error
