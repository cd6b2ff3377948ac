"""LeCam regularisation: a penalty on the distance between D's logits and averages of past logits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from gankit import LossTerm, Player, Plugin, Run, Scheduled, Settings, Step, hookimpl


def lecam(real_logits: Tensor, fake_logits: Tensor, real_anchor: Tensor, fake_anchor: Tensor) -> Tensor:
    """Return E[(D(x) - a_F)^2] + E[(D(G(z)) - a_R)^2] for logits (B, ...), as a scalar (Tseng 2021, section 3.2).

    The anchors a_R (`real_anchor`) and a_F (`fake_anchor`) are scalars: averages of past logits for real and for
    generated images. The result is in float32 or a wider type.
    """
    real, fake = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (real_logits, fake_logits))
    return (real - fake_anchor).square().mean() + (fake - real_anchor).square().mean()


class LeCam(Plugin):
    """Penalty on the distance between D's logits and averages of past logits (LeCam regularisation).

    Source: Tseng 2021 (Regularizing Generative Adversarial Networks under Limited Data), section 3.2. The penalty pulls
    the logits of real images towards the average for generated images, and vice versa. The averages are exponential
    moving averages. They start with the means of the first batch.

    When to use: with a few hundred to a few thousand images, together with an augmentation such as `diff_augment`.
    When not: with many images, because the penalty then slows down D's training.
    """

    name = "lecam"
    kind = "penalty"

    class Config(Settings):
        weight: Scheduled = Field(0.01, gt=0, description="lambda, weight of the penalty in D's loss")
        decay: float = Field(0.99, ge=0, lt=1, description="weight of the past in the averages of D's logits")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.anchors: Tensor | None = None
        """Averages of past logits for real and for fake images, (2,). None before the first batch."""

        self.parts: list[Tensor] = []
        """Mean logits of real and of fake images, (2,), for each micro-batch of the current D step."""

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        if player == "discriminator":
            yield LossTerm("lecam", self._term, weight=self.config.weight)

    def _term(self, step: Step) -> Tensor:
        real, fake = step.real_output.logits, step.fake_output.logits
        means = torch.stack([x.detach().float().mean() for x in (real, fake)])
        if not step.simulated:
            self.parts.append(means)
        anchors = step.run.ranks.mean(means) if self.anchors is None else self.anchors
        return lecam(real, fake, *anchors)

    @hookimpl
    def after_d_step(self, run: Run) -> None:
        now = run.ranks.mean(torch.stack(self.parts).mean(0))
        self.anchors = now if self.anchors is None else self.anchors.lerp(now, 1 - self.config.decay)
        self.parts.clear()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.anchors is None else {"anchors": self.anchors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.anchors = state.get("anchors")
