"""A run watched, with advice on what is seen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor

from gankit import Player, Plugin, Settings, Step, hookimpl
from gankit_plugins.trick.discriminator_confidence import answers_are_logits, in_words, loss_left

if TYPE_CHECKING:
    from gankit import RecipeInfo, Run

WINDOW = 20
"""Looks that an oscillation is sought in."""

ADVICE = {
    "not finite": (
        "{what} is no longer a finite number. Lower the learning rates, clip the gradients (gradient_norm_clipping), "
        "bound D's slope (gradient_penalty, spectral_norm), or compute in fp32"
    ),
    "D has won": (
        "D's loss is nearly 0 ({what}): it tells all images apart, and G learns little. Noise on what D sees "
        "(instance_noise; Sonderby 2016), softer targets (label_smoothing; Salimans 2016), a gradient_penalty, a "
        "smaller D or a lower rate for it give G something to learn from"
    ),
    "samples alike": (
        "generated images differ {what} as much from one another as real ones: G has collapsed to few of them. Start "
        "again with a lower learning rate, and show D how alike they are (minibatch_discrimination, minibatch_stddev, "
        "packing), match features instead (feature_matching), or look ahead (unrolled_discriminator)"
    ),
    "oscillation": (
        "the {what} swings to and fro: the players circle around each other. historical_averaging and a lower momentum "
        "or learning rate damp it, experience_replay reminds D of what G did before, and moving_average samples from "
        "the middle. Losses that go up and down a little are no reason to stop"
    ),
}
"""What is seen, to what is said of it."""


def pairwise_distance(images: Tensor) -> Tensor:
    """The mean distance between two different images of a batch (B, ...), B at least 2; a scalar."""
    return torch.pdist(images.detach().float().flatten(1)).mean()


def oscillates(values: Tensor, strength: float = 0.5) -> bool:
    """Whether values swing to and fro with some period.

    They do when the series, less its straight trend, resembles its own negative some looks later and itself as many
    looks after that: the autocorrelation at some lag is below -strength, and at twice the lag above it. The swings must
    be no trifle either: their standard deviation is more than a tenth of the values' mean size.

    Args:
        values: (N,), from old to new. Periods up to N / 2 are seen.
        strength: from 0 to 1.
    """
    y = values.double()
    time = torch.arange(len(y), dtype=torch.float64) - (len(y) - 1) / 2
    x = y - y.mean() - time * (time @ y) / time.square().sum()
    if x.square().mean().sqrt() <= 0.1 * y.abs().mean():
        return False

    def correlation(lag: int) -> float:
        return ((x[lag:] * x[:-lag]).mean() / x.square().mean()).item()

    return any(correlation(lag) < -strength and correlation(2 * lag) > strength for lag in range(1, len(x) // 4 + 1))


class TrainingMonitor(Plugin):
    """Watches a run, and says what it sees and what papers advise: samples alike, D's loss near 0, swings, NaN.

    Source: Meng 2021, section 3.1, for D's loss; Salimans 2016, Metz 2016 and Lin 2018 for collapse; Salimans 2016,
    section 3.3, for circling. Advice is printed, kept in log.jsonl, and repeated after `quiet` looks at the earliest.
    Nothing that is learnt changes. That D has won is seen with cross entropies only.

    When to use: first runs of a new recipe.
    When not: where every iteration counts: at each look the host waits for the device.
    """

    name = "training_monitor"
    read_only = True

    class Config(Settings):
        every: int = Field(30, ge=1, description="iterations between two looks, for which the host waits")
        quiet: int = Field(20, ge=1, description="looks before the same is said again")
        sure: float = Field(0.01, gt=0, description="what is left of D's loss, at which it counts as nearly 0")
        alike: float = Field(
            0.1, gt=0, lt=1, description="distance between generated images over that between real ones, too low"
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.left: Tensor | None = None
        self.variety: Tensor | None = None
        self.history = torch.zeros(0, 2, dtype=torch.float64)
        """(looks, 2): the sums of D's and of G's terms."""

        self.looks = 0
        self.said: dict[str, int] = {}

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if not answers_are_logits(recipe):
            yield f"{in_words(recipe)} are no logits of a probability, so it cannot tell when D has won"

    @hookimpl
    def after_d_step(self, run: Run, step: Step) -> None:
        if self._looks_at(run.iteration + 1) and answers_are_logits(run.recipe):
            self.left = run.ranks.mean(loss_left(step))

    @hookimpl
    def after_g_step(self, run: Run, step: Step) -> None:
        if self._looks_at(run.iteration + 1) and len(step.fake) > 1:
            self.variety = run.ranks.mean(pairwise_distance(step.fake) / pairwise_distance(step.real))

    @hookimpl
    def after_iteration(self, run: Run) -> None:
        if not self._looks_at(run.iteration):
            return
        self.looks += 1
        players: tuple[Player, Player] = ("discriminator", "generator")
        sums = [sum(value.item() for value in run.values[player].values()) for player in players]
        for player, total in zip(players, sums, strict=True):
            if not math.isfinite(total):
                self._say(run, "not finite", f"the {player}'s loss")
                return
        self.history = torch.cat([self.history, torch.tensor([sums], dtype=torch.float64)])[-WINDOW:]
        if self.left is not None and (left := self.left.item()) < self.config.sure:
            self._say(run, "D has won", f"{left:.2g}")
        if self.variety is not None and (variety := self.variety.item()) < self.config.alike:
            self._say(run, "samples alike", f"{variety:.0%}")
        if len(self.history) == WINDOW:
            for player, values in zip(players, self.history.T, strict=True):
                if oscillates(values):
                    self._say(run, "oscillation", f"{player}'s loss")
                    break
        self.left = self.variety = None

    def _looks_at(self, iteration: int) -> bool:
        return iteration % self.config.every == 0

    def _say(self, run: Run, kind: str, what: str) -> None:
        if self.looks >= self.said.get(kind, 0):
            run.warn(ADVICE[kind].format(what=what))
            self.said[kind] = self.looks + self.config.quiet

    def state_dict(self) -> dict[str, Any]:
        said = {f"said.{kind}": looks for kind, looks in self.said.items()}
        return {"history": self.history, "looks": self.looks} | said

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self.looks = state.pop("history").cpu(), state.pop("looks")
        self.said = {name.removeprefix("said."): looks for name, looks in state.items()}
