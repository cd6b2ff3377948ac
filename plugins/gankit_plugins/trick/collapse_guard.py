"""Early stopping of a run in which D's loss stays near 0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field
from torch import Tensor

from gankit import Plugin, RecipeInfo, Run, Settings, Step, hookimpl
from gankit_plugins.trick.discriminator_confidence import describe_logits, excess_loss, has_probability_logits


class CollapseGuard(Plugin):
    """Early stopping of the run when D's loss stays near 0.

    Source: Meng 2021, section 3.1. When D's loss falls quickly towards 0, G no longer learns. Here D's loss is its
    cross entropy minus the smallest possible cross entropy. With smoothed labels, this minimum is above 0. A loss that
    is constant but not near 0 does not stop the run. The run stops after `patience` successive checks with a loss near
    0. The last checkpoint is kept. If the stopped run is resumed, it counts these checks from 0. With
    `train.rollbacks`, the run first returns to a checkpoint that is older than these checks.

    When to use: in long unattended runs.
    When not: with losses that are not cross entropies, because D's logits then do not show how confident D is.
    """

    name = "collapse_guard"

    class Config(Settings):
        threshold: float = Field(0.01, gt=0, description="the run stops if D's loss minus its minimum stays below this")
        every: int = Field(30, ge=1, description="interval in iterations; at a check the CPU waits for the device")
        patience: int = Field(5, ge=1, description="number of checks in a row with a loss below the threshold")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.excess: Tensor | None = None
        self.low = 0

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if not has_probability_logits(recipe):
            yield (
                f"{describe_logits(recipe)} are not logits of a probability, so collapse_guard cannot measure D's "
                "loss; remove it, or use a loss such as non_saturating"
            )

    @hookimpl
    def after_d_step(self, run: Run, step: Step) -> None:
        if (run.iteration + 1) % self.config.every == 0:
            self.excess = run.ranks.mean(excess_loss(step))

    @hookimpl
    def after_iteration(self, run: Run) -> None:
        if run.iteration % self.config.every or self.excess is None:
            return
        self.low = self.low + 1 if self.excess.item() < self.config.threshold else 0
        self.excess = None
        if self.low >= self.config.patience:
            # Reset the counter of low losses. A resumed run then stops only after `patience` further checks.
            iterations, self.low = self.low * self.config.every, 0
            run.roll_back(
                f"D's loss has been below {self.config.threshold:g} for {iterations} iterations: "
                "it separates all images, and G no longer learns. Usual remedies: noise on D's inputs "
                "(instance_noise), softer targets (label_smoothing), a gradient_penalty, a smaller D or a lower "
                "learning rate for D",
                since=run.iteration - iterations,
            )

    def state_dict(self) -> dict[str, Any]:
        return {"low": self.low}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.low = state["low"]
