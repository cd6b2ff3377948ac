"""The papers' recipes as loops written by hand, for any device, with and without the habits that make them fast.

They share nothing with gankit but the networks as they begin: data, terms, schedules and steps are their own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from plain import adam, freeze, penalty, step
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from gankit.training.run import TrainingRun

Iteration = Callable[[], None]


@dataclass(frozen=True)
class Habits:
    """What somebody who writes such a loop does for speed, and what is left undone."""

    channels_last: bool = True
    cudnn_benchmark: bool = True
    """cuDNN tries its kernels out on the first batch, instead of guessing which is fastest."""

    fused_adam: bool = True
    """Adam as one kernel; else torch's own choice, which on a GPU is a kernel for each operation on all parameters."""

    frozen_judge: bool = True
    """No gradients for D's weights in G's turn."""

    joined: bool = False
    """D judges real and generated images in one pass. With batch norm in D that is another algorithm."""


PLAIN = Habits(channels_last=False, cudnn_benchmark=False, fused_adam=False, frozen_judge=False)
"""PyTorch as it comes."""

TUNED = Habits()
"""What gankit does too."""


class Images:
    """Batches drawn on the device, with classes as many of each as there is room for."""

    def __init__(self, run: TrainingRun, channels_last: bool) -> None:
        images, labels = run.dataset.load()
        self.images = images.to(run.device)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.classes = run.spec.classes
        self.labels: Tensor | None = None
        if labels is not None:
            self.labels = labels.to(run.device)
            by_class = labels.argsort(stable=True).reshape(self.classes, -1)
            self.members = by_class.to(run.device)

    def draw(self, count: int) -> tuple[Tensor, Tensor | None]:
        """(count, C, R, R) in [-1, 1] and (count,) or None."""
        if self.labels is None:
            index = torch.randint(len(self.images), (count,), device=self.images.device)
        else:
            shape = (self.classes, count // self.classes)
            chosen = torch.randint(self.members.shape[1], shape, device=self.images.device)
            index = self.members.gather(1, chosen).T.flatten()
        real = self.images[index].float().div_(127.5).sub_(1.0).contiguous(memory_format=self.layout)
        return real, None if self.labels is None else self.labels[index]


def by_hand(run: TrainingRun, habits: Habits) -> Iteration:
    """One iteration of a workload's recipe on copies of its game's networks, as long a cycle of turns as gankit's."""
    loop = dcgan if run.recipe.name == "dcgan_paper" else igan
    iteration = loop(run, habits)

    def with_switch() -> None:
        # Loops of other habits take turns with this one in the same process.
        torch.backends.cudnn.benchmark = habits.cudnn_benchmark
        iteration()

    return with_switch


def dcgan(run: TrainingRun, habits: Habits) -> Iteration:
    """`dcgan_paper`: cross entropy, one turn of each."""
    G, D, data, half = players(run, habits)
    fused = habits.fused_adam or None
    g_adam, d_adam = adam(G, 2e-4, (0.5, 0.999), fused), adam(D, 2e-4, (0.5, 0.999), fused)
    size, device = run.recipe.train.batch_size, run.device

    def z() -> Tensor:
        return torch.empty(size, 100, device=device).uniform_(-1, 1)

    def iteration() -> None:
        real, y = data.draw(size)
        with half():
            with torch.no_grad():
                fake = G(z(), y).float()
            on_real, on_fake = judged(D, real, fake, y, habits.joined)
        loss = cross_entropy(on_real, torch.ones_like(on_real)) + cross_entropy(on_fake, torch.zeros_like(on_fake))
        step(loss, d_adam)

        freeze(D, habits.frozen_judge)
        with half():
            on_fake = D(G(z(), y).float(), y).logits.float()
        step(cross_entropy(on_fake, torch.ones_like(on_fake)), g_adam)
        freeze(D, False)
        d_adam.zero_grad()

    return iteration


def igan(run: TrainingRun, habits: Habits) -> Iteration:
    """`igan_paper` and `igan_vn_paper`: flipped and smoothed labels, noise, a gradient penalty, three turns of D."""
    G, D, data, half = players(run, habits)
    fused = habits.fused_adam or None
    g_adam, d_adam = adam(G, 3e-4, (0.5, 0.999), fused), adam(D, 2e-4, (0.5, 0.999), fused)
    size, device = run.recipe.train.batch_size, run.device
    t = 0

    def noisy(x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)

    def target(low: float, high: float) -> Tensor:
        return torch.empty(size, device=device).uniform_(low, high)

    def iteration() -> None:
        nonlocal t
        rate = (0.0002 + 1 / (3000 + 10 * t)) / 0.0002
        g_adam.param_groups[0]["lr"], d_adam.param_groups[0]["lr"] = 3e-4 * rate, 2e-4 * rate
        for _ in range(3):
            real, y = data.draw(size)
            with half():
                with torch.no_grad():
                    fake = G(torch.randn(size, 100, device=device), y).float()
                real, fake = noisy(real), noisy(fake)
                on_real, on_fake = judged(D, real, fake, y, habits.joined)
                loss = cross_entropy(on_real, target(0.0, 0.1)) + cross_entropy(on_fake, target(0.9, 1.0))
                loss = loss + 5.0 * penalty(lambda x, y=y: D(x, y).logits, real, fake)
            step(loss, d_adam)

        freeze(D, habits.frozen_judge)
        with half():
            fake = noisy(G(torch.randn(size, 100, device=device), y).float())
            on_fake = D(fake, y).logits.float()
        step(cross_entropy(on_fake, torch.zeros_like(on_fake)), g_adam)
        freeze(D, False)
        d_adam.zero_grad()
        t += 1

    return iteration


def judged(D: nn.Module, real: Tensor, fake: Tensor, labels: Tensor | None, joined: bool) -> tuple[Tensor, Tensor]:
    """D's logits of real and of generated images, (B,) each."""
    if not joined:
        return D(real, labels).logits.float(), D(fake, labels).logits.float()
    twice = None if labels is None else torch.cat([labels, labels])
    on_real, on_fake = D(torch.cat([real, fake]), twice).logits.float().chunk(2)
    return on_real, on_fake


def players(run: TrainingRun, habits: Habits) -> tuple[nn.Module, nn.Module, Images, Callable[[], torch.autocast]]:
    """Copies of a game's networks, its data, and autocast as the game has it."""
    layout = torch.channels_last if habits.channels_last else torch.contiguous_format
    G, D = (copy.deepcopy(n).to(memory_format=layout) for n in (run.generator, run.discriminator))
    data = Images(run, habits.channels_last)
    return G, D, data, lambda: torch.autocast(run.device.type, torch.bfloat16, enabled=run.bf16)
