"""The run stopped when D has won."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, Step, hookimpl
from gankit_plugins.trick.discriminator_confidence import answers_are_logits, in_words, loss_left

if TYPE_CHECKING:
    from gankit import RecipeInfo, Run


class CollapseGuard(Plugin):
    """Stops the run when D's loss has fallen to next to nothing and stays there, and says so.

    Source: Meng 2021, section 3.1: when D's loss falls quickly towards 0, G learns nothing any more, and time is lost.
    D's loss is its cross entropy, less what it cannot fall below with smoothed labels. A loss that merely stands still
    never stops the run. The checkpoint is kept, and `gankit resume` goes on for as long again at least.

    When to use: long runs that nobody watches.
    When not: with losses other than cross entropies, of whose answers it cannot tell how sure they are.
    """

    name = "collapse_guard"

    class Config(Settings):
        threshold: float = Field(0.01, gt=0, description="what is left of D's loss, at which it counts as nothing")
        every: int = Field(30, ge=1, description="iterations between two looks, for which the host waits")
        patience: int = Field(5, ge=1, description="looks in a row at which the loss must be as low")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.left: Tensor | None = None
        self.low = 0

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if not answers_are_logits(recipe):
            yield (
                f"{in_words(recipe)} are no logits of a probability, so the guard would judge by a measure that is not "
                "D's; drop it, or use a loss such as non_saturating"
            )

    @hookimpl
    def after_d_step(self, run: Run, step: Step) -> None:
        if (run.iteration + 1) % self.config.every == 0:
            self.left = run.ranks.mean(loss_left(step))

    @hookimpl
    def after_iteration(self, run: Run) -> None:
        if run.iteration % self.config.every or self.left is None:
            return
        self.low = self.low + 1 if self.left.item() < self.config.threshold else 0
        self.left = None
        if self.low >= self.config.patience:
            # A run that is resumed nevertheless is given as long again.
            looks, self.low = self.low, 0
            run.stop(
                f"D's loss has been below {self.config.threshold:g} for {looks * self.config.every} iterations: it "
                "tells all images apart, and G learns nothing. What helps most often: noise on what D sees "
                "(instance_noise), softer targets (label_smoothing), a gradient_penalty, a smaller D or a lower rate "
                "for it"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"low": self.low}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.low = state["low"]
