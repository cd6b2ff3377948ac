"""A look over a tiny game's shoulder while it is played."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from gankit.plugin.slots import PLAYERS, Player
from gankit.plugin.step import Step
from gankit.runtime.rng import seed_all
from gankit.training.run import TrainingRun


class Watch:
    """Notes what happens to gradients, images and optimisers in every turn of a game."""

    def __init__(self, run: TrainingRun) -> None:
        self.reached: dict[Player, bool] = dict.fromkeys(PLAYERS, False)
        """Which players have had a gradient other than 0."""

        self.untouched: dict[Player, set[str]] = {
            player: {name for name, p in run.networks[player].named_parameters() if p.requires_grad}
            for player in PLAYERS
        }
        """The parameters that have had no gradient at all."""

        self.steps: dict[Player, int] = dict.fromkeys(PLAYERS, 0)
        """Steps that the optimisers have taken."""

        self.written_into = False
        """Whether somebody has changed the real images in place, which others look at too."""

        self.furthest = 0.0
        """The largest absolute value of a pixel that G has drawn."""

        self._drawn: list[tuple[Tensor, int]] = []
        self._draw, self._after_backward = run.draw, run.after_backward
        run.draw, run.after_backward = self.draw, self.after_backward  # type: ignore[method-assign]
        for player in PLAYERS:
            run.optimizers[player].register_step_post_hook(self._counting(player))

    def _counting(self, player: Player) -> Any:
        def stepped(*_: Any) -> None:
            self.steps[player] += 1

        return stepped

    def draw(self) -> tuple[Tensor, Tensor | None]:
        images, labels = self._draw()
        self._drawn.append((images, images._version))
        return images, labels

    def after_backward(self, run: TrainingRun, step: Step, player: Player) -> None:
        self._after_backward(run, step, player)
        self.written_into |= any(images._version != version for images, version in self._drawn)
        self._drawn.clear()
        self.furthest = max(self.furthest, step.fake.abs().max().item())
        for name, parameter in run.networks[player].named_parameters():
            if parameter.grad is not None:
                self.untouched[player].discard(name)
                self.reached[player] |= bool(parameter.grad.any())


@contextmanager
def counting_backward_passes() -> Iterator[list[None]]:
    """A list that grows by one with every call of `backward()`."""
    calls: list[None] = []
    backward = torch.autograd.backward

    def plural(*arguments: Any, **more: Any) -> None:
        calls.append(None)
        backward(*arguments, **more)

    torch.autograd.backward = plural
    try:
        yield calls
    finally:
        torch.autograd.backward = backward


def steady(run: TrainingRun) -> TrainingRun:
    """The game, its random numbers begun anew with every turn: what one plugin draws shifts no other's."""
    draw = run.draw

    def seeded() -> tuple[Tensor, Tensor | None]:
        seed_all(sum(chain(run.step_counts.values())))
        return draw()

    run.draw = seeded  # type: ignore[method-assign]
    return run
