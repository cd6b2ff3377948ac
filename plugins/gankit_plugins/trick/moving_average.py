"""Moving average of the generator."""

from __future__ import annotations

import copy
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Run, Settings, hookimpl


def decay_at(t: int, decay: float, start: int = 0) -> float:
    """Return the decay of the average at G step t = 0, 1, ...: min(decay, (1 + s) / (10 + s)) with s = t - start.

    Before step `start` the decay is 0, so the average is equal to G. Afterwards the decay is low at first, so that the
    initial weights soon have little effect on the average.
    """
    s = t - start
    return 0.0 if s < 0 else min(decay, (1 + s) / (10 + s))


def average_into(average: list[Tensor], newest: list[Tensor], decay: float) -> None:
    """Set average = decay * average + (1 - decay) * newest, in place. Both lists have tensors of equal shapes."""
    torch._foreach_lerp_(average, newest, 1 - decay)


class MovingAverage(Plugin):
    """Exponential moving average of G's weights, used for samples instead of the newest weights.

    Source: Karras 2017, section 4; Brock 2018, section 3.1. The average of parameters and of batch norm's running
    statistics is updated after each G step. The training does not change. Grids, metrics and the saved generator use
    the average.

    When to use: nearly always. The weights oscillate around a centre, and their average is nearer to it.
    When not: in runs of a few hundred iterations with a decay near 1: early weights dominate the average.
    """

    name = "moving_average"

    class Config(Settings):
        decay: float = Field(0.999, ge=0, lt=1, description="decay of the average per G step")
        start: int = Field(0, ge=0, description="number of G steps before the average starts; 20,000 in Brock 2018")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.steps = 0
        self.saved: dict[str, Tensor] | None = None
        self.average: nn.Module | None = None

    @hookimpl
    def on_start(self, run: Run) -> None:
        self.average = copy.deepcopy(run.generator).requires_grad_(False)
        if self.saved is not None:
            self.average.load_state_dict(self.saved)
        self.pairs = _float_pairs(self.average, run.generator)

    @hookimpl
    def after_g_step(self) -> None:
        average_into(*self.pairs, decay_at(self.steps, self.config.decay, self.config.start))
        self.steps += 1

    @hookimpl
    def sampling_generator(self) -> nn.Module | None:
        return self.average

    def state_dict(self) -> dict[str, Any]:
        assert self.average is not None, "on_start is called before the first checkpoint"
        return {"steps": self.steps, **{f"average.{name}": t for name, t in self.average.state_dict().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state.pop("steps")
        self.saved = {name.removeprefix("average."): tensor for name, tensor in state.items()}


def _float_pairs(average: nn.Module, network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the floating-point parameters and buffers of `average`, and those of `network` in the same order.

    Integer buffers, such as the batch counters of batch norm, cannot be averaged and are left out.
    """
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    averaged, trained = average.state_dict(), network.state_dict()
    return [averaged[name] for name in names], [trained[name] for name in names]
