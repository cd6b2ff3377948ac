"""Three bundled recipes as short, well-tuned training loops in plain PyTorch, without gankit.

The loops use the same optimisations as gankit: one pass of D over the real and one over the generated images, D frozen
in the G step, fused Adam, channels_last, autocast where the recipe has it, and images in memory as bytes. They draw the
same noise in the same order, so with the same images they end with the same weights (tests/test_by_hand.py).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

# gankit is not imported at run time: memory_by_hand.py measures a process without it.
if TYPE_CHECKING:
    from gankit.training.run import TrainingRun

Iteration = Callable[[], None]
Autocast = Callable[[], torch.autocast]


class Images:
    """Shuffled batches of images (N, C, R, R) uint8 and their labels (N,).

    With `classes`, each batch has equally many images of each class.
    """

    def __init__(self, images: Tensor, labels: Tensor | None, batch_size: int, classes: int) -> None:
        self.images, self.labels = images, labels
        self.members = [torch.arange(len(images))]
        if labels is not None and classes:
            self.members = [(labels == k).nonzero().flatten().cpu() for k in range(classes)]
        self.per_class = batch_size // len(self.members)
        self.generator = torch.Generator().manual_seed(0)
        self.shuffle()

    def shuffle(self) -> None:
        """Draw the order of the next epoch."""
        orders = [m[torch.randperm(len(m), generator=self.generator)] for m in self.members]
        self.orders = [order.to(self.images.device) for order in orders]
        self.position = 0

    def next(self) -> tuple[Tensor, Tensor | None]:
        """Return images, (B, C, R, R) in [-1, 1], and their labels (B,)."""
        if self.position + self.per_class > len(self.orders[0]):
            self.shuffle()
        rows = slice(self.position, self.position + self.per_class)
        self.position += self.per_class
        index = torch.stack([order[rows] for order in self.orders], dim=1).flatten()
        real = self.images[index].float().div_(127.5).sub_(1.0).contiguous(memory_format=torch.channels_last)
        return real, None if self.labels is None else self.labels[index]


def dcgan(G: nn.Module, D: nn.Module, data: Images, autocast: Autocast) -> Iteration:
    """Return a function that trains one iteration of the recipe `dcgan_mnist` by hand."""
    g_adam, d_adam = adam(G, 2e-4, (0.5, 0.999)), adam(D, 2e-4, (0.5, 0.999))

    def iteration() -> None:
        real, _ = data.next()
        z = torch.empty(len(real), 100, device=real.device).uniform_(-1, 1)
        with autocast():
            with torch.no_grad():
                fake = G(z, None).float()
            real_logits, fake_logits = D(real, None).logits.float(), D(fake, None).logits.float()
            loss = -logsigmoid(real_logits).mean() - logsigmoid(-fake_logits).mean()
        step(loss, d_adam)

        real, _ = data.next()
        z = torch.empty(len(real), 100, device=real.device).uniform_(-1, 1)
        freeze(D, True)
        with autocast():
            loss = -logsigmoid(D(G(z, None).float(), None).logits.float()).mean()
        step(loss, g_adam)
        freeze(D, False)

    return iteration


def wgan_gp(G: nn.Module, D: nn.Module, data: Images, autocast: Autocast) -> Iteration:
    """Return a function that trains one iteration of the recipe `wgan_gp_mnist` by hand."""
    g_adam, d_adam = adam(G, 1e-4, (0.0, 0.9)), adam(D, 1e-4, (0.0, 0.9))

    def iteration() -> None:
        for _ in range(5):
            real, _ = data.next()
            z = torch.randn(len(real), 128, device=real.device)
            with autocast():
                with torch.no_grad():
                    fake = G(z, None).float()
                real_logits, fake_logits = D(real, None).logits.float(), D(fake, None).logits.float()
                penalty = gradient_penalty(lambda x: D(x, None).logits, real, fake)
                loss = fake_logits.mean() - real_logits.mean() + 10.0 * penalty
            step(loss, d_adam)

        real, _ = data.next()
        z = torch.randn(len(real), 128, device=real.device)
        freeze(D, True)
        with autocast():
            loss = -D(G(z, None).float(), None).logits.float().mean()
        step(loss, g_adam)
        freeze(D, False)

    return iteration


def igan_vn(G: nn.Module, D: nn.Module, data: Images, autocast: Autocast) -> Iteration:
    """Return a function that trains one iteration of the recipe `igan_vn_mnist` by hand."""
    g_adam, d_adam = adam(G, 3e-4, (0.5, 0.999)), adam(D, 2e-4, (0.5, 0.999))
    average = averaging(G)
    t = 0

    def noisy(x: Tensor) -> Tensor:
        return torch.add(x, torch.randn_like(x), alpha=0.1)

    def iteration() -> None:
        nonlocal t
        factor = (0.0002 + 1 / (555.56 + 10 * t)) / 0.0002
        g_adam.param_groups[0]["lr"], d_adam.param_groups[0]["lr"] = 3e-4 * factor, 2e-4 * factor
        for _ in range(3):
            real, y = data.next()
            z = torch.randn(len(real), 100, device=real.device)
            with autocast():
                with torch.no_grad():
                    fake = G(z, y).float()
                real, fake = noisy(real), noisy(fake)
                real_logits, fake_logits = D(real, y).logits.float(), D(fake, y).logits.float()
                loss = -(0.9 * logsigmoid(real_logits) + 0.1 * logsigmoid(-real_logits)).mean()
                loss = loss - logsigmoid(-fake_logits).mean()
                loss = loss + 5.0 * gradient_penalty(lambda x, y=y: D(x, y).logits, real, fake)
            step(loss, d_adam)

        real, y = data.next()
        z = torch.randn(len(real), 100, device=real.device)
        freeze(D, True)
        with autocast():
            loss = -logsigmoid(D(noisy(G(z, y).float()), y).logits.float()).mean()
        step(loss, g_adam)
        freeze(D, False)
        average(0.99)
        t += 1

    return iteration


LOOPS = {"dcgan_mnist": dcgan, "wgan_gp_mnist": wgan_gp, "igan_vn_mnist": igan_vn}
"""Loops by the name of their recipe. Each takes G, D, the data and the autocast context."""


def inputs_of(run: TrainingRun) -> tuple[Any, ...]:
    """Return the arguments of a loop for a run: copies of G and D, the data, the autocast context, other networks."""
    images, labels, _ = run.dataset.read()
    classes = run.spec.classes if run.spec.class_balanced else 0
    labels = labels.to(run.device) if labels is not None and run.spec.conditional else None
    data = Images(images.to(run.device), labels, run.recipe.train.batch_size, classes)
    # A reference to the run would keep its memory.
    device, bf16 = run.device.type, run.bf16

    def autocast() -> torch.autocast:
        return torch.autocast(device, torch.bfloat16, enabled=bf16)

    G, D, *others = (copy.deepcopy(network) for network in run.networks.values())
    return G, D, data, autocast, *others


BY_HAND = {recipe: lambda run, loop=loop: loop(*inputs_of(run)) for recipe, loop in LOOPS.items()}
"""Functions from a run of a recipe to its hand-written iteration."""


def adam(network: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Return Adam as one fused kernel."""
    return torch.optim.Adam(network.parameters(), lr=lr, betas=betas, fused=True)


def step(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Compute the gradients and update the parameters once."""
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def freeze(network: nn.Module, frozen: bool) -> None:
    """Switch the gradients of all weights off or on."""
    for parameter in network.parameters():
        parameter.requires_grad_(not frozen)


def averaging(network: nn.Module) -> Callable[[float], None]:
    """Return a function that updates an average of a network's floating-point tensors, with a decay of at least 0.

    The decay is limited as in `moving_average`: at the start the average follows the network.
    """
    average = copy.deepcopy(network).requires_grad_(False)
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    pairs = [average.state_dict()[name] for name in names], [network.state_dict()[name] for name in names]
    t = 0

    def update(decay: float) -> None:
        nonlocal t
        torch._foreach_lerp_(*pairs, 1 - min(decay, (1 + t) / (10 + t)))
        t += 1

    return update


def gradient_penalty(discriminate: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Return E[(||grad D(x)||_2 - 1)^2] at points x between real and generated images (Gulrajani 2017, equation 3)."""
    t = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (t * real + (1 - t) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(discriminate(between).sum(), between, create_graph=True)
    return (torch.linalg.vector_norm(gradient.float(), dim=(1, 2, 3)) - 1).square().mean()
