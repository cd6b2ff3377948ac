"""Instruments for a tiny run while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gankit.plugin.slots import PLAYERS, Player
from gankit.plugin.step import Step
from gankit.runtime.rng import seed_all
from gankit.training.run import TrainingRun


class Watch:
    """Recorder of the gradients, images and optimiser steps of a run."""

    def __init__(self, run: TrainingRun) -> None:
        self.has_gradient: dict[Player, bool] = dict.fromkeys(PLAYERS, False)
        """True for a player that has had a gradient other than 0."""

        self.without_gradient: dict[Player, set[str]] = {
            player: {name for name, p in run.networks[player].named_parameters() if p.requires_grad}
            for player in PLAYERS
        }
        """Names of the trainable parameters that have never had a gradient."""

        self.optimizer_steps: dict[Player, int] = dict.fromkeys(PLAYERS, 0)
        """Number of steps of each optimiser."""

        self.images_modified = False
        """True if a plugin has changed the real images in place."""

        self.largest_pixel = 0.0
        """Largest absolute value of a pixel of the generated images."""

        # Every in-place change of a tensor increases its `_version`.
        self._versions: list[tuple[Tensor, int]] = []
        self._draw, self._after_backward = run.draw, run.after_backward
        run.draw, run.after_backward = self.draw, self.after_backward  # type: ignore[method-assign]
        for player in PLAYERS:
            run.optimizers[player].register_step_post_hook(self._counter(player))

    def _counter(self, player: Player) -> Any:
        def count(*_: Any) -> None:
            self.optimizer_steps[player] += 1

        return count

    def draw(self) -> tuple[Tensor, Tensor | None]:
        """Replace `TrainingRun.draw`."""
        images, labels = self._draw()
        self._versions.append((images, images._version))
        return images, labels

    def after_backward(self, run: TrainingRun, step: Step, player: Player) -> None:
        """Replace `TrainingRun.after_backward`."""
        self._after_backward(run, step, player)
        self.images_modified |= any(images._version != version for images, version in self._versions)
        self._versions.clear()
        self.largest_pixel = max(self.largest_pixel, step.fake.abs().max().item())
        for name, parameter in run.networks[player].named_parameters():
            if parameter.grad is not None:
                self.without_gradient[player].discard(name)
                self.has_gradient[player] |= bool(parameter.grad.any())


@contextmanager
def counting_backward_passes() -> Iterator[list[None]]:
    """Yield a list to which every call of `backward()` adds an element."""
    calls: list[None] = []
    backward = torch.autograd.backward

    def counted(*arguments: Any, **options: Any) -> None:
        calls.append(None)
        backward(*arguments, **options)

    torch.autograd.backward = counted
    try:
        yield calls
    finally:
        torch.autograd.backward = backward


def reseeded_steps(run: TrainingRun) -> TrainingRun:
    """Seed the random state before every step, and return the run.

    So the random numbers that a plugin draws in one step do not change those of later steps.
    """
    draw = run.draw

    def seeded() -> tuple[Tensor, Tensor | None]:
        seed_all(sum(run.step_counts.values()))
        return draw()

    run.draw = seeded  # type: ignore[method-assign]
    return run
