"""Three recipes that come with gankit, each as the shortest well-tuned loop that somebody would write by hand.

They know what gankit knows: one pass of D over the real and one over the generated images, D frozen in G's turn,
fused Adam, channels_last, bfloat16 where the recipe has it, images kept as bytes in memory, glibc told to keep what is
freed. They draw the same random numbers in the same order, so they end with the same weights
(tests/test_by_hand.py).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from plain import adam, freeze, penalty, step
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from gankit.training.run import TrainingRun

Iteration = Callable[[], None]


class Images:
    """Shuffled batches; with classes, as many of each as a batch has room for."""

    def __init__(self, images: Tensor, labels: Tensor | None, batch_size: int, classes: int) -> None:
        self.images, self.labels = images, labels
        self.each = batch_size // max(1, classes)
        everyone = torch.arange(len(images))
        self.members = [everyone] if labels is None else [(labels == k).nonzero().flatten() for k in range(classes)]
        self.randomness = torch.Generator().manual_seed(0)
        self.shuffle()

    def shuffle(self) -> None:
        self.orders = [m[torch.randperm(len(m), generator=self.randomness)] for m in self.members]
        self.position = 0

    def next(self) -> tuple[Tensor, Tensor | None]:
        if self.position + self.each > len(self.orders[0]):
            self.shuffle()
        rows = slice(self.position, self.position + self.each)
        self.position += self.each
        index = torch.stack([order[rows] for order in self.orders], dim=1).flatten()
        real = self.images[index].float().div_(127.5).sub_(1.0).contiguous(memory_format=torch.channels_last)
        return real, None if self.labels is None else self.labels[index]


def dcgan(run: TrainingRun) -> Iteration:
    """`dcgan_mnist`."""
    G, D, data, half = players(run)
    g_adam, d_adam = adam(G, 2e-4, (0.5, 0.999)), adam(D, 2e-4, (0.5, 0.999))

    def iteration() -> None:
        real, _ = data.next()
        z = torch.empty(len(real), 100).uniform_(-1, 1)
        with half():
            with torch.no_grad():
                fake = G(z, None).float()
            on_real, on_fake = D(real, None).logits.float(), D(fake, None).logits.float()
            loss = -logsigmoid(on_real).mean() - logsigmoid(-on_fake).mean()
        step(loss, d_adam)

        real, _ = data.next()
        z = torch.empty(len(real), 100).uniform_(-1, 1)
        freeze(D, True)
        with half():
            loss = -logsigmoid(D(G(z, None).float(), None).logits.float()).mean()
        step(loss, g_adam)
        freeze(D, False)

    return iteration


def wgan_gp(run: TrainingRun) -> Iteration:
    """`wgan_gp_mnist`."""
    G, D, data, half = players(run)
    g_adam, d_adam = adam(G, 1e-4, (0.0, 0.9)), adam(D, 1e-4, (0.0, 0.9))

    def iteration() -> None:
        for _ in range(5):
            real, _ = data.next()
            z = torch.randn(len(real), 128)
            with half():
                with torch.no_grad():
                    fake = G(z, None).float()
                on_real, on_fake = D(real, None).logits.float(), D(fake, None).logits.float()
                loss = on_fake.mean() - on_real.mean() + 10.0 * penalty(lambda x: D(x, None).logits, real, fake)
            step(loss, d_adam)

        real, _ = data.next()
        z = torch.randn(len(real), 128)
        freeze(D, True)
        with half():
            loss = -D(G(z, None).float(), None).logits.float().mean()
        step(loss, g_adam)
        freeze(D, False)

    return iteration


def igan_vn(run: TrainingRun) -> Iteration:
    """`igan_vn_mnist`."""
    G, D, data, half = players(run)
    g_adam, d_adam = adam(G, 3e-4, (0.5, 0.999)), adam(D, 2e-4, (0.5, 0.999))
    average = copy.deepcopy(G).requires_grad_(False)
    names = [name for name, tensor in G.state_dict().items() if tensor.is_floating_point()]
    pairs = [average.state_dict()[name] for name in names], [G.state_dict()[name] for name in names]
    t = 0

    def noisy(x: Tensor) -> Tensor:
        return torch.add(x, torch.randn_like(x), alpha=0.1)

    def iteration() -> None:
        nonlocal t
        rate = (0.0002 + 1 / (555.56 + 10 * t)) / 0.0002
        g_adam.param_groups[0]["lr"], d_adam.param_groups[0]["lr"] = 3e-4 * rate, 2e-4 * rate
        for _ in range(3):
            real, y = data.next()
            z = torch.randn(len(real), 100)
            with half():
                with torch.no_grad():
                    fake = G(z, y).float()
                real, fake = noisy(real), noisy(fake)
                on_real, on_fake = D(real, y).logits.float(), D(fake, y).logits.float()
                loss = -(0.9 * logsigmoid(on_real) + 0.1 * logsigmoid(-on_real)).mean() - logsigmoid(-on_fake).mean()
                loss = loss + 5.0 * penalty(lambda x, y=y: D(x, y).logits, real, fake)
            step(loss, d_adam)

        real, y = data.next()
        z = torch.randn(len(real), 100)
        freeze(D, True)
        with half():
            loss = -logsigmoid(D(noisy(G(z, y).float()), y).logits.float()).mean()
        step(loss, g_adam)
        freeze(D, False)
        torch._foreach_lerp_(*pairs, 1 - min(0.99, (1 + t) / (10 + t)))
        t += 1

    return iteration


def players(run: TrainingRun) -> tuple[nn.Module, nn.Module, Images, Callable[[], torch.autocast]]:
    """Copies of a game's networks, its data, and autocast as the game has it."""
    images, labels = run.dataset.load()
    classes = run.spec.classes if run.spec.class_balanced else 0
    data = Images(images, labels if classes else None, run.recipe.train.batch_size, classes)
    return (
        copy.deepcopy(run.generator),
        copy.deepcopy(run.discriminator),
        data,
        lambda: torch.autocast("cpu", torch.bfloat16, enabled=run.bf16),
    )


BY_HAND: dict[str, Callable[[TrainingRun], Iteration]] = {
    "dcgan_mnist": dcgan,
    "wgan_gp_mnist": wgan_gp,
    "igan_vn_mnist": igan_vn,
}
