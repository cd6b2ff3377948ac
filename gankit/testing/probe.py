"""Tools that observe a tiny run during training, or seed its random number generators before each step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gankit.plugin.dataset import Rows
from gankit.plugin.slots import PLAYERS, Player
from gankit.plugin.step import Step
from gankit.runtime.rng import seed_all
from gankit.training.run import TrainingRun


class Watch:
    """Recorder of a run's gradients, optimiser steps, largest pixel value and in-place changes of real images."""

    def __init__(self, run: TrainingRun) -> None:
        self.has_gradient: dict[Player, bool] = dict.fromkeys(PLAYERS, False)
        """True for a player if at least one of its parameters has received a nonzero gradient."""

        self.without_gradient: dict[Player, set[str]] = {
            player: {name for name, p in run.networks[player].named_parameters() if p.requires_grad}
            for player in PLAYERS
        }
        """Names of each player's trainable parameters that have received no gradient so far."""

        self.optimizer_steps: dict[Player, int] = dict.fromkeys(PLAYERS, 0)
        """Number of optimiser steps of each player."""

        self.images_modified = False
        """True if a plugin has changed real images in place."""

        self.largest_pixel = 0.0
        """Largest absolute pixel value in all generated images so far."""

        # Batches of real images, with the counter `_version`, which PyTorch increases at every in-place change.
        self._versions: list[tuple[Tensor, int]] = []
        self._draw, self._after_backward = run.draw_real, run.after_backward
        run.draw_real, run.after_backward = self.draw, self.after_backward  # type: ignore[method-assign]
        for player in PLAYERS:
            run.optimizers[player].register_step_post_hook(self._counter(player))

    def _counter(self, player: Player) -> Any:
        def count(*_: Any) -> None:
            self.optimizer_steps[player] += 1

        return count

    def draw(self) -> Rows:
        """Return the batch from `TrainingRun.draw_real`, and record the `_version` of its images."""
        rows = self._draw()
        self._versions.append((rows.images, rows.images._version))
        return rows

    def after_backward(self, run: TrainingRun, step: Step, player: Player) -> None:
        """Call `TrainingRun.after_backward`, and record gradients, pixel values and in-place changes."""
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
    """Count the calls of `backward()` in the `with` block. Each call appends an element to the yielded list."""
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
    """Change a run so that it seeds all random number generators before every step, and return the run.

    Random numbers that a plugin draws in one step then do not change the random numbers in later steps.
    """
    draw = run.draw_real

    def seeded() -> Rows:
        seed_all(sum(run.step_counts.values()))
        return draw()

    run.draw_real = seeded  # type: ignore[method-assign]
    return run


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Make PyTorch use deterministic algorithms in the `with` block, as `train.deterministic` does for a run."""
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this setting
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
