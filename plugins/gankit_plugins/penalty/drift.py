"""Penalty on large outputs of a critic (drift)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Scheduled, Settings, Step, hookimpl


def mean_square(logits: Tensor) -> Tensor:
    """Return E[D(x)^2] for logits (B, ...), as a scalar in float32 or a wider type (Karras 2017, appendix A.1)."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).square().mean()


class Drift(Plugin):
    """Small penalty on the square of D's output for real images, which keeps the output near 0.

    Source: Karras 2017, appendix A.1, with weight 0.001. A Wasserstein loss depends only on differences of D's outputs.
    Without this penalty, all outputs can therefore drift by a common offset.

    When to use: with `wasserstein` and `gradient_penalty` in long runs.
    When not: with other losses, because they already determine the offset.
    """

    name = "drift"
    kind = "penalty"

    class Config(Settings):
        weight: Scheduled = Field(0.001, gt=0, description="epsilon_drift, weight of the penalty in D's loss")

    config: Config

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        if player == "discriminator":
            yield LossTerm(self.name, self.penalty, weight=self.config.weight)

    def penalty(self, step: Step) -> Tensor:
        """Return E[D(x)^2] on real images x."""
        return mean_square(step.real_output.logits)
