"""G learns against the D that D is about to become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from gankit import InputError, Plugin, Settings, Step, hookimpl
from gankit_plugins.trick.differentiable_norms import ElementaryNorms

if TYPE_CHECKING:
    from gankit import Run

Parameters = dict[str, Tensor]
Judge = Callable[[Tensor, Tensor | None], Any]


def unroll(
    theta: Parameters,
    loss: Callable[[Parameters], Tensor],
    lr: float,
    steps: int,
    mean: Callable[[Tensor], Tensor] = lambda x: x,
) -> Parameters:
    """theta_{i+1} = theta_i - lr grad loss(theta_i), `steps` times over (Metz 2016, equations 7 and 8).

    Args:
        theta: theta_0, tensors by name that require gradients.
        loss: a scalar, differentiable; called once for each step.
        lr: eta, the rate of the steps.
        steps: K.
        mean: over the ranks that share a batch, of what each has of it.

    Returns:
        theta_K, a differentiable function of all that the losses depend on.
    """
    for _ in range(steps):
        value = loss(theta)
        # The derivative of an operation under autocast is in the operation's own types; it needs no casts of its own.
        with torch.autocast(value.device.type, enabled=False):
            gradients = torch.autograd.grad(value, list(theta.values()), create_graph=True, materialize_grads=True)
            theta = {name: t - lr * mean(g) for (name, t), g in zip(theta.items(), gradients, strict=True)}
    return theta


def judge_with(network: nn.Module, theta: Parameters) -> Judge:
    """The network with other parameters: from images and labels to what it answers.

    What it answers can be differentiated as often as torch can. The network's buffers, the statistics of batch norm
    for instance, are copied for each call, so nothing of the call stays.
    """

    def judge(images: Tensor, labels: Tensor | None) -> Any:
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        with ElementaryNorms():
            return functional_call(network, {**buffers, **theta}, (images, labels))

    return judge


class UnrolledDiscriminator(Plugin):
    """Trains G against D as it will be after some steps of its own, with the gradient through those steps.

    Source: Metz 2016, equations 7 to 9. In G's turn a copy of D takes `steps` steps of plain gradient descent on
    D's terms, penalties included, on the turn's own images; then it judges. G's gradient goes through its answer
    and through how its weights follow from G's images, which is what tells G not to put everything where D is
    weakest just now. D itself is left as it is, to the bit. A lazy term counts in every step, with its plain
    weight. What acts on gradients or weights beside the terms (momentum, clipping) takes no part in the look
    ahead, nor does a term that reads D's weights rather than D's answers.

    When to use: mode collapse on small problems, where a G that runs from mode to mode is shown what comes of it.
    When not: with a large D. Each step costs about three turns of D, and all of them stay in memory until G has
    learnt from them; a penalty on D's gradient makes it more, as it is then differentiated a third time.
    """

    name = "unrolled_discriminator"

    class Config(Settings):
        steps: int = Field(5, ge=0, description="K, steps of D that G looks ahead; 0 for none, the ordinary game")
        lr: float = Field(
            0.01,
            gt=0,
            description="rate of those steps of plain gradient descent, which wants larger ones than Adam; where it is "
            "too large, the steps climb and G's loss soon is no number",
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.tried = False

    @hookimpl
    def before_g_step(self, run: Run, step: Step) -> None:
        if self.config.steps == 0:
            return
        ahead = Step(run, "discriminator", step.real, step.labels, step.z, step.fake, simulated=True)
        # Should anyone ask D before the first step, its buffers are not to move either.
        ahead.discriminator = judge_with(run.discriminator, {})
        run.before_step["discriminator"](run, ahead)
        # Only the targets and weights are wanted of what D's turn would begin with.
        ahead.real, ahead.fake = step.real, step.fake

        def loss(theta: Parameters) -> Tensor:
            seen = replace(ahead, discriminator=judge_with(run.discriminator, theta))
            terms = run.terms["discriminator"]
            return sum((term.weight * term.function(seen) for term in terms), torch.zeros((), device=step.fake.device))

        learnt = {id(p) for p in run.parameters["discriminator"]}
        # In G's turn D's own parameters ask for no gradients.
        theta = {
            name: p.detach().clone().requires_grad_()
            for name, p in run.discriminator.named_parameters()
            if id(p) in learnt
        }
        theta = unroll(theta, loss, self.config.lr, self.config.steps, run.ranks.mean)
        if not self.tried:
            _try_gradient(theta, step.fake)
            self.tried = True
        step.discriminator = judge_with(run.discriminator, theta)


def _try_gradient(theta: Parameters, fake: Tensor) -> None:
    """Raises InputError when torch cannot differentiate D's steps with respect to the images."""
    try:
        with torch.autocast(fake.device.type, enabled=False):
            total = sum((t.sum() for t in theta.values()), torch.zeros((), device=fake.device))
            torch.autograd.grad(total, fake, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        if "derivative" not in reason and "differentiate" not in reason:
            raise
        raise InputError(
            f"unrolled_discriminator needs the derivative of D's own gradients, and torch cannot take it ({reason}); "
            "use another discriminator, normalisation or penalty, or drop the trick"
        ) from error
