"""Training of only the weaker player while the other player is much stronger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from gankit import Player, Plugin, RecipeInfo, Run, Settings, Step, hookimpl
from gankit_plugins.trick.discriminator_confidence import ranking_accuracy


def player_behind(accuracy: float, low: float, high: float) -> Player | None:
    """Return the player to train: D if `accuracy` is below `low`, G if it is above `high`, otherwise None (both).

    `accuracy` is the proportion of pairs of a real and a fake image that D ranks correctly, 0.5 for random logits.
    """
    if accuracy > high:
        return "generator"
    return "discriminator" if accuracy < low else None


class BalancedSteps(Plugin):
    """Training of the weaker player alone while the other player is much stronger.

    Source: Goodfellow 2016 (NIPS tutorial, section 4.3) discusses balancing D and G, but does not recommend it. Here
    D's accuracy is the proportion of pairs of a real and a fake image that D ranks correctly, averaged over recent D
    steps. If the accuracy is above `high`, only G is trained. If the accuracy is below `low`, only D is trained.
    Otherwise, both players are trained. After `patience` iterations with one player, both players are trained once, to
    update the average. The CPU waits for the device once per iteration.

    When to use: if one player becomes too strong early, and no fixed number of D steps suits the whole run.
    When not: with a Wasserstein loss, whose critic should be trained as well as possible.
    """

    name = "balanced_steps"

    class Config(Settings):
        low: float = Field(0.55, ge=0, le=1, description="proportion of correct pairs below which only D is trained")
        high: float = Field(0.95, ge=0, le=1, description="proportion of correct pairs above which only G is trained")
        decay: float = Field(0.5, ge=0, lt=1, description="weight of the past in the running average of the proportion")
        patience: int = Field(5, ge=1, description="largest number of iterations in a row with one player")

        @model_validator(mode="after")
        def _low_below_high(self) -> BalancedSteps.Config:
            if self.low >= self.high:
                raise ValueError(f"low = {self.low} must be below high = {self.high}")
            return self

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.accuracy: Tensor | None = None
        self.alone = 0

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("loss") == "wasserstein":
            yield (
                "a Wasserstein critic should be trained as well as possible, and balanced_steps skips its steps; "
                "remove one of the two"
            )

    @hookimpl
    def step_order(self, run: Run) -> Sequence[Player] | None:
        behind = None
        if self.accuracy is not None and self.alone < self.config.patience:
            behind = player_behind(self.accuracy.item(), self.config.low, self.config.high)
        self.alone = self.alone + 1 if behind else 0
        if behind == "discriminator":
            return ["discriminator"] * run.recipe.train.discriminator_steps
        return None if behind is None else ["generator"]

    @hookimpl
    def after_d_step(self, run: Run, step: Step) -> None:
        now = run.ranks.mean(ranking_accuracy(step))
        self.accuracy = now if self.accuracy is None else torch.lerp(now, self.accuracy, self.config.decay)

    def state_dict(self) -> dict[str, Any]:
        return {"alone": self.alone} | ({} if self.accuracy is None else {"accuracy": self.accuracy})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.alone, self.accuracy = state["alone"], state.get("accuracy")
