"""Turns given to whoever falls behind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from gankit import Player, Plugin, Settings, Step, hookimpl
from gankit_plugins.trick.discriminator_confidence import share_right

if TYPE_CHECKING:
    from gankit import RecipeInfo, Run


def who_is_behind(right: float, low: float, high: float) -> Player | None:
    """The player that is to catch up, None while they are even.

    Args:
        right: the share of pairs that D orders rightly, as `share_right` has it; 0.5 is a guess.
        low: below it D is behind.
        high: above it G is behind.
    """
    if right > high:
        return "generator"
    return "discriminator" if right < low else None


class BalancedSteps(Plugin):
    """Gives an iteration's turns to one player alone while the other is too far ahead.

    Source: the balance of losses that Goodfellow 2016 (NIPS tutorial, section 4.3) discusses, and doubts. D is judged
    by the share of pairs of a real and a fake image that it puts in the right order, averaged over its recent turns.
    Above `high` only G plays, below `low` only D, otherwise both as usual; after `patience` iterations of one player
    both play, so that the measure never grows old. To decide, the host waits for the device once an iteration.

    When to use: one player that wins at once, where no fixed ratio of turns suits the whole run.
    When not: with a Wasserstein loss, whose critic cannot be too good.
    """

    name = "balanced_steps"

    class Config(Settings):
        low: float = Field(0.55, ge=0, le=1, description="share of pairs ordered rightly below which only D plays")
        high: float = Field(0.95, ge=0, le=1, description="share of pairs ordered rightly above which only G plays")
        decay: float = Field(0.5, ge=0, lt=1, description="what the running mean of the share keeps of itself")
        patience: int = Field(5, ge=1, description="iterations that one player plays alone at most, one after another")

        @model_validator(mode="after")
        def _low_below_high(self) -> BalancedSteps.Config:
            if self.low >= self.high:
                raise ValueError(f"low = {self.low} must lie below high = {self.high}")
            return self

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.right: Tensor | None = None
        self.alone = 0

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("loss") == "wasserstein":
            yield "a Wasserstein critic cannot be too good, and here it loses turns for it; drop one of the two"

    @hookimpl
    def step_order(self, run: Run) -> Sequence[Player] | None:
        behind = None
        if self.right is not None and self.alone < self.config.patience:
            behind = who_is_behind(self.right.item(), self.config.low, self.config.high)
        self.alone = self.alone + 1 if behind else 0
        if behind == "discriminator":
            return ["discriminator"] * run.recipe.train.discriminator_steps
        return None if behind is None else ["generator"]

    @hookimpl
    def after_d_step(self, run: Run, step: Step) -> None:
        now = run.ranks.mean(share_right(step))
        self.right = now if self.right is None else torch.lerp(now, self.right, self.config.decay)

    def state_dict(self) -> dict[str, Any]:
        return {"alone": self.alone} | ({} if self.right is None else {"right": self.right})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.alone, self.right = state["alone"], state.get("right")
