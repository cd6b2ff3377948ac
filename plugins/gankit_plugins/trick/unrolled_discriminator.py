"""Training of G against D after some simulated steps of D."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from gankit import InputError, Plugin, Run, Settings, Step, hookimpl
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
    """Return theta after `steps` steps theta_{i+1} = theta_i - lr grad loss(theta_i) (Metz 2016, equations 7 and 8).

    The result is differentiable in all that the losses depend on.

    Args:
        theta: theta_0, tensors by name that require gradients.
        loss: differentiable function to a scalar; called once per step.
        lr: eta, learning rate of the steps.
        steps: K.
        mean: mean over the ranks that share the batch.
    """
    for _ in range(steps):
        value = loss(theta)
        # Autocast would cast again in the backward pass, whose types follow from the forward pass.
        with torch.autocast(value.device.type, enabled=False):
            gradients = torch.autograd.grad(value, list(theta.values()), create_graph=True, materialize_grads=True)
            theta = {name: t - lr * mean(g) for (name, t), g in zip(theta.items(), gradients, strict=True)}
    return theta


def with_parameters(network: nn.Module, theta: Parameters) -> Discriminator:
    """Return a function from images and labels to the network's output with other parameters."""

    def discriminator(images: Tensor, labels: Tensor | None) -> Any:
        # Copies, because the call must not change buffers such as the statistics of batch norm.
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        # torch's own norms have wrong third derivatives.
        with DifferentiableNorms():
            return functional_call(network, {**buffers, **theta}, (images, labels))

    return discriminator


class UnrolledDiscriminator(Plugin):
    """Trains G against D after some simulated steps of D, with the gradient through those steps.

    Source: Metz 2016, equations 7 to 9. In a G step, a copy of D takes `steps` steps of gradient descent on D's terms,
    penalties included, on the images of the step. G's gradient goes through the copy's output and through the
    dependence of its weights on G's images. D itself does not change. Lazy terms act in every simulated step, with
    their plain weight. Momentum, gradient clipping and terms that depend on D's weights take no part in the simulation.

    When to use: mode collapse on small problems, where G moves from mode to mode.
    When not: with a large D. Each simulated step costs about three D steps, and all stay in memory until the backward
    pass. A penalty on D's gradient is then differentiated a third time, which costs more.
    """

    name = "unrolled_discriminator"

    class Config(Settings):
        steps: int = Field(5, ge=0, description="K, number of simulated D steps; 0 for ordinary training")
        lr: float = Field(
            0.01,
            gt=0,
            description="learning rate of the simulated steps. Plain gradient descent needs a larger one than Adam; "
            "if it is too large, G's loss becomes NaN",
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.checked = False

    @hookimpl
    def before_g_step(self, run: Run, step: Step) -> None:
        if self.config.steps == 0:
            return
        lookahead = Step(run, "discriminator", step.real, step.labels, step.z, step.fake, simulated=True)
        # Without it, a plugin that calls D in its hook would change D's buffers.
        lookahead.discriminator = with_parameters(run.discriminator, {})
        run.before_step["discriminator"](run, lookahead)
        # The plugins of D steps set targets and weights. Their changes of images must not act here.
        lookahead.real, lookahead.fake = step.real, step.fake

        def loss(theta: Parameters) -> Tensor:
            simulated = replace(lookahead, discriminator=with_parameters(run.discriminator, theta))
            terms = run.terms["discriminator"]
            return sum(
                (term.weight * term.function(simulated) for term in terms), torch.zeros((), device=step.fake.device)
            )

        trained_ids = {id(p) for p in run.parameters["discriminator"]}
        # D's own parameters require no gradients in a G step, and must not change. A lazy term counts in every step,
        # with its plain weight.
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
    """Check that torch can differentiate D's steps with respect to the images.

    Raises:
        InputError: it cannot.
    """
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
