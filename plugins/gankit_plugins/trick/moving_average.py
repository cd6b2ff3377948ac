"""Moving average of the generator."""

from __future__ import annotations

import copy
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, Plugin, Run, Scheduled, Settings, hookimpl, value_at

STATISTICS = ("running_mean", "running_var", "u", "v")
"""Names of buffers that are averaged: means and variances of batch norm, singular vectors of spectral norm."""


def decay_at(t: int, decay: float, start: int = 0) -> float:
    """Return the decay of the average at G step t = 0, 1, ...: min(decay, (1 + s) / (10 + s)) with s = t - start.

    Before step `start`, the decay is 0, so the average is equal to G. From step `start` on, the decay is low at first.
    The initial weights therefore soon have little effect on the average.
    """
    s = t - start
    return 0.0 if s < 0 else min(decay, (1 + s) / (10 + s))


def half_life_decay(images: int, half_life: float) -> float:
    """Return the decay of the average in a G step with `images` images: 2^(-images / half_life).

    After `half_life` further images, the share of past weights in the average is halved. If `half_life` is 0, the
    average is equal to G.
    """
    return 0.5 ** (images / half_life) if half_life > 0 else 0.0


def average_into(average: list[Tensor], newest: list[Tensor], decay: float) -> None:
    """Set `average = decay * average + (1 - decay) * newest`, in place. Both lists contain tensors of equal shapes."""
    torch._foreach_lerp_(average, newest, 1 - decay)


class MovingAverage(Plugin):
    """Exponential moving average of G's weights, used for samples instead of the newest weights.

    Source: Karras 2017, section 4; Brock 2018, section 3.1. The average of the trained parameters and of the statistics
    of normalisations is updated after each G step. Other buffers and frozen weights are copied from G. The training
    does not change. Grids, metrics and the saved generator use the average. With `half_life`, the decay depends on the
    number of images instead of steps. A schedule of `half_life` that starts at 0 replaces the low decay of the first
    steps (Huang 2024).

    When to use: nearly always. The weights oscillate around a centre, and their average is nearer to this centre.
    When not: in runs of a few hundred iterations with a decay near 1, because early weights dominate the average.
    """

    name = "moving_average"

    class Config(Settings):
        decay: Scheduled = Field(0.999, ge=0, lt=1, description="decay of the average per G step")
        start: int = Field(0, ge=0, description="number of G steps before the average starts; 20,000 in Brock 2018")
        half_life: Annotated[Scheduled, Field(ge=0)] | None = Field(
            None, description="number of images after which a weight counts half in the average; replaces decay"
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.steps = 0
        self.saved: dict[str, Tensor] | None = None
        self.average: nn.Module | None = None
        self.copies: list[Tensor] = []
        self.originals: list[Tensor] = []

    @hookimpl
    def on_start(self, run: Run) -> None:
        self.average = copy.deepcopy(run.generator).requires_grad_(False)
        if self.saved is not None:
            self.average.load_state_dict(self.saved)
        averaged, copied = averaged_and_copied(run.generator)
        self.averages, self.newest = self._pairs(run, averaged)
        self.copies, self.originals = self._pairs(run, copied)

    @hookimpl
    def after_g_step(self, run: Run) -> None:
        average_into(self.averages, self.newest, self._decay(run))
        self.steps += 1

    def _decay(self, run: Run) -> float:
        c = self.config
        if c.half_life is None:
            return decay_at(self.steps, value_at(c.decay, run), c.start)
        half_life = value_at(c.half_life, run) if self.steps >= c.start else 0.0
        return half_life_decay(run.recipe.train.batch_size, half_life)

    @hookimpl
    def sampling_generator(self, network: nn.Module, run: Run) -> nn.Module | None:
        if network is not run.generator:
            raise InputError(
                "moving_average averages the trained generator, and another plugin has replaced it; move "
                "moving_average before this plugin in the recipe"
            )
        self._copy()
        return self.average

    def _pairs(self, run: Run, names: list[str]) -> tuple[list[Tensor], list[Tensor]]:
        """Return two lists of the tensors with the given names: the tensors of the average, and those of G."""
        assert self.average is not None, "on_start sets the average first"
        average, newest = self.average.state_dict(), run.generator.state_dict()
        return [average[name] for name in names], [newest[name] for name in names]

    def _copy(self) -> None:
        """Copy the tensors that are not averaged from G to the average. Call this method before the average is used."""
        for copied, original in zip(self.copies, self.originals, strict=True):
            copied.copy_(original)

    def state_dict(self) -> dict[str, Any]:
        assert self.average is not None, "on_start is called before the first checkpoint"
        self._copy()
        return {"steps": self.steps, **{f"average.{name}": t for name, t in self.average.state_dict().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state.pop("steps")
        self.saved = {name.removeprefix("average."): tensor for name, tensor in state.items()}


def averaged_and_copied(network: nn.Module) -> tuple[list[str], list[str]]:
    """Return the names of a network's tensors in two lists: tensors to average, and tensors to copy.

    Trained parameters and the statistics of normalisation layers (`STATISTICS`) are averaged. All other tensors, such
    as counters, masks and frozen weights, are copied, because an average of them has no meaning.
    """
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    # If a tensor has several names, keep only the first name, as `named_parameters` does. Otherwise, an averaged tensor
    # would also be copied.
    first = {id(tensor): name for name, tensor in reversed(network.state_dict(keep_vars=True).items())}
    names = [name for name, tensor in network.state_dict(keep_vars=True).items() if first[id(tensor)] == name]
    averaged = [name for name in names if name in trained or name.rpartition(".")[2] in STATISTICS]
    return averaged, [name for name in names if name not in averaged]
