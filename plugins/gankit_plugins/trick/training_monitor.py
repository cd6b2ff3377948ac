"""Warnings about training problems, with remedies from papers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from gankit import Player, Plugin, RecipeInfo, Run, Settings, Step, hookimpl
from gankit_plugins.trick.discriminator_confidence import describe_logits, excess_loss, has_probability_logits

WINDOW = 20
"""Number of losses that are tested for oscillation. Each check records one loss of each player."""

MESSAGES = {
    "not finite": (
        "{value} is not finite. Lower the learning rates, clip the gradients (gradient_norm_clipping), bound D's slope "
        "(gradient_penalty, spectral_norm), or compute in fp32"
    ),
    "D loss near 0": (
        "D's loss is nearly 0 ({value}): it separates all images, and G learns little. Remedies: noise on D's inputs "
        "(instance_noise; Sønderby 2016), softer targets (label_smoothing; Salimans 2016), a gradient_penalty, a "
        "smaller D or a lower learning rate for D"
    ),
    "collapse": (
        "the distance between generated images is {value} of that between real ones: G has collapsed to few images. "
        "Start again with a lower learning rate, give D the variation within a batch (minibatch_discrimination, "
        "minibatch_stddev, packing), match features (feature_matching), or unroll D (unrolled_discriminator)"
    ),
    "oscillation": (
        "the {value} oscillates: the players circle around each other. historical_averaging, a lower momentum or a "
        "lower learning rate damp it, experience_replay mixes past images in, and moving_average samples from the "
        "average. Small oscillations are harmless"
    ),
}
"""Text of the warning for each problem."""


def pairwise_distance(images: Tensor) -> Tensor:
    """Return the mean Euclidean distance over all pairs of images of a batch (B, ...), as a scalar. B is at least 2."""
    return torch.pdist(images.detach().float().flatten(1)).mean()


def oscillates(values: Tensor, strength: float = 0.5) -> bool:
    """Return True if values (N,) oscillate, with a period of at most N / 2 values.

    The linear trend is removed first. The values oscillate if two conditions are met. First, the autocorrelation is
    below -strength at some lag, and above strength at twice this lag. Second, the standard deviation exceeds a tenth of
    the mean absolute value.
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
    """Warnings about mode collapse, a D loss near 0, oscillating losses and NaN, with remedies from papers.

    Source: Meng 2021, section 3.1, for D's loss; Salimans 2016, Metz 2016 and Lin 2018 for collapse; Salimans 2016,
    section 3.3, for oscillation. A warning is printed and logged in log.jsonl. The same warning is repeated only after
    `repeat_after` further checks. The training does not change. D's loss is checked only if it is a cross entropy.

    When to use: in the first runs of a new recipe.
    When not: for the highest speed, because the CPU waits for the device at each check.
    """

    name = "training_monitor"
    read_only = True

    class Config(Settings):
        every: int = Field(30, ge=1, description="interval in iterations; at a check the CPU waits for the device")
        repeat_after: int = Field(20, ge=1, description="number of checks before the same warning is repeated")
        loss_threshold: float = Field(0.01, gt=0, description="warn if D's loss minus its minimum is below this")
        diversity_threshold: float = Field(
            0.1, gt=0, lt=1, description="warn if the distance between generated images, over real ones, is below this"
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.excess: Tensor | None = None
        self.diversity: Tensor | None = None
        self.history = torch.zeros(0, 2, dtype=torch.float64)
        """Losses of D and of G at the most recent checks, (checks, 2). A loss is the sum of the player's loss terms."""

        self.checks = 0
        self.next_warning: dict[str, int] = {}

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if not has_probability_logits(recipe):
            yield f"{describe_logits(recipe)} are not logits of a probability, so D's loss cannot be checked"

    @hookimpl
    def after_d_step(self, run: Run, step: Step) -> None:
        if self._is_due(run.iteration + 1) and has_probability_logits(run.recipe):
            self.excess = run.ranks.mean(excess_loss(step))

    @hookimpl
    def after_g_step(self, run: Run, step: Step) -> None:
        if self._is_due(run.iteration + 1) and len(step.fake) > 1:
            self.diversity = run.ranks.mean(pairwise_distance(step.fake) / pairwise_distance(step.real))

    @hookimpl
    def after_iteration(self, run: Run) -> None:
        if not self._is_due(run.iteration):
            return
        self.checks += 1
        players: tuple[Player, Player] = ("discriminator", "generator")
        sums = [sum(value.item() for value in run.values[player].values()) for player in players]
        for player, total in zip(players, sums, strict=True):
            if not math.isfinite(total):
                self._warn(run, "not finite", f"the {player}'s loss")
                return
        self.history = torch.cat([self.history, torch.tensor([sums], dtype=torch.float64)])[-WINDOW:]
        if self.excess is not None and (excess := self.excess.item()) < self.config.loss_threshold:
            self._warn(run, "D loss near 0", f"{excess:.2g}")
        if self.diversity is not None and (diversity := self.diversity.item()) < self.config.diversity_threshold:
            self._warn(run, "collapse", f"{diversity:.0%}")
        if len(self.history) == WINDOW:
            for player, values in zip(players, self.history.T, strict=True):
                if oscillates(values):
                    self._warn(run, "oscillation", f"{player}'s loss")
                    break
        self.excess = self.diversity = None

    def _is_due(self, iteration: int) -> bool:
        return iteration % self.config.every == 0

    def _warn(self, run: Run, problem: str, value: str) -> None:
        if self.checks >= self.next_warning.get(problem, 0):
            run.warn(MESSAGES[problem].format(value=value))
            self.next_warning[problem] = self.checks + self.config.repeat_after

    def state_dict(self) -> dict[str, Any]:
        warnings = {f"next_warning.{problem}": check for problem, check in self.next_warning.items()}
        return {"history": self.history, "checks": self.checks} | warnings

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self.checks = state.pop("history").cpu(), state.pop("checks")
        self.next_warning = {name.removeprefix("next_warning."): check for name, check in state.items()}
