"""The recipes of newer systems as short training loops in plain PyTorch, as in `by_hand.py`.

Networks, augmentations and BigGAN's penalty are those of the plugins. Everything else is written here: draws, losses,
penalties on D's gradient, schedules, growth and moving averages. The loops end with the weights of gankit
(tests/test_by_hand.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from by_hand import Autocast, Images, Iteration, adam, averaging, freeze, gradient_penalty, step
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate, relu, softplus

from gankit_plugins.augmentation.diff_augment import POLICIES
from gankit_plugins.layers.progressive import Growing, growth_at
from gankit_plugins.layers.weights import filters, trainable_layers
from gankit_plugins.penalty.relaxed_orthogonal_regularization import not_orthogonal
from gankit_plugins.trick.discriminator_reconstruction import PART, WHOLE, quarter

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Function from real images (B, C, H, W), generated images (B, C, H, W) and labels (B,) to the loss of a player."""


def alternate(
    G: nn.Module,
    D: nn.Module,
    data: Images,
    autocast: Autocast,
    losses: tuple[Loss, Loss],
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    z_size: int = 128,
    decay: float | None = None,
) -> Iteration:
    """Return a function that trains one D step and then one G step. Each pair has the part of G first.

    With `decay`, the function then updates a moving average of G.
    """
    (g_loss, d_loss), (g_adam, d_adam) = losses, optimizers
    average = averaging(G) if decay is not None else None

    def iteration() -> None:
        real, y = data.next()
        z = torch.randn(len(real), z_size, device=real.device)
        with autocast():
            with torch.no_grad():
                fake = G(z, y).float()
            loss = d_loss(real, fake, y)
        step(loss, d_adam)

        real, y = data.next()
        z = torch.randn(len(real), z_size, device=real.device)
        freeze(D, True)
        with autocast():
            loss = g_loss(real, G(z, y).float(), y)
        step(loss, g_adam)
        freeze(D, False)
        if average is not None:
            average(decay)

    return iteration


def sngan(
    G: nn.Module, D: nn.Module, data: Images, autocast: Autocast, rates: tuple[float, float] = (2e-4, 2e-4)
) -> Iteration:
    """Return a function that trains one iteration of the recipe `sngan_cifar10` by hand."""
    optimizers = adam(G, rates[0], (0.0, 0.9)), adam(D, rates[1], (0.0, 0.9))
    return alternate(G, D, data, autocast, hinge(D), optimizers)


def sagan(G: nn.Module, D: nn.Module, data: Images, autocast: Autocast) -> Iteration:
    """Return a function that trains one iteration of the recipe `sagan_cifar10` by hand."""
    return sngan(G, D, data, autocast, rates=(1e-4, 4e-4))


def biggan(G: nn.Module, D: nn.Module, data: Images, autocast: Autocast) -> Iteration:
    """Return a function that trains one iteration of the recipe `biggan_cifar10` by hand."""
    optimizers = adam(G, 2e-4, (0.0, 0.999)), adam(D, 2e-4, (0.0, 0.999))
    g_hinge, d_hinge = hinge(D)
    layers = trainable_layers(G.eval())  # in training mode, spectral norm would do a step of its power iteration
    G.train()

    def g_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        adversarial = g_hinge(real, fake, y)
        return adversarial + 1e-4 * torch.stack([not_orthogonal(filters(layer)) for layer in layers]).sum()

    return alternate(G, D, data, autocast, (g_loss, d_hinge), optimizers, z_size=120, decay=0.99)


def pggan(G: nn.Module, D: nn.Module, data: Images, autocast: Autocast, t: int = 0) -> Iteration:
    """Return a function that trains one iteration of the recipe `pggan_cifar10` by hand, from iteration t on."""
    optimizers = adam(G, 1e-3, (0.0, 0.99)), adam(D, 1e-3, (0.0, 0.99))
    growing = [module for network in (G, D) for module in network.modules() if isinstance(module, Growing)]

    def to_level(x: Tensor) -> Tensor:
        factor = x.shape[2] // (4 << growing[0].now.level)
        return x if factor == 1 else avg_pool2d(x, factor)

    def logits(x: Tensor, y: Tensor | None) -> Tensor:
        return D(x, y).logits

    def d_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        real, fake = to_level(real), to_level(fake)
        alpha = growing[0].now.alpha
        if alpha < 1:
            real = (1 - alpha) * interpolate(avg_pool2d(real, 2), scale_factor=2.0, mode="nearest") + alpha * real
        real_logits, fake_logits = logits(real, y).float(), logits(fake, y).float()
        loss = fake_logits.mean() - real_logits.mean()
        loss = loss + 10.0 * gradient_penalty(lambda x: logits(x, y), real, fake)
        return loss + 0.001 * real_logits.square().mean()

    def g_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        return -logits(to_level(fake), y).float().mean()

    train = alternate(G, D, data, autocast, (g_loss, d_loss), optimizers, decay=0.999)

    def iteration() -> None:
        nonlocal t
        for network in growing:
            network.grow(growth_at(t, 400, 400, network.levels))
        train()
        t += 1

    return iteration


def stylegan(G: nn.Module, D: nn.Module, data: Images, autocast: Autocast) -> Iteration:
    """Return a function that trains one iteration of `stylegan_cifar10` or `stylegan2_cifar10` by hand."""
    optimizers = adam(G, 2.5e-3, (0.0, 0.99)), adam(D, 2.5e-3, (0.0, 0.99))
    t = 0

    def d_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        lazy = t % 16 == 0
        real = real.detach().requires_grad_(lazy)
        real_logits, fake_logits = D(real, y).logits, D(fake, y).logits
        loss = softplus(-real_logits.float()).mean() + softplus(fake_logits.float()).mean()
        return loss + 16 * 0.01 * half_squared_gradient(real_logits, real) if lazy else loss

    def g_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        return softplus(-D(fake, y).logits.float()).mean()

    train = alternate(G, D, data, autocast, (g_loss, d_loss), optimizers, decay=0.995)

    def iteration() -> None:
        nonlocal t
        train()
        t += 1

    return iteration


def r3gan(G: nn.Module, D: nn.Module, data: Images, autocast: Autocast) -> Iteration:
    """Return a function that trains one iteration of the recipe `r3gan_cifar10` by hand."""
    optimizers = adam(G, 2e-4, (0.0, 0.9)), adam(D, 2e-4, (0.0, 0.9))
    t = 0

    def cosine(start: float, end: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * t / 1000)) / 2

    def d_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        real, fake = real.detach().requires_grad_(), fake.requires_grad_()
        real_logits, fake_logits = D(real, y).logits, D(fake, y).logits
        loss = 2 * softplus(fake_logits.float() - real_logits.float()).mean()
        gamma = cosine(0.1, 0.01)
        return loss + gamma * (half_squared_gradient(real_logits, real) + half_squared_gradient(fake_logits, fake))

    def g_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        return 2 * softplus(D(real, y).logits.float() - D(fake, y).logits.float()).mean()

    train, average = alternate(G, D, data, autocast, (g_loss, d_loss), optimizers, z_size=64), averaging(G)

    def iteration() -> None:
        nonlocal t
        for optimizer in optimizers:
            optimizer.param_groups[0]["betas"] = (0.0, cosine(0.9, 0.99))
            optimizer.param_groups[0]["lr"] = 2e-4 * cosine(1.0, 0.25)
        half_life = cosine(0.0, 10000.0)
        train()
        average(0.5 ** (64 / half_life) if half_life else 0.0)
        t += 1

    return iteration


def fastgan(G: nn.Module, D: nn.Module, data: Images, autocast: Autocast, decoders: nn.Module) -> Iteration:
    """Return a function that trains one iteration of the recipe `fastgan_emoji` by hand."""
    both = nn.ModuleList([D, decoders])
    optimizers = adam(G, 2e-4, (0.5, 0.999)), adam(both, 2e-4, (0.5, 0.999))

    def augmented(x: Tensor) -> Tensor:
        for policy in POLICIES.values():
            x = policy(x)
        return x

    def error(reconstruction: Tensor, x: Tensor) -> Tensor:
        height, width = reconstruction.shape[2:]
        return (reconstruction.float() - adaptive_avg_pool2d(x, (height, width))).abs().mean()

    def d_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        real = augmented(real)
        real_output = D(real, y)
        fake_logits = D(augmented(fake), y).logits
        loss = relu(1 - real_output.logits.float()).mean() + relu(1 + fake_logits.float()).mean()
        bottom, right = torch.rand(2, len(real), device=real.device) < 0.5
        part, whole = decoders(quarter(real_output.extra[PART], bottom, right), real_output.extra[WHOLE])
        return loss + error(part, quarter(real, bottom, right)) + error(whole, real)

    def g_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        return -D(augmented(fake), y).logits.float().mean()

    return alternate(G, D, data, autocast, (g_loss, d_loss), optimizers, decay=0.995)


LOOPS = {
    "sngan_cifar10": sngan,
    "sagan_cifar10": sagan,
    "biggan_cifar10": biggan,
    "pggan_cifar10": pggan,
    "stylegan_cifar10": stylegan,
    "stylegan2_cifar10": stylegan,
    "r3gan_cifar10": r3gan,
    "fastgan_emoji": fastgan,
}
"""Loops by the name of their recipe, as `by_hand.LOOPS`. FastGAN's also takes the decoders."""


def hinge(D: nn.Module) -> tuple[Loss, Loss]:
    """Return the hinge losses of G and of D."""

    def g_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        return -D(fake, y).logits.float().mean()

    def d_loss(real: Tensor, fake: Tensor, y: Tensor | None) -> Tensor:
        real_logits, fake_logits = D(real, y).logits.float(), D(fake, y).logits.float()
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    return g_loss, d_loss


def half_squared_gradient(logits: Tensor, x: Tensor) -> Tensor:
    """Return E[||grad D(x)||_2^2] / 2 from D's logits (B,) for x (B, C, H, W)."""
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean() / 2
