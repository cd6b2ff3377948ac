"""Differentially private D steps, a trick for gankit."""

import copy
import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gankit import InputError, Plugin, Settings, hookimpl, value_at


def clip_factors(gradients: dict[str, Tensor], norm: float) -> Tensor:
    """Return min(1, C / |g_i|) for each image, (B,). The gradients of a parameter are (B, ...).

    Source: Abadi 2016, algorithm 1, "clip gradient".
    """
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
    return (norm / norms).clamp(max=1)


def noisy_mean(gradient: Tensor, factors: Tensor, std: float) -> Tensor:
    """Return (sum of factor_i g_i + N(0, std^2)) / B. gradient is (B, ...), factors is (B,).

    Source: Abadi 2016, algorithm 1, "add noise", with std = sigma C.
    """
    # No matrix product: gankit calls `backward` under autocast, which would compute it in bf16.
    total = (factors.view(-1, *[1] * (gradient.dim() - 1)) * gradient).sum(0)
    return (total + std * torch.randn_like(total)) / len(factors)


def couples_images(discriminator: nn.Module, images: Tensor, labels: Tensor | None) -> bool:
    """Return True if D's logit for the first image depends on the other images, (B, C, H, W)."""
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images, labels).logits[0].sum(), images)
    return bool(gradient[1:].any())


class DpSgd(Plugin):
    """Differentially private D steps: clipped gradients of each image, and noise (DP-SGD).

    Source: Abadi 2016, algorithm 1; for GANs Xie 2018. An example is a real image with its fake image. The gradient of
    D's loss for this pair is clipped to the norm C. G sees the real images only through D, so G's steps need no noise.
    Abadi's accounting of epsilon assumes that each batch is drawn at random; gankit permutes the images. The logged
    losses and the clipped share are not private.

    When to use: if the published generator must not reveal whether an image was in the data.
    When not: with a D loss that is no mean over the images, and with penalties on D's gradients or weights.
    """

    name = "dp_sgd"

    class Config(Settings):
        norm: float = Field(1.0, gt=0, description="C, largest norm of the gradient of one image")
        sigma: float = Field(1.0, ge=0, description="standard deviation of the noise, divided by C")

    config: Config
    clipped: Tensor | None = None

    @hookimpl
    def check_recipe(self, recipe):
        if keys := recipe.coupling("discriminator"):
            raise ValueError(f"dp_sgd needs a gradient of each image, but {keys[0]} couples the images of a batch")
        if recipe.use_of("normalization.discriminator") == "virtual_batch_norm":
            raise ValueError(
                "dp_sgd needs a gradient of each image, but virtual_batch_norm couples all images to real ones"
            )

    @hookimpl
    def on_start(self, run):
        own = set(run.discriminator.parameters())
        if not own.issuperset(run.parameters["discriminator"]):
            raise InputError(
                "dp_sgd trains only the discriminator, but another plugin lets D's steps train a further network"
            )
        if run.spec.pack > 1:
            raise InputError("dp_sgd needs a gradient of each image, but packing couples the images of a pack")
        count = max(2, run.spec.classes)  # balanced batches need all classes
        with torch.random.fork_rng():  # a resumed run must not draw other numbers
            if couples_images(copy.deepcopy(run.discriminator), *run.draw_reference(count)[:2]):
                raise InputError(
                    "dp_sgd needs a gradient of each image, but the discriminator couples the images of a batch"
                )

    @hookimpl
    def backward(self, run, step, player, terms):
        if player != "discriminator":
            return None
        network = run.discriminator
        parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        buffers = dict(network.named_buffers())
        step.real_inputs, step.fake_inputs  # noqa: B018  # computed once for the batch, not for each image

        def loss(parameters, row):
            example = step.slice(row[None])
            state = parameters | {name: buffer.clone() for name, buffer in buffers.items()}
            example.discriminator = lambda *inputs: functional_call(network, state, inputs)
            values = {term.name: term.function(example) for term in terms}
            return sum(value_at(term.weight, run) * values[term.name] for term in terms), values

        detached = {name: p.detach() for name, p in parameters.items()}
        rows = torch.arange(len(step.real), device=run.device)
        gradients, values = vmap(grad(loss, has_aux=True), in_dims=(None, 0), randomness="different")(detached, rows)
        for name, value in values.items():
            if value.requires_grad:
                raise InputError(f"dp_sgd: the loss term {name} reads D's weights, so it has no gradient of each image")
        # The terms are already divided by the number of parts. The noises of all parts and ranks add up to sigma C.
        parts = run.recipe.train.accumulate
        norm = self.config.norm / parts
        std = self.config.sigma * norm / math.sqrt(parts * run.ranks.size)
        factors = clip_factors(gradients, norm)
        for name, p in parameters.items():
            mean = noisy_mean(gradients[name], factors, std)
            p.grad = mean if p.grad is None else p.grad + mean
        with torch.no_grad():
            step.real_output  # noqa: B018  # for other plugins; updates buffers, such as the vectors of spectral norm
        self.clipped = run.ranks.mean((factors < 1).float().mean())
        return {name: value.mean() for name, value in values.items()}

    @hookimpl
    def log_values(self):
        return None if self.clipped is None else {"clipped_share": self.clipped}
