"""RMSProp."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import nn

from gankit import Plugin, Settings, hookimpl


class RMSProp(Plugin):
    """Divides the gradient by the running root mean square of its recent sizes.

    Source: Tieleman 2012 (lecture 6.5 of Neural Networks for Machine Learning); for GANs Arjovsky 2017, algorithm 1,
    whose rate of 0.00005 is the default. A schedule multiplies `lr`.

    When to use: with weight clipping (Arjovsky 2017), where momentum makes the critic unsteady.
    When not: otherwise; `adam` is what most GANs are tuned for.
    """

    name = "rmsprop"
    kind = "optimizer"

    class Config(Settings):
        lr: float = Field(5e-5, gt=0, description="learning rate, before any schedule")
        alpha: float = Field(0.99, ge=0, lt=1, description="decay of the running average of the gradient's square")
        eps: float = Field(1e-8, gt=0, description="added to the denominator")
        momentum: float = Field(0.0, ge=0, lt=1, description="part of the last step that is taken again")
        weight_decay: float = Field(0.0, ge=0, description="L2 regularisation: this times the weight is added")

    config: Config

    @hookimpl
    def build_optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.RMSprop(
            parameters,
            lr=c.lr,
            alpha=c.alpha,
            eps=c.eps,
            momentum=c.momentum,
            weight_decay=c.weight_decay,
            foreach=True,
        )
